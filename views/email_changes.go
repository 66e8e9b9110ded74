package views

import (
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
)

// EmailForm starts the change of a member's address. Field and problem: email.
type EmailForm struct {
	Page
	Return   string
	Nonce    string
	Member   account.Person
	Email    string // the new address
	Problems input.Problems
}

func (m EmailForm) own() bool { return m.Member.ID == m.Viewer.MemberID }

// EmailLinkOnce shows the link that confirms an address, the only time that it is shown.
type EmailLinkOnce struct {
	Page
	Return    string
	Member    account.Person
	Email     string
	ExpiresAt time.Time
	Link      string
}

// ConfirmEmailForm confirms an address. It posts to the path of the link. Field and problem: password.
type ConfirmEmailForm struct {
	Page
	Path          string
	Organisation  string
	Before, Email string
	EndsAt        time.Time
	LockedUntil   time.Time
	Problems      input.Problems
}
