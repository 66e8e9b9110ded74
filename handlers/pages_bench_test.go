package handlers

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// BenchmarkPages asks for every page of the table of routes as an owner, and for what lists are narrowed to most, of an
// organisation with 100,000 keys, 1,000 members and 1,000,000 events and, in turn, of a small one beside it. It prints the
// server's time for both, the slowest page first. PAGES_EVENTS makes the large one smaller. Filling it takes minutes.
func BenchmarkPages(b *testing.B) {
	events := 1_000_000
	if text := os.Getenv("PAGES_EVENTS"); text != "" {
		var err error
		if events, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	address := storetest.URL(b)
	db := storetest.Unaudited(b, address)
	s, err := store.Open(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	worlds := map[string]*walker{}
	for name, crowd := range map[string]storetest.Crowd{"small": {Members: 20, Keys: 100, Events: 1000}, "large": {Members: 1000, Keys: events / 10, Events: events}} {
		org := storetest.Organisation(b, s)
		storetest.Fill(b, db, org, crowd)
		worlds[name] = newWalker(b, s, org)
	}
	if _, err := db.Exec(`VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	type result struct {
		path         string
		small, large time.Duration
	}
	var results []result
	for i, path := range worlds["large"].paths {
		var small, large []time.Duration
		for range 7 {
			small = append(small, worlds["small"].time(worlds["small"].paths[i]))
			large = append(large, worlds["large"].time(path))
		}
		results = append(results, result{worlds["large"].names[i], slices.Min(small), slices.Min(large)}) // the rest is what else the machine does
	}
	slices.SortFunc(results, func(x, y result) int { return cmp.Compare(y.large, x.large) })
	for b.Loop() {
	}
	for _, r := range results {
		fmt.Printf("%7.1f ms  %7.1f ms small  ×%.1f  %s\n", float64(r.large.Microseconds())/1000, float64(r.small.Microseconds())/1000, float64(r.large)/float64(r.small), r.path)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(results[0].large.Microseconds())/1000, "ms_slowest")
}

// walker asks a server for the pages of one organisation.
type walker struct {
	b            *testing.B
	handler      http.Handler
	cookies      []*http.Cookie
	paths, names []string
}

func newWalker(b *testing.B, s *store.Store, org storetest.Org) *walker {
	b.Helper()
	ring := keyring.New(s)
	w := &walker{b: b, handler: New(Options{Keyring: ring, Verifier: verify.New(s, discard()), RateLimit: 100_000, Cookies: s.Cookies(), Secrets: s.Secrets("form tokens"),
		Ready: s.Ready, Pools: s.Pools, BaseURL: &url.URL{Scheme: "http", Host: "localhost"}, Log: discard()})}
	form := httptest.NewRequestWithContext(b.Context(), post, "/sign-in", strings.NewReader(url.Values{"email": {org.Owner.Email}, "password": {storetest.Password}}.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	form.Header.Set("Sec-Fetch-Site", "same-origin")
	answer := httptest.NewRecorder()
	w.handler.ServeHTTP(answer, form)
	w.cookies = answer.Result().Cookies()
	ids := things(b, s, ring, org.Owner)
	add := func(path, name string) { w.paths, w.names = append(w.paths, path), append(w.names, name) }
	for _, r := range routes {
		if path, known := r.named(ids); known && r.method == get && r.policy.kind == member && !strings.HasSuffix(r.path, "/export") {
			add(path, r.path)
		}
	}
	now := s.Now()
	day := now.AddDate(0, -3, 0).Format(time.DateOnly)
	busy := busiest(b, ring, org)
	for _, query := range []string{"what=key.revoked", "what=session.started", "what=profile.deleted", "what=member.renamed", "what=key", "what=profile", "what=member", "actor=policy", "actor=operator",
		"actor=:busy", "actor=:busy&what=key.revoked", "actor=:busy&what=member", "actor=:busy&what=profile", "actor=policy&what=session.started", "actor=policy&what=member",
		"subject=:key", "key=:key", "from=:day&to=:day", "to=:day", "from=:day&to=:day&what=member.renamed", "from=:day&to=:day&what=profile.deleted", "from=:day&to=:day&actor=:owner",
		"to=:day&what=member.renamed", "actor=:owner&from=:day", "to=2000-01-01", "from=2100-01-01"} {
		add("/audit-log?"+strings.NewReplacer(":busy", busy.actor, ":owner", org.Owner.MemberID, ":key", busy.key, ":day", day).Replace(query), "/audit-log?"+query)
	}
	for _, query := range []string{"q=service+9", "status=revoked", "expires=30", "unused=90", "orphaned=1", "breaking=1", "owner=:busy", "sort=used"} {
		add("/account/api-keys?"+strings.ReplaceAll(query, ":busy", busy.actor), "/account/api-keys?"+query)
	}
	return w
}

type busyOnes struct{ actor, key string }

// busiest finds who did most of late, and a key that something happened to.
func busiest(b *testing.B, ring *keyring.Keyring, org storetest.Org) (found busyOnes) {
	b.Helper()
	page, err := ring.Events(b.Context(), org.Owner, audit.Filter{}, "", 100)
	if err != nil {
		b.Fatal(err)
	}
	did := map[string]int{}
	for _, e := range page.Events {
		if e.ActorID != "" && e.ActorID != org.Owner.MemberID {
			did[e.ActorID]++
		}
		if e.Subject.Kind == "key" {
			found.key = e.Subject.ID
		}
	}
	for id, n := range did {
		if n > did[found.actor] {
			found.actor = id
		}
	}
	return found
}

// time is how long the server takes for a page, without a network.
func (w *walker) time(path string) time.Duration {
	request := httptest.NewRequestWithContext(w.b.Context(), get, path, nil)
	for _, c := range w.cookies {
		request.AddCookie(c)
	}
	answer := httptest.NewRecorder()
	began := time.Now()
	w.handler.ServeHTTP(answer, request)
	took := time.Since(began)
	if answer.Code >= 500 || strings.HasPrefix(answer.Header().Get("Location"), "/sign-in") {
		w.b.Errorf("%s: %d %.300s", path, answer.Code, fmt.Sprint(answer.Header().Get("Location"), answer.Body))
	}
	return took
}
