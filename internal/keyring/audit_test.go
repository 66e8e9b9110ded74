package keyring_test

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// happen writes so many events of the actor.
func happen(t *testing.T, s *store.Store, actor account.Actor, n int) {
	t.Helper()
	for n > 0 {
		some := min(n, 1000)
		n -= some
		err := s.Mutate(t.Context(), actor, account.RenameSelf, func(*store.Tx) ([]audit.Change, error) {
			change := audit.Change{Subject: audit.Subject{Kind: "member", ID: actor.MemberID, Name: actor.Email}, After: audit.Facts{"name": "x"}}
			return slices.Repeat([]audit.Change{change}, some), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestExportHasEachEventOnceUpToItsBeginning(t *testing.T) {
	s := storetest.New(t)
	org, other := storetest.Organisation(t, s), storetest.Organisation(t, s)
	ring := keyring.New(s)
	happen(t, s, org.Owner, 1200)
	happen(t, s, other.Owner, 5)
	if _, err := ring.ExportEvents(t.Context(), org.Member, audit.Filter{}); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member exports: %v", err)
	}
	next, err := ring.ExportEvents(t.Context(), org.Support, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var seqs []int64
	for {
		batch, err := next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(batch) == 0 {
			break
		}
		for _, e := range batch {
			if e.OrgID != org.ID {
				t.Fatalf("an event of another organisation: %+v", e)
			}
			seqs = append(seqs, e.Seq)
		}
		happen(t, s, org.Owner, 700) // what happens meanwhile is not in it, however long it takes
	}
	if len(seqs) != 1205 || seqs[0] != 1 || seqs[1204] != 1205 || !slices.IsSorted(seqs) {
		t.Errorf("%d events, %v", len(seqs), seqs[:3])
	}
}

func TestKeysExportHasEachKeyOnce(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	ring := keyring.New(s)
	made := map[string]bool{}
	for i := range 7 {
		key, _, err := ring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: []string{"one", "two"}[i%2], Scopes: []string{"read:chat"}})
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			made[key.ID] = true
		}
	}
	next, err := ring.ExportKeys(t.Context(), org.Support, apikey.Filter{Search: "one"})
	if err != nil {
		t.Fatal(err)
	}
	for batch, err := next(t.Context()); len(batch) > 0 || err != nil; batch, err = next(t.Context()) {
		for _, row := range batch {
			if !made[row.ID] {
				t.Errorf("it has %s, or has it twice", row.Name)
			}
			delete(made, row.ID)
		}
	}
	if len(made) > 0 {
		t.Errorf("%d are missing", len(made))
	}
	if _, err := ring.ExportKeys(t.Context(), org.Member, apikey.Filter{}); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member exports: %v", err)
	}
}

// checked asks until the walk is over.
func checked(t *testing.T, ring *keyring.Keyring, who account.Actor) keyring.LogCheck {
	t.Helper()
	for {
		found, err := ring.CheckLog(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		if found.Done {
			return found
		}
	}
}

func TestCheckOfTheLogFindsWhatWasTamperedWith(t *testing.T) {
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	org := storetest.Organisation(t, s)
	happen(t, s, org.Owner, 1500)
	if _, err := keyring.New(s).CheckLog(t.Context(), org.Member); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member checks: %v", err)
	}
	ring := keyring.New(s)
	var crowd sync.WaitGroup
	for range 20 {
		crowd.Go(func() {
			if found := checked(t, ring, org.Support); found.Broken != nil || found.Last.Events != 1505 || found.At.IsZero() || len(found.Last.Hash) != 32 {
				t.Errorf("the untouched log: %+v", found)
			}
		})
	}
	crowd.Wait()
	tx, err := storetest.DB(t, address).Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`SET LOCAL session_replication_role = replica`, `UPDATE audit_events SET address = 'elsewhere' WHERE seq = 700`} {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if found := checked(t, ring, org.Support); found.Broken != nil {
		t.Errorf("a result is told for a moment: %+v", found)
	}
	now := s.Now()
	s.Now = func() time.Time { return now.Add(time.Minute) }
	if found := checked(t, ring, org.Support); found.Broken == nil || found.Broken.Seq != 700 || found.Last.Events != 699 {
		t.Errorf("the log that was tampered with: %+v", found)
	}
}
