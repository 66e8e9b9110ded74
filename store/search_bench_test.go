package store_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// BenchmarkSearchOfOwners searches the keys of an organisation of 20 members and of one of 20 000, all of one mail domain, by
// parts of an owner's name and e-mail, in turn, and reports how much longer the large one's take. Each has 200 keys, or more: of
// ten owners, of 300 if it has as many members, or of each member one.
func BenchmarkSearchOfOwners(b *testing.B) {
	const few, many = 20, 20_000
	url := storetest.URL(b)
	db := storetest.Unaudited(b, url)
	ids := map[string]string{}
	owning := map[string]int{"ten": 10, "hundreds": 300, "all": many}
	for owners, n := range owning {
		for _, members := range []int{few, many} {
			ids[fmt.Sprint(owners, members)] = membersAndKeys(b, db, fmt.Sprint(owners, members), members, min(n, members))
		}
	}
	if _, err := db.Exec(`VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	search := func(b *testing.B, id, text string) time.Duration {
		start := time.Now()
		page, err := s.ListKeys(b.Context(), id, apikey.Filter{Search: text}, apikey.Newest, apikey.Position{}, 25)
		if err != nil || (len(page.Rows) == 0) != strings.HasPrefix(text, "no") {
			b.Fatalf("%q finds %d keys, %v", text, len(page.Rows), err)
		}
		return time.Since(start)
	}
	for owners := range owning {
		for name, text := range map[string]string{"domain": "corp.example", "part_of_it": "corp", "e-mail": "person7@", "name": "Person 7 ", "none": "nobody@"} {
			b.Run("owners="+owners+"/"+name, func(b *testing.B) {
				var smalls, larges []time.Duration
				for b.Loop() {
					smalls = append(smalls, search(b, ids[fmt.Sprint(owners, few)], text))
					larges = append(larges, search(b, ids[fmt.Sprint(owners, many)], text))
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(quantile(smalls, 0.5), "µs_small")
				b.ReportMetric(quantile(larges, 0.5), "µs_large")
				b.ReportMetric(quantile(larges, 0.5)/quantile(smalls, 0.5), "ratio")
			})
		}
	}
}

// membersAndKeys makes an organisation with n members of one mail domain, and at least 200 keys of some of them, at least one of each.
func membersAndKeys(b *testing.B, db *sql.DB, name string, n, owners int) string {
	b.Helper()
	id := filled{name: name}.idOf("organisation", 0)
	statements := strings.NewReplacer(":org", "'"+id+"'", ":name", "'"+name+"'", ":keys", fmt.Sprint(max(200, owners)), ":owners", fmt.Sprint(owners), ":n", fmt.Sprint(n)).Replace(`
BEGIN;
SET LOCAL session_replication_role = replica; -- neither an event for each key nor foreign keys are looked at
INSERT INTO organisations (id, name, created_at) VALUES (:org, :name, now());
INSERT INTO key_policies (org_id) VALUES (:org);
INSERT INTO members (id, org_id, email, name, role, password_hash, created_at)
	SELECT md5(:name || 'member' || i)::uuid, :org, 'person' || i || '@' || :name || '.corp.example', 'Person ' || i || ' Smith', 'member', '', now() FROM generate_series(0, :n - 1) AS i;
INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
	SELECT gen_random_uuid(), :org, 'Checkout ' || i, 'live', 'pk_live_' || left(md5(:name || i), 12), sha256((:name || i)::bytea), 'abcdef', '{read:chat}', 'enabled',
		md5(:name || 'member' || i % :owners)::uuid, md5(:name || 'member' || i % :owners)::uuid, now() - i * interval '1 minute', now() + interval '90 days'
	FROM generate_series(1, :keys) AS i;
INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM api_keys WHERE org_id = :org;
COMMIT`)
	if _, err := db.Exec(statements); err != nil {
		b.Fatal(err)
	}
	return id
}
