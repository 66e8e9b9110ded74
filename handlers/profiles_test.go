package handlers

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func (s *site) profile(name string) apikey.Profile {
	s.t.Helper()
	made, err := s.keyring.CreateProfile(s.t.Context(), s.org.Owner, keyring.ProfileDraft{Name: name, Categories: []keyring.CategoryDraft{{Name: "age", Enabled: true, Threshold: "20", Action: "block"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// carrying issues a key that carries a profile.
func (s *site) carrying(profileID string) (apikey.Key, string) {
	s.t.Helper()
	key, plaintext, err := s.keyring.IssueKey(s.t.Context(), s.org.Owner, keyring.KeyDraft{Name: "carries", Scopes: []string{"read:chat"}, ProfileID: profileID})
	if err != nil {
		s.t.Fatal(err)
	}
	return key, plaintext.Reveal()
}

// holds fails unless the answer has the status and all of the texts.
func (a answer) holds(t *testing.T, what string, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: %d", what, a.status)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s: lacks %q in %s", what, text, a.body)
		}
	}
}

func TestAProfilesFormKeepsWhatWasTyped(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Owner)
	b.get("/bias-profiles").holds(t, "no profile yet", 200, "Create the first profile")
	form := url.Values{"name": {"Strict"}, "description": {"For chat"}, "defaultThreshold": {"+5"}, "c0.name": {"race"}, "c0.threshold": {"1e2"}, "c0.action": {"block"},
		"c1.name": {" "}, "c1.enabled": {"1"}, "c1.threshold": {"7"}, "c4.name": {"RACE"}, "c4.enabled": {"1"}}
	b.post("/bias-profiles/new", form).holds(t, "mistakes", 422, `value="+5"`, `value="1e2"`, `value="RACE"`, "For chat", `id="p-default-problem"`, `id="p-0-threshold-problem"`,
		`id="p-1-name-problem"`, `<option value="block" selected>`)
	b.post("/bias-profiles/new", url.Values{"name": {"Strict"}}).holds(t, "no default", 422, `id="p-default-problem"`)
	form.Set("defaultThreshold", "5")
	form.Set("c0.threshold", "100")
	form.Del("c4.name")
	made := b.post("/bias-profiles/new", form)
	if made.status != http.StatusSeeOther || !strings.HasPrefix(made.location, "/bias-profiles/") {
		t.Fatalf("created: %d %s", made.status, made.location)
	}
	b.get(made.location).holds(t, "its page", 200, "“Strict” is created", "For chat", "&#34;name&#34;: &#34;race&#34;, &#34;enabled&#34;: false, &#34;threshold&#34;: 100, &#34;action&#34;: &#34;block&#34;")
	b.post("/bias-profiles/new", form).holds(t, "the same form again", 422, `id="p-name-problem"`, "Another profile has this name")
	b.get("/bias-profiles/new?from="+strings.TrimPrefix(made.location, "/bias-profiles/")).holds(t, "a copy", 200, `value="Copy of Strict"`, `value="race"`)
	if got := b.get("/bias-profiles/new?from=" + uuid.NewString()); got.status != 404 {
		t.Errorf("a copy of nothing: %d", got.status)
	}
	// What was typed survives a sign-in that comes between.
	if got := s.visitor().post("/bias-profiles/new", form); !strings.Contains(got.location, url.QueryEscape("c0.name=race")) {
		t.Errorf("signed out: %s", got.location)
	}
	b.get("/bias-profiles/new?"+form.Encode()).holds(t, "after a sign-in", 200, `value="Strict"`, `value="race"`)
	for who, role := range map[string]*browser{"admin": s.as(s.org.Admin), "support": s.as(s.org.Support)} {
		if got := role.get("/bias-profiles"); got.status != 200 || strings.Contains(got.body, "/bias-profiles/new") {
			t.Errorf("%s: %d", who, got.status)
		}
		role.get(made.location).holds(t, who, 200, "What verification returns")
	}
}

func TestAProfilesOldFormIsToldWhatChanged(t *testing.T) {
	s := newSite(t)
	b, p := s.as(s.org.Owner), s.profile("Strict")
	path := "/bias-profiles/" + p.ID + "/edit"
	form := url.Values{"version": {"1"}, "name": {"Strict"}, "defaultThreshold": {"50"}, "c0.name": {"age"}, "c0.enabled": {"1"}, "c0.threshold": {"25"}, "c0.action": {"block"}, "return": {"/bias-profiles"}}
	for range 2 { // saving the same twice is fine
		if got := b.post(path, form); got.status != http.StatusSeeOther || got.location != "/bias-profiles" {
			t.Fatalf("saved: %d %s %s", got.status, got.location, got.body)
		}
	}
	form.Set("c0.threshold", "90")
	late := b.post(path, form)
	late.holds(t, "an old form", 409, `value="90"`, s.org.Owner.Email+" changed this profile meanwhile. Category age: “on, 20, block” became “on, 25, block”. Saving replaces that.", `name="version" value="2"`)
	form.Set("version", "2")
	if got := b.post(path, form); got.status != http.StatusSeeOther {
		t.Errorf("replacing it: %d", got.status)
	}
	for _, version := range []string{"", "x", "0", "-1"} {
		form.Set("version", version)
		form.Set("description", "version "+version)
		if got := b.post(path, form); got.status != http.StatusConflict {
			t.Errorf("a form with the version %q: %d", version, got.status)
		}
	}
}

func TestAProfileInUseIsDeletedWithAChoice(t *testing.T) {
	s := newSite(t)
	b, p, other := s.as(s.org.Owner), s.profile("Strict"), s.profile("Mild")
	key, _ := s.carrying(p.ID)
	path := "/bias-profiles/" + p.ID + "/delete"
	b.get(path).holds(t, "asked", 200, "1 key carries this profile, and it is live.", other.ID)
	b.post(path, url.Values{}).holds(t, "a form that knew of no keys", 409, "Keys carry this profile now")
	b.post(path, url.Values{"moveTo": {""}}).holds(t, "nothing chosen", 422, `id="p-move-problem"`)
	b.post(path, url.Values{"moveTo": {uuid.NewString()}}).holds(t, "a profile that is not there", 404, "not there any more")
	b.post(path, url.Values{"moveTo": {p.ID}}).holds(t, "itself", 422, `id="p-move-problem"`)
	gone := b.post(path, url.Values{"moveTo": {other.ID}, "return": {"/bias-profiles/" + p.ID}})
	if gone.status != http.StatusSeeOther || gone.location != "/bias-profiles" {
		t.Fatalf("deleted: %d %s", gone.status, gone.location)
	}
	b.get("/bias-profiles").holds(t, "the list", 200, "“Strict” is deleted. 1 key was moved.", "1 key<")
	if row, err := s.keyring.Key(t.Context(), s.org.Owner, key.ID); err != nil || row.ProfileID != other.ID {
		t.Errorf("the key: %+v, %v", row.Key, err)
	}
	if got := b.post(path, url.Values{"moveTo": {other.ID}}); got.status != 404 {
		t.Errorf("deleted twice: %d", got.status)
	}
}

func TestProgramsManageProfiles(t *testing.T) {
	s := newSite(t)
	_, all := s.key(s.org.Owner, "*")
	c := s.with(all)
	made := c.call(post, "/v1/bias-profiles", object{"name": "Strict", "categories": []object{{"name": "race", "threshold": 40, "action": "block"}, {"name": "age", "enabled": false}}}).expect(t, "create", 201, "")
	if want := `{"categories":[{"action":"flag","enabled":false,"name":"age","threshold":50},{"action":"block","enabled":true,"name":"race","threshold":40}],"defaultThreshold":50,"description":"","id":"` + made.text("id") + `","name":"Strict"}`; made.body != want {
		t.Errorf("made: %s", made.body)
	}
	path := "/v1/bias-profiles/" + made.text("id")
	changed := c.call(patch, path, object{"description": "For chat", "defaultThreshold": 0}).expect(t, "change", 200, "")
	if changed.text("description") != "For chat" || changed.text("defaultThreshold") != "0" || len(changed.json["categories"].([]any)) != 2 {
		t.Errorf("changed: %s", changed.body)
	}
	if got := c.call(patch, path, object{"categories": []object{}}).expect(t, "no categories", 200, ""); len(got.json["categories"].([]any)) != 0 {
		t.Errorf("changed: %s", got.body)
	}
	if got := c.call(get, path, nil); got.text("description") != "For chat" {
		t.Errorf("got: %s", got.body)
	}
	for body, field := range map[string]string{
		`{"name":"x","defaultThreshold":101}`:                               "defaultThreshold",
		`{"name":"x","defaultThreshold":1.5}`:                               "defaultThreshold",
		`{"name":"x","defaultThreshold":"50"}`:                              "defaultThreshold",
		`{"name":"x","defaultThreshold":1e300}`:                             "defaultThreshold",
		`{"name":"x","description":"a\nb"}`:                                 "description",
		`{"name":"x","categories":{}}`:                                      "categories",
		`{"name":"x","categories":[7]}`:                                     "categories",
		`{"name":"x","categories":[{"name":"a"},{"name":"A"}]}`:             "categories[1].name",
		`{"name":"x","categories":[null]}`:                                  "categories",
		`{"name":"x","categories":[{}]}`:                                    "categories[0].name",
		`{"name":"x","categories":[{"name":"a","threshold":-1}]}`:           "categories[0].threshold",
		`{"name":"x","categories":[{"name":"a","threshold":null}]}`:         "categories[0].threshold",
		`{"name":"x","categories":[{"name":"a","enabled":null}]}`:           "categories[0].enabled",
		`{"name":"x","categories":[{"name":"a","enabled":"yes"}]}`:          "categories[0].enabled",
		`{"name":"x","categories":[{"name":"a","action":"warn"}]}`:          "categories[0].action",
		`{"name":"x","categories":[{"name":"a","weight":1}]}`:               "categories[0].weight",
		`{"name":"x","categories":[{"name":"a","threshold":1,"name":"b"}]}`: "categories[0].name",
		`{"name":"x","version":1}`:                                          "version",
	} {
		if got := c.call(post, "/v1/bias-profiles", body); got.status != 400 || got.text("error", "details", "fields", field) == "" {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	c.call(patch, path, object{}).expect(t, "nothing to change", 400, "validation_failed")
	s.carrying(made.text("id"))
	if got := c.call(del, path, nil).expect(t, "in use", 409, "state_conflict"); got.text("error", "details", "keys") != "1" {
		t.Errorf("in use: %s", got.body)
	}
	for _, to := range []string{uuid.NewString(), "nonsense", made.text("id")} {
		if got := c.call(del, path+"?moveTo="+to, nil); got.status != 400 || got.text("error", "details", "fields", "moveTo") == "" {
			t.Errorf("moved to %s: %d %s", to, got.status, got.body)
		}
	}
	_, poor := s.key(s.org.Owner, "write:config")
	if got := s.with(poor).call(del, path+"?moveTo=none", nil).expect(t, "may not change keys", 403, "forbidden"); !strings.Contains(got.text("error", "message"), "write:api-keys") {
		t.Errorf("it is told %s", got.body)
	}
	c.call(del, path+"?moveTo=none", nil).expect(t, "delete", 204, "")
	c.call(get, path, nil).expect(t, "deleted", 404, "not_found")
}

// TestEveryReplicaHonoursAChangeOfAProfile changes a profile in every way that there is through one replica, while the other
// has the key in its cache: with the news, and with the link cut that carries them.
func TestEveryReplicaHonoursAChangeOfAProfile(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut %t", cut), func(t *testing.T) {
			databaseURL := storetest.URL(t)
			cable, address := storetest.Lay(t, databaseURL)
			cable.Only("moonlatch news")
			near, far := replica(t, databaseURL), replica(t, address)
			near.org = storetest.Organisation(t, near.store)
			owner := near.with(near.token(near.org.Owner))
			_, gateway := near.key(near.org.Admin, "verify:api-keys")
			strict, mild := near.profile("Strict"), near.profile("Mild")
			_, plaintext := near.carrying(strict.ID)
			ask := func(s *site) (header string, profile reply) {
				forward, verdict := s.with(plaintext).call(get, forwardAuthPath, nil), s.with(gateway).call(post, verifyPath, object{"key": plaintext})
				if forward.status != 200 || verdict.status != 200 || verdict.text("valid") != "true" {
					t.Errorf("forward-auth: %d, verify: %d %s", forward.status, verdict.status, verdict.body)
				}
				return forward.header.Get("X-Key-Bias-Profile"), verdict
			}
			for range 3 { // by then the caches know both keys
				for _, s := range []*site{near, far} {
					if header, _ := ask(s); header != strict.ID {
						t.Fatalf("before: %q", header)
					}
				}
			}
			if cut {
				cable.Cut()
			}
			path := "/v1/bias-profiles/" + strict.ID
			for _, change := range []struct {
				what   string
				make   func() reply
				header string
				field  string
				want   string
			}{
				{"its default", func() reply { return owner.call(patch, path, object{"defaultThreshold": 7}) }, strict.ID, "defaultThreshold", "7"},
				{"its name", func() reply { return owner.call(patch, path, object{"name": "Stricter"}) }, strict.ID, "name", "Stricter"},
				{"its categories alone", func() reply {
					return owner.call(patch, path, object{"categories": []object{{"name": "height", "threshold": 3}}})
				}, strict.ID, "categories", "[map[action:flag enabled:true name:height threshold:3]]"},
				{"deleted, its key moved", func() reply { return owner.call(del, path+"?moveTo="+mild.ID, nil) }, mild.ID, "name", "Mild"},
				{"deleted, its key released", func() reply { return owner.call(del, "/v1/bias-profiles/"+mild.ID+"?moveTo=none", nil) }, "", "id", ""},
			} {
				if got := change.make(); got.status != 200 && got.status != 204 {
					t.Fatalf("%s: %d %s", change.what, got.status, got.body)
				}
				acknowledged := time.Now()
				for place, s := range map[string]*site{"near": near, "far": far} {
					for {
						header, verdict := ask(s)
						if header == change.header && verdict.text("key", "biasProfile", change.field) == change.want {
							break
						}
						if late := time.Since(acknowledged); late > 2*time.Second { // the promise is 1 s; the rest is for a slow machine
							t.Fatalf("%s: %s is not honoured after %s: %q, %s", place, change.what, late, header, verdict.body)
						}
					}
					t.Logf("%s: %s honoured after %s", place, change.what, time.Since(acknowledged))
				}
			}
		})
	}
}
