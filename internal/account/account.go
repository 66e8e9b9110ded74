// Package account says who is who in an organisation, and who may do what. It is pure: the roles are a table,
// and the router, the use cases and the pages' buttons all read this one.
package account

import (
	"cmp"
	"maps"
	"slices"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// Role is what a member is in the organisation.
type Role string

// The roles of members. Operator is nobody's role: it is whoever has a shell on the server, and may do all.
const (
	Owner    Role = "owner"
	Admin    Role = "admin"
	Support  Role = "support"
	Member   Role = "member"
	Operator Role = "operator"
)

// Roles lists the roles that a member can have, strongest first.
var Roles = []Role{Owner, Admin, Support, Member}

// Label is the word that people read.
func (r Role) Label() string {
	switch r {
	case Owner:
		return "Owner"
	case Admin:
		return "Admin"
	case Support:
		return "Support"
	case Member:
		return "Member"
	case Operator:
		return "Operator"
	}
	return string(r)
}

// Action is something that a person or a program does. Its text is what the audit log says.
type Action string

// Actions on keys.
const (
	ReadKeys    Action = "key.read"
	VerifyKey   Action = "key.verified"
	IssueKey    Action = "key.issued"
	EditKey     Action = "key.edited"
	DisableKey  Action = "key.disabled"
	EnableKey   Action = "key.enabled"
	RotateKey   Action = "key.rotated"
	RevokeKey   Action = "key.revoked"
	DeleteKey   Action = "key.deleted"
	TransferKey Action = "key.transferred"
	GrantAll    Action = "key.granted_all" // give a key the scope "*"
	ReadAudit   Action = "audit.read"
)

// Actions on people.
const (
	SetUp           Action = "organisation.created"
	ReadMembers     Action = "member.read"
	CreateMember    Action = "member.created" // by the operator
	ResetPassword   Action = "member.password_reset"
	InviteMember    Action = "member.invited"
	WithdrawInvite  Action = "member.invitation_withdrawn"
	JoinMember      Action = "member.joined" // by whoever was invited
	ChangeRole      Action = "member.role_changed"
	SuspendMember   Action = "member.suspended"
	ReinstateMember Action = "member.reinstated"
	RemoveMember    Action = "member.removed"
	EraseMember     Action = "member.erased"     // by the operator
	SignOutMember   Action = "member.signed_out" // everywhere, by somebody else

	StartEmailChange  Action = "member.email_change_started"
	CancelEmailChange Action = "member.email_change_cancelled"
)

// Actions on oneself.
const (
	SignIn         Action = "session.started"
	EndSession     Action = "session.ended"
	RenameSelf     Action = "member.renamed"
	ChangePassword Action = "member.password_changed"
	ChangeEmail    Action = "member.email_changed" // by the link that confirms it, or by the operator
)

// Actions on what keys belong to and carry, and on what is asked of them.
const (
	ReadConfig       Action = "config.read" // workspaces, processes, bias profiles, scopes, the key policy
	CreateWorkspace  Action = "workspace.created"
	RenameWorkspace  Action = "workspace.renamed"
	ArchiveWorkspace Action = "workspace.archived"
	RestoreWorkspace Action = "workspace.restored"
	DeleteWorkspace  Action = "workspace.deleted"
	CreateProcess    Action = "process.created"
	RenameProcess    Action = "process.renamed"
	ArchiveProcess   Action = "process.archived"
	RestoreProcess   Action = "process.restored"
	DeleteProcess    Action = "process.deleted"
	CreateProfile    Action = "profile.created"
	EditProfile      Action = "profile.edited"
	DeleteProfile    Action = "profile.deleted"
	CreateScope      Action = "scope.created"
	EditScope        Action = "scope.edited"
	RetireScope      Action = "scope.retired"
	RestoreScope     Action = "scope.restored"
	DeleteScope      Action = "scope.deleted"
	ChangePolicy     Action = "policy.changed"
)

// Scopes that Moonlatch's own API asks of a key.
const (
	ReadScope  = "read:api-keys"
	WriteScope = "write:api-keys"
	CheckScope = "verify:api-keys"
	AuditScope = "read:audit"
	SeeScope   = "read:config"
	SetScope   = "write:config"
)

// rule says what an action takes: one of the roles and, of a key that acts for a member, a scope besides. Without a
// scope it is nothing for keys.
type rule struct {
	roles []Role
	scope string
}

var (
	everybody = []Role{Owner, Admin, Support, Member}
	viewers   = []Role{Owner, Admin, Support}
	admins    = []Role{Owner, Admin}
	owners    = []Role{Owner}
)

// allowed is the table: what each action takes. Operator may take every action.
var allowed = map[Action]rule{
	ReadKeys:    {viewers, ReadScope},
	VerifyKey:   {viewers, CheckScope},
	IssueKey:    {admins, WriteScope},
	EditKey:     {admins, WriteScope},
	DisableKey:  {admins, WriteScope},
	EnableKey:   {admins, WriteScope},
	RotateKey:   {admins, WriteScope},
	RevokeKey:   {admins, WriteScope},
	DeleteKey:   {admins, WriteScope},
	TransferKey: {admins, WriteScope},
	GrantAll:    {owners, apikey.All},
	ReadAudit:   {viewers, AuditScope},
	ReadConfig:  {viewers, SeeScope},

	SetUp:           {},
	ReadMembers:     {viewers, ""},
	CreateMember:    {owners, ""},
	ResetPassword:   {}, // the operator's alone
	EraseMember:     {}, // likewise
	InviteMember:    {owners, ""},
	WithdrawInvite:  {owners, ""},
	JoinMember:      {everybody, ""},
	ChangeRole:      {owners, ""},
	SuspendMember:   {owners, ""},
	ReinstateMember: {owners, ""},
	RemoveMember:    {owners, ""},
	SignOutMember:   {owners, ""},

	StartEmailChange:  {owners, ""},
	CancelEmailChange: {owners, ""},

	SignIn:         {everybody, ""},
	EndSession:     {everybody, ""},
	RenameSelf:     {everybody, ""},
	ChangePassword: {everybody, ""},
	ChangeEmail:    {everybody, ""},

	CreateWorkspace:  {admins, SetScope},
	RenameWorkspace:  {admins, SetScope},
	ArchiveWorkspace: {admins, SetScope},
	RestoreWorkspace: {admins, SetScope},
	DeleteWorkspace:  {admins, SetScope},
	CreateProcess:    {admins, SetScope},
	RenameProcess:    {admins, SetScope},
	ArchiveProcess:   {admins, SetScope},
	RestoreProcess:   {admins, SetScope},
	DeleteProcess:    {admins, SetScope},
	CreateProfile:    {owners, SetScope},
	EditProfile:      {owners, SetScope},
	DeleteProfile:    {owners, SetScope},
	CreateScope:      {owners, SetScope},
	EditScope:        {owners, SetScope},
	RetireScope:      {owners, SetScope},
	RestoreScope:     {owners, SetScope},
	DeleteScope:      {owners, SetScope},
	ChangePolicy:     {owners, ""},
}

// May says whether the role may take the action.
func (r Role) May(a Action) bool {
	return r == Operator || slices.Contains(allowed[a].roles, r)
}

// AtMost returns the weaker of two roles of members; "", which allows nothing, if one of them is no member's role.
func (r Role) AtMost(limit Role) Role {
	own, most := slices.Index(Roles, r), slices.Index(Roles, limit)
	if own < 0 || most < 0 {
		return ""
	}
	return Roles[max(own, most)] // the strongest comes first
}

// Includes reports whether the role allows every action that the other one does.
func (r Role) Includes(other Role) bool {
	for action := range allowed {
		if other.May(action) && !r.May(action) {
			return false
		}
	}
	return true
}

// RolesFor lists the roles that may take the action, strongest first: "which role it takes".
func RolesFor(a Action) []Role { return slices.Clone(allowed[a].roles) }

// ScopeFor is the scope that a key needs to take the action; "" for what no key may.
func ScopeFor(a Action) string { return allowed[a].scope }

// AsksFor says whether an action takes this scope of a key: then the catalogue can't do without it.
func AsksFor(scope string) bool {
	for _, rule := range allowed {
		if scope != "" && rule.scope == scope {
			return true
		}
	}
	return false
}

// Actions lists every action in the table.
func Actions() []Action { return slices.Sorted(maps.Keys(allowed)) }

// Status is whether a member may come in.
type Status string

// The states of a member.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
	Removed   Status = "removed"
)

