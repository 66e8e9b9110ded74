package gateways_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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

	moonlatch.Key = "rubbish"
	api.Handle("/misconfigured", moonlatch.Require(whose))
	c.get("/misconfigured", bearer(good)...).expect(t, "its own key is wrong", http.StatusServiceUnavailable)

	for what, answer := range map[string]string{"no object": "<html>", "nothing": "", "null": "null", "no code": "{}", "no key": `{"code":"valid","valid":true}`} {
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
