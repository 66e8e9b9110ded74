package stories_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestBiasProfilesOfKeys follows the sources' page on keys and their bias profiles from one end to the other, after an owner
// has made the profiles.
func TestBiasProfilesOfKeys(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { biasProfiles(t, way.scripts, way.options...) })
	}
}

func biasProfiles(t *testing.T, scripts bool, options ...browsertest.Option) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	p := s.visit(org.Owner, options...)
	p.AllowErrors("409", "422")
	look := func(name string) {
		t.Helper()
		p.Screenshot("profiles-story-" + strconv.FormatBool(scripts) + "-" + name)
		p.Axe()
		p.NoOverflow()
	}
	said := func(words string) {
		t.Helper()
		p.WaitFor(`[role=status]:text("` + words + `")`)
	}
	send := func() { t.Helper(); p.Click("#dialog button[type=submit]") }

	p.Goto("/bias-profiles")
	look("none-yet")
	p.Click(`a:text("Create the first profile")`)
	p.WaitFor("#p-name")
	p.Fill("#p-name", "Strict")
	p.Fill("#p-0-threshold", "1e2")
	p.Fill("#p-8-name", "Race")
	send() // refused kindly, beside the very fields
	p.WaitFor("#p-0-threshold-problem")
	p.WaitFor("#p-8-name-problem")
	if p.Value("#p-0-threshold") != "1e2" || p.Value("#p-8-name") != "Race" || p.Value("#p-name") != "Strict" {
		t.Error("what was typed is lost")
	}
	look("mistakes")
	p.Fill("#p-0-threshold", "80")
	if scripts {
		p.WaitFor(`#p-0-threshold + span:text("High")`)
	}
	p.Select("#p-0-action", "block")
	p.Fill("#p-8-name", "native language")
	p.Fill("#p-1-name", "") // gender goes
	p.Uncheck("input[name='c2.enabled']")
	send()
	said("“Strict” is created.")
	look("made")
	strict, err := s.store.Profiles(t.Context(), org.ID)
	if err != nil || len(strict) != 1 {
		t.Fatal(strict, err)
	}
	on, blocking := strict[0].Judging()
	if len(strict[0].Categories) != 8 || on != 7 || blocking != 1 {
		t.Errorf("the profile is %+v", strict[0])
	}
	p.Goto("/bias-profiles/new?from=" + strict[0].ID)
	p.Fill("#p-name", "Mild")
	p.Fill("#p-default", "70")
	send()
	said("“Mild” is created.")

	// 1. “Create New API Key”; 2. select a bias profile; 3. create; copy the key.
	p.Goto("/account/api-keys/new")
	p.Fill("input[name=name]", "Chat service")
	p.Check("input[name=scopes][value='read:chat']")
	p.Select("#k-profile", strict[0].ID)
	send()
	p.WaitFor("#secret-key")
	plaintext := p.Text("#secret-key")
	if scripts {
		p.Click("#secret-key + [data-copy]")
		p.WaitFor(`button:text("Copied")`)
		if p.Clipboard() != plaintext {
			t.Error("Copy put something else on the clipboard")
		}
	}
	p.Click(`a:text("I have stored it")`)
	// The table says id, masked key, status, last use, profile, and has the actions.
	p.WaitFor(`td[data-label="Bias profile"]:text("Strict")`)
	for _, words := range []string{s.find(`name = 'Chat service'`), apikeySignature(plaintext), "Enabled", "Never"} {
		if !strings.Contains(p.Text("table"), words) {
			t.Errorf("the list does not say %q", words)
		}
	}
	// Edit: the profile and the status.
	p.Click("td.more button")
	p.Click(`[popover] a:text("Edit")`)
	p.WaitFor("#k-profile")
	p.Select("#k-profile", "")
	p.Check("input[name=status][value=disabled]")
	send()
	said("“Chat service” is saved.")
	p.WaitFor(`td[data-label="Bias profile"]:text("None")`)
	p.WaitFor(`td.status:text("Disabled")`)
	p.Click("td.more button")
	p.Click(`[popover] a:text("Edit")`)
	p.WaitFor("#k-profile")
	p.Select("#k-profile", strict[0].ID)
	p.Check("input[name=status][value=enabled]")
	send()
	said("“Chat service” is saved.")

	// The profile says by how many keys it is used, and leads to them.
	p.Goto("/bias-profiles")
	look("list")
	p.Click(`a:text("1 key")`)
	p.WaitFor(`th:text("Chat service")`)

	// Somebody else changes it meanwhile.
	p.Goto("/bias-profiles")
	p.Click(`th a:text("Strict")`)
	p.WaitFor(`pre:text("defaultThreshold")`)
	p.Click(`a:text("Edit")`)
	p.WaitFor("#p-default")
	other := s.visit(org.Owner, options...)
	other.Goto("/bias-profiles/" + strict[0].ID + "/edit")
	other.Fill("#p-description", "For children")
	other.Click("#dialog button[type=submit]")
	other.WaitFor(`[role=status]:text("is saved")`)
	p.Fill("#p-default", "20")
	send()
	p.WaitFor(`[data-problems]:text("For children")`)
	look("stale")
	if p.Value("#p-default") != "20" {
		t.Error("what was typed is lost")
	}
	p.Fill("#p-description", "For children")
	send()
	said("“Strict” is saved.")

	// In use, it is replaced in the step that deletes it.
	p.Click(`a:text("Delete…")`)
	p.WaitFor(`:text("1 key carries this profile, and it is live.")`)
	look("delete")
	send()
	p.WaitFor("#p-move-problem")
	mild := s.column(`SELECT id FROM bias_profiles WHERE name = 'Mild'`)[0]
	p.Select("#p-move", mild)
	send()
	said("“Strict” is deleted. 1 key was moved.")
	p.Goto("/account/api-keys")
	p.WaitFor(`td[data-label="Bias profile"]:text("Mild")`)

	// Delete the key: the trash, the warning, for good.
	p.Click("td.more button")
	p.Click(`[popover] a:text("Delete")`)
	p.WaitFor(`#dialog:text("This can’t be undone.")`)
	send()
	said("“Chat service” is deleted.")
	if got, want := strings.Join(s.column(`SELECT action FROM audit_events WHERE org_id = $1 AND subject_kind IN ('key', 'profile') ORDER BY seq`, org.ID), " "),
		"profile.created profile.created key.issued key.edited key.edited profile.edited profile.edited key.edited profile.deleted key.deleted"; got != want {
		t.Errorf("the log says %s", got)
	}
	if _, err := s.store.VerifyChain(t.Context(), org.ID); err != nil {
		t.Error(err)
	}
}

