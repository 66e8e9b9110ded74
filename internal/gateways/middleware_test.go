package gateways_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	example "github.com/moonlatch/moonlatch/docs/gateways"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// middleware is the documented one, with a key of its own.
func (s *site) middleware() example.Moonlatch {
	_, own := s.issue(keyring.KeyDraft{Scopes: []string{"verify:api-keys"}})
	return example.Moonlatch{URL: "http://" + s.address, Key: own.Reveal(), Client: &http.Client{Timeout: 4 * time.Second}}
}

// walkMiddlewareHostile puts the middleware before a program with a router of its own, as a gateway: what was judged is what the
// API got, or the API got nothing.
func (s *site) walkMiddlewareHostile(t *testing.T) {
	moonlatch := s.middleware()
	api := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: s.api.host()})
		r.Out.URL.RawQuery = r.In.URL.RawQuery
	}}
	routes := http.NewServeMux()
	routes.Handle("/chat", moonlatch.Require(api, "read:chat"))
	routes.Handle("/chat/", moonlatch.Require(api, "read:chat"))
	routes.Handle("/admin", moonlatch.Require(api, "read:config", "write:config"))
	routes.Handle("/admin/", moonlatch.Require(api, "read:config", "write:config"))
	routes.Handle("/status", api)
	server := httptest.NewUnstartedServer(example.RejectAmbiguousPaths(example.AllowOrigins(routes, "https://app.example.com")))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")

	_, all := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat", "read:config", "write:config"}})
	_, chat := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
	s.refusesHostile(t, address, address, all)
	for _, target := range harmless {
		got := raw(t, address, "GET "+target+" HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+chat.Reveal()+"\r\nConnection: close\r\n\r\n")
		if api := s.api.take(); got != http.StatusOK || len(api) != 1 || api[0].uri != target {
			t.Errorf("%.80q: %d, the API got %.200v", target, got, api)
		}
	}
	for target, want := range map[string]int{
		"/admin": http.StatusForbidden, "/admin/": http.StatusForbidden, "/admin/users": http.StatusForbidden,
		"http://api.example.com/admin/users": http.StatusForbidden, "/ADMIN/users": http.StatusNotFound, "/Admin": http.StatusNotFound,
		"/admin.": http.StatusNotFound, "/admin./users": http.StatusNotFound, "/status.": http.StatusNotFound,
		"/CHAT": http.StatusNotFound, "/STATUS": http.StatusNotFound, "/status/": http.StatusNotFound, "/": http.StatusNotFound,
	} {
		got := raw(t, address, "GET "+target+" HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+chat.Reveal()+"\r\nConnection: close\r\n\r\n")
		if api := s.api.take(); got != want || len(api) > 0 {
			t.Errorf("%s with read:chat alone: %d, want %d, and the API got %v", target, got, want, api)
		}
	}
	answersPreflights(t, address, chat)
	s.dropsTrailers(t, address, all)
	s.upgradesWebSocketsAlone(t, address, chat)
	for _, target := range []string{"/chat%2fx|y", "/chat/%61dmin/|", "/chat/%2e%2e|", "/status|"} {
		if got := raw(t, address, "GET "+target+" HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+chat.Reveal()+"\r\nConnection: close\r\n\r\n"); got != http.StatusBadRequest || len(s.api.take()) > 0 {
			t.Errorf("%s: %d", target, got)
		}
	}

	for _, path := range []string{"/chat", "/status"} {
		header := bearer(chat)
		for _, name := range names {
			under := strings.ReplaceAll(name, "-", "_")
			for _, spelt := range []string{name, strings.ToLower(name), under, strings.ToLower(under), strings.Replace(name, "-Key-", "-Key_", 1), strings.ReplaceAll(name, "-", ".")} {
				header = append(header, spelt, "forged")
			}
		}
		from(t, "127.0.0.1", address).get(path, header...).expect(t, path, http.StatusOK)
		got := s.api.take()[0].header
		for name, values := range got {
			if slices.Contains(values, "forged") {
				t.Errorf("%s: the API believes %s", path, name)
			}
		}
		if path == "/chat" && got.Get("Authorization") != "" {
			t.Error("the key itself went on to the API")
		}
	}
}

// showsTheWholeKey holds what KeyOf returns to all that the API answers.
func (s *site) showsTheWholeKey(t *testing.T, moonlatch example.Moonlatch) {
	t.Helper()
	var api struct {
		Components struct {
			Schemas map[string]struct{ Required []string }
		}
	}
	text, err := os.ReadFile("../../handlers/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &api); err != nil {
		t.Fatal(err)
	}
	for schema, of := range map[string]reflect.Type{
		"VerifiedKey": reflect.TypeFor[example.Key](), "BiasProfile": reflect.TypeFor[example.BiasProfile](), "BiasCategory": reflect.TypeFor[example.BiasCategory](),
	} {
		var has []string
		for i := range of.NumField() {
			has = append(has, of.Field(i).Tag.Get("json"))
		}
		if want := api.Components.Schemas[schema].Required; len(want) == 0 || !slices.Equal(slices.Sorted(slices.Values(has)), slices.Sorted(slices.Values(want))) {
			t.Errorf("%s has %v, want %v", of, has, want)
		}
	}

	key, confined := s.issue(s.placed(t, "middleware", "read:chat"))
	var got example.Key
	see := moonlatch.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = example.KeyOf(r.Context()) }), "read:chat")
	r := httptest.NewRequest(http.MethodGet, "/chat", nil)
	r.Header.Set("Authorization", "Bearer "+confined.Reveal())
	see.ServeHTTP(httptest.NewRecorder(), r)
	if got.ID != key.ID || got.Name != key.Name || got.OwnerID != s.org.Owner.MemberID || !got.OwnerActive || got.OrgID != s.org.ID || got.WorkspaceID != key.WorkspaceID ||
		got.ProcessID != key.ProcessID || got.Environment != string(key.Environment) || got.Status != "active" || !got.EndsAt.Equal(key.ExpiresAt) || !got.ExpiresAt.Equal(key.ExpiresAt) || got.GraceEndsAt != nil {
		t.Errorf("the handler sees %+v, want %+v", got, key)
	}
	if got.BiasProfile == nil || got.BiasProfile.ID != key.ProfileID || got.BiasProfile.DefaultThreshold != 50 || len(got.BiasProfile.Categories) != 1 || got.BiasProfile.Categories[0].Name != "Gender" {
		t.Errorf("the handler sees the bias profile %+v", got.BiasProfile)
	}
}

