package handlers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// client is a program that calls the API with what it has.
type client struct {
	site   *site
	header http.Header
}

func (s *site) client(header ...string) *client {
	c := &client{s, http.Header{}}
	for i := 0; i < len(header); i += 2 {
		c.header.Add(header[i], header[i+1])
	}
	return c
}

// with is a client that shows a key or a token.
func (s *site) with(credential string) *client {
	return s.client("Authorization", "Bearer "+credential)
}

// key issues a key of an actor with scopes, and returns its plaintext.
func (s *site) key(who account.Actor, scopes ...string) (apikey.Key, string) {
	s.t.Helper()
	key, plaintext, err := s.keyring.IssueKey(s.t.Context(), who, keyring.KeyDraft{Name: "for tests", Scopes: scopes})
	if err != nil {
		s.t.Fatal(err)
	}
	return key, plaintext.Reveal()
}

// reply is an answer to a program, with its JSON.
type reply struct {
	answer
	json map[string]any
}

func (r reply) text(path ...string) string {
	var at any = r.json
	for _, name := range path {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}

// call sends JSON: a text as it is, anything else encoded, and nothing for nil.
func (c *client) call(method, path string, body any) reply {
	c.site.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			c.site.t.Fatal(err)
		}
		content = strings.NewReader(string(text))
	}
	request, err := http.NewRequestWithContext(c.site.t.Context(), method, c.site.URL+path, content)
	if err != nil {
		c.site.t.Fatal(err)
	}
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, values := range c.header {
		request.Header[name] = values
	}
	response, err := c.site.programs.Do(request)
	if err != nil {
		c.site.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.site.t.Fatal(err)
	}
	r := reply{answer: answer{response.StatusCode, response.Header.Get("Location"), response.Header, string(text)}}
	if kind, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";"); kind == "application/json" {
		if err := json.Unmarshal(text, &r.json); err != nil {
			c.site.t.Fatalf("%s %s: %v in %s", method, path, err, text)
		}
	}
	return r
}

// expect fails unless the answer has the status and, of an error, the code.
func (r reply) expect(t *testing.T, what string, status int, code string) reply {
	t.Helper()
	if r.status != status || r.text("error", "code") != code {
		t.Fatalf("%s: %d %s", what, r.status, r.body)
	}
	return r
}

type object = map[string]any

// TestKeysLiveTheirLifeOverHTTP follows one key through the calls of the sources.
func TestKeysLiveTheirLifeOverHTTP(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "*")
	c := s.with(secret)
	made := c.call(post, "/v1/api-keys", object{"name": "Production", "scopes": []string{"read:chat", "write:chat"}, "ipAllowlist": []string{"127.0.0.0/8"}}).expect(t, "issue", 201, "")
	id, plaintext := made.text("id"), made.text("plaintextKey")
	if _, err := apikey.Parse(plaintext); err != nil || !strings.HasPrefix(plaintext, made.text("prefix")) || made.text("status") != "active" || made.text("ownerActive") != "true" {
		t.Fatalf("the issued key: %s", made.body)
	}
	if made.header.Get("Cache-Control") != "no-store" {
		t.Error("somebody on the way may keep a plaintext")
	}
	got := c.call(get, "/v1/api-keys/"+id, nil).expect(t, "get", 200, "")
	if got.text("name") != "Production" || strings.Contains(got.body, plaintext) || got.text("lastUsedAt") != "" {
		t.Errorf("the key: %s", got.body)
	}
	if page := c.call(get, "/v1/api-keys?q=Production&status=active", nil).expect(t, "list", 200, ""); len(page.json["items"].([]any)) != 1 || page.json["nextCursor"] != nil {
		t.Errorf("the list: %s", page.body)
	}
	off := c.call(patch, "/v1/api-keys/"+id, object{"status": "inactive", "name": "Old", "ipAllowlist": []string{}}).expect(t, "update", 200, "")
	if off.text("status") != "inactive" || off.text("name") != "Old" || off.text("ipAllowlist") != "[]" {
		t.Errorf("the edited key: %s", off.body)
	}
	c.call(patch, "/v1/api-keys/"+id, object{"status": "active"}).expect(t, "enable", 200, "")
	turn := c.call(post, "/v1/api-keys/"+id+"/rotate", object{"graceSeconds": 60}).expect(t, "rotate", 201, "")
	next := turn.text("newKey", "id")
	if turn.text("oldKeyId") != id || turn.text("graceSeconds") != "60" || turn.text("newKey", "plaintextKey") == "" || next == "" {
		t.Errorf("the rotation: %s", turn.body)
	}
	c.call(post, "/v1/api-keys/"+id+"/rotate", nil).expect(t, "rotate twice", 409, "state_conflict")
	c.call(patch, "/v1/api-keys/"+id, object{"name": "x"}).expect(t, "edit a rotated key", 409, "state_conflict")
	if old := c.call(get, "/v1/api-keys/"+id, nil); old.text("status") != "rotated" || old.text("replacedBy") != next || old.text("graceEndsAt") == "" || old.text("endsAt") != old.text("graceEndsAt") {
		t.Errorf("the rotated key: %s", old.body)
	} else if found := c.call(post, "/v1/api-keys/verify", object{"key": plaintext}).expect(t, "verify in the grace period", 200, ""); found.text("key", "endsAt") != old.text("endsAt") {
		t.Errorf("a verification says another end than %s: %s", old.text("endsAt"), found.body)
	}
	gone := c.call(del, "/v1/api-keys/"+next, nil).expect(t, "revoke", 200, "")
	if gone.text("id") != next || gone.text("revokedAt") == "" {
		t.Errorf("the revoked key: %s", gone.body)
	}
	c.call(del, "/v1/api-keys/"+next, nil).expect(t, "revoke twice", 409, "state_conflict")
	if answer := c.call(del, "/v1/api-keys/"+next+"?permanent=true", nil).expect(t, "delete", 204, ""); answer.body != "" {
		t.Errorf("a deleted key: %q", answer.body)
	}
	c.call(get, "/v1/api-keys/"+next, nil).expect(t, "get a deleted key", 404, "not_found")
	usage := c.call(get, "/v1/api-keys/"+id+"/usage?days=3", nil).expect(t, "usage", 200, "")
	if len(usage.json["items"].([]any)) != 3 {
		t.Errorf("the usage: %s", usage.body)
	}
	events := c.call(get, "/v1/audit-events?subjectId="+id+"&limit=1", nil).expect(t, "audit", 200, "")
	latest, _ := events.json["items"].([]any)[0].(map[string]any)
	if latest["action"] != "key.rotated" || latest["keyId"] == nil || events.text("nextCursor") == "" {
		t.Errorf("the audit log does not say which key acted: %s", events.body)
	}
}

