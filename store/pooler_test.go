package store_test

import (
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAPoolerInSessionModeWorksWithItsDefaults migrates, reads, looks a key up and listens through PgBouncer.
func TestAPoolerInSessionModeWorksWithItsDefaults(t *testing.T) {
	address := storetest.Pooler(t, storetest.Empty(t), "session")
	if err := probe(t, address); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Migrate(t.Context(), address, ""); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := s.KeyByHash(t.Context(), sha256.Sum256(nil)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a look-up: %v", err)
	}
	org := storetest.Organisation(t, s)
	heard := make(chan store.NewsKind, 64)
	go s.FollowNews(t.Context(), slog.New(slog.DiscardHandler), func(news store.News) {
		select {
		case heard <- news.Kind:
		default:
		}
	})
	await := func(kind store.NewsKind) {
		t.Helper()
		for deadline := time.After(30 * time.Second); ; {
			select {
			case got := <-heard:
				if got == kind {
					return
				}
			case <-deadline:
				t.Fatalf("news of the kind %d are not heard", kind)
			}
		}
	}
	await(store.NewsBeat)
	insertKey(t, s, org.Owner, func(*apikey.Key) {})
	await(store.NewsKey)
}

// TestEveryConnectionHasItsSettings reads them where they are in force, with a pooler between and without.
func TestEveryConnectionHasItsSettings(t *testing.T) {
	direct := storetest.URL(t)
	check := func(t *testing.T, address string) {
		t.Helper()
		s, err := store.Open(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		for pool, want := range map[string]string{"everything": "2s 2s 4s off UTC", "lookups": "1s 1s 2s off UTC"} {
			for range 3 {
				if got, err := s.Settings(t.Context(), pool); err != nil || got != want {
					t.Errorf("%s: %s, %v, want %s", pool, got, err, want)
				}
			}
		}
	}
	t.Run("direct", func(t *testing.T) { check(t, direct) })
	t.Run("pooler", func(t *testing.T) { check(t, storetest.Pooler(t, direct, "session")) })
}

// probe is store.Probe as a start asks it: again as long as the database does not answer, which may be for a busy machine.
func probe(t *testing.T, address string) error {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; {
		err := store.Probe(t.Context(), address)
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(deadline) {
			return err
		}
	}
}

// TestAPoolerThatSharesConnectionsIsRefused: whichever connection it happens to give, and however busy it is.
func TestAPoolerThatSharesConnectionsIsRefused(t *testing.T) {
	direct := storetest.URL(t)
	for _, mode := range []string{"transaction", "statement"} {
		for name, setting := range map[string]string{"defaults": "", "round robin": "server_round_robin = 1", "reset": "server_reset_query_always = 1", "two": "default_pool_size = 2"} {
			t.Run(mode+", "+name, func(t *testing.T) {
				address := storetest.Pooler(t, direct, mode, setting)
				refused := func(when string) {
					t.Helper()
					for range 3 {
						if err := probe(t, address); err == nil || !strings.Contains(err.Error(), "pool_mode") {
							t.Fatalf("%s: %v", when, err)
						}
					}
				}
				refused("idle")
				db := storetest.Plain(t, address)
				var working sync.WaitGroup
				done := make(chan struct{})
				for range 4 {
					working.Go(func() {
						for {
							select {
							case <-done:
								return
							default:
								_, _ = db.Exec("SELECT pg_sleep(0.002)")
							}
						}
					})
				}
				refused("busy")
				close(done)
				working.Wait()
				refused("with idle connections")
			})
		}
	}
}

// TestAPoolersRefusalsAreExplained: what is wrong in its configuration, or in DATABASE_URL, is no reason to wait.
func TestAPoolersRefusalsAreExplained(t *testing.T) {
	address := storetest.Pooler(t, storetest.URL(t), "session")
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	for says, query := range map[string]string{"ignore_startup_parameters": "options=-c%20jit%3Doff", "parameter of DATABASE_URL": "no_such_parameter=1"} {
		wrong := *u
		wrong.RawQuery += "&" + query
		if err := probe(t, wrong.String()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", query, err)
		}
	}
	missing, stranger, guess := *u, *u, *u
	missing.Path = "/there_is_none"
	stranger.User = url.UserPassword("stranger", "hunter2")
	guess.User = url.UserPassword(u.User.Username(), "hunter2")
	for address, says := range map[string]string{missing.String(): "no such database", stranger.String(): "refuses the password", guess.String(): "refuses the password"} {
		if err := probe(t, address); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", says, err)
		}
	}
	fitting := *u
	fitting.RawQuery += "&search_path=public&work_mem=8MB"
	if err := probe(t, fitting.String()); err != nil {
		t.Errorf("parameters that PostgreSQL knows: %v", err)
	}
}

// TestMigratingKnowsItsDatabaseThroughAPooler has the owner's address lead through a pooler, and the other to PostgreSQL itself.
func TestMigratingKnowsItsDatabaseThroughAPooler(t *testing.T) {
	address, copied := storetest.URL(t), storetest.URL(t)
	pooled := storetest.Pooler(t, storetest.Owner(address), "session")
	if _, err := store.Migrate(t.Context(), address, pooled); err != nil {
		t.Errorf("one database: %v", err)
	}
	if _, err := store.Migrate(t.Context(), copied, pooled); err == nil || !strings.Contains(err.Error(), "name different databases") {
		t.Errorf("its copy: %v", err)
	}
}
