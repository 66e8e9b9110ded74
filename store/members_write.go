package store

import (
	"errors"

	"github.com/moonlatch/moonlatch/internal/account"
)

// LockMember returns a member of the actor's organisation, whatever their status, and the ids of its active owners;
// ErrNotFound for anybody else. None of them changes until the transaction ends. All are locked in the order of their ids,
// so that two who send each other away come one after the other, and the second finds out.
func (tx *Tx) LockMember(id string) (account.Person, []string, error) {
	var records []personRecord
	err := tx.db.SelectContext(tx.ctx, &records, `SELECT `+personColumns+` FROM members
		WHERE org_id = $1 AND (id = $2 OR role = 'owner' AND status = 'active') ORDER BY id FOR NO KEY UPDATE`, tx.actor.OrgID, id)
	if err != nil {
		return account.Person{}, nil, tidy(err)
	}
	var found account.Person
	var owners []string
	for _, p := range people(records) {
		if p.ID == id {
			found = p
		}
		if p.Role == account.Owner && p.Status == account.Active {
			owners = append(owners, p.ID)
		}
	}
	if found.ID == "" {
		return found, nil, ErrNotFound
	}
	return found, owners, nil
}

// UpdateMember stores a member's role and status. The rule that an organisation always keeps one owner is the caller's.
func (tx *Tx) UpdateMember(p account.Person) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE members SET role = $3, status = $4 WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, p.ID, p.Role, p.Status)
	return oneRow(result, err)
}

// HoldOwner returns ErrForbidden unless the actor is an active owner, and lets them stay one until the transaction ends.
func (tx *Tx) HoldOwner() error {
	var id string
	err := tx.db.GetContext(tx.ctx, &id, `SELECT id FROM members
		WHERE org_id = $1 AND id = nullif($2, '')::uuid AND status = 'active' AND role = 'owner' FOR SHARE`, tx.actor.OrgID, tx.actor.MemberID)
	if err = tidy(err); errors.Is(err, ErrNotFound) {
		err = ErrForbidden
	}
	return err
}

// SetPassword stores the hash of a member's new password.
func (tx *Tx) SetPassword(id, hash string) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE members SET password_hash = $3 WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id, hash)
	return oneRow(result, err)
}
