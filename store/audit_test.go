package store_test

import (
	"database/sql"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// insertKey stores a key of the owner, with its event.
func insertKey(t *testing.T, s *store.Store, owner account.Actor, change func(*apikey.Key)) apikey.Key {
	t.Helper()
	plaintext := apikey.NewPlaintext(apikey.Live)
	now := s.Now()
	key := apikey.Key{ID: uuid.Must(uuid.NewV7()).String(), OrgID: owner.OrgID, Name: "key", Environment: apikey.Live, Prefix: plaintext.Prefix(),
		Signature: plaintext.Signature(), Scopes: []string{"read:chat"}, Stored: apikey.Enabled, OwnerID: owner.MemberID, CreatedBy: owner.MemberID, RoleLimit: string(owner.Role),
		CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	if change != nil {
		change(&key)
	}
	err := s.Mutate(t.Context(), owner, account.IssueKey, func(tx *store.Tx) (_ []audit.Change, err error) {
		key, err = tx.InsertKey(key, plaintext.Hash())
		return []audit.Change{audit.KeyChange(nil, &key)}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// ledger is a database with an organisation, a few keys and their events, and a plain connection beside the store.
func ledger(t *testing.T) (*store.Store, storetest.Org, *sql.DB) {
	t.Helper()
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	org := storetest.Organisation(t, s)
	for range 4 {
		insertKey(t, s, org.Owner, nil)
	}
	return s, org, storetest.DB(t, address)
}

func TestDatabaseRefusesAKeyChangedWithoutItsEvent(t *testing.T) {
	_, _, db := ledger(t)
	for _, statement := range []string{
		`UPDATE api_keys SET name = 'quietly'`,
		`DELETE FROM api_keys`,
		`INSERT INTO api_keys SELECT gen_random_uuid(), org_id, name, environment, prefix, sha256(hash), signature, scopes, status, owner_id, created_by,
			workspace_id, process_id, profile_id, ip_allowlist, created_at, expires_at FROM api_keys LIMIT 1`,
		`TRUNCATE api_keys CASCADE`,
	} {
		if _, err := db.Exec(statement); err == nil || !strings.Contains(err.Error(), "audit event") {
			t.Errorf("%.30s…: %v", statement, err)
		}
	}
	// An event of an earlier transaction does not excuse a change in this one: each of these keys has one.
	var names int
	if err := db.QueryRow(`SELECT count(*) FROM api_keys WHERE name = 'key'`).Scan(&names); err != nil || names != 4 {
		t.Errorf("%d keys are as they were, %v", names, err)
	}
}

func TestDatabaseRefusesAnyChangeToAnEvent(t *testing.T) {
	_, _, db := ledger(t)
	for _, statement := range []string{
		`UPDATE audit_events SET address = 'elsewhere'`, `DELETE FROM audit_events`, `TRUNCATE audit_events`, `TRUNCATE organisations CASCADE`,
	} {
		if _, err := db.Exec(statement); err == nil {
			t.Errorf("%s was done", statement)
		}
	}
}

func TestChainNamesTheFirstEventThatDoesNotHold(t *testing.T) {
	for name, c := range map[string]struct {
		statement string
		seq       int64
		words     string
	}{
		"altered":             {`UPDATE audit_events SET after = replace(after, 'key', 'kez') WHERE seq = 7`, 7, "altered"},
		"altered and sealed":  {`UPDATE audit_events SET address = 'x', hash = sha256('x') WHERE seq = 7`, 7, "altered"},
		"removed":             {`DELETE FROM audit_events WHERE seq = 6`, 6, "removed"},
		"removed at the end":  {`DELETE FROM audit_events WHERE seq >= 8`, 8, "removed"},
		"all removed":         {`DELETE FROM audit_events`, 1, "removed"},
		"inserted at the end": {copyEvent("10"), 10, ""},
		"inserted in front":   {copyEvent("0"), 0, "inserted"},
		"head moved back":     {`UPDATE audit_heads SET seq = 7, hash = (SELECT hash FROM audit_events WHERE seq = 7)`, 8, "inserted"},
	} {
		t.Run(name, func(t *testing.T) {
			s, org, db := ledger(t)
			if n, err := s.VerifyChain(t.Context(), org.ID); n != 9 || err != nil {
				t.Fatalf("the untouched chain: %d events, %v", n, err)
			}
			tamper(t, db, c.statement)
			_, err := s.VerifyChain(t.Context(), org.ID)
			var broken *audit.BrokenError
			if !errors.As(err, &broken) || broken.Seq != c.seq || !strings.Contains(broken.Reason, c.words) {
				t.Errorf("%v, want event %d %s", err, c.seq, c.words)
			}
		})
	}
}

func copyEvent(seq string) string {
	return `INSERT INTO audit_events SELECT org_id, ` + seq + `, gen_random_uuid(), at, action, actor_id, actor_email, actor_role, session_id, address,
		user_agent, subject_kind, subject_id, subject_name, before, after, prev_hash, hash FROM audit_events WHERE seq = 5`
}

// tamper does what only somebody with the database's keys can: it switches the triggers off.
func tamper(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{`SET LOCAL session_replication_role = replica`, statement} {
		if _, err := tx.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestChangeWithoutPermissionNeverBegins(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	err := s.Mutate(t.Context(), org.Support, account.IssueKey, func(*store.Tx) ([]audit.Change, error) {
		t.Error("the change was begun")
		return nil, nil
	})
	if !errors.Is(err, store.ErrForbidden) {
		t.Error(err)
	}
}

func TestFailedChangeLeavesNothing(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	boom := errors.New("boom")
	key := insertKey(t, s, org.Owner, nil)
	err := s.Mutate(t.Context(), org.Owner, account.EditKey, func(tx *store.Tx) ([]audit.Change, error) {
		key.Name = "changed"
		if _, err := tx.UpdateKey(key); err != nil {
			return nil, err
		}
		return nil, boom
	})
	if !errors.Is(err, boom) {
		t.Error(err)
	}
	// A change that forgets to say what happened is refused by the database at the commit.
	err = s.Mutate(t.Context(), org.Owner, account.EditKey, func(tx *store.Tx) ([]audit.Change, error) {
		_, err := tx.UpdateKey(key)
		return nil, err
	})
	if err == nil {
		t.Error("a change without a record was committed")
	}
	if row, err := s.KeyByID(t.Context(), org.ID, key.ID); err != nil || row.Name != "key" {
		t.Errorf("%q, %v", row.Name, err)
	}
}

func update(t *testing.T, s *store.Store, actor account.Actor, key apikey.Key) apikey.Key {
	t.Helper()
	err := s.Mutate(t.Context(), actor, account.EditKey, func(tx *store.Tx) (_ []audit.Change, err error) {
		before := key
		before.Stored = "as it was"
		key, err = tx.UpdateKey(key)
		return []audit.Change{audit.KeyChange(&before, &key)}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestARangeOfTimesHoldsAllItsEvents writes a log whose times are not in its order, as those of transactions that end in
// another order than they begin, and of clocks that differ, and holds every range against a search of the whole.
func TestARangeOfTimesHoldsAllItsEvents(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	start := s.Now()
	at := start
	s.Now = func() time.Time { return at }
	random := rand.New(rand.NewPCG(4, 7))
	for i := range 300 {
		at = start.Add(time.Duration(i)*time.Minute + time.Duration(random.IntN(40)-20)*time.Minute)
		if i%50 == 25 {
			at = at.Add(-3 * time.Hour) // a clock that is wrong
		}
		err := s.Mutate(t.Context(), org.Owner, account.RenameSelf, func(*store.Tx) ([]audit.Change, error) {
			return []audit.Change{{Subject: audit.Subject{Kind: "member", ID: org.Owner.MemberID, Name: "x"}}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Events(t.Context(), org.ID, audit.Filter{}, store.Span{}, 1000)
	if err != nil || len(all) != 305 {
		t.Fatal(len(all), err)
	}
	for range 200 {
		from := start.Add(time.Duration(random.IntN(500)-200) * time.Minute)
		f := audit.Filter{From: from, To: from.Add(time.Duration(random.IntN(200)) * time.Minute)}
		switch random.IntN(4) {
		case 0:
			f.From = time.Time{}
		case 1:
			f.To = time.Time{}
		}
		var want []int64
		for _, e := range all {
			if (f.From.IsZero() || !e.At.Before(f.From)) && (f.To.IsZero() || e.At.Before(f.To)) {
				want = append(want, e.Seq)
			}
		}
		found, err := s.Events(t.Context(), org.ID, f, store.Span{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range found {
			got = append(got, e.Seq)
		}
		if !slices.Equal(got, want) {
			t.Errorf("from %s to %s: %v, want %v", f.From, f.To, got, want)
		}
	}
}

func TestNamesAreOfTheOrganisationAlone(t *testing.T) {
	s := storetest.New(t)
	here, there := storetest.Organisation(t, s), storetest.Organisation(t, s)
	key, theirs := insertKey(t, s, here.Owner, nil), insertKey(t, s, there.Owner, nil)
	names, err := s.Names(t.Context(), here.ID, []string{key.ID, theirs.ID, here.Admin.MemberID, there.Admin.MemberID, uuid.NewString()})
	want := map[string]store.Named{key.ID: {Kind: "key", Name: "key"}, here.Admin.MemberID: {Kind: "member", Name: "Admin", Email: here.Admin.Email}}
	if err != nil || !maps.Equal(names, want) {
		t.Errorf("%v, %v", names, err)
	}
}
