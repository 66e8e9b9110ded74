package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

// place makes a workspace with a process.
func (s *site) place(workspace, process string) (keyring.Workspace, keyring.Process) {
	s.t.Helper()
	w, err := s.keyring.CreateWorkspace(s.t.Context(), s.org.Admin, workspace)
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := s.keyring.CreateProcess(s.t.Context(), s.org.Admin, w.ID, process)
	if err != nil {
		s.t.Fatal(err)
	}
	return w, p
}

func (s *site) keyOf(processID, name string) apikey.Key {
	s.t.Helper()
	key, _, err := s.keyring.IssueKey(s.t.Context(), s.org.Admin, keyring.KeyDraft{Name: name, Scopes: []string{"read:chat"}, ProcessID: processID})
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// TestPlacesLiveTheirLifeOverHTTP makes, renames, archives and removes a workspace and a process as a program does.
func TestPlacesLiveTheirLifeOverHTTP(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "read:config", "write:config", "write:api-keys", "read:api-keys", "read:chat")
	c := s.with(secret)
	w := c.call(post, "/v1/workspaces", object{"name": "Research"}).expect(t, "create a workspace", 201, "")
	c.call(post, "/v1/workspaces", object{"name": "Research"}).expect(t, "create it again", 409, "state_conflict")
	p := c.call(post, "/v1/processes", object{"name": "Import", "workspaceId": w.text("id")}).expect(t, "create a process", 201, "")
	c.call(post, "/v1/processes", object{"name": "Import", "workspaceId": w.text("id")}).expect(t, "create it again", 409, "state_conflict")
	workspace, process := "/v1/workspaces/"+w.text("id"), "/v1/processes/"+p.text("id")
	if got := c.call(get, process, nil).expect(t, "get", 200, ""); got.body != p.body || got.text("archived") != "false" {
		t.Errorf("it is %s after %s", got.body, p.body)
	}
	for what, bad := range map[string]struct {
		method, path string
		body         any
		field        string
	}{
		"no name":              {post, "/v1/workspaces", object{"name": ""}, "name"},
		"a long name":          {patch, workspace, object{"name": strings.Repeat("x", 101)}, "name"},
		"an invisible name":    {patch, process, object{"name": "a\u200bb"}, "name"},
		"null for a name":      {patch, process, object{"name": nil}, "name"},
		"no workspace":         {post, "/v1/processes", object{"name": "x"}, "workspaceId"},
		"an unknown workspace": {post, "/v1/processes", object{"name": "x", "workspaceId": uuid.NewString()}, "workspaceId"},
		"an unknown field":     {patch, workspace, object{"archivedAt": true}, "archivedAt"},
		"a word for a flag":    {patch, workspace, object{"archived": "yes"}, "archived"},
		"another workspace":    {patch, process, object{"workspaceId": w.text("id")}, "workspaceId"},
	} {
		got := c.call(bad.method, bad.path, bad.body).expect(t, what, 400, "validation_failed")
		if got.text("error", "details", "fields", bad.field) == "" {
			t.Errorf("%s: %s", what, got.body)
		}
	}
	both := c.call(post, "/v1/processes", object{"name": "", "workspaceId": "nonsense"}).expect(t, "two mistakes", 400, "validation_failed")
	for _, field := range []string{"name", "workspaceId"} {
		if both.text("error", "details", "fields", field) == "" {
			t.Errorf("of two mistakes, nothing about %s: %s", field, both.body)
		}
	}
	c.call(patch, workspace, object{}).expect(t, "nothing to change", 400, "validation_failed")

	key := c.call(post, process+"/api-keys", object{"name": "x", "scopes": []string{"read:chat"}}).expect(t, "issue", 201, "")
	c.call(del, process, nil).expect(t, "delete a process in use", 409, "state_conflict")
	c.call(del, workspace, nil).expect(t, "delete a workspace in use", 409, "state_conflict")
	if got := c.call(patch, workspace, object{"name": "Science", "archived": true}).expect(t, "archive", 200, ""); got.text("name") != "Science" || got.text("archived") != "true" {
		t.Error(got.body)
	}
	if got := c.call(get, process, nil); got.text("archived") != "true" {
		t.Errorf("a process in an archived workspace: %s", got.body)
	}
	refused := c.call(post, process+"/api-keys", object{"name": "x", "scopes": []string{"read:chat"}}).expect(t, "issue into an archived workspace", 400, "validation_failed")
	if refused.text("error", "details", "fields", "processId") == "" {
		t.Error(refused.body)
	}
	c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}, "workspaceId": w.text("id")}).expect(t, "and directly", 400, "validation_failed")
	c.call(post, "/v1/api-keys/"+key.text("id")+"/rotate", object{}).expect(t, "rotate what was there", 201, "")
	c.call(patch, process, object{"archived": false}).expect(t, "restore in an archived workspace", 400, "validation_failed")
	c.call(patch, workspace, object{"archived": false}).expect(t, "restore", 200, "")
	for _, row := range c.call(get, "/v1/api-keys?workspaceId="+w.text("id"), nil).json["items"].([]any) {
		c.call(del, "/v1/api-keys/"+row.(map[string]any)["id"].(string)+"?permanent=true", nil).expect(t, "delete a key", 204, "")
	}
	c.call(del, process, nil).expect(t, "delete", 204, "")
	c.call(del, process, nil).expect(t, "delete again", 404, "not_found")
	c.call(del, workspace, nil).expect(t, "delete", 204, "")

	ours, inside := s.place("Ours", "Inside")
	_, fenced, err := s.keyring.IssueKey(t.Context(), s.org.Owner, keyring.KeyDraft{Name: "fenced", Scopes: []string{"write:config"}, ProcessID: inside.ID})
	if err != nil {
		t.Fatal(err)
	}
	c = s.with(fenced.Reveal())
	c.call(patch, "/v1/processes/"+inside.ID, object{"name": "Renamed"}).expect(t, "a key renames its process", 200, "")
	c.call(patch, "/v1/workspaces/"+ours.ID, object{"archived": true}).expect(t, "a process's key archives the workspace", 403, "forbidden")
	c.call(post, "/v1/workspaces", object{"name": "More"}).expect(t, "a process's key makes a workspace", 403, "forbidden")
}

