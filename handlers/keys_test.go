package handlers

import (
	"html"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

func TestKeyIsCreatedOnceAndShownOnce(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	form := admin.keyForm("CI pipeline")
	created := admin.post(views.NewKeyPath, form)
	plaintext := plaintextShape.FindString(created.body)
	if created.status != http.StatusCreated || plaintext == "" {
		t.Fatalf("creating answers %d without a key", created.status)
	}
	if cache := created.header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("the page with the key may be kept: %q", cache)
	}
	again := admin.post(views.NewKeyPath, form)
	if again.status != http.StatusConflict || plaintextShape.MatchString(again.body) || !strings.Contains(again.body, "CI pipeline") {
		t.Errorf("the same form again answers %d", again.status)
	}
	for _, path := range []string{views.KeysPath, views.KeysPath + "?q=CI", views.NewKeyPath} {
		if body := admin.get(path).body; strings.Contains(body, plaintext) || strings.Contains(body, plaintext[22:54]) {
			t.Errorf("%s shows the plaintext", path)
		}
	}
	if log := s.log.String(); strings.Contains(log, plaintext[22:]) {
		t.Error("the log holds the plaintext")
	}
	page, err := s.keyring.Keys(t.Context(), s.org.Admin, apikey.Filter{}, apikey.Newest, "", 50)
	if err != nil || len(page.Rows) != 1 {
		t.Errorf("%d keys, %v", len(page.Rows), err)
	}
}

func TestDoubleClickCreatesOneKey(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	form := admin.keyForm("clicked")
	var wg sync.WaitGroup
	shown := make(chan bool, 10)
	for range cap(shown) {
		wg.Go(func() { shown <- plaintextShape.MatchString(admin.post(views.NewKeyPath, form).body) })
	}
	wg.Wait()
	close(shown)
	keys := 0
	for one := range shown {
		if one {
			keys++
		}
	}
	if keys != 1 {
		t.Errorf("%d keys were shown", keys)
	}
}

func TestMistakeIsSaidBesideItsFieldAndNothingTypedIsLost(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	for field, bad := range map[string][]url.Values{
		"name":   {{"name": {""}}, {"name": {strings.Repeat("x", 101)}}, {"name": {"a\x00b"}}, {"name": {"a\nb"}}, {"name": {"a\u202eb"}}, {"name": {"\xff\xfe"}}},
		"scopes": {{"scopes": {}}, {"scopes": {"read:everything"}}, {"scopes": {"*"}}, {"scopes": {"read:chat\x00"}}},
		"expires": {{"expires": {"date"}, "expiresDate": {"2020-01-01"}}, {"expires": {"date"}, "expiresDate": {"10000-01-01"}}, {"expires": {"date"}, "expiresDate": {""}},
			{"expires": {"366d"}}, {"expires": {"date"}, "expiresDate": {"2026-02-30"}}, {"expires": {"date"}, "expiresDate": {"2099-01-01"}, "zone": {"Mars/Olympus"}}, {"expires": {"\x00"}}},
		"ipAllowlist": {{"ipAllowlist": {"10.0.0.0/99"}}, {"ipAllowlist": {"not an address\n192.0.2.1"}}, {"ipAllowlist": {"10.0.0.1/8"}}, {"ipAllowlist": {"\x00"}}},
		"environment": {{"environment": {"production"}}},
	} {
		for _, change := range bad {
			form := admin.keyForm("Kept <name> & all")
			form.Set("ipAllowlist", "198.51.100.0/24")
			for name, value := range change {
				form[name] = value
			}
			got := admin.post(views.NewKeyPath, form)
			beside := `id="k-` + strings.TrimPrefix(strings.ToLower(field), "ip")
			if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, beside+`-problem"`) {
				t.Errorf("%s %q: %d", field, change, got.status)
				continue
			}
			if field != "name" && !strings.Contains(html.UnescapeString(got.body), "Kept <name> & all") || field != "ipAllowlist" && !strings.Contains(got.body, "198.51.100.0/24") {
				t.Errorf("%s %q: what was typed is lost", field, change)
			}
			if fragment := admin.send(http.MethodPost, views.NewKeyPath, form, map[string]string{"HX-Request": "true", "HX-Target": "div#dialog"}); fragment.status != got.status || strings.Contains(fragment.body, "<html") {
				t.Errorf("%s %q as a fragment: %d", field, change, fragment.status)
			}
		}
	}
	if page, err := s.keyring.Keys(t.Context(), s.org.Admin, apikey.Filter{}, apikey.Newest, "", 1); len(page.Rows) > 0 || err != nil {
		t.Errorf("a bad form made a key, %v", err)
	}
}

