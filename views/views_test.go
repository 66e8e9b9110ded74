package views

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/a-h/templ"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// hostile is what a person may type and a page must only ever show.
const hostile = `x" hx-get="/evil" style="a:b" onclick="c"><script>d</script>'&amp;`

func as(role account.Role) Page {
	return Page{Viewer: Viewer{Actor: account.Actor{MemberID: "m1", Email: "ines@example.com", Name: hostile, Role: role}, Organisation: hostile}, Now: noon, Flash: hostile}
}

func someKey(status apikey.Status) Key {
	k := Key{
		Key: apikey.Key{
			ID: "0199c2a4-7b3e-7c10-9a4f-3fd1deadbeef", Name: hostile, Environment: apikey.Test, Prefix: "pk_test_7hG2kLm9Qx1A", Signature: "9fK2aQ",
			Scopes: []string{"read:chat", "read:personas", hostile}, Stored: status, OwnerID: "m2", CreatedBy: "m1", RoleLimit: string(account.Admin),
			IPAllowlist: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}, CreatedAt: noon.AddDate(0, -1, 0), ExpiresAt: noon.AddDate(0, 2, 0),
		},
		Owner: account.Person{ID: "m2", Email: "tom@example.com", Name: hostile, Role: account.Admin, Status: account.Suspended}, Creator: account.Person{Email: "ines@example.com"},
		Workspace: hostile, Process: hostile, Profile: hostile, Requests24h: 1204,
	}
	at := noon.Add(-time.Hour)
	k.Use = apikey.Use{At: &at, Address: hostile, UserAgent: hostile}
	switch status {
	case apikey.Rotated:
		end := noon.Add(6*apikey.Day + time.Hour)
		k.RotatedAt, k.GraceEndsAt = &at, &end
	case apikey.Revoked:
		k.RevokedAt = &at
	case apikey.Expired:
		k.Stored, k.ExpiresAt = apikey.Enabled, noon
	case apikey.Enabled, apikey.Disabled:
	}
	return k
}

func someKeys() []Key {
	var out []Key
	for _, s := range apikey.Statuses {
		out = append(out, someKey(s))
	}
	return out
}

var (
	policy  = apikey.Policy{LongestLifetime: 180 * apikey.Day, DefaultLifetime: 90 * apikey.Day, LongestGrace: 7 * apikey.Day}
	options = []Option{{Value: "o1", Label: hostile}, {Value: "o2", Label: "Second", Group: hostile}}
	wrong   = input.Problems{"": hostile, "name": hostile, "expiresAt": hostile, "scopes": hostile, "workspaceId": hostile, "ipAllowlist": hostile, "email": hostile, "graceSeconds": hostile, "ownerId": hostile}
)

var strictPolicy = apikey.Policy{LongestLifetime: 7 * apikey.Day, DefaultLifetime: 7 * apikey.Day, RequireAllowlist: true, RequireWorkspace: true, UnusedAfter: apikey.Day, DisableUnused: true}

var someScopes = []CataloguedScope{{Scope: Scope{"read:chat", hostile}, Live: 3, Other: 1}, {Scope: Scope{"write:chat", ""}, Retired: true}, {Scope: Scope{hostile, hostile}, Asked: true}}