// readsCredentialsAsMoonlatchDoes sends the same headers to the middleware and to Moonlatch, which must answer alike, and holds
// what the handler then sees of the credential to what it may.
func (s *site) readsCredentialsAsMoonlatchDoes(t *testing.T, moonlatch example.Moonlatch) {
	t.Helper()
	_, one := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
	_, two := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
	basic := func(user, pass string) string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, pass)
		return r.Header.Get("Authorization")
	}
	kind, rest, _ := strings.Cut(one.Prefix(), "_")
	key, bearerOne := one.Reveal(), "Bearer "+one.Reveal()
	for what, header := range map[string]http.Header{
		"nothing":                              {},
		"a blank X-Api-Key":                    {"X-Api-Key": {""}},
		"a blank line before the key's":        {"X-Api-Key": {"", key}},
		"a blank line after it":                {"X-Api-Key": {key, "  "}},
		"two keys in X-Api-Key":                {"X-Api-Key": {key, two.Reveal()}},
		"one key twice":                        {"X-Api-Key": {key, key}},
		"two keys in two headers":              {"X-Api-Key": {key}, "Authorization": {"Bearer " + two.Reveal()}},
		"a key as Basic beside another":        {"X-Api-Key": {key}, "Authorization": {basic(two.Prefix(), two.RevealPass())}},
		"two keys in Authorization":            {"Authorization": {bearerOne, "Bearer " + two.Reveal()}},
		"a blank Authorization before":         {"Authorization": {"", bearerOne}},
		"Bearer without a key before":          {"Authorization": {"Bearer", bearerOne}},
		"a blank Bearer beside X-Api-Key":      {"X-Api-Key": {key}, "Authorization": {"Bearer "}},
		"a blank X-Api-Key and Bearer":         {"X-Api-Key": {" "}, "Authorization": {bearerOne}},
		"Bearer in lower case, spaces":         {"Authorization": {"bearer   " + key + " "}},
		"Basic":                                {"Authorization": {basic(one.Prefix(), one.RevealPass())}},
		"Basic, cut elsewhere":                 {"Authorization": {basic(kind, rest+"_"+one.RevealPass())}},
		"Basic that is no base64":              {"Authorization": {"Basic ?"}},
		"another scheme":                       {"Authorization": {"Digest x"}},
		"the API's own token beside X-Api-Key": {"X-Api-Key": {key}, "Authorization": {"Bearer eyJ.a.b"}},
		"its own Digest beside X-Api-Key":      {"X-Api-Key": {key}, "Authorization": {"Digest x"}},
		"a key in another scheme beside one":   {"X-Api-Key": {key}, "Authorization": {"Token " + key}},
		"a bare key beside X-Api-Key":          {"X-Api-Key": {key}, "Authorization": {two.Reveal()}},
		"a key behind a tab beside X-Api-Key":  {"X-Api-Key": {key}, "Authorization": {"Bearer\t" + key}},
		"its own Basic beside X-Api-Key":       {"X-Api-Key": {key}, "Authorization": {basic("ann", "secret")}},
		"a long key":                           {"X-Api-Key": {strings.Repeat("x", 9_000)}},
	} {
		w, seen := s.through(t, moonlatch, header)
		ask, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/v1/forward-auth?scope=read:chat", nil)
		if err != nil {
			t.Fatal(err)
		}
		ask.Header = header.Clone()
		response, err := http.DefaultClient.Do(ask)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if w.Code != response.StatusCode {
			t.Errorf("%s: %d, and Moonlatch itself says %d", what, w.Code, response.StatusCode)
		}
		if w.Code != http.StatusOK {
			continue
		}
		own := ""
		if strings.Contains(what, "own") {
			own = header.Get("Authorization")
		}
		if seen == nil || len(seen["X-Api-Key"]) > 0 || seen.Get("Authorization") != own {
			t.Errorf("%s: the handler sees %v", what, seen)
		}
	}
	for what, shown := range map[string]string{"70,000 bytes": strings.Repeat("x", 70_000), "a key and 70,000 bytes": key + strings.Repeat("<", 70_000), "500 KB": strings.Repeat("\"", 500_000)} {
		for _, header := range []http.Header{{"X-Api-Key": {shown}}, {"Authorization": {"Bearer " + shown}}} {
			if w, _ := s.through(t, moonlatch, header); w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("a key of %s: %d %v", what, w.Code, w.Header())
			}
		}
	}
}

