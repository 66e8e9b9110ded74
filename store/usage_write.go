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

// UsageBatch is counts that are added together, and once: a replica numbers its batches upwards, and sends one whose
// outcome it does not know again, unchanged and before any other.
type UsageBatch struct {
	Replica string // a random UUID, drawn when the process starts
	Number  int64  // from 1
	Counts  []UsageCount
}

// AddUsage adds to what is known of keys' use, whichever organisation they are of, and to the sum that each organisation
// has of all its keys, which outlives them. Counts are added up; the last use is replaced by one that is not earlier. A batch whose
// number the replica has used before is counted already and left alone. Like a cookie's data it is bookkeeping and not
// audited.
//
// It is one statement, all or nothing. It locks the keys in the order of their ids, and the organisations' hours in that of
// theirs, so that no two wait for each other crosswise. Keys that were deleted, or are being deleted at this moment, are
// skipped: it waits for no change to a key, and of the changes only a deletion waits for it. 1000 counts take a small
// fraction of the store's time limit.
func (s *Store) AddUsage(ctx context.Context, batch UsageBatch) error {
	counts := batch.Counts
	if len(counts) == 0 {
		return nil
	}
	n := len(counts)
	ids, addresses, agents := make([]string, n), make([]string, n), make([]string, n)
	// Times go as numbers, which lib/pq writes many times faster: seconds, and microseconds or 0 for none, since 1970.
	hours, accepted, refused, lastUses := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	for i, c := range counts {
		ids[i], addresses[i], agents[i] = c.KeyID, c.Address, c.UserAgent
		hours[i], accepted[i], refused[i] = c.Hour.Truncate(time.Hour).Unix(), c.Accepted, c.Refused
		if !c.LastUsedAt.IsZero() {
			lastUses[i] = c.LastUsedAt.UnixMicro()
		}
	}
	_, err := s.db.ExecContext(ctx, `
		WITH once AS (
			INSERT INTO usage_flushes AS f (replica, last, at) VALUES ($8, $9, $10)
			ON CONFLICT (replica) DO UPDATE SET last = excluded.last, at = excluded.at WHERE f.last < excluded.last
			RETURNING replica
		), counts AS (
			SELECT key_id, to_timestamp(hour) AS hour, accepted, refused,
				timestamptz 'epoch' + nullif(last_use, 0) * interval '1 microsecond' AS last_used_at, address, user_agent
			FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
				AS c (key_id, hour, accepted, refused, last_use, address, user_agent)
		), living AS MATERIALIZED (
			SELECT id, org_id FROM api_keys WHERE id = ANY ($1::uuid[]) AND EXISTS (SELECT FROM once)
			ORDER BY id FOR KEY SHARE SKIP LOCKED
		), hours AS (
			INSERT INTO key_usage AS g (key_id, hour, accepted, refused)
			SELECT key_id, hour, sum(accepted), sum(refused) FROM counts JOIN living ON living.id = key_id
			GROUP BY key_id, hour ORDER BY key_id, hour
			ON CONFLICT (key_id, hour) DO UPDATE SET accepted = g.accepted + excluded.accepted, refused = g.refused + excluded.refused
		), organisations AS (
			INSERT INTO organisation_usage AS g (org_id, hour, accepted, refused)
			SELECT org_id, hour, sum(accepted), sum(refused) FROM counts JOIN living ON living.id = key_id
			GROUP BY org_id, hour ORDER BY org_id, hour
			ON CONFLICT (org_id, hour) DO UPDATE SET accepted = g.accepted + excluded.accepted, refused = g.refused + excluded.refused
		)
		INSERT INTO key_use AS u (key_id, org_id, idle_since, last_used_at, address, user_agent)
		SELECT DISTINCT ON (key_id) key_id, org_id, last_used_at, last_used_at, address, user_agent
		FROM counts JOIN living ON living.id = key_id WHERE last_used_at IS NOT NULL
		ORDER BY key_id, last_used_at DESC
		ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at, idle_since = greatest(u.idle_since, excluded.last_used_at),
			address = excluded.address, user_agent = excluded.user_agent
			WHERE u.last_used_at IS NULL OR u.last_used_at <= excluded.last_used_at`,
		pq.Array(ids), pq.Array(hours), pq.Array(accepted), pq.Array(refused), pq.Array(lastUses), pq.Array(addresses), pq.Array(agents),
		batch.Replica, batch.Number, s.Now())
	return tidy(err)
}