// TestKeyIsPresentedInThreeWays is what sources 000, 003 and 004 do.
func TestKeyIsPresentedInThreeWays(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Admin, "read:api-keys")
	at := strings.LastIndexByte(secret, '_')
	user, pass := secret[:at], secret[at+1:]
	other := apikey.NewPlaintext(apikey.Live).Prefix()
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for name, c := range map[string]struct {
		client *client
		status int
	}{
		"bearer":                    {s.with(secret), 200},
		"bearer in lower case":      {s.client("Authorization", "bearer  "+secret), 200},
		"X-Api-Key":                 {s.client("X-Api-Key", secret), 200},
		"user:pass":                 {s.client("Authorization", basic(user+":"+pass)), 200},
		"another user, same pass":   {s.client("Authorization", basic(other+":"+pass)), 401},
		"cut at another underscore": {s.client("Authorization", basic("pk:"+secret[3:])), 401},
		"no pass":                   {s.client("Authorization", basic(secret+":")), 401},
		"no colon":                  {s.client("Authorization", basic(secret)), 401},
		"not base64":                {s.client("Authorization", "Basic "+secret), 401},
		"nothing":                   {s.client(), 401},
		"another scheme":            {s.client("Authorization", "Digest "+secret), 401},
		"two headers":               {s.client("Authorization", "Bearer "+secret, "X-Api-Key", secret), 401},
		"two of one":                {s.client("X-Api-Key", secret, "X-Api-Key", secret), 401},
		"in a cookie":               {s.client("Cookie", "moonlatch="+secret), 401},
		"a typo":                    {s.with(secret[:len(secret)-1] + "!"), 401},
		"a token that is none":      {s.with("abc.def.ghi"), 401},
		"well-formed, but nobody's": {s.with(apikey.NewPlaintext(apikey.Live).Reveal()), 401},
	} {
		got := c.client.call(get, "/v1/api-keys", nil)
		if got.status != c.status {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
		challenges := strings.Join(got.header.Values("WWW-Authenticate"), "; ")
		if c.status == 401 && (!strings.Contains(challenges, `Bearer realm="`) || !strings.Contains(challenges, `Basic realm="`)) {
			t.Errorf("%s: the challenge is %s", name, challenges)
		}
		if got.header.Get("X-RateLimit-Remaining") == "" {
			t.Errorf("%s: the answer does not say what is left of the limit", name)
		}
	}
}

