package views

import (
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
)

// Key is a key with the names of what it refers to.
type Key struct {
	apikey.Key
	Owner       account.Person
	Creator     account.Person
	Workspace   string // name; empty when none
	Process     string // name; empty when none
	Profile     string // the bias profile's name; empty when none
	Use         apikey.Use
	IdleSince   time.Time // the latest of its last use, its creation, and when it was last enabled
	Requests24h int64     // requests in the last 24 hours; read only where a page says "what will break"
}

// KeyList is the screen Account Settings → API Keys, and the tab API keys of a process's Configuration, which is the same
// for the keys of that process.
type KeyList struct {
	Page
	State        ListState
	Process      Place  // whose keys these are; the zero Place for the whole organisation's
	Cursor       string // of this page, as the address has it; empty for the first
	Keys         []Key
	Newer, Older string // cursors of the neighbouring pages; empty when there is none
	Policy       apikey.Policy
	NoneYet      bool // there is no key here at all: the page teaches

	Owners, Scopes, Profiles, Workspaces, Processes []Option // what can be filtered by

	BaseURL string // where this server is reached, like https://keys.example.com
}

// KeyForm is the form that creates a key, as it was typed. Fields: name, expires ("30d", "90d", "180d", "365d",
// "date"), expiresDate, zone, allScopes ("1"), scopes (repeated), environment, workspaceId, processId, biasProfileId,
// ipAllowlist, nonce, return. Problems by: name, expiresAt, scopes, environment, workspaceId, processId,
// biasProfileId, ipAllowlist; "" for the form as a whole.
type KeyForm struct {
	Page
	Return      string
	Process     Place // that the key is made for, where that is no choice; else the zero Place
	Nonce       string
	Name        string
	Expires     string
	ExpiresDate string
	Zone        string // of ExpiresDate, by its IANA name; empty for UTC
	AllScopes   bool
	ScopeNames  []string
	Environment string
	WorkspaceID string
	ProcessID   string
	ProfileID   string
	IPAllowlist string
	Problems    input.Problems

	Policy     apikey.Policy
	Catalogue  []Scope // without the retired ones
	Workspaces []Option
	Processes  []Option // Group is the workspace's name
	Profiles   []Option
}

// Scope is an entry of the organisation's catalogue.
type Scope struct {
	Name, Description string
}

// IssuedKey is what the show-once dialog shows: after creating, or after rotating when Old is given.
type IssuedKey struct {
	Page
	Return    string
	Key       Key
	Plaintext apikey.Plaintext
	Old       *Key // the key that was rotated, as it is now (its grace period set)
	BaseURL   string
}

// CreatedBefore answers a form that was posted twice.
type CreatedBefore struct {
	Page
	Return string
	Key    Key
}

// KeyEdit is the form that edits a key, as it was typed. Fields: name, status ("enabled", "disabled"), biasProfileId,
// ipAllowlist, expiresDate and zone (see ExpiryDate: unchanged keeps the moment), version, return. Problems by: name, status,
// biasProfileId, ipAllowlist, expiresAt; "" for the form as a whole.
type KeyEdit struct {
	Page
	Return      string
	Key         Key // as it is stored
	Version     int // of the key when the form was first shown
	Name        string
	Status      string
	ProfileID   string
	IPAllowlist string
	ExpiresDate string
	Zone        string // of ExpiresDate, by its IANA name; empty for UTC
	Problems    input.Problems

	Policy   apikey.Policy
	Profiles []Option
}

// KeyRotation is the form that rotates a key. Fields: graceSeconds, return. Problems by: graceSeconds, "".
type KeyRotation struct {
	Page
	Return       string
	Key          Key
	GraceSeconds string // as typed; empty for the default
	Problems     input.Problems
	Policy       apikey.Policy
}

// Confirmation asks before a change: Disable, Enable, Revoke or Delete of one key, Disable or Revoke of several.
// The revocation of a rotated key in its grace period is shown as "Stop the old key now".
// Fields: return, and id (repeated) when Several.
type Confirmation struct {
	Page
	Return    string
	Change    apikey.Change
	Keys      []Key // those that will change, with Requests24h
	Unchanged []Key // those that were asked for and stay as they are
	Several   bool  // asked for through BulkPath, however many are left
}

// KeyTransfer is the form that gives a key another owner. Fields: ownerId, return. Problems by: ownerId, "".
type KeyTransfer struct {
	Page
	Return   string
	Key      Key
	OwnerID  string           // as chosen
	People   []account.Person // who may own it: active members whose role may issue keys
	Problems input.Problems
}

// KeyConflict says that somebody else changed the key meanwhile, and shows it as it is now.
type KeyConflict struct {
	Page
	Return string
	Tried  apikey.Change // what was asked for
	Key    Key           // fresh
	Latest *Event        // the newest event of its trail, when known
}

// KeyDetail is a key's own page.
type KeyDetail struct {
	Page
	Key     Key
	Policy  apikey.Policy
	Days    int               // 30 or 90 (query: days)
	Usage   []apikey.DayUsage // one a day, oldest first, without gaps
	Line    []Key             // the line of rotations, oldest first, this key among them
	Trail   []Event           // newest first
	Older   string            // cursor of the trail's next page (query: before); empty when this is all
	BaseURL string
}

// ExpiryDate is the day of a zone on which a key ends: what the edit form's date shows. A key that ends at midnight ends with
// the day before.
func ExpiryDate(at time.Time, zone string) string {
	in, _ := apikey.Zone(zone)
	return at.Truncate(time.Millisecond).Add(-time.Millisecond).In(in).Format(time.DateOnly) // as the script reads it
}
