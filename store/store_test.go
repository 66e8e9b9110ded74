package store_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestSeveralHostsAreTriedInTurn(t *testing.T) {
	u, err := url.Parse(storetest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if folder := q.Get("host"); folder != "" {
		t.Logf("the server listens on a socket in %s: the first host has no server, the second is the socket", folder)
		q.Set("host", "127.0.0.1,"+folder)
		q.Set("port", "1,"+strings.TrimPrefix(q.Get("port"), ","))
	} else {
		u.Host = "127.0.0.1:1," + u.Host
	}
	q.Set("target_session_attrs", "read-write")
	u.RawQuery = q.Encode()
	if err := store.Probe(t.Context(), u.String()); err != nil {
		t.Error(err)
	}
	for _, hosts := range []string{"a:1,b:2", "a,b"} {
		if err := store.CheckURL("postgres://u:secret@" + hosts + "/db?target_session_attrs=read-write"); err != nil {
			t.Errorf("%s: %v", hosts, err)
		}
	}
}

func TestAddressThatIsNoneIsRefusedWithoutItsPassword(t *testing.T) {
	for _, bad := range []string{"", "mysql://u:secret@h/d", "postgres://u:secret@h:x y/d", "host=h password=secret", "postgres://u:sec%zzret@h/d"} {
		if err := store.CheckURL(bad); err == nil || strings.Contains(err.Error(), "sec") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestTwoReplicasMayMigrateAtOnce(t *testing.T) {
	owner := storetest.Empty(t)
	address := storetest.Serving(owner)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := store.Migrate(t.Context(), address, owner); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if setUp, err := s.IsSetUp(t.Context()); setUp || err != nil {
		t.Errorf("%t, %v", setUp, err)
	}
}

func TestAStoreThatCantLookKeysUpIsNotReady(t *testing.T) {
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := storetest.DB(t, address).ExecContext(t.Context(), `ALTER TABLE api_keys RENAME COLUMN hash TO digest`); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("it is ready")
	}
}

// TestACrowdAtReadinessLeavesConnectionsToVerification locks the keys, so that every look-up waits for as long as it may.
func TestACrowdAtReadinessLeavesConnectionsToVerification(t *testing.T) {
	address := storetest.URL(t)
	s := storetest.Open(t, address)
	lock, err := storetest.DB(t, address).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.Exec(`LOCK TABLE api_keys`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var crowd sync.WaitGroup
	for range 100 {
		crowd.Go(func() {
			for ctx.Err() == nil {
				if s.Ready(ctx) == nil {
					t.Error("it is ready, and no key can be looked up")
				}
			}
		})
	}
	lookUps := func() store.Pool { return s.Pools()[1] }
	for most, looked := 0, 0; looked < 50; time.Sleep(10 * time.Millisecond) {
		if now := lookUps().InUse; now > 0 {
			looked++
			if most = max(most, now); most > 1 {
				t.Errorf("%d connections of verification are taken", most)
				break
			}
		}
	}
	cancel()
	crowd.Wait()
}
