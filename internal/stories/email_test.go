package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAMemberGetsAnotherAddress starts the change as an owner, and confirms it in another browser.
func TestAMemberGetsAnotherAddress(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { changeAnAddress(t, name, way.options) })
	}
}

func changeAnAddress(t *testing.T, look string, options []browsertest.Option) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	p := s.visit(org.Owner, options...)
	p.AllowErrors("422", "404")
	check := func(p *browsertest.Page, name string) {
		t.Helper()
		p.Screenshot("email-" + look + "-" + name)
		p.Axe()
		p.NoOverflow()
	}
	p.Goto("/account")
	check(p, "account")
	p.Goto("/members/" + org.Admin.MemberID)
	p.Click(`a:text("Change email…")`)
	p.WaitFor("#dialog h1")
	p.Fill("input[name=email]", "x")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#e-email-problem")
	check(p, "form")
	p.Fill("input[name=email]", "Noor@Herons.example")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#secret-link")
	check(p, "link")
	link := p.Text("#secret-link")
	p.Click(`#dialog a:text("Done")`)
	p.WaitFor(`bdi:text("noor@herons.example")`)
	check(p, "waiting")
	p.Click(`dd a:text("Cancel")`)
	p.WaitFor("#dialog h1")
	check(p, "cancel")

	member := s.visit(org.Admin, options...)
	member.AllowErrors("422", "404")
	member.Goto(strings.TrimPrefix(link, s.URL))
	member.Click("button[type=submit]")
	member.WaitFor("#password-problem")
	check(member, "confirm")
	member.Fill("input[name=password]", storetest.Password)
	member.Click("button[type=submit]")
	member.WaitFor(`bdi:text("noor@herons.example")`)
	check(member, "changed")
	member.Goto(strings.TrimPrefix(link, s.URL))
	check(member, "over")
}
