// Package apikey says what a key is: its plaintext and hash, its status at a time, its scopes and its expiry.
// It is pure: the standard library only, no clock and no I/O. The rules are those of the product's
// "life of a key"; the same rules in SQL live in store/keys.go and a test holds the two together.
package apikey

import (
	"errors"
	"net/netip"
	"slices"
	"time"
)

// Environment tells keys for real traffic from keys for trying things out.
type Environment string

// The environments, and the order in which people see them.
const (
	Live Environment = "live"
	Test Environment = "test"
)

// Environments lists every environment.
var Environments = []Environment{Live, Test}

func (e Environment) prefix() string { return "pk_" + string(e) + "_" }

// Status is where a key stands in its life.
type Status string

// Enabled, Disabled, Rotated and Revoked are stored; Expired is derived at the moment of asking.
const (
	Enabled  Status = "enabled"
	Disabled Status = "disabled"
	Rotated  Status = "rotated"
	Revoked  Status = "revoked"
	Expired  Status = "expired"
)

// Statuses lists every status in the order of a key's life.
var Statuses = []Status{Enabled, Disabled, Rotated, Expired, Revoked}

// Label is the word that people read.
func (s Status) Label() string {
	switch s {
	case Enabled:
		return "Enabled"
	case Disabled:
		return "Disabled"
	case Rotated:
		return "Rotated"
	case Revoked:
		return "Revoked"
	case Expired:
		return "Expired"
	}
	return string(s)
}

// Key is everything about a key but its plaintext. Empty strings and nil times mean "none".
type Key struct {
	ID          string
	OrgID       string
	Name        string
	Environment Environment
	Prefix      string // everything before the last "_" of the plaintext
	Signature   string // the last 6 characters of the plaintext
	Scopes      []string
	Stored      Status // never Expired
	OwnerID     string
	CreatedBy   string // the member who issued it
	RoleLimit   string // the strongest role that it acts with: a plaintext gains no power by a transfer or a promotion
	WorkspaceID string
	ProcessID   string
	ProfileID   string         // the bias profile
	IPAllowlist []netip.Prefix // empty: any address
	CreatedAt   time.Time
	ExpiresAt   time.Time
	RotatedAt   *time.Time
	GraceEndsAt *time.Time // until when a rotated key is still accepted
	ReplacedBy  string     // the successor's id
	RevokedAt   *time.Time
	Version     int // grows by one with every change, so that a form can tell that it is out of date
}

// EndsAt is the effective end: when the key stops for good as things stand. That is its expiry, the end of its grace period or
// its revocation, whichever comes first.
func (k Key) EndsAt() time.Time {
	end := k.ExpiresAt
	for _, other := range []*time.Time{k.GraceEndsAt, k.RevokedAt} {
		if other != nil && other.Before(end) {
			end = *other
		}
	}
	return end
}

// StatusAt derives the status at a time: a stored status, or Expired once an enabled or disabled key is at its end.
func (k Key) StatusAt(now time.Time) Status {
	if (k.Stored == Enabled || k.Stored == Disabled) && !now.Before(k.ExpiresAt) {
		return Expired
	}
	return k.Stored
}

// InGraceAt says whether a rotated key is still accepted beside its successor.
func (k Key) InGraceAt(now time.Time) bool {
	return k.Stored == Rotated && k.GraceEndsAt != nil && now.Before(*k.GraceEndsAt)
}

// AcceptedAt says whether the key works at a time: enabled, or rotated and in its grace period.
func (k Key) AcceptedAt(now time.Time) bool {
	return k.StatusAt(now) == Enabled || k.InGraceAt(now)
}

// LiveAt says whether the key works at a time or could be made to: enabled, disabled, or rotated and in its grace period.
func (k Key) LiveAt(now time.Time) bool {
	return k.StatusAt(now) == Enabled || k.StatusAt(now) == Disabled || k.InGraceAt(now)
}

// Change is a step in a key's life that somebody asks for.
type Change string

// The changes that a key can be asked to make.
const (
	Edit     Change = "edit"
	Disable  Change = "disable"
	Enable   Change = "enable"
	Rotate   Change = "rotate"
	Transfer Change = "transfer" // to another owner
	Revoke   Change = "revoke"
	Delete   Change = "delete"
)

// ErrState says that a key's status does not allow the change asked for.
var ErrState = errors.New("the key's status does not allow this change")

// Allows says whether a key of this status may make the change: the table of the product's "life of a key".
func (s Status) Allows(c Change) bool {
	switch s {
	case Enabled:
		return c != Enable
	case Disabled:
		return c != Disable
	case Rotated:
		return c == Revoke || c == Delete
	case Revoked, Expired:
		return c == Delete
	}
	return false
}

// Within says whether k reaches no further than the other key: into no other workspace, process or environment, from no
// other address, and under no other bias profile. Scopes are judged apart.
func (k Key) Within(other Key) bool {
	return (other.WorkspaceID == "" || k.WorkspaceID == other.WorkspaceID) &&
		(other.ProcessID == "" || k.ProcessID == other.ProcessID) &&
		(other.ProfileID == "" || k.ProfileID == other.ProfileID) &&
		(other.Environment == Live || k.Environment == other.Environment) &&
		within(k.IPAllowlist, other.IPAllowlist)
}

// within says whether an allowlist lets in no address that the other does not. An empty one lets in every address.
func within(list, other []netip.Prefix) bool {
	if len(other) == 0 || len(list) == 0 {
		return len(other) == 0
	}
	for _, p := range list {
		if !slices.ContainsFunc(other, func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Contains(p.Addr()) }) {
			return false
		}
	}
	return true
}

// AllowsAddress reports whether an allowlist lets an address in. An empty list lets in every address, a list that is not
// empty never the zero Addr.
func AllowsAddress(list []netip.Prefix, address netip.Addr) bool {
	if len(list) == 0 {
		return true
	}
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(address) })
}

// Lifetime is how long the key was made to live.
func (k Key) Lifetime() time.Duration { return k.ExpiresAt.Sub(k.CreatedAt) }

// Successor is the key that replaces k when it is rotated at now: the same in all but its id, plaintext and dates.
// Its lifetime is the old one's, or the policy's longest if that has become shorter: rotating widens nothing.
func (k Key) Successor(now time.Time, longest time.Duration) Key {
	next := k
	next.ID, next.Prefix, next.Signature = "", "", ""
	next.CreatedAt = now
	next.ExpiresAt = now.Add(min(k.Lifetime(), longest))
	next.Version = 1
	return next
}

// GraceEnd is until when k is accepted beside its successor: never past its own expiry, and not at all
// when it is disabled, since rotating must not bring a key to life.
func (k Key) GraceEnd(now time.Time, grace time.Duration) time.Time {
	if k.Stored == Disabled {
		return now
	}
	if end := now.Add(grace); end.Before(k.ExpiresAt) {
		return end
	}
	return k.ExpiresAt
}

// Use is what is known about when and from where a key was last used.
type Use struct {
	At        *time.Time // nil: never
	Address   string
	UserAgent string
}
