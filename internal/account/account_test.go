package account

import (
	"slices"
	"testing"
)

// TestRolesMayWhatTheProductSays holds the table to the product's page "Roles".
func TestRolesMayWhatTheProductSays(t *testing.T) {
	see, change, owners := []Action{ReadKeys, ReadAudit}, []Action{IssueKey, EditKey, DisableKey, EnableKey, RotateKey, RevokeKey, DeleteKey, TransferKey,
		CreateWorkspace, CreateProcess}, []Action{GrantAll, CreateMember, SuspendMember, CreateProfile}
	everybody, nobody := []Action{SignIn, EndSession}, []Action{SetUp, ResetPassword}
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
