package views

import (
	"cmp"
	"net/url"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/views/ui"
)

// Where the audit log is.
const (
	AuditCheckPath  = AuditPath + "/check"
	AuditExportPath = AuditPath + "/export"
)

// AuditState is what the log's address says, already recognised, by the query's names: what (an action, or a kind of
// subjects), actor (a member's id, or one of ByNobody), subject, key (the one that acted), from and to (days in UTC, both
// in); and cursor, which is the page's and not the state's.
type AuditState struct{ What, Actor, Subject, Key, From, To string }

// Query writes the state as the log's address carries it.
func (s AuditState) Query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{"what": s.What, "actor": s.Actor, "subject": s.Subject, "key": s.Key, "from": s.From, "to": s.To} {
		if value != "" {
			q.Set(name, value)
		}
	}
	return q
}

// Path is the log in this state, from its newest event.
func (s AuditState) Path() string { return s.at("") }

func (s AuditState) at(cursor string) string {
	q := s.Query()
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return withQuery(AuditPath, q)
}

// ExportPath is where the events that the state lets through are downloaded as "csv" or "jsonl".
func (s AuditState) ExportPath(format string) string {
	q := s.Query()
	q.Set("format", format)
	return withQuery(AuditExportPath, q)
}

func withQuery(path string, q url.Values) string {
	if len(q) == 0 {
		return path
	}
	return path + "?" + q.Encode()
}

// AuditOf is the log of what happened to one key, member and so on.
func AuditOf(id string) string { return AuditState{Subject: id}.Path() }

// Those who act and are no members, by the value of the filter.
const (
	ActorOperator = "operator"
	ActorPolicy   = "policy"
)

// AuditLog is the screen Audit log.
type AuditLog struct {
	Page
	State       AuditState
	Cursor      string // of this page, as the address has it; empty for the newest
	Events      []Event
	Older       string   // cursor of the next page; empty at the log's beginning
	Actors      []Option // members who can have done something
	SubjectName string   // what State.Subject stands for; empty when nothing here is called so any more
	KeyName     string   // the same of State.Key
}

// AuditCheck is what a check of the log's chain has found, or how far it has come.
type AuditCheck struct {
	Page
	Return       string
	Done         bool
	Checked, All int64 // events
	BrokenAt     int64 // the number of the first event that does not hold; 0 when all do
	Reason       string
	Hash         string // of the last event that holds, in hexadecimal
	LastAt       time.Time
	At           time.Time
}

// percent is how far the check has come.
func (m AuditCheck) percent() int64 {
	if m.All == 0 {
		return 0
	}
	return min(100, m.Checked*100/m.All)
}

// Event is an entry of the audit log in plain values.
type Event struct {
	Seq         int64
	At          time.Time
	Action      account.Action
	ActorID     string // empty for the operator and the key policy
	Who         string // e-mail address, or "operator"
	WhoName     string // the member's name today; empty when none is known
	Role        account.Role
	Address     string
	UserAgent   string
	SessionID   string
	KeyID       string // the key through which a program acted; empty when a person did
	KeyName     string // empty when that key is gone
	SubjectKind string
	SubjectID   string
	Subject     string // its name at the time
	SubjectHere bool   // it is still there
	Made        bool   // there was nothing before
	Gone        bool   // there is nothing after
	Changes     []FieldChange
}

// FieldChange is one fact before and after.
type FieldChange struct {
	Field         string
	Before, After Fact
}

// Fact is text for people; empty means that there was none.
type Fact struct {
	Text string
	At   time.Time // of a moment; zero for any other fact
}

// happening is an action in words.
type happening struct {
	words   string // after "who"
	names   bool   // the subject's name follows
	label   string // for the filter; empty for what is never written down
	subject string // the kind of subjects that the filter's group is named for
}

