package store

import (
	"context"
	"slices"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// MaxCatalogue is how many scopes an organisation may have, the retired ones among them: as many as one key can hold, so that
// a key can have all of them by name.
const MaxCatalogue = apikey.MaxScopes

// CataloguedScope is an entry of the catalogue, also one that can't be granted any more.
type CataloguedScope struct {
	Scope
	Retired bool
}

const scopeQuery = `SELECT name, description, retired_at IS NOT NULL AS retired FROM scopes WHERE org_id = $1`

// Scopes lists the whole catalogue, by resource.
func (s *Store) Scopes(ctx context.Context, orgID string) ([]CataloguedScope, error) {
	var out []CataloguedScope
	err := s.db.SelectContext(ctx, &out, scopeQuery+` ORDER BY split_part(name, ':', 2), name LIMIT $2`, orgID, MaxCatalogue)
	return out, tidy(err)
}

// ScopeByName returns an entry of the organisation's catalogue, or ErrNotFound.
func (s *Store) ScopeByName(ctx context.Context, orgID, name string) (CataloguedScope, error) {
	var out CataloguedScope
	err := s.db.GetContext(ctx, &out, scopeQuery+` AND name = $2`, orgID, name)
	return out, tidy(err)
}

// Holders counts keys that hold a scope by name.
type Holders struct {
	Live  int64 // enabled or disabled before their end, or rotated and in their grace period
	Other int64 // whose life is over
}

// ScopeHolders counts, for each scope that any of the organisation's keys holds by name, how many do; "*" is one of them.
// It reads all of the organisation's keys.
func (s *Store) ScopeHolders(ctx context.Context, orgID string) (map[string]Holders, error) {
	var counts []struct {
		Name string
		Holders
	}
	err := s.db.SelectContext(ctx, &counts, `SELECT name, count(*) FILTER (WHERE live) AS live, count(*) FILTER (WHERE NOT live) AS other
		FROM (SELECT unnest(scopes) AS name, `+liveAt(`$2`)+` IS TRUE AS live
			FROM api_keys k WHERE org_id = $1) AS held GROUP BY name`, orgID, s.Now())
	out := make(map[string]Holders, len(counts))
	for _, c := range counts {
		out[c.Name] = c.Holders
	}
	return out, tidy(err)
}

// HoldersOf counts the keys that hold one scope by name.
func (s *Store) HoldersOf(ctx context.Context, orgID, name string) (Holders, error) {
	var out Holders
	err := s.db.GetContext(ctx, &out, `SELECT count(*) FILTER (WHERE live) AS live, count(*) FILTER (WHERE NOT live) AS other
		FROM (SELECT `+liveAt(`$3`)+` IS TRUE AS live
			FROM api_keys k WHERE org_id = $1 AND scopes @> ARRAY[$2::text]) AS held`, orgID, name, s.Now())
	return out, tidy(err)
}

// HoldScopes returns those of the names that can be granted, and lets nobody retire or delete them until the transaction
// ends: no key is issued with a scope that went meanwhile.
func (tx *Tx) HoldScopes(names []string) ([]string, error) {
	var held []string
	err := tx.db.SelectContext(tx.ctx, &held, `SELECT name FROM scopes WHERE org_id = $1 AND name = ANY ($2) AND retired_at IS NULL
		ORDER BY name FOR SHARE`, tx.actor.OrgID, pq.Array(slices.Compact(slices.Sorted(slices.Values(names)))))
	return held, tidy(err)
}

// LockScope returns an entry of the catalogue and holds it until the transaction ends: a key that is being issued with it
// is there, or is not issued any more.
func (tx *Tx) LockScope(name string) (CataloguedScope, error) {
	var out CataloguedScope
	err := tx.db.GetContext(tx.ctx, &out, scopeQuery+` AND name = $2 FOR UPDATE`, tx.actor.OrgID, name)
	return out, tidy(err)
}

// InsertScope adds an entry to the catalogue. ErrTaken when there is one of that name, also a retired one; ErrFull when
// there is no room.
func (tx *Tx) InsertScope(scope Scope) error {
	if err := tx.room(`scopes`, MaxCatalogue); err != nil {
		return err
	}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO scopes (org_id, name, description) VALUES ($1, $2, $3)`,
		tx.actor.OrgID, scope.Name, scope.Description)
	return tidy(err)
}

// UpdateScope stores an entry's description, and whether it is retired.
func (tx *Tx) UpdateScope(scope CataloguedScope) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE scopes SET description = $3, retired_at = CASE WHEN $4 THEN coalesce(retired_at, $5) END
		WHERE org_id = $1 AND name = $2`, tx.actor.OrgID, scope.Name, scope.Description, scope.Retired, tx.now)
	return oneRow(result, err)
}

// IsHeld says whether any of the organisation's keys, whatever its status, holds the scope by name.
func (tx *Tx) IsHeld(scope string) (bool, error) {
	var held bool
	err := tx.db.GetContext(tx.ctx, &held, `SELECT EXISTS (SELECT FROM api_keys WHERE org_id = $1 AND scopes @> ARRAY[$2::text])`, tx.actor.OrgID, scope)
	return held, tidy(err)
}

// DeleteScope removes an entry from the catalogue.
func (tx *Tx) DeleteScope(name string) error {
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM scopes WHERE org_id = $1 AND name = $2`, tx.actor.OrgID, name)
	return oneRow(result, err)
}
