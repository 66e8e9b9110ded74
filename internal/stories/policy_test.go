package stories_test

import (
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAKeyPolicy: an owner asks more of keys, is told which break that, thinks again, and saves it all the same; then keys
// follow it, the list says which do not, and an admin reads it.
func TestAKeyPolicy(t *testing.T) {
	for look, way := range ways {
		t.Run(look, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			now := s.store.Now()
			s.store.Now = func() time.Time { return now.Add(-75 * apikey.Day) }
			for _, draft := range []keyring.KeyDraft{{Name: "Nightly import"}, {Name: "Billing, from the office", IPAllowlist: []string{"192.0.2.0/24"}}, {Name: "Staging"}} {
				draft.Scopes = []string{"read:chat"}
				if _, _, err := s.keyring.IssueKey(t.Context(), org.Admin, draft); err != nil {
					t.Fatal(err)
				}
			}
			s.store.Now = func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
			p := s.visit(org.Owner, way.options...)
			p.AllowErrors("422")
			check := func(name string) {
				t.Helper()
				p.Screenshot("policy " + look + " " + name)
				p.Axe()
				p.NoOverflow()
			}
			p.Goto("/key-policy")
			check("page")
			p.Click(`main a:text("Change policy")`)
			p.WaitFor("#p-longest")
			check("form")
			p.Fill("#p-longest", "30")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#p-default-problem")
			check("mistake")
			p.Fill("#p-default", "30")
			p.Check("#p-allowlist")
			p.Fill("#p-unused", "60")
			p.Check(`input[name=disableUnused][value="1"]`)
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`#dialog :text("Nothing is saved yet")`)
			check("question")
			p.Click(`#dialog a:text("Change it")`)
			p.WaitFor("#p-longest")
			if p.Value("#p-longest") != "30" || !p.Checked("#p-allowlist") || !p.Checked(`input[name=disableUnused][value="1"]`) {
				t.Error("what was typed is lost")
			}
			p.Check(`input[name=disableUnused][value=""]`)
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`#dialog :text("3 live keys break this policy")`)
			p.Click(`#dialog button:text("Save all the same")`)
			p.WaitFor(`[role=status]:text("The key policy is saved.")`)
			check("page-broken")

			p.Click(`main a:text("3 live keys")`)
			p.WaitFor(`table.keys :text("Breaks policy")`)
			check("list")
			p.Click(`th a:text("Nightly import")`)
			p.WaitFor(`:text("This key breaks the key policy")`)
			check("key")

			p.Goto("/account/api-keys/new")
			p.Fill("input[name=name]", "Follows the policy")
			p.Check("input[name=scopes][value='read:chat']")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#k-allowlist-problem")
			check("create")
			p.Fill("#k-allowlist", "192.0.2.7")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#secret-key")

			admin := s.visit(org.Admin, way.options...)
			admin.Goto("/key-policy")
			if admin.Exists(`main a:text("Change policy")`) || !admin.Exists(`dd:text("30 days")`) {
				t.Error("an admin may change the policy, or does not see it")
			}
		})
	}
}
