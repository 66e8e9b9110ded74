package verify_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// BenchmarkVerifyCold asks the database each time, as a verifier does that hears no news; beside it one prepared look-up of one
// column, the floor.
func BenchmarkVerifyCold(b *testing.B) {
	address := storetest.URL(b)
	s := open(b, address)
	org := storetest.Organisation(b, s)
	_, plaintext, err := keyring.New(s).IssueKey(b.Context(), org.Owner, keyring.KeyDraft{Name: "a key", Scopes: []string{"read:chat", "write:chat"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("verify", func(b *testing.B) {
		v, text := verify.New(s, slog.New(slog.DiscardHandler)), plaintext.Reveal()
		b.ReportAllocs()
		for b.Loop() {
			if verdict, err := v.Verify(b.Context(), text, verify.Question{}); err != nil || verdict.Code != verify.Valid {
				b.Fatal(verdict, err)
			}
		}
	})
	b.Run("floor", func(b *testing.B) {
		statement, err := storetest.Unaudited(b, address).PrepareContext(b.Context(), `SELECT id FROM api_keys WHERE hash = $1`)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = statement.Close() }()
		hash := plaintext.Hash()
		b.ReportAllocs()
		for b.Loop() {
			var id string
			if err := statement.QueryRowContext(b.Context(), hash[:]).Scan(&id); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFlush writes down the use of so many different keys in one batch.
func BenchmarkFlush(b *testing.B) {
	address := storetest.URL(b)
	s := open(b, address)
	org := storetest.Organisation(b, s)
	db := storetest.Unaudited(b, address)
	for _, statement := range []string{
		`ALTER TABLE api_keys DISABLE TRIGGER api_keys_are_audited`,
		`INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
			SELECT gen_random_uuid(), '` + org.ID + `', 'key ' || n, 'live', 'pk_live_' || n, sha256(n::text::bytea), 'abcdef', '{*}', 'enabled',
			'` + org.Owner.MemberID + `', '` + org.Owner.MemberID + `', now(), now() + interval '90 days' FROM generate_series(1, 20000) AS n`,
		`INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM api_keys`,
		`ANALYZE`,
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	rows, err := db.QueryContext(b.Context(), `SELECT id FROM api_keys`)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var counts []store.UsageCount
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			b.Fatal(err)
		}
		counts = append(counts, store.UsageCount{KeyID: id, Hour: s.Now(), Accepted: 3, LastUsedAt: s.Now(), Address: "203.0.113.7", UserAgent: "a client/1.0"})
	}
	var number atomic.Int64
	for _, n := range []int{1, 1000, 5000, 20_000} {
		b.Run(fmt.Sprint("keys=", n), func(b *testing.B) {
			for b.Loop() {
				now := time.Now()
				for i := range counts[:n] {
					counts[i].LastUsedAt = now
				}
				batch := store.UsageBatch{Replica: org.ID, Number: number.Add(1), Counts: counts[:n]}
				if err := s.AddUsage(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/key")
		})
	}
}