// TestCookieNeverAuthenticatesAProgram: a browser's session is no credential here, so no other site can use it.
func TestCookieNeverAuthenticatesAProgram(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Owner)
	if got := b.get("/v1/api-keys"); got.status != 401 {
		t.Errorf("a cookie lists keys: %d", got.status)
	}
}

func TestForeignIDsAnswerAsRandomOnes(t *testing.T) {
	s := newSite(t)
	other := storetest.Organisation(t, s.store)
	_, secret := s.key(s.org.Owner, "*")
	foreign, _ := s.key(other.Owner, "read:chat")
	session := s.with(s.token(s.org.Owner))
	for _, r := range apiRoutes {
		if !strings.Contains(r.path, ":id") {
			continue
		}
		c := s.with(secret)
		if account.ScopeFor(r.policy.action) == "" { // nothing for keys
			c = session
		}
		var body any
		if r.method == post || r.method == patch {
			body = object{"name": "x", "scopes": []string{"read:chat"}}
		}
		if strings.HasSuffix(r.path, "/rotate") {
			body = object{}
		}
		if r.method == patch {
			body = object{"name": "x"}
		}
		if r.path == "/v1/members/:id" && r.method == patch {
			body = object{"role": "support"}
		}
		theirs := c.call(r.method, strings.ReplaceAll(r.path, ":id", foreign.ID), body)
		random := c.call(r.method, strings.ReplaceAll(r.path, ":id", uuid.NewString()), body)
		nonsense := c.call(r.method, strings.ReplaceAll(r.path, ":id", "no-id"), body)
		if theirs.status != 404 || theirs.body != random.body || random.status != 404 || nonsense.status != 404 {
			t.Errorf("%s %s: another organisation's id gets %d %s, a random one %d, nonsense %d", r.method, r.path, theirs.status, theirs.body, random.status, nonsense.status)
		}
	}
	for _, field := range []string{"workspaceId", "processId", "biasProfileId"} {
		got := session.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}, field: uuid.NewString()})
		if got.status != 400 || got.text("error", "details", "fields", field) == "" {
			t.Errorf("a key with an unknown %s: %d %s", field, got.status, got.body)
		}
	}
}

