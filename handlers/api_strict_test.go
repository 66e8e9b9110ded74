package handlers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/views"
)

// TestNoCallTakesNothingForAValue asks every operation of the contract with each of its parameters empty, with one that is
// misspelt, and with each text of its body empty.
func TestNoCallTakesNothingForAValue(t *testing.T) {
	s := newSite(t)
	ids := things(t, s.store, s.keyring, s.org.Owner)
	owner := s.with(s.token(s.org.Owner))
	_, all := s.key(s.org.Owner, apikey.All)
	asked := 0
	refused := func(where, field string, got reply) {
		t.Helper()
		asked++
		if got.status != 400 || got.text("error", "code") != "validation_failed" || got.text("error", "details", "fields", field) == "" {
			t.Errorf("%s: %d %.300s", where, got.status, got.body)
		}
	}
	for _, r := range apiRoutes {
		if r.policy.kind != program {
			continue
		}
		path, known := r.named(ids)
		if !known {
			t.Fatalf("%s %s: the walk knows no such thing", r.method, r.path)
		}
		template, _ := templateOf(openAPIDocument(), path)
		operation := openAPIDocument().Paths.Find(template).GetOperation(r.method)
		var body any
		if operation.RequestBody != nil {
			body = object{}
		}
		refused(r.method+" "+path+" with a misspelt parameter", "staus", owner.call(r.method, path+"?staus=active", body))
		for _, parameter := range operation.Parameters {
			if p := parameter.Value; p.In == "query" {
				refused(r.method+" "+path+"?"+p.Name+"=", p.Name, owner.call(r.method, path+"?"+p.Name+"=", body))
				refused(r.method+" "+path+"?"+p.Name+" twice", p.Name, owner.call(r.method, path+"?"+p.Name+"=a&"+p.Name+"=b", body))
				wrong := strings.ToUpper(p.Name[:1]) + p.Name[1:]
				refused(r.method+" "+path+"?"+wrong, wrong, owner.call(r.method, path+"?"+wrong+"=a", body))
			}
		}
		if operation.RequestBody == nil {
			continue
		}
		for name, property := range operation.RequestBody.Value.Content["application/json"].Schema.Value.Properties {
			if property.Value.Type.Includes("string") && name != "description" {
				refused(r.method+" "+path+" with an empty "+name, name, owner.call(r.method, path, object{name: ""}))
			}
			if property.Value.Type.Includes("array") && property.Value.Items.Value.Type.Is("string") {
				refused(r.method+" "+path+" with an empty entry of "+name, name, owner.call(r.method, path, object{name: []string{""}}))
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d questions were asked", asked)
	}
	// What belongs in the query and is sent in the body would be passed over, and the member's keys would stay.
	member := owner.call(get, "/v1/members/"+s.org.Member.MemberID, nil).expect(t, "a member", 200, "").body
	owner.call(del, "/v1/members/"+s.org.Member.MemberID, object{"keys": "revoke"}).expect(t, "a body on a DELETE", 400, "validation_failed")
	if after := owner.call(get, "/v1/members/"+s.org.Member.MemberID, nil).body; after != member {
		t.Errorf("the member is now %s", after)
	}
	for _, query := range []string{"scopes=read:chat", "Scope=read:chat", "scope[]=read:chat", "scope%5B%5D=read:chat", "SCOPE=read:chat", "scope=", "scope", "org=", "Org=" + s.org.ID, "sc%6Fpes=x", "x=1&scope=read:chat"} {
		got := s.with(all).call(get, "/v1/forward-auth?"+query, nil)
		if got.status != 400 || got.header.Get("X-Key-Id") != "" || got.text("error", "code") != "validation_failed" {
			t.Errorf("forward-auth?%s: %d %s", query, got.status, got.body)
		}
	}
	for _, query := range []string{"", "scope=read:chat", "sc%6Fpe=read:chat", "scope=read:chat&scope=x:y", "original=/x?scopes=a&b=c", "scope=read:chat&original=/x?Scope=1&"} {
		if got := s.with(all).call(get, "/v1/forward-auth?"+query, nil); got.status != 200 {
			t.Errorf("forward-auth?%s: %d %s", query, got.status, got.body)
		}
	}
}

// TestNullMeansNotGivenWhereSomethingIsMade sends what a program sends that writes every field it knows.
func TestNullMeansNotGivenWhereSomethingIsMade(t *testing.T) {
	s := newSite(t)
	_, all := s.key(s.org.Owner, apikey.All)
	c := s.with(all)
	made := c.call(post, "/v1/api-keys", `{"name":"x","scopes":["read:chat"],"environment":null,"workspaceId":null,"processId":null,"biasProfileId":null,"ipAllowlist":null,"expiresAt":null}`).expect(t, "a key", 201, "")
	if made.text("environment") != "live" {
		t.Error(made.body)
	}
	path := "/v1/api-keys/" + made.text("id")
	for body, field := range map[string]string{`{"name":null}`: "name", `{"ipAllowlist":null}`: "ipAllowlist", `{"expiresAt":null}`: "expiresAt", `{"ownerId":null}`: "ownerId", `{"biasProfileId":""}`: "biasProfileId"} {
		if got := c.call(patch, path, body).expect(t, body, 400, "validation_failed"); got.text("error", "details", "fields", field) == "" {
			t.Errorf("%s: %s", body, got.body)
		}
	}
	c.call(patch, path, `{"biasProfileId":null}`).expect(t, "no profile", 200, "")
	for _, body := range []string{`{"graceSeconds":1.5}`, `{"graceSeconds":0.1}`, `{"graceSeconds":-1}`} {
		got := c.call(post, path+"/rotate", body).expect(t, body, 400, "validation_failed")
		if !strings.Contains(got.text("error", "details", "fields", "graceSeconds"), "whole seconds") {
			t.Error(got.body)
		}
	}
	c.call(post, path+"/rotate", `{"graceSeconds":null}`).expect(t, "no grace period", 201, "")
	c.call(post, "/v1/bias-profiles", `{"name":"p","description":null,"defaultThreshold":null,"categories":null}`).expect(t, "a profile", 201, "")
	c.call(post, "/v1/scopes", `{"name":"read:nulls","description":null}`).expect(t, "a scope", 201, "")
	c.call(post, "/v1/api-keys/verify", `{"key":"`+all+`","scopes":null,"ip":null}`).expect(t, "verify", 200, "")
}

// TestABlankCredentialIsNone sends what a program sends for a variable that has no value.
func TestABlankCredentialIsNone(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, apikey.All)
	bearer := "Bearer " + secret
	for _, path := range []string{"/v1/forward-auth", "/v1/api-keys"} {
		for name, header := range map[string][]string{
			"an empty key beside":    {"Authorization", bearer, "X-Api-Key", ""},
			"spaces beside":          {"Authorization", bearer, "X-Api-Key", " \t"},
			"an empty header beside": {"X-Api-Key", secret, "Authorization", ""},
			"Bearer without a token": {"X-Api-Key", secret, "Authorization", "Bearer"},
			"Basic without anything": {"X-Api-Key", secret, "Authorization", "basic "},
		} {
			if got := s.client(header...).call(get, path, nil); got.status != 200 {
				t.Errorf("%s, %s: %d %s", path, name, got.status, got.body)
			}
		}
		for name, header := range map[string][]string{"a blank key": {"X-Api-Key", " "}, "a blank header": {"Authorization", ""}, "both": {"Authorization", "Bearer ", "X-Api-Key", ""}} {
			s.client(header...).call(get, path, nil).expect(t, path+" with "+name, 401, "unauthorized")
		}
	}
}

// TestAKeyIsTakenAsUserAndPassEverywhere writes a key with a colon wherever a key is taken or looked for.
func TestAKeyIsTakenAsUserAndPassEverywhere(t *testing.T) {
	s := newSite(t)
	key, secret := s.key(s.org.Owner, apikey.All)
	at := strings.LastIndexByte(secret, '_')
	pair := secret[:at] + ":" + secret[at+1:]
	for name, header := range map[string][]string{"X-Api-Key": {"X-Api-Key", pair}, "Bearer": {"Authorization", "Bearer " + pair}} {
		for _, path := range []string{"/v1/forward-auth", "/v1/api-keys/" + key.ID} {
			if got := s.client(header...).call(get, path, nil); got.status != 200 {
				t.Errorf("%s in %s: %d %s", path, name, got.status, got.body)
			}
		}
	}
	if got := s.with(secret).call(post, "/v1/api-keys/verify", object{"key": pair}); got.text("code") != string(verify.Valid) || got.text("key", "id") != key.ID {
		t.Errorf("verify: %s", got.body)
	}
	wrong := secret[:8] + ":" + secret[9:at] + "_" + secret[at+1:]
	if got := s.with(secret).call(post, "/v1/api-keys/verify", object{"key": wrong}); got.text("code") != string(verify.Malformed) {
		t.Errorf("a colon elsewhere: %s", got.body)
	}
	if got := s.as(s.org.Owner).get("/account/api-keys?q=" + url.QueryEscape(pair)); got.status != http.StatusSeeOther || strings.Contains(got.location, secret[at+1:]) {
		t.Errorf("the whole key stays in the address: %d %s", got.status, got.location)
	}
}

// TestWhatIsDisplayedCanBeSearchedFor looks for a key by all that people see of it, in the API and on the page.
func TestWhatIsDisplayedCanBeSearchedFor(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, "read:api-keys")
	key, _, err := s.keyring.IssueKey(t.Context(), s.org.Owner, keyring.KeyDraft{Name: "Café " + uuid.NewString()[:6], Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	c, page := s.with(secret), s.as(s.org.Owner)
	whole := key.Prefix + "_" + strings.Repeat("0", 32) + key.Signature
	for _, q := range []string{
		whole, "API_KEY=" + whole, key.Prefix + ":" + strings.Repeat("0", 32) + key.Signature + "\u200b",
		key.Prefix, key.Prefix + "_", key.Prefix + "_••••" + key.Signature, key.Prefix + "_••••to " + key.Signature, key.Prefix + "…" + key.Signature, key.Prefix + "_...." + key.Signature,
		"••••" + key.Signature, "•••• " + key.Signature, key.Signature, " " + key.Signature + "\t", key.Name, "  " + strings.ToLower(key.Name) + " ", strings.Replace(key.Name, "é", "e\u0301", 1), key.ID,
	} {
		got := c.call(get, "/v1/api-keys?q="+url.QueryEscape(q), nil).expect(t, q, 200, "")
		if strings.Count(got.body, `"prefix"`) != 1 || !strings.Contains(got.body, key.ID) {
			t.Errorf("%q finds by the API: %s", q, got.body)
		}
		shown := page.get("/account/api-keys?q=" + url.QueryEscape(q))
		if shown.status == http.StatusSeeOther {
			shown = page.get(shown.location)
		}
		if !strings.Contains(shown.body, key.ID) {
			t.Errorf("%q does not find it on the page", q)
		}
	}
	for _, q := range []string{"%20", "%00", "%E2%80%8B"} {
		c.call(get, "/v1/api-keys?q="+q, nil).expect(t, q, 400, "validation_failed")
	}
}

// declare sends a request that declares a body and sends none, and returns the answer.
func (s *site) declare(request, declared string, within time.Duration, headers ...string) (*http.Response, error) {
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	lines := append([]string{request + " HTTP/1.1", "Host: localhost", declared}, headers...)
	fmt.Fprintf(conn, "%s\r\n\r\n", strings.Join(lines, "\r\n"))
	method, _, _ := strings.Cut(request, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", request, declared, err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	if !response.Close {
		return response, fmt.Errorf("%s with %s: the connection stays open after %d, and the body may still come", request, declared, response.StatusCode)
	}
	return response, err
}

// declaring is declare of what must be answered. The server waits for a body without limit where it waits at all, so that an
// answer is one that did not wait.
func (s *site) declaring(t *testing.T, request, declared string, headers ...string) *http.Response {
	t.Helper()
	response, err := s.declare(request, declared, time.Minute, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

const (
	declaredLength  = "Content-Length: 77"
	declaredChunked = "Transfer-Encoding: chunked"
)

// TestMetricsServedAloneDoNotWaitForABody declares a body and never sends it, to the server at METRICS_ADDR.
func TestMetricsServedAloneDoNotWaitForABody(t *testing.T) {
	t.Parallel()
	answers := map[string]int{"GET /metrics": http.StatusOK, "POST /metrics": http.StatusMethodNotAllowed, "GET /elsewhere": http.StatusNotFound}
	page := metricsAlone(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for request, want := range answers {
		for _, side := range []struct {
			handler http.Handler
			want    int
		}{{page, want}, {StartingMetrics(), http.StatusServiceUnavailable}} {
			alone := &site{t: t, Server: httptest.NewServer(side.handler)}
			for _, declared := range []string{declaredLength, declaredChunked} {
				if got := alone.declaring(t, request, declared); got.StatusCode != side.want {
					t.Errorf("%s with %s: %d, not %d", request, declared, got.StatusCode, side.want)
				}
			}
			alone.CloseClientConnections()
			alone.Close()
		}
	}
}

// TestAnAnswerDoesNotWaitForABodyThatNobodyReads declares a body and never sends it: to every operation of the document with a
// credential and without one, to methods and addresses that are none, and to pages.
func TestAnAnswerDoesNotWaitForABodyThatNobodyReads(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, apikey.All)
	const asJSON = "Content-Type: application/json"
	for path, item := range openAPIDocument().Paths.Map() {
		if path == metricsPath {
			continue // at an address of its own it may be another server's
		}
		path = regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, uuid.NewString())
		for method, operation := range item.Operations() {
			for _, declared := range []string{declaredLength, declaredChunked} {
				anonymous := operation.Security != nil && len(*operation.Security) == 0
				if operation.RequestBody == nil {
					bearer := "Authorization: Bearer " + secret
					if method == post { // logging out takes a session's token, and ends it
						bearer = "Authorization: Bearer " + s.token(s.org.Support)
					}
					got := s.declaring(t, method+" "+path, declared, bearer)
					switch refused := got.StatusCode == 400; {
					case got.StatusCode == 403 && strings.HasPrefix(path, "/v1/members"): // for sessions alone
					case refused != (method == del), got.StatusCode == 401, got.StatusCode == 405, got.StatusCode >= 500:
						t.Errorf("%s %s with %s: %d", method, path, declared, got.StatusCode)
					}
				}
				if operation.RequestBody == nil || !anonymous {
					got := s.declaring(t, method+" "+path, declared, asJSON)
					if refused := got.StatusCode == 401; refused == anonymous || got.StatusCode >= 500 {
						t.Errorf("%s %s with %s and without a credential: %d", method, path, declared, got.StatusCode)
					}
				}
			}
			if operation.RequestBody != nil {
				got := s.declaring(t, method+" "+path, "Content-Length: 65537", asJSON, "Authorization: Bearer "+secret)
				if !slices.Contains([]int{413, 403, 404}, got.StatusCode) { // members are for sessions alone; a process is looked for first
					t.Errorf("%s %s with more than 64 KiB: %d", method, path, got.StatusCode)
				}
				if method+" "+path == "POST "+verifyPath || method+" "+path == "POST /v1/api-keys" {
					if got := s.declaring(t, method+" "+path, declaredLength, "Content-Type: text/plain", "Authorization: Bearer "+secret); got.StatusCode != 415 {
						t.Errorf("%s %s with a text: %d", method, path, got.StatusCode)
					}
				}
			}
		}
	}
	form := "Content-Type: application/x-www-form-urlencoded"
	for request, want := range map[string]int{
		"POST /v1/forward-auth": 200, "BREW /v1/forward-auth": 200,
		"TRACE /v1/api-keys": 405, "PUT /v1/api-keys": 405, "POST /v1/scopes/read:chat": 405, "DELETE /v1/workspaces": 405, "POST /openapi.json": 405, "POST /healthz": 405,
		"POST /v1/nothing": 404, "DELETE /v1/nothing": 404, "PATCH /v1": 404, "TRACE /v1/nothing": 404,
		"POST /nowhere": 404, "PUT /nowhere": 404, "DELETE /sign-in": 405, "TRACE /account/api-keys": 405, "POST /docs": 405, "POST /static/nothing": 405,
		"GET /sign-in": 200, "GET /nowhere": 404, "GET /account/api-keys": 303,
	} {
		for _, declared := range []string{declaredLength, declaredChunked} {
			for _, kind := range []string{"", form, asJSON, "Content-Type: multipart/form-data; boundary=x"} {
				headers := slices.DeleteFunc([]string{"Authorization: Bearer " + secret, kind}, func(line string) bool { return line == "" })
				if got := s.declaring(t, request, declared, headers...); got.StatusCode != want {
					t.Errorf("%s with %s and %q: %d, not %d", request, declared, kind, got.StatusCode, want)
				}
			}
		}
	}
	if got := s.declaring(t, "POST "+views.SignInPath, "Content-Length: 65537", form); got.StatusCode != 413 {
		t.Errorf("a form of more than 64 KiB: %d", got.StatusCode)
	}
}

// TestWhoAsksTooOftenIsRefusedWithoutTheBody declares a body beyond the limit of requests, and beyond that of log-ins.
func TestWhoAsksTooOftenIsRefusedWithoutTheBody(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.RateLimit = 1 })
	_, secret := s.key(s.org.Owner, apikey.All)
	s.with(secret).call(get, "/v1/scopes", nil).expect(t, "within the limit", 200, "")
	if got := s.declaring(t, "POST /v1/api-keys", declaredLength, "Content-Type: application/json", "Authorization: Bearer "+secret); got.StatusCode != 429 {
		t.Errorf("beyond the limit: %d", got.StatusCode)
	}
	s = newSite(t)
	// One more log-in is allowed each second. One that is allowed waits for its body, and is given up and tried again.
	for attempt := 1; ; attempt++ {
		for s.client().call(post, "/v1/auth/login", object{}).status != 429 {
		}
		got, err := s.declare("POST /v1/auth/login", declaredLength, 3*time.Second, "Content-Type: application/json")
		if err == nil && got.StatusCode == 429 {
			break
		}
		if attempt == 20 {
			t.Fatalf("log-ins beyond the limit are answered with %v, %v", got, err)
		}
	}
}

// TestAConnectionOutlivesABodyThatWasRead: only a body that nobody read ends the connection.
func TestAConnectionOutlivesABodyThatWasRead(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, apikey.All)
	for request, want := range map[string]int{"POST " + verifyPath: 200, "POST /v1/api-keys": 400, "POST /v1/auth/login": 401, "POST " + views.SignInPath: 422} {
		method, path, _ := strings.Cut(request, " ")
		body, kind := `{"key":"x"}`, "application/json"
		switch path {
		case views.SignInPath:
			body, kind = "email=x", "application/x-www-form-urlencoded"
		case "/v1/auth/login":
			body = `{"email":"nobody@example.com","password":"no"}`
		}
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		r.Header.Set("Authorization", "Bearer "+secret)
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.Close || response.StatusCode != want {
			t.Errorf("%s: %d, and the connection closes: %t", request, response.StatusCode, response.Close)
		}
	}
}
