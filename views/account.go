package views

import (
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
)

// SignInForm is the door. Fields: email, password, next. Problems by: email, password; "" for both together.
type SignInForm struct {
	Page
	Email       string
	Next        string // a path of our own to go to afterwards
	Notice      string // like "You are signed out."
	LockedUntil time.Time
	Problems    input.Problems
}

// SetUpForm makes the organisation and its first owner. It posts to the path of the one-time link.
// Fields and problems: organisation, name, email, password; "" for the form as a whole.
type SetUpForm struct {
	Page
	Path                      string
	Organisation, Name, Email string
	Problems                  input.Problems
}

// Account is the viewer's own page.
type Account struct {
	Page
	Since    time.Time // when they joined
	Sessions []Session // the last used first
}

// NameForm is the form with which the viewer changes their name. Fields: name, return. Problems by: name.
type NameForm struct {
	Page
	Return   string
	Name     string
	Problems input.Problems
}

// PasswordForm is the form with which the viewer changes their password; what was typed into it is never shown again.
// Fields: currentPassword, newPassword, return. Problems by the same. A field whose name ends in password goes into no
// address.
type PasswordForm struct {
	Page
	Return      string
	LockedUntil time.Time
	Problems    input.Problems
}

// Session is where somebody is signed in: a browser, or a program that logged in.
type Session struct {
	ID         string
	Program    bool
	Address    string
	UserAgent  string
	StartedAt  time.Time
	LastSeenAt time.Time
	ExpiresAt  time.Time
	Current    bool // the one that looks at the page
}

// Failure is what an error page says. Status decides the heading and, when Sentence is empty, the text.
type Failure struct {
	Title string // "" for the one of the status
	Page
	Status    int
	Sentence  string           // what went wrong, for people
	RequestID string           // to quote when asking for help; empty for none
	Roles     []account.Role   // 403: the roles it takes
	Ask       []account.Person // 403: whom to ask
	RetryAt   time.Time        // 503: when to try again; zero when not known
	Back      string           // the page to open again, a path of our own; empty for the start
}