// TestStrictJSON: what the document does not name is refused, and nothing is ever a 500.
func TestStrictJSON(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "*")
	c := s.with(secret)
	good := `"name":"x","scopes":["read:chat"]`
	for body, field := range map[string]string{
		`{` + good + `,"nmae":"y"}`:                                          "nmae",
		`{` + good + `,"name":"y"}`:                                          "name",
		`{"name":7,"scopes":["read:chat"]}`:                                  "name",
		`{"name":"x","scopes":"read:chat"}`:                                  "scopes",
		`{"name":"x","scopes":[1]}`:                                          "scopes",
		`{"name":"x","scopes":[]}`:                                           "scopes",
		`{"scopes":["read:chat"]}`:                                           "name",
		`{"name":null,"scopes":["read:chat"]}`:                               "name",
		`{"name":"a\u0000b","scopes":["read:chat"]}`:                         "name",
		`{"name":"x","scopes":["no:such"]}`:                                  "scopes",
		`{` + good + `,"expiresAt":"90d"}`:                                   "expiresAt",
		`{` + good + `,"expiresAt":"10000-01-01T00:00:00Z"}`:                 "expiresAt",
		`{` + good + `,"expiresAt":"2027-01-01T00:00:00+99:99"}`:             "expiresAt",
		`{` + good + `,"expiresAt":"2001-01-01T00:00:00Z"}`:                  "expiresAt",
		`{` + good + `,"ipAllowlist":["300.1.1.1"]}`:                         "ipAllowlist",
		`{` + good + `,"environment":"staging"}`:                             "environment",
		`{` + good + `,"workspaceId":"nonsense"}`:                            "workspaceId",
		`{"name":"` + strings.Repeat("x", 101) + `","scopes":["read:chat"]}`: "name",
		`{` + good + `,"workspaceId":""}`:                                    "workspaceId",
		`{` + good + `,"environment":""}`:                                    "environment",
		`{` + good + `,"ipAllowlist":[""]}`:                                  "ipAllowlist",
		`{` + good + `,"ipAllowlist":[null," "]}`:                            "ipAllowlist",
		`{` + good + `,"` + strings.Repeat("a", 99) + `é":1}`:                strings.Repeat("a", 99),
		``:                  "",
		`null`:              "",
		`[]`:                "",
		`"x"`:               "",
		`{` + good + `} {}`: "",
		`{` + good + `} x`:  "",
		`{` + good:          "",
		`{"name":"\ud800","scopes":["read:chat"]}`:                           "",
		"{\"name\":\"\xff\",\"scopes\":[\"read:chat\"]}":                     "",
		`{"name":` + strings.Repeat("[", 40000):                              "",
		`{"name":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`: "",
	} {
		got := c.call(post, "/v1/api-keys", body)
		if got.status != 400 || got.text("error", "code") != "validation_failed" || field != "" && got.text("error", "details", "fields", field) == "" {
			t.Errorf("%.80s: %d %s", body, got.status, got.body)
		}
	}
	for body, status := range map[string]int{
		`{"graceSeconds":-1}`: 400, `{"graceSeconds":2147483648}`: 400, `{"graceSeconds":1e400}`: 400, `{"graceSeconds":1.5}`: 400,
		`{"graceSeconds":"5"}`: 400, `{"graceSeconds":2592001}`: 400,
	} {
		if got := c.call(post, "/v1/api-keys/"+uuid.NewString()+"/rotate", body); got.status != status || got.text("error", "details", "fields", "graceSeconds") == "" {
			t.Errorf("%s: %d %s", body, got.status, got.body)
		}
	}
	c.call(post, "/v1/api-keys", `{`+good+`,"ipAllowlist":["`+strings.Repeat("x", 65<<10)+`"]}`).expect(t, "a large body", 413, "payload_too_large")
	for name, header := range map[string][]string{
		"a form":      {"Content-Type", "application/x-www-form-urlencoded"},
		"no type":     {"Content-Type", ""},
		"compressed":  {"Content-Encoding", "gzip"},
		"other bytes": {"Content-Type", "application/json; charset=utf-16"},
		"xml":         {"Content-Type", "application/xml"},
	} {
		s.client(append(header, "Authorization", "Bearer "+secret)...).call(post, "/v1/api-keys", `{`+good+`}`).expect(t, name, 415, "unsupported_media_type")
	}
	for path, status := range map[string]int{
		"/v1/nothing": 404, "/v1": 404, "/v1/api-keys/x/y/z": 404, "/v1/api-keys?limit=0": 400, "/v1/api-keys?limit=101": 400, "/v1/api-keys?limit=x": 400,
		"/v1/api-keys?status=enabled": 400, "/v1/api-keys?ownerId=x": 400, "/v1/api-keys?cursor=x": 400, "/v1/api-keys?oops=1": 400, "/v1/api-keys?q=%00": 400,
		"/v1/api-keys?q=%ff": 400, "/v1/api-keys?q=%zz": 400, "/v1/audit-events?from=x": 400, "/v1/audit-events?cursor=AAAA": 400, "/v1/scopes?x=1": 400,
		"/v1/api-keys/%00": 400, "/v1/audit-events?from=9999-12-31T23:59:59-23:59": 400, "/v1/audit-events?to=0001-01-01T00:00:00%2B23:59": 400,
		"/v1/api-keys?limit=1&limit=2": 400, "/v1/api-keys?" + strings.Repeat("a", 99) + "%C3%A9=1": 400, "/v1/processes?x": 400,
	} {
		if got := c.call(get, path, nil); got.status != status || got.text("error", "code") == "" {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	slip, _ := s.key(s.org.Owner, "read:chat")
	c.call(post, "/v1/api-keys/"+slip.ID+"/rotate?graceSeconds=60", nil).expect(t, "a grace period in the address", 400, "validation_failed")
	c.call(post, "/v1/api-keys/"+slip.ID+"/rotate", "null").expect(t, "null for a body", 400, "validation_failed")
	c.call(patch, "/v1/api-keys/"+slip.ID, `{"ipAllowlist":[""]}`).expect(t, "a blank in an allowlist", 400, "validation_failed")
	c.call(patch, "/v1/api-keys/"+slip.ID, `{"biasProfileId":null}`).expect(t, "no profile", 200, "")
	c.call(del, "/v1/api-keys/"+slip.ID+"?permanent=false&permanent=true", nil).expect(t, "both", 400, "validation_failed")
	c.call(del, "/v1/api-keys/"+slip.ID+"?"+strings.Repeat("a", 99)+"%C3%A9=1", nil).expect(t, "an unknown parameter", 400, "validation_failed")
	c.call(get, "/v1/api-keys/X"+slip.ID+"Y", nil).expect(t, "an id in no braces", 404, "not_found")
	got := c.call(http.MethodPut, "/v1/api-keys", nil).expect(t, "another method", 405, "method_not_allowed")
	if allow := got.header.Get("Allow"); !strings.Contains(allow, "GET") || !strings.Contains(allow, "POST") {
		t.Errorf("Allow: %s", allow)
	}
}

// TestEqualRequestsIssueOneKey: fifty at once with one Idempotency-Key.
func TestEqualRequestsIssueOneKey(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "*")
	c := s.client("Authorization", "Bearer "+secret, "Idempotency-Key", "deploy-1")
	var made, repeated sync.Map
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			ask := func() reply {
				return c.call(post, "/v1/api-keys", object{"name": "once", "scopes": []string{"read:chat"}})
			}
			got := ask()
			for deadline := time.Now().Add(time.Minute); got.status == 503 && time.Now().Before(deadline); { // a program tries again
				got = ask()
			}
			switch {
			case got.status == 201:
				made.Store(got.text("id"), true)
			case got.status == 409 && got.text("error", "code") == "idempotency_conflict":
				repeated.Store(got.text("error", "details", "id"), true)
			default:
				t.Errorf("%d %s", got.status, got.body)
			}
		})
	}
	all.Wait()
	count := 0
	made.Range(func(id, _ any) bool {
		count++
		if _, ok := repeated.Load(id); !ok {
			t.Errorf("the others were not told of %s", id)
		}
		return true
	})
	if count != 1 {
		t.Errorf("%d keys were issued", count)
	}
	if got := c.call(post, "/v1/api-keys", object{"name": "another", "scopes": []string{"read:chat"}}); got.status != 409 || got.text("error", "code") != "idempotency_conflict" {
		t.Errorf("the same key with another body: %d %s", got.status, got.body)
	}
	old, _ := s.key(s.org.Owner, "read:chat")
	first := c.call(post, "/v1/api-keys/"+old.ID+"/rotate", object{}) // the request key was another request's
	first.expect(t, "rotate with a used key", 409, "idempotency_conflict")
	c.header.Set("Idempotency-Key", "rotate-1")
	turn := c.call(post, "/v1/api-keys/"+old.ID+"/rotate", object{}).expect(t, "rotate", 201, "")
	again := c.call(post, "/v1/api-keys/"+old.ID+"/rotate", object{}).expect(t, "rotate again", 409, "idempotency_conflict")
	if again.text("error", "details", "id") != turn.text("newKey", "id") {
		t.Errorf("the repetition names %s", again.body)
	}
	for _, bad := range []string{"", strings.Repeat("x", 256)} {
		c.header.Set("Idempotency-Key", bad)
		c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}}).expect(t, "a bad Idempotency-Key", 400, "validation_failed")
	}
}