// TestScreensOfBiasProfiles opens every one in light and dark, wide and narrow, with the demonstration's profiles and with
// the widest names.
func TestScreensOfBiasProfiles(t *testing.T) {
	s, owner := demonstration(t)
	busy := s.column(`SELECT profile_id::text FROM api_keys WHERE profile_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1`)[0]
	if _, err := s.db.Exec(`INSERT INTO bias_profiles (id, org_id, name, description, default_threshold, created_at)
		SELECT gen_random_uuid(), id, repeat('W', 100), repeat('description ', 41), 100, now() FROM organisations`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Exec(`INSERT INTO bias_profile_categories SELECT id, repeat(x, 100), true, 100, 'block' FROM bias_profiles, unnest('{W,語}'::text[]) x WHERE name LIKE 'WWW%'`); err != nil {
		t.Fatal(err)
	}
	wide := s.column(`SELECT id FROM bias_profiles WHERE name LIKE 'WWW%'`)[0]
	for look, options := range looks {
		t.Run(look, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, options...)
			s.signIn(p, owner.Email, owner.Password)
			check := func(name string) {
				t.Helper()
				p.Screenshot(look + "-profiles-" + name)
				p.Axe()
				p.NoOverflow()
			}
			for _, screen := range []struct{ name, path string }{
				{"list", "/bias-profiles"}, {"new", "/bias-profiles/new"}, {"page", "/bias-profiles/" + busy}, {"edit", "/bias-profiles/" + busy + "/edit"},
				{"delete", "/bias-profiles/" + busy + "/delete"}, {"delete-unused", "/bias-profiles/" + wide + "/delete"},
				{"page-wide", "/bias-profiles/" + wide}, {"edit-wide", "/bias-profiles/" + wide + "/edit"},
			} {
				p.Goto(screen.path)
				check(screen.name)
			}
			p.Goto("/bias-profiles")
			p.Click("td.more button")
			p.Click(`[popover]:popover-open a:text("Edit")`)
			p.WaitFor("dialog[open] #p-name")
			check("edit-dialog")
		})
	}
}
