package views

import (
	"net/url"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// KeyOwnerState is what the address of the list of key owners says. The query's names: q, left ("1"), sort ("name").
type KeyOwnerState struct {
	Search string
	Left   bool // suspended or removed
	ByName bool // else those with most keys to look at come first
}

func (s KeyOwnerState) at(cursor string) string { return withQuery(KeyOwnersPath, s.query(cursor)) }

// ExportPath is where the members that the state lets through are downloaded.
func (s KeyOwnerState) ExportPath() string {
	s.ByName = false // the file has an order of its own
	return withQuery(KeyOwnersExportPath, s.query(""))
}

func (s KeyOwnerState) query(cursor string) url.Values {
	q := url.Values{}
	set := func(name, value string, on bool) {
		if on {
			q.Set(name, value)
		}
	}
	set("q", s.Search, s.Search != "")
	set("left", "1", s.Left)
	set("sort", "name", s.ByName)
	set("cursor", cursor, cursor != "")
	return q
}

// KeyOwnerList is a page of the members who own keys.
type KeyOwnerList struct {
	Page
	State        KeyOwnerState
	Cursor       string // of this page, as the address has it; empty for the first
	Owners       []KeyOwner
	Newer, Older string // cursors of the neighbouring pages; empty when there is none
}

// KeyOwner is a member who owns keys, and their keys in figures.
type KeyOwner struct {
	account.Person
	Enabled, Expiring, Unused, Live int64
	LastUse                         *time.Time // of any of the keys
}

// OwnedKeys is the dialog about all of somebody's live keys. Fields: ownerId (to transfer them), return. Problems by: ownerId.
type OwnedKeys struct {
	Page
	Return                               string
	Owner                                account.Person
	Enabled, Disabled, InGrace, Requests int64 // live keys as they stand, and what came with them in the last 24 hours
	Busiest                              []Key // of them, the first first
	People                               []account.Person
	OwnerID                              string // as chosen
	Problems                             input.Problems
}

// keyOwnerPath is where a change to all of somebody's keys is asked for and made.
func keyOwnerPath(id string, change apikey.Change, back string) string {
	return withReturn(KeyOwnersPath+"/"+url.PathEscape(id)+"/"+string(change), back)
}

func (m KeyOwnerList) pages() ui.Pages {
	return neighbours("list", m.State.at, m.Newer, m.Older)
}

func (m KeyOwnerList) counted() string {
	return counted(len(m.Owners), m.Newer+m.Older != "", "owner")
}

// menu is what the viewer may do with all of an owner's keys.
func (m KeyOwnerList) menu(o KeyOwner) []ui.MenuItem {
	var items []ui.MenuItem
	for _, c := range []apikey.Change{apikey.Transfer, apikey.Revoke} {
		if o.Live > 0 && m.Viewer.May(actionOf(c)) {
			items = append(items, ui.MenuItem{Label: verb(c) + " all keys…", Path: keyOwnerPath(o.ID, c, m.State.at(m.Cursor)), Apart: final(c) && len(items) > 0})
		}
	}
	return items
}

// keysOf is the list of an owner's keys, narrowed further.
func keysOf(o KeyOwner, filter apikey.Filter) string {
	filter.OwnerID = o.ID
	return ListState{Filter: filter}.Path()
}

func (m OwnedKeys) live() int64 { return m.Enabled + m.Disabled + m.InGrace }

// heirs are those who may get the keys.
func (m OwnedKeys) heirs() []Option {
	var out []Option
	for _, p := range m.People {
		if p.ID != m.Owner.ID {
			out = append(out, Option{Value: p.ID, Label: personLabel(p)})
		}
	}
	return out
}

func (m OwnedKeys) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"ownerId", "o-owner", "New owner"})
}

// powerLost says what a key that was transferred from somebody who left can do in Moonlatch's own API (ADR 23).
const powerLost = "In Moonlatch’s own API such a key can do nothing until it is rotated."

// powerWords say what the keys can do in Moonlatch's own API once another owner has them.
func (m OwnedKeys) powerWords() string {
	if m.Owner.Status != account.Active {
		return powerLost
	}
	return "In Moonlatch’s own API none can do more than before, until it is rotated."
}
