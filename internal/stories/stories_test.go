// Package stories_test tells, in a real browser on a real database, what people do with the product from one end to
// the other: with JavaScript and without.
package stories_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/moonlatch/moonlatch/handlers"
	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// withBrowser closes the browser when the tests are over, before the database goes.
type withBrowser struct{ m *testing.M }

func (w withBrowser) Run() int {
	defer browsertest.Stop()
	return w.m.Run()
}

func TestMain(m *testing.M) { storetest.Main(withBrowser{m}) }

// way is how somebody comes: with JavaScript or without, on a wide screen or on a narrow one.
type way struct {
	scripts, narrow bool
	options         []browsertest.Option
}

// ways are those in which a story must come to the same end: each half of both kinds, and with MOONLATCH_WAYS=all every
// pair of them.
var ways = func() map[string]way {
	all := map[string]way{
		"on a telephone":                    {true, true, []browsertest.Option{browsertest.Width(360), browsertest.Dark()}},
		"on a wide screen, without scripts": {false, false, []browsertest.Option{browsertest.NoJavaScript(), browsertest.Width(1440)}},
	}
	if os.Getenv("MOONLATCH_WAYS") == "all" {
		all["on a wide screen"] = way{true, false, []browsertest.Option{browsertest.Width(1440)}}
		all["on a telephone, without scripts"] = way{false, true, []browsertest.Option{browsertest.NoJavaScript(), browsertest.Width(360)}}
	}
	return all
}()

// site is the server as it is run, over a database of its own.
type site struct {
	*httptest.Server
	t       *testing.T
	store   *store.Store
	keyring *keyring.Keyring
	db      *sql.DB
	log     *book
}

// book is everything that the server logged.
type book struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func open(t *testing.T) *site {
	t.Helper()
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	log := &book{}
	server := httptest.NewUnstartedServer(nil)
	base := &url.URL{Scheme: "http", Host: server.Listener.Addr().String()}
	ring := keyring.New(s)
	server.Config.Handler = handlers.New(handlers.Options{
		Keyring: ring, Verifier: verify.New(s, slog.New(slog.DiscardHandler)), RateLimit: 1000, Cookies: s.Cookies(), Secrets: s.Secrets("form tokens"), Ready: s.Ready, Pools: s.Pools, BaseURL: base,
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	server.Start()
	t.Cleanup(server.Close)
	return &site{server, t, s, ring, storetest.Unaudited(t, address), log}
}

// visit opens a window in which the member has signed in.
func (s *site) visit(who account.Actor, options ...browsertest.Option) *browsertest.Page {
	s.t.Helper()
	p := browsertest.Open(s.t, s.URL, options...)
	s.signIn(p, who.Email, storetest.Password)
	return p
}

func (s *site) signIn(p *browsertest.Page, email, password string) {
	s.t.Helper()
	p.Goto("/sign-in")
	p.Fill("input[name=email]", email)
	p.Fill("input[name=password]", password)
	p.Click(`button:text("Sign in")`)
	if p.Path() == "/sign-in" {
		s.t.Fatalf("%s could not sign in: %s", email, p.Text("main"))
	}
}

// dump is the whole content of the database, as text.
func (s *site) dump() string {
	s.t.Helper()
	names := s.column(`SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public'`)
	if len(names) < 10 {
		s.t.Fatal(names)
	}
	var out strings.Builder
	for _, name := range names {
		var text sql.NullString
		if err := s.db.QueryRow(fmt.Sprintf(`SELECT string_agg(x::text, E'\n') FROM %s AS x`, name)).Scan(&text); err != nil {
			s.t.Fatal(err)
		}
		out.WriteString(name + "\n" + text.String + "\n")
	}
	return out.String()
}

// column reads a column of texts.
func (s *site) column(query string, args ...any) []string {
	s.t.Helper()
	rows, err := s.db.Query(query, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
	return out
}