// TestMistakesInNamesOfPlacesAreSaidBesideThem: nothing that was typed is lost, also when the name is taken by the same form.
func TestMistakesInNamesOfPlacesAreSaidBesideThem(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	w, p := s.place("Payments", "Checkout")
	s.place("Support", "Chat")
	form := url.Values{"name": {"Refunds"}, "workspaceId": {w.ID}}
	if got := admin.post("/processes/new", form); got.status != http.StatusSeeOther || !strings.HasPrefix(got.location, "/processes/") {
		t.Fatal(got.status, got.location)
	}
	for _, c := range []struct {
		path   string
		form   url.Values
		status int
		says   string
	}{
		{"/processes/new", form, 422, "has a process of this name"},
		{"/processes/new", url.Values{"name": {"New <b>"}}, 422, "Choose the workspace"},
		{"/processes/new", url.Values{"name": {"New"}, "workspaceId": {uuid.NewString()}}, 404, "not there any more"},
		{"/processes/new", url.Values{"name": {""}, "workspaceId": {"nonsense"}}, 422, "not there any more"},
		{"/processes/new", url.Values{"name": {""}, "workspaceId": {"nonsense"}}, 422, "Enter a name."},
		{"/workspaces/new", url.Values{"name": {"Payments"}}, 422, "a workspace of this name"},
		{"/workspaces/new", url.Values{"name": {""}}, 422, "Enter a name."},
		{"/workspaces/" + w.ID + "/rename", url.Values{"name": {"Support"}}, 422, "a workspace of this name"},
		{"/processes/" + p.ID + "/rename", url.Values{"name": {"Refunds"}}, 422, "has a process of this name"},
		{"/processes/" + p.ID + "/rename", url.Values{"name": {"a\x00b"}}, 422, "invisible"},
	} {
		got := admin.post(c.path, c.form)
		typed := c.form.Get("name")
		if got.status != c.status || !strings.Contains(got.body, c.says) || !strings.Contains(typed, "<") && !strings.Contains(typed, "\x00") && !strings.Contains(got.body, `value="`+typed+`"`) {
			t.Errorf("%s %v: %d", c.path, c.form, got.status)
		}
		if strings.Contains(got.body, "<b>") {
			t.Errorf("%s: a name is markup", c.path)
		}
		fragment := admin.send(post, c.path, c.form, map[string]string{"HX-Request": "true", "HX-Target": "div#dialog"})
		if fragment.status != c.status || strings.Contains(fragment.body, "<html") || !strings.Contains(fragment.body, `id="dialog"`) {
			t.Errorf("%s as a fragment: %d", c.path, fragment.status)
		}
	}
	if got := admin.post("/processes/"+p.ID+"/rename", url.Values{"name": {"Cashier"}, "return": {views.ConfigurationPath(p.ID)}}); got.location != views.ConfigurationPath(p.ID) || !strings.Contains(admin.get(got.location).body, "Cashier") {
		t.Errorf("renaming leads to %d %s", got.status, got.location)
	}
}

