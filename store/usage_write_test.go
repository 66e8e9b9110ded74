package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func issueKeys(t *testing.T, s *store.Store, actor account.Actor, n int) []apikey.Key {
	t.Helper()
	keys := make([]apikey.Key, n)
	for i := range keys {
		var err error
		keys[i], _, err = keyring.New(s).IssueKey(t.Context(), actor, keyring.KeyDraft{Name: fmt.Sprint("key ", i), Scopes: []string{"read:chat"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

func addUsage(t *testing.T, s *store.Store, counts ...store.UsageCount) {
	t.Helper()
	if err := s.AddUsage(t.Context(), store.UsageBatch{Replica: uuid.NewString(), Number: 1, Counts: counts}); err != nil {
		t.Fatal(err)
	}
}

// today is what a key was presented with today: accepted, refused.
func today(t *testing.T, s *store.Store, key apikey.Key) [2]int64 {
	t.Helper()
	days, err := s.KeyUsage(t.Context(), key.OrgID, key.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	return [2]int64{days[0].Accepted, days[0].Refused}
}

func use(t *testing.T, s *store.Store, key apikey.Key) apikey.Use {
	t.Helper()
	row, err := s.KeyByID(t.Context(), key.OrgID, key.ID)
	if err != nil {
		t.Fatal(err)
	}
	return row.Use
}

func TestUsageAddsUpWithinAFlushAndAcrossFlushes(t *testing.T) {
	s := storetest.New(t)
	noon := time.Now().UTC().Truncate(apikey.Day).Add(12 * time.Hour)
	s.Now = func() time.Time { return noon }
	key := issueKeys(t, s, storetest.Organisation(t, s).Admin, 1)[0]
	if got := use(t, s, key); got.At != nil {
		t.Fatalf("a new key was used at %v", got.At)
	}
	minute := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
	addUsage(t, s,
		store.UsageCount{KeyID: key.ID, Hour: minute(1), Accepted: 3, LastUsedAt: minute(1), Address: "203.0.113.1", UserAgent: "first"},
		store.UsageCount{KeyID: key.ID, Hour: minute(9), Accepted: 2, Refused: 1, LastUsedAt: minute(9), Address: "203.0.113.9", UserAgent: "second"},
		store.UsageCount{KeyID: key.ID, Hour: minute(70), Accepted: 5, LastUsedAt: minute(5), Address: "203.0.113.5"})
	addUsage(t, s, store.UsageCount{KeyID: key.ID, Hour: minute(2), Refused: 4})
	addUsage(t, s)
	if got, want := today(t, s, key), [2]int64{10, 5}; got != want {
		t.Errorf("today's accepted and refused are %v, not %v", got, want)
	}
	if got := use(t, s, key); got.At == nil || !got.At.Equal(minute(9)) || got.Address != "203.0.113.9" || got.UserAgent != "second" {
		t.Errorf("the last use is %+v", got)
	}
}

func TestAnOlderUseDoesNotReplaceALaterOne(t *testing.T) {
	s := storetest.New(t)
	key := issueKeys(t, s, storetest.Organisation(t, s).Admin, 1)[0]
	now := s.Now()
	addUsage(t, s, store.UsageCount{KeyID: key.ID, Hour: now, Accepted: 1, LastUsedAt: now, Address: "203.0.113.9", UserAgent: "late"})
	addUsage(t, s, store.UsageCount{KeyID: key.ID, Hour: now, Accepted: 1, LastUsedAt: now.Add(-time.Minute), Address: "203.0.113.1", UserAgent: "early"})
	if got := use(t, s, key); got.At == nil || !got.At.Equal(now) || got.UserAgent != "late" {
		t.Errorf("the last use is %+v", got)
	}
	addUsage(t, s, store.UsageCount{KeyID: key.ID, Hour: now, Accepted: 1, LastUsedAt: now, UserAgent: "later, while the clock was held"})
	if got := use(t, s, key); got.UserAgent != "later, while the clock was held" {
		t.Errorf("of two uses at one time the last is %+v", got)
	}
}

func TestAUseBeforeTheKeysCreationDoesNotMakeItLookIdle(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	key := issueKeys(t, s, org.Admin, 1)[0]
	early := key.CreatedAt.Add(-10 * apikey.Day) // two machines' clocks differ
	addUsage(t, s, store.UsageCount{KeyID: key.ID, Hour: early, Accepted: 1, LastUsedAt: early})
	page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{UnusedFor: 5}, apikey.Newest, apikey.Position{}, 10)
	if err != nil || len(page.Rows) != 0 {
		t.Errorf("unused for five days: %v, %v", page.Rows, err)
	}
}

func TestUsageOfADeletedKeyIsSkipped(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	keys := issueKeys(t, s, org.Admin, 2)
	if err := keyring.New(s).DeleteKey(t.Context(), org.Admin, keys[0].ID); err != nil {
		t.Fatal(err)
	}
	now := s.Now()
	addUsage(t, s,
		store.UsageCount{KeyID: keys[0].ID, Hour: now, Accepted: 1, LastUsedAt: now},
		store.UsageCount{KeyID: keys[1].ID, Hour: now, Accepted: 1, LastUsedAt: now})
	if got := today(t, s, keys[1]); got != [2]int64{1, 0} {
		t.Errorf("the key that lives has %v", got)
	}
}

// TestTenThousandCountsAreCountedOnce sends them as a replica does: in numbered batches, each again until it is answered.
func TestTenThousandCountsAreCountedOnce(t *testing.T) {
	s := storetest.New(t)
	key := issueKeys(t, s, storetest.Organisation(t, s).Admin, 1)[0]
	now := s.Now()
	counts := make([]store.UsageCount, 12_000)
	for i := range counts {
		at := now.Add(-time.Duration(i) * time.Hour)
		counts[i] = store.UsageCount{KeyID: key.ID, Hour: at, Accepted: 1, LastUsedAt: at}
	}
	batch := store.UsageBatch{Replica: uuid.NewString()}
	for range 2 {
		for batch.Counts = range slices.Chunk(counts, 1000) {
			batch.Number++
			answered(t, func() error { return s.AddUsage(t.Context(), batch) })
		}
	}
	sums, err := s.RequestsSince(t.Context(), key.OrgID, []string{key.ID}, now.AddDate(-10, 0, 0))
	if err != nil || sums[key.ID] != 24_000 {
		t.Errorf("the sum is %d, %v", sums[key.ID], err)
	}
}

// answered calls again what a busy machine did not do in time. A deadlock is no such thing.
func answered(t *testing.T, call func() error) {
	t.Helper()
	err := call()
	for deadline := time.Now().Add(2 * time.Minute); errors.Is(err, store.ErrUnavailable) && pq.As(err, "40P01") == nil && time.Now().Before(deadline); {
		err = call()
	}
	if err != nil {
		t.Error(err)
	}
}

// Replicas flush at once, each in its own order, while an admin disables and deletes the same keys.
func TestFlushesAndChangesDoNotWaitForEachOtherCrosswise(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	keys := issueKeys(t, s, org.Admin, 30)
	now := s.Now()
	var ids []string
	var there, back []store.UsageCount
	for _, key := range keys {
		ids = append(ids, key.ID)
		count := store.UsageCount{KeyID: key.ID, Hour: now, Accepted: 1, LastUsedAt: now}
		there, back = append(there, count), append([]store.UsageCount{count}, back...)
	}
	ring, ctx := keyring.New(s), t.Context()
	doomed := ids[15:]
	flush := func(counts []store.UsageCount) func() {
		batch := store.UsageBatch{Replica: uuid.NewString(), Counts: counts}
		return func() {
			batch.Number++
			answered(t, func() error { return s.AddUsage(ctx, batch) })
		}
	}
	var all sync.WaitGroup
	for _, do := range []func(){
		flush(there),
		flush(back),
		func() {
			answered(t, func() error { _, err := ring.ChangeStatuses(ctx, org.Admin, apikey.Disable, ids[:15]); return err })
		},
		func() {
			last := len(doomed) - 1
			id := doomed[last]
			doomed = doomed[:last]
			answered(t, func() error { return ring.DeleteKey(ctx, org.Admin, id) })
		},
	} {
		all.Go(func() {
			for range 10 {
				do()
			}
		})
	}
	all.Wait()
	if got := today(t, s, keys[0]); got != [2]int64{20, 0} {
		t.Errorf("20 flushes counted %v", got)
	}
}

func TestABatchIsCountedOnceHoweverOftenItIsSent(t *testing.T) {
	s := storetest.New(t)
	key := issueKeys(t, s, storetest.Organisation(t, s).Admin, 1)[0]
	now := s.Now()
	send := func(replica string, number int64) func() {
		return func() {
			counts := []store.UsageCount{{KeyID: key.ID, Hour: now, Accepted: 1, LastUsedAt: now}}
			if err := s.AddUsage(t.Context(), store.UsageBatch{Replica: replica, Number: number, Counts: counts}); err != nil {
				t.Error(err)
			}
		}
	}
	first, second := uuid.NewString(), uuid.NewString()
	for _, number := range []int64{1, 2, 3} {
		var sending sync.WaitGroup
		for range 8 { // the first may still be under way when it is sent again
			sending.Go(send(first, number))
			sending.Go(send(second, number))
		}
		sending.Wait()
	}
	send(first, 2)() // an old one
	if got := today(t, s, key); got != [2]int64{6, 0} {
		t.Errorf("three batches of two replicas were counted as %v", got)
	}
}

func TestReplicasThatCountNoMoreAreForgottenAfterADay(t *testing.T) {
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	key := issueKeys(t, s, storetest.Organisation(t, s).Admin, 1)[0]
	now := s.Now()
	addUsage(t, s, store.UsageCount{KeyID: key.ID, Hour: now, Accepted: 1})
	for _, c := range []struct {
		after time.Duration
		want  int
	}{{23 * time.Hour, 1}, {25 * time.Hour, 0}} {
		s.Now = func() time.Time { return now.Add(c.after) }
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := storetest.DB(t, address).QueryRowContext(t.Context(), `SELECT count(*) FROM usage_flushes`).Scan(&left); err != nil || left != c.want {
			t.Errorf("%s later %d are left, %v", c.after, left, err)
		}
	}
}

// A flush comes while a transaction holds a key to change it or to delete it. Had it to wait, it would wait for
// itself, and the database's time limit would end it.
func TestAFlushDoesNotWaitForAChange(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	keys := issueKeys(t, s, org.Admin, 2)
	now := s.Now()
	flush := func() {
		addUsage(t, s, store.UsageCount{KeyID: keys[0].ID, Hour: now, Accepted: 1, LastUsedAt: now},
			store.UsageCount{KeyID: keys[1].ID, Hour: now, Accepted: 1, LastUsedAt: now})
	}
	mutate := func(action account.Action, do func(*store.Tx) (audit.Change, error)) {
		t.Helper()
		if err := s.Mutate(t.Context(), org.Owner, action, func(tx *store.Tx) ([]audit.Change, error) {
			change, err := do(tx)
			flush()
			return []audit.Change{change}, err
		}); err != nil {
			t.Fatal(err)
		}
	}
	mutate(account.DisableKey, func(tx *store.Tx) (audit.Change, error) {
		before, err := tx.LockKey(keys[0].ID)
		if err != nil {
			return audit.Change{}, err
		}
		flush()
		after := before
		after.Stored = apikey.Disabled
		after, err = tx.UpdateKey(after)
		return audit.KeyChange(&before, &after), err
	})
	for _, key := range keys {
		if got := today(t, s, key); got != [2]int64{2, 0} {
			t.Errorf("two flushes during a change counted %v", got)
		}
	}
	mutate(account.DeleteKey, func(tx *store.Tx) (audit.Change, error) {
		return audit.KeyChange(&keys[0], nil), tx.DeleteKey(keys[0].ID)
	})
	if got := today(t, s, keys[1]); got != [2]int64{3, 0} {
		t.Errorf("a flush while another key was deleted counted %v", got)
	}
}

// A change comes while a flush is under way that does not end. Only deleting the key has to wait for it, no longer than the
// database's time limit.
func TestAChangeDoesNotWaitForAFlush(t *testing.T) {
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	org, ring, ctx := storetest.Organisation(t, s), keyring.New(s), t.Context()
	keys := issueKeys(t, s, org.Owner, 4)
	flush, err := storetest.DB(t, address).BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys { // what a flush does to a key
		for _, statement := range []string{`SELECT FROM api_keys WHERE id = $1 FOR KEY SHARE`,
			`INSERT INTO key_usage (key_id, hour, accepted) VALUES ($1, date_trunc('hour', now()), 1)`,
			`UPDATE key_use SET last_used_at = now() WHERE key_id = $1`} {
			if _, err := flush.ExecContext(ctx, statement, key.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := ring.ChangeStatus(ctx, org.Owner, apikey.Disable, keys[0].ID); err != nil {
		t.Error(err)
	}
	if _, err := ring.ChangeStatus(ctx, org.Owner, apikey.Revoke, keys[1].ID); err != nil {
		t.Error(err)
	}
	if _, err := ring.RotateKey(ctx, org.Owner, keys[2].ID, time.Hour, ""); err != nil {
		t.Error(err)
	}
	if err := ring.DeleteKey(ctx, org.Owner, keys[3].ID); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("deleting waited for the flush and ended with %v", err)
	}
	if err := flush.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := ring.DeleteKey(ctx, org.Owner, keys[3].ID); err != nil {
		t.Error(err)
	}
}

// organisationToday is what all of an organisation's keys were presented with today: accepted, refused.
func organisationToday(t *testing.T, s *store.Store, orgID string) [2]int64 {
	t.Helper()
	days, err := s.OrganisationUsage(t.Context(), orgID, 3)
	if err != nil || len(days) != 3 || days[0].Accepted != 0 {
		t.Fatal(days, err)
	}
	return [2]int64{days[2].Accepted, days[2].Refused}
}

func TestTheOrganisationsRequestsAreThoseOfItsKeysAndOutliveThem(t *testing.T) {
	s := storetest.New(t)
	ours, theirs := storetest.Organisation(t, s), storetest.Organisation(t, s)
	noon := time.Now().UTC().Truncate(apikey.Day).Add(12 * time.Hour)
	s.Now = func() time.Time { return noon }
	keys := append(issueKeys(t, s, ours.Admin, 3), issueKeys(t, s, theirs.Admin, 1)...)
	batch := store.UsageBatch{Replica: uuid.NewString()}
	for number := range int64(4) {
		batch.Counts = nil
		for i, key := range keys {
			for hour := range 3 {
				batch.Counts = append(batch.Counts, store.UsageCount{KeyID: key.ID, Hour: noon.Add(-time.Duration(hour) * time.Hour), Accepted: int64(i + 1), Refused: number})
			}
		}
		batch.Number = number + 1
		for range 2 { // sent again, since nobody knew what had become of it
			if err := s.AddUsage(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	var sum [2]int64
	for _, key := range keys[:3] {
		sum[0], sum[1] = sum[0]+today(t, s, key)[0], sum[1]+today(t, s, key)[1]
	}
	if got := organisationToday(t, s, ours.ID); got != sum || got != [2]int64{72, 54} {
		t.Errorf("the keys have %v, and their organisation %v", sum, got)
	}
	if got := organisationToday(t, s, theirs.ID); got != today(t, s, keys[3]) {
		t.Errorf("another organisation has %v", got)
	}
	if err := keyring.New(s).DeleteKey(t.Context(), ours.Admin, keys[0].ID); err != nil {
		t.Fatal(err)
	}
	batch.Number++
	if err := s.AddUsage(t.Context(), batch); err != nil { // of a key that is gone, too
		t.Fatal(err)
	}
	if got := organisationToday(t, s, ours.ID); got != [2]int64{72 + 15, 54 + 18} {
		t.Errorf("after a key was deleted: %v", got)
	}
}

// Replicas add to the same hours of the same organisations, each in its own order.
func TestFlushesOfManyOrganisationsDoNotWaitForEachOtherCrosswise(t *testing.T) {
	s := storetest.New(t)
	now := s.Now()
	var there, back []store.UsageCount
	var orgs []storetest.Org
	for range 6 {
		org := storetest.Organisation(t, s)
		orgs = append(orgs, org)
		for _, key := range issueKeys(t, s, org.Admin, 2) {
			for hour := range 4 {
				count := store.UsageCount{KeyID: key.ID, Hour: now.Add(-time.Duration(hour) * time.Hour), Accepted: 1}
				there, back = append(there, count), append([]store.UsageCount{count}, back...)
			}
		}
	}
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			batch := store.UsageBatch{Replica: uuid.NewString(), Counts: there}
			if i%2 == 1 {
				batch.Counts = back
			}
			for range 15 {
				batch.Number++
				if err := s.AddUsage(t.Context(), batch); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	for _, org := range orgs {
		days, err := s.OrganisationUsage(t.Context(), org.ID, 2)
		if err != nil || days[0].Accepted+days[1].Accepted != 6*15*2*4 {
			t.Errorf("%v, %v", days, err)
		}
	}
}
