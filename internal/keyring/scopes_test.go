package keyring_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

var (
	yes = true
	no  = false
)

func (h house) scope(name string) {
	h.t.Helper()
	if _, err := h.CreateScope(h.t.Context(), h.org.Owner, name, ""); err != nil {
		h.t.Fatal(err)
	}
}

func scoped(scopes ...string) keyring.KeyDraft {
	return keyring.KeyDraft{Name: "with scopes", Scopes: scopes}
}

func TestACatalogueBeginsWithTheScopesOfTheSources(t *testing.T) {
	h := newHouse(t)
	catalogue, err := h.Scopes(t.Context(), h.org.Support)
	var names []string
	for _, s := range catalogue {
		names = append(names, s.Name)
		if s.Description == "" || s.Retired {
			t.Errorf("%+v", s)
		}
	}
	for _, own := range []string{account.ReadScope, account.WriteScope, account.CheckScope, account.AuditScope, account.SeeScope, account.SetScope} {
		if !slices.Contains(names, own) {
			t.Errorf("the catalogue lacks %s, which the API asks for", own)
		}
	}
	if err != nil || len(names) != 15 {
		t.Errorf("%d scopes, %v: %v", len(names), err, names)
	}
}

func TestARetiredScopeIsNotGrantedAndStaysWhereItIs(t *testing.T) {
	h := newHouse(t)
	h.scope("read:invoices")
	key := h.issue(h.org.Admin, scoped("read:invoices"))
	retired, err := h.EditScope(t.Context(), h.org.Owner, "read:invoices", keyring.ScopeEdit{Retired: &yes})
	if err != nil || !retired.Retired {
		t.Fatal(retired, err)
	}
	if _, _, err := h.IssueKey(t.Context(), h.org.Owner, scoped("read:invoices")); input.ProblemsIn(err)["scopes"] == "" {
		t.Errorf("a retired scope is granted: %v", err)
	}
	renamed := "still here"
	if row, err := h.EditKey(t.Context(), h.org.Admin, key.ID, keyring.KeyEdit{Name: &renamed}); err != nil || !slices.Equal(row.Scopes, []string{"read:invoices"}) {
		t.Errorf("a key with a retired scope can't be edited: %v, %v", row.Scopes, err)
	}
	rotation, err := h.RotateKey(t.Context(), h.org.Admin, key.ID, 0, "")
	if err != nil || !slices.Equal(rotation.New.Scopes, []string{"read:invoices"}) {
		t.Errorf("a key with a retired scope can't be rotated: %v, %v", rotation.New.Scopes, err)
	}
	all := h.issue(h.org.Admin, keyring.KeyDraft{Name: "all of them", AllScopes: true})
	if len(all.Scopes) != 15 || slices.Contains(all.Scopes, "read:invoices") {
		t.Errorf("All is %v", all.Scopes)
	}
	if _, err := h.EditScope(t.Context(), h.org.Owner, "read:invoices", keyring.ScopeEdit{Retired: &no}); err != nil {
		t.Fatal(err)
	}
	h.issue(h.org.Owner, scoped("read:invoices"))
}

