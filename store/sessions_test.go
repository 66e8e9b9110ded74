package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func begin(t *testing.T, s *store.Store, who account.Actor, lifetime time.Duration) store.Session {
	t.Helper()
	var session store.Session
	err := s.Mutate(t.Context(), who, account.SignIn, func(tx *store.Tx) (_ []audit.Change, err error) {
		session, err = tx.InsertSession(store.BrowserSession, lifetime)
		return []audit.Change{{Subject: audit.Subject{Kind: "session", ID: session.ID}}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return session
}

func TestSessionEndsByTimeByIdlenessAndByHand(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	now := time.Now().UTC().Truncate(time.Microsecond)
	at := func(after time.Duration) { s.Now = func() time.Time { return now.Add(after) } }
	lives := func(session store.Session) bool {
		_, _, err := s.SessionActor(t.Context(), session.ID, store.BrowserSession)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	at(0)
	used, idle, ended := begin(t, s, org.Admin, 24*time.Hour), begin(t, s, org.Admin, 24*time.Hour), begin(t, s, org.Admin, 24*time.Hour)
	foreign := begin(t, s, org.Owner, 24*time.Hour)
	end := func(id string) error {
		return s.Mutate(t.Context(), org.Admin, account.EndSession, func(tx *store.Tx) ([]audit.Change, error) {
			return []audit.Change{{Subject: audit.Subject{Kind: "session", ID: id}}}, tx.EndSession(id)
		})
	}
	for _, id := range []string{foreign.ID, ""} {
		if err := end(id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("ending %q, not the admin's to end: %v", id, err)
		}
	}
	if err := end(ended.ID); err != nil || lives(ended) || !lives(foreign) || !lives(used) {
		t.Errorf("ending one session: %v", err)
	}
	for hour := range 24 {
		at(time.Duration(hour) * time.Hour)
		if !lives(used) {
			t.Fatalf("a session in use ended after %d hours", hour)
		}
	}
	if lives(idle) {
		t.Error("an idle session lives")
	}
	at(24 * time.Hour)
	if lives(used) {
		t.Error("a session outlives its absolute lifetime")
	}
}

func TestDestroyedCookieStaysDestroyed(t *testing.T) {
	s := storetest.New(t)
	cookies := s.Cookies()
	ctx, expiry := t.Context(), time.Now().Add(time.Hour)
	find := func(token string) bool {
		_, found, err := cookies.FindCtx(ctx, token)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if err := cookies.CommitCtx(ctx, "token", []byte("data"), expiry); err != nil || !find("token") {
		t.Fatal(err)
	}
	if err := cookies.DeleteCtx(ctx, "token"); err != nil || find("token") {
		t.Fatal(err)
	}
	// A request that was in flight while another signed out commits late.
	if err := cookies.CommitCtx(ctx, "token", []byte("data"), expiry); err != nil || find("token") {
		t.Errorf("a destroyed token came back, %v", err)
	}
	// The same when the sign-out came first of all.
	if err := cookies.DeleteCtx(ctx, "unseen"); err != nil {
		t.Fatal(err)
	}
	if err := cookies.CommitCtx(ctx, "unseen", []byte("data"), expiry); err != nil || find("unseen") {
		t.Errorf("a destroyed token came to life, %v", err)
	}
	if err := cookies.CommitCtx(ctx, "old", []byte("data"), expiry); err != nil || !find("old") {
		t.Fatal(err)
	}
	// Whoever has no session signs out without a row that all of them would write.
	if err := cookies.DeleteCtx(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if err := cookies.CommitCtx(ctx, "", []byte("data"), expiry); err != nil || !find("") {
		t.Errorf("signing out without a session wrote a row, %v", err)
	}
	s.Now = func() time.Time { return time.Now().Add(24*time.Hour + time.Minute) }
	if find("old") {
		t.Error("an expired token is found")
	}
}

func TestAttemptsAtOnceAreAllCounted(t *testing.T) {
	s := storetest.New(t)
	var most atomic.Int64
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			n, _, err := s.CountAttempt(t.Context(), "account x", time.Minute)
			if err != nil {
				t.Error(err)
			}
			for old := most.Load(); int64(n) > old && !most.CompareAndSwap(old, int64(n)); old = most.Load() {
			}
		})
	}
	wg.Wait()
	if most.Load() != 40 {
		t.Errorf("40 attempts counted as %d", most.Load())
	}
	now := time.Now().UTC()
	s.Now = func() time.Time { return now.Add(2 * time.Minute) }
	if n, until, err := s.CountAttempt(t.Context(), "account x", time.Minute); n != 1 || err != nil || until.Before(now.Add(2*time.Minute)) {
		t.Errorf("a new window begins with %d until %s, %v", n, until, err)
	}
}

func TestSweepRemovesEmailChangesWhoseLinkHasExpired(t *testing.T) {
	s, org, db := ledger(t)
	now := s.Now()
	ends := map[string]time.Time{org.Admin.MemberID: now.Add(-time.Hour), org.Support.MemberID: now.Add(-time.Minute), org.Member.MemberID: now.Add(time.Hour)}
	hash := byte(0)
	for id, at := range ends {
		hash++
		err := s.Mutate(t.Context(), org.Owner, account.StartEmailChange, func(tx *store.Tx) ([]audit.Change, error) {
			_, err := tx.InsertEmailChange(store.EmailChange{Member: account.Person{ID: id, OrgID: org.ID}, Email: "new@example.com", ExpiresAt: at}, [32]byte{hash})
			return []audit.Change{{Subject: audit.Subject{Kind: "member", ID: id}}}, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, ahead := range []time.Duration{2 * time.Hour, 0} { // a replica whose clock is ahead removes no more
		s.Now = func() time.Time { return now.Add(ahead) }
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatalf("%s ahead: %v", ahead, err)
		}
	}
	var left string
	if err := db.QueryRowContext(t.Context(), `SELECT string_agg(member_id::text, ' ') FROM email_changes`).Scan(&left); err != nil || left != org.Member.MemberID {
		t.Errorf("%q are left, %v", left, err)
	}
}

func TestSweepKeepsWhatStillServes(t *testing.T) {
	s := storetest.New(t)
	ctx, cookies := t.Context(), s.Cookies()
	if err := errors.Join(cookies.CommitCtx(ctx, "live", []byte("x"), time.Now().Add(time.Hour)), cookies.DeleteCtx(ctx, "gone"),
		s.InsertSetupLink(ctx, [32]byte{1}, time.Now().Add(time.Hour)), s.InsertSetupLink(ctx, [32]byte{2}, time.Now().Add(-time.Hour))); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if _, found, err := cookies.FindCtx(ctx, "live"); !found || err != nil {
		t.Errorf("a live cookie was swept away, %v", err)
	}
	if err := cookies.CommitCtx(ctx, "gone", []byte("x"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := cookies.FindCtx(ctx, "gone"); found {
		t.Error("a tombstone was swept away too soon")
	}
	for link, want := range map[byte]bool{1: true, 2: false} {
		if got, err := s.HasSetupLink(ctx, [32]byte{link}); got != want || err != nil {
			t.Errorf("setup link %d works: %t, %v", link, got, err)
		}
	}
}
