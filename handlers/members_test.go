package handlers

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

var joinPath = regexp.MustCompile(`http://localhost(/join/[A-Z2-7]{26})`)

// invited makes a link on the page, and returns its path.
func (b *browser) invited(email, role string) string {
	b.site.t.Helper()
	got := b.post("/members/invite", url.Values{"email": {email}, "role": {role}, "nonce": {b.nonce()}})
	found := joinPath.FindStringSubmatch(got.body)
	if got.status != http.StatusCreated || found == nil || got.header.Get("Cache-Control") != "no-store" {
		b.site.t.Fatalf("inviting %s: %d %s", email, got.status, got.body)
	}
	return found[1]
}

func TestTheListOfMembersKeepsItsStateInTheAddress(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	if _, err := s.keyring.ChangeMember(t.Context(), s.org.Owner, s.org.Member.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]account.Actor{
		"":                              {s.org.Admin, s.org.Owner, s.org.Support},
		"?status=removed":               {s.org.Member},
		"?status=all":                   {s.org.Admin, s.org.Member, s.org.Owner, s.org.Support},
		"?status=suspended":             {},
		"?role=admin":                   {s.org.Admin},
		"?q=SUPPORT%40":                 {s.org.Support},
		"?q=%25":                        {},
		"?q=o&role=owner&status=active": {s.org.Owner},
	} {
		got := owner.get("/members" + query)
		for _, who := range []account.Actor{s.org.Owner, s.org.Admin, s.org.Support, s.org.Member} {
			expected := false
			for _, w := range want {
				expected = expected || w.MemberID == who.MemberID
			}
			if got.status != 200 || strings.Contains(got.body, `href="/members/`+who.MemberID+`"`) != expected {
				t.Errorf("%s: %d, %s is listed: %v", query, got.status, who.Role, !expected)
			}
		}
	}
	for _, query := range []string{"?role=king", "?status=gone", "?q=%00", "?cursor=x"} {
		if got := owner.get("/members" + query); got.status != http.StatusBadRequest {
			t.Errorf("%.20s: %d", query, got.status)
		}
	}
}

// TestEveryInvitationCanBeFound invites more people than the page shows.
func TestEveryInvitationCanBeFound(t *testing.T) {
	s := newSite(t)
	owner, other := s.as(s.org.Owner), storetest.Organisation(t, s.store)
	invite := func(who account.Actor, email string) {
		t.Helper()
		if _, _, err := s.keyring.Invite(t.Context(), who, keyring.InvitationDraft{Email: email, Role: "member"}); err != nil {
			t.Fatal(err)
		}
	}
	invite(other.Owner, "first@elsewhere.example")
	invite(s.org.Owner, "first@example.com")
	for i := range invitationsAtOnce {
		invite(s.org.Owner, fmt.Sprintf("guest%d@example.com", i))
	}
	for query, want := range map[string]struct {
		count int
		more  bool
		first bool // the oldest is among them
	}{
		"":                         {invitationsAtOnce, true, false},
		"?q=EXAMPLE.com":           {invitationsAtOnce, true, false},
		"?q=first%40":              {1, false, true},
		"?q=guest4":                {11, false, false},
		"?q=%25":                   {0, false, false},
		"?q=first%40&role=admin":   {0, false, false},
		"?q=first%40&status=all":   {0, false, false},
		"?q=" + s.org.Admin.Email:  {0, false, false},
		"?q=first%40elsewhere.exa": {0, false, false},
	} {
		whole := owner.get("/members" + query)
		part := owner.send(http.MethodGet, "/members"+query, nil, map[string]string{"HX-Request": "true", "HX-Target": "section#list"})
		for what, got := range map[string]answer{"page": whole, "fragment": part} {
			count, more, first := strings.Count(got.body, ">Withdraw<"), strings.Contains(got.body, "search for an address to find another"), strings.Contains(got.body, "<bdi>first@")
			if got.status != 200 || count != want.count || more != want.more || first != want.first {
				t.Errorf("the %s of %q: %d, %d invitations, more: %v, the first: %v", what, query, got.status, count, more, first)
			}
		}
	}
	owner.get("/members?q=first%40").holds(t, "what was found", 200, "/withdraw?return=%2Fmembers%3Fq%3Dfirst%2540", "but an invitation does")
	owner.get("/members?q=nobody").holds(t, "nobody", 200, "Nobody matches")
}

