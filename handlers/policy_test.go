package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestEveryRouteRefusesTheWrongCaller walks the table: whoever may not use a route is turned away by every one.
func TestEveryRouteRefusesTheWrongCaller(t *testing.T) {
	s := newSite(t)
	other := storetest.Organisation(t, s.store)
	key := s.issue("walked")
	browsers := map[account.Role]*browser{}
	for _, actor := range []account.Actor{s.org.Owner, s.org.Admin, s.org.Support, s.org.Member} {
		browsers[actor.Role] = s.as(actor)
	}
	foreign := s.as(other.Owner)
	for _, r := range routes {
		path := strings.NewReplacer(":id", key.ID, ":token", "x").Replace(r.path)
		var form url.Values
		if r.method == post {
			form = url.Values{}
			for name, header := range map[string]map[string]string{
				"another site":  {"Sec-Fetch-Site": "cross-site"},
				"a sister site": {"Sec-Fetch-Site": "same-site"},
				"an old origin": {"Sec-Fetch-Site": "", "Origin": "https://evil.example"},
				"no origin":     {"Sec-Fetch-Site": ""},
			} {
				if got := browsers[account.Owner].send(r.method, path, form, header); got.status != http.StatusForbidden {
					t.Errorf("%s %s from %s: %d", r.method, r.path, name, got.status)
				}
			}
		}
		if r.policy.kind != member {
			continue
		}
		if got := s.visitor().send(r.method, path, form, nil); got.status != http.StatusSeeOther || !strings.HasPrefix(got.location, "/sign-in") {
			t.Errorf("%s %s: somebody who is not signed in gets %d %s", r.method, r.path, got.status, got.location)
		}
		for role, b := range browsers {
			if r.policy.action == "" || role.May(r.policy.action) {
				continue
			}
			if got := b.send(r.method, path, form, nil); got.status != http.StatusForbidden || !strings.Contains(got.body, s.org.Owner.Email) {
				t.Errorf("%s %s: %s gets %d, or is not told whom to ask", r.method, r.path, role, got.status)
			}
		}
		if strings.Contains(r.path, ":id") {
			random := strings.ReplaceAll(r.path, ":id", uuid.NewString())
			got, fake := foreign.send(r.method, path, form, nil), foreign.send(r.method, random, form, nil)
			if got.status != http.StatusNotFound || fake.status != got.status || got.sameEachTime() != fake.sameEachTime() {
				t.Errorf("%s %s: another organisation's id gets %d, a random one %d, or their pages differ", r.method, r.path, got.status, fake.status)
			}
		}
	}
	if after, err := s.keyring.Key(t.Context(), s.org.Owner, key.ID); err != nil || after.Version != key.Version {
		t.Errorf("the walk changed the key: %+v, %v", after, err)
	}
}

// sameEachTime is a page without what differs between any two: the request's id.
func (a answer) sameEachTime() string {
	return strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "")
}

// TestEveryChangeIsMadeByPost holds the table to the two methods of forms.
func TestEveryChangeIsMadeByPost(t *testing.T) {
	for _, r := range routes {
		if r.method != get && r.method != post {
			t.Errorf("%s %s: pages know GET and POST alone", r.method, r.path)
		}
		if r.method == post && r.policy.kind == machine {
			t.Errorf("%s %s: a probe changes nothing", r.method, r.path)
		}
	}
}
