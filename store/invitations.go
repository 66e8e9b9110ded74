package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
)

// Invitation is a link that lets somebody join an organisation; its token is known to nobody here.
type Invitation struct {
	ID           string
	OrgID        string
	Organisation string // its name
	Email        string
	Role         account.Role
	By           account.Person // who made it; of them id, e-mail and name
	CreatedAt    time.Time
	ExpiresAt    time.Time
}

type invitationRecord struct {
	ID           string    `db:"id"`
	OrgID        string    `db:"org_id"`
	Organisation string    `db:"organisation"`
	Email        string    `db:"email"`
	Role         string    `db:"role"`
	ByID         string    `db:"by_id"`
	ByEmail      string    `db:"by_email"`
	ByName       string    `db:"by_name"`
	CreatedAt    time.Time `db:"created_at"`
	ExpiresAt    time.Time `db:"expires_at"`
}

func (r invitationRecord) invitation() Invitation {
	return Invitation{ID: r.ID, OrgID: r.OrgID, Organisation: r.Organisation, Email: r.Email, Role: account.Role(r.Role),
		By: account.Person{ID: r.ByID, OrgID: r.OrgID, Email: r.ByEmail, Name: r.ByName}, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC()}
}

const (
	invitationColumns = `i.id, i.org_id, o.name AS organisation, i.email, i.role, i.created_at, i.expires_at,
		m.id AS by_id, m.email AS by_email, m.name AS by_name`
	invitationJoins = ` i JOIN organisations o ON o.id = i.org_id JOIN members m ON m.id = i.invited_by `
	invitationQuery = `SELECT ` + invitationColumns + ` FROM invitations` + invitationJoins
)

// worksAt is what makes an invitation's link one that works: its token and its time, in these parameters. Whoever may not
// invite any more can let nobody in either; their invitations are deleted when that happens, and this holds whatever
// happened.
func worksAt(hash, now string) string {
	return `i.token_hash = ` + hash + ` AND i.expires_at > ` + now + ` AND EXISTS (
		SELECT FROM members b WHERE b.id = i.invited_by AND b.role = 'owner' AND b.status = 'active')`
}

// InvitationByToken returns the invitation whose link has the token with this SHA-256, of whichever organisation;
// ErrNotFound when it does not work any more.
func (s *Store) InvitationByToken(ctx context.Context, hash [32]byte) (Invitation, error) {
	var r invitationRecord
	err := s.db.GetContext(ctx, &r, invitationQuery+`WHERE `+worksAt(`$1`, `$2`), hash[:], s.Now())
	return r.invitation(), tidy(err)
}

// InvitationByID returns an invitation to the organisation, whether it still works or not, or ErrNotFound.
func (s *Store) InvitationByID(ctx context.Context, orgID, id string) (Invitation, error) {
	var r invitationRecord
	err := s.db.GetContext(ctx, &r, invitationQuery+`WHERE i.org_id = $1 AND i.id = $2`, orgID, id)
	return r.invitation(), tidy(err)
}

// Invitations lists the organisation's invitations whose address has the text, at most limit of them: those that work
// first, the newest of them first, and then those that have expired.
func (s *Store) Invitations(ctx context.Context, orgID, text string, limit int) ([]Invitation, error) {
	var records []invitationRecord
	err := s.db.SelectContext(ctx, &records, invitationQuery+`WHERE i.org_id = $1 AND i.email ILIKE $2
		ORDER BY i.expires_at > $4 DESC, i.created_at DESC, i.id DESC LIMIT $3`, orgID, "%"+escapeLike(text)+"%", limit, s.Now())
	out := make([]Invitation, len(records))
	for i, r := range records {
		out[i] = r.invitation()
	}
	return out, tidy(err)
}

// InvitationsBy counts the invitations that a member made and that have not expired.
func (s *Store) InvitationsBy(ctx context.Context, orgID, memberID string) (int, error) {
	var count int
	err := s.db.GetContext(ctx, &count, `SELECT count(*) FROM invitations WHERE org_id = $1 AND invited_by = $2 AND expires_at > $3`, orgID, memberID, s.Now())
	return count, tidy(err)
}

