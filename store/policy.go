package store

import (
	"context"
	"slices"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

const policyColumns = `longest_lifetime_days, default_lifetime_days, longest_grace_seconds, require_allowlist, widest_ipv4, widest_ipv6, require_workspace,
	unused_days, disable_unused, disable_departed, version`

type policyRecord struct {
	LongestLifetimeDays int  `db:"longest_lifetime_days"`
	DefaultLifetimeDays int  `db:"default_lifetime_days"`
	LongestGraceSeconds int  `db:"longest_grace_seconds"`
	RequireAllowlist    bool `db:"require_allowlist"`
	WidestIPv4          int  `db:"widest_ipv4"`
	WidestIPv6          int  `db:"widest_ipv6"`
	RequireWorkspace    bool `db:"require_workspace"`
	UnusedDays          int  `db:"unused_days"`
	DisableUnused       bool `db:"disable_unused"`
	DisableDeparted     bool `db:"disable_departed"`
	Version             int  `db:"version"`
}

func (r policyRecord) policy() apikey.Policy {
	return apikey.Policy{
		LongestLifetime:  time.Duration(r.LongestLifetimeDays) * apikey.Day,
		DefaultLifetime:  time.Duration(r.DefaultLifetimeDays) * apikey.Day,
		LongestGrace:     time.Duration(r.LongestGraceSeconds) * time.Second,
		RequireAllowlist: r.RequireAllowlist, WidestIPv4: r.WidestIPv4, WidestIPv6: r.WidestIPv6, RequireWorkspace: r.RequireWorkspace,
		UnusedAfter: time.Duration(r.UnusedDays) * apikey.Day, DisableUnused: r.DisableUnused,
		DisableDeparted: r.DisableDeparted, Version: r.Version,
	}
}

// Policy is what the organisation allows its keys, and asks of them.
func (s *Store) Policy(ctx context.Context, orgID string) (apikey.Policy, error) {
	var r policyRecord
	err := s.db.GetContext(ctx, &r, `SELECT `+policyColumns+` FROM key_policies WHERE org_id = $1`, orgID)
	return r.policy(), tidy(err)
}

// HoldPolicy returns the policy and lets nobody change it until the transaction ends. Any number of transactions may hold it.
func (tx *Tx) HoldPolicy() (apikey.Policy, error) {
	var r policyRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+policyColumns+` FROM key_policies WHERE org_id = $1 FOR SHARE`, tx.actor.OrgID)
	return r.policy(), tidy(err)
}

// LockPolicy returns the policy and lets nobody change it until the transaction ends.
func (tx *Tx) LockPolicy() (apikey.Policy, error) {
	var r policyRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+policyColumns+` FROM key_policies WHERE org_id = $1 FOR UPDATE`, tx.actor.OrgID)
	return r.policy(), tidy(err)
}

