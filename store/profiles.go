package store

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// categoriesOf is the categories of profile p as JSON, by name. Its fields are those of apikey.Category.
const categoriesOf = `coalesce((SELECT json_agg(json_build_object('Name', c.name, 'Enabled', c.enabled, 'Threshold', c.threshold, 'Action', c.action) ORDER BY c.name)
		FROM bias_profile_categories c WHERE c.profile_id = p.id), '[]')`

// profileQuery reads profiles with their categories.
const profileQuery = `SELECT p.id, p.org_id, p.name, p.description, p.default_threshold, ` + categoriesOf + ` AS categories
	FROM bias_profiles p WHERE p.org_id = $1`

type profileRecord struct {
	ID               string `db:"id"`
	OrgID            string `db:"org_id"`
	Name             string `db:"name"`
	Description      string `db:"description"`
	DefaultThreshold int    `db:"default_threshold"`
	Categories       []byte `db:"categories"`
}

func (r profileRecord) profile() (apikey.Profile, error) {
	p := apikey.Profile{ID: r.ID, OrgID: r.OrgID, Name: r.Name, Description: r.Description, DefaultThreshold: r.DefaultThreshold}
	return p, json.Unmarshal(r.Categories, &p.Categories)
}

// Profiles lists the organisation's bias profiles, by name, at most 500.
func (s *Store) Profiles(ctx context.Context, orgID string) ([]apikey.Profile, error) {
	var records []profileRecord
	if err := s.db.SelectContext(ctx, &records, profileQuery+` ORDER BY lower(p.name), p.id LIMIT 500`, orgID); err != nil {
		return nil, tidy(err)
	}
	out := make([]apikey.Profile, len(records))
	for i, r := range records {
		var err error
		if out[i], err = r.profile(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ProfileByID returns a bias profile of the organisation, or ErrNotFound.
func (s *Store) ProfileByID(ctx context.Context, orgID, id string) (apikey.Profile, error) {
	var r profileRecord
	if err := s.db.GetContext(ctx, &r, profileQuery+` AND p.id = $2`, orgID, id); err != nil {
		return apikey.Profile{}, tidy(err)
	}
	return r.profile()
}

// InsertProfile makes a bias profile of the actor's organisation, with its categories; ErrTaken when it has one of
// that name.
func (tx *Tx) InsertProfile(p apikey.Profile) (apikey.Profile, error) {
	p.ID, p.OrgID = uuid.Must(uuid.NewV7()).String(), tx.actor.OrgID
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO bias_profiles (id, org_id, name, description, default_threshold, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, p.ID, p.OrgID, p.Name, p.Description, p.DefaultThreshold, tx.now)
	if err != nil {
		return p, tidy(err)
	}
	return p, tx.insertCategories(p)
}

func (tx *Tx) insertCategories(p apikey.Profile) error {
	var names, actions []string
	var enabled []bool
	var thresholds []int64
	for _, c := range p.Categories {
		names, actions = append(names, c.Name), append(actions, string(c.Action))
		enabled, thresholds = append(enabled, c.Enabled), append(thresholds, int64(c.Threshold))
	}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO bias_profile_categories (profile_id, name, enabled, threshold, action)
		SELECT $1, c.* FROM unnest($2::text[], $3::boolean[], $4::integer[], $5::text[]) AS c`,
		p.ID, pq.Array(names), pq.Array(enabled), pq.Array(thresholds), pq.Array(actions))
	return tidy(err)
}
