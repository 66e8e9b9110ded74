package store

import (
	"context"
	"time"
)

// Membership is since when somebody is a member, and of which organisation.
type Membership struct {
	Since        time.Time `db:"created_at"`
	Organisation string
}

// Membership returns a member's; ErrNotFound for anybody else.
func (s *Store) Membership(ctx context.Context, orgID, memberID string) (Membership, error) {
	var m Membership
	err := s.db.GetContext(ctx, &m, `SELECT m.created_at, o.name AS organisation FROM members m JOIN organisations o ON o.id = m.org_id
		WHERE m.org_id = $1 AND m.id = $2`, orgID, memberID)
	m.Since = m.Since.UTC()
	return m, tidy(err)
}

// RenameSelf gives the actor another name, and returns the one before.
func (tx *Tx) RenameSelf(name string) (before string, err error) {
	err = tx.db.GetContext(tx.ctx, &before, `SELECT name FROM members WHERE org_id = $1 AND id = $2 FOR NO KEY UPDATE`, tx.actor.OrgID, tx.actor.MemberID)
	if err != nil {
		return "", tidy(err)
	}
	_, err = tx.db.ExecContext(tx.ctx, `UPDATE members SET name = $3 WHERE org_id = $1 AND id = $2 AND name <> $3`, tx.actor.OrgID, tx.actor.MemberID, name)
	return before, tidy(err)
}

// ReplacePassword stores the hash of the actor's new password; ErrNotFound unless theirs is still the one before. Whoever
// signs in with that one at this moment has a session already, or gets none: see HoldCredentials.
func (tx *Tx) ReplacePassword(before, after string) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE members SET password_hash = $4
		WHERE org_id = $1 AND id = $2 AND status = 'active' AND password_hash = $3`, tx.actor.OrgID, tx.actor.MemberID, before, after)
	return oneRow(result, err)
}

// EndOtherSessions ends every live session of the actor but the one that acts, and returns their ids.
func (tx *Tx) EndOtherSessions() ([]string, error) {
	return tx.endSessions(tx.actor.MemberID, tx.actor.SessionID)
}
