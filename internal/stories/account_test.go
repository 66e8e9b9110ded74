package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestOnesOwnAccount changes a name and a password, and ends sessions.
func TestOnesOwnAccount(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			elsewhere, third := s.visit(org.Member), s.visit(org.Member)
			p := s.visit(org.Member, way.options...)
			p.AllowErrors("422")
			check := func() {
				t.Helper()
				p.Axe()
				p.NoOverflow()
			}
			if p.Path() != "/account" {
				t.Fatalf("a member begins at %s", p.Path())
			}
			if n := p.Count("tbody tr"); n != 3 {
				t.Errorf("%d sessions are listed", n)
			}
			check()

			p.Click("a[href='/account/name']")
			p.WaitFor("input[name=name]")
			p.Fill("input[name=name]", "Ada Byron")
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("Your name is saved.")`)
			p.WaitFor(`dd:text("Ada Byron")`)

			p.Click(`button:text("End")`)
			p.WaitFor(`[role=status]:text("That session is ended.")`)
			if n := p.Count("tbody tr"); n != 2 {
				t.Errorf("%d sessions are left", n)
			}

			p.Click("a[href='/account/password']")
			p.WaitFor("input[name=newPassword]")
			p.Fill("input[name=currentPassword]", "not my password")
			p.Fill("input[name=newPassword]", "short")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#a-current-problem")
			p.WaitFor("#a-new-problem")
			check()
			p.Fill("input[name=currentPassword]", storetest.Password)
			p.Fill("input[name=newPassword]", "violet tram window hums")
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("Your password is changed. One other session has ended.")`)
			if n := p.Count("tbody tr"); n != 1 {
				t.Errorf("%d sessions are left", n)
			}
			for _, other := range []*browsertest.Page{elsewhere, third} {
				other.Goto("/account")
				if !strings.HasPrefix(other.Path(), "/sign-in") {
					t.Errorf("another browser is at %s", other.Path())
				}
			}
			p.Click(`button:text("Sign out everywhere")`)
			p.WaitFor(`[role=status]:text("signed out everywhere")`)
			s.signIn(p, org.Member.Email, "violet tram window hums")
		})
	}
}

// TestBackAfterSignOutShowsNothing presses Back when somebody has left: the browser has kept no page of theirs.
func TestBackAfterSignOutShowsNothing(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			p := s.visit(org.Admin, way.options...)
			p.Goto("/account/api-keys")
			p.Goto("/account")
			p.Click(`button:text("Sign out everywhere")`)
			p.WaitFor(`[role=status]:text("signed out everywhere")`)
			for range 2 {
				p.Back()
				if html := p.HTML(); !strings.HasPrefix(p.Path(), "/sign-in") || strings.Contains(html, org.Admin.Email) {
					t.Errorf("after Back, the browser is at %s", p.Path())
				}
			}
		})
	}
}
