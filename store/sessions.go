package store

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
)

// SessionKind is what a session was begun for, and so what opens it.
type SessionKind string

// The kinds of session.
const (
	BrowserSession SessionKind = "browser" // opened by a cookie
	ProgramSession SessionKind = "program" // opened by a session token
)

// Session is a member's signed-in session.
type Session struct {
	ID         string      `db:"id"`
	Kind       SessionKind `db:"kind"`
	CreatedAt  time.Time   `db:"created_at"`
	LastSeenAt time.Time   `db:"last_seen_at"`
	ExpiresAt  time.Time   `db:"expires_at"`
	Address    string      `db:"address"`
	UserAgent  string      `db:"user_agent"`
	Email      string      `db:"-"` // whose it is; known where the session begins
}

const (
	// idleLimit ends a session that nobody has used for so long; NIST SP 800-63B asks for 1 hour at AAL2 and
	// leaves AAL1 open.
	idleLimit = 8 * time.Hour
	// seenEvery is how often at most a session's last use is written down.
	seenEvery = time.Minute
)

// live is what makes a session one: not ended, within its absolute and its idle lifetime ($2 is now, $3 the
// earliest last use that counts).
const live = `s.ended_at IS NULL AND s.expires_at > $2 AND s.last_seen_at > $3`

// SessionActor returns who is behind a session of a kind, as the database knows them at this moment, together with the
// organisation's name; ErrNotFound when the session is of another kind or has ended, or the member is not active.
func (s *Store) SessionActor(ctx context.Context, sessionID string, kind SessionKind) (account.Actor, string, error) {
	var r struct {
		personRecord
		Organisation string    `db:"organisation"`
		LastSeenAt   time.Time `db:"last_seen_at"`
	}
	now := s.Now()
	err := s.db.GetContext(ctx, &r, `SELECT m.id, m.org_id, m.email, m.name, m.role, m.status, o.name AS organisation, s.last_seen_at
		FROM sessions s JOIN members m ON m.id = s.member_id JOIN organisations o ON o.id = s.org_id
		WHERE s.id = $1 AND s.kind = $4 AND m.status = 'active' AND `+live, sessionID, now, now.Add(-idleLimit), kind)
	if err != nil {
		return account.Actor{}, "", tidy(err)
	}
	if now.Sub(r.LastSeenAt) > seenEvery {
		if _, err := s.db.ExecContext(ctx, `UPDATE sessions SET last_seen_at = $2 WHERE id = $1`, sessionID, now); err != nil {
			return account.Actor{}, "", tidy(err)
		}
	}
	return account.Actor{OrgID: r.OrgID, MemberID: r.ID, Email: r.Email, Name: r.Name, Role: account.Role(r.Role), SessionID: sessionID}, r.Organisation, nil
}

// SessionsOf lists a member's live sessions, the last used first, at most 100.
func (s *Store) SessionsOf(ctx context.Context, orgID, memberID string) ([]Session, error) {
	var out []Session
	now := s.Now()
	err := s.db.SelectContext(ctx, &out, `SELECT s.id, s.kind, s.created_at, s.last_seen_at, s.expires_at, s.address, s.user_agent FROM sessions s
		WHERE s.member_id = $1 AND `+live+` AND s.org_id = $4 ORDER BY s.last_seen_at DESC, s.id LIMIT 100`, memberID, now, now.Add(-idleLimit), orgID)
	return out, tidy(err)
}

// InsertSession begins a session of the actor.
func (tx *Tx) InsertSession(kind SessionKind, lifetime time.Duration) (Session, error) {
	session := Session{ID: uuid.Must(uuid.NewV7()).String(), Kind: kind, CreatedAt: tx.now, LastSeenAt: tx.now, ExpiresAt: tx.now.Add(lifetime),
		Address: tx.actor.Address, UserAgent: tx.actor.UserAgent, Email: tx.actor.Email}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO sessions (id, org_id, member_id, created_at, last_seen_at, expires_at, address, user_agent, kind)
		VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8)`, session.ID, tx.actor.OrgID, tx.actor.MemberID, tx.now, session.ExpiresAt, session.Address, session.UserAgent, kind)
	return session, tidy(err)
}

// EndSession ends one of the actor's own sessions; ErrNotFound when it is not theirs, or has ended.
func (tx *Tx) EndSession(id string) error {
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE sessions SET ended_at = $3
		WHERE org_id = $1 AND member_id = $2 AND ended_at IS NULL AND id = $4`, tx.actor.OrgID, tx.actor.MemberID, tx.now, id)
	tx.own.session = tx.own.session || err == nil && id == tx.actor.SessionID
	return oneRow(result, err)
}

// EndAllSessions ends every live session of a member, and returns their ids.
func (tx *Tx) EndAllSessions(memberID string) ([]string, error) {
	return tx.endSessions(memberID, "")
}

// endSessions leaves one session out. One that was live until a moment ago ends with the others: a request of this moment,
// or a replica whose clock is behind, may still have found it live and be about to write its use down.
func (tx *Tx) endSessions(memberID, except string) ([]string, error) {
	var ended []string
	err := tx.db.SelectContext(tx.ctx, &ended, `UPDATE sessions s SET ended_at = $5
		WHERE s.org_id = $1 AND s.member_id = $4 AND `+live+` AND s.id IS DISTINCT FROM nullif($6, '')::uuid RETURNING s.id`,
		tx.actor.OrgID, tx.now.Add(-seenEvery), tx.now.Add(-idleLimit-seenEvery), memberID, tx.now, except)
	tx.own.session = tx.own.session || slices.Contains(ended, tx.actor.SessionID)
	return ended, tidy(err)
}
