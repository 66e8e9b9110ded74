package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestSupportReadsTheAuditLog: a support person looks for who disabled a key, reads what changed, follows the key's
// history and goes back, reads further down, checks the log, and finds the exports of what is shown.
func TestSupportReadsTheAuditLog(t *testing.T) {
	for look, way := range ways {
		t.Run(look, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			key, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "Deployment <b>", Scopes: []string{"read:chat"}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.keyring.ChangeStatus(t.Context(), org.Owner, apikey.Disable, key.ID); err != nil {
				t.Fatal(err)
			}
			err = s.store.Mutate(t.Context(), org.Member, account.RenameSelf, func(*store.Tx) ([]audit.Change, error) {
				var changes []audit.Change
				for range 60 {
					changes = append(changes, audit.Change{Subject: audit.Subject{Kind: "member", ID: org.Member.MemberID, Name: org.Member.Email}, After: audit.Facts{"name": strings.Repeat("W", 100)}})
				}
				return changes, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			p := s.visit(org.Support, way.options...)
			check := func(name string) {
				t.Helper()
				p.Screenshot("audit " + look + " " + name)
				p.Axe()
				p.NoOverflow()
			}
			apply := func() {
				t.Helper()
				if !way.scripts {
					p.Click(`button:text("Apply")`)
				}
			}
			p.Goto("/audit-log")
			check("newest")
			p.Click(`a:text("Older")`)
			p.WaitFor(`th:text("Created the key")`)
			p.Back()
			p.WaitFor(`a:text("Older")`)
			p.Select("#f-what", "Key disabled")
			apply()
			p.WaitFor(`.chip:text("Disabled the key")`)
			if !strings.Contains(p.URL(), "what=key.disabled") || p.Exists(`th:text("Created the key")`) || !p.Exists(`td:text("Owner")`) {
				t.Errorf("filtered by what happened, at %s: %s", p.URL(), p.Text("#list"))
			}
			p.Click("summary")
			p.WaitFor(`details:text("Enabled")`)
			check("filtered")
			for _, name := range []string{"Export CSV", "Export JSON Lines"} {
				if !p.Exists(`a[href*="what=key.disabled"]:text("` + name + `")`) {
					t.Errorf("%s does not export what is shown", name)
				}
			}
			p.Click(`a:text("History")`)
			p.WaitFor(`.chip:text("About “Deployment <b>”")`)
			if p.Count("tbody tr") != 2 {
				t.Errorf("the key's history: %s", p.Text("#list"))
			}
			p.Click(`.chip`)
			p.WaitGone(`.chip`)
			p.Fill("#f-from", "2020-01-01")
			p.Fill("#f-to", "2020-01-31")
			apply()
			p.WaitFor(`h2:text("Nothing like this happened")`)
			check("nothing")
			p.Click(`a:text("Show everything")`)
			p.WaitFor(`a:text("Older")`)
			if way.scripts {
				p.Eval(`document.querySelector("#f-from").focus()`, nil)
				for _, digit := range "01312020" { // the year is none until its last digit
					p.Press(string(digit))
				}
				p.WaitFor(`a:text("Older")`)
				if p.Value("#f-from") != "2020-01-31" || !strings.Contains(p.URL(), "from=2020-01-31") || p.Exists("dialog[open]") {
					t.Errorf("a day that was typed: %q at %s", p.Value("#f-from"), p.URL())
				}
			}
			p.Click(`a:text("Check the log")`)
			p.WaitFor(`#dialog .notice:text("68 events hold")`)
			check("checked")
			if !strings.Contains(p.Text("#dialog"), "Its hash") {
				t.Errorf("the check: %s", p.Text("#dialog"))
			}
			p.Click(`#dialog a:text("Close")`)
			p.WaitFor(`h1:text("Audit log")`)
			p.Click(`a:text("Older")`)
			p.WaitFor(`th:text("Created the key")`)
			p.Click(`th a:text("Deployment")`)
			p.WaitFor("#trail")
			p.Click(`a:text("In the audit log")`)
			p.WaitFor(`.chip:text("About “Deployment <b>”")`)
		})
	}
}
