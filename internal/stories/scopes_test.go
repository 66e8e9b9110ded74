package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestLifeOfAScope: an owner adds a scope, describes it, retires it, tries to add it again, brings it back, and deletes
// it once no key holds it.
func TestLifeOfAScope(t *testing.T) {
	for look, way := range ways {
		t.Run(look, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			for _, scopes := range [][]string{{"read:chat"}, {"read:chat", "write:chat"}, {"*"}} {
				if _, _, err := s.keyring.IssueKey(t.Context(), org.Owner, keyring.KeyDraft{Name: "held", Scopes: scopes}); err != nil {
					t.Fatal(err)
				}
			}
			p := s.visit(org.Owner, way.options...)
			p.AllowErrors("409", "422")
			check := func(name string) {
				t.Helper()
				p.Screenshot("scopes " + look + " " + name)
				p.Axe()
				p.NoOverflow()
			}
			row := func(name, entry string) {
				t.Helper()
				p.Goto("/scopes")
				p.Click(`button[aria-label="Actions for ` + name + `"]`)
				p.Click(`.menu:popover-open a:text("` + entry + `")`)
				p.WaitFor("#dialog h1")
			}
			said := func(words string) {
				t.Helper()
				p.WaitFor(`[role=status]:text("` + words + `")`)
			}

			p.Goto("/scopes")
			check("list")
			p.Click(`main a:text("New scope")`)
			p.WaitFor("#s-name")
			p.Fill("#s-name", "Read Invoices")
			p.Fill("#s-description", "Read invoices and their lines")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#s-name-problem")
			check("mistake")
			if p.Value("#s-description") != "Read invoices and their lines" {
				t.Error("what was typed is lost")
			}
			p.Fill("#s-name", "read:invoices")
			p.Click("#dialog button[type=submit]")
			said("read:invoices is in the catalogue.")

			row("read:invoices", "Describe")
			check("describe")
			p.Fill("#s-description", "Read invoices, their lines and who paid them; as much as fits into one line of a list and then some more")
			p.Click("#dialog button[type=submit]")
			said("read:invoices is saved.")

			row("read:invoices", "Retire")
			check("retire")
			p.Click("#dialog button[type=submit]")
			said("read:invoices is retired.")
			check("list-retired")

			p.Click(`main a:text("New scope")`)
			p.WaitFor("#s-name")
			p.Fill("#s-name", "read:invoices")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#s-name-problem")
			check("taken")
			p.Click(`#dialog a:text("Bring it back")`)
			p.WaitFor(`#dialog h1:text("Bring this scope back?")`)
			check("restore")
			p.Click("#dialog button[type=submit]")
			said("read:invoices can be granted again.")

			row("read:chat", "Delete")
			check("delete-held")
			if !strings.Contains(p.Text("#dialog"), "2 keys hold it.") || p.Exists("#dialog button[type=submit]") {
				t.Errorf("a scope that keys hold: %s", p.Text("#dialog"))
			}
			p.Click(`#dialog a:text("Retire it")`)
			p.WaitFor(`#dialog h1:text("Retire this scope?")`)
			row("read:invoices", "Delete")
			check("delete")
			p.Click("#dialog button[type=submit]")
			said("read:invoices is deleted.")

			p.Click(`td a[href*="scope=read%3Achat"]`)
			p.WaitFor(`th a:text("held")`)
			if p.Count("table.keys tbody tr") != 2 {
				t.Errorf("%d keys are listed", p.Count("table.keys tbody tr"))
			}
		})
	}
}
