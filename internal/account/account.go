// Package account says who is who in an organisation, and who may do what. It is pure: the roles are a table,
// and the router, the use cases and the pages' buttons all read this one.
package account

import (
	"cmp"
	"slices"
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

// Actions on people and their sessions.
const (
	SetUp         Action = "organisation.created"
	CreateMember  Action = "member.created"
	ResetPassword Action = "member.password_reset"
	SignIn        Action = "session.started"
	EndSession    Action = "session.ended"
	SuspendMember Action = "member.suspended"
)

// Actions on what keys belong to and carry.
const (
	CreateWorkspace Action = "workspace.created"
	CreateProcess   Action = "process.created"
	CreateProfile   Action = "profile.created"
)

// allowed is the table: which roles may take an action. Operator may take every action.
var allowed = map[Action][]Role{
	ReadKeys:    {Owner, Admin, Support},
	IssueKey:    {Owner, Admin},
	EditKey:     {Owner, Admin},
	DisableKey:  {Owner, Admin},
	EnableKey:   {Owner, Admin},
	RotateKey:   {Owner, Admin},
	RevokeKey:   {Owner, Admin},
	DeleteKey:   {Owner, Admin},
	TransferKey: {Owner, Admin},
	GrantAll:    {Owner},
	ReadAudit:   {Owner, Admin, Support},

	SetUp:         {},
	CreateMember:  {Owner},
	ResetPassword: {}, // the operator's alone
	SignIn:        {Owner, Admin, Support, Member},
	EndSession:    {Owner, Admin, Support, Member},
	SuspendMember: {Owner},

	CreateWorkspace: {Owner, Admin},
	CreateProcess:   {Owner, Admin},
	CreateProfile:   {Owner},
}

// May says whether the role may take the action.
func (r Role) May(a Action) bool {
	return r == Operator || slices.Contains(allowed[a], r)
}

// RolesFor lists the roles that may take the action, strongest first: "which role it takes".
func RolesFor(a Action) []Role { return slices.Clone(allowed[a]) }

// Actions lists every action in the table.
func Actions() []Action {
	var out []Action
	for a := range allowed {
		out = append(out, a)
	}
	slices.Sort(out)
	return out
}

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

// Actor is who does something, and by which way: what permission is judged by, and what the audit log names.
type Actor struct {
	OrgID     string
	MemberID  string // empty for the operator
	Email     string
	Name      string
	Role      Role
	SessionID string // empty for the operator
	Address   string // the client's IP address; empty for the operator
	UserAgent string
}

// DisplayName is the actor's name, or the e-mail address of one who has given none.
func (a Actor) DisplayName() string { return cmp.Or(a.Name, a.Email) }

// May says whether the actor may take the action.
func (a Actor) May(action Action) bool { return a.Role.May(action) }

// MayGrant says whether the actor may hand out a key with these scopes, by issuing or by rotating one: "*", which
// stands for every scope, is an owner's to give.
func (a Actor) MayGrant(scopes []string) bool {
	return a.May(GrantAll) || !slices.Contains(scopes, "*")
}
