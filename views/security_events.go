package views

import (
	"net/url"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/views/ui"
)

// Where the security events are.
const (
	SecurityPath       = AuditPath + "/security"
	SecurityExportPath = SecurityPath + "/export"
)

// SecurityState is what the address of the security events says, by the query's names.
type SecurityState struct{ Kind, Member, From, To string }

func (s SecurityState) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"kind": s.Kind, "member": s.Member, "from": s.From, "to": s.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

func (s SecurityState) at(cursor string) string {
	q := s.query()
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return withQuery(SecurityPath, q)
}

// ExportPath is where the events that the state lets through are downloaded as "csv" or "jsonl".
func (s SecurityState) ExportPath(format string) string {
	q := s.query()
	q.Set("format", format)
	return withQuery(SecurityExportPath, q)
}

// SecurityLog is the screen Security events.
type SecurityLog struct {
	Page
	State   SecurityState
	Cursor  string // of this page; empty for the newest
	Events  []SecurityEvent
	Older   string // cursor of the next page; empty at the end
	Members []Option
}

// SecurityEvent is an attempt that came to nothing, in plain values.
type SecurityEvent struct {
	ID, Kind, MemberID string
	Who                string // e-mail address today; empty when the member is not known
	WhoName            string
	KeyID, KeyName     string // of the key that was refused; empty when a person was, and the name when that key is gone
	Address, Detail    string
	Count              int
	FirstAt, LastAt    time.Time
}

func (m SecurityLog) pages() ui.Pages {
	p := ui.Pages{Target: "list", NewerLabel: "Newest", OlderLabel: "Older"}
	if m.Cursor != "" {
		p.NewerPath = m.State.at("")
	}
	if m.Older != "" {
		p.OlderPath = m.State.at(m.Older)
	}
	return p
}

// securityWords are the kinds of security events and what people read.
var securityWords = []ui.Choice{
	{Value: audit.SignInFailed, Label: "Sign-in failed"}, {Value: audit.SignInLocked, Label: "Sign-in locked"}, {Value: audit.SignInLimited, Label: "Too many sign-ins"},
	{Value: audit.PasswordFailed, Label: "Wrong current password"}, {Value: audit.PermissionRefused, Label: "Permission refused"},
	{Value: audit.OriginRefused, Label: "Form from another site refused"},
}

func (e SecurityEvent) what() string {
	return labelOf(securityWords, e.Kind)
}

// counted says how many events are on the page.
func (m SecurityLog) counted() string {
	return counted(len(m.Events), m.Cursor+m.Older != "", "event")
}

// chips lists the active filters in the order of the form.
func (m SecurityLog) chips() []chip {
	var out []chip
	add := func(value, label string, drop func(*SecurityState)) {
		if value != "" {
			rest := m.State
			drop(&rest)
			out = append(out, chip{label, rest.at("")})
		}
	}
	s := m.State
	add(s.Kind, labelOf(securityWords, s.Kind), func(r *SecurityState) { r.Kind = "" })
	add(s.Member, labelOf(m.Members, s.Member), func(r *SecurityState) { r.Member = "" })
	add(s.From, "From "+dayWords(s.From), func(r *SecurityState) { r.From = "" })
	add(s.To, "Until "+dayWords(s.To), func(r *SecurityState) { r.To = "" })
	return out
}

// about says what was refused, or what else is known of it.
func (e SecurityEvent) about() string {
	switch e.Detail {
	case "":
		return ""
	case string(account.Suspended):
		return "The password was right; the account is suspended"
	}
	if words, known := refusedWords[account.Action(e.Detail)]; known {
		return words
	}
	return e.Detail
}

// refusedWords are the actions as people call what they were not allowed to do.
var refusedWords = map[account.Action]string{
	account.IssueKey:    "Create an API key",
	account.EditKey:     "Edit an API key",
	account.DisableKey:  "Disable an API key",
	account.EnableKey:   "Enable an API key",
	account.RotateKey:   "Rotate an API key",
	account.RevokeKey:   "Revoke an API key",
	account.DeleteKey:   "Delete an API key",
	account.TransferKey: "Transfer an API key",
	account.ReadKeys:    "See API keys",
	account.VerifyKey:   "Verify an API key",
	account.GrantAll:    "Give an API key the scope *",
	account.ReadAudit:   "Read the audit log",

	account.SetUp:             "Set up the organisation",
	account.ReadMembers:       "See the members",
	account.CreateMember:      "Add a member",
	account.ResetPassword:     "Reset a member’s password",
	account.EraseMember:       "Erase a member",
	account.InviteMember:      "Invite a member",
	account.WithdrawInvite:    "Cancel an invitation",
	account.JoinMember:        "Join the organisation",
	account.ChangeRole:        "Change a member’s role or status",
	account.SuspendMember:     "Suspend a member",
	account.ReinstateMember:   "Reinstate a member",
	account.RemoveMember:      "Remove a member",
	account.SignOutMember:     "End a member’s sessions",
	account.StartEmailChange:  "Start an email change",
	account.CancelEmailChange: "Cancel an email change",
	account.RenameSelf:        "Change their own name",
	account.ChangePassword:    "Change their own password",
	account.ChangeEmail:       "Change their own email",
	account.SignIn:            "Sign in",
	account.EndSession:        "End a session",

	account.ReadConfig:       "See processes, bias profiles, scopes and the key policy",
	account.CreateWorkspace:  "Create a workspace",
	account.RenameWorkspace:  "Edit a workspace",
	account.ArchiveWorkspace: "Archive a workspace",
	account.RestoreWorkspace: "Restore a workspace",
	account.DeleteWorkspace:  "Delete a workspace",
	account.CreateProcess:    "Create a process",
	account.RenameProcess:    "Edit a process",
	account.ArchiveProcess:   "Archive a process",
	account.RestoreProcess:   "Restore a process",
	account.DeleteProcess:    "Delete a process",
	account.CreateProfile:    "Create a bias profile",
	account.EditProfile:      "Edit a bias profile",
	account.DeleteProfile:    "Delete a bias profile",
	account.CreateScope:      "Create a scope",
	account.EditScope:        "Edit a scope",
	account.RetireScope:      "Retire a scope",
	account.RestoreScope:     "Restore a scope",
	account.DeleteScope:      "Delete a scope",
	account.ChangePolicy:     "Change the key policy",
}
