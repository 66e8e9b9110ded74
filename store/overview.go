package store

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// KeyFigures counts an organisation's keys, each figure those that ListKeys finds by a filter.
type KeyFigures struct {
	ByStatus map[apikey.Status]int64 // Filter.Status; every status is there
	InGrace  int64                   // Rotated, and Filter.Live
	Expiring int64                   // Filter.ExpiresWithin SoonDays
	Unused   int64                   // Filter.Status Enabled and Filter.UnusedFor LongDays
	Orphaned int64                   // Filter.Orphaned
	Breaking int64                   // Filter.BreaksPolicy
}

// Keys is how many there are of every status.
func (f KeyFigures) Keys() int64 {
	var all int64
	for _, n := range f.ByStatus {
		all += n
	}
	return all
}

// KeyFigures counts the organisation's keys. What indexes hold is counted there, without reading the keys.
func (s *Store) KeyFigures(ctx context.Context, orgID string) (KeyFigures, error) {
	figures := KeyFigures{ByStatus: map[apikey.Status]int64{}}
	for _, status := range apikey.Statuses {
		figures.ByStatus[status] = 0
	}
	policy, err := s.Policy(ctx, orgID)
	if err != nil {
		return figures, err
	}
	var statuses []struct {
		Status         string
		Expired, Ahead bool
		Keys           int64
	}
	now, breaks := s.Now(), breaking(`$3`, `$4`, `$5`)
	soon, long := now.Add(apikey.SoonDays*apikey.Day), now.Add(-apikey.LongDays*apikey.Day)
	err = s.db.SelectContext(ctx, &statuses, `SELECT status, ends_at <= $2 AS expired, ends_at > $3 AS ahead, count(*) AS keys
		FROM api_keys WHERE org_id = $1 GROUP BY 1, 2, 3`, orgID, now, soon)
	if err != nil {
		return figures, tidy(err)
	}
	for _, c := range statuses {
		status := apikey.Status(c.Status)
		switch {
		case status != apikey.Revoked && !c.Expired && !c.Ahead:
			figures.Expiring += c.Keys
		case c.Expired && (status == apikey.Enabled || status == apikey.Disabled):
			status = apikey.Expired
		}
		figures.ByStatus[status] += c.Keys
	}
	for _, figure := range []struct {
		into  *int64
		query string
		args  []any
	}{
		{&figures.InGrace, `SELECT count(*) FROM api_keys k WHERE k.org_id = $1 AND ` + inGraceAt(`$2`), []any{orgID, now}},
		{&figures.Unused, `SELECT count(*) FROM api_keys k JOIN key_use u ON u.org_id = k.org_id AND u.key_id = k.id
			WHERE k.org_id = $1 AND k.status = 'enabled' AND k.ends_at > $2 AND k.created_at <= $3 AND u.idle_since <= $3`, []any{orgID, now, long}},
		{&figures.Orphaned, `SELECT count(*) FROM members m JOIN api_keys k ON k.org_id = m.org_id AND k.owner_id = m.id
			WHERE m.org_id = $1 AND m.status <> 'active' AND ` + liveAt(`$2`), []any{orgID, now}},
		{&figures.Breaking, `SELECT sum(n)::bigint FROM (
				SELECT count(*) AS n FROM api_keys k WHERE k.org_id = $1 AND ` + unendedAt(`$2`) + ` AND ` + breaks + `
				UNION ALL SELECT count(*) FROM api_keys k WHERE k.org_id = $1 AND ` + inGraceAt(`$2`) + ` AND ` + breaks + `) AS kinds`,
			[]any{orgID, now, policy.LongestLifetime.Seconds(), widest(policy), policy.RequireWorkspace}},
	} {
		if err := s.db.GetContext(ctx, figure.into, figure.query, figure.args...); err != nil {
			return figures, tidy(err)
		}
	}
	return figures, nil
}

// OrganisationUsage returns the requests with all of the organisation's keys, those that are gone too, by day (UTC) for
// so many days up to today, oldest first, days without any included.
func (s *Store) OrganisationUsage(ctx context.Context, orgID string, days int) ([]apikey.DayUsage, error) {
	today := s.Now().Truncate(apikey.Day)
	from := today.AddDate(0, 0, 1-days)
	var counts []apikey.DayUsage
	err := s.db.SelectContext(ctx, &counts, `SELECT date_trunc('day', hour) AS day, sum(accepted)::bigint AS accepted, sum(refused)::bigint AS refused
		FROM organisation_usage WHERE org_id = $1 AND hour >= $2 GROUP BY 1`, orgID, from)
	if err != nil {
		return nil, tidy(err)
	}
	out := make([]apikey.DayUsage, days)
	for i := range out {
		out[i].Day = from.AddDate(0, 0, i)
	}
	for _, c := range counts {
		if i := int(c.Day.Sub(from) / apikey.Day); i < days {
			out[i].Accepted, out[i].Refused = c.Accepted, c.Refused
		}
	}
	return out, nil
}
