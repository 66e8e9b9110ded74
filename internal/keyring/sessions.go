package keyring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

const (
	// SessionLifetime ends a browser's session whatever its use; the idle limit is the store's.
	SessionLifetime = 24 * time.Hour

	attemptWindow      = 15 * time.Minute
	attemptsPerAccount = 10
	attemptsPerAddress = 100 // an office shares one
)

// LockedError says that there were too many attempts, and when the next one counts again.
type LockedError struct{ Until time.Time }

func (e *LockedError) Error() string {
	return fmt.Sprintf("too many attempts to sign in; the next one counts at %s", e.Until.Format(time.RFC3339))
}

// Visitor is where a request comes from, before it is known who it is.
type Visitor struct {
	Address   string // IP address
	UserAgent string
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

// authenticate returns whose e-mail and password these are.
func (r *Keyring) authenticate(ctx context.Context, from Visitor, email, password string) (store.Credentials, error) {
	email, problem := input.Email(email)
	subjects := []attemptLimit{{AddressSubject(from.Address), attemptsPerAddress}}
	if problem == nil { // what is no address can't be anybody's account
		subjects = append(subjects, attemptLimit{accountSubject(email), attemptsPerAccount})
	}
	if err := r.countAttempts(ctx, subjects); err != nil {
		return store.Credentials{}, err
	}
	member, err := r.store.CredentialsByEmail(ctx, email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return store.Credentials{}, err
	}
	matches, err := r.passwords.matches(ctx, password, member.PasswordHash)
	if err != nil {
		return store.Credentials{}, err
	}
	if problem != nil || !matches || member.Status != account.Active {
		return store.Credentials{}, ErrCredentials
	}
	if err := r.store.ForgetAttempts(ctx, accountSubject(email)); err != nil {
		return store.Credentials{}, err
	}
	if err := r.store.UncountAttempt(ctx, AddressSubject(from.Address)); err != nil { // only failures fill an office's limit
		return store.Credentials{}, err
	}
	return member, nil
}

// attemptLimit says how many attempts a window allows a subject.
type attemptLimit struct {
	subject string
	most    int
}

// countAttempts counts before it judges: the tenth attempt of a window is the last that is evaluated.
func (r *Keyring) countAttempts(ctx context.Context, limits []attemptLimit) error {
	for _, limit := range limits {
		count, until, err := r.store.CountAttempt(ctx, limit.subject, attemptWindow)
		if err != nil {
			return err
		}
		if count > limit.most {
			return &LockedError{until}
		}
	}
	return nil
}

// AddressSubject is where requests come from: an IPv4 address, or the /64 that one household or server has of IPv6.
func AddressSubject(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() {
		if network, err := ip.Prefix(64); err == nil {
			address = network.String()
		}
	}
	return "address " + address
}

// accountSubject names an account without storing the addresses that people try.
func accountSubject(email string) string {
	sum := sha256.Sum256([]byte(email))
	return "account " + hex.EncodeToString(sum[:])
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
