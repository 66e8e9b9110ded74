package stories_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestLifeOfAKeyWithJavaScript(t *testing.T)    { lifeOfAKey(t, true) }
func TestLifeOfAKeyWithoutJavaScript(t *testing.T) { lifeOfAKey(t, false, browsertest.NoJavaScript()) }

// TestALastDayCountsInTheViewersZone chooses the same day far west and far east of Greenwich, and without a script.
func TestALastDayCountsInTheViewersZone(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	day := s.store.Now().Add(30 * apikey.Day).UTC().Format(time.DateOnly)
	for _, c := range []struct {
		name, zone string
		options    []browsertest.Option
	}{
		{"in Los Angeles", "America/Los_Angeles", []browsertest.Option{browsertest.Zone("America/Los_Angeles")}},
		{"in Kiritimati", "Pacific/Kiritimati", []browsertest.Option{browsertest.Zone("Pacific/Kiritimati")}},
		{"without a script", "UTC", []browsertest.Option{browsertest.Zone("America/Los_Angeles"), browsertest.NoJavaScript()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			want, err := time.ParseInLocation(time.DateTime, day+" 23:59:59", zone)
			if err != nil {
				t.Fatal(err)
			}
			ends := func() time.Time {
				t.Helper()
				var at time.Time
				if err := s.db.QueryRowContext(t.Context(), `SELECT expires_at FROM api_keys WHERE name = $1`, c.name).Scan(&at); err != nil {
					t.Fatal(err)
				}
				return at
			}
			p := s.visit(org.Owner, c.options...)
			p.Goto("/account/api-keys/new")
			p.Fill("input[name=name]", c.name)
			p.Check("input[name=expires][value=date]")
			p.Fill("#k-date", day)
			if hint := p.Text("#k-date-hint"); !strings.Contains(hint, "23:59:59") || !strings.Contains(hint, c.zone) {
				t.Errorf("the hint is %q", hint)
			}
			p.Click("#dialog button[type=submit]") // without a scope: the form comes back with its day and zone
			p.WaitFor("#k-scopes-problem")
			if p.Value("#k-date") != day || !strings.Contains(p.Text("#k-date-hint"), c.zone) {
				t.Errorf("the form comes back with %s, %q", p.Value("#k-date"), p.Text("#k-date-hint"))
			}
			p.Check("input[name=scopes][value='read:chat']")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#secret-key")
			if got := ends(); !got.Equal(want) {
				t.Fatalf("the key ends at %s, not %s", got.UTC(), want.UTC())
			}
			edit := "/account/api-keys/" + s.find(`name = '`+c.name+`'`) + "/edit"
			p.Goto(edit)
			if p.Value("#k-date") != day {
				t.Errorf("its last day is %s, not %s", p.Value("#k-date"), day)
			}
			p.Fill("input[name=name]", c.name+" ")
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("is saved")`)
			if got := ends(); !got.Equal(want) {
				t.Errorf("an edit without another day moved the end to %s", got.UTC())
			}
		})
	}
}

// lifeOfAKey is the main job, end to end: an admin signs in, creates a key, copies it once, finds it again, edits,
// disables, enables, rotates, revokes and deletes it, and every change is written down.
func lifeOfAKey(t *testing.T, scripts bool, options ...browsertest.Option) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	p := s.visit(org.Admin, options...)

	p.Goto("/")
	if p.Path() != "/" || !p.Exists(`a:text("Create the first key")`) {
		t.Fatalf("the first page is %s", p.Path())
	}

	p.Click("main a[href^='/account/api-keys/new']")
	p.Fill("input[name=name]", "CI pipeline")
	p.Click("#dialog button[type=submit]") // without a scope: refused kindly
	p.WaitFor("#k-scopes-problem")
	if p.Value("input[name=name]") != "CI pipeline" {
		t.Error("what was typed is lost")
	}
	p.Check("input[name=scopes][value='read:chat']")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#secret-key")
	plaintext := p.Text("#secret-key")
	if _, err := apikey.Parse(plaintext); err != nil {
		t.Fatalf("the key shown is none: %v", err)
	}
	if scripts {
		p.Press("Escape")
		if p.Text("#secret-key") != plaintext {
			t.Fatal("Escape lost the key")
		}
		p.Click("#secret-key + [data-copy]")
		p.WaitFor(`button:text("Copied")`)
		if p.Clipboard() != plaintext {
			t.Error("Copy put something else on the clipboard")
		}
	}
	p.Click(`a:text("I have stored it")`)

	p.Fill("input[name=q]", apikeySignature(plaintext))
	p.Press("Enter")
	p.WaitFor(`th:text("CI pipeline")`)
	if !strings.Contains(p.URL(), "q="+apikeySignature(plaintext)) {
		t.Errorf("the search is not in the address: %s", p.URL())
	}
	list := p.URL()[len(s.URL):]
	choose := func(entry string) {
		t.Helper()
		p.Goto(list)
		p.Click("td.more button")
		p.Click(`[popover] a:text("` + entry + `")`)
	}
	said := func(words string) {
		t.Helper()
		p.WaitFor(`[role=status]:text("` + words + `")`)
		if scripts {
			p.WaitFor(`#announce:text("` + words + `")`)
		}
	}

	choose("Edit")
	p.WaitFor(`h1:text("Edit")`)
	p.Fill("input[name=name]", "Build pipeline")
	p.Fill("textarea[name=ipAllowlist]", "203.0.113.0/24")
	p.Click("#dialog button[type=submit]")
	said("“Build pipeline” is saved.")
	if !strings.HasSuffix(p.URL(), "/account/api-keys?q="+apikeySignature(plaintext)) {
		t.Errorf("the list's state is lost: after saving one is at %s", p.URL())
	}

	choose("Disable")
	p.WaitFor(`:text("Last 24 hours")`)
	p.Click("#dialog button[type=submit]")
	said("is disabled")
	choose("Enable")
	p.Click("#dialog button[type=submit]")
	said("is enabled")

	choose("Rotate")
	p.Check("input[name=graceSeconds][value='3600']")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#secret-key")
	if p.Text("#secret-key") == plaintext {
		t.Error("the successor is the old key")
	}
	p.Click(`a:text("I have stored it")`)
	p.WaitFor(`td:text("Rotated")`)

	choose("Stop the old key now")
	p.Click("#dialog button[type=submit]")
	said("is revoked")
	choose("Delete")
	p.Click("#dialog button[type=submit]")
	said("is deleted")

	// The successor has its own page, with its trail.
	p.Goto("/account/api-keys")
	p.Click(`th a:text("Build pipeline")`)
	for _, words := range []string{"Build pipeline", org.Admin.Email, "203.0.113.0/24"} {
		if !strings.Contains(p.Text("main"), words) {
			t.Errorf("the key's page does not say %q", words)
		}
	}

	// Every change is in the log, and the log holds together.
	actions := s.column(`SELECT action FROM audit_events WHERE org_id = $1 AND subject_kind = 'key' ORDER BY seq`, org.ID)
	if got, want := strings.Join(actions, " "), "key.issued key.edited key.disabled key.enabled key.rotated key.rotated key.revoked key.deleted"; got != want {
		t.Errorf("the log says %s", got)
	}
	if _, err := s.store.VerifyChain(t.Context(), org.ID); err != nil {
		t.Error(err)
	}

	p.Goto("/account")
	p.Click(`button:text("Sign out everywhere")`)
	p.WaitFor(`[role=status]:text("You are signed out everywhere.")`)
}

func apikeySignature(plaintext string) string {
	return plaintext[len(plaintext)-apikey.SignatureLength:]
}

// TestPlaintextIsNowhereAfterwards looks for the key everywhere it could have stayed.
func TestPlaintextIsNowhereAfterwards(t *testing.T) {
	for name, options := range map[string][]browsertest.Option{"with JavaScript": nil, "without": {browsertest.NoJavaScript()}} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			p := s.visit(org.Admin, options...)
			p.Goto("/account/api-keys")
			p.Click("main a[href^='/account/api-keys/new']")
			p.Fill("input[name=name]", "Secret keeper")
			p.Check("input[name=scopes][value='read:chat']")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#secret-key")
			plaintext := p.Text("#secret-key")
			p.AllowErrors("ERR_CACHE_MISS")                                    // Back to a page that a form answered with: the browser asks before it sends the form again
			secret := plaintext[strings.LastIndexByte(plaintext, '_')+1:][:32] // without the signature, which may be seen
			gone := func(where, text string) {
				t.Helper()
				if strings.Contains(text, secret) {
					t.Errorf("the plaintext is in %s", where)
				}
			}
			gone("the address", p.URL())
			p.Click(`a:text("I have stored it")`)
			p.WaitFor(`th:text("Secret keeper")`)
			gone("the document", p.HTML())
			p.Back()
			gone("the page that Back leads to", p.HTML())
			p.Back()
			gone("the page before", p.HTML())
			p.Goto("/account/api-keys")
			p.Reload()
			gone("the reloaded page", p.HTML())
			kept := p.Storage()
			gone("the browser's storage or history", kept.String())
			if len(kept.Local)+len(kept.Session)+len(kept.Databases)+len(kept.Caches) > 0 {
				t.Errorf("more than cookies is stored in the browser: %s", kept)
			}
			gone("the server's log", s.log.String())
			gone("the database", s.dump())
			if dump := s.dump(); !strings.Contains(dump, "Secret keeper") {
				t.Error("the dump is not one: it lacks the key's name")
			}
		})
	}
}

