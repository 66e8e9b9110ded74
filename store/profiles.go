package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
)

// categoriesOf is the categories of profile p as JSON, by name as Go compares strings. Its fields are those of apikey.Category.
const categoriesOf = `coalesce((SELECT json_agg(json_build_object('Name', c.name, 'Enabled', c.enabled, 'Threshold', c.threshold, 'Action', c.action) ORDER BY c.name COLLATE "C")
		FROM bias_profile_categories c WHERE c.profile_id = p.id), '[]')`

const profileColumns = `p.id, p.org_id, p.name, p.description, p.default_threshold, p.version, ` + categoriesOf + ` AS categories`

// profileQuery reads profiles with their categories.
const profileQuery = `SELECT ` + profileColumns + ` FROM bias_profiles p WHERE p.org_id = $1`

type profileRecord struct {
	ID               string `db:"id"`
	OrgID            string `db:"org_id"`
	Name             string `db:"name"`
	Description      string `db:"description"`
	DefaultThreshold int    `db:"default_threshold"`
	Version          int    `db:"version"`
	Categories       []byte `db:"categories"`
}

func (r profileRecord) profile() (apikey.Profile, error) {
	p := apikey.Profile{ID: r.ID, OrgID: r.OrgID, Name: r.Name, Description: r.Description, DefaultThreshold: r.DefaultThreshold, Version: r.Version}
	return p, json.Unmarshal(r.Categories, &p.Categories)
}

