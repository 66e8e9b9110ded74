package audit

import "time"

// Kinds of security events.
const (
	SignInFailed      = "sign_in.failed"       // a wrong password for a member's account, or a right one of a suspended member
	SignInLocked      = "sign_in.locked"       // the last failure before attempts at an account are refused
	SignInLimited     = "sign_in.limited"      // as many successful sign-ins of a member as are allowed for now
	PasswordFailed    = "password.failed"      // a wrong current password by a signed-in member who changes it
	PermissionRefused = "permission.refused"   // an action that the caller's role or key does not allow
	OriginRefused     = "cross_origin.refused" // a form that another site made a member's browser send
)

// SecurityKinds lists them.
var SecurityKinds = []string{SignInFailed, SignInLocked, SignInLimited, PasswordFailed, PermissionRefused, OriginRefused}

// SecurityEvent is an attempt that came to nothing, and how often it was made within an hour.
type SecurityEvent struct {
	ID, OrgID, Kind string
	MemberID        string // whose account, or who was refused
	KeyID           string // of the key that was refused; "" for a person
	Address         string // of IPv6 the /64; "", and KeyID and Detail may be so too, where the hour has too many events to tell them apart
	Detail          string // the action that was refused, or the status of the account
	FirstAt, LastAt time.Time
	Count           int
}

// SecurityFilter is what a list of security events is narrowed to. An empty field does not narrow.
type SecurityFilter struct {
	Kind, MemberID string
	From, To       time.Time // of the last attempt; To is not in
}
