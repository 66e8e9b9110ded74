package store

import (
	"context"
	"time"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// RequestsSince counts the requests that each of the keys was presented with since a time, accepted and refused
// together. A key without requests is missing from the map. Hours are the smallest unit, and days before HourlyUsageDays:
// the one in which since falls counts whole.
func (s *Store) RequestsSince(ctx context.Context, orgID string, keyIDs []string, since time.Time) (map[string]int64, error) {
	var counts []struct {
		KeyID    string `db:"key_id"`
		Requests int64
	}
	err := s.db.SelectContext(ctx, &counts, `SELECT g.key_id, sum(g.accepted + g.refused)::bigint AS requests
		FROM key_usage g JOIN api_keys k ON k.id = g.key_id
		WHERE k.org_id = $1 AND g.key_id = ANY($2::uuid[]) AND g.hour >= date_trunc('hour', $3::timestamptz)
		GROUP BY g.key_id`, orgID, pq.Array(keyIDs), since)
	out := make(map[string]int64, len(counts))
	for _, c := range counts {
		out[c.KeyID] = c.Requests
	}
	return out, tidy(err)
}

// KeyUsage returns a key's requests by day (UTC) for so many days up to today, oldest first, days without any included.
func (s *Store) KeyUsage(ctx context.Context, orgID, keyID string, days int) ([]apikey.DayUsage, error) {
	today := s.Now().Truncate(apikey.Day)
	var counts []apikey.DayUsage
	err := s.db.SelectContext(ctx, &counts, `SELECT d AS day, coalesce(sum(g.accepted), 0)::bigint AS accepted, coalesce(sum(g.refused), 0)::bigint AS refused
		FROM generate_series($3::timestamptz, $4::timestamptz, '1 day') AS d
		LEFT JOIN (SELECT g.hour, g.accepted, g.refused FROM key_usage g JOIN api_keys k ON k.id = g.key_id
			WHERE k.org_id = $1 AND k.id = $2 AND g.hour >= $3) AS g ON g.hour >= d AND g.hour < d + interval '1 day'
		GROUP BY d ORDER BY d`, orgID, keyID, today.AddDate(0, 0, 1-days), today)
	for i := range counts {
		counts[i].Day = counts[i].Day.UTC()
	}
	return counts, tidy(err)
}