// someDocs has one of everything that the page of the HTTP API can show.
func someDocs(p Page) APIDocs {
	field := APIField{Name: hostile, Type: hostile, Text: hostile, Required: true, Notes: []string{hostile}, Choices: []APIChoice{{hostile, ""}}}
	outer := APIField{Name: hostile, Choices: []APIChoice{{hostile, hostile}}, Fields: []APIField{field}}
	answer := APIAnswer{Status: "200", Text: hostile, Common: []string{"X-Request-Id"}, Headers: []APIField{field}, Type: hostile, Body: []APIField{outer}, Examples: []APIExample{{hostile, hostile}}}
	long := answer
	long.Body = slices.Repeat(long.Body, fieldsShown)
	call := APICall{Method: "POST", Path: hostile, Body: hostile, Headers: []string{hostile}}
	return APIDocs{
		Page: p, BaseURL: "https://api.example.com", Title: hostile, Summary: hostile, Intro: hostile + "\n\n`" + hostile + "`", ErrorExample: hostile,
		Ways: []APIWay{{"http bearer", hostile}, {"http basic", hostile}, {"apiKey", hostile}}, Codes: []APIChoice{{hostile, "400: " + hostile}}, Headers: []APIField{{Name: "X-Request-Id"}},
		Tags: []APITag{{Name: "One", Text: hostile, Operations: []APIOperation{
			{ID: "first", Method: "POST", Path: hostile, Summary: hostile, Text: hostile, Scope: hostile, InPath: []APIField{field}, InQuery: []APIField{field}, InHeader: []APIField{field},
				BodyText: hostile, Body: []APIField{field}, Answers: []APIAnswer{answer, long}, Errors: []APIError{{"401", hostile, []string{"X-Request-Id"}}}, Call: call},
			{ID: "second", Method: "GET", Answers: []APIAnswer{{Status: "200", Type: "text/plain"}}, Call: APICall{Method: "GET", Public: true}},
		}}},
	}
}

