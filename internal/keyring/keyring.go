// Package keyring holds the use cases: one method a verb that a person can do, one file a noun. Pages, programs and
// the command line all come through here; the rules themselves are in the pure packages beneath.
package keyring

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// Keyring is the use cases over one store.
type Keyring struct {
	store     *store.Store
	passwords *passwords
	cursors   cursors
	devices   devices
	signing   *signingKeys
	checks    *checks
	log       *slog.Logger
	security  securityEvents
}

// New returns the use cases over a store.
func New(s *store.Store) *Keyring {
	return &Keyring{store: s, passwords: newPasswords(), devices: devices{s.Secrets("device cookies")}, cursors: newCursors(s.Secrets("cursors")), signing: newSigningKeys(s), checks: newChecks(), log: slog.New(slog.DiscardHandler), security: newSecurityEvents()}
}

// Now is the time by which everything is judged, in UTC.
func (r *Keyring) Now() time.Time { return r.store.Now() }

// ClockSkew returns how far this machine's clock is ahead of the database's.
func (r *Keyring) ClockSkew() time.Duration { return r.store.ClockSkew() }

// What the store answers with has the same meaning to whoever calls a use case.
var (
	ErrNotFound        = store.ErrNotFound
	ErrForbidden       = store.ErrForbidden
	ErrStale           = store.ErrStale
	ErrClockSkew       = store.ErrClockSkew
	ErrUnauthenticated = store.ErrUnauthenticated
	ErrUnavailable     = store.ErrUnavailable
	ErrTaken           = store.ErrTaken
	ErrSetUp           = store.ErrSetUp
	ErrInUse           = store.ErrInUse
	ErrFull            = store.ErrFull
)

// Errors of the use cases themselves.
var (
	// ErrGrantAll is refused to all but owners, and covers rotating a key that holds "*": its successor's plaintext
	// would be a grant to whoever reads it.
	ErrGrantAll = fmt.Errorf("only an owner may grant the scope *: %w", store.ErrForbidden)
	// ErrHandOut is refused to a key that would hand out more than it holds itself, or reach further.
	ErrHandOut = fmt.Errorf("a key hands out no more than it holds: %w", store.ErrForbidden)
	// ErrMoveKeys is refused to a key that may delete a bias profile, but not change the keys that carry it.
	ErrMoveKeys = fmt.Errorf("moving keys to another bias profile changes them: %w", store.ErrForbidden)
	// ErrEntrust is refused to whoever would give a key to an owner in whose name it may do what they may not.
	ErrEntrust = fmt.Errorf("the key's scopes would do more in that owner's name: %w", store.ErrForbidden)
	// ErrCursor says that a cursor was changed, or belongs to another list.
	ErrCursor = errors.New("this link into the list does not fit it")
	// ErrCredentials is the one answer to an unknown e-mail, a wrong password and an account that is not active.
	ErrCredentials = errors.New("the e-mail or the password is wrong")
	// ErrToken is the one answer to every session token that is not good, whatever is wrong with it.
	ErrToken = errors.New("the session token is not valid, or its session has ended")
)

// RepeatedError says that the same request was made before, and which key it made then.
type RepeatedError = store.RepeatedError

// MissingError is the ErrNotFound of something that a key refers to, and names the field.
type MissingError = store.MissingError

// The shapes in which the store answers.
type (
	KeyRow     = store.KeyRow
	Session    = store.Session
	Catalogue  = store.Catalogue
	Choice     = store.Choice
	Pool       = store.Pool
	MemberRow  = store.MemberRow
	LiveKeys   = store.LiveKeys
	Invitation = store.Invitation
)

// ProgramSession is the kind of a session that a session token opens.
const ProgramSession = store.ProgramSession

// canonical brings an id to the one spelling in which it is stored and written down, and returns ErrNotFound for what
// is no id. Every id from outside passes here: PostgreSQL takes other spellings too, and the audit log's hash does not.
func canonical(id string) (string, error) {
	id, err := input.ID(id)
	if err != nil {
		return "", ErrNotFound
	}
	return id, nil
}

// reference does the same, in place, for what a key refers to; "" stands for none and stays. The field names it in the
// MissingError.
func reference(field string, id *string) error {
	if *id == "" {
		return nil
	}
	known, err := canonical(*id)
	if err != nil {
		return missing(err, field)
	}
	*id = known
	return nil
}

// missing names the field of what is not there; any other error stays what it is.
func missing(err error, field string) error {
	if errors.Is(err, ErrNotFound) {
		return MissingError{Field: field}
	}
	return err
}

// canonicalList does the same for a list of ids.
func canonicalList(ids []string) ([]string, error) {
	out := make([]string, len(ids))
	for i, id := range ids {
		var err error
		if out[i], err = canonical(id); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func allow(actor account.Actor, action account.Action) error {
	if !actor.May(action) {
		return ErrForbidden
	}
	return nil
}
