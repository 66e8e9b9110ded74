package stories_test

import (
	"fmt"
	"testing"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestWhoOwnsWhatIsSeenAndSettled finds an owner, follows a number, and gives all of their keys away or revokes them.
func TestWhoOwnsWhatIsSeenAndSettled(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			for i := range 3 {
				if _, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: fmt.Sprint("key ", i), Scopes: []string{"read:chat"}, Expires: "20d"}); err != nil {
					t.Fatal(err)
				}
			}
			p := s.visit(org.Owner, way.options...)
			p.AllowErrors("422")
			p.Goto("/key-owners")
			p.Axe()
			p.NoOverflow()
			p.Click(`td[data-label=Expiring] a`)
			if n := p.Count("#keys tbody tr"); n != 3 {
				t.Errorf("the number leads to %d keys", n)
			}
			p.Goto("/key-owners")
			p.Fill("input[name=q]", "nobody at all")
			p.Press("Enter")
			p.WaitFor(`h2:text("Nobody matches")`)
			p.Goto("/key-owners?q=admin")

			p.Click("td.more button")
			p.Click(`[popover] a:text("Transfer all keys")`)
			p.WaitFor("select[name=ownerId]")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#o-owner-problem")
			p.Axe()
			p.NoOverflow()
			p.Select("select[name=ownerId]", org.Owner.MemberID)
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("3 keys of Admin belong to Owner now.")`)

			p.Goto("/key-owners?sort=name")
			p.Click(`tr:has([title="` + org.Owner.Email + `"]) td.more button`)
			p.Click(`[popover] a:text("Revoke all keys")`)
			p.WaitFor(`button:text("Revoke 3 keys")`)
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("3 keys of Owner are revoked.")`)
		})
	}
}
