package views

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// MemberPath is a member's own page.
func MemberPath(id string) string { return MembersPath + "/" + url.PathEscape(id) }

// memberChange is where a change to a member is asked for and made, with the page that it came from.
func memberChange(id, change, back string) string { return withReturn(MemberPath(id)+"/"+change, back) }

// InvitePath is where somebody is invited. The address and the role may be filled in already.
const InvitePath = MembersPath + "/invite"

// Member is somebody of the organisation.
type Member struct {
	account.Person
	JoinedAt time.Time
	SeenAt   *time.Time // nil: not in the last month, which is as long as sessions are kept
	LiveKeys int        // that they own
	ManyKeys bool       // so many that they were counted to LiveKeys alone
}

// keysCounted is how many live keys a member owns, as far as they were counted.
func (m Member) keysCounted() string {
	if m.ManyKeys {
		return ui.Number(int64(m.LiveKeys)) + "+"
	}
	return ui.Number(int64(m.LiveKeys))
}

func (m Member) keysPath() string {
	return ListState{Filter: apikey.Filter{OwnerID: m.ID, Live: true}}.Path()
}

func memberDot(s account.Status) string {
	switch s {
	case account.Active:
		return "dot good-text"
	case account.Suspended:
		return "dot hollow warn-text"
	case account.Removed:
	}
	return "dot square muted"
}

func memberStatus(s account.Status) string {
	text := string(s)
	return strings.ToUpper(text[:1]) + text[1:]
}

// MemberState is what the address of the list of members says.
type MemberState struct {
	Search string
	Role   account.Role
	Status string // a status, "all", or empty for everybody who was not removed
}

// EveryStatus asks for removed members too.
const EveryStatus = "all"

// Path is the list in this state.
func (s MemberState) Path() string { return s.at("") }

func (s MemberState) at(cursor string) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": s.Search, "role": string(s.Role), "status": s.Status, "cursor": cursor} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if len(q) == 0 {
		return MembersPath
	}
	return MembersPath + "?" + q.Encode()
}

// MemberList is a page of the organisation's members.
type MemberList struct {
	Page
	State        MemberState
	Cursor       string
	Members      []Member
	Newer, Older string       // cursors of the neighbouring pages
	Invitations  []Invitation // that fit the search; shown on the first page alone, and where no filter is set
	MoreInvited  bool         // there are invitations that are not shown
}

func (m MemberList) here() string { return m.State.at(m.Cursor) }

func (m MemberList) pages() ui.Pages {
	return neighbours("list", m.State.at, m.Newer, m.Older)
}

func (m MemberList) counted() string {
	return counted(len(m.Members), m.Newer+m.Older != "", "member")
}

func roleOptions() []Option {
	var out []Option
	for _, r := range account.Roles {
		out = append(out, Option{Value: string(r), Label: r.Label()})
	}
	return out
}

func memberStatusOptions() []Option {
	return []Option{{Value: string(account.Active), Label: "Active"}, {Value: string(account.Suspended), Label: "Suspended"},
		{Value: string(account.Removed), Label: "Removed"}, {Value: EveryStatus, Label: "Everybody there ever was"}}
}

// mayChange says whether the viewer sees any way to change a member.
func mayChange(v Viewer, p account.Person) bool { return len(memberMenu(v, p, "")) > 0 }

// memberMenu is what the viewer may do to a member, as the member stands.
func memberMenu(v Viewer, p account.Person, back string) []ui.MenuItem {
	var out []ui.MenuItem
	add := func(action account.Action, label, change string, apart bool) {
		if v.May(action) {
			out = append(out, ui.MenuItem{Label: label, Path: memberChange(p.ID, change, back), Apart: apart})
		}
	}
	if p.Status == account.Removed {
		return nil
	}
	add(account.ChangeRole, "Change role…", "role", false)
	if p.Status == account.Active {
		add(account.StartEmailChange, "Change email…", "email", false)
		add(account.SignOutMember, "Sign out everywhere…", "sign-out", false)
		add(account.SuspendMember, "Suspend…", "suspend", true)
	} else {
		add(account.ReinstateMember, "Reinstate…", "reinstate", false)
	}
	add(account.RemoveMember, "Remove…", "remove", p.Status != account.Active)
	return out
}

