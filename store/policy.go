package store

import (
	"context"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

const policyColumns = `longest_lifetime_days, default_lifetime_days, longest_grace_seconds, require_allowlist, require_workspace,
	unused_days, disable_unused, disable_departed, version`

type policyRecord struct {
	LongestLifetimeDays int  `db:"longest_lifetime_days"`
	DefaultLifetimeDays int  `db:"default_lifetime_days"`
	LongestGraceSeconds int  `db:"longest_grace_seconds"`
	RequireAllowlist    bool `db:"require_allowlist"`
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
		RequireAllowlist: r.RequireAllowlist, RequireWorkspace: r.RequireWorkspace,
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

// LockPolicy returns the policy and lets nobody change it until the transaction ends.
func (tx *Tx) LockPolicy() (apikey.Policy, error) {
	var r policyRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+policyColumns+` FROM key_policies WHERE org_id = $1 FOR UPDATE`, tx.actor.OrgID)
	return r.policy(), tidy(err)
}
