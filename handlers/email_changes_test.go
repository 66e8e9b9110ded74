package handlers

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/store/storetest"
)

var confirmPath = regexp.MustCompile(`http://localhost(/confirm-email/\w+)`)

func TestAnEmailIsChangedOnThePages(t *testing.T) {
	s := newSite(t)
	owner, admin, path := s.as(s.org.Owner), s.as(s.org.Admin), "/members/"+s.org.Admin.MemberID
	if got := admin.get("/account"); !strings.Contains(got.body, "Ask an organisation owner") || strings.Contains(got.body, "/email?") {
		t.Errorf("an admin's account does not say whom to ask: %d", got.status)
	}
	if got := owner.get("/account"); !strings.Contains(got.body, "/members/"+s.org.Owner.MemberID+"/email") {
		t.Errorf("an owner's account leads to no change: %d", got.status)
	}
	for _, email := range []string{"", "x", s.org.Support.Email, s.org.Admin.Email} {
		got := owner.post(path+"/email", url.Values{"email": {email}, "nonce": {owner.nonce()}})
		if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `id="e-email-problem"`) || !strings.Contains(got.body, `value="`+email+`"`) {
			t.Errorf("%q: %d", email, got.status)
		}
	}
	if got := owner.post(path+"/email", url.Values{"email": {"new@example.com"}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("a form without its token: %d", got.status)
	}
	form := url.Values{"email": {"new@example.com"}, "nonce": {owner.nonce()}}
	made := owner.post(path+"/email", form)
	link := confirmPath.FindStringSubmatch(made.body)
	if made.status != http.StatusCreated || link == nil || made.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("the link: %d %s", made.status, made.body)
	}
	if got := owner.post(path+"/email", form); got.status != http.StatusSeeOther {
		t.Errorf("the same form again: %d", got.status)
	}
	back := url.Values{"email": {"other@example.com"}, "nonce": form["nonce"]}
	if got := owner.post(path+"/email", back); got.status != http.StatusConflict || !strings.Contains(got.body, "created a link already") || strings.Contains(got.body, form.Get("nonce")) {
		t.Errorf("the same form for another address: %d", got.status)
	}
	if got := owner.get(path); !strings.Contains(got.body, "new@example.com") || strings.Contains(got.body, "/confirm-email/") {
		t.Errorf("the member's page does not say what waits, or shows the link: %d", got.status)
	}
	guest := s.visitor()
	if got := guest.get(link[1]); got.status != 200 || got.header.Get("Cache-Control") != "no-store" || !strings.Contains(got.body, "new@example.com") || !strings.Contains(got.body, s.org.Admin.Email) {
		t.Errorf("the page to confirm: %d %s", got.status, got.body)
	}
	if got := guest.post(link[1], url.Values{"password": {"not the password of it"}}); got.status != http.StatusUnprocessableEntity || strings.Contains(got.body, "not the password of it") {
		t.Errorf("a wrong password: %d", got.status)
	}
	confirmed := guest.post(link[1], url.Values{"password": {storetest.Password}})
	if confirmed.status != http.StatusSeeOther || confirmed.location != "/account" {
		t.Fatalf("confirming: %d %s", confirmed.status, confirmed.body)
	}
	if set := strings.Join(confirmed.header["Set-Cookie"], "\n"); strings.Contains(set, "moonlatch-device") {
		t.Errorf("confirming replaces the marks of the accounts that signed in with the browser: %s", set)
	}
	if got := guest.get("/account"); got.status != 200 || !strings.Contains(got.body, "new@example.com") || !strings.Contains(got.body, "Email changed.") {
		t.Errorf("afterwards: %d", got.status)
	}
	if got := admin.get("/account"); got.status != http.StatusSeeOther {
		t.Errorf("another browser of theirs: %d", got.status)
	}
	for _, used := range []string{link[1], "/confirm-email/made-up"} {
		if got := s.visitor().get(used); got.status != http.StatusNotFound || !strings.Contains(got.body, "work any more") {
			t.Errorf("%s: %d", used, got.status)
		}
	}

	form = url.Values{"email": {"newer@example.com"}, "nonce": {owner.nonce()}}
	link = confirmPath.FindStringSubmatch(owner.post(path+"/email", form).body)
	if got := owner.get(path + "/email-cancel"); got.status != 200 || !strings.Contains(got.body, "newer@example.com") {
		t.Errorf("the question before it is cancelled: %d", got.status)
	}
	if got := owner.post(path+"/email-cancel", url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("cancelling: %d", got.status)
	}
	if got := s.visitor().post(link[1], url.Values{"password": {storetest.Password}}); got.status != http.StatusNotFound {
		t.Errorf("a cancelled link: %d", got.status)
	}
	if got := owner.get(path + "/email-cancel"); got.status != http.StatusNotFound {
		t.Errorf("nothing to cancel: %d", got.status)
	}

	form = url.Values{"email": {"newest@example.com"}, "nonce": {owner.nonce()}}
	link = confirmPath.FindStringSubmatch(owner.post(path+"/email", form).body)
	for _, dialog := range []string{"/suspend", "/remove"} {
		if got := owner.get(path + dialog); !strings.Contains(got.body, "1 pending email change is cancelled.") {
			t.Errorf("%s does not tell that the email change ends: %d", dialog, got.status)
		}
	}
	if got := owner.post(path+"/suspend", url.Values{"return": {path}}); got.status != http.StatusSeeOther {
		t.Errorf("suspending: %d", got.status)
	}
	if got := owner.get(path); !strings.Contains(got.body, "Admin is suspended. 1 pending email change is cancelled.") || strings.Contains(got.body, "newest@example.com") {
		t.Errorf("the page of the suspended member: %s", got.body)
	}
	if got := owner.get(path + "/email-cancel"); got.status != http.StatusNotFound {
		t.Errorf("cancelling what the suspension cancelled: %d", got.status)
	}
	if got := owner.post(path+"/reinstate", url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("reinstating: %d", got.status)
	}
	if got := s.visitor().get(link[1]); got.status != http.StatusNotFound {
		t.Errorf("the link after the reinstatement: %d", got.status)
	}
	if got := owner.post(path+"/role", url.Values{"role": {"owner"}}); got.status != http.StatusSeeOther {
		t.Errorf("a second owner: %d", got.status)
	}
	changed := s.org.Admin
	changed.Email = "new@example.com"
	second := s.as(changed)
	form = url.Values{"email": {"newest@example.com"}, "nonce": {second.nonce()}}
	if got := second.post("/members/"+s.org.Support.MemberID+"/email", form); got.status != http.StatusCreated {
		t.Errorf("a change by the second owner: %d", got.status)
	}
	if got := owner.get(path + "/role"); !strings.Contains(got.body, "1 pending email change is cancelled once they are no longer an owner.") {
		t.Errorf("the role dialog does not tell that the email change ends: %d", got.status)
	}

	other := storetest.Organisation(t, s.store)
	form = url.Values{"email": {other.Owner.Email}, "nonce": {owner.nonce()}}
	link = confirmPath.FindStringSubmatch(owner.post("/members/"+s.org.Owner.MemberID+"/email", form).body)
	if got := owner.post(link[1], url.Values{"password": {storetest.Password}}); got.status != http.StatusConflict || !strings.Contains(got.body, "wasn’t changed") {
		t.Errorf("an address of another organisation: %d", got.status)
	}
	if log := s.log.String(); strings.Contains(log, strings.TrimPrefix(link[1], "/confirm-email/")) {
		t.Error("the log has a link's token")
	}
}
