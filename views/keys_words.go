package views

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/views/ui"
)

// Urgency is how pressing a key's expiry is.
type Urgency string

// An effective end within 7 days is urgent, within 30 soon, else calm. That of a key that has ended is moot.
const (
	Urgent Urgency = "urgent"
	Soon   Urgency = "soon"
	Calm   Urgency = "calm"
	Moot   Urgency = "moot"
)

// UrgencyAt judges a key's effective end at a time.
func (k Key) UrgencyAt(now time.Time) Urgency {
	left := k.EndsAt().Sub(now)
	switch {
	case !k.LiveAt(now):
		return Moot
	case left <= 7*apikey.Day:
		return Urgent
	case left <= 30*apikey.Day:
		return Soon
	}
	return Calm
}

// limitedFor is the role with which the key acts in Moonlatch's own API for an owner of a stronger one, where its scopes make
// that a difference; "" else. Rotating ends it.
func (k Key) limitedFor(owner account.Role) string {
	limit := account.Role(k.RoleLimit)
	if (account.Actor{Role: limit}).MayEntrust(k.Scopes, owner) {
		return ""
	}
	return lower(limit.Label())
}

// transferred is the key as it will be for another owner, whose power its plaintext does not gain (ADR 23).
func (k Key) transferred() Key {
	role := k.Owner.Role
	if k.Owner.Status != account.Active {
		role = account.Member
	}
	k.RoleLimit = string(account.Role(k.RoleLimit).AtMost(role))
	return k
}

// endLabel names a key's effective end.
func (k Key) endLabel(now time.Time) string {
	switch {
	case !k.LiveAt(now):
		return "Ended"
	case k.InGraceAt(now):
		return "Stops"
	}
	return "Expires"
}

func (u Urgency) tone() string {
	switch u {
	case Urgent:
		return "bad-text"
	case Soon:
		return "warn-text"
	case Calm:
		return "good-text"
	case Moot:
	}
	return "muted"
}

func (u Urgency) icon() string {
	switch u {
	case Urgent:
		return "alert"
	case Soon:
		return "clock"
	case Calm:
		return "calm"
	case Moot:
	}
	return ""
}

// dotAt gives a key's status its shape and colour; the word beside it says the same. A hollow dot is a key that
// is refused but could be, or once was, accepted.
func (k Key) dotAt(now time.Time) string {
	switch k.StatusAt(now) {
	case apikey.Enabled:
		return "dot good-text"
	case apikey.Disabled:
		return "dot muted hollow"
	case apikey.Rotated:
		if k.InGraceAt(now) {
			return "dot info-text"
		}
		return "dot info-text hollow"
	case apikey.Expired:
		return "dot warn-text hollow"
	case apikey.Revoked:
		return "dot bad-text square"
	}
	return "dot muted"
}

// remaining is a length of time that is still left: "6 more days".
func remaining(d time.Duration) string {
	number, unit, plain := strings.Cut(ui.Left(d), " ")
	if _, err := strconv.Atoi(number); err != nil || !plain {
		return ui.Left(d) + " more"
	}
	return number + " more " + unit
}

// changesFor lists what the viewer may do with the key now, in the order of its menu.
func changesFor(v Viewer, k Key, now time.Time) []apikey.Change {
	status := k.StatusAt(now)
	var out []apikey.Change
	for _, c := range []apikey.Change{apikey.Edit, apikey.Rotate, apikey.Disable, apikey.Enable, apikey.Transfer, apikey.Revoke, apikey.Delete} {
		if c == apikey.Rotate && !(v.MayGrant(k.Scopes) && v.MayEntrust(k.Scopes, k.Owner.Role.AtMost(account.Role(k.RoleLimit)))) {
			continue // its successor would be handed to somebody who may not have it
		}
		if status.Allows(c) && v.May(actionOf(c)) {
			out = append(out, c)
		}
	}
	return out
}

func actionOf(c apikey.Change) account.Action {
	switch c {
	case apikey.Edit:
		return account.EditKey
	case apikey.Disable:
		return account.DisableKey
	case apikey.Enable:
		return account.EnableKey
	case apikey.Rotate:
		return account.RotateKey
	case apikey.Revoke:
		return account.RevokeKey
	case apikey.Delete:
		return account.DeleteKey
	case apikey.Transfer:
		return account.TransferKey
	}
	return ""
}

// verb is the word on a change's button.
func verb(c apikey.Change) string {
	switch c {
	case apikey.Edit:
		return "Edit"
	case apikey.Disable:
		return "Disable"
	case apikey.Enable:
		return "Enable"
	case apikey.Rotate:
		return "Rotate"
	case apikey.Revoke:
		return "Revoke"
	case apikey.Delete:
		return "Delete"
	case apikey.Transfer:
		return "Transfer"
	}
	return string(c)
}

// final changes end a key's life and stand apart in its menu.
func final(c apikey.Change) bool { return c == apikey.Revoke || c == apikey.Delete }

// entry is a change's line in a key's menu. The dots promise a question before anything happens.
func entry(c apikey.Change, k Key, now time.Time) string {
	if c == apikey.Revoke && k.InGraceAt(now) {
		return "Stop the old key now…"
	}
	return verb(c) + "…"
}

// keyMenu is what may be done with a key.
func keyMenu(changes []apikey.Change, k Key, now time.Time, back string) []ui.MenuItem {
	items := make([]ui.MenuItem, len(changes))
	for i, c := range changes {
		items[i] = ui.MenuItem{Label: entry(c, k, now), Path: ChangePath(k.ID, c, back), Apart: final(c) && i > 0 && !final(changes[i-1])}
	}
	return items
}

// did is what a change has done to a key.
func did(c apikey.Change) string {
	switch c {
	case apikey.Edit:
		return "edited"
	case apikey.Disable:
		return "disabled"
	case apikey.Enable:
		return "enabled"
	case apikey.Rotate:
		return "rotated"
	case apikey.Revoke:
		return "revoked"
	case apikey.Delete:
		return "deleted"
	case apikey.Transfer:
		return "transferred"
	}
	return string(c)
}

// labelOf finds the words for a chosen value; a value that is no longer there stands for itself.
func labelOf(options []Option, value string) string {
	if i := slices.IndexFunc(options, func(o Option) bool { return o.Value == value }); i >= 0 {
		return options[i].Label
	}
	return value
}

// ownerTrouble says that a key's owner can't look after it; empty when all is well.
func ownerTrouble(p account.Person) string {
	switch p.Status {
	case account.Suspended:
		return "Suspended"
	case account.Removed:
		return "Removed"
	case account.Active:
	}
	return ""
}

func environmentLabel(e apikey.Environment) string {
	if e == apikey.Test {
		return "Test"
	}
	return "Live"
}

// scopeWords is a scope as people read it.
func scopeWords(scope string) string {
	if scope == apikey.All {
		return "All (*)"
	}
	return scope
}

// allowlistLines is the allowlist as its field shows it: an entry a line, a single address without its length.
func allowlistLines(k Key) []string {
	var out []string
	for _, p := range k.IPAllowlist {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	return out
}

// AllowlistText is what the edit form's field holds for a key.
func AllowlistText(k apikey.Key) string { return strings.Join(allowlistLines(Key{Key: k}), "\n") }
