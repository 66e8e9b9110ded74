package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// OwnerFilter is what a list of key owners is narrowed to, and its order.
type OwnerFilter struct {
	Search string // in the name or the e-mail
	Left   bool   // suspended or removed
	ByName bool   // else those with most keys to look at come first
}

// OwnerRow is a member who owns keys, and their keys in figures: each counts those that ListKeys finds by the owner and
// a filter.
type OwnerRow struct {
	account.Person
	Enabled  int64      // Filter.Status Enabled
	Expiring int64      // Filter.ExpiresWithin SoonDays
	Unused   int64      // Filter.Status Enabled and Filter.UnusedFor LongDays
	Live     int64      // enabled, disabled, or in their grace period
	LastUse  *time.Time // of any key; nil for never
	look     int64      // keys to look at: expiring, unused, or live when the owner has left
	place    string
}

// OwnerPage is a part of the list, and the places from which it goes on in both directions; nil where it ends.
type OwnerPage = Page[OwnerRow]

// ownerIDs goes from owner to owner in the index, however many keys and members there are.
const ownerIDs = `owners AS (
			(SELECT owner_id FROM api_keys WHERE org_id = $1 ORDER BY owner_id LIMIT 1)
			UNION ALL SELECT (SELECT owner_id FROM api_keys WHERE org_id = $1 AND owner_id > owners.owner_id ORDER BY owner_id LIMIT 1)
			FROM owners WHERE owner_id IS NOT NULL)`

// KeyOwnerFigures returns a page of the members who own keys. It counts the keys of the page's members alone, all in one
// pass: one member after the other would look up the use of each key by itself, and busy owners have tens of thousands. In
// the order of keys to look at it counts those of everybody first, in one pass too.
func (s *Store) KeyOwnerFigures(ctx context.Context, orgID string, f OwnerFilter, at apikey.Position, limit int) (OwnerPage, error) {
	compare, direction := ">", ""
	if at.Backward {
		compare, direction = "<", " DESC"
	}
	rank, look := ``, `0::bigint AS look`
	order := `-look` + direction + `, place` + direction + `, id` + direction
	var looks string // a position is "<keys to look at> <name>"
	looks, place, _ := strings.Cut(at.Value, " ")
	if !f.ByName {
		// An outer join can hash however many keys there are that nobody uses.
		rank = `LEFT JOIN (SELECT k.owner_id, count(*) AS look FROM api_keys k JOIN members o ON o.id = k.owner_id
				LEFT JOIN key_use u ON u.org_id = k.org_id AND u.key_id = k.id AND u.idle_since <= $11
				WHERE k.org_id = $1 AND k.ends_at > $4 AND (
					` + liveAt(`$4`) + ` AND k.ends_at <= $5
					OR k.status = 'enabled' AND k.created_at <= $11 AND u.key_id IS NOT NULL
					OR o.status <> 'active' AND ` + liveAt(`$4`) + `)
				GROUP BY k.owner_id) AS rank ON rank.owner_id = m.id`
		look = `coalesce(look, 0) AS look`
	}
	query := `WITH RECURSIVE ` + ownerIDs + `, people AS MATERIALIZED (
			SELECT * FROM (SELECT ` + personColumns + `, lower(coalesce(nullif(name, ''), email)) AS place, ` + look + ` FROM members m ` + rank + `
				WHERE org_id = $1 AND id IN (SELECT owner_id FROM owners)
				AND ($2 = '' OR name ILIKE $3 OR email ILIKE $3) AND (NOT $10 OR status <> 'active')) AS m
			WHERE ($7 = '' OR (-look, place, id) ` + compare + ` (-nullif($9, '')::bigint, $6, nullif($7, '')::uuid))
			ORDER BY ` + order + ` LIMIT $8
		)
		SELECT p.*, figures.enabled, figures.expiring, figures.unused, figures.live, figures.last_use FROM people p JOIN (
			SELECT k.owner_id, count(*) FILTER (WHERE k.status = 'enabled' AND k.ends_at > $4) AS enabled,
				count(*) FILTER (WHERE ` + liveAt(`$4`) + ` AND k.ends_at <= $5) AS expiring,
				count(*) FILTER (WHERE k.status = 'enabled' AND k.ends_at > $4 AND k.created_at <= $11 AND u.idle_since <= $11) AS unused,
				count(*) FILTER (WHERE ` + liveAt(`$4`) + `) AS live,
				max(u.last_used_at) AS last_use
			FROM api_keys k JOIN key_use u ON u.key_id = k.id
			WHERE k.org_id = $1 AND u.org_id = $1 AND k.owner_id = ANY (ARRAY(SELECT id FROM people)) GROUP BY k.owner_id) AS figures ON figures.owner_id = p.id
		ORDER BY ` + order
	var records []struct {
		personRecord
		Enabled, Expiring, Unused, Live, Look int64
		Place                                 string
		LastUse                               *time.Time `db:"last_use"`
	}
	now := s.Now()
	err := s.db.SelectContext(ctx, &records, query, orgID, f.Search, "%"+escapeLike(f.Search)+"%", now, now.Add(apikey.SoonDays*apikey.Day),
		place, at.ID, limit+1, looks, f.Left, now.Add(-apikey.LongDays*apikey.Day))
	if err != nil {
		return OwnerPage{}, tidy(err)
	}
	found := make([]OwnerRow, len(records))
	for i, r := range records {
		found[i] = OwnerRow{Person: r.person(), Enabled: r.Enabled, Expiring: r.Expiring, Unused: r.Unused, Live: r.Live,
			LastUse: utc(r.LastUse), look: r.Look, place: r.Place}
	}
	rows, next, previous := cut(found, at, limit, func(r OwnerRow) apikey.Position {
		return apikey.Position{Value: fmt.Sprint(r.look, " ", r.place), ID: r.ID}
	})
	return OwnerPage{rows, next, previous}, nil
}

// BusiestKeys are the ids of those of a member's live keys that most requests came with since a time, the first first; see
// RequestsSince about hours.
func (s *Store) BusiestKeys(ctx context.Context, orgID, ownerID string, since time.Time, limit int) ([]string, error) {
	var ids []string
	err := s.db.SelectContext(ctx, &ids, `SELECT g.key_id FROM key_usage g
		WHERE g.key_id IN (SELECT k.id FROM api_keys k WHERE k.org_id = $1 AND k.owner_id = $3 AND `+liveAt(`$2`)+`) AND g.hour >= date_trunc('hour', $4::timestamptz)
		GROUP BY g.key_id ORDER BY sum(g.accepted + g.refused) DESC, g.key_id LIMIT $5`, orgID, s.Now(), ownerID, since, limit)
	return ids, tidy(err)
}
