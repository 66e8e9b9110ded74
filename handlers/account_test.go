package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

const anotherPassword = "violet tram window hums"

func TestTheAccountPageSaysWhoOneIsAndEverybodyHasOne(t *testing.T) {
	s := newSite(t)
	for _, who := range []struct {
		email, role string
	}{{s.org.Owner.Email, "Owner of"}, {s.org.Support.Email, "Support of"}, {s.org.Member.Email, "Member of"}} {
		b := s.visitor()
		b.post(views.SignInPath, url.Values{"email": {who.email}, "password": {storetest.Password}})
		got := b.get(views.AccountPath)
		if got.status != http.StatusOK {
			t.Fatal(who.email, got.status)
		}
		for _, words := range []string{who.email, who.role, s.org.Name, "Member since", "This session", "127.0.0.1"} {
			if !strings.Contains(got.body, words) {
				t.Errorf("the page of %s does not say %q", who.email, words)
			}
		}
	}
	if got := s.as(s.org.Member).get(views.HomePath); got.location != views.AccountPath {
		t.Errorf("a member begins at %q", got.location)
	}
	if got := s.as(s.org.Member).get(views.SessionsPath + "?end=x"); got.location != views.AccountPath {
		t.Errorf("the way back from signing in leads to %q", got.location)
	}
}

func TestANameIsChangedOrWhatWasTypedComesBack(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Member)
	if got := b.post(views.RenamePath, url.Values{"name": {"x\x00"}}); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `aria-invalid="true"`) {
		t.Errorf("a bad name: %d", got.status)
	}
	if got := b.get(views.RenamePath + "?name=typed+before"); !strings.Contains(got.body, `value="typed before"`) {
		t.Error("what was typed before the session ended is lost")
	}
	if got := b.post(views.RenamePath, url.Values{"name": {"Ada <i>"}}); got.status != http.StatusSeeOther || got.location != views.AccountPath {
		t.Errorf("%d %s", got.status, got.location)
	}
	if got := b.get(views.AccountPath); !strings.Contains(got.body, "Ada &lt;i&gt;") || !strings.Contains(got.body, "Your name is saved.") {
		t.Error("the page does not show the new name")
	}
}

func TestANewPasswordKeepsThisBrowserUnderANewCookieAndNoOther(t *testing.T) {
	s := newSite(t)
	here, there := s.as(s.org.Member), s.as(s.org.Member)
	home, _ := url.Parse(s.URL)
	stolen := s.visitor()
	stolen.Jar.SetCookies(home, here.Jar.Cookies(home))
	wrong := here.post(views.PasswordPath, url.Values{"currentPassword": {"wrong horse battery"}, "newPassword": {"short"}})
	if wrong.status != http.StatusUnprocessableEntity || strings.Count(wrong.body, `aria-invalid="true"`) != 2 || strings.Contains(wrong.body, "wrong horse") {
		t.Errorf("two mistakes: %d", wrong.status)
	}
	got := here.post(views.PasswordPath, url.Values{"currentPassword": {storetest.Password}, "newPassword": {anotherPassword}})
	if got.status != http.StatusSeeOther || got.location != views.AccountPath {
		t.Fatal(got.status, got.location)
	}
	if got := here.get(views.AccountPath); got.status != http.StatusOK || !strings.Contains(got.body, "Your password is changed. One other session has ended.") {
		t.Errorf("this browser: %d", got.status)
	}
	for name, b := range map[string]*browser{"another browser": there, "a copy of the old cookie": stolen} {
		if got := b.get(views.AccountPath); got.status != http.StatusSeeOther {
			t.Errorf("%s: %d", name, got.status)
		}
	}
}

func TestGuessingThePasswordInADialogIsHeldUp(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Member)
	var got answer
	for range 11 {
		got = b.post(views.PasswordPath, url.Values{"currentPassword": {"wrong horse battery"}, "newPassword": {anotherPassword}})
	}
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, "Too many attempts") {
		t.Errorf("the eleventh attempt: %d", got.status)
	}
}

// A form whose session has ended leads through sign-in back to itself. Passwords stay behind.
func TestNoPasswordGoesThroughAnAddress(t *testing.T) {
	s := newSite(t)
	credentials := url.Values{"email": {s.org.Admin.Email}, "password": {storetest.Password}}
	for what, body := range map[string]url.Values{"no form": nil, "an empty form": {}, "another field": {"next": {"/"}}} {
		if got := s.visitor().post(views.SignInPath+"?"+credentials.Encode(), body); got.status != http.StatusUnprocessableEntity {
			t.Errorf("a password in the address and %s signed in: %d, to %s", what, got.status, got.location)
		}
	}
	if got := s.as(s.org.Admin).post("/account/name?name=Forged", url.Values{"name": {""}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("a name in the address was taken for the empty one of the form: %d", got.status)
	}
	for name, b := range map[string]*browser{"an ended session": s.as(s.org.Member), "nobody": s.visitor()} {
		if name != "nobody" {
			if err := s.keyring.EndAllSessions(t.Context(), s.org.Member); err != nil {
				t.Fatal(err)
			}
		}
		got := b.post(views.PasswordPath, url.Values{"currentPassword": {"the-one-before"}, "newPassword": {"the-one-after"}, "username": {"kept"}})
		if got.status != http.StatusSeeOther || strings.Contains(got.location, "the-one") || !strings.Contains(got.location, url.QueryEscape(views.PasswordPath)) {
			t.Errorf("%s is led to %s", name, got.location)
		}
	}
}
