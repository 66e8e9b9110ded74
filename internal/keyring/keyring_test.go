package keyring_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// house is a keyring over a database of its own, with one organisation.
type house struct {
	*keyring.Keyring
	store *store.Store
	db    *sql.DB // for what no use case does
	org   storetest.Org
	t     *testing.T
}

func newHouse(t *testing.T) house {
	t.Helper()
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return house{keyring.New(s), s, storetest.Unaudited(t, address), storetest.Organisation(t, s), t}
}

func draft(name string) keyring.KeyDraft {
	return keyring.KeyDraft{Name: name, Scopes: []string{"read:chat"}}
}

func (h house) issue(actor account.Actor, draft keyring.KeyDraft) apikey.Key {
	h.t.Helper()
	key, _, err := h.IssueKey(h.t.Context(), actor, draft)
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

// at sets the clock.
func (h house) at(now time.Time) {
	h.store.Now = func() time.Time { return now.UTC().Truncate(time.Microsecond) }
}

// begun starts what must wait for an open transaction, returns once it does, and hands its end on.
func (h house) begun(do func() error) <-chan error {
	h.t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	for waiting := 0; waiting == 0; {
		if len(ended) > 0 {
			h.t.Error("it did not wait")
			break
		}
		if err := h.db.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
			h.t.Error(err)
			break
		}
	}
	return ended
}
