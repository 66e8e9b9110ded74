package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestASilentDatabaseIsNoticedWhateverTheCallerAllows: callers with an hour's time, more of them than there are connections,
// hear of it as soon as any other.
func TestASilentDatabaseIsNoticedWhateverTheCallerAllows(t *testing.T) {
	c, address := storetest.Lay(t, storetest.URL(t))
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	org := storetest.Organisation(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	c.Silence()
	for what, ask := range map[string]func() error{
		"a change": func() error {
			return s.Mutate(ctx, org.Owner, account.RenameSelf, func(*store.Tx) ([]audit.Change, error) { return nil, nil })
		},
		"a row":  func() error { _, err := s.MemberByID(ctx, org.ID, org.Owner.MemberID); return err },
		"rows":   func() error { _, err := s.Workspaces(ctx, org.ID); return err },
		"a walk": func() error { _, err := s.VerifyChain(ctx, org.ID); return err },
	} {
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				began := time.Now()
				err := ask()
				if took := time.Since(began); !errors.Is(err, store.ErrUnavailable) || took > 30*time.Second {
					t.Errorf("%s: %v after %s", what, err, took)
				}
			})
		}
		wg.Wait()
	}
}
