package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestScopesPageSaysWhatEachRoleMayDo(t *testing.T) {
	s := newSite(t)
	s.key(s.org.Admin, "read:chat")
	s.key(s.org.Owner, "*")
	for _, who := range []account.Actor{s.org.Owner, s.org.Admin, s.org.Support} {
		got := s.as(who).get("/scopes")
		if got.status != 200 || !strings.Contains(got.body, "/account/api-keys?live=1&amp;scope=read%3Achat\">1 key</a>") || !strings.Contains(got.body, "/account/api-keys?live=1&amp;scope=%2A\">1 live key</a>") {
			t.Errorf("%s: %d, or the counts don't lead to their keys", who.Role, got.status)
		}
		for _, change := range []string{"/scopes/new", "/scopes/read:chat/edit", "/scopes/read:chat/retire", "/scopes/read:chat/delete"} {
			if strings.Contains(got.body, `href="`+change) != (who.Role == account.Owner) {
				t.Errorf("%s sees a way to %s, or an owner none", who.Role, change)
			}
		}
	}
	if got := s.as(s.org.Member).get("/scopes"); got.status != http.StatusForbidden {
		t.Errorf("a member: %d", got.status)
	}
}

func TestAScopeLivesItsLifeInForms(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	form := func(name, description string) url.Values {
		return url.Values{"name": {name}, "description": {description}}
	}
	for field, bad := range map[string]url.Values{"name": form("Read:Invoices", "kept <words>"), "description": form("read:kept", strings.Repeat("x", 201))} {
		got := owner.post("/scopes/new", bad)
		if got.status != 422 || !strings.Contains(got.body, `id="s-`+field+`-problem"`) || !strings.Contains(got.body, "kept") {
			t.Errorf("%s: %d", field, got.status)
		}
	}
	done := func(path string, fields url.Values, sentence string) {
		t.Helper()
		got := owner.post(path, fields)
		if got.status != 303 || got.location != "/scopes" {
			t.Fatalf("%s: %d to %q", path, got.status, got.location)
		}
		if body := owner.get("/scopes").body; !strings.Contains(body, sentence) {
			t.Errorf("%s is not said", sentence)
		}
	}
	done("/scopes/new", form("read:invoices", "Read & <see>"), "read:invoices is in the catalogue.")
	if body := owner.get("/scopes").body; !strings.Contains(body, "Read &amp; &lt;see&gt;") {
		t.Error("the description is not shown as it is")
	}
	if got := owner.post("/scopes/new", form("read:invoices", "")); got.status != 422 || !strings.Contains(got.body, "in the catalogue already") || strings.Contains(got.body, "/restore") {
		t.Errorf("a name that is taken: %d", got.status)
	}
	done("/scopes/read:invoices/edit", url.Values{"description": {"Read invoices"}}, "read:invoices is saved.")
	done("/scopes/read%3Ainvoices/retire", url.Values{}, "read:invoices is retired.") // the colon may be escaped
	if got := owner.post("/scopes/new", form(" read:invoices ", "")); got.status != 422 || !strings.Contains(got.body, `href="/scopes/read:invoices/restore?return=%2Fscopes"`) {
		t.Errorf("the name of a retired scope: %d\n%s", got.status, got.body)
	}
	if body := owner.get("/scopes").body; !strings.Contains(body, "Retired") || !strings.Contains(body, "/scopes/read:invoices/restore") {
		t.Error("the page does not say that it is retired")
	}
	if body := owner.get("/account/api-keys/new").body; strings.Contains(body, "read:invoices") {
		t.Error("a retired scope is offered")
	}
	done("/scopes/read:invoices/restore", url.Values{}, "read:invoices can be granted again.")
	key, _ := s.key(s.org.Owner, "read:invoices")
	for _, ask := range []string{http.MethodGet, http.MethodPost} {
		got := owner.send(ask, "/scopes/read:invoices/delete", nil, nil)
		if want := map[string]int{http.MethodGet: 200, http.MethodPost: 409}[ask]; got.status != want || !strings.Contains(got.body, "Retire it instead") {
			t.Errorf("%s of a scope that a key holds: %d", ask, got.status)
		}
		if link := `href="/account/api-keys?scope=read%3Ainvoices"`; ask == http.MethodGet && !strings.Contains(got.body, link) {
			t.Errorf("the keys that hold a scope are not to be found: no %s", link)
		}
	}
	if got := owner.post("/scopes/read:api-keys/delete", url.Values{}); got.status != 409 || !strings.Contains(got.body, "own API asks for this scope") {
		t.Errorf("a scope of the API: %d", got.status)
	}
	if err := s.keyring.DeleteKey(t.Context(), s.org.Owner, key.ID); err != nil {
		t.Fatal(err)
	}
	done("/scopes/read:invoices/delete", url.Values{}, "read:invoices is deleted.")
	for _, path := range []string{"/scopes/read:invoices/edit", "/scopes/nothing/edit", "/scopes/%2A/retire", "/scopes/read:chat%0A/retire"} {
		if got := owner.get(path); got.status != 404 && got.status != 400 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}

// TestAllMeansWhatTheFormSays: every scope there is for an owner, every grantable one by name for an admin.
func TestAllMeansWhatTheFormSays(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	if got := owner.post("/scopes/read:chat/retire", url.Values{}); got.status != 303 {
		t.Fatal(got.status)
	}
	for _, c := range []struct {
		who  account.Actor
		says string
		all  func([]string) bool
	}{
		{s.org.Owner, "Every scope there is, now and later (*).", func(held []string) bool { return len(held) == 1 && held[0] == apikey.All }},
		{s.org.Admin, "Every scope in the catalogue today, by name: 14 scopes.", func(held []string) bool {
			return len(held) == 14 && !strings.Contains(strings.Join(held, " "), "read:chat")
		}},
	} {
		b := s.as(c.who)
		if page := b.get("/account/api-keys/new"); !strings.Contains(strings.Join(strings.Fields(page.body), " "), c.says) {
			t.Errorf("the form does not tell %s: %s", c.who.Role, c.says)
		}
		form := b.keyForm("all of " + string(c.who.Role))
		form.Del("scopes")
		form.Set("allScopes", "1")
		if got := b.post("/account/api-keys/new", form); got.status != 201 {
			t.Fatalf("%s: %d", c.who.Role, got.status)
		}
		page, err := s.keyring.Keys(t.Context(), c.who, apikey.Filter{Search: "all of " + string(c.who.Role)}, apikey.Newest, "", 10)
		if err != nil || len(page.Rows) != 1 || !c.all(page.Rows[0].Scopes) {
			t.Errorf("%s got %v, %v", c.who.Role, page.Rows, err)
		}
	}
}

func TestProgramsKeepTheCatalogue(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "read:config", "write:config", "write:api-keys", "read:api-keys")
	c := s.with(secret)
	made := c.call(post, "/v1/scopes", object{"name": "read:invoices", "description": "Read invoices"}).expect(t, "create", 201, "")
	if made.text("name") != "read:invoices" || made.text("description") != "Read invoices" || made.text("retired") != "false" {
		t.Error(made.body)
	}
	c.call(post, "/v1/scopes", object{"name": "read:invoices"}).expect(t, "create again", 409, "state_conflict")
	for field, bad := range map[string]object{"name": {"name": "Invoices"}, "description": {"name": "read:x", "description": strings.Repeat("x", 201)}, "retired": {"name": "read:x", "retired": true}} {
		if got := c.call(post, "/v1/scopes", bad).expect(t, field, 400, "validation_failed"); got.text("error", "details", "fields", field) == "" {
			t.Errorf("%s: %s", field, got.body)
		}
	}
	if got := c.call(get, "/v1/scopes/read:invoices", nil).expect(t, "get", 200, ""); got.body != made.body {
		t.Error(got.body)
	}
	if got := c.call(get, "/v1/scopes/read%3Ainvoices", nil).expect(t, "get, escaped", 200, ""); got.body != made.body {
		t.Error(got.body)
	}
	c.call(patch, "/v1/scopes/read:invoices", object{}).expect(t, "an empty change", 400, "validation_failed")
	c.call(patch, "/v1/scopes/read:invoices", `{"retired": null}`).expect(t, "null", 400, "validation_failed")
	if got := c.call(patch, "/v1/scopes/read:invoices", object{"description": "", "retired": true}).expect(t, "retire", 200, ""); got.text("retired") != "true" || got.text("description") != "" {
		t.Error(got.body)
	}
	c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:invoices"}}).expect(t, "grant a retired scope", 400, "validation_failed")
	c.call(patch, "/v1/scopes/read:invoices", object{"retired": false}).expect(t, "bring back", 200, "")
	s.key(s.org.Owner, "read:invoices")
	if got := c.call(del, "/v1/scopes/read:invoices", nil).expect(t, "delete a held scope", 409, "state_conflict"); !strings.Contains(got.text("error", "message"), "Retire it with") {
		t.Error(got.body)
	}
	c.call(del, "/v1/scopes/write:config", nil).expect(t, "delete a scope of the API", 409, "state_conflict")
	c.call(post, "/v1/scopes", object{"name": "read:spare"}).expect(t, "create", 201, "")
	if got := c.call(del, "/v1/scopes/read:spare", nil).expect(t, "delete", 204, ""); got.body != "" {
		t.Error(got.body)
	}
	c.call(get, "/v1/scopes/read:spare", nil).expect(t, "get what was deleted", 404, "not_found")
	for _, name := range []string{"x", "read:" + strings.Repeat("x", 200), "%00", "*"} {
		if got := c.call(get, "/v1/scopes/"+name, nil); got.status != 404 && got.status != 400 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	other := storetest.Organisation(t, s.store)
	s.with(s.token(other.Owner)).call(get, "/v1/scopes/read:invoices", nil).expect(t, "another organisation", 404, "not_found")
}