// TestPlaceInUseIsArchivedInstead asks for what can't be done, and does what can.
func TestPlaceInUseIsArchivedInstead(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	w, p := s.place("Payments", "Checkout")
	key := s.keyOf(p.ID, "in use")
	for path, says := range map[string]string{"/workspaces/" + w.ID: "processes</a>", "/processes/" + p.ID: "Keys</a> belong to it"} {
		if got := admin.get(path + "/delete"); got.status != http.StatusOK || !strings.Contains(got.body, "Archive it instead") || !strings.Contains(got.body, says) || strings.Contains(got.body, "btn-error") {
			t.Errorf("%s: asking to delete: %d", path, got.status)
		}
		if got := admin.post(path+"/delete", url.Values{}); got.status != http.StatusConflict || !strings.Contains(got.body, "Archive it instead") {
			t.Errorf("%s: deleting: %d", path, got.status)
		}
		ask := admin.get(path + "/archive")
		if !strings.Contains(ask.body, "1 enabled key</a>") || !strings.Contains(ask.body, "goes on working") || !strings.Contains(ask.body, "status=enabled") {
			t.Errorf("%s: archiving does not say what goes on working", path)
		}
		if got := admin.post(path+"/archive", url.Values{"return": {"/processes?q=x"}}); got.status != http.StatusSeeOther || got.location != "/processes?q=x" {
			t.Errorf("%s: archiving: %d %s", path, got.status, got.location)
		}
		if got := admin.get(path + "/archive"); !strings.Contains(got.body, "archived already") {
			t.Errorf("%s: archiving again: %d", path, got.status)
		}
	}
	if body := admin.get(views.ProcessPath(p.ID)).body; !strings.Contains(body, "no program can issue keys") || strings.Contains(body, "curl") {
		t.Error("the page of an archived process shows how programs issue keys for it")
	}
	if got := admin.post("/processes/"+p.ID+"/restore", url.Values{}); got.status != http.StatusConflict || !strings.Contains(got.body, "Restore the workspace") {
		t.Errorf("restoring a process of an archived workspace: %d", got.status)
	}
	for _, path := range []string{views.NewKeyPath, "/processes/new"} {
		if body := admin.get(path).body; strings.Contains(body, `value="`+p.ID) || strings.Contains(body, `value="`+w.ID) {
			t.Errorf("%s offers what is archived", path)
		}
	}
	if got := admin.get(views.KeysPath + "?process=" + p.ID); got.status != http.StatusOK || !strings.Contains(got.body, "Checkout (archived)") {
		t.Errorf("the list can't be filtered by what is archived: %d", got.status)
	}
	form := admin.keyForm("late")
	form.Set("workspaceId", w.ID)
	if got := admin.post(views.NewKeyPath, form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `id="k-workspace-problem"`) {
		t.Errorf("a key for an archived workspace: %d", got.status)
	}
	created := views.ProcessKeysPath(p.ID) + "/new"
	if got := admin.get(created); got.status != http.StatusConflict || !strings.Contains(got.body, "takes no new keys") {
		t.Errorf("asking for a key of an archived process: %d", got.status)
	}
	if got := admin.post(created, admin.keyForm("late")); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, "takes no new keys") {
		t.Errorf("a key of an archived process: %d", got.status)
	}
	where := func(what, link string) {
		t.Helper()
		if got := admin.get("/workspaces/" + w.ID + "/delete"); !strings.Contains(got.body, `href="`+link+`">processes</a>`) {
			t.Errorf("with a process %s, asking to delete its workspace does not lead to %s", what, link)
		}
	}
	admin.post("/workspaces/"+w.ID+"/restore", url.Values{})
	where("archived", "/processes?archived=1&amp;q="+w.ID)
	admin.post("/processes/"+p.ID+"/restore", url.Values{})
	where("in use", "/processes?q="+w.ID)
	if err := s.keyring.DeleteKey(t.Context(), s.org.Admin, key.ID); err != nil {
		t.Fatal(err)
	}
	if got := admin.post("/processes/"+p.ID+"/delete", url.Values{"return": {views.ConfigurationPath(p.ID)}}); got.location != views.ProcessesPath {
		t.Errorf("deleting a process leads to %d %s", got.status, got.location)
	}
	if got := admin.post("/workspaces/"+w.ID+"/delete", url.Values{}); got.status != http.StatusSeeOther {
		t.Errorf("deleting a workspace: %d", got.status)
	}
}