// MemberDetail is a member's own page.
type MemberDetail struct {
	Page
	Member   Member
	Keys     LiveKeys
	Sessions []Session // for those who may end them

	NewEmail   string    // the address that waits for its link to be opened; empty for none
	NewEmailBy time.Time // until when the link works
}

// LiveKeys is how many live keys somebody owns, and how much they are used.
type LiveKeys struct{ Enabled, Disabled, InGrace, Requests24h int64 }

func (k LiveKeys) total() int64 { return k.Enabled + k.Disabled + k.InGrace }

// parts says how the keys stand: "10 enabled, 1 disabled, 1 rotated and still accepted".
func (k LiveKeys) parts() string {
	var out []string
	for _, part := range []struct {
		n    int64
		word string
	}{{k.Enabled, "enabled"}, {k.Disabled, "disabled"}, {k.InGrace, "rotated and still accepted"}} {
		if part.n > 0 {
			out = append(out, ui.Number(part.n)+" "+part.word)
		}
	}
	return strings.Join(out, ", ")
}

// them is how a sentence goes on about the keys.
func (k LiveKeys) them() string { return ui.Plural(int(k.total()), "it", "them") }

// MemberForm asks before a change to a member. Not every question needs all of it.
type MemberForm struct {
	Page
	Member    account.Person
	Return    string
	Keys      LiveKeys
	LastOwner bool // nobody else is an active owner, so that this can't be done

	Role string // as chosen

	KeyChoice  string   // what shall become of the live keys, as chosen
	KeyChoices []string // what may become of them, the organisation's own choice first
	Busiest    []Key    // of the live keys, the first first
	NoneLeft   bool     // the key policy disables the keys of suspended and removed members, so that “leave” is not among the choices
	HeirID     string
	Heirs      []account.Person
	Sessions   int
	Links      int // pending invitations that they made
	Problems   input.Problems

	EmailChanges int // pending ones that this cancels: their own, and those that they started
}

func (m MemberForm) own() bool { return m.Member.ID == m.Viewer.MemberID }

// role is the chosen one: what was sent, else the member's own.
func (m MemberForm) role() string {
	if m.Role != "" {
		return m.Role
	}
	return string(m.Member.Role)
}

func (m MemberForm) keyChoice() string {
	if slices.Contains(m.KeyChoices, m.KeyChoice) {
		return m.KeyChoice
	}
	return m.KeyChoices[0]
}

func (m MemberForm) heirs() []Option {
	var out []Option
	for _, p := range m.Heirs {
		if p.ID != m.Member.ID {
			out = append(out, Option{Value: p.ID, Label: personLabel(p)})
		}
	}
	return out
}

func (m MemberForm) problems() fieldProblems {
	return inOrder(m.Problems,
		[3]string{"role", "m-role", "Role"},
		[3]string{"keys", "m-keys", "Their keys"},
		[3]string{"keysTo", "m-heir", "New owner"})
}

// roleWords say what each role may, as "may …" goes on.
func roleWords(r account.Role) string {
	switch r {
	case account.Owner:
		return "do everything, and alone decide about members and their roles, bias profiles, scopes, the key policy and the scope *."
	case account.Admin:
		return "create, change and end API keys, and look after workspaces and processes."
	case account.Support:
		return "see keys, their owners and the audit log, and export them. Changes nothing."
	case account.Member:
		return "sign in and look after their own account. Sees no keys."
	case account.Operator:
	}
	return ""
}

// yourRole says the same to the person whose role it is.
func yourRole(r account.Role) string {
	words := strings.NewReplacer("their own account. Sees no keys", "your own account", ". Changes nothing", "").Replace(roleWords(r))
	return "You were invited as " + r.Label() + ", and may " + words
}

// fateWords are the choices of what becomes of a leaver's live keys.
func (m MemberForm) fateWords(choice string) (label, sentence string) {
	k := m.Keys
	switch choice {
	case "transfer":
		return "Transfer " + k.them(), "Requests go on being accepted. Somebody else looks after " + k.them() + ". " + powerLost
	case "disable":
		return "Disable " + k.them(), "Requests are refused at once. " + ui.Plural(int(k.total()), "It", "They") + " can be enabled again."
	case "revoke":
		return "Revoke " + k.them(), "Requests are refused at once. This is final."
	}
	return "Leave " + k.them() + " as " + ui.Plural(int(k.total()), "it is", "they are"), "Requests go on being accepted. Wherever " +
		ui.Plural(int(k.total()), "it is shown, it says", "they are shown, they say") + " that the owner has left."
}

