package store_test

import (
	"slices"
	"testing"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestASearchByOwnerLooksAtOwnersOfKeys searches by a name, and by a part of an e-mail that few members have, that most have and few of them own
// keys, and that most owners have. The bound is what counts: a list of 20 000 ids took 20 times as
// long as the keys.
func TestASearchByOwnerLooksAtOwnersOfKeys(t *testing.T) {
	address := storetest.URL(t)
	s := storetest.Open(t, address)
	org, db := storetest.Organisation(t, s), storetest.Unaudited(t, address)
	run := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	const members = `INSERT INTO members (id, org_id, email, role, status, password_hash, created_at)
		SELECT gen_random_uuid(), $1, $3 || i || '@crowd.example', 'admin', 'suspended', '', now() FROM generate_series(1, $2::int) AS i`
	const keys = `WITH made AS (INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
		SELECT gen_random_uuid(), $1, 'bulk', 'live', email, sha256(email::bytea), 'aaaaaa', '{read:chat}', 'enabled', id, id, now(), now() + interval '1 day'
		FROM members WHERE org_id = $1 AND email LIKE $2 RETURNING id, org_id, created_at)
		INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM made`
	run(members, org.ID, 3000, "idle")
	run(members, org.ID, 5, "keyowner")
	run(keys, org.ID, "keyowner%")
	check := func(search string, ids int, many bool, found int) {
		t.Helper()
		if n, is, err := s.OwnersLike(t.Context(), org.ID, search); err != nil || n != ids || is != many {
			t.Errorf("%q asks for %d ids, many %t: %v", search, n, is, err)
		}
		for name, filter := range map[string]apikey.Filter{"search": {Search: search}, "search among orphaned keys": {Search: search, Orphaned: true}} {
			page, err := s.ListKeys(t.Context(), org.ID, filter, apikey.Newest, apikey.Position{}, 5000)
			if err != nil || len(page.Rows) != found {
				t.Errorf("%s for %q found %d keys, not %d: %v", name, search, len(page.Rows), found, err)
			}
		}
	}
	check("keyowner3@", 1, false, 1) // one member
	check("idle", 0, false, 0)       // 3 000 members without a key
	check("crowd.exam", 5, false, 5) // 3 005 members, 5 with a key
	check("nobody@", 0, false, 0)
	run(`UPDATE members SET name = 'Ada Löwe' WHERE email LIKE 'keyowner2@%' AND org_id = $1`, org.ID)
	check("ada löwe", 1, false, 1)
	run(members, org.ID, 1100, "busy")
	run(keys, org.ID, "busy%")
	check("crowd.exam", 0, true, 1105) // most of the newest keys are theirs
	check("keyowner", 5, false, 5)
	check("busy100", 11, false, 11)
	check("idle", 0, false, 0) // not the members, of whom more match than are asked for by id
	run(`UPDATE api_keys SET created_at = created_at - interval '1 day' WHERE org_id = $1 AND name = 'bulk'`, org.ID)
	run(members, org.ID, 1, "robot")
	run(keys, org.ID, "robot%")
	run(`INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
		SELECT gen_random_uuid(), org_id, 'bulk', 'live', 'robot' || i, sha256(('robot' || i)::bytea), 'aaaaaa', '{read:chat}', 'enabled', owner_id, owner_id, created_at, now() + interval '1 day'
		FROM api_keys, generate_series(1, 100) AS i WHERE org_id = $1 AND prefix LIKE 'robot1@%'`, org.ID)
	check("busy1", 212, false, 212) // no newest key is theirs
	check("busy", 0, true, 1100)    // and they are more than are asked for by id
	run(`DELETE FROM api_keys WHERE org_id = $1 AND prefix LIKE 'robot%'`, org.ID)
	page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{Orphaned: true}, apikey.Sort{By: apikey.ByName}, apikey.Position{}, 5000)
	if err != nil || len(page.Rows) != 1105 || slices.ContainsFunc(page.Rows, func(r store.KeyRow) bool { return r.Owner.Status == "active" }) {
		t.Errorf("%d orphaned keys: %v", len(page.Rows), err)
	}
}
