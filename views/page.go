// Package views draws the pages. It takes plain values and knows no database, no request and no rule: what a
// person may do it asks internal/account, what a key may become internal/apikey.
//
// Each page component is the whole document. The parts that htmx may fetch alone are templ fragments whose name is
// their DOM id and the hx-target that asks for them: "keys" (the list) and "dialog" (whatever the dialog shows).
package views

import (
	"maps"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// Page is what every page carries.
type Page struct {
	Viewer Viewer
	Now    time.Time
	Flash  string // said once at the top after something was done; empty for nothing

	UnsetBase string // where links lead because BASE_URL is not set; empty when it is
	OtherHost bool   // with UnsetBase: the page was asked for at another host
}

// Viewer is who looks at the page. The zero Viewer is somebody who is not signed in.
type Viewer struct {
	account.Actor
	Organisation string // the organisation's name
}

// SignedIn says whether the viewer is known.
func (v Viewer) SignedIn() bool { return v.Email != "" }

// Option is one choice of a select. Options that share a Group stand together under it.
type Option = ui.Choice

func (v Viewer) initial() string {
	r, _ := utf8.DecodeRuneInString(v.DisplayName())
	return string(unicode.ToUpper(r))
}

// neighbours are the pages beside a page of a list, by the cursors that lead to them; at writes the list's address.
func neighbours(target string, at func(cursor string) string, newer, older string) ui.Pages {
	p := ui.Pages{Target: target, NewerLabel: "Previous", OlderLabel: "Next"}
	if newer != "" {
		p.NewerPath = at(newer)
	}
	if older != "" {
		p.OlderPath = at(older)
	}
	return p
}

// counted says how many there are on the page of a list; there is no total where there are more pages.
func counted(n int, more bool, noun string) string {
	if more {
		return "Showing " + ui.Count(int64(n), noun)
	}
	return ui.Count(int64(n), noun)
}

// fieldProblems are the problems of a form in the order of its fields.
type fieldProblems []fieldProblem

type fieldProblem struct{ id, label, text string }

func (p fieldProblems) heading() string {
	if len(p) == 1 {
		return "One thing needs another look."
	}
	return "These need another look."
}

// inOrder sorts problems like the form's fields, given as triples of key, DOM id and label. What belongs to no field
// comes first.
func inOrder(problems input.Problems, fields ...[3]string) fieldProblems {
	var out fieldProblems
	known := map[string]bool{}
	for _, f := range fields {
		known[f[0]] = true
		if text := problems[f[0]]; text != "" {
			out = append(out, fieldProblem{f[1], f[2], text})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(problems)) {
		if !known[key] {
			out = slices.Insert(out, 0, fieldProblem{text: problems[key]})
		}
	}
	return out
}