// TestFormSentTwiceMakesOneKey double-clicks, and sends the same form again from the history.
func TestFormSentTwiceMakesOneKey(t *testing.T) {
	for name, options := range map[string][]browsertest.Option{"with JavaScript": nil, "without": {browsertest.NoJavaScript()}} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			p := s.visit(org.Admin, options...)
			p.AllowErrors("409", "net::ERR_ABORTED")
			p.Goto("/account/api-keys/new")
			p.Fill("input[name=name]", "Clicked twice")
			p.Check("input[name=scopes][value='read:chat']")
			p.DoubleClick("#dialog button[type=submit]")
			p.WaitFor(`h1:text("key")`)
			page, err := s.keyring.Keys(t.Context(), org.Admin, apikey.Filter{}, apikey.Newest, "", 50)
			if err != nil || len(page.Rows) != 1 {
				t.Errorf("%d keys, %v", len(page.Rows), err)
			}
		})
	}
}

var masked = regexp.MustCompile(`•+\s*[0-9A-Za-z]{6}\s+pk_live_[0-9A-Za-z]{12}\b`)

// TestSeveralKeysAreRevokedAtOnce picks keys in the list.
func TestSeveralKeysAreRevokedAtOnce(t *testing.T) {
	for name, options := range map[string][]browsertest.Option{"with JavaScript": nil, "without": {browsertest.NoJavaScript()}} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			var ids []string
			for _, name := range []string{"one", "two", "three"} {
				key, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: name, Scopes: []string{"read:chat"}})
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, key.ID)
			}
			p := s.visit(org.Owner, options...)
			p.Goto("/account/api-keys?sort=name")
			if len(masked.FindAllString(p.Text("table"), -1)) != 3 {
				t.Errorf("the keys are not masked as they should be: %s", p.Text("table"))
			}
			p.Check("input[name=id][value='" + ids[0] + "']")
			p.Check("input[name=id][value='" + ids[2] + "']")
			p.Click(`button:text("Revoke")`)
			p.WaitFor(`h1:text("Revoke 2 keys")`)
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("2 keys are revoked.")`)
			if !strings.HasSuffix(p.URL(), "/account/api-keys?sort=name") {
				t.Errorf("the list's state is lost: %s", p.URL())
			}
			if n := p.Count(`td:text("Revoked")`); n != 2 {
				t.Errorf("%d keys are shown as revoked", n)
			}
		})
	}
}

// TestRolesSeeWhatIsTheirs looks at the screen as each role does.
func TestRolesSeeWhatIsTheirs(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	if _, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "seen", Scopes: []string{"read:chat"}}); err != nil {
		t.Fatal(err)
	}
	support := s.visit(org.Support)
	support.Goto("/account/api-keys")
	for _, selector := range []string{`a:text("Create new API key")`, "input[name=id]", "td.more button"} {
		if support.Exists(selector) {
			t.Errorf("support sees %s", selector)
		}
	}
	support.Click(`th a:text("seen")`)
	if text := support.Text("main"); strings.Contains(text, "Rotate") || !strings.Contains(text, org.Admin.Email) {
		t.Error("support sees a button, or not the trail")
	}
	member := s.visit(org.Member)
	if member.Path() != "/account" {
		t.Errorf("a member begins at %s", member.Path())
	}
	member.AllowErrors("403")
	member.Goto("/account/api-keys")
	if text := member.Text("main"); member.Status() != 403 || !strings.Contains(text, org.Owner.Email) || !strings.Contains(strings.ToLower(text), "admin") {
		t.Errorf("a member reads %d: %s", member.Status(), text)
	}
}

// TestKeyboardAloneIsEnough opens a row's menu and its dialog, and comes back, without a pointer.
func TestKeyboardAloneIsEnough(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	if _, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "typed", Scopes: []string{"read:chat"}}); err != nil {
		t.Fatal(err)
	}
	p := s.visit(org.Admin)
	p.Goto("/account/api-keys")
	focus := func() (is string) {
		p.Eval(`document.activeElement.textContent.trim() || document.activeElement.getAttribute("aria-label") || ""`, &is)
		return is
	}
	p.Eval(`document.querySelector("td.more button").focus()`, nil)
	p.Press("Enter")
	p.WaitFor(`[popover] a:focus:text("Edit")`)
	p.Press("ArrowDown")
	p.Press("ArrowDown")
	p.Press("Enter")
	p.WaitFor("dialog[open] #dialog-title, dialog[open] h1")
	if !strings.Contains(p.Text("dialog[open]"), "Disable") {
		t.Errorf("the third entry opened %q", p.Text("dialog[open] h1"))
	}
	p.Press("Escape")
	p.WaitGone("dialog[open]")
	p.WaitFor("td.more button:focus")
	if !strings.Contains(focus(), "typed") {
		t.Errorf("focus came back to %q", focus())
	}
}

// TestWholeKeyPastedIntoTheSearchDoesNotTravel looks at every address that the browser asked for.
func TestWholeKeyPastedIntoTheSearchDoesNotTravel(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	_, plaintext, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "pasted", Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	p := s.visit(org.Admin)
	p.Goto("/account/api-keys")
	p.ForgetRequests()
	p.Fill("input[name=q]", plaintext.Reveal())
	p.Press("Enter")
	p.WaitFor(`th:text("pasted")`)
	if p.Value("input[name=q]") != plaintext.Signature() {
		t.Errorf("the search holds %q", p.Value("input[name=q]"))
	}
	for _, r := range p.Requests() {
		if strings.Contains(r.URL, plaintext.RevealPass()) {
			t.Error("the plaintext was sent in an address")
		}
	}
}

// TestOutageLosesNothingThatWasTyped presses Create while the database does not answer.
func TestOutageLosesNothingThatWasTyped(t *testing.T) {
	for name, path := range map[string]string{"in the dialog": "/account/api-keys", "on the page": "/account/api-keys/new"} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			p := s.visit(org.Admin)
			p.AllowErrors("503")
			p.Goto(path)
			if path != "/account/api-keys/new" {
				p.Click("main a[href^='/account/api-keys/new']")
			}
			p.Fill("input[name=name]", "Typed with care")
			p.Check("input[name=scopes][value='read:chat']")
			lock, err := s.db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := lock.Exec(`LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE`); err != nil {
				t.Fatal(err)
			}
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`.outage:text("can’t answer just now")`)
			if p.Value("input[name=name]") != "Typed with care" {
				t.Error("what was typed is lost")
			}
			if err := lock.Rollback(); err != nil {
				t.Fatal(err)
			}
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#secret-key")
			p.WaitGone(".outage")
		})
	}
}

// TestTwoTabsEditOneKey saves in one tab what the other does not know of.
func TestTwoTabsEditOneKey(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	key, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "shared", Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	first := s.visit(org.Admin)
	first.AllowErrors("409")
	path := "/account/api-keys/" + key.ID + "/edit"
	first.Goto(path)
	second := first.NewTab()
	second.AllowErrors("409")
	second.Goto(path)
	first.Fill("input[name=name]", "from the first tab")
	first.Click("#dialog button[type=submit]")
	second.Fill("input[name=name]", "from the second tab")
	second.Click("#dialog button[type=submit]")
	second.WaitFor(`[role=alert]:text("Saving replaces that.")`)
	second.Screenshot("late-edit")
	second.Axe()
	if second.Value("input[name=name]") != "from the second tab" {
		t.Error("what was typed is lost")
	}
	second.Click("#dialog button[type=submit]")
	second.WaitFor(`[role=status]:text("“from the second tab” is saved.")`)
}