// TestProcessTabShowsAndMakesItsKeysAlone: it is the list of keys, confined to a process.
func TestProcessTabShowsAndMakesItsKeysAlone(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	w, checkout := s.place("Payments", "Checkout")
	other, chat := s.place("Support", "Chat")
	tab := views.ProcessKeysPath(checkout.ID)
	if body := admin.get(tab).body; !strings.Contains(body, "The first key of") || strings.Count(body, "Generate") < 2 {
		t.Error("a process without keys does not teach")
	}
	s.keyOf(checkout.ID, "ours")
	s.keyOf(chat.ID, "theirs")
	s.issue("nobody's")
	ours := func(path string) answer {
		t.Helper()
		got := admin.get(path)
		if got.status != http.StatusOK || !strings.Contains(got.body, ">ours<") || strings.Contains(got.body, ">theirs<") || strings.Contains(got.body, ">nobody&#39;s<") {
			t.Errorf("%s: %d, or other keys than the process's", path, got.status)
		}
		return got
	}
	body := ours(tab).body
	for _, absent := range []string{`name="process"`, `name="workspace"`, `action="/account/api-keys"`} {
		if strings.Contains(body, absent) {
			t.Errorf("the tab has %s", absent)
		}
	}
	for _, present := range []string{`action="` + tab + `"`, url.QueryEscape(tab), `href="` + tab + `?sort=name"`} {
		if !strings.Contains(body, present) {
			t.Errorf("the tab lacks %s", present)
		}
	}
	ours(tab + "?q=ours&status=enabled&sort=name&size=50")
	if got := admin.get(tab + "?q=theirs"); strings.Contains(got.body, ">theirs<") || !strings.Contains(got.body, "No key matches") {
		t.Error("a search in the tab leaves the process")
	}
	fragment := admin.send(get, tab, nil, map[string]string{"HX-Request": "true", "HX-Target": "section#keys"})
	if strings.Contains(fragment.body, "<html") || !strings.HasPrefix(strings.TrimSpace(fragment.body), `<section id="keys"`) {
		t.Errorf("the fragment is %.80s", fragment.body)
	}
	for _, query := range []string{"?process=" + chat.ID, "?workspace=" + w.ID, "?process=" + checkout.ID} {
		if got := admin.get(tab + query); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", query, got.status)
		}
	}

	form := admin.keyForm("made in the tab")
	form.Set("processId", chat.ID)
	form.Set("workspaceId", other.ID)
	made := admin.post(tab+"/new", form)
	if made.status != http.StatusCreated || !plaintextShape.MatchString(made.body) || !strings.Contains(made.body, `href="`+tab+`" data-forget`) {
		t.Fatalf("creating: %d", made.status)
	}
	page, err := s.keyring.Keys(t.Context(), s.org.Admin, apikey.Filter{Search: "made in the tab"}, apikey.Newest, "", 5)
	if err != nil || len(page.Rows) != 1 || page.Rows[0].ProcessID != checkout.ID || page.Rows[0].WorkspaceID != w.ID {
		t.Errorf("%+v, %v", page.Rows, err)
	}
	if again := admin.post(tab+"/new", form); again.status != http.StatusConflict || !strings.Contains(again.body, "already created") {
		t.Errorf("the same form again: %d", again.status)
	}
	form.Set("nonce", admin.nonce())
	form.Set("name", "")
	if got := admin.post(tab+"/new", form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `action="`+tab+`/new"`) || !strings.Contains(got.body, "Checkout") {
		t.Errorf("a mistake: %d", got.status)
	}
	disabled := admin.post(views.ChangePath(page.Rows[0].ID, apikey.Disable, ""), url.Values{"return": {tab + "?sort=name"}})
	if disabled.location != tab+"?sort=name" {
		t.Errorf("disabling leads to %s", disabled.location)
	}
}

// TestCursorOfATabBelongsToItsProcess follows a page of one process's keys elsewhere.
func TestCursorOfATabBelongsToItsProcess(t *testing.T) {
	s := newSite(t)
	_, checkout := s.place("Payments", "Checkout")
	_, chat := s.place("Support", "Chat")
	for range 26 {
		s.keyOf(checkout.ID, "x")
	}
	admin := s.as(s.org.Admin)
	first := admin.get(views.ProcessKeysPath(checkout.ID)).body
	_, rest, found := strings.Cut(first, `rel="next" href="`)
	older, _, _ := strings.Cut(rest, `"`)
	if !found || !strings.HasPrefix(older, views.ProcessKeysPath(checkout.ID)+"?cursor=") {
		t.Fatalf("the next page is %q", older)
	}
	if got := admin.get(older); got.status != http.StatusOK || strings.Count(got.body, `name="id"`) != 1 {
		t.Errorf("the second page: %d", got.status)
	}
	_, query, _ := strings.Cut(older, "?")
	for _, path := range []string{views.KeysPath, views.ProcessKeysPath(chat.ID)} {
		if got := admin.get(path + "?" + query); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	stranger := s.as(storetest.Organisation(t, s.store).Owner)
	if got := stranger.get(older); got.status != http.StatusNotFound {
		t.Errorf("another organisation: %d", got.status)
	}
}

func TestBrokenAddressOfProcessesIsA400(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	for _, path := range []string{"/processes?archived=2", "/processes?q=%00"} {
		if got := admin.get(path); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got.status)
		}
	}
}
