// Package views draws the pages. It takes plain values and knows no database, no request and no rule: what a
// person may do it asks internal/account, what a key may become internal/apikey.
//
// Each page component is the whole document. The parts that htmx may fetch alone are templ fragments whose name is
// their DOM id and the hx-target that asks for them: "keys" (the list) and "dialog" (whatever the dialog shows).
package views

import (
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
)

// Page is what every page carries.
type Page struct {
	Viewer Viewer
	Now    time.Time
	Flash  string // said once at the top after something was done; empty for nothing
}

// Viewer is who looks at the page. The zero Viewer is somebody who is not signed in.
type Viewer struct {
	account.Actor
	Organisation string // the organisation's name
}

// SignedIn says whether the viewer is known.
func (v Viewer) SignedIn() bool { return v.Email != "" }

// Option is one choice of a select. Options that share a Group stand together under it.
type Option struct {
	Value, Label, Group string
}