// TestKeyActsWithinItself: what a key can't do for its owner.
func TestKeyActsWithinItself(t *testing.T) {
	s := newSite(t)
	narrow, secret := s.key(s.org.Admin, "write:api-keys", "read:chat")
	c := s.with(secret)
	c.call(post, "/v1/api-keys", object{"name": "same", "scopes": []string{"read:chat"}}).expect(t, "a scope that it holds", 201, "")
	c.call(post, "/v1/api-keys", object{"name": "more", "scopes": []string{"read:chat", "write:chat"}}).expect(t, "a scope that it lacks", 403, "forbidden")
	c.call(post, "/v1/api-keys", object{"name": "all", "scopes": []string{"*"}}).expect(t, "every scope", 403, "forbidden")
	c.call(get, "/v1/api-keys", nil).expect(t, "reading without the scope", 403, "forbidden")
	broad, _ := s.key(s.org.Admin, "write:chat")
	c.call(post, "/v1/api-keys/"+broad.ID+"/rotate", object{}).expect(t, "rotating a key that holds more", 403, "forbidden")
	c.call(patch, "/v1/api-keys/"+broad.ID, object{"name": "mine"}).expect(t, "editing a key that holds more", 403, "forbidden")
	c.call(patch, "/v1/api-keys/"+narrow.ID, object{"expiresAt": time.Now().Add(200 * apikey.Day).UTC().Format(time.RFC3339)}).expect(t, "a longer life for itself", 403, "forbidden")
	c.call(patch, "/v1/api-keys/"+narrow.ID, object{"name": "renamed"}).expect(t, "a name for itself", 200, "")
	c.call(del, "/v1/api-keys/"+broad.ID, nil).expect(t, "revoking a key that holds more", 200, "")

	_, fenced, err := s.keyring.IssueKey(t.Context(), s.org.Admin, keyring.KeyDraft{Name: "t", Scopes: []string{"write:api-keys", "read:chat"}, Environment: "test", IPAllowlist: []string{"127.0.0.0/8", "::1"}})
	if err != nil {
		t.Fatal(err)
	}
	c = s.with(fenced.Reveal())
	c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}, "environment": "live", "ipAllowlist": []string{"127.0.0.1"}}).expect(t, "a live key from a test key", 403, "forbidden")
	c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}, "environment": "test"}).expect(t, "any address from an allowlist", 403, "forbidden")
	c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}, "environment": "test", "ipAllowlist": []string{"127.0.0.1"}}).expect(t, "an address of its own", 201, "")
	c.call(post, "/v1/auth/logout", nil).expect(t, "a key that logs out", 403, "forbidden")
}

