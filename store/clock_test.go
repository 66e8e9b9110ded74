package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAWrongClockEndsNothing lets a replica whose clock is off sweep, disable, count and authenticate.
func TestAWrongClockEndsNothing(t *testing.T) {
	for name, off := range map[string]time.Duration{"a day ahead": 25 * time.Hour, "92 days ahead": 92 * apikey.Day, "a day behind": -25 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			ctx, address := t.Context(), storetest.URL(t)
			right, wrong := storetest.Open(t, address), storetest.Open(t, address)
			wrong.SetWallClock(func() time.Time { return time.Now().Add(off) })
			org := storetest.Organisation(t, right)
			ring := keyring.New(right)
			setPolicy(t, right, org.Owner, apikey.Policy{LongestLifetime: 365 * apikey.Day, DefaultLifetime: 90 * apikey.Day, UnusedAfter: 90 * apikey.Day, DisableUnused: true})
			asked := keyring.KeyDraft{Name: "in use", Scopes: []string{"read:chat"}, RequestKey: "once"}
			key, _, err := ring.IssueKey(ctx, org.Owner, asked)
			if err != nil {
				t.Fatal(err)
			}
			session := begin(t, right, org.Admin, 24*time.Hour)
			if err := errors.Join(right.Cookies().CommitCtx(ctx, "token", []byte("x"), time.Now().Add(time.Hour)), right.InsertSetupLink(ctx, [32]byte{1}, right.Now().Add(time.Hour))); err != nil {
				t.Fatal(err)
			}
			invite(t, right, org.Owner)
			if _, _, err := right.CountAttempt(ctx, "account x", 15*time.Minute); err != nil {
				t.Fatal(err)
			}

			theirs := keyring.New(wrong)
			if err := errors.Join(wrong.Sweep(ctx), theirs.DisableUnused(ctx), theirs.KeepSigningKey(ctx)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := wrong.SessionActor(ctx, session.ID, store.BrowserSession); err != nil {
				t.Errorf("the session: %v", err)
			}
			if _, found, err := wrong.Cookies().FindCtx(ctx, "token"); !found || err != nil {
				t.Errorf("the cookie: %t, %v", found, err)
			}
			if err := wrong.Cookies().CommitCtx(ctx, "token", []byte("y"), time.Now().Add(off)); err != nil {
				t.Fatal(err)
			}
			if _, found, err := right.Cookies().FindCtx(ctx, "token"); !found || err != nil {
				t.Errorf("the cookie after the wrong replica has stored it: %t, %v", found, err)
			}
			if row, err := ring.Key(ctx, org.Owner, key.ID); err != nil || row.Stored != apikey.Enabled {
				t.Errorf("the key: %s, %v", row.Stored, err)
			}
			var repeated *keyring.RepeatedError
			if _, _, err := theirs.IssueKey(ctx, org.Owner, asked); !errors.As(err, &repeated) {
				t.Errorf("a second key for one request: %v", err)
			}
			if n, _, err := wrong.CountAttempt(ctx, "account x", 15*time.Minute); n != 2 || err != nil {
				t.Errorf("attempts to sign in: %d, %v", n, err)
			}
			if found, err := wrong.HasSetupLink(ctx, [32]byte{1}); !found || err != nil {
				t.Errorf("the set-up link: %t, %v", found, err)
			}
			if list, err := wrong.Invitations(ctx, org.ID, "", 10); err != nil || len(list) != 1 || !list[0].ExpiresAt.After(wrong.Now()) {
				t.Errorf("the invitation: %v, %v", list, err)
			}
			if issued, _, err := theirs.IssueKey(ctx, org.Owner, keyring.KeyDraft{Name: "theirs", Scopes: []string{"read:chat"}}); err != nil || right.Now().Sub(issued.CreatedAt).Abs() > time.Minute {
				t.Errorf("a key issued there is of %s, %v", issued.CreatedAt, err)
			}

			if err := wrong.Ready(ctx); !errors.Is(err, store.ErrClockSkew) || wrong.ClockSkew().Round(time.Minute) != off {
				t.Errorf("ready: %v, off by %s", err, wrong.ClockSkew())
			}
			if err := right.Ready(ctx); err != nil {
				t.Errorf("the other one: %v", err)
			}
		})
	}
}

