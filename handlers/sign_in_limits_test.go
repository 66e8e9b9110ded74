package handlers

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

// proxied is a site that believes X-Forwarded-For.
func proxied(t *testing.T, s *store.Store) *site {
	return siteOver(t, s, func(o *Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
}

// from is a request for signing in, from an address.
func (s *site) from(address, method, path string) int {
	s.t.Helper()
	form, header := url.Values{"email": {"x" + address + "@flood.test"}, "password": {"wrong horse battery"}}, map[string]string{"X-Forwarded-For": address}
	b := s.visitor()
	if path == "/v1/auth/login" {
		request, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(`{"email":"a@b.test","password":"wrong horse battery"}`))
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Forwarded-For", address)
		response, err := b.Do(request)
		if err != nil {
			s.t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	return b.send(method, path, form, header).status
}

// TestRefusedSignInsCostNoQuery shows it by a database that is gone: what is refused by the limiter does not notice.
func TestRefusedSignInsCostNoQuery(t *testing.T) {
	databaseURL := storetest.URL(t)
	db, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	s := proxied(t, db)
	for range signInBurst {
		s.from("192.0.2.1", post, "/v1/auth/login")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 10 {
		for _, at := range []string{"POST /sign-in", "POST /v1/auth/login", "GET /join/x", "POST /join/x", "HEAD /join/x", "GET /setup/x", "POST /setup/x"} {
			method, path, _ := strings.Cut(at, " ")
			if got := s.from("192.0.2.1", method, path); got == http.StatusTooManyRequests {
				refused++
			}
		}
	}
	if allowed := 70 - refused; allowed > 10 { // one a second comes through
		t.Errorf("%d of 70 requests over the limit were handled", allowed)
	}
	if got := s.from("192.0.2.1", post, "/sign-out"); got != http.StatusSeeOther {
		t.Errorf("signing out without a session takes a query: %d", got)
	}
	for _, address := range []string{"192.0.2.2", "2001:db8::1"} {
		if got := s.from(address, post, views.SignInPath); got == http.StatusTooManyRequests {
			t.Errorf("another network is refused: %d", got)
		}
	}
	if got := s.visitor().send(http.MethodGet, views.SignInPath, nil, map[string]string{"X-Forwarded-For": "192.0.2.1"}); got.status != http.StatusOK {
		t.Errorf("the form itself: %d", got.status)
	}
}

// TestEveryOpenRouteThatTakesASecretIsLimited goes through the table of routes: a new one has to say which it is.
func TestEveryOpenRouteThatTakesASecretIsLimited(t *testing.T) {
	free := []string{"GET /docs", "GET /sign-in", "POST /sign-out", "* " + forwardAuthPath}
	for _, r := range append(append([]route{}, routes...), apiRoutes...) {
		if r.policy.kind == open && !r.policy.signIn && !slices.Contains(free, r.method+" "+r.path) {
			t.Errorf("%s %s is open to anyone and has no limit", r.method, r.path)
		}
	}
}

// TestFloodOfSignInsLeavesPagesServed holds up every attempt at a lock in the database, and fills the slots and the queue
// from many networks.
func TestFloodOfSignInsLeavesPagesServed(t *testing.T) {
	databaseURL := storetest.URL(t)
	db, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := proxied(t, db)
	s.org = storetest.Organisation(t, db)
	admin, key := s.as(s.org.Admin), s.token(s.org.Owner)
	lock, err := storetest.DB(t, databaseURL).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.Exec(`LOCK TABLE sign_in_attempts`); err != nil {
		t.Fatal(err)
	}
	const flood = 120
	statuses := make(chan int, flood)
	var wg sync.WaitGroup
	for n := range flood {
		wg.Go(func() { statuses <- s.from(fmt.Sprintf("198.51.100.%d", n+1), post, views.SignInPath) })
	}
	for deadline := time.Now().Add(20 * time.Second); len(statuses) < flood-signInSlots-signInQueue && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	for range 5 {
		if got := admin.get(views.HomePath); got.status != http.StatusOK {
			t.Errorf("a page of somebody else: %d", got.status)
		}
		if got := s.with(key).call(get, "/v1/api-keys", nil); got.status != http.StatusOK {
			t.Errorf("a program: %d", got.status)
		}
	}
	for _, p := range s.store.Pools() {
		if p.For == "everything" && p.InUse > signInSlots+2 {
			t.Errorf("sign-ins hold %d connections", p.InUse)
		}
	}
	wg.Wait()
	close(statuses)
	busy := 0
	for status := range statuses {
		if status == http.StatusTooManyRequests {
			busy++
		}
	}
	if busy < flood-signInSlots-signInQueue {
		t.Errorf("%d of %d were refused at once", busy, flood)
	}
}

func TestKnownBrowserSignsInBesideAnAttack(t *testing.T) {
	db := storetest.New(t)
	s := proxied(t, db)
	s.org = storetest.Organisation(t, db)
	own := s.as(s.org.Owner)
	if got := own.post(views.SignOutPath, url.Values{}); got.status != http.StatusSeeOther {
		t.Fatal(got.status)
	}
	for n := range 100 {
		_, _ = s.keyring.SignIn(t.Context(), visitorFrom(fmt.Sprintf("198.51.100.%d", n+1)), s.org.Owner.Email, "wrong horse battery")
	}
	try := func(b *browser, who account.Actor) answer {
		return b.post(views.SignInPath, url.Values{"email": {who.Email}, "password": {storetest.Password}})
	}
	if got := try(s.visitor(), s.org.Owner); got.status != http.StatusTooManyRequests {
		t.Errorf("an unknown browser: %d", got.status)
	}
	got := try(own, s.org.Owner)
	if got.status != http.StatusSeeOther {
		t.Errorf("the browser that signed in before: %d", got.status)
	}
	cookie := ""
	for _, set := range got.header["Set-Cookie"] {
		if strings.HasPrefix(set, "moonlatch-device=") {
			cookie = set
		}
	}
	for _, attribute := range []string{"HttpOnly", "SameSite=Strict", "Path=/sign-in", "Max-Age="} {
		if !strings.Contains(cookie, attribute) {
			t.Errorf("the device cookie is without %s: %s", attribute, cookie)
		}
	}
	if strings.Contains(cookie, s.org.Owner.Email) {
		t.Error("the device cookie names the account")
	}
}

func TestRefusedOriginIsNamedOnThePageAndInTheLog(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	for _, path := range []string{views.SignInPath, views.SignOutPath, "/scopes/new", "/account/name"} {
		for who, b := range map[string]*browser{"a visitor": s.visitor(), "an admin": admin} {
			got := b.send(http.MethodPost, path, url.Values{"email": {"a"}}, map[string]string{"Origin": "https://keys.elsewhere.test", "Sec-Fetch-Site": "cross-site"})
			if got.status != http.StatusForbidden || strings.Contains(got.body, "role") && strings.Contains(got.body, "Your role does not allow") {
				t.Errorf("%s at %s: %d, or the page speaks of roles", who, path, got.status)
			}
			for _, said := range []string{"This form came from another address", "https://keys.elsewhere.test", "http://localhost"} {
				if !strings.Contains(got.body, said) {
					t.Errorf("%s at %s: the page does not say %q", who, path, said)
				}
			}
		}
	}
	if got := admin.send(http.MethodPost, "/account/name", url.Values{}, map[string]string{"Sec-Fetch-Site": ""}); !strings.Contains(got.body, "didn’t say") {
		t.Errorf("without an origin: %d", got.status)
	}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, "cross-origin request refused") {
			for _, said := range []string{"origin=https://keys.elsewhere.test", "host=127.0.0.1", "base_url=http://localhost", "route=/sign-in"} {
				if !strings.Contains(line, said) && strings.Contains(line, "route=/sign-in") {
					t.Errorf("the log does not say %s: %s", said, line)
				}
			}
		}
	}
	if n := strings.Count(s.log.String(), "cross-origin request refused"); n != 9 {
		t.Errorf("%d lines for 9 refusals", n)
	}
}
