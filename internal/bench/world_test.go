package bench

import (
	"database/sql"
	"testing"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// world is a database with an organisation, one key that may verify others, and the keys that are asked about.
type world struct {
	url     string
	caller  string
	keys    []string
	inTable int
}

// newWorld makes n keys that can be asked about, and others until so many are in the table.
func newWorld(b *testing.B, n, inTable int) *world {
	b.Helper()
	w := &world{url: storetest.URL(b), inTable: max(n+1, inTable)}
	s, err := store.Open(b.Context(), w.url)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	org := storetest.Organisation(b, s)
	_, caller, err := keyring.New(s).IssueKey(b.Context(), org.Owner, keyring.KeyDraft{Name: "a gateway", Scopes: []string{"verify:api-keys"}})
	if err != nil {
		b.Fatal(err)
	}
	w.caller = caller.Reveal()
	db := storetest.Unaudited(b, w.url)
	execute(b, db, `ALTER TABLE api_keys DISABLE TRIGGER api_keys_are_audited, DISABLE TRIGGER api_keys_make_news`)
	var hashes [][]byte
	var prefixes, signatures []string
	for range n {
		key := apikey.NewPlaintext(apikey.Live)
		hash := key.Hash()
		w.keys = append(w.keys, key.Reveal())
		hashes, prefixes, signatures = append(hashes, hash[:]), append(prefixes, key.Prefix()), append(signatures, key.Signature())
	}
	execute(b, db, insertKeys+`FROM unnest($3::bytea[], $4::text[], $5::text[]) AS k (hash, prefix, signature)`,
		org.ID, org.Owner.MemberID, pq.Array(hashes), pq.Array(prefixes), pq.Array(signatures))
	// Those that nobody asks about have a hash that is no key's.
	execute(b, db, insertKeys+`FROM (SELECT sha256(i::text::bytea) AS hash, 'pk_live_' || i AS prefix, 'abcdef' AS signature FROM generate_series(1, $3) AS i) AS k`,
		org.ID, org.Owner.MemberID, w.inTable-n-1)
	execute(b, db, `INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM api_keys ON CONFLICT DO NOTHING`)
	execute(b, db, `ALTER TABLE api_keys ENABLE TRIGGER api_keys_are_audited, ENABLE TRIGGER api_keys_make_news`)
	execute(b, db, `VACUUM ANALYZE`)
	execute(b, db, `CHECKPOINT`)
	return w
}

const insertKeys = `INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
	SELECT gen_random_uuid(), $1, 'payments service', 'live', prefix, hash, signature, '{read:chat,write:chat,read:billing}', 'enabled', $2, $2, now(),
		now() + interval '90 days' `

func execute(b *testing.B, db *sql.DB, statement string, arguments ...any) {
	b.Helper()
	if _, err := db.Exec(statement, arguments...); err != nil {
		b.Fatalf("%s: %v", statement, err)
	}
}