// TestTransferNeedsAnOwnerForMore: giving a key to a stronger role must not strengthen whoever knows it.
func TestTransferNeedsAnOwnerForMore(t *testing.T) {
	s := newSite(t)
	all, _ := s.key(s.org.Owner, "*")
	if _, err := s.keyring.TransferKey(t.Context(), s.org.Owner, all.ID, s.org.Admin.MemberID); err != nil {
		t.Fatal(err)
	}
	_, secret := s.key(s.org.Owner, "write:api-keys")
	s.with(secret).call(patch, "/v1/api-keys/"+all.ID, object{"ownerId": s.org.Owner.MemberID}).expect(t, "through a narrower key", 403, "forbidden")
	token := s.token(s.org.Admin)
	s.with(token).call(patch, "/v1/api-keys/"+all.ID, object{"ownerId": s.org.Owner.MemberID}).expect(t, "by an admin", 403, "forbidden")
	s.with(token).call(patch, "/v1/api-keys/"+all.ID, object{"ownerId": s.org.Support.MemberID}).expect(t, "to who may hold none", 400, "validation_failed")
	plain, _ := s.key(s.org.Admin, "read:chat")
	moved := s.with(token).call(patch, "/v1/api-keys/"+plain.ID, object{"ownerId": s.org.Owner.MemberID}).expect(t, "a plain key", 200, "")
	if moved.text("ownerId") != s.org.Owner.MemberID {
		t.Errorf("the transferred key: %s", moved.body)
	}
}

// token logs a member in.
func (s *site) token(who account.Actor) string {
	s.t.Helper()
	got := s.client().call(post, "/v1/auth/login", object{"email": who.Email, "password": storetest.Password})
	if got.status != 200 || got.text("tokenType") != "Bearer" {
		s.t.Fatalf("login: %d %s", got.status, got.body)
	}
	return got.text("token")
}

func TestTokenLivesAsLongAsItsSession(t *testing.T) {
	s := newSite(t)
	token := s.token(s.org.Admin)
	c := s.with(token)
	c.call(get, "/v1/api-keys", nil).expect(t, "list", 200, "")
	made := c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}}).expect(t, "issue", 201, "")
	c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"*"}}).expect(t, "an admin grants *", 403, "forbidden")
	s.with(s.token(s.org.Support)).call(del, "/v1/api-keys/"+made.text("id"), nil).expect(t, "support revokes", 403, "forbidden")
	s.with(s.token(s.org.Member)).call(get, "/v1/api-keys", nil).expect(t, "a member lists", 403, "forbidden")
	c.call(post, "/v1/auth/logout", nil).expect(t, "log out", 204, "")
	c.call(get, "/v1/api-keys", nil).expect(t, "after logging out", 401, "unauthorized")
	s.client().call(post, "/v1/auth/login", object{"email": s.org.Admin.Email, "password": "wrong wrong wrong"}).expect(t, "a wrong password", 401, "unauthorized")
	s.client().call(post, "/v1/auth/login", object{"email": s.org.Admin.Email}).expect(t, "no password", 400, "validation_failed")
	jwks := s.client().call(get, "/.well-known/jwks.json", nil).expect(t, "the keys", 200, "")
	if keys, _ := jwks.json["keys"].([]any); len(keys) == 0 {
		t.Errorf("no keys: %s", jwks.body)
	}
}

