package store

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// Choice is something that can be chosen by name: a workspace, a process, a bias profile.
type Choice struct {
	ID       string
	Name     string
	Parent   string // of a process: its workspace's id
	Archived bool   // it takes no new keys; a process also when its workspace is
}

// Scope is an entry of the catalogue that can be granted.
type Scope struct {
	Name        string
	Description string
}

// Catalogue is what an organisation's keys may be given.
type Catalogue struct {
	Policy     apikey.Policy
	Scopes     []Scope // without the retired ones
	Retired    []string
	Workspaces []Choice
	Processes  []Choice
	Profiles   []Choice
}

// ScopeNames are the scopes that can be granted, by name.
func (c Catalogue) ScopeNames() []string {
	out := make([]string, len(c.Scopes))
	for i, s := range c.Scopes {
		out[i] = s.Name
	}
	return out
}

// Catalogue reads the organisation's policy and everything a key can be given: all that an organisation may have of each.
func (s *Store) Catalogue(ctx context.Context, orgID string) (Catalogue, error) {
	var c Catalogue
	var err error
	if c.Policy, err = s.Policy(ctx, orgID); err != nil {
		return c, err
	}
	for _, list := range []struct {
		into  any
		most  int
		query string
	}{
		{&c.Scopes, MaxCatalogue, `SELECT name, description FROM scopes WHERE org_id = $1 AND retired_at IS NULL
			ORDER BY split_part(name, ':', 2), name LIMIT $2`},
		{&c.Retired, MaxCatalogue, `SELECT name FROM scopes WHERE org_id = $1 AND retired_at IS NOT NULL ORDER BY name LIMIT $2`},
		{&c.Workspaces, MostPlaces, `SELECT id, name, archived_at IS NOT NULL AS archived FROM workspaces WHERE org_id = $1 ORDER BY lower(name), id LIMIT $2`},
		{&c.Processes, MostPlaces, `SELECT p.id, p.name, p.workspace_id AS parent, coalesce(p.archived_at, w.archived_at) IS NOT NULL AS archived FROM processes p JOIN workspaces w ON w.id = p.workspace_id
			WHERE p.org_id = $1 ORDER BY lower(w.name), w.id, lower(p.name), p.id LIMIT $2`},
		{&c.Profiles, apikey.MaxProfiles, `SELECT id, name FROM bias_profiles WHERE org_id = $1 ORDER BY lower(name), id LIMIT $2`},
	} {
		if err := s.db.SelectContext(ctx, list.into, list.query, orgID, list.most); err != nil {
			return c, tidy(err)
		}
	}
	return c, nil
}