// A double click shows one link, and no void one.
func TestTheSameInvitationSentTwiceMakesOneLink(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	twice, guest := url.Values{"email": {"twice@example.com"}, "role": {"member"}, "nonce": {owner.nonce()}}, s.visitor()
	once := joinPath.FindStringSubmatch(owner.post("/members/invite", twice).body)
	if got := owner.post("/members/invite", twice); once == nil || got.status != http.StatusSeeOther || guest.get(once[1]).status != http.StatusOK {
		t.Errorf("the same form sent twice: %d, or the link that was shown is void", got.status)
	}
	twice.Set("email", "other@example.com") // after Back
	if got := owner.post("/members/invite", twice); got.status != http.StatusConflict || !strings.Contains(got.body, "created a link already") || strings.Contains(got.body, twice.Get("nonce")) {
		t.Errorf("the same form for another address: %d", got.status)
	}
	if got := owner.post("/members/invite", url.Values{"email": {"late@example.com"}, "role": {"member"}, "nonce": {"another session's"}}); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `value="late@example.com"`) {
		t.Errorf("a form of an earlier session: %d", got.status)
	}
}

func TestInvitingOnThePage(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	for _, form := range []url.Values{{}, {"email": {"x"}, "role": {"admin"}}, {"email": {s.org.Admin.Email}, "role": {"admin"}}, {"email": {"new@example.com"}}, {"email": {"new@example.com"}, "role": {"operator"}}, {"email": {"a\x00@example.com"}, "role": {"admin"}}} {
		form.Set("nonce", owner.nonce())
		got := owner.post("/members/invite", form)
		if got.status != http.StatusUnprocessableEntity || form.Get("email") == "new@example.com" && !strings.Contains(got.body, `value="new@example.com"`) {
			t.Errorf("%v: %d", form, got.status)
		}
	}
	first := owner.invited("noor@example.com", "admin")
	link := owner.invited("noor@example.com", "support") // inviting again
	guest := s.visitor()
	if got := guest.get(first); got.status != http.StatusNotFound || !strings.Contains(got.body, "no longer works") {
		t.Errorf("the earlier link: %d", got.status)
	}
	page := guest.get(link)
	if page.status != 200 || page.header.Get("Cache-Control") != "no-store" || !strings.Contains(page.body, s.org.Name) || !strings.Contains(page.body, "noor@example.com") || !strings.Contains(page.body, "Support") {
		t.Errorf("the form: %d %s", page.status, page.body)
	}
	form := url.Values{"name": {"Noor"}, "password": {"short"}}
	if got := guest.post(link, form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `value="Noor"`) || strings.Contains(got.body, `value="short"`) {
		t.Errorf("a short password: %d", got.status)
	}
	form.Set("password", "seven quiet herons wade")
	if got := guest.post(link, form); got.status != http.StatusSeeOther || got.location != "/" {
		t.Fatalf("joining: %d %s", got.status, got.location)
	}
	if got := guest.get("/members"); got.status != 200 || !strings.Contains(got.body, "Welcome to "+s.org.Name) || strings.Contains(got.body, "/members/invite") {
		t.Errorf("who joined sees %d %s", got.status, got.body)
	}
	if got := guest.post(link, form); got.status != http.StatusNotFound {
		t.Errorf("the same form again: %d", got.status)
	}
	other := storetest.Organisation(t, s.store)
	taken := owner.invited(other.Support.Email, "member")
	if got := s.visitor().post(taken, form); got.status != http.StatusConflict || !strings.Contains(got.body, "has an account already") || !strings.Contains(got.body, "ask the person who invited you") || !strings.Contains(got.body, `href="/sign-in"`) {
		t.Errorf("an address with an account elsewhere: %d %s", got.status, got.body)
	}
	// Whoever is signed in is told, and leaves that session behind.
	admin := s.as(s.org.Admin)
	mine := owner.invited("second@example.com", "member")
	if got := admin.get(mine); !strings.Contains(got.body, s.org.Admin.Email) || strings.Contains(got.body, `class="nav"`) {
		t.Errorf("the form in somebody's browser: %s", got.body)
	}
	sessions := func() int {
		t.Helper()
		list, err := s.keyring.MemberSessions(t.Context(), s.org.Owner, s.org.Admin.MemberID)
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := sessions()
	if got := admin.post(mine, form); got.status != http.StatusSeeOther || sessions() != before-1 {
		t.Errorf("joining in somebody's browser: %d, %d sessions of theirs", got.status, sessions())
	}
	invitations, err := s.keyring.Invitations(t.Context(), s.org.Owner, "", 10)
	if err != nil || len(invitations) != 1 {
		t.Fatal(invitations, err)
	}
	path := "/invitations/" + invitations[0].ID + "/withdraw"
	if got := owner.get(path); got.status != 200 {
		t.Errorf("asking to withdraw: %d", got.status)
	}
	if got := owner.post(path, url.Values{}); got.status != http.StatusSeeOther || got.location != "/members" {
		t.Errorf("withdrawing: %d %s", got.status, got.location)
	}
	if got := owner.post(path, url.Values{}); got.status != http.StatusNotFound {
		t.Errorf("withdrawing again: %d", got.status)
	}
	if got := s.visitor().get(taken); got.status != http.StatusNotFound {
		t.Errorf("the withdrawn link: %d", got.status)
	}
}

func TestMembersAreChangedOnThePage(t *testing.T) {
	s := newSite(t)
	key := s.issue("theirs")
	owner, path := s.as(s.org.Owner), "/members/"+s.org.Admin.MemberID
	if got := owner.get(path + "/suspend"); got.status != 200 || !strings.Contains(got.body, "1 live key of theirs") {
		t.Errorf("asking to suspend: %d", got.status)
	}
	for change, forms := range map[string][]url.Values{
		"role":    {{}, {"role": {"king"}}},
		"suspend": {{"keys": {"burn"}}, {"keys": {"transfer"}}, {"keys": {"transfer"}, "keysTo": {s.org.Support.MemberID}}, {"keys": {"transfer"}, "keysTo": {"x\x00"}}},
		"remove":  {{"keys": {"transfer"}, "keysTo": {s.org.Admin.MemberID}}},
	} {
		for _, form := range forms {
			if got := owner.post(path+"/"+change, form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `class="problem"`) {
				t.Errorf("%s with %v: %d", change, form, got.status)
			}
		}
	}
	self := "/members/" + s.org.Owner.MemberID
	for change, form := range map[string]url.Values{"role": {"role": {"admin"}}, "suspend": {}, "remove": {}} {
		if got := owner.get(self + "/" + change); got.status != 200 || !strings.Contains(got.body, "You are the only owner") {
			t.Errorf("asking the last owner to %s: %d", change, got.status)
		}
		if got := owner.post(self+"/"+change, form); got.status != http.StatusConflict || !strings.Contains(got.body, "Make somebody else an owner first.") {
			t.Errorf("the last owner: %s: %d", change, got.status)
		}
	}
	if got := owner.post(path+"/suspend", url.Values{"keys": {"revoke"}, "live": {"3"}, "was": {"active"}}); got.status != http.StatusConflict || !strings.Contains(got.body, "have changed meanwhile") {
		t.Errorf("a form about another number of keys: %d", got.status)
	}
	if got := owner.post(path+"/suspend", url.Values{"keys": {"revoke"}, "was": {"suspended"}}); got.status != http.StatusConflict {
		t.Errorf("a form about somebody suspended: %d", got.status)
	}
	// The select of people comes along whatever is chosen.
	got := owner.post(path+"/suspend", url.Values{"keys": {"disable"}, "keysTo": {s.org.Owner.MemberID}, "return": {path}})
	if got.status != http.StatusSeeOther || got.location != path {
		t.Fatalf("suspending: %d %s", got.status, got.location)
	}
	if got := owner.get(path); !strings.Contains(got.body, "Admin is suspended. 1 key is disabled.") {
		t.Errorf("it says %s", got.body)
	}
	if row, err := s.keyring.Key(t.Context(), s.org.Owner, key.ID); err != nil || row.Stored != "disabled" {
		t.Errorf("the key is %s, %v", row.Stored, err)
	}
	if got := owner.get(path + "/suspend"); got.status != http.StatusConflict {
		t.Errorf("asking to suspend who is suspended: %d", got.status)
	}
	if got := owner.get(path + "/reinstate"); got.status != 200 {
		t.Errorf("asking to reinstate: %d", got.status)
	}
	if got := owner.post(path+"/reinstate", url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("reinstating: %d", got.status)
	}
	if got := owner.get(path + "/reinstate"); got.status != http.StatusConflict {
		t.Errorf("asking to reinstate who is active: %d", got.status)
	}
	if got := owner.post(path+"/role", url.Values{"role": {"owner"}}); got.status != http.StatusSeeOther {
		t.Errorf("a second owner: %d", got.status)
	}
	// Owners can leave themselves, and see the door.
	second := s.as(s.org.Admin)
	if got := second.get(path + "/suspend"); !strings.Contains(got.body, "This is your own account") {
		t.Error("nobody is told that it is their own account")
	}
	if got := second.post(path+"/suspend", url.Values{}); got.status != http.StatusSeeOther || got.location != "/sign-in?notice=suspended" {
		t.Errorf("suspending oneself: %d %s", got.status, got.location)
	}
	if got := second.get("/sign-in?notice=suspended"); !strings.Contains(got.body, "Your account is suspended") {
		t.Error("the door does not say what happened")
	}
	if got := owner.post(path+"/remove", url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("removing: %d", got.status)
	}
	for _, change := range []string{"role", "suspend", "reinstate", "remove"} {
		if got := owner.get(path + "/" + change); got.status != http.StatusConflict {
			t.Errorf("asking to %s who was removed: %d", change, got.status)
		}
		want := http.StatusConflict
		if change == "remove" { // a second click finds its work done
			want = http.StatusSeeOther
		}
		if got := owner.post(path+"/"+change, url.Values{"role": {"owner"}}); got.status != want {
			t.Errorf("%s who was removed: %d", change, got.status)
		}
	}
	support := s.as(s.org.Support)
	if got := owner.post("/members/"+s.org.Support.MemberID+"/sign-out", url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("signing somebody out: %d", got.status)
	}
	if got := support.get("/members"); got.status != http.StatusSeeOther {
		t.Errorf("who was signed out gets %d", got.status)
	}
}

// TestARoleChangeHoldsForTheNextRequest changes roles under a browser, a token and a key that are at work.
func TestARoleChangeHoldsForTheNextRequest(t *testing.T) {
	s := newSite(t)
	owner := s.with(s.token(s.org.Owner))
	browser, token := s.as(s.org.Admin), s.with(s.token(s.org.Admin))
	_, secret := s.key(s.org.Admin, "read:api-keys", "write:api-keys", "verify:api-keys")
	_, asked := s.key(s.org.Admin, "read:chat")
	key := s.with(secret)
	for _, c := range []struct {
		change                              object
		page, list, issue, byToken, ownerOn int // statuses; 1 when verification says that the owner is active
	}{
		{object{"role": "support"}, 200, 200, 403, 200, 1},
		{object{"role": "member"}, 403, 403, 403, 403, 1},
		{object{"role": "owner"}, 200, 200, 201, 200, 1},
		{object{"role": "admin"}, 200, 200, 201, 200, 1},
		{object{"status": "suspended", "keys": "leave"}, 303, 403, 403, 401, 0},
	} {
		owner.call(patch, "/v1/members/"+s.org.Admin.MemberID, c.change).expect(t, "the change", 200, "")
		for changed := time.Now(); ; time.Sleep(10 * time.Millisecond) { // a verification may hear of it a second later
			late := time.Since(changed) > 2*time.Second // the rest is for a slow machine
			verdict := owner.call(post, verifyPath, object{"key": asked}).expect(t, "verification", 200, "")
			active := map[string]int{"true": 1}[verdict.text("key", "ownerActive")]
			if verdict.text("code") == "valid" && active == c.ownerOn {
				break
			}
			if verdict.text("code") != "valid" || late {
				t.Errorf("%v: verification says %s", c.change, verdict.body)
				break
			}
		}
		got := []int{browser.get("/account/api-keys").status, key.call(get, "/v1/api-keys", nil).status,
			key.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:api-keys"}}).status, token.call(get, "/v1/api-keys", nil).status}
		for i, want := range []int{c.page, c.list, c.issue, c.byToken} {
			if got[i] != want {
				t.Errorf("%v: %v", c.change, got)
				break
			}
		}
	}
}
