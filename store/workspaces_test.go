package store_test

import (
	"errors"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// insert runs an insert as the actor, with an event like the one that its use case would write.
func insert(t *testing.T, s *store.Store, actor account.Actor, action account.Action, do func(*store.Tx) (store.Choice, error)) (made store.Choice, err error) {
	t.Helper()
	err = s.Mutate(t.Context(), actor, action, func(tx *store.Tx) (_ []audit.Change, err error) {
		made, err = do(tx)
		return []audit.Change{{Subject: audit.Subject{Kind: "test", ID: made.ID, Name: made.Name}}}, err
	})
	return made, err
}

func workspace(name string) func(*store.Tx) (store.Choice, error) {
	return func(tx *store.Tx) (store.Choice, error) {
		w, err := tx.InsertWorkspace(name)
		return store.Choice{ID: w.ID, Name: w.Name}, err
	}
}

func process(workspaceID, name string) func(*store.Tx) (store.Choice, error) {
	return func(tx *store.Tx) (store.Choice, error) {
		p, err := tx.InsertProcess(workspaceID, name)
		return store.Choice{ID: p.ID, Name: p.Name, Parent: p.WorkspaceID}, err
	}
}

func profile(p apikey.Profile) func(*store.Tx) (store.Choice, error) {
	return func(tx *store.Tx) (store.Choice, error) {
		made, err := tx.InsertProfile(p)
		return store.Choice{ID: made.ID, Name: made.Name}, err
	}
}

func TestWhatIsInsertedCanBeChosenForAKey(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	space, err := insert(t, s, org.Admin, account.CreateWorkspace, workspace("Payments"))
	if err != nil {
		t.Fatal(err)
	}
	made, err := insert(t, s, org.Admin, account.CreateProcess, process(space.ID, "Checkout"))
	if err != nil {
		t.Fatal(err)
	}
	strict, err := insert(t, s, org.Owner, account.CreateProfile, profile(apikey.Profile{Name: "Strict", DefaultThreshold: 20,
		Categories: []apikey.Category{{Name: "age", Enabled: true, Threshold: 30, Action: apikey.Block}, {Name: "race", Threshold: 70, Action: apikey.Flag}}}))
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := s.Catalogue(t.Context(), org.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []struct {
		got  []store.Choice
		want store.Choice
	}{{catalogue.Workspaces, space}, {catalogue.Processes, made}, {catalogue.Profiles, strict}} {
		if len(list.got) != 1 || list.got[0] != list.want {
			t.Errorf("got %v, want %v alone", list.got, list.want)
		}
	}
}

func TestNamesAreTakenOnceInTheirPlace(t *testing.T) {
	s := storetest.New(t)
	org, other := storetest.Organisation(t, s), storetest.Organisation(t, s)
	space, err := insert(t, s, org.Admin, account.CreateWorkspace, workspace("Payments"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := insert(t, s, org.Admin, account.CreateWorkspace, workspace("Support"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		actor  account.Actor
		action account.Action
		do     func(*store.Tx) (store.Choice, error)
		want   error
	}{
		{"a workspace again", org.Admin, account.CreateWorkspace, workspace("Payments"), store.ErrTaken},
		{"another organisation's workspace", other.Admin, account.CreateWorkspace, workspace("Payments"), nil},
		{"a process", org.Admin, account.CreateProcess, process(space.ID, "Checkout"), nil},
		{"a process again", org.Admin, account.CreateProcess, process(space.ID, "Checkout"), store.ErrTaken},
		{"a process in another workspace", org.Admin, account.CreateProcess, process(second.ID, "Checkout"), nil},
		{"a process in another organisation's workspace", other.Admin, account.CreateProcess, process(space.ID, "Theirs"), store.ErrNotFound},
		{"a profile", org.Owner, account.CreateProfile, profile(apikey.Profile{Name: "Strict"}), nil},
		{"a profile again", org.Owner, account.CreateProfile, profile(apikey.Profile{Name: "Strict"}), store.ErrTaken},
		{"a profile by an admin", org.Admin, account.CreateProfile, profile(apikey.Profile{Name: "Lax"}), store.ErrForbidden},
		{"a workspace by support", org.Support, account.CreateWorkspace, workspace("Secret"), store.ErrForbidden},
	} {
		if _, err := insert(t, s, c.actor, c.action, c.do); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestASuspendedMemberCanNotOwnNewKeys(t *testing.T) {
	s := storetest.New(t)
	org, other := storetest.Organisation(t, s), storetest.Organisation(t, s)
	suspend := func(actor account.Actor, id string) (before account.Person, err error) {
		err = s.Mutate(t.Context(), actor, account.SuspendMember, func(tx *store.Tx) (_ []audit.Change, err error) {
			if before, _, err = tx.LockMember(id); err != nil {
				return nil, err
			}
			after := before
			after.Status = account.Suspended
			err = tx.UpdateMember(after)
			return []audit.Change{{Subject: audit.Subject{Kind: "member", ID: id, Name: before.Email}}}, err
		})
		return before, err
	}
	if _, err := suspend(other.Owner, org.Admin.MemberID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another organisation's owner: %v", err)
	}
	before, err := suspend(org.Owner, org.Admin.MemberID)
	if err != nil || before.Status != account.Active {
		t.Fatalf("%+v, %v", before, err)
	}
	holders, err := s.MembersWithRoles(t.Context(), org.ID, []account.Role{account.Admin})
	if err != nil || len(holders) != 0 {
		t.Errorf("active admins: %v, %v", holders, err)
	}
}
