package views

import (
	"strconv"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// ScopeList is the catalogue of scopes, by resource.
type ScopeList struct {
	Page
	Scopes []CataloguedScope
	All    int64 // live keys that hold "*"
}

// CataloguedScope is an entry of the catalogue, with the keys that hold it by name.
type CataloguedScope struct {
	Scope
	Retired bool
	Live    int64 // keys
	Other   int64 // keys whose life is over
	Asked   bool  // Moonlatch's own API asks for it
}

// ScopeForm makes a scope (with a zero Scope) or describes one, as it was typed. Fields: name, description, return.
// Problems by: name, description; "" for the form as a whole.
type ScopeForm struct {
	Page
	Return      string
	Scope       CataloguedScope // that is described
	Name        string
	Description string
	Retired     bool // the name that was typed is a retired scope's
	Problems    input.Problems
}

// ScopeChange asks before a scope is retired, brought back or deleted.
type ScopeChange struct {
	Page
	Return string
	Scope  CataloguedScope
}

// groups parts the catalogue by resource.
func (m ScopeList) groups() []scopeGroup[CataloguedScope] {
	return byResource(m.Scopes, func(s CataloguedScope) string { return s.Name })
}

func (m ScopeList) counted() string {
	retired := 0
	for _, s := range m.Scopes {
		if s.Retired {
			retired++
		}
	}
	if retired == 0 {
		return ui.Count(int64(len(m.Scopes)), "scope")
	}
	return ui.Count(int64(len(m.Scopes)), "scope") + ", " + strconv.Itoa(retired) + " retired"
}

// menu is what the viewer may do with a scope.
func (m ScopeList) menu(s CataloguedScope) []ui.MenuItem {
	var out []ui.MenuItem
	add := func(action account.Action, label, change string, apart bool) {
		if m.Viewer.May(action) {
			out = append(out, ui.MenuItem{Label: label, Path: ScopePath(s.Name, change), Apart: apart})
		}
	}
	add(account.EditScope, "Describe…", "edit", false)
	if s.Retired {
		add(account.RestoreScope, "Bring back…", "restore", false)
	} else {
		add(account.RetireScope, "Retire…", "retire", false)
	}
	add(account.DeleteScope, "Delete…", "delete", true)
	return out
}

// keysPath is the list of the keys that hold a scope by name.
func (s CataloguedScope) keysPath() string { return keysWith(s.Name) }

func keysWith(scope string) string {
	return ListState{Filter: apikey.Filter{Scope: scope, Live: true}}.Path()
}

// held says how many keys hold a scope, of those that are live.
func (s CataloguedScope) held() string {
	return ui.Count(s.Live, "live key") + ui.Plural(int(min(s.Live, 2)), " holds", " hold") + " it by name"
}

// deletable says whether nothing needs the scope any more.
func (s CataloguedScope) deletable() bool { return !s.Asked && s.Live == 0 && s.Other == 0 }

func (m ScopeForm) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"name", "s-name", "Name"}, [3]string{"description", "s-description", "Description"})
}
