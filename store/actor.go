package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// KeyActor returns the member for whom a key acts, as the database knows both at this moment, in the weaker of the owner's
// role and the key's limit. A key of an inactive owner has no role, and so no power. ErrNotFound when the key is not accepted any more.
func (s *Store) KeyActor(ctx context.Context, orgID, keyID string) (account.Actor, error) {
	row, err := s.KeyByID(ctx, orgID, keyID)
	if err != nil {
		return account.Actor{}, err
	}
	if !row.AcceptedAt(s.Now()) {
		return account.Actor{}, ErrNotFound
	}
	actor := account.Actor{OrgID: orgID, MemberID: row.OwnerID, Email: row.Owner.Email, Name: row.Owner.Name,
		KeyID: row.ID, Scopes: row.Scopes}
	if row.Owner.Status == account.Active {
		actor.Role = row.Owner.Role.AtMost(account.Role(row.RoleLimit))
	}
	return actor, nil
}

// own notes which of the actor's own rows a transaction holds locked, in the state in which it judged them: it may go on to
// end its own session, key or membership.
type own struct{ member, session, key bool }

// judgeActor returns ErrUnauthenticated when the actor's session, key or membership has ended since they were
// authenticated, ErrForbidden when they may do less than they could then, and ErrStale when their key has another owner.
//
// A change calls it with the chain's head locked. Each act that ends or weakens an actor is audited, so it held that lock
// before, and its effect is visible here, or it takes the lock after this transaction.
func (tx *Tx) judgeActor() error {
	actor := tx.actor
	switch {
	case actor.Role == account.Operator:
		return nil
	case actor.KeyID != "" && !tx.own.key:
		var r struct {
			keyRecord
			MemberRole   string `db:"member_role"`
			MemberStatus string `db:"member_status"`
		}
		err := tx.db.GetContext(tx.ctx, &r, `SELECT `+keyColumns+`, m.role AS member_role, m.status AS member_status
			FROM api_keys k JOIN members m ON m.org_id = k.org_id AND m.id = $3
			WHERE k.org_id = $1 AND k.id = $2`, actor.OrgID, actor.KeyID, actor.MemberID)
		if err != nil {
			return unauthenticated(err)
		}
		return errors.Join(tx.judgeKey(r.key()), tx.judgeMember(account.Role(r.MemberRole), account.Status(r.MemberStatus)))
	}
	now := tx.clock()
	var r struct {
		Role, Status string
		Active       bool // the session
	}
	err := tx.db.GetContext(tx.ctx, &r, `SELECT m.role, m.status,
			EXISTS (SELECT FROM sessions s WHERE s.id = nullif($5, '')::uuid AND s.member_id = m.id AND `+live+`) AS active
		FROM members m WHERE m.org_id = $1 AND m.id = $4`, actor.OrgID, now, now.Add(-idleLimit), actor.MemberID, actor.SessionID)
	if err != nil {
		return unauthenticated(err)
	}
	if actor.SessionID != "" && !r.Active && !tx.own.session {
		return ErrUnauthenticated
	}
	return tx.judgeMember(account.Role(r.Role), account.Status(r.Status))
}

// JudgeActor returns what Mutate would of an actor who changes something at this moment: nil, ErrUnauthenticated, ErrForbidden or
// ErrStale. It holds nothing, so the answer may be out of date when it is returned.
func (s *Store) JudgeActor(ctx context.Context, actor account.Actor) error {
	inner, end, err := s.db.begin(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return tidy(err)
	}
	defer end()
	defer func() { _ = inner.Rollback() }()
	return tidy((&Tx{db: &conn{tx: inner}, ctx: ctx, actor: actor, now: s.Now(), clock: s.Now}).judgeActor())
}

// unauthenticated is what it means that an actor's row is gone.
func unauthenticated(err error) error {
	if err = tidy(err); errors.Is(err, ErrNotFound) {
		return ErrUnauthenticated
	}
	return err
}

// judgeMember judges the actor's membership as it is in the database.
func (tx *Tx) judgeMember(role account.Role, status account.Status) error {
	switch {
	case tx.own.member:
		return nil
	case status != account.Active:
		return ErrUnauthenticated
	case !role.Includes(tx.actor.Role):
		return ErrForbidden
	}
	return nil
}

// judgeKey judges the acting key as it is in the database. A key that was rotated, renamed or enabled meanwhile and is
// still accepted acts as before.
func (tx *Tx) judgeKey(key apikey.Key) error {
	address, _ := netip.ParseAddr(tx.actor.Address)
	switch {
	case !key.AcceptedAt(tx.clock()), key.Stored == apikey.Rotated && !key.GraceEndsAt.After(*key.RotatedAt):
		return ErrUnauthenticated // a rotation without grace ends a key whatever the replicas' clocks say
	case key.OwnerID != tx.actor.MemberID:
		return fmt.Errorf("the acting key has another owner: %w", ErrStale)
	case !account.Role(key.RoleLimit).Includes(tx.actor.Role), !apikey.AllowsAddress(key.IPAllowlist, address), tx.acting != nil && !tx.acting.Within(key):
		return ErrForbidden
	}
	for _, scope := range tx.actor.Scopes {
		if !apikey.Covers(key.Scopes, scope) {
			return ErrForbidden
		}
	}
	return nil
}

// ownKey judges the acting key once its row is locked; other keys pass.
func (tx *Tx) ownKey(key apikey.Key) error {
	if tx.actor.KeyID == "" || key.ID != tx.actor.KeyID || tx.own.key {
		return nil
	}
	tx.own.key = true
	return tx.judgeKey(key)
}

// ownMember judges the actor's own membership once its row is locked; others pass.
func (tx *Tx) ownMember(p account.Person) error {
	if p.ID != tx.actor.MemberID || tx.own.member || tx.actor.Role == account.Operator {
		return nil
	}
	err := tx.judgeMember(p.Role, p.Status)
	tx.own.member = true
	return err
}
