package keyring_test

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// manyKeys gives a member so many enabled keys at once.
const manyKeys = `BEGIN; SET LOCAL session_replication_role = replica;
	INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
		SELECT gen_random_uuid(), %[1]s, 'Key ' || i, 'live', 'pk_live_' || left(md5('p' || i), 12), sha256(('%[2]d' || i)::bytea), left(md5(i::text), 6), '{read:chat}', 'enabled', %[3]s, %[3]s, now(), now() + interval '90 days'
		FROM generate_series(1, %[2]d) AS i;
	INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM api_keys WHERE owner_id = %[3]s;
	COMMIT; ANALYZE api_keys`

// BenchmarkSuspendingTheOwnerOf10000Keys disables all of them in the same step: go test ./internal/keyring -run '^$' -bench 10000
func BenchmarkSuspendingTheOwnerOf10000Keys(b *testing.B) {
	const keys = 10_000
	address := storetest.URL(b)
	s, err := store.Open(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ring, db := keyring.New(s), storetest.Unaudited(b, address)
	for b.Loop() {
		b.StopTimer()
		org := storetest.Organisation(b, s)
		if _, err := db.ExecContext(b.Context(), fmt.Sprintf(manyKeys, "'"+org.ID+"'", keys, "'"+org.Admin.MemberID+"'")); err != nil {
			b.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		began := time.Now()
		change, err := ring.ChangeMember(b.Context(), org.Owner, org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.DisableKeys})
		took := time.Since(began)
		b.StopTimer()
		if err != nil || change.Changed != keys {
			b.Fatal(change.Changed, err)
		}
		runtime.ReadMemStats(&after)
		b.ReportMetric(took.Seconds(), "s/suspension")
		b.ReportMetric(float64(int64(after.HeapSys)-int64(before.HeapSys))/(1<<20), "MiB-heap-grown")
		b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/(1<<20), "MiB-allocated")
		if _, err := db.ExecContext(b.Context(), `BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM api_keys; COMMIT`); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