// Profiles lists the organisation's bias profiles, by name, at most apikey.MaxProfiles.
func (s *Store) Profiles(ctx context.Context, orgID string) ([]apikey.Profile, error) {
	var records []profileRecord
	if err := s.db.SelectContext(ctx, &records, profileQuery+` ORDER BY lower(p.name), p.id LIMIT $2`, orgID, apikey.MaxProfiles); err != nil {
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

// Carriers counts the keys that carry something, and those of them that are live.
type Carriers struct {
	Keys int64 `db:"keys"`
	Live int64 `db:"live"`
}

// ProfileRow is a bias profile together with what people want to read beside it.
type ProfileRow struct {
	apikey.Profile
	Carriers            // at most MostCounted + 1 keys
	ChangedAt time.Time // its last event, by whomever that was
	ChangedBy string    // e-mail address
}

var carriersOf = `SELECT count(*) AS keys, count(*) FILTER (WHERE ` + liveAt(`$2`) + `) AS live`

// ProfileRows lists the organisation's bias profiles as Profiles does, each with the keys that carry it and with its last
// change.
func (s *Store) ProfileRows(ctx context.Context, orgID string) ([]ProfileRow, error) {
	var records []struct {
		profileRecord
		Carriers
		ChangedAt time.Time `db:"changed_at"`
		ChangedBy string    `db:"changed_by"`
	}
	err := s.db.SelectContext(ctx, &records, `SELECT `+profileColumns+`, u.keys, u.live, coalesce(e.at, p.created_at) AS changed_at, coalesce(e.actor_email, '') AS changed_by
		FROM bias_profiles p
		CROSS JOIN LATERAL (`+carriersOf+` FROM (SELECT status, ends_at FROM api_keys
			WHERE org_id = $1 AND profile_id = p.id LIMIT $3) AS k) AS u
		LEFT JOIN LATERAL (SELECT at, actor_email FROM audit_events WHERE org_id = $1 AND subject_id = p.id ORDER BY seq DESC LIMIT 1) AS e ON true
		WHERE p.org_id = $1 ORDER BY lower(p.name), p.id LIMIT $4`, orgID, s.Now(), MostCounted+1, apikey.MaxProfiles)
	if err != nil {
		return nil, tidy(err)
	}
	out := make([]ProfileRow, len(records))
	for i, r := range records {
		profile, err := r.profile()
		if err != nil {
			return nil, err
		}
		out[i] = ProfileRow{profile, r.Carriers, r.ChangedAt.UTC(), r.ChangedBy}
	}
	return out, nil
}

// CarriersOfProfile counts the keys that carry a bias profile.
func (s *Store) CarriersOfProfile(ctx context.Context, orgID, id string) (Carriers, error) {
	var c Carriers
	err := s.db.GetContext(ctx, &c, carriersOf+` FROM api_keys k WHERE k.org_id = $1 AND k.profile_id = $3`, orgID, s.Now(), id)
	return c, tidy(err)
}

// CarriersOfProfile counts the same as the transaction sees it.
func (tx *Tx) CarriersOfProfile(id string) (Carriers, error) {
	var c Carriers
	err := tx.db.GetContext(tx.ctx, &c, carriersOf+` FROM api_keys k WHERE k.org_id = $1 AND k.profile_id = $3`, tx.actor.OrgID, tx.now, id)
	return c, tidy(err)
}

// LockProfile returns a bias profile and holds it until the transaction ends: nobody changes it, and nobody gives it to a
// key. ErrNotFound when the organisation has none of that id.
func (tx *Tx) LockProfile(id string) (apikey.Profile, error) {
	var r profileRecord
	if err := tx.db.GetContext(tx.ctx, &r.ID, `SELECT id FROM bias_profiles WHERE org_id = $1 AND id = $2 FOR UPDATE`, tx.actor.OrgID, id); err != nil {
		return apikey.Profile{}, tidy(err)
	}
	// Apart: the statement that waited for the lock would read the categories as they were before.
	if err := tx.db.GetContext(tx.ctx, &r, profileQuery+` AND p.id = $2`, tx.actor.OrgID, id); err != nil {
		return apikey.Profile{}, tidy(err)
	}
	return r.profile()
}

// KeepProfile lets nobody delete a bias profile until the transaction ends; keys may be given it. ErrNotFound when the
// organisation has none of that id.
func (tx *Tx) KeepProfile(id string) (apikey.Profile, error) {
	var r profileRecord
	if err := tx.db.GetContext(tx.ctx, &r, profileQuery+` AND p.id = $2 FOR KEY SHARE OF p`, tx.actor.OrgID, id); err != nil {
		return apikey.Profile{}, tidy(err)
	}
	return r.profile()
}

// InsertProfile makes a bias profile of the actor's organisation, with its categories; ErrTaken when it has one of
// that name, ErrFull when it has apikey.MaxProfiles.
func (tx *Tx) InsertProfile(p apikey.Profile) (apikey.Profile, error) {
	if err := tx.room(`bias_profiles`, apikey.MaxProfiles); err != nil {
		return p, err
	}
	p.ID, p.OrgID, p.Version = uuid.Must(uuid.NewV7()).String(), tx.actor.OrgID, 1
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO bias_profiles (id, org_id, name, description, default_threshold, created_at, name_key)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`, p.ID, p.OrgID, p.Name, p.Description, p.DefaultThreshold, tx.now, input.NameKey(p.Name))
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

// UpdateProfile stores a bias profile and its categories, and counts its version up; ErrTaken when another has that name.
// The profile's row changes with its categories, which is what tells the replicas.
func (tx *Tx) UpdateProfile(p apikey.Profile) (apikey.Profile, error) {
	err := tx.db.GetContext(tx.ctx, &p.Version, `UPDATE bias_profiles SET name = $3, description = $4, default_threshold = $5, version = version + 1, `+renamed(`$3`, `$6`)+`
		WHERE org_id = $1 AND id = $2 RETURNING version`, tx.actor.OrgID, p.ID, p.Name, p.Description, p.DefaultThreshold, input.NameKey(p.Name))
	if err != nil {
		return p, tidy(err)
	}
	if _, err := tx.db.ExecContext(tx.ctx, `DELETE FROM bias_profile_categories WHERE profile_id = $1`, p.ID); err != nil {
		return p, tidy(err)
	}
	return p, tx.insertCategories(p)
}

// DeleteProfile removes a bias profile that no key carries, with its categories.
func (tx *Tx) DeleteProfile(id string) error {
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM bias_profiles WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id)
	if err != nil {
		return tidy(err)
	}
	if deleted, err := result.RowsAffected(); err != nil || deleted == 1 {
		return err
	}
	return ErrNotFound
}
