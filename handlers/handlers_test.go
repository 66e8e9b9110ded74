package handlers

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// site is the whole server over a database of its own, with one organisation.
type site struct {
	*httptest.Server
	t       *testing.T
	store   *store.Store
	keyring *keyring.Keyring
	org     storetest.Org
	log     *logBook

	programs *http.Client // what programs call with
}

// logBook is everything that the server logged.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newSite(t *testing.T) *site { return newSiteWith(t, func(*Options) {}) }

// newSiteWith is a site with other options than usual.
func newSiteWith(t *testing.T, change func(*Options)) *site {
	t.Helper()
	s := storetest.New(t)
	site := siteOver(t, s, change)
	site.org = storetest.Organisation(t, s)
	return site
}

// siteOver is a server over a database that somebody else fills.
func siteOver(t *testing.T, s *store.Store, changes ...func(*Options)) *site {
	t.Helper()
	site := &site{t: t, store: s, keyring: keyring.New(s), log: &logBook{}, programs: &http.Client{Transport: conforming{t}}}
	log := slog.New(slog.NewTextHandler(site.log, nil))
	verifier := verify.New(s, log)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { verifier.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	options := Options{
		Keyring: site.keyring, Verifier: verifier, RateLimit: 100_000, Cookies: s.Cookies(), Secrets: s.Secrets("form tokens"), Ready: s.Ready, Pools: s.Pools, BaseURL: &url.URL{Scheme: "http", Host: "localhost"},
		Log: log,
	}
	for _, change := range changes {
		change(&options)
	}
	site.Server = httptest.NewServer(New(options))
	t.Cleanup(site.Close)
	return site
}

// issue makes a key in the test organisation.
func (s *site) issue(name string) apikey.Key {
	s.t.Helper()
	key, _, err := s.keyring.IssueKey(s.t.Context(), s.org.Admin, keyring.KeyDraft{Name: name, Scopes: []string{"read:chat"}})
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

// browser is a client as a browser is one: it keeps cookies and says where a request comes from. It does not follow
// redirects, so that tests see them.
type browser struct {
	*http.Client
	site *site
}

func (s *site) visitor() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return &browser{&http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, s}
}

// as is a browser in which the member is signed in.
func (s *site) as(who account.Actor) *browser {
	s.t.Helper()
	b := s.visitor()
	answer := b.post("/sign-in", url.Values{"email": {who.Email}, "password": {storetest.Password}})
	if answer.status != http.StatusSeeOther {
		s.t.Fatalf("signing in as %s: %d %s", who.Email, answer.status, answer.body)
	}
	return b
}

type answer struct {
	status   int
	location string
	header   http.Header
	body     string
}

func (b *browser) get(path string) answer {
	b.site.t.Helper()
	return b.send(http.MethodGet, path, nil, nil)
}

func (b *browser) post(path string, form url.Values) answer {
	b.site.t.Helper()
	return b.send(http.MethodPost, path, form, nil)
}

func (b *browser) send(method, path string, form url.Values, header map[string]string) answer {
	b.site.t.Helper()
	request, err := http.NewRequestWithContext(b.site.t.Context(), method, b.site.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.site.t.Fatal(err)
	}
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	for name, value := range header {
		if value == "" {
			request.Header.Del(name)
		} else {
			request.Header.Set(name, value)
		}
	}
	response, err := b.Do(request)
	if err != nil {
		b.site.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		b.site.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header.Get("Location"), response.Header, string(body)}
}

var nonceField = regexp.MustCompile(`name="nonce" value="([^"]+)"`)

// nonce is the token of the create form that the browser is shown.
func (b *browser) nonce() string {
	b.site.t.Helper()
	found := nonceField.FindStringSubmatch(b.get("/account/api-keys/new").body)
	if found == nil {
		b.site.t.Fatal("the create form has no token")
	}
	return found[1]
}

// keyForm is a create form that is filled in well.
func (b *browser) keyForm(name string) url.Values {
	b.site.t.Helper()
	return url.Values{"name": {name}, "expires": {"90d"}, "scopes": {"read:chat"}, "environment": {"live"}, "nonce": {b.nonce()}}
}

var plaintextShape = regexp.MustCompile(`pk_(?:live|test)_[0-9A-Za-z]{12}_[0-9A-Za-z]{38}`)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func visitorFrom(address string) keyring.Visitor { return keyring.Visitor{Address: address} }
