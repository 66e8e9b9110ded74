package stories_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/demo"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

// demonstration is a site with the demonstration's organisation, and its owner's account.
func demonstration(t *testing.T) (*site, demo.Account) {
	t.Helper()
	s := open(t)
	accounts, err := demo.Fill(t.Context(), s.store)
	if err != nil {
		t.Fatal(err)
	}
	return s, accounts[0]
}

// find returns the id of a key in the state that the filter asks for.
func (s *site) find(query string) string {
	s.t.Helper()
	var id string
	if err := s.db.QueryRow(`SELECT id FROM api_keys WHERE ` + query + ` ORDER BY created_at DESC LIMIT 1`).Scan(&id); err != nil {
		s.t.Fatal(query, err)
	}
	return id
}

var looks = map[string][]browsertest.Option{
	"light-1440": {browsertest.Width(1440)},
	"light-360":  {browsertest.Width(360)},
	"dark-1440":  {browsertest.Width(1440), browsertest.Dark()},
	"dark-360":   {browsertest.Width(360), browsertest.Dark()},
}

// TestEveryScreenIsAccessibleAndFits opens every screen in light and dark, wide and narrow.
func TestEveryScreenIsAccessibleAndFits(t *testing.T) {
	s, owner := demonstration(t)
	enabled, disabled := s.find(`status = 'enabled' AND expires_at > now() AND workspace_id IS NOT NULL`), s.find(`status = 'disabled'`)
	inGrace, revoked := s.find(`status = 'rotated' AND grace_ends_at > now()`), s.find(`status = 'revoked'`)
	owns := s.column(`SELECT owner_id FROM api_keys WHERE status = 'enabled' GROUP BY owner_id ORDER BY count(*) DESC LIMIT 1`)[0]
	changing := s.column(`SELECT member_id FROM email_changes`)[0]
	key := func(id string, change apikey.Change) string { return "/account/api-keys/" + id + "/" + string(change) }
	screens := []struct {
		name, path string
		status     int
	}{
		{"overview", "/", 200},
		{"list", "/account/api-keys", 200},
		{"list-filtered", "/account/api-keys?status=enabled&expires=30&sort=expires&size=25", 200},
		{"list-nothing-found", "/account/api-keys?q=nothing+like+this", 200},
		{"create", "/account/api-keys/new", 200},
		{"key", "/account/api-keys/" + enabled + "?days=90", 200},
		{"key-in-grace", "/account/api-keys/" + inGrace, 200},
		{"key-revoked", "/account/api-keys/" + revoked, 200},
		{"edit", key(enabled, apikey.Edit), 200},
		{"rotate", key(enabled, apikey.Rotate), 200},
		{"disable", key(enabled, apikey.Disable), 200},
		{"enable", key(disabled, apikey.Enable), 200},
		{"revoke", key(enabled, apikey.Revoke), 200},
		{"stop-the-old", key(inGrace, apikey.Revoke), 200},
		{"delete", key(revoked, apikey.Delete), 200},
		{"transfer", key(enabled, "transfer"), 200},
		{"revoke-several", "/account/api-keys/revoke?id=" + enabled + "&id=" + disabled + "&id=" + revoked, 200},
		{"conflict", key(revoked, apikey.Rotate), 409},
		{"key-owners", "/key-owners", 200},
		{"key-owners-nobody", "/key-owners?q=nobody+at+all", 200},
		{"transfer-all", "/key-owners/" + owns + "/transfer", 200},
		{"revoke-all", "/key-owners/" + owns + "/revoke", 200},
		{"security-events", views.SecurityPath, 200},
		{"security-events-filtered", views.SecurityPath + "?kind=sign_in.failed&from=2020-01-01", 200},
		{"security-events-none-fit", views.SecurityPath + "?kind=sign_in.limited&to=2020-01-01", 200},
		{"member-with-an-email-change", views.MemberPath(changing), 200},
		{"change-email", views.MemberPath(changing) + "/email", 200},
		{"cancel-email-change", views.MemberPath(changing) + "/email-cancel", 200},
		{"account", "/account", 200},
		{"change-name", "/account/name", 200},
		{"change-password", "/account/password", 200},
		{"not-found", "/nowhere", 404},
		{"bad-address", "/account/api-keys?sort=x", 400},
	}
	for look, options := range looks {
		t.Run(look, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, options...)
			p.AllowErrors("404", "409", "400", "403")
			check := func(name string) {
				t.Helper()
				p.Screenshot(look + "-" + name)
				p.Axe()
				p.NoOverflow()
			}
			p.Goto("/sign-in")
			check("sign-in")
			p.Fill("input[name=email]", owner.Email)
			p.Fill("input[name=password]", "not the password at all")
			p.Press("Enter")
			p.WaitFor("[role=alert]")
			check("sign-in-refused")
			s.signIn(p, owner.Email, owner.Password)
			for _, screen := range screens {
				p.Goto(screen.path)
				if p.Status() != screen.status {
					t.Errorf("%s: %d", screen.path, p.Status())
				}
				check(screen.name)
			}
			p.Goto("/account/api-keys")
			p.Click("button[popovertarget=filters]")
			check("list-filters-open")
			p.Press("Escape")
			p.Click("td.more button")
			check("list-menu-open")
			p.Press("Escape")
			p.Click("main a[href^='/account/api-keys/new']")
			p.WaitFor("dialog[open] #dialog")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#k-name-problem")
			check("dialog-with-mistakes")
			p.Fill("input[name=name]", "Made in "+look)
			p.Check("input[name=scopes][value='read:chat']")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#secret-key")
			check("dialog-show-once")
			p.Click(`a:text("I have stored it")`)
			p.Goto(key(s.find(`name = 'Made in `+look+`'`), apikey.Rotate))
			p.Check("input[name=graceSeconds][value='604800']")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#secret-key")
			check("page-show-once-rotated")
		})
	}
}