// pages is every page, filled with hostile text.
func pages(role account.Role) map[string]templ.Component {
	p := as(role)
	old := someKey(apikey.Rotated)
	event := Event{At: noon, Action: account.EditKey, Who: hostile, Role: account.Admin, Address: hostile, UserAgent: hostile, SessionID: hostile, Changes: []FieldChange{{hostile, Fact{Text: hostile}, Fact{Text: hostile}}, {hostile, Fact{}, Fact{Text: hostile, At: noon}}}}
	event.WhoName, event.Subject, event.SubjectKind, event.SubjectID, event.SubjectHere, event.ActorID = hostile, hostile, "key", hostile, true, hostile
	through, gone := event, event
	gone.Gone = true
	through.KeyID, through.KeyName, gone.KeyID = hostile, hostile, hostile
	state := ListState{Filter: apikey.Filter{Search: hostile, Status: apikey.Enabled, OwnerID: "o1", Scope: hostile, ExpiresWithin: 12}}
	out := map[string]templ.Component{
		"keys":            KeysPage(KeyList{Page: p, State: state, Policy: strictPolicy, Keys: someKeys(), Newer: "n", Older: "o", Owners: options, Scopes: options, Profiles: options, Workspaces: options, Processes: options}),
		"keys, none yet":  KeysPage(KeyList{Page: p, NoneYet: true, BaseURL: "https://api.example.com"}),
		"keys, none fit":  KeysPage(KeyList{Page: p, State: state}),
		"create":          CreateKey(KeyForm{Page: p, Name: hostile, IPAllowlist: hostile, ExpiresDate: hostile, Nonce: hostile, Return: hostile, Problems: wrong, Policy: policy, Catalogue: []Scope{{"read:chat", hostile}}, Workspaces: options, Processes: options, Profiles: options}),
		"edit":            EditKey(KeyEdit{Page: p, Key: someKey(apikey.Enabled), Name: hostile, Status: hostile, IPAllowlist: hostile, Problems: wrong, Policy: policy, Profiles: options}),
		"rotate":          RotateKey(KeyRotation{Page: p, Key: someKey(apikey.Enabled), Problems: wrong, Policy: policy}),
		"transfer":        TransferKey(KeyTransfer{Page: p, Key: someKey(apikey.Enabled), People: []account.Person{{ID: "m3", Email: hostile, Name: hostile}}, Problems: wrong}),
		"once":            ShowOnce(IssuedKey{Page: p, Key: someKey(apikey.Enabled), Plaintext: apikey.NewPlaintext(apikey.Live), Old: &old, BaseURL: "https://api.example.com"}),
		"already created": AlreadyCreated(CreatedBefore{Page: p, Key: someKey(apikey.Enabled)}),
		"conflict":        ConflictPage(KeyConflict{Page: p, Tried: apikey.Disable, Key: someKey(apikey.Enabled), Latest: &event}),
		"key":             KeyPage(KeyDetail{Page: p, Key: old, Days: 30, Usage: []apikey.DayUsage{{Day: noon, Accepted: 7, Refused: 2}, {Day: noon, Accepted: 0}}, Line: someKeys(), Trail: []Event{event, through, gone}, Older: hostile}),
		"account":         AccountPage(Account{Page: p, Since: noon, Sessions: []Session{{ID: "s1", Address: hostile, UserAgent: hostile, Current: true}, {ID: "s2", UserAgent: hostile}}}),
		"change name":     ChangeName(NameForm{Page: p, Name: hostile, Problems: wrong}),
		"email":           ChangeEmail(EmailForm{Page: p, Member: account.Person{ID: hostile, Email: hostile, Name: hostile}, Email: hostile, Nonce: hostile, Return: hostile, Problems: wrong}),
		"email link":      ShowEmailLink(EmailLinkOnce{Page: p, Return: hostile, Member: account.Person{Email: hostile}, Email: hostile, ExpiresAt: noon, Link: "https://keys.example.com/confirm-email/x"}),
		"email cancelled": CancelEmailChange(EmailForm{Page: p, Member: account.Person{ID: hostile, Email: hostile}, Email: hostile, Return: hostile}),
		"confirm email":   ConfirmEmailPage(ConfirmEmailForm{Page: Page{Now: noon}, Path: "/confirm-email/x", Organisation: hostile, Before: hostile, Email: hostile, EndsAt: noon, LockedUntil: noon.Add(time.Hour), Problems: wrong}),
		"confirm over":    EmailLinkOver(Page{Now: noon}),
		"confirm taken":   NewEmailTaken(Page{Now: noon}, hostile),
		"change password": ChangePassword(PasswordForm{Page: p, LockedUntil: noon.Add(time.Hour), Problems: wrong}),
		"audit log":       AuditPage(AuditLog{Page: p, State: AuditState{What: hostile, Actor: hostile, Subject: hostile, Key: hostile, From: hostile, To: hostile}, Cursor: "c", Older: "o", Events: []Event{event, through, gone}, Actors: options, SubjectName: hostile, KeyName: hostile}),
		"audit, nothing":  AuditPage(AuditLog{Page: p, State: AuditState{What: hostile}}),
		"security events": SecurityEventsPage(SecurityLog{Page: p, State: SecurityState{Kind: hostile, Member: hostile, From: hostile, To: hostile}, Cursor: "c", Older: "o", Members: options, Events: []SecurityEvent{
			{Kind: hostile, MemberID: hostile, Who: hostile, WhoName: hostile, KeyID: hostile, KeyName: hostile, Address: hostile, Detail: hostile, Count: 2, FirstAt: noon, LastAt: noon}, {KeyID: hostile, Count: 1, LastAt: noon}}}),
		"security, none":     SecurityEventsPage(SecurityLog{Page: p}),
		"security, none fit": SecurityEventsPage(SecurityLog{Page: p, State: SecurityState{Kind: hostile}}),
		"check, running":     AuditCheckPage(AuditCheck{Page: p, Return: hostile, Checked: 7, All: 9}),
		"check, good":        AuditCheckPage(AuditCheck{Page: p, Return: hostile, Done: true, Checked: 7, Hash: "a7", LastAt: noon, At: noon}),
		"check, broken":      AuditCheckPage(AuditCheck{Page: p, Return: hostile, Done: true, Checked: 7, BrokenAt: 8, Reason: hostile, At: noon}),
		"sign in":            SignInPage(SignInForm{Page: Page{Now: noon}, Email: hostile, Next: hostile, Notice: hostile, LockedUntil: noon.Add(time.Hour), Problems: wrong}),
		"set up":             SetUpPage(SetUpForm{Page: Page{Now: noon}, Path: "/setup/x", Organisation: hostile, Name: hostile, Email: hostile, Problems: wrong}),
		"set-up expired":     SetUpExpiredPage(Page{Now: noon}),
		"scopes":             ScopesPage(ScopeList{Page: p, Scopes: someScopes, All: 2}),
		"new scope":          CreateScope(ScopeForm{Page: p, Return: hostile, Name: hostile, Description: hostile, Retired: true, Problems: wrong}),
		"describe scope":     EditScope(ScopeForm{Page: p, Return: hostile, Scope: someScopes[0], Description: hostile, Problems: wrong}),
		"retire scope":       RetireScope(ScopeChange{Page: p, Return: hostile, Scope: someScopes[0]}),
		"restore scope":      RestoreScope(ScopeChange{Page: p, Return: hostile, Scope: someScopes[1]}),
		"delete scope":       DeleteScope(ScopeChange{Page: p, Return: hostile, Scope: someScopes[1]}),
		"keep scope":         DeleteScope(ScopeChange{Page: p, Return: hostile, Scope: someScopes[0]}),
		"policy":             PolicyPage(PolicyView{Page: p, Policy: strictPolicy, Broken: 3, Unused: 1}),
		"edit policy":        EditPolicy(PolicyForm{Page: p, Return: hostile, LongestDays: hostile, DefaultDays: hostile, GraceSeconds: hostile, UnusedDays: hostile, Problems: wrong}),
		"confirm policy":     ConfirmPolicy(PolicyConfirmation{PolicyForm: PolicyForm{Page: p, Return: hostile, LongestDays: hostile, GraceSeconds: "5400"}, Policy: strictPolicy, Broken: 30, BrokenAnew: 28, Breaking: someKeys(), Unused: 22, UnusedAnew: 1, Disabled: someKeys()}),
		"key, judged":        KeyPage(KeyDetail{Page: p, Policy: strictPolicy, Key: someKey(apikey.Enabled), Days: 30}),
		"docs":               APIDocsPage(someDocs(p)),
		"docs, stranger":     APIDocsPage(someDocs(Page{Now: noon})),
	}
	owned := OwnedKeys{Page: p, Return: hostile, Owner: account.Person{ID: "m2", Name: hostile, Status: account.Suspended}, Enabled: 1204, Disabled: 1, InGrace: 1, Requests: 7, Busiest: someKeys(), People: []account.Person{{ID: "m3", Email: hostile, Name: hostile}}, Problems: wrong}
	idle, alone := owned, owned
	idle.Enabled, idle.Disabled, idle.InGrace, alone.People, alone.Busiest = 0, 0, 0, nil, nil
	out["owners"] = KeyOwnersPage(KeyOwnerList{Page: p, State: KeyOwnerState{Search: hostile, Left: true}, Owners: []KeyOwner{{Person: owned.Owner, Enabled: 1204, Live: 1206, LastUse: &noon}, {Person: account.Person{ID: "m3", Email: hostile, Status: account.Removed}}}, Newer: "n", Older: "o"})
	out["owners, none fit"], out["owners, none yet"] = KeyOwnersPage(KeyOwnerList{Page: p, State: KeyOwnerState{Left: true}}), KeyOwnersPage(KeyOwnerList{Page: p})
	out["transfer all"], out["transfer all, nobody there"], out["transfer all, none left"] = TransferAllKeys(owned), TransferAllKeys(alone), TransferAllKeys(idle)
	out["revoke all"], out["revoke all, idle"], out["revoke all, none left"] = RevokeAllKeys(owned), RevokeAllKeys(alone), RevokeAllKeys(idle)
	out["overview"] = OverviewPage(Overview{Page: p, ByStatus: map[apikey.Status]int64{apikey.Enabled: 1204}, Expiring: 9, Soon: someKeys(), Usage: []apikey.DayUsage{{Day: noon, Accepted: 7, Refused: 2}}})
	out["overview, nothing soon"] = OverviewPage(Overview{Page: p, Usage: []apikey.DayUsage{{Day: noon}}})
	out["overview, no keys"] = OverviewPage(Overview{Page: p, NoneYet: true, BaseURL: "https://api.example.com"})
	maps.Copy(out, memberPages(p))
	maps.Copy(out, profilePages(p))
	for _, status := range []int{400, 403, 404, 405, 409, 413, 415, 429, 500, 503} {
		out[fmt.Sprint("error ", status)] = ErrorPage(Failure{Page: p, Status: status, RequestID: hostile, Roles: []account.Role{account.Owner, account.Admin}, Ask: []account.Person{{Email: hostile, Name: hostile}}, RetryAt: noon.Add(time.Minute), Back: hostile})
	}
	for _, c := range []apikey.Change{apikey.Disable, apikey.Enable, apikey.Revoke, apikey.Delete} {
		out["one: "+string(c)] = ConfirmChange(Confirmation{Page: p, Change: c, Keys: []Key{old}})
		out["several: "+string(c)] = ConfirmChange(Confirmation{Page: p, Change: c, Several: true, Keys: someKeys(), Unchanged: someKeys()})
		out["nothing left: "+string(c)] = ConfirmChange(Confirmation{Page: p, Change: c, Several: true, Unchanged: someKeys()})
		out["nothing chosen: "+string(c)] = ConfirmChange(Confirmation{Page: p, Change: c, Several: true})
	}
	return out
}