func TestForeignAndUnknownReferencesAre404(t *testing.T) {
	s := newSite(t)
	admin, key := s.as(s.org.Admin), s.issue("ours")
	other := storetest.Organisation(t, s.store)
	for _, field := range []string{"workspaceId", "processId", "biasProfileId"} {
		for _, id := range []string{uuid.NewString(), "no-uuid", "\x00"} {
			form := admin.keyForm("x")
			form.Set(field, id)
			if got := admin.post(views.NewKeyPath, form); got.status != http.StatusNotFound {
				t.Errorf("%s %q: %d", field, id, got.status)
			}
		}
	}
	for _, owner := range []string{other.Owner.MemberID, uuid.NewString(), "x", s.org.Support.MemberID} {
		if got := admin.post(views.ChangePath(key.ID, apikey.Transfer, ""), url.Values{"ownerId": {owner}}); got.status != http.StatusNotFound {
			t.Errorf("transfer to %q: %d", owner, got.status)
		}
	}
	for _, query := range []string{"owner=" + other.Owner.MemberID, "owner=x", "workspace=" + uuid.NewString(), "process=x", "profile=" + uuid.NewString(), "scope=read:nothing"} {
		if got := admin.get(views.KeysPath + "?" + query); got.status != http.StatusNotFound {
			t.Errorf("?%s: %d", query, got.status)
		}
	}
}