func TestAScopeIsDeletedOnlyWhenNoKeyHoldsIt(t *testing.T) {
	h := newHouse(t)
	h.scope("read:invoices")
	key := h.issue(h.org.Owner, scoped("read:invoices", "read:chat"))
	if _, err := h.ChangeStatus(t.Context(), h.org.Owner, apikey.Revoke, key.ID); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteScope(t.Context(), h.org.Owner, "read:invoices"); !errors.Is(err, keyring.ErrScopeHeld) {
		t.Errorf("held by a revoked key: %v", err)
	}
	if err := h.DeleteScope(t.Context(), h.org.Owner, account.WriteScope); !errors.Is(err, keyring.ErrScopeAsked) {
		t.Errorf("asked for by the API: %v", err)
	}
	if err := h.DeleteKey(t.Context(), h.org.Owner, key.ID); err != nil {
		t.Fatal(err)
	}
	h.issue(h.org.Owner, scoped("*")) // stands for every scope, and holds none by name
	if err := h.DeleteScope(t.Context(), h.org.Owner, "read:invoices"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Scope(t.Context(), h.org.Owner, "read:invoices"); !errors.Is(err, keyring.ErrNotFound) {
		t.Error(err)
	}
	if err := h.DeleteScope(t.Context(), h.org.Owner, "read:invoices"); !errors.Is(err, keyring.ErrNotFound) {
		t.Error(err)
	}
}

func TestAScopeIsWrittenAsVerbAndResource(t *testing.T) {
	h := newHouse(t)
	longest := "read:" + strings.Repeat("x", 95)
	for name, good := range map[string]bool{"read:invoices": true, "x-1:y-2": true, longest: true, " read:trimmed ": true,
		"": false, "read": false, "*": false, "Read:x": false, "read:": false, ":x": false, "read:x:y": false, "read:1": false, "réad:x": false, "read:x\n": true,
		"read:\x00": false, longest + "x": false, "read:x y": false, "read:x" + strings.Repeat("\u200b", 3): false} {
		_, err := h.CreateScope(t.Context(), h.org.Owner, name, "")
		if problem := input.ProblemsIn(err)["name"]; (err == nil) != good || !good && problem == "" {
			t.Errorf("%q: %v", name, err)
		}
	}
	for text, good := range map[string]bool{strings.Repeat("é", 200): true, strings.Repeat("x", 201): false, "two\nlines": false} {
		if _, err := h.EditScope(t.Context(), h.org.Owner, "read:chat", keyring.ScopeEdit{Description: &text}); (err == nil) != good || !good && input.ProblemsIn(err)["description"] == "" {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, taken := range []string{"read:invoices", "read:chat"} {
		if _, err := h.CreateScope(t.Context(), h.org.Owner, taken, ""); !errors.Is(err, keyring.ErrTaken) {
			t.Errorf("%s: %v", taken, err)
		}
	}
}

// TestACatalogueIsNoLargerThanAKeyCanHold fills one, and has an admin hand out all of it.
func TestACatalogueIsNoLargerThanAKeyCanHold(t *testing.T) {
	h := newHouse(t)
	err := h.store.Mutate(t.Context(), h.org.Owner, account.CreateScope, func(tx *store.Tx) ([]audit.Change, error) {
		var happened []audit.Change
		for i := range store.MaxCatalogue - 16 {
			name := fmt.Sprintf("read:n%d", i)
			if err := tx.InsertScope(store.Scope{Name: name}); err != nil {
				return nil, err
			}
			happened = append(happened, audit.Change{Subject: audit.Subject{Kind: "scope", ID: h.org.ID, Name: name}})
		}
		return happened, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	refused := make(chan error, 4)
	for i := range cap(refused) { // for one place
		group.Go(func() {
			_, err := h.CreateScope(t.Context(), h.org.Owner, fmt.Sprintf("read:last%d", i), "")
			refused <- err
		})
	}
	group.Wait()
	close(refused)
	full := 0
	for err := range refused {
		if errors.Is(err, keyring.ErrFull) {
			full++
		} else if err != nil {
			t.Error(err)
		}
	}
	if list, err := h.Scopes(t.Context(), h.org.Owner); err != nil || len(list) != store.MaxCatalogue || full != 3 {
		t.Errorf("%d scopes, %d refused, %v", len(list), full, err)
	}
	if key, _, err := h.IssueKey(t.Context(), h.org.Admin, keyring.KeyDraft{Name: "all", AllScopes: true}); err != nil || len(key.Scopes) != store.MaxCatalogue {
		t.Errorf("an admin's key with all of them has %d, %v", len(key.Scopes), err)
	}
}

func TestHoldersAreCountedByName(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	now := time.Now().UTC()
	h.at(now.Add(-60 * apikey.Day))
	h.issue(h.org.Admin, keyring.KeyDraft{Name: "expired", Scopes: []string{"read:chat"}, Expires: "30d"})
	h.at(now)
	disabled := h.issue(h.org.Admin, scoped("read:chat", "write:chat"))
	if _, err := h.ChangeStatus(t.Context(), h.org.Admin, apikey.Disable, disabled.ID); err != nil {
		t.Fatal(err)
	}
	rotated := h.issue(h.org.Admin, scoped("read:chat"))
	if _, err := h.RotateKey(t.Context(), h.org.Admin, rotated.ID, time.Hour, ""); err != nil {
		t.Fatal(err)
	}
	h.issue(h.org.Owner, scoped("*"))
	h.issue(other.Owner, scoped("read:chat"))
	holders, err := h.ScopeHolders(t.Context(), h.org.Support)
	if err != nil || len(holders) != 3 || holders["read:chat"] != (keyring.Holders{Live: 3, Other: 1}) ||
		holders["write:chat"] != (keyring.Holders{Live: 1}) || holders["*"] != (keyring.Holders{Live: 1}) {
		t.Errorf("%v, %v", holders, err)
	}
	for name, want := range holders {
		if one, err := h.HoldersOf(t.Context(), h.org.Support, name); err != nil || one != want {
			t.Errorf("%s: %v, %v; want %v", name, one, err, want)
		}
	}
}

func TestOnlyOwnersChangeTheCatalogueAndItIsWrittenDown(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	what := "What it is for"
	for _, who := range []account.Actor{h.org.Admin, h.org.Support, h.org.Member} {
		_, create := h.CreateScope(t.Context(), who, "read:invoices", "")
		_, edit := h.EditScope(t.Context(), who, "read:chat", keyring.ScopeEdit{Retired: &yes})
		for _, err := range []error{create, edit, h.DeleteScope(t.Context(), who, "read:chat")} {
			if !errors.Is(err, keyring.ErrForbidden) {
				t.Errorf("%s: %v", who.Role, err)
			}
		}
	}
	h.scope("read:invoices")
	for range 2 { // the second time nothing is left to do
		if _, err := h.EditScope(t.Context(), h.org.Owner, "read:invoices", keyring.ScopeEdit{Description: &what, Retired: &yes}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.EditScope(t.Context(), h.org.Owner, "read:invoices", keyring.ScopeEdit{Retired: &no}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"read:invoices", "read:nothing", "no scope"} {
		_, err := h.EditScope(t.Context(), other.Owner, name, keyring.ScopeEdit{Retired: &yes})
		if deleted := h.DeleteScope(t.Context(), other.Owner, name); !errors.Is(err, keyring.ErrNotFound) || !errors.Is(deleted, keyring.ErrNotFound) {
			t.Errorf("another organisation: %v, %v", err, deleted)
		}
	}
	if err := h.DeleteScope(t.Context(), h.org.Owner, "read:invoices"); err != nil {
		t.Fatal(err)
	}
	events, err := h.Events(t.Context(), h.org.Owner, audit.Filter{SubjectID: h.org.ID}, "", 50)
	var got []string
	for _, e := range slices.Backward(events.Events) {
		if e.Subject.Kind == "scope" {
			got = append(got, strings.Join([]string{string(e.Action), e.Subject.Name, e.Before, e.After}, " "))
		}
	}
	want := []string{
		`scope.created read:invoices  {"name":"read:invoices","retired":false}`,
		`scope.edited read:invoices {"description":""} {"description":"What it is for"}`,
		`scope.retired read:invoices {"retired":false} {"retired":true}`,
		`scope.restored read:invoices {"retired":true} {"retired":false}`,
		`scope.deleted read:invoices {"description":"What it is for","name":"read:invoices","retired":false} `,
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAConfinedKeyDoesNotChangeWhatIsTheWholeOrganisations(t *testing.T) {
	h := newHouse(t)
	var workspace, profile string
	err := h.store.Mutate(t.Context(), h.org.Owner, account.CreateWorkspace, func(tx *store.Tx) ([]audit.Change, error) {
		w, err := tx.InsertWorkspace("one")
		if err != nil {
			return nil, err
		}
		p, err := tx.InsertProfile(apikey.Profile{Name: "one"})
		workspace, profile = w.ID, p.ID
		return []audit.Change{{Subject: audit.Subject{Kind: "workspace", ID: w.ID}}, {Subject: audit.Subject{Kind: "profile", ID: p.ID}}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	acting := func(draft keyring.KeyDraft) account.Actor {
		draft.Name, draft.Scopes = "acting", []string{"*"}
		actor := h.org.Owner
		actor.KeyID, actor.Scopes = h.issue(h.org.Owner, draft).ID, []string{"*"}
		return actor
	}
	for name, draft := range map[string]keyring.KeyDraft{"workspace": {WorkspaceID: workspace}, "profile": {ProfileID: profile}, "test": {Environment: "test"}} {
		actor := acting(draft)
		_, create := h.CreateScope(t.Context(), actor, "read:invoices", "")
		_, edit := h.EditScope(t.Context(), actor, "read:chat", keyring.ScopeEdit{Retired: &yes})
		for _, err := range []error{create, edit, h.DeleteScope(t.Context(), actor, "read:chat")} {
			if !errors.Is(err, keyring.ErrReach) {
				t.Errorf("a key confined to a %s: %v", name, err)
			}
		}
	}
	if _, err := h.CreateScope(t.Context(), acting(keyring.KeyDraft{}), "read:invoices", ""); err != nil {
		t.Error(err)
	}
}

// TestNoKeyIsGrantedAScopeThatWent lets owners retire and delete scopes while others issue keys with them.
func TestNoKeyIsGrantedAScopeThatWent(t *testing.T) {
	h := newHouse(t)
	for i := range 40 {
		name := fmt.Sprintf("read:race%d", i)
		h.scope(name)
		var issued apikey.Key
		var issue, gone error
		var group sync.WaitGroup
		group.Go(func() { issued, _, issue = h.IssueKey(t.Context(), h.org.Owner, scoped(name)) })
		group.Go(func() {
			if i%2 == 0 {
				gone = h.DeleteScope(t.Context(), h.org.Owner, name)
				return
			}
			_, gone = h.EditScope(t.Context(), h.org.Owner, name, keyring.ScopeEdit{Retired: &yes})
		})
		group.Wait()
		if issue != nil && input.ProblemsIn(issue)["scopes"] == "" || gone != nil && !errors.Is(gone, keyring.ErrScopeHeld) {
			t.Fatal(issue, gone)
		}
		_, err := h.Scope(t.Context(), h.org.Owner, name)
		if issue == nil && err != nil {
			t.Errorf("the key %s holds %s, which was deleted", issued.ID, name)
		}
		if i%2 == 0 && (issue == nil) == (gone == nil) {
			t.Errorf("issuing: %v, deleting: %v", issue, gone)
		}
		// Of a retired scope, the log says that the key came first.
		if i%2 == 1 && issue == nil {
			var after int
			if err := h.db.QueryRow(`SELECT count(*) FROM audit_events k JOIN audit_events s ON s.org_id = k.org_id
				WHERE k.subject_id = $1 AND s.subject_name = $2 AND s.action = 'scope.retired' AND k.seq > s.seq`, issued.ID, name).Scan(&after); err != nil || after > 0 {
				t.Errorf("%s was granted after it was retired, %v", name, err)
			}
		}
	}
}

// TestAKeyWaitsForAScopeThatIsGoing issues a key with a scope while another transaction, not committed yet, deletes it.
func TestAKeyWaitsForAScopeThatIsGoing(t *testing.T) {
	h := newHouse(t)
	h.scope("read:going")
	var issued <-chan error
	err := h.store.Mutate(t.Context(), h.org.Owner, account.DeleteScope, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.DeleteScope("read:going"); err != nil {
			return nil, err
		}
		issued = h.begun(func() error {
			_, _, err := h.IssueKey(t.Context(), h.org.Owner, scoped("read:going"))
			return err
		})
		return []audit.Change{{Subject: audit.Subject{Kind: "scope", ID: h.org.ID, Name: "read:going"}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-issued; input.ProblemsIn(err)["scopes"] == "" {
		t.Errorf("a scope was granted that went: %v", err)
	}
}
