package store

import (
	"errors"
	"time"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// KeysOf says which keys of the organisation a change to many is about. An empty field does not narrow.
type KeysOf struct {
	IDs       []string
	OwnerID   string
	ProfileID string
	Live      bool      // enabled or disabled before their end, or rotated and in their grace period
	IdleSince time.Time // not used, and not made, since
}

// LockKeys returns keys and holds their rows until the transaction ends, at most 500 of them: those whose ids come after
// the given one, in the order of their ids, which is one order for everybody, so that no two wait for each other crosswise.
func (tx *Tx) LockKeys(of KeysOf, after string) ([]apikey.Key, error) {
	var records []keyRecord
	err := tx.db.SelectContext(tx.ctx, &records, `SELECT `+keyColumns+` FROM api_keys k
		WHERE k.org_id = $1 AND ($2 = '' OR k.id > nullif($2, '')::uuid)
		AND ($3::uuid[] IS NULL OR k.id = ANY ($3::uuid[]))
		AND ($4 = '' OR k.owner_id = nullif($4, '')::uuid)
		AND ($5 = '' OR k.profile_id = nullif($5, '')::uuid)
		AND (NOT $6 OR `+liveAt(`$7`)+`)
		AND ($8::timestamptz IS NULL OR EXISTS (SELECT FROM key_use u WHERE u.org_id = $1 AND u.key_id = k.id AND u.idle_since <= $8::timestamptz))
		ORDER BY k.id LIMIT $9 FOR NO KEY UPDATE OF k`,
		tx.actor.OrgID, after, pq.Array(of.IDs), of.OwnerID, of.ProfileID, of.Live, tx.now, set(of.IdleSince), atOnce)
	keys := make([]apikey.Key, len(records))
	for i, r := range records {
		keys[i] = r.key()
		err = errors.Join(err, tx.ownKey(keys[i]))
	}
	return keys, tidy(err)
}

// UpdateKeys stores what of at most 500 keys a change to many may change: status, revocation, owner and bias profile. It
// counts their versions up and lowers the role limit of those that get another owner (see limitFor), in the rows and in what it
// was given.
func (tx *Tx) UpdateKeys(keys []apikey.Key) error {
	n := len(keys)
	if n == 0 {
		return nil
	}
	ids, statuses, owners, profiles, revoked := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	for i := range keys {
		k := &keys[i]
		ids[i], statuses[i], owners[i], profiles[i] = k.ID, string(k.Stored), k.OwnerID, k.ProfileID
		if k.RevokedAt != nil {
			at := instant(*k.RevokedAt)
			revoked[i] = &at
		}
		k.Version++
	}
	var limits []struct {
		At    int    `db:"at"`
		Limit string `db:"role_limit"`
	}
	err := tx.db.SelectContext(tx.ctx, &limits, `UPDATE api_keys k SET status = v.status, owner_id = v.owner_id, profile_id = nullif(v.profile_id, '')::uuid,
			revoked_at = v.revoked_at, version = k.version + 1, role_limit = `+limitFor(`v.owner_id`)+`
		FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::timestamptz[]) WITH ORDINALITY AS v (id, status, owner_id, profile_id, revoked_at, at)
		WHERE k.org_id = $1 AND k.id = v.id RETURNING v.at, k.role_limit`,
		tx.actor.OrgID, pq.Array(ids), pq.Array(statuses), pq.Array(owners), pq.Array(profiles), pq.Array(revoked))
	switch {
	case err != nil:
		return tidy(err)
	case len(limits) != n:
		return ErrNotFound
	}
	for _, l := range limits {
		keys[l.At-1].RoleLimit = l.Limit
	}
	return nil
}