// Person is a member of an organisation, as others see them.
type Person struct {
	ID     string
	OrgID  string
	Email  string
	Name   string
	Role   Role
	Status Status
}

// DisplayName is the person's name, or the e-mail address of one who has given none.
func (p Person) DisplayName() string { return cmp.Or(p.Name, p.Email) }

// MemberFilter is what a list of members is narrowed to. An empty field does not narrow.
type MemberFilter struct {
	Search   string // in the name or the e-mail address
	Role     Role
	Statuses []Status
}

// Actor is who does something, and by which way: what permission is judged by, and what the audit log names. A key
// acts for the member who owns it.
type Actor struct {
	OrgID     string
	MemberID  string // empty for the operator
	Email     string
	Name      string
	Role      Role
	SessionID string   // empty for the operator and for keys
	KeyID     string   // of the key that acts; empty when a person does
	Scopes    []string // what that key holds
	Address   string   // the client's IP address; empty for the operator
	UserAgent string
}

// DisplayName is the actor's name, or the e-mail address of one who has given none.
func (a Actor) DisplayName() string { return cmp.Or(a.Name, a.Email) }

// May says whether the actor may take the action. A key may do what its scopes say and its owner's role still allows.
func (a Actor) May(action Action) bool {
	return a.Role.May(action) && (a.KeyID == "" || apikey.Covers(a.Scopes, allowed[action].scope))
}

// MayGrant says whether the actor may hand out a key with these scopes, by issuing or by rotating one: "*", which
// stands for every scope, is an owner's to give, and a key gives none that it does not hold.
func (a Actor) MayGrant(scopes []string) bool {
	for _, scope := range scopes {
		if scope == apikey.All && !a.May(GrantAll) || a.KeyID != "" && !apikey.Covers(a.Scopes, scope) {
			return false
		}
	}
	return true
}

// MayEntrust says whether the actor may give a key with these scopes to an owner of this role. A key acts with its
// owner's role, so a person who knows it would gain what the actor may not do. It reports false for a role that no member has.
func (a Actor) MayEntrust(scopes []string, to Role) bool {
	if !slices.Contains(Roles, to) {
		return false
	}
	for action, rule := range allowed {
		if apikey.Covers(scopes, rule.scope) && to.May(action) && !a.May(action) {
			return false
		}
	}
	return true
}
