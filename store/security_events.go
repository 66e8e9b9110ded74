package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
)

// securityEventsPerHour bounds an organisation's rows of one kind in an hour that have an address, and as many that have none.
// Beyond them each member has one.
const securityEventsPerHour = 500

type securityEventRow struct {
	ID       string
	OrgID    string `db:"org_id"`
	Kind     string
	MemberID string `db:"member_id"`
	KeyID    string `db:"key_id"`
	Address  string
	Detail   string
	FirstAt  time.Time `db:"first_at"`
	LastAt   time.Time `db:"last_at"`
	Count    int
}

// RecordSecurityEvent adds e.Count attempts to their row of the hour of e.FirstAt. They change nothing in the organisation, and
// are not audited. A new row has an address while its source leaves as much room to others: a network takes at most half of the
// rows of the kind that are free, so does a member, and of the member's half one key and detail take at most half. What finds
// no room is counted without the address, and without key and detail when that finds none either.
func (s *Store) RecordSecurityEvent(ctx context.Context, e audit.SecurityEvent) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO security_events AS e (id, org_id, kind, member_id, hour, first_at, last_at, count, key_id, address, detail)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8,
			CASE WHEN whole OR with_detail THEN $9 ELSE '' END, CASE WHEN whole THEN $10 ELSE '' END, CASE WHEN whole OR with_detail THEN $11 ELSE '' END
		FROM (SELECT
				$10 <> '' AND (has_row OR 2 * of_network < free AND 2 * of_member + 4 * of_detail < free) AS whole,
				has_bare_row OR 2 * of_member_bare < free_bare AS with_detail
			FROM (SELECT
					bool_or(same AND address = $10) AS has_row, bool_or(same AND address = '') AS has_bare_row,
					$12 - count(*) FILTER (WHERE address <> '') AS free, $12 - count(*) FILTER (WHERE address = '') AS free_bare,
					count(*) FILTER (WHERE address = $10) AS of_network,
					count(*) FILTER (WHERE address <> '' AND of_member) AS of_member, count(*) FILTER (WHERE address = '' AND of_member) AS of_member_bare,
					count(*) FILTER (WHERE address <> '' AND same) AS of_detail
				FROM (SELECT address, member_id = $4 AS of_member, (member_id, key_id, detail) = ($4, $9, $11) AS same
					FROM security_events WHERE org_id = $2 AND hour = $5 AND kind = $3) AS rows_of_kind) AS counted) AS room
		ON CONFLICT (org_id, hour, kind, member_id, key_id, address, detail)
		DO UPDATE SET count = e.count + excluded.count, last_at = greatest(e.last_at, excluded.last_at)`,
		uuid.Must(uuid.NewV7()), e.OrgID, e.Kind, e.MemberID, e.FirstAt.Truncate(time.Hour), e.FirstAt, e.LastAt, e.Count, e.KeyID, e.Address, e.Detail,
		securityEventsPerHour)
	return tidy(err)
}

// SecurityEvents lists the organisation's security events by their last attempt, newest first, after a position whose Value is
// that time; the zero position begins with the newest. An event that repeats moves to the front.
func (s *Store) SecurityEvents(ctx context.Context, orgID string, f audit.SecurityFilter, after apikey.Position, limit int) ([]audit.SecurityEvent, error) {
	return s.securityEvents(ctx, "last_at", orgID, f, after, limit)
}

// SecurityEventsByFirst lists them by their first attempt in the same way. An event that repeats keeps its place, so that each is
// read once however long the reading takes.
func (s *Store) SecurityEventsByFirst(ctx context.Context, orgID string, f audit.SecurityFilter, after apikey.Position, limit int) ([]audit.SecurityEvent, error) {
	return s.securityEvents(ctx, "first_at", orgID, f, after, limit)
}

func (s *Store) securityEvents(ctx context.Context, by, orgID string, f audit.SecurityFilter, after apikey.Position, limit int) ([]audit.SecurityEvent, error) {
	var rows []securityEventRow
	err := s.db.SelectContext(ctx, &rows, `SELECT id, org_id, kind, member_id, key_id, address, detail, first_at, last_at, count FROM security_events
		WHERE org_id = $1 AND ($2 = '' OR (`+by+`, id) < (nullif($3, '')::timestamptz, nullif($2, '')::uuid)) AND ($4 = '' OR kind = $4) AND ($5 = '' OR member_id = $5)
		AND ($6::timestamptz IS NULL OR last_at >= $6::timestamptz) AND ($7::timestamptz IS NULL OR last_at < $7::timestamptz)
		ORDER BY `+by+` DESC, id DESC LIMIT $8`, orgID, after.ID, after.Value, f.Kind, f.MemberID, set(f.From), set(f.To), limit)
	out := make([]audit.SecurityEvent, len(rows))
	for i, r := range rows {
		out[i] = audit.SecurityEvent{ID: r.ID, OrgID: r.OrgID, Kind: r.Kind, MemberID: r.MemberID, KeyID: r.KeyID, Address: r.Address, Detail: r.Detail,
			FirstAt: r.FirstAt.UTC(), LastAt: r.LastAt.UTC(), Count: r.Count}
	}
	return out, tidy(err)
}