// happenings is every action in words.
var happenings = map[account.Action]happening{
	account.IssueKey:    {"created the key", true, "Key created", "key"},
	account.EditKey:     {"edited the key", true, "Key edited", "key"},
	account.DisableKey:  {"disabled the key", true, "Key disabled", "key"},
	account.EnableKey:   {"enabled the key", true, "Key enabled", "key"},
	account.RotateKey:   {"rotated the key", true, "Key rotated", "key"},
	account.RevokeKey:   {"revoked the key", true, "Key revoked", "key"},
	account.DeleteKey:   {"deleted the key", true, "Key deleted", "key"},
	account.TransferKey: {"transferred the key", true, "Key transferred", "key"},
	account.ReadKeys:    {words: "looked at keys"},
	account.VerifyKey:   {words: "verified a key"},
	account.GrantAll:    {words: "gave a key the scope *"},
	account.ReadAudit:   {words: "read the audit log"},

	account.SetUp:           {"set up the organisation", true, "Organisation set up", "organisation"},
	account.ReadMembers:     {words: "looked at the members"},
	account.CreateMember:    {"added the member", true, "Added by the operator", "member"},
	account.ResetPassword:   {"set a new password for", true, "Password set by the operator", "member"},
	account.EraseMember:     {"erased the name and the email of", true, "Member erased by the operator", "member"},
	account.InviteMember:    {"invited", true, "Invited", "invitation"},
	account.WithdrawInvite:  {"withdrew the invitation of", true, "Invitation withdrawn", "invitation"},
	account.JoinMember:      {"joined the organisation", false, "Joined", "member"},
	account.ChangeRole:      {"changed the role of", true, "Role changed", "member"},
	account.SuspendMember:   {"suspended", true, "Suspended", "member"},
	account.ReinstateMember: {"reinstated", true, "Reinstated", "member"},
	account.RemoveMember:    {"removed", true, "Removed", "member"},
	account.SignOutMember:   {"ended the sessions of", true, "Signed out by somebody else", "member"},
	account.RenameSelf:      {"changed their own name", false, "Renamed themselves", "member"},
	account.ChangePassword:  {"changed their own password", false, "Password changed", "member"},
	account.ChangeEmail:     {"changed the email of", true, "Email changed", "member"},

	account.StartEmailChange:  {"started an email change for", true, "Email change started", "member"},
	account.CancelEmailChange: {"cancelled the email change of", true, "Email change cancelled", "member"},

	account.SignIn:     {"signed in", false, "Signed in", "session"},
	account.EndSession: {"ended a session of", true, "Signed out", "session"},

	account.ReadConfig:       {words: "looked at the configuration"},
	account.CreateWorkspace:  {"created the workspace", true, "Workspace created", "workspace"},
	account.RenameWorkspace:  {"renamed the workspace", true, "Workspace renamed", "workspace"},
	account.ArchiveWorkspace: {"archived the workspace", true, "Workspace archived", "workspace"},
	account.RestoreWorkspace: {"restored the workspace", true, "Workspace restored", "workspace"},
	account.DeleteWorkspace:  {"deleted the workspace", true, "Workspace deleted", "workspace"},
	account.CreateProcess:    {"created the process", true, "Process created", "process"},
	account.RenameProcess:    {"renamed the process", true, "Process renamed", "process"},
	account.ArchiveProcess:   {"archived the process", true, "Process archived", "process"},
	account.RestoreProcess:   {"restored the process", true, "Process restored", "process"},
	account.DeleteProcess:    {"deleted the process", true, "Process deleted", "process"},
	account.CreateProfile:    {"created the bias profile", true, "Profile created", "profile"},
	account.EditProfile:      {"edited the bias profile", true, "Profile edited", "profile"},
	account.DeleteProfile:    {"deleted the bias profile", true, "Profile deleted", "profile"},
	account.CreateScope:      {"created the scope", true, "Scope created", "scope"},
	account.EditScope:        {"edited the scope", true, "Scope edited", "scope"},
	account.RetireScope:      {"retired the scope", true, "Scope retired", "scope"},
	account.RestoreScope:     {"restored the scope", true, "Scope restored", "scope"},
	account.DeleteScope:      {"deleted the scope", true, "Scope deleted", "scope"},
	account.ChangePolicy:     {"changed the key policy", false, "Policy changed", "policy"},
}

// happened is what was done, in words, after "who". An action that has none stands for itself.
func (e Event) happened() string {
	h, known := happenings[e.Action]
	switch {
	case !known:
		return string(e.Action)
	case e.Action == account.RotateKey && e.Made:
		return "made the successor key"
	}
	return h.words
}

// names says whether the subject's name belongs to the sentence.
func (e Event) names() bool {
	h, known := happenings[e.Action]
	return h.names || !known
}

