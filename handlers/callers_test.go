package handlers

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestOneMemberLeavesConnectionsForOthers holds up every change at a lock in the database. A member who sends many at once, by
// three sessions and three keys, does not keep another member from reading.
func TestOneMemberLeavesConnectionsForOthers(t *testing.T) {
	databaseURL := storetest.URL(t)
	db, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := siteOver(t, db)
	s.org = storetest.Organisation(t, db)
	owner := s.as(s.org.Owner)
	var flood []func()
	for range 3 {
		admin := s.as(s.org.Admin)
		_, key := s.key(s.org.Admin, "write:api-keys")
		flood = append(flood,
			func() {
				s.with(key).call(post, "/v1/api-keys", map[string]any{"name": "flood", "scopes": []string{"write:api-keys"}})
			},
			func() { admin.post("/account/name", url.Values{"name": {"Flood"}}) })
	}
	lock, err := storetest.DB(t, databaseURL).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.Exec(`SELECT FROM audit_heads FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 40 {
		for _, request := range flood {
			wg.Go(request)
		}
	}
	inUse := func() int { return s.store.Pools()[0].InUse }
	for deadline := time.Now().Add(20 * time.Second); inUse() < 2*requestsPerCaller; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are held", inUse())
		}
	}
	for range 5 {
		if got := owner.get("/account/api-keys"); got.status != 200 {
			t.Errorf("a page of somebody else: %d", got.status)
		}
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

func TestCallersAreForgottenWithTheirLastRequest(t *testing.T) {
	all := newCallers()
	var leave []func()
	for range requestsPerCaller {
		left, err := all.enter(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, left)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := all.enter(over, "one"); !errors.Is(err, context.Canceled) {
		t.Errorf("one request more, whose client is gone: %v", err)
	}
	late, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := all.enter(late, "one"); !errors.Is(err, errCallerBusy) {
		t.Errorf("one request more, whose time passes: %v", err)
	}
	if _, err := all.enter(t.Context(), "another"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	for _, leave := range leave {
		leave()
	}
	if len(all.known) != 1 {
		t.Errorf("%d callers are remembered, not the one with a request", len(all.known))
	}
}