func TestBrokenAddressIsA400(t *testing.T) {
	s := newSite(t)
	admin, key := s.as(s.org.Admin), s.issue("x")
	for _, path := range []string{
		"/account/api-keys?q=%00", "/account/api-keys?q=%ff", "/account/api-keys?q=%zz",
		"/account/api-keys?status=fine", "/account/api-keys?sort=id", "/account/api-keys?size=1000", "/account/api-keys?size=-1", "/account/api-keys?environment=x",
		"/account/api-keys?expires=2147483648", "/account/api-keys?expires=99999999999999999999", "/account/api-keys?unused=x", "/account/api-keys?cursor=AAAA", "/account/api-keys?cursor=%C3%A9",
		"/account/api-keys/" + key.ID + "?days=91", "/account/api-keys/" + key.ID + "?before=x", "/account/api-keys/%00", "/account/api-keys/%ff", "/%ff", "/sign-in?next=%00",
	} {
		if got := admin.get(path); got.status != http.StatusBadRequest || !strings.Contains(got.body, "<h1") {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for _, path := range []string{"/account/api-keys/x", "/account/api-keys/" + key.ID + "/", "/account/api-keys/" + key.ID + "/edit/more", "/nowhere", "/account/api-keys/" + uuid.NewString()} {
		if got := admin.get(path); got.status != http.StatusNotFound || !strings.Contains(got.body, "<h1") {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := admin.get("/sign-out"); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET /sign-out: %d", got.status)
	}
	if got := admin.post(views.NewKeyPath, url.Values{"name": {strings.Repeat("x", 70<<10)}}); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("70 KiB: %d", got.status)
	}
}

func TestNothingPastedIntoASearchIsRefused(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	s.issue("Unlikely name")
	for _, path := range []string{views.KeysPath, views.MembersPath, views.KeyOwnersPath, views.ProcessesPath} {
		for _, text := range []string{"\u200b", "\u202ex\ufeff", strings.Repeat("語", 10_000)} {
			if got := admin.get(path + "?q=" + url.QueryEscape(text)); got.status != http.StatusOK {
				t.Errorf("%s, %.20q: %d", path, text, got.status)
			}
		}
	}
	if got := admin.get(views.KeysPath + "?q=un%E2%80%8Blikely"); !strings.Contains(got.body, "Unlikely name") {
		t.Error("a character that shows nothing hides what is there")
	}
}

func TestCursorOfAnotherOrganisationIs404(t *testing.T) {
	s := newSite(t)
	other := storetest.Organisation(t, s.store)
	for range 26 {
		s.issue("x")
	}
	page, err := s.keyring.Keys(t.Context(), s.org.Admin, apikey.Filter{}, apikey.Newest, "", 25)
	if err != nil {
		t.Fatal(err)
	}
	path := views.KeysPath + "?size=25&cursor=" + page.Next
	if got := s.as(s.org.Support).get(path); got.status != http.StatusOK {
		t.Errorf("a colleague follows the link: %d", got.status)
	}
	if got := s.as(other.Owner).get(path); got.status != http.StatusNotFound {
		t.Errorf("another organisation follows the link: %d", got.status)
	}
}

func TestFormOlderThanTheSessionIsNotLost(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	form := admin.keyForm("Typed before lunch")
	admin.post("/sign-out", url.Values{})
	away := admin.post(views.NewKeyPath, form)
	next, err := url.Parse(away.location)
	if away.status != http.StatusSeeOther || err != nil || next.Path != views.SignInPath {
		t.Fatalf("%d %s", away.status, away.location)
	}
	back := admin.post(views.SignInPath, url.Values{"email": {s.org.Admin.Email}, "password": {storetest.Password}, "next": {next.Query().Get("next")}})
	if filled := admin.get(back.location); filled.status != http.StatusOK || !strings.Contains(filled.body, "Typed before lunch") {
		t.Errorf("after signing in again: %s %d", back.location, filled.status)
	}
	// The form as it stood in another tab carries the old session's token.
	if got := admin.post(views.NewKeyPath, form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "Typed before lunch") || nonceField.FindStringSubmatch(got.body)[1] == form.Get("nonce") {
		t.Errorf("the old form: %d, or its token was kept", got.status)
	}
}

func TestSecondOfTwoAdminsGets409AndTheFreshRow(t *testing.T) {
	s := newSite(t)
	first, second := s.as(s.org.Owner), s.as(s.org.Admin)
	key := s.issue("contended")
	edit := views.ChangePath(key.ID, apikey.Edit, "")
	form := url.Values{"name": {"first"}, "status": {"enabled"}, "expiresDate": {views.ExpiryDate(key.ExpiresAt, "")}, "version": {"1"}}
	if got := first.post(edit, form); got.status != http.StatusSeeOther {
		t.Fatal(got.status, got.body)
	}
	form.Set("name", "second")
	late := second.post(edit, form)
	for _, words := range []string{"“contended” became “first”", s.org.Owner.Email, `value="second"`} {
		if late.status != http.StatusConflict || !strings.Contains(late.body, words) {
			t.Errorf("a late edit: %d without %q", late.status, words)
		}
	}
	fresh := s.issue("never edited")
	for _, version := range []string{"", "x", "0", "-3", "2"} {
		form := url.Values{"name": {"overwritten"}, "status": {"enabled"}, "expiresDate": {views.ExpiryDate(fresh.ExpiresAt, "")}, "version": {version}}
		if got := second.post(views.ChangePath(fresh.ID, apikey.Edit, ""), form); got.status != http.StatusConflict {
			t.Errorf("an edit of version %q: %d", version, got.status)
		}
	}
	if got := first.post(views.ChangePath(key.ID, apikey.Revoke, ""), url.Values{}); got.status != http.StatusSeeOther {
		t.Fatal(got.status)
	}
	for _, change := range []apikey.Change{apikey.Revoke, apikey.Disable, apikey.Enable, apikey.Rotate, apikey.Edit, apikey.Transfer} {
		form := url.Values{"graceSeconds": {"0"}, "name": {"x"}, "status": {"enabled"}, "ownerId": {s.org.Owner.MemberID}, "expiresDate": {views.ExpiryDate(key.ExpiresAt, "")}}
		got := second.post(views.ChangePath(key.ID, change, ""), form)
		if got.status != http.StatusConflict || !strings.Contains(got.body, "Revoked") || !strings.Contains(got.body, s.org.Owner.Email) {
			t.Errorf("%s of a revoked key: %d, or who did it is not said", change, got.status)
		}
		if got := second.get(views.ChangePath(key.ID, change, "")); got.status != http.StatusConflict {
			t.Errorf("asking for %s of a revoked key: %d", change, got.status)
		}
	}
}

func TestRotationKeepsTheOldKeyForItsGrace(t *testing.T) {
	s := newSite(t)
	owner, key := s.as(s.org.Owner), s.issue("rotated")
	path := views.ChangePath(key.ID, apikey.Rotate, "")
	for _, bad := range []string{"-1", "2592001", "2147483648", "99999999999999999999", "x", "", "1e3", "\x00"} {
		if got := owner.post(path, url.Values{"graceSeconds": {bad}}); got.status != http.StatusUnprocessableEntity {
			t.Errorf("grace %q: %d", bad, got.status)
		}
	}
	got := owner.post(path, url.Values{"graceSeconds": {"3600"}})
	if got.status != http.StatusCreated || !plaintextShape.MatchString(got.body) {
		t.Fatal(got.status)
	}
	row, err := s.keyring.Key(t.Context(), s.org.Owner, key.ID)
	if err != nil || !row.InGraceAt(time.Now()) {
		t.Errorf("%+v, %v", row.Key, err)
	}
	if got := owner.post(views.ChangePath(key.ID, apikey.Revoke, ""), url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("stopping the old key now: %d", got.status)
	}
}

func TestAdminCannotRotateAKeyWithAll(t *testing.T) {
	s := newSite(t)
	key, _, err := s.keyring.IssueKey(t.Context(), s.org.Owner, keyring.KeyDraft{Name: "all", AllScopes: true})
	if err != nil {
		t.Fatal(err)
	}
	path := views.ChangePath(key.ID, apikey.Rotate, "")
	admin := s.as(s.org.Admin)
	for _, got := range []answer{admin.get(path), admin.post(path, url.Values{"graceSeconds": {"0"}})} {
		if got.status != http.StatusForbidden || plaintextShape.MatchString(got.body) {
			t.Errorf("%d", got.status)
		}
	}
	if strings.Contains(admin.get(views.KeyPath(key.ID)).body, path) {
		t.Error("the admin is shown the button")
	}
}

func TestDeletedKeysPageIsNotReturnedTo(t *testing.T) {
	s := newSite(t)
	owner, key := s.as(s.org.Owner), s.issue("gone")
	got := owner.post(views.ChangePath(key.ID, apikey.Delete, ""), url.Values{"return": {views.KeyPath(key.ID)}})
	if got.status != http.StatusSeeOther || got.location != views.KeysPath {
		t.Errorf("%d %s", got.status, got.location)
	}
	if page := owner.get(got.location); !strings.Contains(page.body, "is deleted") || strings.Contains(owner.get(got.location).body, "is deleted") {
		t.Error("the deletion is not said once")
	}
}

func TestWholeKeySearchedForLeavesTheAddress(t *testing.T) {
	s := newSite(t)
	_, plaintext, err := s.keyring.IssueKey(t.Context(), s.org.Admin, keyring.KeyDraft{Name: "found", Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	admin := s.as(s.org.Admin)
	pair := plaintext.Prefix() + ":" + plaintext.RevealPass()
	for _, path := range []string{views.KeysPath, views.MembersPath, views.KeyOwnersPath, views.ProcessesPath} {
		for _, text := range []string{plaintext.Reveal(), pair, "API_KEY=" + plaintext.Reveal(), "the key “" + pair + "”", strings.Replace(plaintext.Reveal(), "_", "\u200b_", 2)} {
			got := admin.get(path + "?size=25&q=" + url.QueryEscape(text))
			if got.status != http.StatusSeeOther || got.location != path+"?q="+plaintext.Signature()+"&size=25" {
				t.Errorf("%s, %q: %d %s", path, text, got.status, got.location)
			}
			if page := admin.get(got.location); page.status != http.StatusOK || path == views.KeysPath && !strings.Contains(page.body, "found") {
				t.Errorf("%s leads to %d, without the key", got.location, page.status)
			}
		}
	}
}

func TestReturnLeadsNowhereElse(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	for _, bad := range []string{"https://evil.example/", "//evil.example", "/\\evil.example", "\\\\evil", "javascript:alert(1)", "/ok\r\nX: y", "", "account"} {
		key := s.issue("x")
		got := owner.post(views.ChangePath(key.ID, apikey.Disable, ""), url.Values{"return": {bad}})
		if got.location != views.KeysPath {
			t.Errorf("return %q leads to %q", bad, got.location)
		}
		if got := s.visitor().post(views.SignInPath, url.Values{"email": {s.org.Owner.Email}, "password": {storetest.Password}, "next": {bad}}); got.location != "/" {
			t.Errorf("next %q leads to %q", bad, got.location)
		}
	}
}

func TestSeveralKeysChangeAndTheRestIsTold(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	a, b := s.issue("a"), s.issue("b")
	owner.post(views.ChangePath(b.ID, apikey.Revoke, ""), url.Values{})
	ask := owner.get(views.BulkPath(apikey.Disable) + "?id=" + a.ID + "&id=" + b.ID)
	if ask.status != http.StatusOK || !strings.Contains(ask.body, "already revoked") && !strings.Contains(ask.body, "stay") {
		t.Errorf("asking: %d", ask.status)
	}
	done := owner.post(views.BulkPath(apikey.Disable), url.Values{"id": {a.ID, b.ID}})
	if body := owner.get(done.location).body; done.status != http.StatusSeeOther || !strings.Contains(body, "1 key is disabled") || !strings.Contains(body, "1 stayed") {
		t.Errorf("doing: %d", done.status)
	}
	many := url.Values{}
	for range 101 {
		many.Add("id", uuid.NewString())
	}
	if got := owner.post(views.BulkPath(apikey.Revoke), many); got.status != http.StatusBadRequest {
		t.Errorf("101 ids: %d", got.status)
	}
	if got := owner.get(views.BulkPath(apikey.Revoke)); got.status != http.StatusSeeOther {
		t.Errorf("nothing chosen: %d", got.status)
	}
}