func draw(t *testing.T, c templ.Component) string {
	t.Helper()
	var b strings.Builder
	if err := c.Render(context.Background(), &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

var (
	tags       = regexp.MustCompile(`<[a-z][^<>"]*(?:"[^"]*"[^<>"]*)*>`)
	attributes = regexp.MustCompile(`([^\s"=<>]+)="([^"]*)"`)
	ids        = regexp.MustCompile(` id="([^"]*)"`)
)

// The Content-Security-Policy allows no inline style or script, and what people typed must never be an attribute
// that a browser or htmx acts upon.
func TestPagesHoldNothingThatThePolicyForbids(t *testing.T) {
	for name, c := range pages(account.Owner) {
		html := draw(t, c)
		for _, tag := range tags.FindAllString(html, -1) {
			if strings.HasPrefix(tag, "<script") && !strings.Contains(tag, ` src="/static/`) {
				t.Errorf("%s: a script that is not ours: %s", name, tag)
			}
			for _, a := range attributes.FindAllStringSubmatch(tag, -1) {
				switch key, value := a[1], a[2]; {
				case key == "style", strings.HasPrefix(key, "on"), strings.HasPrefix(key, "hx-on"):
					t.Errorf("%s: attribute %s in %s", name, key, tag)
				case strings.HasPrefix(key, "hx-") && (strings.Contains(value, "evil") || strings.Contains(value, "js:") || strings.Contains(value, "[") && key == "hx-trigger"):
					t.Errorf("%s: %s=%q", name, key, value)
				case (key == "href" || key == "src" || key == "action" || key == "formaction") && !strings.HasPrefix(value, "/") && !strings.HasPrefix(value, "#"):
					t.Errorf("%s: %s=%q leads elsewhere", name, key, value)
				}
			}
		}
	}
}

// What a form holds is carried through an address when its session has ended, but for fields with such a name.
func TestFieldsForPasswordsAreNamedSo(t *testing.T) {
	found := 0
	for name, c := range pages(account.Owner) {
		for _, tag := range tags.FindAllString(draw(t, c), -1) {
			if strings.HasPrefix(tag, "<input") && strings.Contains(tag, `type="password"`) {
				found++
				if named := regexp.MustCompile(` name="([^"]*)"`).FindStringSubmatch(tag); named == nil || !strings.HasSuffix(strings.ToLower(named[1]), "password") {
					t.Errorf("%s: %s", name, tag)
				}
				if !strings.Contains(tag, `autocomplete="current-password"`) && !strings.Contains(tag, `autocomplete="new-password"`) {
					t.Errorf("%s: a password manager can't tell what %s is for", name, tag)
				}
			} else if strings.HasPrefix(tag, "<input") && regexp.MustCompile(` name="[^"]*[pP]assword"`).MatchString(tag) {
				t.Errorf("%s: %s shows what is typed", name, tag)
			}
		}
	}
	if found < 4 {
		t.Errorf("%d fields were found", found)
	}
}

func TestIDsAreUniqueOnAPage(t *testing.T) {
	for name, c := range pages(account.Owner) {
		seen := map[string]bool{}
		for _, m := range ids.FindAllStringSubmatch(draw(t, c), -1) {
			if seen[m[1]] {
				t.Errorf("%s: the id %q is there twice", name, m[1])
			}
			seen[m[1]] = true
		}
	}
}

func TestEveryPageHasOneHeading(t *testing.T) {
	for name, c := range pages(account.Owner) {
		if n := strings.Count(draw(t, c), "<h1"); n != 1 {
			t.Errorf("%s: %d first headings", name, n)
		}
	}
}

func TestDialogsAreFragmentsOfTheirPage(t *testing.T) {
	for name, c := range pages(account.Owner) {
		fragment := "dialog"
		switch {
		case strings.HasPrefix(name, "keys"):
			fragment = "keys"
		case name == "scopes", strings.HasPrefix(name, "owners"), strings.HasPrefix(name, "profiles"), strings.HasPrefix(name, "members"), strings.HasPrefix(name, "audit"), strings.HasPrefix(name, "security"):
			fragment = "list"
		case name == "member", name == "policy", strings.HasPrefix(name, "profile"), strings.HasPrefix(name, "join"), strings.HasPrefix(name, "confirm"), strings.HasPrefix(name, "invitation over"),
			name == "key", name == "key, judged", name == "account", strings.HasPrefix(name, "overview"), name == "sign in", strings.HasPrefix(name, "set"), strings.HasPrefix(name, "docs"):
			continue
		}
		var b bytes.Buffer
		if err := templ.RenderFragments(context.Background(), &b, c, fragment); err != nil {
			t.Fatal(err)
		}
		got := b.String()
		if !strings.Contains(got, ` id="`+fragment+`"`) || strings.Contains(got, "<html") || strings.Contains(got, `class="nav"`) {
			t.Errorf("%s: the fragment %q is %.120s", name, fragment, got)
		}
	}
}

func TestThePlaintextStandsOnlyWhereItIsEmptied(t *testing.T) {
	plaintext := apikey.NewPlaintext(apikey.Live)
	html := draw(t, ShowOnce(IssuedKey{Page: as(account.Owner), Key: someKey(apikey.Enabled), Plaintext: plaintext}))
	for _, secret := range []string{plaintext.Reveal(), plaintext.RevealPass()} {
		rest := regexp.MustCompile(`(?s)<code[^>]* data-plaintext>.*?</code>`).ReplaceAllString(html, "")
		if !strings.Contains(html, secret) || strings.Contains(rest, secret) {
			t.Error("the plaintext is missing, or stands where the script does not empty it")
		}
	}
	for name, c := range pages(account.Owner) {
		if name != "once" && name != "invitation, once" && name != "email link" && strings.Contains(draw(t, c), "data-plaintext") {
			t.Errorf("%s: has a place for a plaintext", name)
		}
	}
}

func TestButtonsShowOnlyToThoseWhoMay(t *testing.T) {
	for _, role := range []account.Role{account.Support, account.Member} {
		all := pages(role)
		for _, name := range []string{"keys", "keys, none yet", "key"} {
			html := draw(t, all[name])
			for _, c := range []apikey.Change{apikey.Edit, apikey.Rotate, apikey.Disable, apikey.Revoke, apikey.Delete, apikey.Transfer} {
				if strings.Contains(html, "/"+string(c)+`"`) || strings.Contains(html, "/"+string(c)+"?") {
					t.Errorf("%s as %s: a link to %s", name, role, c)
				}
			}
			if strings.Contains(html, NewKeyPath) || strings.Contains(html, `name="id"`) {
				t.Errorf("%s as %s: can create or select", name, role)
			}
		}
		for _, name := range []string{"profiles", "profiles, none yet", "profile", "profile, unused"} {
			if html := draw(t, all[name]); strings.Contains(html, NewProfilePath) || strings.Contains(html, "/edit") || strings.Contains(html, "/delete") {
				t.Errorf("%s as %s: can create, edit or delete", name, role)
			}
		}
	}
}

func TestAMenuOffersWhatTheStatusAllows(t *testing.T) {
	owner := as(account.Owner).Viewer
	for status, want := range map[apikey.Status]string{
		apikey.Enabled:  "[edit rotate disable transfer revoke delete]",
		apikey.Disabled: "[edit rotate enable transfer revoke delete]",
		apikey.Rotated:  "[revoke delete]",
		apikey.Revoked:  "[delete]",
		apikey.Expired:  "[delete]",
	} {
		if got := fmt.Sprint(changesFor(owner, someKey(status), noon)); got != want {
			t.Errorf("%s: %s, want %s", status, got, want)
		}
	}
}

func TestUrgencyAtItsBoundaries(t *testing.T) {
	for _, c := range []struct {
		left time.Duration
		want Urgency
	}{
		{-time.Second, Moot}, {0, Moot}, {1, Urgent}, {7 * apikey.Day, Urgent}, {7*apikey.Day + 1, Soon}, {30 * apikey.Day, Soon}, {30*apikey.Day + 1, Calm},
	} {
		k := Key{Key: apikey.Key{Stored: apikey.Enabled, ExpiresAt: noon.Add(c.left)}}
		if got := k.UrgencyAt(noon); got != c.want {
			t.Errorf("%v left: %s, want %s", c.left, got, c.want)
		}
		k.Stored = apikey.Revoked
		if got := k.UrgencyAt(noon); got != Moot {
			t.Errorf("revoked, %v left: %s", c.left, got)
		}
	}
}

func TestAChipLeadsToTheListWithoutItsFilter(t *testing.T) {
	m := KeyList{Owners: []Option{{Value: "m2", Label: "Tom"}}, State: ListState{
		Filter: apikey.Filter{Search: "a&b", Status: apikey.Disabled, OwnerID: "m2", ExpiresWithin: 30}, Sort: apikey.Sort{By: apikey.ByName}, Size: 100,
	}}
	want := []chip{
		{"Search: a&b", "/account/api-keys?expires=30&owner=m2&size=100&sort=name&status=disabled"},
		{"Status: Disabled", "/account/api-keys?expires=30&owner=m2&q=a%26b&size=100&sort=name"},
		{"Owner: Tom", "/account/api-keys?expires=30&q=a%26b&size=100&sort=name&status=disabled"},
		{"Expires within 30 days", "/account/api-keys?owner=m2&q=a%26b&size=100&sort=name&status=disabled"},
	}
	if got := m.chips(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if got := m.cleared(); got != "/account/api-keys?size=100&sort=name" {
		t.Error(got)
	}
	if got := (KeyList{State: ListState{Size: PageSizes[0], Sort: apikey.Newest}}).here(); got != KeysPath {
		t.Errorf("the list as it is first seen has the address %s", got)
	}
}

// TestTheListHasTheColumnsThatPeopleKnow looks for each column by its name, and for the help that goes with a term: in the head,
// and where there is no room for heads.
func TestTheListHasTheColumnsThatPeopleKnow(t *testing.T) {
	html := draw(t, KeysPage(KeyList{Page: as(account.Owner), Keys: someKeys()}))
	head := html[strings.Index(html, "<thead>"):strings.Index(html, "</thead>")]
	for _, column := range []string{"Name", "Owner", "Status", "Created", "Expires", "Signature"} {
		if !regexp.MustCompile(`<th scope="col"[^>]*>(<a [^>]*>|<span [^>]*>)?\s*` + column + `\b`).MatchString(head) {
			t.Errorf("no column is called %s", column)
		}
	}
	const help = "the last 6 characters of the key, for identification"
	button := regexp.MustCompile(`popovertarget="([^"]+)" aria-label="About Signature"`).FindStringSubmatch(head)
	if button == nil || !regexp.MustCompile(`id="`+button[1]+`" class="[^"]*" popover[^>]*>[^<]*`+help).MatchString(head) {
		t.Error("the head does not say what a signature is")
	}
	if !strings.Contains(strings.Replace(html, head, "", 1), help) {
		t.Error("where the heads are hidden nothing says what a signature is")
	}
	if rows := len(someKeys()); strings.Count(html, `data-label="Signature"`) != rows {
		t.Errorf("not each of %d rows has a signature", rows)
	}
}

func TestASortedColumnTurnsRound(t *testing.T) {
	var s ListState
	for by, want := range map[apikey.Order]string{
		apikey.ByCreation: KeysPath + "?sort=created", apikey.ByName: KeysPath + "?sort=name",
		apikey.ByUse: KeysPath + "?sort=-used", apikey.ByExpiry: KeysPath + "?sort=expires",
	} {
		if got := s.sortedBy(by); got != want {
			t.Errorf("%s: %s, want %s", by, got, want)
		}
	}
	s.Sort = apikey.Sort{By: apikey.ByName}
	if got := s.sortedBy(apikey.ByName); got != KeysPath+"?sort=-name" || s.ariaSort(apikey.ByName) != "ascending" || s.ariaSort(apikey.ByUse) != "" {
		t.Error(got)
	}
}

func TestAWayBackStaysHere(t *testing.T) {
	for back, want := range map[string]string{
		"": KeysPath, "/account/api-keys?q=x": "/account/api-keys?q=x", "https://evil.example": KeysPath, "//evil.example": KeysPath, `/\evil.example`: KeysPath, "javascript:x": KeysPath,
	} {
		if got := backTo(back); got != want {
			t.Errorf("%q leads to %q", back, got)
		}
	}
}

func TestFormsOfferWhatThePolicyAllows(t *testing.T) {
	form := KeyForm{Policy: policy}
	if got := fmt.Sprint(form.lifetimes()); strings.Contains(got, "365") || !strings.Contains(got, "180d") || form.lifetime() != "90d" {
		t.Error(got, form.lifetime())
	}
	rotation := KeyRotation{Policy: policy}
	if got := rotation.graces(); len(got) != 4 || rotation.grace() != "86400" {
		t.Error(got, rotation.grace())
	}
	rotation.Policy.LongestGrace = 0
	if got := rotation.graces(); len(got) != 1 || rotation.grace() != "0" {
		t.Error(got, rotation.grace())
	}
}

func TestAnExpiryDateIsTheDayThatEndsThen(t *testing.T) {
	midnight := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
	for at, want := range map[time.Time]string{midnight: "2027-01-31", midnight.Add(time.Hour): "2027-02-01", midnight.Add(-time.Hour): "2027-01-31"} {
		if got := ExpiryDate(at, ""); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
	for zone, want := range map[string]string{"America/Los_Angeles": "2027-01-31", "Asia/Tokyo": "2027-02-01", "UTC": "2027-01-31", "Mars/Olympus": "2027-01-31"} {
		if got := ExpiryDate(midnight.Add(-time.Second), zone); got != want {
			t.Errorf("in %s: %s, want %s", zone, got, want)
		}
	}
}

func TestWhatIsLeftIsCounted(t *testing.T) {
	for d, want := range map[time.Duration]string{6*apikey.Day + time.Hour: "6 more days", time.Hour: "1 more hour", time.Second: "less than a minute more"} {
		if got := remaining(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestTheChartReachesItsCeiling(t *testing.T) {
	for most, want := range map[int64]int64{0: 1, 1: 1, 3: 3, 5: 5, 7: 8, 9: 10, 999: 1000, 1001: 2000, 6650: 8000} {
		m := usage{{Accepted: most}}
		if got := m.ceiling(); got != want {
			t.Errorf("%d: %d, want %d", most, got, want)
		}
	}
	m := usage{{Accepted: 5, Refused: 5}}
	if b := m.bars()[0]; b.AcceptedY != "50.00" || b.RefusedY != "0.00" || b.Refused != "50.00" {
		t.Errorf("%+v", b)
	}
}

func TestBrowsersAreNamedAsPeopleKnowThem(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36 Edg/150.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/150.0.0.0 Safari/537.36":                   "Chrome on macOS",
		"curl/8.5.0": "curl/8.5.0", "": "Unknown browser",
	} {
		if got := browser(agent); got != want {
			t.Errorf("%s: %q, want %q", agent, got, want)
		}
	}
}

func TestConfirmationsSayWhatStays(t *testing.T) {
	m := Confirmation{Page: as(account.Owner), Change: apikey.Revoke, Several: true, Keys: someKeys()[:1], Unchanged: []Key{someKey(apikey.Revoked), someKey(apikey.Revoked)}}
	if got := m.unchanged(); got != "2 of these are already revoked and stay as they are." {
		t.Error(got)
	}
	m.Unchanged = []Key{someKey(apikey.Revoked), someKey(apikey.Expired)}
	if got := m.unchanged(); got != "2 of these can’t be revoked any more and stay as they are." {
		t.Error(got)
	}
	m = Confirmation{Page: as(account.Owner), Change: apikey.Revoke, Keys: []Key{someKey(apikey.Rotated)}}
	if m.title() != "Stop the old key now?" || m.path() != KeysPath+"/"+m.Keys[0].ID+"/revoke" || m.style() != "btn-error" {
		t.Error(m.title(), m.path(), m.style())
	}
}