// exceptions say which keys a choice does not reach.
func (m MemberForm) exceptions(choice string) string {
	if n := m.Keys.InGrace; n > 0 && (choice == "transfer" || choice == "disable") {
		return ui.Count(n, "rotated key") + " " + ui.Plural(int(n), "stays as it is and is", "stay as they are and are") + " accepted until the grace period ends."
	}
	return ""
}

// emailChangesCancelled says how many pending email changes end with a change of the member, as the beginning of a sentence.
func emailChangesCancelled(n int) string {
	return ui.Count(int64(n), "pending email change") + " " + ui.Plural(n, "is", "are") + " cancelled"
}

// afterwards says what a change of role does to the live keys.
func (m MemberForm) afterwards() string {
	n := m.Keys.total()
	return "Your own API accepts " + ui.Plural(int(n), "it", "them") + " as before. What " + ui.Plural(int(n), "it", "they") +
		" may do with Moonlatch’s API follows the new role, from the next request on."
}

// Departure is what came of suspending or removing somebody.
type Departure struct {
	Person  account.Person // as they stand now
	Keys    string         // what was done with their live keys
	Changed int            // so many of them
	Heir    account.Person // who has them now, if anybody
	Links   int            // invitations of theirs that are void now

	EmailChanges int // that were cancelled: their own, and those that they started
}

// SentAway says what was done, to whom and to which of their keys.
func SentAway(d Departure) string {
	words := []string{d.Person.DisplayName() + " is " + string(d.Person.Status) + "."}
	if n := d.Changed; n > 0 {
		switch keys := ui.Count(int64(n), "key"); d.Keys {
		case "transfer":
			words = append(words, keys+" "+ui.Plural(n, "belongs", "belong")+" to "+d.Heir.DisplayName()+" now.")
		case "disable":
			words = append(words, keys+" "+ui.Plural(n, "is", "are")+" disabled.")
		case "revoke":
			words = append(words, keys+" "+ui.Plural(n, "is", "are")+" revoked.")
		}
	}
	if d.Links > 0 {
		words = append(words, ui.Count(int64(d.Links), "invitation")+" of theirs no longer "+ui.Plural(d.Links, "works", "work")+".")
	}
	if n := d.EmailChanges; n > 0 {
		words = append(words, emailChangesCancelled(n)+".")
	}
	return strings.Join(words, " ")
}

// JoinForm makes an invited person's account. It posts to the path of the link. Fields and problems: name, password.
type JoinForm struct {
	Page
	Path         string
	Organisation string
	Email        string
	Role         account.Role
	EndsAt       time.Time
	SignedInAs   string // who uses this browser now; empty for nobody
	Name         string
	Problems     input.Problems
}

func (m JoinForm) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"name", "name", "Your name"}, [3]string{"password", "password", "Password"})
}

// Invitation is a link that lets somebody join.
type Invitation struct {
	ID, Email string
	Role      account.Role
	By        account.Person
	CreatedAt time.Time
	ExpiresAt time.Time
}

// again is where a new link for the same person is made.
func (i Invitation) again(back string) string {
	return InvitePath + "?" + url.Values{"email": {i.Email}, "role": {string(i.Role)}, "return": {back}}.Encode()
}

// WithdrawPath is where an invitation is withdrawn.
func WithdrawPath(id, back string) string {
	return withReturn("/invitations/"+url.PathEscape(id)+"/withdraw", back)
}

// InviteForm invites somebody. Fields and problems: email, role.
type InviteForm struct {
	Page
	Return      string
	Nonce       string
	Email, Role string
	Problems    input.Problems
}

func (m InviteForm) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"email", "i-email", "E-mail"}, [3]string{"role", "m-role", "Role"})
}

// InvitationOnce shows an invitation's link, the only time that it is shown.
type InvitationOnce struct {
	Page
	Return     string
	Invitation Invitation
	Link       string
}

// Withdrawal asks before an invitation is withdrawn.
type Withdrawal struct {
	Page
	Return     string
	Invitation Invitation
}