// TestScreensOfTheBeginning are those that an installation shows before it has anything to show.
func TestScreensOfTheBeginning(t *testing.T) {
	for look, options := range looks {
		t.Run(look, func(t *testing.T) {
			s := open(t)
			token, err := s.keyring.SetupToken(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			p := browsertest.Open(t, s.URL, options...)
			p.AllowErrors("403", "404", "429")
			check := func(name string) {
				t.Helper()
				p.Screenshot(look + "-" + name)
				p.Axe()
				p.NoOverflow()
			}
			p.Goto("/setup/" + token)
			check("set-up")
			p.Fill("input[name=organisation]", strings.Repeat("Wide ", 18))
			p.Fill("input[name=name]", "Ada")
			p.Fill("input[name=email]", "ada."+strings.Repeat("w", 50)+"@"+strings.Repeat("w", 50)+".example")
			p.Fill("input[name=password]", "short")
			p.Press("Enter")
			p.WaitFor("#password-problem")
			check("set-up-with-mistakes")
			p.Fill("input[name=password]", "violet tram window hums")
			p.Press("Enter")
			p.WaitFor(`:text("Create the first key")`)
			check("overview-empty")
			p.Goto("/account/api-keys")
			check("list-empty")
			p.Goto(views.SecurityPath)
			check("security-events-empty")
			p.Goto("/setup/" + token)
			check("set-up-used")

			org := storetest.Organisation(t, s.store)
			s.signOut(p)
			s.signIn(p, org.Member.Email, storetest.Password)
			p.Goto("/account/api-keys")
			if p.Status() != 403 {
				t.Errorf("a member: %d", p.Status())
			}
			check("forbidden")
			s.signOut(p)
			lockOut(t, s, org.Admin)
			p.Fill("input[name=email]", org.Admin.Email)
			p.Fill("input[name=password]", storetest.Password)
			p.Press("Enter")
			p.WaitFor(`:text("Too many attempts")`)
			check("sign-in-locked")
		})
	}
}

// TestLongNamesHideNothing gives everything the longest name in one word that it can have: no page becomes wider than its
// window, and nothing leaves its table or its card.
func TestLongNamesHideNothing(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	ctx, owner, wide := t.Context(), org.Owner, strings.Repeat("W", apikey.MaxName)
	if err := s.keyring.RenameSelf(ctx, owner, wide); err != nil {
		t.Fatal(err)
	}
	owner.Name = wide
	workspace, err := s.keyring.CreateWorkspace(ctx, owner, wide)
	if err != nil {
		t.Fatal(err)
	}
	process, err := s.keyring.CreateProcess(ctx, owner, workspace.ID, wide)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := s.keyring.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: wide, Categories: []keyring.CategoryDraft{{Name: strings.Repeat("w", 50)}}})
	if err != nil {
		t.Fatal(err)
	}
	scope := "read:" + strings.Repeat("w", apikey.MaxScopeName-len("read:"))
	if _, err := s.keyring.CreateScope(ctx, owner, scope, strings.Repeat("w", apikey.MaxScopeDescription)); err != nil {
		t.Fatal(err)
	}
	var key apikey.Key
	for _, name := range []string{strings.Repeat("語", apikey.MaxName), "اختبار", "<script>alert(1)</script>", wide} {
		if key, _, err = s.keyring.IssueKey(ctx, owner, keyring.KeyDraft{Name: name, Scopes: []string{scope}, ProcessID: process.ID, ProfileID: profile.ID}); err != nil {
			t.Fatal(err)
		}
	}
	keys := views.KeyPath(key.ID)
	paths := []string{views.HomePath, views.KeysPath, views.NewKeyPath, keys, keys + "/rotate", views.KeysPath + "/revoke?id=" + key.ID + "&id=" + s.find(`name LIKE '語%'`),
		views.KeyOwnersPath, "/key-owners/" + owner.MemberID + "/revoke", "/key-owners/" + owner.MemberID + "/transfer",
		views.ProcessesPath, views.ProcessPath(process.ID), views.ConfigurationPath(process.ID), views.ProcessKeysPath(process.ID), "/workspaces/" + workspace.ID + "/archive",
		views.ProfilesPath, views.ProfilePath(profile.ID), views.ProfilePath(profile.ID) + "/delete", views.ScopesPath, views.ScopePath(scope, "retire"),
		views.MembersPath, views.MemberPath(owner.MemberID), views.MemberPath(owner.MemberID) + "/role", views.AuditPath, views.SecurityPath, views.AccountPath}
	for _, look := range []string{"light-1440", "dark-360"} {
		t.Run(look, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, looks[look]...)
			s.signIn(p, owner.Email, storetest.Password)
			for _, path := range paths {
				p.Goto(path)
				if p.Status() != 200 {
					t.Errorf("%s: %d", path, p.Status())
				}
				p.Screenshot(look + "-long-" + path)
				p.Eval(`document.querySelectorAll("details").forEach((d) => (d.open = true))`, nil)
				p.NoOverflow()
				var out []string
				p.Eval(`[...document.querySelectorAll(".frame, .card, .overflow-x-auto, h1")].filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.className || e.tagName)`, &out)
				if len(out) > 0 {
					t.Errorf("%s: something leaves %v", path, out)
				}
			}
		})
	}
}

