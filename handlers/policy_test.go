package handlers

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// things makes one of everything that a path can name, in the actor's organisation, and returns their ids by the part of
// the path before them.
func things(t testing.TB, s *store.Store, ring *keyring.Keyring, who account.Actor) map[string]string {
	t.Helper()
	ids := map[string]string{"members": who.MemberID, "key-owners": who.MemberID}
	key, _, err := ring.IssueKey(t.Context(), who, keyring.KeyDraft{Name: "walked", Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	ids["api-keys"] = key.ID
	invitation, _, err := ring.Invite(t.Context(), who, keyring.InvitationDraft{Email: uuid.NewString() + "@example.com", Role: "member"})
	if err != nil {
		t.Fatal(err)
	}
	ids["invitations"] = invitation.ID
	err = s.Mutate(t.Context(), who, account.CreateProfile, func(tx *store.Tx) ([]audit.Change, error) {
		profile, err := tx.InsertProfile(apikey.Profile{Name: "walked", DefaultThreshold: 50})
		if err != nil {
			return nil, err
		}
		workspace, err := tx.InsertWorkspace("walked")
		if err != nil {
			return nil, err
		}
		process, err := tx.InsertProcess(workspace.ID, "walked")
		if err != nil {
			return nil, err
		}
		// An own name for each organisation: every catalogue begins with the same ones.
		ids["scopes"] = "read:x" + strings.ReplaceAll(profile.ID, "-", "")
		err = tx.InsertScope(store.Scope{Name: ids["scopes"]})
		ids["bias-profiles"], ids["workspaces"], ids["processes"] = profile.ID, workspace.ID, process.ID
		return []audit.Change{{Subject: audit.Subject{Kind: "profile", ID: profile.ID, Name: profile.Name}}, {Subject: audit.Subject{Kind: "workspace", ID: workspace.ID}},
			{Subject: audit.Subject{Kind: "process", ID: process.ID}}, {Subject: audit.Subject{Kind: "scope", ID: who.OrgID, Name: ids["scopes"]}}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

// unknown is an id, or a name, that nothing has.
func unknown(noun string) string {
	if noun == "scopes" {
		return "read:y" + strings.ReplaceAll(uuid.NewString(), "-", "")
	}
	return uuid.NewString()
}

// named puts the ids into a route's path; ok is false when the walk knows none for it.
func (r route) named(ids map[string]string) (path string, ok bool) {
	parts := strings.Split(r.path, "/")
	for i, part := range parts {
		if part == ":token" {
			parts[i] = "x"
		} else if strings.HasPrefix(part, ":") {
			if parts[i] = ids[parts[i-1]]; parts[i] == "" {
				return "", false
			}
		}
	}
	return strings.Join(parts, "/"), true
}

// names says whether a route's path names something of an organisation.
func (r route) names() bool {
	return strings.Contains(r.path, ":") && !strings.Contains(r.path, ":token")
}

// TestEveryRouteRefusesTheWrongCaller walks the table: whoever may not use a route is turned away by every one.
func TestEveryRouteRefusesTheWrongCaller(t *testing.T) {
	s := newSite(t)
	other := storetest.Organisation(t, s.store)
	ids := things(t, s.store, s.keyring, s.org.Owner)
	key, err := s.keyring.Key(t.Context(), s.org.Owner, ids["api-keys"])
	if err != nil {
		t.Fatal(err)
	}
	random := map[string]string{}
	for noun := range ids {
		random[noun] = unknown(noun)
	}
	browsers := map[account.Role]*browser{}
	for _, actor := range []account.Actor{s.org.Owner, s.org.Admin, s.org.Support, s.org.Member} {
		browsers[actor.Role] = s.as(actor)
	}
	foreign := s.as(other.Owner)
	for _, r := range routes {
		path, known := r.named(ids)
		if !known {
			t.Fatalf("%s %s: the walk knows no such thing", r.method, r.path)
		}
		var form url.Values
		if r.method == post {
			form = url.Values{}
			for name, header := range map[string]map[string]string{
				"another site":  {"Sec-Fetch-Site": "cross-site"},
				"a sister site": {"Sec-Fetch-Site": "same-site"},
				"an old origin": {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
				"no origin":     {"Sec-Fetch-Site": ""},
			} {
				if got := browsers[account.Owner].send(r.method, path, form, header); got.status != http.StatusForbidden {
					t.Errorf("%s %s from %s: %d", r.method, r.path, name, got.status)
				}
			}
		}
		if r.policy.kind != member {
			continue
		}
		if got := s.visitor().send(r.method, path, form, nil); got.status != http.StatusSeeOther || !strings.HasPrefix(got.location, "/sign-in") {
			t.Errorf("%s %s: somebody who is not signed in gets %d %s", r.method, r.path, got.status, got.location)
		}
		for role, b := range browsers {
			if r.policy.action == "" || role.May(r.policy.action) {
				continue
			}
			if got := b.send(r.method, path, form, nil); got.status != http.StatusForbidden || !strings.Contains(got.body, s.org.Owner.Email) {
				t.Errorf("%s %s: %s gets %d, or is not told whom to ask", r.method, r.path, role, got.status)
			}
		}
		if r.names() {
			unknown, _ := r.named(random)
			got, fake := foreign.send(r.method, path, form, nil), foreign.send(r.method, unknown, form, nil)
			if got.status != http.StatusNotFound || fake.status != got.status || got.sameEachTime() != fake.sameEachTime() {
				t.Errorf("%s %s: another organisation's id gets %d, a random one %d, or their pages differ", r.method, r.path, got.status, fake.status)
			}
		}
	}
	if after, err := s.keyring.Key(t.Context(), s.org.Owner, key.ID); err != nil || after.Version != key.Version {
		t.Errorf("the walk changed the key: %+v, %v", after, err)
	}
}

// sameEachTime is a page without what differs between any two: the request's id.
func (a answer) sameEachTime() string {
	return strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "")
}

// TestEveryChangeIsMadeByPost holds the table to the two methods of forms.
func TestEveryChangeIsMadeByPost(t *testing.T) {
	for _, r := range routes {
		if r.method != get && r.method != post {
			t.Errorf("%s %s: pages know GET and POST alone", r.method, r.path)
		}
		if r.method == post && r.policy.kind == machine {
			t.Errorf("%s %s: a probe changes nothing", r.method, r.path)
		}
	}
}

// documentedScope is what the contract says that a key must hold for a route; "" for what no key may.
func documentedScope(r route) string {
	verb := "write"
	if r.method == get {
		verb = "read"
	}
	switch noun := strings.Split(r.path, "/")[2]; {
	case r.path == verifyPath:
		return "verify:api-keys"
	case strings.Contains(r.path, "/api-keys"):
		return verb + ":api-keys"
	case noun == "auth" || noun == "members":
		return ""
	case noun == "audit-events" || noun == "security-events":
		return "read:audit"
	}
	return verb + ":config"
}

// TestEveryAPIRouteRefusesTheWrongProgram walks the programs' part of the table: no credential, a bad one, a lesser role, a
// key without the scope, a key whose owner has lost the role, a browser's cookie, another organisation's ids.
func TestEveryAPIRouteRefusesTheWrongProgram(t *testing.T) {
	databaseURL := storetest.URL(t)
	s, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	here := siteOver(t, s)
	here.org = storetest.Organisation(t, s)
	key, plaintext := here.key(here.org.Admin, "read:chat")

	sessions := map[account.Role]*client{}
	for _, actor := range []account.Actor{here.org.Owner, here.org.Admin, here.org.Support, here.org.Member} {
		sessions[actor.Role] = here.with(here.token(actor))
	}
	browser := here.as(here.org.Owner)
	_, all := here.key(here.org.Owner, apikey.All)
	keys := map[string]*client{} // of the owner, with every scope but one
	catalogue, err := here.keyring.Catalogue(t.Context(), here.org.Owner)
	if err != nil {
		t.Fatal(err)
	}
	for _, scope := range catalogue.ScopeNames() {
		others := slices.DeleteFunc(catalogue.ScopeNames(), func(name string) bool { return name == scope })
		_, secret := here.key(here.org.Owner, others...)
		keys[scope] = here.with(secret)
	}
	// Keys with every scope, of owners who were admins when they were made.
	fallen := map[string]*client{}
	for name, change := range map[string]string{"support": `role = 'support'`, "member": `role = 'member'`, "suspended": `status = 'suspended'`, "removed": `status = 'removed'`} {
		org := storetest.Organisation(t, s)
		_, secret := here.key(org.Admin, catalogue.ScopeNames()...)
		if _, err := storetest.Unaudited(t, databaseURL).ExecContext(t.Context(), `UPDATE members SET `+change+` WHERE id = $1`, org.Admin.MemberID); err != nil {
			t.Fatal(err)
		}
		fallen[name] = here.with(secret)
	}
	other := storetest.Organisation(t, s)
	foreign := things(t, s, here.keyring, other.Owner)
	stranger, err := here.keyring.Key(t.Context(), other.Owner, foreign["api-keys"])
	if err != nil {
		t.Fatal(err)
	}

	own, random := things(t, s, here.keyring, here.org.Owner), map[string]string{}
	for noun := range own {
		random[noun] = unknown(noun)
	}
	own["api-keys"] = key.ID
	bodies := map[string]object{ // good ones, so that nothing else is wrong with the requests
		verifyPath: {"key": plaintext}, "/v1/api-keys": {"name": "x", "scopes": []string{"read:chat"}}, "/v1/processes/:id/api-keys": {"name": "x", "scopes": []string{"read:chat"}},
		"/v1/members": {"email": "x@example.com", "role": "member"}, "/v1/members/:id": {"role": "admin"},
		"/v1/api-keys/:id": {"name": "x"}, "/v1/api-keys/:id/rotate": {"graceSeconds": 0},
		"/v1/scopes": {"name": "read:walked"}, "/v1/scopes/:name": {"retired": true},
		"/v1/workspaces": {"name": "x"}, "/v1/workspaces/:id": {"name": "x"}, "/v1/processes": {"name": "x", "workspaceId": own["workspaces"]}, "/v1/processes/:id": {"name": "x"},
		"/v1/bias-profiles": {"name": "x"}, "/v1/bias-profiles/:id": {"name": "x"},
	}
	walked := 0
	for _, r := range apiRoutes {
		if r.policy.kind != program {
			continue
		}
		walked++
		var body any
		if known, ok := bodies[r.path]; ok && (r.method == post || r.method == patch) {
			body = known
		}
		path, known := r.named(own)
		if !known {
			t.Fatalf("%s %s: the walk knows no such thing", r.method, r.path)
		}
		call := func(c *client) reply { return c.call(r.method, path, body) }
		where := r.method + " " + r.path
		for name, c := range map[string]*client{"nobody": here.client(), "a bad key": here.with(plaintext[:58] + "!"), "a key that is nobody's": here.with(apikey.NewPlaintext(apikey.Live).Reveal()),
			"a bad token": here.with("eyJhbGciOiJub25lIn0.e30."), "a password": here.client("Authorization", "Basic YTpi"), "two keys": here.client("X-Api-Key", all, "Authorization", "Bearer "+all)} {
			got := call(c).expect(t, where+" by "+name, 401, "unauthorized")
			if !strings.HasPrefix(got.header.Get("WWW-Authenticate"), `Bearer realm="`) {
				t.Errorf("%s by %s: the challenge is %q", where, name, got.header.Get("WWW-Authenticate"))
			}
		}
		for _, header := range []map[string]string{nil, {"Sec-Fetch-Site": ""}, {"Sec-Fetch-Site": "", "Origin": "http://localhost"}} {
			if got := browser.send(r.method, path, nil, header); got.status != 401 {
				t.Errorf("%s: an owner's cookie gets %d", where, got.status)
			}
		}
		for role, c := range sessions {
			if !slices.Contains(account.RolesFor(r.policy.action), role) {
				call(c).expect(t, where+" by "+string(role), 403, "forbidden")
			}
		}
		scope := account.ScopeFor(r.policy.action)
		if want := documentedScope(r); scope != want {
			t.Errorf("%s takes the scope %q, and the contract says %q", where, scope, want)
		}
		if scope == "" { // nothing for keys
			call(here.with(all)).expect(t, where+" by a key with every scope", 403, "forbidden")
		} else {
			got := call(keys[scope]).expect(t, where+" by a key with every scope but "+scope, 403, "forbidden")
			if !strings.Contains(got.header.Get("WWW-Authenticate"), `error="insufficient_scope", scope="`+scope+`"`) {
				t.Errorf("%s: the challenge is %q", where, got.header.Get("WWW-Authenticate"))
			}
		}
		for name, c := range fallen {
			if role := account.Role(name); !slices.Contains(account.RolesFor(r.policy.action), role) {
				call(c).expect(t, where+" by a key of an owner who is "+name+" now", 403, "forbidden")
			}
		}
		if r.names() {
			theirPath, _ := r.named(foreign)
			nobodys, _ := r.named(random)
			theirs := sessions[account.Owner].call(r.method, theirPath, body).expect(t, where+" with another organisation's id", 404, "not_found")
			if got := sessions[account.Owner].call(r.method, nobodys, body); got.status != 404 || got.body != theirs.body {
				t.Errorf("%s: another organisation's id gets %s, a random one %d %s", where, theirs.body, got.status, got.body)
			}
		}
	}
	if walked < 20 {
		t.Errorf("%d routes were walked", walked)
	}
	for id, who := range map[string]account.Actor{key.ID: here.org.Owner, stranger.ID: other.Owner} {
		if after, err := here.keyring.Key(t.Context(), who, id); err != nil || after.Version != 1 {
			t.Errorf("the walk changed a key: %+v, %v", after, err)
		}
	}
}

// TestNoAddressKeepsAWholeKey asks every page with a key in its search, in another field, and in its path.
func TestNoAddressKeepsAWholeKey(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "read:chat")
	at := strings.LastIndexByte(secret, '_')
	pair, signature := secret[:at]+":"+secret[at+1:], secret[len(secret)-apikey.SignatureLength:]
	ids := things(t, s.store, s.keyring, s.org.Owner)
	owner, nobody := s.as(s.org.Owner), s.visitor()
	for _, r := range routes {
		if r.method != get || r.policy.kind == machine {
			continue
		}
		page, known := r.named(ids)
		if !known {
			t.Fatalf("%s %s: the walk knows no such thing", r.method, r.path)
		}
		page = (&url.URL{Path: page}).EscapedPath()
		for query, leads := range map[string]string{
			"q=" + secret: "q=" + signature, "q=Bearer+" + secret + "+x": "q=" + signature, "q=" + url.QueryEscape(pair): "q=" + signature,
			"return=%2Fmembers%3Fq%3D" + secret + "&size=25": "return=%2Fmembers%3Fq%3D" + signature + "&size=25", secret + "=1": "",
		} {
			want := page
			if leads != "" {
				want += "?" + leads
			}
			for who, c := range map[string]*browser{"an owner": owner, "nobody": nobody} {
				if got := c.get(page + "?" + query); got.status != http.StatusSeeOther || got.location != want {
					t.Errorf("%s asks for %s?%s: %d %q, not %q", who, page, query, got.status, got.location, want)
				}
			}
		}
	}
	for path, want := range map[string]string{"/account/api-keys/" + secret: "/account/api-keys/" + signature, "//evil.example/" + secret: "/evil.example/" + signature, "/%5Cevil.example/" + secret: "/%5Cevil.example/" + signature} {
		if got := owner.get(path); got.status != http.StatusSeeOther || got.location != want {
			t.Errorf("%s: %d %q, not %q", path, got.status, got.location, want)
		}
	}
	for name, spelling := range spellings(secret) {
		if got := owner.get("/account/api-keys?status=active&cursor=x&q=" + url.QueryEscape(spelling)); got.status != http.StatusSeeOther || got.location != "/account/api-keys?q="+signature+"&status=active" {
			t.Errorf("%s, in the search: %d %q", name, got.status, got.location)
		}
		for where, address := range map[string]string{
			"in another field": "/account/api-keys?return=" + url.QueryEscape("x "+spelling+" y"), "in a name": "/account/api-keys?status=active&" + url.QueryEscape(spelling) + "=1",
			"in a name in brackets": "/members?x[" + url.QueryEscape(spelling) + "]=" + url.QueryEscape(spelling), "twice": "/members?a=" + url.QueryEscape(spelling) + "&a=" + url.QueryEscape(spelling+" "+secret),
			"in the path": "/account/api-keys/" + url.PathEscape(spelling), "where nothing is": "/nowhere/" + url.PathEscape(spelling) + "/x", "in a query that can't be read": "/members?x=%zz&y=" + url.QueryEscape(spelling),
			"behind a semicolon": "/members?x=1;y=" + url.QueryEscape(spelling),
		} {
			for who, c := range map[string]*browser{"an owner": owner, "nobody": nobody} {
				got := c.get(address)
				if _, left := keyring.WithoutKeys(got.location); got.status != http.StatusSeeOther || left != "" || strings.Contains(got.location, secret[at+1:at+33]) {
					t.Errorf("%s asks for %s %s: %d %q", who, name, where, got.status, got.location)
				} else if again := c.get(got.location); again.status == http.StatusSeeOther && again.location == got.location {
					t.Errorf("%s %s leads in a circle: %q", name, where, got.location)
				}
			}
		}
	}
	if log := s.log.String(); strings.Contains(log, secret[at+1:at+33]) {
		t.Error("the log holds a key")
	}
}

// spellings are the ways in which a key can stand in an address, in text that is encoded once more on its way.
func spellings(secret string) map[string]string {
	everySecond := func(put string) string {
		var out strings.Builder
		for i, r := range secret {
			if i%2 == 1 {
				out.WriteString(put)
			}
			out.WriteRune(r)
		}
		return out.String()
	}
	encoded := func(text string, upper bool) string {
		format := "%%%02x"
		if upper {
			format = "%%%02X"
		}
		var out strings.Builder
		for _, b := range []byte(text) {
			fmt.Fprintf(&out, format, b)
		}
		return out.String()
	}
	again := func(text string, times int) string {
		for range times {
			text = strings.ReplaceAll(text, "%", "%25")
		}
		return text
	}
	at := strings.LastIndexByte(secret, '_')
	pair := secret[:at] + ":" + secret[at+1:]
	wide := strings.Map(func(r rune) rune { return r - '!' + '\uff01' }, secret)
	return map[string]string{
		"as it is": secret, "as user:pass": pair, "as Markdown": strings.ReplaceAll(secret, "_", `\_`), "with zero-width spaces": everySecond("\u200b"), "with zero-width joiners": everySecond("\u200d"),
		"with soft hyphens": everySecond("\u00ad"), "with bidi marks": everySecond("\u200e"), "with bidi overrides": "\u202e" + everySecond("\u202c"), "with byte order marks": everySecond("\ufeff"),
		"with variation selectors": everySecond("\ufe0f"), "with word joiners": everySecond("\u2060"), "with fillers": everySecond("\u3164"), "with NUL": everySecond("\x00"), "with accents": everySecond("\u0301"),
		"with line breaks": everySecond("\r\n"), "with spaces": everySecond(" "), "with no-break spaces": everySecond("\u00a0"), "with broken UTF-8": everySecond("\xff"),
		"full-width": wide, "full-width pair": strings.Map(func(r rune) rune { return r - '!' + '\uff01' }, pair), "mathematical": strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r - 'a' + '𝐚'
			}
			return r
		}, secret),
		"encoded": encoded(secret, false), "encoded in capitals": encoded(secret, true), "encoded thrice": again(encoded(secret, true), 2), "encoded ten times": again(encoded(pair, false), 9),
		"full-width, encoded": again(encoded(wide, true), 1), "with zero-width spaces, encoded": again(encoded(everySecond("\u200b"), false), 1),
		"as Basic": "Basic " + base64.StdEncoding.EncodeToString([]byte(pair)), "as Basic for URLs": base64.RawURLEncoding.EncodeToString([]byte(pair)),
		"as Basic, encoded": encoded(base64.StdEncoding.EncodeToString([]byte(pair)), true), "after another": secret[:at+1] + secret, "in a call": "curl -H 'Authorization: Bearer " + secret + "' https://api.example/",
	}
}

// TestNothingStoredOrLoggedOfARequestHoldsAKey sends keys in what a client says of itself.
func TestNothingStoredOrLoggedOfARequestHoldsAKey(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, apikey.All)
	hidden := secret[strings.LastIndexByte(secret, '_')+1:][:32]
	for name, spelling := range spellings(secret) {
		spelling = strings.NewReplacer("\x00", "", "\r\n", " ").Replace(spelling) // net/http sends no such header
		c := s.client("Authorization", "Bearer "+secret, "User-Agent", "tool/1 "+spelling, "Referer", "https://x.example/?k="+spelling, "X-Request-Id", spelling)
		made := c.call(post, "/v1/api-keys", object{"name": "made", "scopes": []string{"read:chat"}}).expect(t, name, 201, "")
		events := s.with(secret).call(get, "/v1/audit-events?limit=1&subjectId="+made.text("id"), nil).expect(t, "events", 200, "")
		_, left := keyring.WithoutKeys(strings.ReplaceAll(events.body, `"`, ""))
		if left != "" || strings.Contains(events.body, hidden) || !strings.Contains(events.body, "tool/1") {
			t.Errorf("%s: the event says %s", name, events.body)
		}
		if got := s.client("Authorization", "Bearer "+secret, "Idempotency-Key", spelling).call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}}); got.status != 400 {
			t.Errorf("%s as Idempotency-Key: %d %s", name, got.status, got.body)
		}
	}
	if log := s.log.String(); strings.Contains(log, hidden) {
		t.Error("the log holds a key")
	}
}
