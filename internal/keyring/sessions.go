package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
)

// SessionLifetime ends a browser's session whatever its use; the idle limit is the store's.
const SessionLifetime = 24 * time.Hour

// Visitor is where a request comes from, before it is known who it is.
type Visitor struct {
	Address   string // IP address
	UserAgent string
	Devices   string // the device cookie, "" for a browser without one and for programs
}

// SignIn checks an e-mail and a password and begins a session. Errors: ErrCredentials, *LockedError, ErrUnavailable.
// An unknown e-mail is counted, takes as long and is answered as a wrong password is.
func (r *Keyring) SignIn(ctx context.Context, from Visitor, email, password string) (Session, error) {
	member, err := r.authenticate(ctx, from, email, password)
	if err != nil {
		return Session{}, err
	}
	return r.beginSession(ctx, from, member, store.BrowserSession)
}

// lifetimes is how long a session of each kind lives whatever its use.
var lifetimes = map[store.SessionKind]time.Duration{store.BrowserSession: SessionLifetime, store.ProgramSession: TokenLifetime}

// beginSession returns ErrCredentials when the password was changed, or the member sent away, since it was compared.
func (r *Keyring) beginSession(ctx context.Context, from Visitor, who store.Credentials, kind store.SessionKind) (Session, error) {
	actor := account.Actor{OrgID: who.OrgID, MemberID: who.ID, Email: who.Email, Name: who.Name, Role: who.Role,
		Address: from.Address, UserAgent: from.UserAgent}
	var session Session
	err := r.store.Mutate(ctx, actor, account.SignIn, func(tx *store.Tx) (changes []audit.Change, err error) {
		if err := tx.HoldCredentials(who.PasswordHash); err != nil {
			return nil, err
		}
		session, err = tx.InsertSession(kind, lifetimes[kind])
		return []audit.Change{{Subject: sessionSubject(session.ID, actor.Email),
			After: audit.Facts{"for": string(kind), "expiresAt": session.ExpiresAt.Format(time.RFC3339)}}}, err
	})
	if errors.Is(err, ErrNotFound) {
		err = ErrCredentials
	}
	return session, err
}

// sessionSubject names a session by whose it is.
func sessionSubject(id, email string) audit.Subject {
	return audit.Subject{Kind: "session", ID: id, Name: email}
}

// Actor returns who is behind a browser's session at this moment, and their organisation's name; ErrNotFound when the
// session has ended, or belongs to a program.
func (r *Keyring) Actor(ctx context.Context, from Visitor, sessionID string) (account.Actor, string, error) {
	return r.sessionActor(ctx, from, sessionID, store.BrowserSession)
}

func (r *Keyring) sessionActor(ctx context.Context, from Visitor, sessionID string, kind store.SessionKind) (account.Actor, string, error) {
	actor, organisation, err := r.store.SessionActor(ctx, sessionID, kind)
	actor.Address, actor.UserAgent = from.Address, from.UserAgent
	return actor, organisation, err
}

// Sessions lists the actor's own sessions.
func (r *Keyring) Sessions(ctx context.Context, actor account.Actor) ([]Session, error) {
	return r.store.SessionsOf(ctx, actor.OrgID, actor.MemberID)
}

// EndSession ends one of the actor's own sessions; ErrNotFound when it is not theirs or has ended.
func (r *Keyring) EndSession(ctx context.Context, actor account.Actor, id string) error {
	id, err := canonical(id)
	if err != nil {
		return err
	}
	return r.store.Mutate(ctx, actor, account.EndSession, func(tx *store.Tx) ([]audit.Change, error) {
		return []audit.Change{sessionEnded(tx, id, actor.Email)}, tx.EndSession(id)
	})
}

// EndAllSessions signs the actor out everywhere.
func (r *Keyring) EndAllSessions(ctx context.Context, actor account.Actor) error {
	return r.store.Mutate(ctx, actor, account.EndSession, func(tx *store.Tx) ([]audit.Change, error) {
		return endAllSessions(tx, actor.MemberID, actor.Email)
	})
}

func endAllSessions(tx *store.Tx, memberID, email string) ([]audit.Change, error) {
	ended, err := tx.EndAllSessions(memberID)
	var changes []audit.Change
	for _, id := range ended {
		changes = append(changes, sessionEnded(tx, id, email))
	}
	return changes, err
}

func sessionEnded(tx *store.Tx, id, email string) audit.Change {
	return audit.Change{Action: account.EndSession, Subject: sessionSubject(id, email), After: audit.Facts{"endedAt": tx.Now().Format(time.RFC3339)}}
}