// auditKinds are the groups of the filter, in the order in which people look for them.
var auditKinds = []struct{ kind, group, all string }{
	{"key", "API keys", "Anything about a key"},
	{"member", "Members", "Anything about a member"},
	{"invitation", "Invitations", "Anything about an invitation"},
	{"session", "Sessions", "Anything about a session"},
	{"workspace", "Workspaces", "Anything about a workspace"},
	{"process", "Processes", "Anything about a process"},
	{"profile", "Bias profiles", "Anything about a bias profile"},
	{"scope", "Scopes", "Anything about a scope"},
	{"policy", "Key policy", "Anything about the key policy"},
	{"organisation", "Organisation", "Anything about the organisation"},
}

// whatOptions are the kinds of subjects and what can happen to each.
func whatOptions() []Option {
	var out []Option
	for _, k := range auditKinds {
		out = append(out, Option{Value: k.kind, Label: k.all, Group: k.group})
		for _, a := range account.Actions() {
			if h := happenings[a]; h.subject == k.kind && h.label != "" {
				out = append(out, Option{Value: string(a), Label: h.label, Group: k.group})
			}
		}
	}
	return out
}

func (m AuditLog) actorOptions() []Option {
	out := []Option{{Value: ActorOperator, Label: "The operator"}, {Value: ActorPolicy, Label: "The key policy"}}
	for _, o := range m.Actors {
		o.Group = "Members"
		out = append(out, o)
	}
	return out
}

// chips lists the active filters in the order of the form.
func (m AuditLog) chips() []chip {
	var out []chip
	add := func(value, label string, drop func(*AuditState)) {
		if value != "" {
			rest := m.State
			drop(&rest)
			out = append(out, chip{label, rest.Path()})
		}
	}
	s := m.State
	what := labelOf(whatOptions(), s.What)
	if h, known := happenings[account.Action(s.What)]; known {
		what = upper(h.words)
	}
	add(s.What, what, func(r *AuditState) { r.What = "" })
	add(s.Actor, "By "+labelOf(m.actorOptions(), s.Actor), func(r *AuditState) { r.Actor = "" })
	add(s.Subject, "About “"+cmp.Or(m.SubjectName, shortID(s.Subject))+"”", func(r *AuditState) { r.Subject = "" })
	add(s.Key, "Through the key “"+cmp.Or(m.KeyName, shortID(s.Key))+"”", func(r *AuditState) { r.Key = "" })
	add(s.From, "From "+dayWords(s.From), func(r *AuditState) { r.From = "" })
	add(s.To, "Until "+dayWords(s.To), func(r *AuditState) { r.To = "" })
	return out
}

func dayWords(day string) string {
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return day
	}
	return at.Format("2 Jan 2006")
}

// here is the log as it is shown, for the way back.
func (m AuditLog) here() string { return m.State.at(m.Cursor) }

func (m AuditLog) pages() ui.Pages {
	p := ui.Pages{Target: "list", NewerLabel: "Newest", OlderLabel: "Older"}
	if m.Cursor != "" {
		p.NewerPath = m.State.Path()
	}
	if m.Older != "" {
		p.OlderPath = m.State.at(m.Older)
	}
	return p
}

// counted says how many events are on the page; there is no total, for counting them takes longer than the page.
func (m AuditLog) counted() string {
	return counted(len(m.Events), m.Cursor+m.Older != "", "event")
}

// by is the log of what whoever did this did.
func (e Event) by() string {
	switch {
	case e.ActorID != "":
		return AuditState{Actor: e.ActorID}.Path()
	case e.Role == account.Operator && e.Who == "operator":
		return AuditState{Actor: ActorOperator}.Path()
	}
	return AuditState{Actor: ActorPolicy}.Path()
}

// subjectPath is the page of what was changed; empty when it is gone, or has none.
func (e Event) subjectPath() string {
	if e.SubjectKind == "policy" {
		return PolicyPath
	}
	if !e.SubjectHere {
		return ""
	}
	switch e.SubjectKind {
	case "key":
		return KeyPath(e.SubjectID)
	case "process":
		return ProcessPath(e.SubjectID)
	case "member":
		return MemberPath(e.SubjectID)
	}
	return ""
}

// follows says whether the log has more to tell of the subject: of the whole organisation there is no other log, and a session only begins and ends.
func (e Event) follows() bool {
	return e.SubjectID != "" && e.SubjectKind != "session" && e.SubjectKind != "policy" && e.SubjectKind != "scope" && e.SubjectKind != "organisation"
}

// roleThen is the role that somebody had when they did it.
func roleThen(e Event) string {
	if e.ActorID == "" {
		return "Not a member"
	}
	return e.Role.Label()
}

// upper begins a sentence.
func upper(text string) string {
	r, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(r)) + text[size:]
}
