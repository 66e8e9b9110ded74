package store

import (
	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

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