// IsMember says whether an address is one of an active or suspended member of the actor's organisation.
func (tx *Tx) IsMember(email string) (bool, error) {
	var found bool
	err := tx.db.GetContext(tx.ctx, &found, `SELECT EXISTS (SELECT FROM members WHERE org_id = $1 AND email = $2 AND status <> 'removed')`, tx.actor.OrgID, email)
	return found, tidy(err)
}

// InsertInvitation makes an invitation by the actor. One to the same address is replaced, and its link is void; it is
// returned as it was, else with an empty id.
func (tx *Tx) InsertInvitation(i Invitation, hash [32]byte) (made, before Invitation, err error) {
	var r invitationRecord
	err = tx.db.GetContext(tx.ctx, &r, invitationQuery+`WHERE i.org_id = $1 AND i.email = $2 FOR UPDATE OF i`, tx.actor.OrgID, i.Email)
	if err = tidy(err); err != nil && !errors.Is(err, ErrNotFound) {
		return i, before, err
	}
	before = r.invitation()
	i.ID, i.OrgID, i.CreatedAt = uuid.Must(uuid.NewV7()).String(), tx.actor.OrgID, tx.now
	i.By = account.Person{ID: tx.actor.MemberID, OrgID: tx.actor.OrgID, Email: tx.actor.Email, Name: tx.actor.Name}
	err = tx.db.GetContext(tx.ctx, &i.ID, `INSERT INTO invitations (id, org_id, email, role, token_hash, invited_by, created_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (org_id, email) DO UPDATE SET role = excluded.role, token_hash = excluded.token_hash,
			invited_by = excluded.invited_by, created_at = excluded.created_at, expires_at = excluded.expires_at
		RETURNING id`, i.ID, i.OrgID, i.Email, i.Role, hash[:], i.By.ID, i.CreatedAt, i.ExpiresAt)
	return i, before, tidy(err)
}

// deleteInvitations deletes those to the actor's organisation ($1) that a condition chooses, and returns them.
func (tx *Tx) deleteInvitations(condition string, args ...any) ([]Invitation, error) {
	var records []invitationRecord
	err := tx.db.SelectContext(tx.ctx, &records, `WITH gone AS (DELETE FROM invitations i WHERE i.org_id = $1 AND `+condition+` RETURNING i.*)
		SELECT `+invitationColumns+` FROM gone`+invitationJoins+`ORDER BY i.email`, append([]any{tx.actor.OrgID}, args...)...)
	out := make([]Invitation, len(records))
	for i, r := range records {
		out[i] = r.invitation()
	}
	return out, tidy(err)
}

func onlyOne(found []Invitation, err error) (Invitation, error) {
	if err != nil {
		return Invitation{}, err
	}
	if len(found) == 0 {
		return Invitation{}, ErrNotFound
	}
	return found[0], nil
}

// UseInvitation uses up the link whose token has this SHA-256; ErrNotFound when it does not work any more. Of two who do
// so at once one gets that.
func (tx *Tx) UseInvitation(hash [32]byte) (Invitation, error) {
	return onlyOne(tx.deleteInvitations(worksAt(`$2`, `$3`), hash[:], tx.now))
}

// DeleteInvitation makes a link void, and returns what it was; ErrNotFound for one that is gone.
func (tx *Tx) DeleteInvitation(id string) (Invitation, error) {
	return onlyOne(tx.deleteInvitations(`i.id = $2`, id))
}

// DeleteInvitationsTo makes the link to an address void, and returns what it was; none where nobody invited it.
func (tx *Tx) DeleteInvitationsTo(email string) ([]Invitation, error) {
	return tx.deleteInvitations(`i.email = $2`, email)
}

// DeleteInvitationsBy makes every link void that a member made, and returns what they were.
func (tx *Tx) DeleteInvitationsBy(memberID string) ([]Invitation, error) {
	return tx.deleteInvitations(`i.invited_by = $2`, memberID)
}
