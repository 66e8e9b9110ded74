package account

import (
	"slices"
	"testing"
)

// TestRolesMayWhatTheProductSays holds the table to the product's page "Roles".
func TestRolesMayWhatTheProductSays(t *testing.T) {
	see, change, owners := []Action{ReadKeys, VerifyKey, ReadAudit, ReadConfig, ReadMembers}, []Action{IssueKey, EditKey, DisableKey, EnableKey, RotateKey, RevokeKey, DeleteKey, TransferKey,
		CreateWorkspace, RenameWorkspace, ArchiveWorkspace, RestoreWorkspace, DeleteWorkspace,
		CreateProcess, RenameProcess, ArchiveProcess, RestoreProcess, DeleteProcess}, []Action{GrantAll,
		CreateMember, InviteMember, WithdrawInvite, ChangeRole, SuspendMember, ReinstateMember, RemoveMember, SignOutMember, StartEmailChange, CancelEmailChange,
		CreateProfile, EditProfile, DeleteProfile, CreateScope, EditScope, RetireScope, RestoreScope, DeleteScope, ChangePolicy}
	everybody, nobody := []Action{SignIn, EndSession, RenameSelf, ChangePassword, ChangeEmail, JoinMember}, []Action{SetUp, ResetPassword, EraseMember}
	may := map[Role][]Action{
		Owner:    slices.Concat(everybody, see, change, owners),
		Admin:    slices.Concat(everybody, see, change),
		Support:  slices.Concat(everybody, see),
		Member:   everybody,
		Operator: slices.Concat(everybody, see, change, owners, nobody),
		"":       nil,
		"king":   nil,
	}
	for role, want := range may {
		for _, action := range Actions() {
			if got := role.May(action); got != slices.Contains(want, action) {
				t.Errorf("%q may %s: %t", role, action, got)
			}
		}
	}
	if len(Actions()) != len(may[Operator]) {
		t.Errorf("%d actions, %d of them judged here", len(Actions()), len(may[Operator]))
	}
}

func TestEveryRoleHasAWord(t *testing.T) {
	for _, role := range append(slices.Clone(Roles), Operator) {
		if role.Label() == string(role) {
			t.Errorf("%s has no label", role)
		}
	}
}

func TestAllIsAnOwnersToGive(t *testing.T) {
	for role, may := range map[Role]bool{Owner: true, Operator: true, Admin: false, Support: false} {
		if got := (Actor{Role: role}).MayGrant([]string{"*"}); got != may {
			t.Errorf("%s may grant *: %t", role, got)
		}
	}
	if !(Actor{Role: Admin}).MayGrant([]string{"read:chat"}) {
		t.Error("an admin may not grant a named scope")
	}
}

// TestKeyMayTheLessOfItsScopesAndItsOwnersRole is the product's rule for keys that act for people.
func TestKeyMayTheLessOfItsScopesAndItsOwnersRole(t *testing.T) {
	for _, c := range []struct {
		role   Role
		scopes []string
		action Action
		may    bool
	}{
		{Admin, []string{ReadScope}, ReadKeys, true},
		{Admin, []string{ReadScope}, IssueKey, false},
		{Admin, []string{WriteScope}, IssueKey, true},
		{Admin, []string{WriteScope}, ReadKeys, false},
		{Support, []string{WriteScope, ReadScope}, IssueKey, false},
		{Support, []string{ReadScope}, ReadKeys, true},
		{Member, []string{"*"}, ReadKeys, false},
		{"", []string{"*"}, ReadKeys, false},
		{Owner, []string{"*"}, IssueKey, true},
		{Owner, []string{"*"}, GrantAll, true},
		{Owner, []string{WriteScope}, GrantAll, false},
		{Owner, []string{CheckScope}, VerifyKey, true},
		{Owner, []string{"read:chat"}, VerifyKey, false},
		{Owner, []string{"*"}, EndSession, false},
		{Owner, []string{"*"}, CreateMember, false},
		{Owner, []string{"*"}, ReadMembers, false},
		{Owner, []string{""}, EndSession, false},
	} {
		if got := (Actor{Role: c.role, KeyID: "k", Scopes: c.scopes}).May(c.action); got != c.may {
			t.Errorf("a key of an %s with %v may %s: %t", c.role, c.scopes, c.action, got)
		}
	}
}

func TestKeyGrantsNoScopeThatItDoesNotHold(t *testing.T) {
	for _, c := range []struct {
		role        Role
		held, asked []string
		may         bool
	}{
		{Admin, []string{WriteScope, "read:chat"}, []string{"read:chat"}, true},
		{Admin, []string{WriteScope}, []string{"read:chat"}, false},
		{Admin, []string{WriteScope}, []string{"*"}, false},
		{Owner, []string{WriteScope}, []string{"*"}, false},
		{Owner, []string{"*"}, []string{"*", "read:chat"}, true},
		{Admin, []string{"*"}, []string{"*"}, false}, // its owner was an owner when it was made
		{Admin, []string{"*"}, []string{"read:chat"}, true},
	} {
		if got := (Actor{Role: c.role, KeyID: "k", Scopes: c.held}).MayGrant(c.asked); got != c.may {
			t.Errorf("a key of an %s with %v may grant %v: %t", c.role, c.held, c.asked, got)
		}
	}
}

// TestTransferRaisesNobody: who knows a key's plaintext must not gain a stronger role by giving the key away.
func TestTransferRaisesNobody(t *testing.T) {
	for _, c := range []struct {
		by     Actor
		scopes []string
		to     Role
		may    bool
	}{
		{Actor{Role: Admin}, []string{WriteScope, "read:chat"}, Owner, true},
		{Actor{Role: Admin}, []string{"*"}, Owner, false},
		{Actor{Role: Admin}, []string{SetScope}, Owner, false}, // bias profiles are an owner's to change
		{Actor{Role: Admin}, []string{SetScope}, Admin, true},
		{Actor{Role: Admin}, []string{"*"}, Admin, true},
		{Actor{Role: Owner}, []string{"*"}, Owner, true},
		{Actor{Role: Operator}, []string{"*"}, Owner, true},
		{Actor{Role: Admin, KeyID: "k", Scopes: []string{WriteScope}}, []string{WriteScope}, Owner, true},
		{Actor{Role: Admin, KeyID: "k", Scopes: []string{WriteScope}}, []string{ReadScope}, Admin, false},
		{Actor{Role: Owner}, []string{"read:chat"}, "", false}, // a role that was not read
		{Actor{Role: Operator}, nil, "superuser", false},
	} {
		if got := c.by.MayEntrust(c.scopes, c.to); got != c.may {
			t.Errorf("an %s may give a key with %v to an %s: %t", c.by.Role, c.scopes, c.to, got)
		}
	}
}

func TestAtMostIsTheWeakerRoleOrNone(t *testing.T) {
	for strong, r := range Roles {
		for _, weak := range Roles[strong:] {
			if got, back := r.AtMost(weak), weak.AtMost(r); got != weak || back != weak {
				t.Errorf("of %s and %s the weaker is %q, or %q", r, weak, got, back)
			}
		}
		for _, unknown := range []Role{"", Operator, "superuser", "Owner"} {
			for _, got := range []Role{r.AtMost(unknown), unknown.AtMost(r), unknown.AtMost(unknown)} {
				if got != "" || got.May(SignIn) {
					t.Errorf("%s and %q make %q", r, unknown, got)
				}
			}
		}
	}
}
