package handlers

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
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

// TestAnAnswerDoesNotWaitForABodyThatNobodyReads declares a body and never sends it.
func TestAnAnswerDoesNotWaitForABodyThatNobodyReads(t *testing.T) {
	s := newSite(t)
	_, secret := s.key(s.org.Owner, apikey.All)
	for _, request := range []string{
		"GET /v1/forward-auth", "POST /v1/forward-auth", "HEAD /v1/forward-auth", "GET /v1/api-keys", "GET /healthz", "GET /sign-in", "GET /openapi.json", "GET /nowhere",
	} {
		for _, declared := range []string{"Content-Length: 77", "Transfer-Encoding: chunked"} {
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			// net/http gives the body up after 10 s; an answer by then is one that did not wait.
			if err := conn.SetDeadline(time.Now().Add(8 * time.Second)); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", request, secret, declared)
			response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: strings.Fields(request)[0]})
			if err != nil {
				t.Errorf("%s with %s: %v", request, declared, err)
			} else {
				if response.StatusCode >= 500 || slices.Contains([]int{400, 401}, response.StatusCode) {
					t.Errorf("%s with %s: %d", request, declared, response.StatusCode)
				}
				_ = response.Body.Close()
			}
			_ = conn.Close()
		}
	}
}
