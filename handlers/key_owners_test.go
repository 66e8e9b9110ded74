package handlers

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

var countsOnPage = regexp.MustCompile(`<td class="num" data-label="[^"]*"><span><a class="link" href="([^"]*)">([\d,]+)</a>`)

func TestEachNumberOfAnOwnerLeadsToTheKeysThatItCounts(t *testing.T) {
	s := newSite(t)
	for i := range 3 {
		if _, _, err := s.keyring.IssueKey(t.Context(), s.org.Admin, keyring.KeyDraft{Name: "key " + strconv.Itoa(i), Scopes: []string{"read:chat"}, Expires: []string{"20d", "90d"}[i%2]}); err != nil {
			t.Fatal(err)
		}
	}
	b := s.as(s.org.Support)
	page := b.get(views.KeyOwnersPath)
	links := countsOnPage.FindAllStringSubmatch(page.body, -1)
	if page.status != http.StatusOK || len(links) != 2 || strings.Contains(page.body, "Revoke all") || strings.Contains(page.body, "Transfer all") {
		t.Fatalf("support gets %d with %d numbers, or a button", page.status, len(links))
	}
	for _, link := range links {
		list := b.get(html.UnescapeString(link[1]))
		if n := strconv.Itoa(len(rowsOnPage.FindAllString(list.body, -1))); n != link[2] {
			t.Errorf("%s shows %s keys, and the number is %s", link[1], n, link[2])
		}
	}
	for path, want := range map[string]int{
		"?q=ADMIN": 200, "?left=1&sort=name": 200, "?sort=x": 400, "?left=2": 400, "?cursor=x": 400,
	} {
		if got := b.get(views.KeyOwnersPath + path); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	part := b.send(http.MethodGet, views.KeyOwnersPath+"?left=1", nil, map[string]string{"HX-Request": "true", "HX-Target": "section#list"})
	if strings.Contains(part.body, "<html") || !strings.Contains(part.body, "Nobody matches") {
		t.Error("the list's fragment is no part of the page")
	}
}

func TestAllOfAnOwnersKeysAreTransferredOrRevokedInOneStep(t *testing.T) {
	s := newSite(t)
	ctx, admin, owner := t.Context(), s.org.Admin, s.org.Owner
	path := func(change apikey.Change) string {
		return views.KeyOwnersPath + "/" + admin.MemberID + "/" + string(change)
	}
	for _, name := range []string{"one", "two", "three"} {
		s.issue(name)
	}
	if _, _, err := s.keyring.IssueKey(ctx, owner, keyring.KeyDraft{Name: "all", Scopes: []string{"*"}, OwnerID: admin.MemberID}); err != nil {
		t.Fatal(err)
	}
	old := s.issue("old")
	if _, err := s.keyring.RotateKey(ctx, admin, old.ID, apikey.Day, ""); err != nil {
		t.Fatal(err)
	}
	b := s.as(admin)
	if got := b.get(path(apikey.Transfer)); !strings.Contains(got.body, "6 live keys") || !strings.Contains(got.body, "1 rotated key stays") {
		t.Error("the dialog does not say what will be transferred")
	}
	for to, want := range map[string]int{"": 422, admin.MemberID: 422, uuid.NewString(): 404, "x": 404, s.org.Support.MemberID: 404} {
		if got := b.post(path(apikey.Transfer), url.Values{"ownerId": {to}}); got.status != want || !strings.Contains(got.body, `aria-invalid="true"`) {
			t.Errorf("to %q: %d", to, got.status)
		}
	}
	done := b.post(path(apikey.Transfer), url.Values{"ownerId": {owner.MemberID}, "return": {views.KeyOwnersPath + "?sort=name"}})
	if done.status != http.StatusSeeOther || done.location != views.KeyOwnersPath+"?sort=name" {
		t.Fatal(done.status, done.location)
	}
	want := "4 keys of Admin belong to Owner now. 1 stayed: it is rotated, and ends with its grace period. 1 stayed: its scopes would allow in the name of Owner what you may not do."
	if got := b.get(done.location); !strings.Contains(got.body, want) {
		t.Error("afterwards the page does not say what became of the keys")
	}

	if got := b.get(path(apikey.Revoke)); !strings.Contains(got.body, "Revoke 2 keys") {
		t.Error("the dialog does not say how many keys will be revoked")
	}
	if got := b.post(path(apikey.Revoke), url.Values{"live": {"1"}}); got.status != http.StatusConflict || !strings.Contains(got.body, "have changed meanwhile") || !strings.Contains(got.body, `name="live" value="2"`) {
		t.Errorf("a form about another number of keys: %d", got.status)
	}
	for _, want := range []string{"2 keys of Admin are revoked.", "Admin owns no live key any more."} { // the second time the form is sent twice
		done = b.post(path(apikey.Revoke), url.Values{})
		if got := b.get(done.location); done.status != http.StatusSeeOther || !strings.Contains(got.body, want) {
			t.Errorf("%d; the page does not say %q", done.status, want)
		}
	}
	if got := b.get(path(apikey.Revoke)); got.status != http.StatusOK || !strings.Contains(got.body, "owns no live key any more") {
		t.Error("a dialog about no keys at all")
	}
	foreign := storetest.Organisation(t, s.store)
	stranger := s.as(foreign.Owner)
	for _, change := range []apikey.Change{apikey.Transfer, apikey.Revoke} {
		if got := stranger.post(path(change), url.Values{"ownerId": {foreign.Admin.MemberID}}); got.status != http.StatusNotFound {
			t.Errorf("%s by another organisation: %d", change, got.status)
		}
	}
}
