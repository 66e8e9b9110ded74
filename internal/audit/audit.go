// Package audit says what is written down about a change, and chains what is written: each event of an
// organisation carries a SHA-256 over its own content and the hash of the event before it, so that an event
// altered, removed or slipped in later breaks the chain at that place. It is pure: no clock and no I/O.
package audit

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// Facts are what is known about a subject at one moment, by name. They never hold a secret.
type Facts map[string]any

// Subject is what a change was made to.
type Subject struct {
	Kind string // one of Kinds
	ID   string
	Name string
}

// Change is one thing that happened to one subject. Before is nil for what was made, After for what was removed. Action
// is "" for what its transaction was asked to do, and names what went along with that.
type Change struct {
	Action        account.Action
	Subject       Subject
	Before, After Facts
}

// Event is a change as it is stored: who, what, to which subject, when, from where.
type Event struct {
	OrgID     string
	Seq       int64
	ID        string
	At        time.Time
	Action    account.Action
	ActorID   string
	Email     string
	Role      account.Role
	SessionID string
	KeyID     string // of the key that acted; "" when a person did
	Address   string
	UserAgent string
	Subject   Subject
	Before    string // JSON of the facts that the change touched, as they were; "" when there was nothing before
	After     string // the same facts as they became
	PrevHash  []byte
	Hash      []byte
}

// NewEvent puts a change, made by an action, into words: of the facts on both sides only those that differ.
func NewEvent(id string, at time.Time, actor account.Actor, action account.Action, c Change) Event {
	before, after := difference(c.Before, c.After)
	return Event{
		OrgID: actor.OrgID, ID: id, At: at, Action: cmp.Or(c.Action, action),
		ActorID: actor.MemberID, Email: actor.Email, Role: actor.Role, SessionID: actor.SessionID, KeyID: actor.KeyID,
		Address: actor.Address, UserAgent: actor.UserAgent,
		Subject: c.Subject, Before: encode(before), After: encode(after),
	}
}

// Follow gives the event its place in the chain: after the event with this number and hash.
func (e Event) Follow(seq int64, hash []byte) Event {
	e.Seq, e.PrevHash = seq+1, hash
	e.Hash = e.sum()
	return e
}

// Genesis is the hash that an organisation's first event follows.
var Genesis = make([]byte, sha256.Size)

// sum hashes the canonical content: a JSON array of the fields in a fixed order, times in microseconds since 1970
// (what PostgreSQL keeps). The key that acted stands at the end, and only where one did: so events that were written
// before keys could act keep their hash.
func (e Event) sum() []byte {
	fields := []string{
		e.OrgID, strconv.FormatInt(e.Seq, 10), e.ID, strconv.FormatInt(e.At.UnixMicro(), 10), string(e.Action),
		e.ActorID, e.Email, string(e.Role), e.SessionID, e.Address, e.UserAgent,
		e.Subject.Kind, e.Subject.ID, e.Subject.Name, e.Before, e.After,
	}
	if e.KeyID != "" {
		fields = append(fields, e.KeyID)
	}
	content, err := json.Marshal(fields)
	if err != nil {
		panic(err) // an array of strings always has a JSON form
	}
	h := sha256.New()
	h.Write(e.PrevHash)
	h.Write(content)
	return h.Sum(nil)
}

// Filter is what a list of events is narrowed to. An empty field does not narrow.
type Filter struct {
	Action      account.Action
	ActorID     string // a member's
	ActorName   string // of one who is no member: ByOperator, ByPolicy
	SubjectKind string // one of Kinds
	SubjectID   string
	KeyID       string    // of the key that acted
	From, To    time.Time // From is in, To is out
}

// How those are called in an event's e-mail who are no members.
const (
	ByOperator = "operator"
	ByPolicy   = "key policy"
)

// Kinds are the kinds of subjects.
var Kinds = []string{
	"key", "member", "invitation", "session", "organisation", "workspace", "process", "profile", "scope", "policy",
}

// BrokenError names the first event at which a chain does not hold.
type BrokenError struct {
	Seq    int64
	Reason string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("the audit log is broken at event %d: %s", e.Seq, e.Reason)
}

// Chain walks an organisation's events in order and says where they stop fitting together.
type Chain struct {
	seq  int64
	hash []byte
}