func TestVerification(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Admin, "verify:api-keys")
	gate := s.with(secret)
	key, plaintext := s.key(s.org.Admin, "read:chat")
	ask := func(body object) reply {
		t.Helper()
		got := gate.call(post, "/v1/api-keys/verify", body).expect(t, "verify", 200, "")
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-RateLimit-Limit") != "" {
			t.Errorf("the headers of a verification: %v", got.header)
		}
		return got
	}
	good := ask(object{"key": plaintext, "scopes": []string{"read:chat"}})
	if good.text("code") != "valid" || good.text("valid") != "true" || good.text("key", "id") != key.ID || good.text("key", "status") != "active" || good.text("key", "orgId") != s.org.ID {
		t.Errorf("a good key: %s", good.body)
	}
	other := storetest.Organisation(t, s.store)
	_, foreign := s.key(other.Owner, "read:chat")
	fenced, err := s.issueWith(keyring.KeyDraft{Name: "f", Scopes: []string{"read:chat"}, IPAllowlist: []string{"192.0.2.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body  object
		code  string
		known bool
	}{
		"too little":    {object{"key": plaintext, "scopes": []string{"read:chat", "write:chat"}}, "insufficient_scope", true},
		"a typo":        {object{"key": plaintext[:58] + "!"}, "malformed", false},
		"nobody's":      {object{"key": apikey.NewPlaintext(apikey.Live).Reveal()}, "not_found", false},
		"another org's": {object{"key": foreign}, "not_found", false},
		"no address":    {object{"key": fenced}, "ip_not_allowed", true},
		"other address": {object{"key": fenced, "ip": "203.0.113.9"}, "ip_not_allowed", true},
		"good address":  {object{"key": fenced, "ip": "192.0.2.9"}, "valid", true},
		"mapped":        {object{"key": fenced, "ip": "::ffff:192.0.2.9"}, "valid", true},
	} {
		if got := ask(c.body); got.text("code") != c.code || got.text("valid") != fmt.Sprint(c.code == "valid") || (got.json["key"] != nil) != c.known {
			t.Errorf("%s: %s", name, got.body)
		}
	}
	for name, body := range map[string]object{"no key": {}, "a bad address": {"key": plaintext, "ip": "nowhere"}, "unknown field": {"key": plaintext, "scope": "x"},
		"a zone": {"key": plaintext, "ip": "fe80::1%eth0"}} {
		if got := gate.call(post, "/v1/api-keys/verify", body); got.status != 400 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
	s.with(plaintext).call(post, "/v1/api-keys/verify", object{"key": plaintext}).expect(t, "without the scope", 403, "forbidden")
	s.client().call(post, "/v1/api-keys/verify", object{"key": plaintext}).expect(t, "without a credential", 401, "unauthorized")
	s.with(s.token(s.org.Support)).call(post, "/v1/api-keys/verify", object{"key": plaintext}).expect(t, "with a session", 200, "")
}

// issueWith issues a key of the admin and returns its plaintext.
func (s *site) issueWith(draft keyring.KeyDraft) (string, error) {
	_, plaintext, err := s.keyring.IssueKey(s.t.Context(), s.org.Admin, draft)
	return plaintext.Reveal(), err
}

func TestForwardAuth(t *testing.T) {
	s := newSite(t)
	_, all := s.key(s.org.Owner, "*")
	key, plaintext := s.key(s.org.Admin, "read:chat", "write:chat")
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "PURGE", "QUERY"} {
		got := s.with(plaintext).call(method, "/v1/forward-auth?scope=read:chat&scope=write:chat", nil)
		if got.status != 200 || got.header.Get("X-Key-Id") != key.ID || got.header.Get("X-Key-Scopes") != "read:chat write:chat" || got.header.Get("X-Key-Org") != s.org.ID ||
			got.header.Get("X-Key-Owner") != key.OwnerID || got.header.Get("X-Key-Environment") != "live" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", method, got.status, got.header)
		}
		for _, name := range []string{"X-Key-Workspace", "X-Key-Process", "X-Key-Bias-Profile"} { // a gateway may copy only what is there
			if said := got.header[name]; len(said) != 1 || said[0] != "" {
				t.Errorf("%s: %s is %q, want it there and empty", method, name, said)
			}
		}
	}
	for name, c := range map[string]struct {
		client *client
		query  string
		status int
		says   string
	}{
		"no credential":            {s.client(), "", 401, `Bearer realm="Moonlatch"`},
		"too little":               {s.with(plaintext), "?scope=read:chat&scope=read:billing", 403, `error="insufficient_scope", scope="read:chat read:billing"`},
		"nobody's":                 {s.with(apikey.NewPlaintext(apikey.Live).Reveal()), "", 401, `error="invalid_token"`},
		"an empty scope":           {s.with(plaintext), "?scope=", 400, ""},
		"an empty scope of *":      {s.with(all), "?scope=", 400, ""}, // a variable without a value asks for nothing that anybody has
		"any scope of *":           {s.with(all), "?scope=read:chat&scope=x:y", 200, ""},
		"its organisation":         {s.with(plaintext), "?org=" + s.org.ID, 200, ""},
		"another organisation":     {s.with(plaintext), "?org=" + uuid.NewString(), 401, "invalid_token"},
		"the gateway's own query":  {s.with(plaintext), "?scope=read:chat&original=/jobs?a=%zz&b;c", 200, ""},
		"a query that asks more":   {s.with(plaintext), "?scope=read:chat&original=/jobs?a=1&scope=*", 403, "insufficient_scope"},
		"X-Api-Key":                {s.client("X-Api-Key", plaintext), "", 200, ""},
		"and the API's own header": {s.client("X-Api-Key", plaintext, "Authorization", "Bearer eyJhbGciOi"), "", 200, ""},
		"two keys":                 {s.client("X-Api-Key", plaintext, "Authorization", "Bearer "+apikey.NewPlaintext(apikey.Live).Reveal()), "", 401, "invalid_request"},
		"a session token":          {s.with(s.token(s.org.Owner)), "", 401, "invalid_token"},
	} {
		got := c.client.call(get, "/v1/forward-auth"+c.query, nil)
		if got.status != c.status || c.says != "" && !strings.Contains(strings.Join(got.header.Values("WWW-Authenticate"), ";"), c.says) {
			t.Errorf("%s: %d %v %s", name, got.status, got.header.Values("WWW-Authenticate"), got.body)
		}
		if got.status != 200 && got.header.Get("X-Key-Id") != "" {
			t.Errorf("%s: a refusal names the key", name)
		}
	}
}

