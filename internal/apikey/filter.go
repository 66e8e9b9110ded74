package apikey

import (
	"slices"
	"time"
)

// Filter is what a list of keys is narrowed to. An empty field does not narrow.
type Filter struct {
	Search        string // in the name, or the owner's name or e-mail; or an id, a prefix or a signature
	Status        Status
	OwnerID       string
	Environment   Environment
	Scope         string
	ProfileID     string
	WorkspaceID   string
	ProcessID     string
	ExpiresWithin int  // days from now to the effective end, also of a grace period; a key that has ended does not count
	UnusedFor     int  // days
	Live          bool // works, or could be made to: see Key.LiveAt
	Orphaned      bool // live, and of an owner who was suspended or removed
	BreaksPolicy  bool // live, and not as the organisation's policy asks of new keys
}

// What figures about keys call soon, for their end, and long, for being unused.
const (
	SoonDays = 30
	LongDays = 90
)

// Order is what a list of keys is sorted by.
type Order string

// The orders of a list. ByUse takes a key as last used when it was created or enabled, if that is later than its last use.
const (
	ByCreation Order = "created"
	ByName     Order = "name"
	ByExpiry   Order = "expires"
	ByUse      Order = "used"
)

// Sort is an order and its direction.
type Sort struct {
	By         Order
	Descending bool
}

// Newest is how a list is sorted unless somebody asks otherwise.
var Newest = Sort{By: ByCreation, Descending: true}

// ParseSort reads "name" or "-created" (descending); ok is false for anything else.
func ParseSort(text string) (sort Sort, ok bool) {
	if text == "" {
		return Newest, true
	}
	if text[0] == '-' {
		sort.Descending, text = true, text[1:]
	}
	sort.By = Order(text)
	return sort, slices.Contains([]Order{ByCreation, ByName, ByExpiry, ByUse}, sort.By)
}

// String is the text that ParseSort reads.
func (s Sort) String() string {
	if s.Descending {
		return "-" + string(s.By)
	}
	return string(s.By)
}

// Position is a place in a sorted list: the key at which a page begins after (or, Backward, ends before).
type Position struct {
	Value    string // the sorted column's value: a name, or a time in RFC 3339
	ID       string
	Backward bool
}

// MostUsageDays is for how many days, today included, usage is read at most. It is kept for at least as long.
const MostUsageDays = 90

// DayUsage is how many requests a key was presented with on one day (UTC).
type DayUsage struct {
	Day      time.Time
	Accepted int64
	Refused  int64
}
