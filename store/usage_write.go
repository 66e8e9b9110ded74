package store

import (
	"context"
	"time"

	"github.com/lib/pq"
)

// UsageCount is how often a key was presented within an hour, and the last time that it was accepted.
type UsageCount struct {
	KeyID      string
	Hour       time.Time // any time within the hour
	Accepted   int64
	Refused    int64
	LastUsedAt time.Time // zero when it was not accepted
	Address    string    // of the last use
	UserAgent  string
}

// AddUsage adds to what is known of keys' use, whichever organisation they are of. Counts are added up; the last use
// is replaced by a later one only. Keys that were deleted meanwhile are skipped. Like a cookie's data it is
// bookkeeping and not audited.
//
// It is one statement, all or nothing, so that whoever gets an error can add the same counts again. It locks the keys
// in the order of their ids before anything else, as a change to several keys does, so that no two wait for each
// other crosswise; and it keeps them from being deleted between being seen and being counted. 10 000 counts take a
// fraction of the store's time limit.
func (s *Store) AddUsage(ctx context.Context, counts []UsageCount) error {
	if len(counts) == 0 {
		return nil
	}
	n := len(counts)
	ids, hours, addresses, agents := make([]string, n), make([]time.Time, n), make([]string, n), make([]string, n)
	accepted, refused, lastUses := make([]int64, n), make([]int64, n), make([]*time.Time, n)
	for i, c := range counts {
		ids[i], hours[i], addresses[i], agents[i] = c.KeyID, c.Hour.UTC().Truncate(time.Hour), c.Address, c.UserAgent
		accepted[i], refused[i] = c.Accepted, c.Refused
		if !c.LastUsedAt.IsZero() {
			lastUses[i] = &c.LastUsedAt
		}
	}
	_, err := s.db.ExecContext(ctx, `
		WITH counts AS (
			SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::text[], $7::text[])
				AS c (key_id, hour, accepted, refused, last_used_at, address, user_agent)
		), living AS MATERIALIZED (
			SELECT id, org_id FROM api_keys WHERE id = ANY ($1::uuid[]) ORDER BY id FOR KEY SHARE
		), hours AS (
			INSERT INTO key_usage AS g (key_id, hour, accepted, refused)
			SELECT key_id, hour, sum(accepted), sum(refused) FROM counts JOIN living ON living.id = key_id
			GROUP BY key_id, hour ORDER BY key_id, hour
			ON CONFLICT (key_id, hour) DO UPDATE SET accepted = g.accepted + excluded.accepted, refused = g.refused + excluded.refused
		)
		INSERT INTO key_use AS u (key_id, org_id, idle_since, last_used_at, address, user_agent)
		SELECT DISTINCT ON (key_id) key_id, org_id, last_used_at, last_used_at, address, user_agent
		FROM counts JOIN living ON living.id = key_id WHERE last_used_at IS NOT NULL
		ORDER BY key_id, last_used_at DESC
		ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at, idle_since = greatest(u.idle_since, excluded.last_used_at),
			address = excluded.address, user_agent = excluded.user_agent
			WHERE u.last_used_at IS NULL OR u.last_used_at < excluded.last_used_at`,
		pq.Array(ids), pq.Array(hours), pq.Array(accepted), pq.Array(refused), pq.Array(lastUses), pq.Array(addresses), pq.Array(agents))
	return tidy(err)
}
