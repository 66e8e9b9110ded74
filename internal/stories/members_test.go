package stories_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAnOwnerRunsTheirOrganisation invites somebody, who joins, gets another role, and is sent away with their keys.
func TestAnOwnerRunsTheirOrganisation(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { runAnOrganisation(t, name, way.scripts, way.options) })
	}
}

func runAnOrganisation(t *testing.T, look string, swift bool, options []browsertest.Option) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	p := s.visit(org.Owner, options...)
	p.AllowErrors("422", "404", "403", "409")
	check := func(p *browsertest.Page, name string) {
		t.Helper()
		p.Screenshot("members-" + look + "-" + name)
		p.Axe()
		p.NoOverflow()
	}
	// follow opens a link that leads to a dialog, which is a page without a script.
	follow := func(link string) {
		t.Helper()
		p.Click(link)
		p.WaitFor("#dialog h1")
	}

	p.Goto("/members")
	check(p, "list")
	follow(`a:text("Invite somebody")`)
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#i-email-problem")
	check(p, "invite-with-mistakes")
	p.Fill("input[name=email]", "Noor@Herons.example")
	p.Check("input[name=role][value=admin]")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#secret-link")
	check(p, "link")
	link := p.Text("#secret-link")
	token := link[strings.LastIndex(link, "/")+1:]
	if !strings.HasPrefix(link, s.URL+"/join/") || len(token) < 26 {
		t.Fatalf("the link is %q", link)
	}
	p.Click(`a:text("I have handed it over")`)
	p.WaitFor("#invited")
	check(p, "invited")
	for _, search := range []struct{ text, result string }{{"nobody at all", `h2:text("Nobody matches")`}, {"noor@", `p:text("but an invitation does")`}} {
		p.Fill("input[name=q]", search.text)
		p.Press("Enter")
		p.WaitFor(search.result)
	}
	if !strings.Contains(p.Text("#invited + ul"), "noor@herons.example") {
		t.Error("the search does not find who is invited")
	}
	check(p, "invited-found")
	gone := func(when string) {
		t.Helper()
		if strings.Contains(p.HTML(), token) || strings.Contains(p.URL(), token) {
			t.Errorf("%s: the link is still there", when)
		}
	}
	gone("after it was handed over")
	if swift { // without a script Back asks to send the form again, as after every form
		p.Back()
		gone("after Back")
	}
	sum := sha256.Sum256([]byte(token))
	for where, text := range map[string]string{"database": s.dump(), "log": s.log.String()} {
		if strings.Contains(text, token) {
			t.Errorf("the link's token is in the %s", where)
		}
	}
	if !strings.Contains(s.dump(), fmt.Sprintf("%x", sum)) {
		t.Error("the database does not know the token's hash: this test looks in the wrong place")
	}

	guest := browsertest.Open(t, s.URL, options...)
	guest.AllowErrors("422", "404", "403")
	guest.Goto("/join/" + token)
	check(guest, "join")
	guest.Fill("input[name=name]", "Noor Haddad")
	guest.Fill("input[name=password]", "too short")
	guest.Click(`button:text("Join")`)
	guest.WaitFor("#password-problem")
	check(guest, "join-with-mistakes")
	if guest.Value("input[name=name]") != "Noor Haddad" {
		t.Error("what was typed is lost")
	}
	guest.Fill("input[name=password]", "seven quiet otters wade")
	guest.Click(`button:text("Join")`)
	guest.WaitFor("[role=status]")
	if guest.Path() != "/account/api-keys" && guest.Path() != "/" {
		t.Errorf("who joined is at %s", guest.Path())
	}
	late := browsertest.Open(t, s.URL, options...)
	late.AllowErrors("404")
	late.Goto("/join/" + token)
	if late.Status() != 404 {
		t.Errorf("the used link: %d", late.Status())
	}
	check(late, "join-too-late")

	var noor account.Actor
	if err := s.db.QueryRow(`SELECT id, org_id, email, role FROM members WHERE email = 'noor@herons.example'`).Scan(&noor.MemberID, &noor.OrgID, &noor.Email, &noor.Role); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, key := range []string{"Nightly export", "Chat assistant", "Old key"} {
		made, _, err := s.keyring.IssueKey(t.Context(), noor, keyring.KeyDraft{Name: key, Scopes: []string{"read:chat"}})
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, made.ID)
	}
	if _, err := s.keyring.RotateKey(t.Context(), noor, keys[2], 24*3600e9, ""); err != nil {
		t.Fatal(err)
	}
	p.Goto("/members?q=noor")
	if swift {
		p.Click("td.more button")
		p.Click(`.menu a:text("Change role…")`)
		p.WaitFor("dialog[open] #dialog h1")
	} else {
		p.Goto("/members/" + noor.MemberID)
		p.Click(`a:text("Change role…")`)
	}
	check(p, "role")
	p.Check("input[name=role][value=support]")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("[role=status]")
	guest.Goto("/account/api-keys")
	if guest.Exists(`a:text("Create API key")`) {
		t.Error("the role did not change for the session that was open")
	}

	p.Goto("/members/" + noor.MemberID)
	check(p, "member")
	p.Click(`a:text("Suspend…")`)
	p.WaitFor("#m-keys")
	check(p, "suspend")
	p.Check("input[name=keys][value=transfer]")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("#m-heir-problem")
	check(p, "suspend-to-nobody")
	p.Select("select[name=keysTo]", org.Admin.MemberID)
	p.Click("#dialog button[type=submit]")
	p.WaitFor("[role=status]")
	if said := p.Text("[role=status]"); !strings.Contains(said, "Noor Haddad is suspended. 3 keys belong to Admin now.") {
		t.Errorf("it says %q", said)
	}
	guest.Goto("/account/api-keys")
	if !strings.HasPrefix(guest.Path(), "/sign-in") {
		t.Errorf("who is suspended is at %s", guest.Path())
	}
	p.Goto("/members/" + noor.MemberID)
	check(p, "suspended")
	p.Click(`a:text("Remove…")`)
	p.WaitFor("#dialog h1")
	check(p, "remove")
	p.Click("#dialog button[type=submit]")
	p.WaitFor("[role=status]")
	p.Goto("/members?status=removed")
	check(p, "removed")
	p.Goto("/members/" + org.Owner.MemberID + "/remove")
	check(p, "last-owner")
	if p.Exists("#dialog button[type=submit]") {
		t.Error("the last owner can be removed")
	}
	row, err := s.keyring.Key(t.Context(), org.Owner, keys[0])
	if err != nil || row.OwnerID != org.Admin.MemberID || row.Stored != apikey.Enabled {
		t.Errorf("the key is %+v, %v", row.Key, err)
	}

	for who, status := range map[*account.Actor]int{&org.Support: 200, &org.Member: 403} {
		other := s.visit(*who, options...)
		other.AllowErrors("403")
		other.Goto("/members")
		if other.Status() != status || other.Exists(`a:text("Invite somebody")`) || other.Exists("td.more button") {
			t.Errorf("%s gets %d, or sees what they may not do", who.Role, other.Status())
		}
	}
}