func (s *site) signOut(p *browsertest.Page) {
	s.t.Helper()
	p.Goto("/account")
	p.Click(`button:text("Sign out everywhere")`)
	p.WaitFor(`[role=status]:text("signed out everywhere")`)
}

// lockOut counts as many attempts on an account as are allowed.
func lockOut(t *testing.T, s *site, who account.Actor) {
	t.Helper()
	for range 100 {
		if _, _, err := s.store.CountAttempt(t.Context(), fmt.Sprintf("account %x", sha256.Sum256([]byte(who.Email))), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFirstLoadIsLight counts what the list costs a browser that has nothing of us yet, and one that has.
func TestFirstLoadIsLight(t *testing.T) {
	s, owner := demonstration(t)
	p := browsertest.Open(t, s.URL, browsertest.Width(1440))
	s.signIn(p, owner.Email, owner.Password)
	fresh := browsertest.Open(t, s.URL, browsertest.Width(1440))
	fresh.Goto("/sign-in?next=%2Faccount%2Fapi-keys")
	fresh.Fill("input[name=email]", owner.Email)
	fresh.Fill("input[name=password]", owner.Password)
	signIn := weigh(fresh)
	fresh.ForgetRequests()
	fresh.Press("Enter")
	fresh.WaitFor("table")
	list := weigh(fresh)
	first := signIn.assets + list.page
	t.Logf("first load of the list: %d bytes in %d requests (page %d, assets %d); second visit: %d bytes", first, signIn.requests, list.page, signIn.assets, list.page+list.assets)
	if first > 60<<10 || signIn.requests > 6 {
		t.Errorf("the first load costs %d bytes in %d requests", first, signIn.requests)
	}
	p.Goto("/account/api-keys")
	p.ForgetRequests()
	p.Goto("/account/api-keys")
	const headers = 1 << 10 // beside 10 KB of content
	if second := weigh(p); second.page+second.assets > 10<<10+headers {
		t.Errorf("the second visit costs %d bytes", second.page+second.assets)
	}
}

type weight struct {
	page, assets int64
	requests     int
}

func weigh(p *browsertest.Page) (w weight) {
	for _, r := range p.Requests() {
		if r.Kind == "Document" {
			w.page += int64(r.Bytes)
		} else {
			w.assets += int64(r.Bytes)
		}
		w.requests++
	}
	return w
}