// TestTheClockDoesNotStepBack lets better readings show that the clock was ahead, while it is asked from several goroutines.
func TestTheClockDoesNotStepBack(t *testing.T) {
	s := storetest.New(t)
	base := time.Now() // with the monotonic clock
	var latest atomic.Int64
	ask := func() error {
		before := time.UnixMicro(latest.Load())
		now := s.Now()
		for seen := latest.Load(); seen < now.UnixMicro() && !latest.CompareAndSwap(seen, now.UnixMicro()); seen = latest.Load() {
		}
		if now.Before(before) {
			return fmt.Errorf("%s came after %s", now.Format(time.RFC3339Nano), before.Format(time.RFC3339Nano))
		}
		return nil
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := ask(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	// Each reading disagrees with the one before by more than both are uncertain.
	for i, ahead := range []time.Duration{1500 * time.Millisecond, 0, 300 * time.Millisecond, 299 * time.Millisecond, -400 * time.Millisecond, 100 * time.Millisecond} {
		at := time.Now()
		s.ReadClock(base.Add(at.Sub(base)+ahead), at, at)
		if err := errors.Join(ask(), ask()); err != nil {
			t.Errorf("reading %d: %v", i, err)
		}
	}
	close(stop)
	asking.Wait()

	// It goes on when the database's time has caught up.
	held, at := s.Now(), time.Now()
	s.ReadClock(held.Add(-20*time.Millisecond), at, at)
	for now := s.Now(); !now.After(held); now = s.Now() {
		if time.Since(at) > 10*time.Second {
			t.Fatalf("it still shows %s", now)
		}
	}

	// A clock that was set back is followed at once.
	at = time.Now()
	set := s.Now().Add(-time.Hour)
	s.ReadClock(set, at, at)
	if now := s.Now(); now.Before(set) || now.After(set.Add(time.Minute)) {
		t.Errorf("the database's clock was set to %s, and the time is %s", set, now)
	}
}

// TestTheHeartbeatComparesClocks lets a clock go wrong and right again, and reads the log.
func TestTheHeartbeatComparesClocks(t *testing.T) {
	s := storetest.New(t)
	var lock sync.Mutex
	var off time.Duration
	set := func(d time.Duration) { lock.Lock(); off = d; lock.Unlock() }
	s.SetWallClock(func() time.Time { lock.Lock(); defer lock.Unlock(); return time.Now().Add(off) })
	var log syncBuffer
	ctx, cancel := context.WithCancel(t.Context())
	beats := make(chan struct{}, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.FollowNews(ctx, slog.New(slog.NewTextHandler(&log, nil)), func(n store.News) {
			if n.Kind == store.NewsBeat {
				beats <- struct{}{}
			}
		})
	}()
	for _, step := range []struct {
		off  time.Duration
		want int // lines that say so
	}{{0, 0}, {time.Hour, 1}, {-time.Hour, 1}, {0, 1}, {-3 * time.Second, 2}, {time.Second, 2}} {
		set(step.off)
		for range 3 {
			<-beats
		}
		if got := strings.Count(log.String(), "this server is not ready"); got != step.want {
			t.Errorf("off by %s: said %d times, want %d: %s", step.off, got, step.want, log.String())
		}
		if now := s.Now(); step.off.Abs() >= time.Hour && time.Since(now).Abs() > time.Minute {
			t.Errorf("off by %s, the time is %s", step.off, now)
		}
	}
	if strings.Count(log.String(), "right again") != 2 {
		t.Errorf("the end is not said: %s", log.String())
	}
	cancel()
	<-done
}

type syncBuffer struct {
	lock sync.Mutex
	b    bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.b.String()
}
