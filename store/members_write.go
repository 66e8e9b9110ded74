package store

import "github.com/moonlatch/moonlatch/internal/account"

// SetMemberStatus lets a member of the actor's organisation in or keeps them out, and returns them as they were. The
// rule that an organisation always keeps one owner is the caller's.
func (tx *Tx) SetMemberStatus(id string, status account.Status) (before account.Person, err error) {
	var r personRecord
	if err := tx.db.GetContext(tx.ctx, &r, `SELECT `+personColumns+` FROM members WHERE org_id = $1 AND id = $2 FOR UPDATE`, tx.actor.OrgID, id); err != nil {
		return account.Person{}, tidy(err)
	}
	_, err = tx.db.ExecContext(tx.ctx, `UPDATE members SET status = $3 WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id, status)
	return r.person(), tidy(err)
}

// SetPassword stores the hash of a member's new password.
func (tx *Tx) SetPassword(id, hash string) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE members SET password_hash = $3 WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id, hash)
	return oneRow(result, err)
}