// TestWhoSendsNoMoreIsStillAnswered: a client may close its half of a connection and go on listening; it must not take
// silence for a yes.
func TestWhoSendsNoMoreIsStillAnswered(t *testing.T) {
	s := newSite(t)
	for range 20 {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(conn, "GET /v1/forward-auth HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n", apikey.NewPlaintext(apikey.Live).Reveal()); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 401 ") {
			t.Fatalf("%v %.100s", err, answer)
		}
		_ = conn.Close()
	}
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, secret := s.key(s.org.Owner, "*")
	_, _ = fmt.Fprintf(conn, "GET /v1/api-keys HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\n\r\n", secret)
	_ = conn.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(conn); err != nil || strings.HasPrefix(string(answer), "HTTP/1.1 200 OK") && !strings.Contains(string(answer), `"items"`) {
		t.Errorf("%v %.100s", err, answer)
	}
	_ = conn.Close()
}

// TestSlowClientIsNoOutage: the time that a body takes to come is not the database's.
func TestSlowClientIsNoOutage(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "*")
	slow, send := io.Pipe()
	go func() {
		for _, part := range []string{`{"name":"slow",`, `"scopes":["read:chat"]}`} {
			_, _ = io.WriteString(send, part)
			time.Sleep(requestTimeout/2 + 200*time.Millisecond)
		}
		_ = send.Close()
	}()
	request, err := http.NewRequestWithContext(t.Context(), post, s.URL+"/v1/api-keys", slow)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Api-Key", secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != 201 {
		t.Errorf("%d", response.StatusCode)
	}
}

func TestProgramsAreLimited(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.RateLimit = 3 })
	_, secret := s.key(s.org.Owner, "*")
	for i := range 3 {
		got := s.with(secret).call(get, "/v1/scopes", nil).expect(t, "within the limit", 200, "")
		if got.header.Get("X-RateLimit-Limit") != "3" || got.header.Get("X-RateLimit-Remaining") != fmt.Sprint(2-i) || got.header.Get("X-RateLimit-Reset") == "" {
			t.Errorf("the limit's headers: %v", got.header)
		}
	}
	got := s.with(secret).call(get, "/v1/scopes", nil).expect(t, "beyond the limit", 429, "rate_limited")
	if got.header.Get("Retry-After") == "" || got.text("error", "details", "retryAfter") != got.header.Get("Retry-After") {
		t.Errorf("the refusal does not say how long to wait: %v %s", got.header, got.body)
	}
	_, other := s.key(s.org.Owner, "*")
	s.with(other).call(get, "/v1/scopes", nil).expect(t, "another key", 200, "")
	for range 10 {
		s.with(secret).call(get, "/v1/forward-auth", nil).expect(t, "questions are not counted", 200, "")
	}
	for range 3 {
		s.client().call(get, "/v1/scopes", nil).expect(t, "nobody", 401, "unauthorized")
	}
	s.client().call(get, "/v1/scopes", nil).expect(t, "nobody, too often", 429, "rate_limited")
}