// through sends headers through the middleware, and returns its answer and the headers that the handler saw, nil where it saw none.
func (s *site) through(t *testing.T, moonlatch example.Moonlatch, header http.Header) (w *httptest.ResponseRecorder, seen http.Header) {
	t.Helper()
	w = httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/chat", nil)
	r.Header = header.Clone()
	moonlatch.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header }), "read:chat").ServeHTTP(w, r)
	if !reflect.DeepEqual(r.Header, header) {
		t.Errorf("the request outside has %v, want %v", r.Header, header)
	}
	return w, seen
}

// walkMiddleware holds the documented middleware to what the gateways are held to.
func (s *site) walkMiddleware(t *testing.T) {
	moonlatch := s.middleware()
	api := http.NewServeMux()
	whose := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, example.KeyOf(r.Context()).ID) })
	api.Handle("/chat", moonlatch.Require(whose, "read:chat"))
	api.Handle("/admin/", moonlatch.Require(whose, "read:config", "write:config"))
	api.Handle("/any", moonlatch.Require(whose))
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	c := from(t, "127.0.0.2", strings.TrimPrefix(server.URL, "http://"))

	key, good := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}, IPAllowlist: []string{"127.0.0.2"}})
	basic := &http.Request{Header: http.Header{}}
	basic.SetBasicAuth(good.Prefix(), good.RevealPass())
	for form, header := range map[string][]string{
		"Bearer": bearer(good), "X-Api-Key": {"X-Api-Key", good.Reveal()}, "Basic": {"Authorization", basic.Header.Get("Authorization")},
	} {
		if got := c.get("/chat", header...).expect(t, form, http.StatusOK); got.body != key.ID {
			t.Errorf("%s: the API sees the key %s", form, got.body)
		}
	}
	c.get("/any", bearer(good)...).expect(t, "no scope asked for", http.StatusOK)
	c.get("/admin/", bearer(good)...).expect(t, "other scopes", http.StatusForbidden)
	from(t, "127.0.0.3", strings.TrimPrefix(server.URL, "http://")).get("/chat", bearer(good)...).expect(t, "another address", http.StatusForbidden)
	for what, header := range map[string][]string{
		"nothing": nil, "rubbish": {"Authorization", "Bearer rubbish"}, "an unknown key": bearer(apikey.NewPlaintext(apikey.Live)),
	} {
		if got := c.get("/chat", header...).expect(t, what, http.StatusUnauthorized); !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Bearer ") {
			t.Errorf("%s: the challenge is %q", what, got.header.Get("WWW-Authenticate"))
		}
	}

	_, anywhere := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
	for address, want := range map[string]int{"@": http.StatusForbidden, "": http.StatusForbidden, "[fe80::1%eth0]:5000": http.StatusForbidden, "[::ffff:127.0.0.2]:5000": http.StatusOK} {
		for plaintext, want := range map[apikey.Plaintext]int{good: want, anywhere: http.StatusOK} {
			r := httptest.NewRequest(http.MethodGet, "/chat", nil)
			r.RemoteAddr = address
			r.Header.Set("Authorization", "Bearer "+plaintext.Reveal())
			w := httptest.NewRecorder()
			api.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("from %q: %d %s, want %d", address, w.Code, w.Body, want)
			}
		}
	}

	s.showsTheWholeKey(t, moonlatch)
	s.readsCredentialsAsMoonlatchDoes(t, moonlatch)

	moonlatch.Key = "rubbish"
	api.Handle("/misconfigured", moonlatch.Require(whose))
	c.get("/misconfigured", bearer(good)...).expect(t, "its own key is wrong", http.StatusServiceUnavailable)

	for what, answer := range map[string]string{"no object": "<html>", "nothing": "", "null": "null", "no code": "{}", "no key": `{"code":"valid","valid":true}`, "a key without an id": `{"code":"valid","valid":true,"key":{}}`} {
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
		defer other.Close()
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/chat", nil)
		r.Header.Set("Authorization", "Bearer "+good.Reveal())
		(example.Moonlatch{URL: other.URL, Key: "any", Client: other.Client()}).Require(whose, "read:chat").ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s in place of an answer: %d %v", what, w.Code, w.Header())
		}
	}

	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect} {
		var asked atomic.Bool
		elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked.Store(true)
			_, _ = io.WriteString(w, `{"code":"valid","valid":true,"key":{"id":"1"}}`)
		}))
		defer elsewhere.Close()
		other := httptest.NewServer(http.RedirectHandler(elsewhere.URL, status))
		defer other.Close()
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/chat", nil)
		r.Header.Set("Authorization", "Bearer "+good.Reveal())
		(example.Moonlatch{URL: other.URL, Key: "any", Client: other.Client()}).Require(whose, "read:chat").ServeHTTP(w, r)
		if w.Code != http.StatusServiceUnavailable || asked.Load() {
			t.Errorf("a %d in place of an answer: %d, and another host was asked: %t", status, w.Code, asked.Load())
		}
	}

	s.cable.Cut()
	defer s.cable.Mend()
	time.Sleep(time.Second) // a key that is known may pass until then
	if got := c.get("/chat", bearer(good)...).expect(t, "while the database is away", http.StatusServiceUnavailable); got.header.Get("Retry-After") == "" {
		t.Error("nobody says when to try again")
	}
	s.cable.Mend()
	c.awaitOK(bearer(good))
	if _, err := s.ring.ChangeStatus(t.Context(), s.org.Owner, apikey.Revoke, key.ID); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the promise
	c.get("/chat", bearer(good)...).expect(t, "a revoked key", http.StatusUnauthorized)
}
