package store_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// listener collects what a store tells.
type listener struct {
	*testing.T
	mu   sync.Mutex
	news []store.News
}

// follow listens to a store until the test ends.
func follow(t *testing.T, s *store.Store) *listener {
	t.Helper()
	l := &listener{T: t}
	ctx, cancel := context.WithCancel(context.Background())
	var following sync.WaitGroup
	following.Go(func() {
		s.FollowNews(ctx, slog.New(slog.DiscardHandler), func(n store.News) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.news = append(l.news, n)
		})
	})
	t.Cleanup(func() { cancel(); following.Wait() })
	l.settle()
	return l
}

// settle waits for a beat that was sent from now on, and returns what was told before it, without the beats.
func (l *listener) settle() (told []store.News) {
	l.Helper()
	now := time.Now()
	for time.Since(now) < 30*time.Second {
		l.mu.Lock()
		for i, n := range l.news {
			if n.Kind == store.NewsBeat && n.SentAt.After(now) {
				told = slices.DeleteFunc(slices.Clone(l.news[:i]), func(n store.News) bool { return n.Kind == store.NewsBeat })
				l.news = nil
				l.mu.Unlock()
				return told
			}
		}
		l.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	l.Fatal("the database's news are not heard")
	return nil
}

// A beat is heard after everything that was committed before it was sent.
func TestEveryChangeIsToldBeforeTheNextBeat(t *testing.T) {
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	org, ring, db := storetest.Organisation(t, s), keyring.New(s), storetest.Unaudited(t, address)
	l := follow(t, s)
	issued, plaintext, err := ring.IssueKey(t.Context(), org.Owner, keyring.KeyDraft{Name: "a key", Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	key := store.News{Kind: store.NewsKey, Hash: plaintext.Hash()}
	if got := l.settle(); !slices.Equal(got, []store.News{key}) {
		t.Errorf("a new key: %v", got)
	}
	made, err := insert(t, s, org.Owner, account.CreateProfile, profile(apikey.Profile{Name: "Strict", DefaultThreshold: 20,
		Categories: []apikey.Category{{Name: "age", Action: apikey.Block}, {Name: "race", Action: apikey.Flag}}}))
	if err != nil {
		t.Fatal(err)
	}
	ofProfile := store.News{Kind: store.NewsProfile, ID: uuid.MustParse(made.ID)}
	if got := l.settle(); !slices.Equal(got, []store.News{ofProfile}) {
		t.Errorf("a new profile: %v", got)
	}
	ofMember := store.News{Kind: store.NewsMember, ID: uuid.MustParse(org.Support.MemberID)}
	reset := store.News{Kind: store.NewsReset}
	execute := func(statement string, args ...any) func() error {
		return func() error { _, err := db.ExecContext(t.Context(), statement, args...); return err }
	}
	for _, c := range []struct {
		name string
		do   func() error
		want []store.News
	}{
		{"a key is disabled", func() error {
			_, err := ring.ChangeStatus(t.Context(), org.Owner, apikey.Disable, issued.ID)
			return err
		}, []store.News{key}},
		{"a key is deleted", func() error { return ring.DeleteKey(t.Context(), org.Owner, issued.ID) }, []store.News{key}},
		{"a member's role", execute(`UPDATE members SET role = 'member' WHERE id = $1`, org.Support.MemberID), []store.News{ofMember}},
		{"a member's status", execute(`UPDATE members SET status = 'suspended' WHERE id = $1`, org.Support.MemberID), []store.News{ofMember}},
		{"a member's name", execute(`UPDATE members SET name = 'x', role = role WHERE id = $1`, org.Support.MemberID), nil},
		{"a member is deleted", execute(`DELETE FROM members WHERE id = $1`, org.Support.MemberID), []store.News{ofMember}},
		{"a profile's default", execute(`UPDATE bias_profiles SET default_threshold = 1`), []store.News{ofProfile}},
		{"a category is changed", execute(`UPDATE bias_profile_categories SET enabled = true`), []store.News{ofProfile}},
		{"a category is removed", execute(`DELETE FROM bias_profile_categories WHERE name = 'age'`), []store.News{ofProfile}},
		{"all categories are removed", execute(`TRUNCATE bias_profile_categories`), []store.News{reset}},
		{"a profile is deleted", execute(`DELETE FROM bias_profiles`), []store.News{ofProfile}},
		{"nobody understands it", execute(`NOTIFY moonlatch_news, 'key 12'`), []store.News{reset}},
		{"what is rolled back", func() error {
			err := s.Mutate(t.Context(), org.Owner, account.CreateProfile, func(tx *store.Tx) ([]audit.Change, error) {
				_, err := tx.InsertProfile(apikey.Profile{Name: "Lost", DefaultThreshold: 20})
				return nil, errors.Join(err, errUndo)
			})
			if errors.Is(err, errUndo) {
				return nil
			}
			return err
		}, nil},
	} {
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := l.settle(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

var errUndo = errors.New("undo")

// The link is a connection of its own, so that it lives when the pool is used up.
func TestTheNewsAreHeardWhileThePoolIsUsedUp(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	l := follow(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var holding, held sync.WaitGroup
	for range 20 { // as many connections as there are
		held.Add(1)
		holding.Go(func() {
			_ = s.Mutate(context.Background(), org.Owner, account.CreateWorkspace, func(tx *store.Tx) ([]audit.Change, error) {
				held.Done()
				<-ctx.Done()
				return nil, errUndo
			})
		})
	}
	held.Wait()
	if got := l.settle(); len(got) != 0 {
		t.Errorf("%v", got)
	}
	cancel()
	holding.Wait()
}

func TestANewLinkBeginsWithAReset(t *testing.T) {
	cable, address := storetest.Lay(t, storetest.URL(t))
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	l := follow(t, s)
	for name, fault := range map[string]func(){"cut": cable.Cut, "silent": cable.Silence} {
		l.settle()
		fault()
		time.Sleep(1200 * time.Millisecond) // longer than the link's patience
		cable.Mend()
		if got := l.settle(); !slices.Equal(got, []store.News{{Kind: store.NewsReset}}) {
			t.Errorf("after the network was %s: %v", name, got)
		}
	}
}