// Check takes the next event; it returns a *BrokenError when the event does not follow from the one before.
func (c *Chain) Check(e Event) error {
	if c.hash == nil {
		c.hash = Genesis
	}
	switch want := c.seq + 1; {
	case e.Seq > want:
		return &BrokenError{want, "it was removed"}
	case e.Seq < want:
		return &BrokenError{e.Seq, "it was inserted"}
	case !bytes.Equal(e.PrevHash, c.hash):
		return &BrokenError{e.Seq, "it does not follow from the event before it: one of the two was altered or inserted"}
	case !bytes.Equal(e.Hash, e.sum()):
		return &BrokenError{e.Seq, "its content was altered"}
	}
	c.seq, c.hash = e.Seq, e.Hash
	return nil
}

// End compares the last event with the head that the organisation keeps.
func (c *Chain) End(seq int64, hash []byte) error {
	if c.hash == nil {
		c.hash = Genesis
	}
	switch {
	case c.seq < seq:
		return &BrokenError{c.seq + 1, "it was removed, as was everything after it"}
	case c.seq > seq:
		return &BrokenError{seq + 1, "it was inserted after the end of the log"}
	case !bytes.Equal(c.hash, hash):
		return &BrokenError{seq, "it is not the event that was written last"}
	}
	return nil
}

// Len is how many events have been checked.
func (c *Chain) Len() int64 { return c.seq }

// KeyChange is a change to a key. A key that was issued has no before, one that was deleted no after.
func KeyChange(before, after *apikey.Key) Change {
	c := Change{}
	if before != nil {
		c.Subject, c.Before = keySubject(*before), keyFacts(*before)
	}
	if after != nil {
		c.Subject, c.After = keySubject(*after), keyFacts(*after)
	}
	return c
}

func keySubject(k apikey.Key) Subject { return Subject{Kind: "key", ID: k.ID, Name: k.Name} }

func keyFacts(k apikey.Key) Facts {
	allowlist := []string{}
	for _, p := range k.IPAllowlist {
		allowlist = append(allowlist, p.String())
	}
	return Facts{
		"name": k.Name, "environment": k.Environment, "prefix": k.Prefix, "signature": k.Signature,
		"scopes": k.Scopes, "status": k.Stored, "ownerId": k.OwnerID, "workspaceId": k.WorkspaceID,
		"processId": k.ProcessID, "biasProfileId": k.ProfileID, "ipAllowlist": allowlist,
		"roleLimit": k.RoleLimit, "expiresAt": moment(&k.ExpiresAt), "rotatedAt": moment(k.RotatedAt), "graceEndsAt": moment(k.GraceEndsAt),
		"replacedBy": k.ReplacedBy, "revokedAt": moment(k.RevokedAt),
	}
}

// ProfileChange says what happened to a bias profile: before is nil for a new one, after for one that was deleted. Each
// category is a fact of its own, so that an event holds only those that changed.
func ProfileChange(before, after *apikey.Profile) Change {
	c := Change{}
	if before != nil {
		c.Subject, c.Before = profileSubject(*before), profileFacts(*before)
	}
	if after != nil {
		c.Subject, c.After = profileSubject(*after), profileFacts(*after)
	}
	return c
}

func profileSubject(p apikey.Profile) Subject {
	return Subject{Kind: "profile", ID: p.ID, Name: p.Name}
}

// CategoryFact is what the fact about a category begins with; its name follows.
const CategoryFact = "category "

func profileFacts(p apikey.Profile) Facts {
	facts := Facts{"name": p.Name, "description": p.Description, "defaultThreshold": p.DefaultThreshold}
	for _, c := range p.Categories {
		facts[CategoryFact+c.Name] = c.Words()
	}
	return facts
}

func moment(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// difference drops the facts that are the same on both sides, and the empty ones of a side that stands alone.
func difference(before, after Facts) (Facts, Facts) {
	if before == nil || after == nil {
		return filled(before), filled(after)
	}
	b, a := Facts{}, Facts{}
	for name, was := range before {
		is, stays := after[name]
		if !stays || !reflect.DeepEqual(was, is) {
			b[name] = was
		}
		if stays && !reflect.DeepEqual(was, is) {
			a[name] = is
		}
	}
	for name, is := range after {
		if _, was := before[name]; !was {
			a[name] = is
		}
	}
	return b, a
}

func filled(facts Facts) Facts {
	if facts == nil {
		return nil
	}
	out := Facts{}
	for name, v := range facts {
		if s := reflect.ValueOf(v); s.Kind() == reflect.Slice && s.Len() == 0 || s.Kind() == reflect.String && s.Len() == 0 {
			continue
		}
		out[name] = v
	}
	return out
}

func encode(facts Facts) string {
	if facts == nil {
		return ""
	}
	text, err := json.Marshal(facts) // keys are sorted: one set of facts has one text
	if err != nil {
		panic(err) // facts are strings, numbers, booleans and lists of them
	}
	return string(text)
}
