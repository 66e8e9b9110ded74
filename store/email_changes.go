package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
)

// EmailChange is a change of a member's address that waits for its link to be opened.
type EmailChange struct {
	ID           string
	Member       account.Person // with the address that they have until then
	Organisation string         // its name
	Email        string         // the new address
	By           string         // id of the owner who started it
	CreatedAt    time.Time
	ExpiresAt    time.Time
}

type emailChangeRecord struct {
	ID           string    `db:"id"`
	OrgID        string    `db:"org_id"`
	Organisation string    `db:"organisation"`
	MemberID     string    `db:"member_id"`
	Before       string    `db:"before"`
	Name         string    `db:"name"`
	Role         string    `db:"role"`
	Status       string    `db:"status"`
	Email        string    `db:"email"`
	By           string    `db:"started_by"`
	CreatedAt    time.Time `db:"created_at"`
	ExpiresAt    time.Time `db:"expires_at"`
}

func (r emailChangeRecord) change() EmailChange {
	return EmailChange{ID: r.ID, Organisation: r.Organisation, Email: r.Email, By: r.By, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(),
		Member: account.Person{ID: r.MemberID, OrgID: r.OrgID, Email: r.Before, Name: r.Name, Role: account.Role(r.Role), Status: account.Status(r.Status)}}
}

const emailChangeColumns = `SELECT e.id, e.org_id, o.name AS organisation, e.member_id, m.email AS before, m.name, m.role, m.status, e.email,
	e.started_by, e.created_at, e.expires_at FROM `

const emailChangeJoins = ` e JOIN members m ON m.org_id = e.org_id AND m.id = e.member_id JOIN organisations o ON o.id = e.org_id `

// confirmable is what makes the link of an email change work: its token, its time, an active member, and an owner who
// started it and still is one.
func confirmable(hash, now string) string {
	return `e.token_hash = ` + hash + ` AND e.expires_at > ` + now + `
		AND EXISTS (SELECT FROM members a WHERE a.org_id = e.org_id AND a.id = e.member_id AND a.status = 'active')
		AND EXISTS (SELECT FROM members b WHERE b.org_id = e.org_id AND b.id = e.started_by AND b.role = 'owner' AND b.status = 'active')`
}

// EmailChangeByToken returns the change whose link has the token with this SHA-256, of whichever organisation; ErrNotFound
// when the link does not work.
func (s *Store) EmailChangeByToken(ctx context.Context, hash [32]byte) (EmailChange, error) {
	var r emailChangeRecord
	err := s.db.GetContext(ctx, &r, emailChangeColumns+`email_changes`+emailChangeJoins+`WHERE `+confirmable(`$1`, `$2`), hash[:], s.Now())
	return r.change(), tidy(err)
}

// EmailChangeOf returns the change that waits for a member, or ErrNotFound.
func (s *Store) EmailChangeOf(ctx context.Context, orgID, memberID string) (EmailChange, error) {
	var r emailChangeRecord
	err := s.db.GetContext(ctx, &r, emailChangeColumns+`email_changes`+emailChangeJoins+`WHERE e.org_id = $1 AND e.member_id = $2 AND e.expires_at > $3`,
		orgID, memberID, s.Now())
	return r.change(), tidy(err)
}

// EmailChangesBy counts the changes that a member started and that have not expired.
func (s *Store) EmailChangesBy(ctx context.Context, orgID, memberID string) (int, error) {
	var count int
	err := s.db.GetContext(ctx, &count, `SELECT count(*) FROM email_changes WHERE org_id = $1 AND started_by = $2 AND expires_at > $3`, orgID, memberID, s.Now())
	return count, tidy(err)
}

// InsertEmailChange starts a change by the actor. The member has none: see DeleteEmailChangesOf.
func (tx *Tx) InsertEmailChange(c EmailChange, hash [32]byte) (EmailChange, error) {
	c.ID, c.By, c.CreatedAt = uuid.Must(uuid.NewV7()).String(), tx.actor.MemberID, tx.now
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO email_changes (id, org_id, member_id, email, token_hash, started_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		c.ID, tx.actor.OrgID, c.Member.ID, c.Email, hash[:], c.By, c.CreatedAt, c.ExpiresAt)
	return c, tidy(err)
}

// deleteEmailChanges deletes those of the actor's organisation ($1) that a condition chooses, and returns them.
func (tx *Tx) deleteEmailChanges(condition string, args ...any) ([]EmailChange, error) {
	var records []emailChangeRecord
	err := tx.db.SelectContext(tx.ctx, &records, `WITH gone AS (DELETE FROM email_changes e WHERE e.org_id = $1 AND `+condition+` RETURNING e.*)
		`+emailChangeColumns+`gone`+emailChangeJoins, append([]any{tx.actor.OrgID}, args...)...)
	out := make([]EmailChange, len(records))
	for i, r := range records {
		out[i] = r.change()
	}
	return out, tidy(err)
}

// UseEmailChange uses up the link whose token has this SHA-256; ErrNotFound when it does not work. Of two who do so at once
// one gets that.
func (tx *Tx) UseEmailChange(hash [32]byte) (EmailChange, error) {
	gone, err := tx.deleteEmailChanges(confirmable(`$2`, `$3`), hash[:], tx.now)
	if err == nil && len(gone) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return EmailChange{}, err
	}
	return gone[0], nil
}

// DeleteEmailChangesOf makes the link void that changes a member's address.
func (tx *Tx) DeleteEmailChangesOf(memberID string) ([]EmailChange, error) {
	return tx.deleteEmailChanges(`e.member_id = $2`, memberID)
}

// DeleteEmailChangesBy makes every link void that a member started.
func (tx *Tx) DeleteEmailChangesBy(memberID string) ([]EmailChange, error) {
	return tx.deleteEmailChanges(`e.started_by = $2`, memberID)
}

// ReplaceEmail gives an active member another address; ErrNotFound unless they still have the address and the password of
// the credentials, ErrTaken when the address has an account.
func (tx *Tx) ReplaceEmail(who Credentials, email string) error {
	return oneRow(tx.db.ExecContext(tx.ctx, `UPDATE members SET email = $5
		WHERE org_id = $1 AND id = $2 AND status = 'active' AND email = $3 AND password_hash = $4`, tx.actor.OrgID, who.ID, who.Email, who.PasswordHash, email))
}

// SetEmail gives a member who was not removed another address; ErrTaken when it has an account.
func (tx *Tx) SetEmail(memberID, email string) error {
	return oneRow(tx.db.ExecContext(tx.ctx, `UPDATE members SET email = $3 WHERE org_id = $1 AND id = $2 AND status <> 'removed'`, tx.actor.OrgID, memberID, email))
}
