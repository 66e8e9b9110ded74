package store

import (
	"errors"

	"github.com/moonlatch/moonlatch/internal/account"
)

// LockMember returns a member of the actor's organisation, whatever their status, to be changed, and the ids of those active
// owners who stay so until the transaction ends; ErrNotFound for anybody else. The actor is one of those owners if they are
// one at all, which is enough for an organisation to keep an owner; where the actor is the member, or none, all other owners
// are. They are shared, so that they can sign in and be given keys however long the change takes. All are locked in the order
// of their ids, so that two who send each other away come one after the other, and the second finds out.
func (tx *Tx) LockMember(id string) (account.Person, []string, error) {
	only := tx.actor.MemberID
	if only == id {
		only = ""
	}
	const owners = ` AND role = 'owner' AND status = 'active' AND ($3 = '' OR id = nullif($3, '')::uuid) ORDER BY id FOR SHARE`
	var records []personRecord
	for _, part := range []struct {
		rows string
		args []any
	}{
		{`id < $2` + owners, []any{tx.actor.OrgID, id, only}},
		{`id = $2 FOR NO KEY UPDATE`, []any{tx.actor.OrgID, id}},
		{`id > $2` + owners, []any{tx.actor.OrgID, id, only}},
	} {
		var more []personRecord
		if err := tx.db.SelectContext(tx.ctx, &more, `SELECT `+personColumns+` FROM members WHERE org_id = $1 AND `+part.rows, part.args...); err != nil {
			return account.Person{}, nil, tidy(err)
		}
		records = append(records, more...)
	}
	var found account.Person
	var held []string
	for _, p := range people(records) {
		if p.ID == id {
			found = p
		}
		if p.Role == account.Owner && p.Status == account.Active {
			held = append(held, p.ID)
		}
	}
	if found.ID == "" {
		return found, nil, ErrNotFound
	}
	return found, held, tx.ownMember(found)
}

// LockKeyOwner returns a member of the actor's organisation, whatever their status, who comes to own no further key until the
// transaction ends; ErrNotFound for anybody else.
func (tx *Tx) LockKeyOwner(id string) (account.Person, error) {
	return tx.heldMember(id, `FOR NO KEY UPDATE`)
}

// HoldKeyOwner returns a member of the actor's organisation, whatever their status, whose role, status and keys nobody deals
// with until the transaction ends; ErrNotFound for anybody else.
func (tx *Tx) HoldKeyOwner(id string) (account.Person, error) {
	return tx.heldMember(id, `FOR SHARE`)
}

func (tx *Tx) heldMember(id, lock string) (account.Person, error) {
	var r personRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+personColumns+` FROM members WHERE org_id = $1 AND id = $2 `+lock, tx.actor.OrgID, id)
	return r.person(), tidy(err)
}

// UpdateMember stores a member's role and status. A removed member can't come back, so the hash of their password goes. The rule
// that an organisation always keeps one owner is the caller's.
func (tx *Tx) UpdateMember(p account.Person) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE members SET role = $3, status = $4,
		password_hash = CASE WHEN $4 = 'removed' THEN '' ELSE password_hash END WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, p.ID, p.Role, p.Status)
	return oneRow(result, err)
}

// Erased is what was known of a member and is gone.
type Erased struct {
	Named        bool         // they had their address or name until now
	OpenSessions []string     // ids of those that had neither ended nor expired: removing a member does not end idle ones
	Sessions     bool         // they had some, if only ended ones
	Invitations  []Invitation // to an address that they had
}

// Nothing reports whether they were erased before.
func (e Erased) Nothing() bool { return !e.Named && !e.Sessions && len(e.Invitations) == 0 }

// EraseMember gives a removed member another address and no name, and deletes their sessions and the organisation's invitations to
// the addresses that they had; ErrNotFound for other members.
func (tx *Tx) EraseMember(id, email string) (erased Erased, err error) {
	if err := tx.db.GetContext(tx.ctx, &erased.Named, `SELECT (email, name) <> ($3, '') FROM members
		WHERE org_id = $1 AND id = $2 AND status = 'removed' FOR UPDATE`, tx.actor.OrgID, id, email); err != nil {
		return erased, tidy(err)
	}
	if erased.Named {
		if err := oneRow(tx.db.ExecContext(tx.ctx, `UPDATE members SET email = $3, name = '', password_hash = ''
			WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id, email)); err != nil {
			return erased, err
		}
	}
	erased.Invitations, err = tx.deleteInvitations(`$2 IN `+everNamed(`i.org_id`, `i.email`), id)
	if err != nil {
		return erased, err
	}
	var gone []struct {
		ID   string
		Open bool
	}
	err = tx.db.SelectContext(tx.ctx, &gone, `WITH gone AS (DELETE FROM sessions WHERE org_id = $1 AND member_id = $2 RETURNING id, ended_at, expires_at)
		SELECT id, ended_at IS NULL AND expires_at > least($3::timestamptz, now()) AS open FROM gone ORDER BY id`, tx.actor.OrgID, id, tx.now)
	for _, session := range gone {
		erased.Sessions = true
		if session.Open {
			erased.OpenSessions = append(erased.OpenSessions, session.ID)
		}
	}
	return erased, tidy(err)
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