// UpdatePolicy stores the policy and counts its version up.
func (tx *Tx) UpdatePolicy(p apikey.Policy) error {
	days := func(d time.Duration) int { return int(d / apikey.Day) }
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE key_policies SET longest_lifetime_days = $2, default_lifetime_days = $3,
			longest_grace_seconds = $4, require_allowlist = $5, require_workspace = $6, unused_days = $7, disable_unused = $8,
			disable_departed = $9, widest_ipv4 = $10, widest_ipv6 = $11, version = version + 1
		WHERE org_id = $1`, tx.actor.OrgID, days(p.LongestLifetime), days(p.DefaultLifetime), int(p.LongestGrace/time.Second),
		p.RequireAllowlist, p.RequireWorkspace, days(p.UnusedAfter), p.DisableUnused, p.DisableDeparted, p.WidestIPv4, p.WidestIPv6)
	return oneRow(result, err)
}

// Breach is what a policy means for the live keys that there are.
type Breach struct {
	Broken     int64    // keys that break it
	BrokenAnew int64    // those of them that come to break a rule by a change
	Unused     int64    // enabled keys that have been idle for longer than it lets them be
	UnusedAnew int64    // those of them that come to be disabled by themselves by a change
	Breaking   []KeyRow // the newest of BrokenAnew, at most as many as were asked for
	Disabled   []KeyRow // the longest idle of Unused, if it disables them, at most as many as were asked for
}

// Concerns says whether a change makes a key break a rule, or be disabled by itself.
func (b Breach) Concerns() bool { return b.BrokenAnew > 0 || b.UnusedAnew > 0 }

// Breach counts the live keys that break a policy or have been idle for too long by it, and what a change from the policy
// before has to do with that. It reads all of the organisation's keys, and shows some if the change concerns any.
func (s *Store) Breach(ctx context.Context, orgID string, before, p apikey.Policy, show int) (Breach, error) {
	return breach(ctx, s.db, orgID, s.Now(), before, p, show)
}

// Breach is the Store's, as the transaction sees the keys.
func (tx *Tx) Breach(before, p apikey.Policy, show int) (Breach, error) {
	return breach(tx.ctx, tx.db, tx.actor.OrgID, tx.now, before, p, show)
}

func breach(ctx context.Context, db reader, orgID string, now time.Time, before, p apikey.Policy, show int) (Breach, error) {
	idleFor := func(p apikey.Policy, on bool) any {
		if p.UnusedAfter == 0 || !on {
			return nil
		}
		return now.Add(-p.UnusedAfter)
	}
	broken, live := breaking(`$3`, `$4`, `$5`), liveAt(`$2`)
	var (
		brokenAnew = `(k.ends_at - k.created_at > $3 * interval '1 second' AND k.ends_at - k.created_at <= $6 * interval '1 second'
			OR ` + unconfined(`$4`) + ` AND NOT ` + unconfined(`$7`) + ` OR $5 AND NOT $8 AND k.workspace_id IS NULL)`
		unusedAnew = `(k.status = 'enabled' AND u.idle_since <= $9::timestamptz AND (u.idle_since <= $10::timestamptz) IS NOT TRUE)`
	)
	args := []any{orgID, now, p.LongestLifetime.Seconds(), widest(p), p.RequireWorkspace, before.LongestLifetime.Seconds(),
		widest(before), before.RequireWorkspace}
	disables := idleFor(p, p.DisableUnused)
	var b Breach
	err := db.GetContext(ctx, &b, `SELECT count(*) FILTER (WHERE `+broken+`) AS broken, count(*) FILTER (WHERE `+brokenAnew+`) AS brokenanew,
			count(*) FILTER (WHERE k.status = 'enabled' AND u.idle_since <= $11::timestamptz) AS unused, count(*) FILTER (WHERE `+unusedAnew+`) AS unusedanew
		FROM api_keys k JOIN key_use u ON u.key_id = k.id WHERE k.org_id = $1 AND `+live,
		append(slices.Clone(args), disables, idleFor(before, before.DisableUnused), idleFor(p, true))...)
	if err != nil || !b.Concerns() || show == 0 {
		return b, tidy(err)
	}
	var breaks, disabled []rowRecord
	err = db.SelectContext(ctx, &breaks, rowQuery+` WHERE k.org_id = $1 AND `+live+` AND `+brokenAnew+`
		ORDER BY k.created_at DESC, k.id DESC LIMIT $9`, append(slices.Clone(args), show)...)
	if err != nil {
		return b, tidy(err)
	}
	err = db.SelectContext(ctx, &disabled, rowQuery+` WHERE k.org_id = $1 AND u.org_id = $1 AND k.status = 'enabled' AND k.ends_at > $2
		AND u.idle_since <= $3::timestamptz ORDER BY u.idle_since, u.key_id LIMIT $4`, orgID, now, disables, show)
	b.Breaking, b.Disabled = rows(breaks), rows(disabled)
	return b, tidy(err)
}

// PoliciesThatDisable returns, by organisation, for how long a key may be idle before it is disabled by itself: of those
// organisations whose policy says so.
func (s *Store) PoliciesThatDisable(ctx context.Context) (map[string]time.Duration, error) {
	var found []struct {
		OrgID string `db:"org_id"`
		Days  int    `db:"unused_days"`
	}
	err := s.db.SelectContext(ctx, &found, `SELECT org_id, unused_days FROM key_policies WHERE disable_unused AND unused_days > 0`)
	out := make(map[string]time.Duration, len(found))
	for _, f := range found {
		out[f.OrgID] = time.Duration(f.Days) * apikey.Day
	}
	return out, tidy(err)
}

// IdleKeys returns the ids of enabled keys of an organisation that have been idle since a time, the longest idle first, at
// most 500 of them.
func (s *Store) IdleKeys(ctx context.Context, orgID string, since time.Time) ([]string, error) {
	var ids []string
	err := s.db.SelectContext(ctx, &ids, `SELECT k.id FROM key_use u JOIN api_keys k ON k.org_id = u.org_id AND k.id = u.key_id
		WHERE u.org_id = $1 AND u.idle_since <= $2 AND k.status = 'enabled' AND k.ends_at > $3
		ORDER BY u.idle_since, u.key_id LIMIT $4`, orgID, since, s.Now(), atOnce)
	return ids, tidy(err)
}
