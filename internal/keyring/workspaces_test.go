package keyring_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

var (
	archive = keyring.PlaceEdit{Archived: new(true)}
	restore = keyring.PlaceEdit{Archived: new(false)}
)

func rename(name string) keyring.PlaceEdit { return keyring.PlaceEdit{Name: &name} }

func (h house) workspace(name string) keyring.Workspace {
	h.t.Helper()
	w, err := h.CreateWorkspace(h.t.Context(), h.org.Admin, name)
	if err != nil {
		h.t.Fatal(err)
	}
	return w
}

func (h house) process(w keyring.Workspace, name string) keyring.Process {
	h.t.Helper()
	p, err := h.CreateProcess(h.t.Context(), h.org.Admin, w.ID, name)
	if err != nil {
		h.t.Fatal(err)
	}
	return p
}

func (h house) editWorkspace(id string, edit keyring.PlaceEdit) {
	h.t.Helper()
	if _, err := h.EditWorkspace(h.t.Context(), h.org.Admin, id, edit); err != nil {
		h.t.Fatal(err)
	}
}

func (h house) editProcess(id string, edit keyring.PlaceEdit) {
	h.t.Helper()
	if _, err := h.EditProcess(h.t.Context(), h.org.Admin, id, edit); err != nil {
		h.t.Fatal(err)
	}
}

func TestWhatHappensToAPlaceIsWrittenDown(t *testing.T) {
	h := newHouse(t)
	w := h.workspace("  Payments ")
	p := h.process(w, "Checkout")
	if w.Name != "Payments" || p.WorkspaceID != w.ID || w.Archived() || p.Archived() {
		t.Errorf("%+v %+v", w, p)
	}
	for range 2 { // what is so already is no event
		h.editProcess(p.ID, rename("Cashier"))
		h.editProcess(p.ID, archive)
		h.editWorkspace(w.ID, keyring.PlaceEdit{Name: new("Money"), Archived: new(true)})
	}
	for range 2 {
		h.editWorkspace(w.ID, restore)
		h.editProcess(p.ID, restore)
	}
	if err := errors.Join(h.DeleteProcess(t.Context(), h.org.Admin, p.ID), h.DeleteWorkspace(t.Context(), h.org.Admin, w.ID)); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		w.ID: "workspace.created workspace.renamed workspace.archived workspace.restored workspace.deleted",
		p.ID: "process.created process.renamed process.archived process.restored process.deleted",
	} {
		page, err := h.Events(t.Context(), h.org.Support, audit.Filter{SubjectID: id}, "", 50)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, event := range page.Events {
			got = append([]string{string(event.Action)}, got...)
			if event.Action == account.RenameProcess && (event.Before != `{"name":"Checkout"}` || event.After != `{"name":"Cashier"}`) {
				t.Errorf("renaming is told as %s → %s", event.Before, event.After)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("the log says %v", got)
		}
	}
	if _, err := h.store.VerifyChain(t.Context(), h.org.ID); err != nil {
		t.Error(err)
	}
}

func TestNamesOfPlacesAreChecked(t *testing.T) {
	h := newHouse(t)
	w := h.workspace("Payments")
	p := h.process(w, "Checkout")
	h.process(w, "Refunds")
	for _, bad := range []string{"", "  ", strings.Repeat("x", 101), "a\x00b", "a\u202eb", "\xff", apikey.NewPlaintext(apikey.Live).Reveal()} {
		_, made := h.CreateWorkspace(t.Context(), h.org.Admin, bad)
		_, inside := h.CreateProcess(t.Context(), h.org.Admin, w.ID, bad)
		_, renamed := h.EditWorkspace(t.Context(), h.org.Admin, w.ID, rename(bad))
		_, anew := h.EditProcess(t.Context(), h.org.Admin, p.ID, rename(bad))
		for what, err := range map[string]error{"a workspace": made, "a process": inside, "a workspace anew": renamed, "a process anew": anew} {
			if input.ProblemsIn(err)["name"] == "" {
				t.Errorf("%q for %s: %v", bad, what, err)
			}
		}
	}
	if _, err := h.CreateProcess(t.Context(), h.org.Admin, "", ""); len(input.ProblemsIn(err)) != 2 {
		t.Errorf("a process of nothing: %v", err)
	}
	if _, err := h.CreateWorkspace(t.Context(), h.org.Admin, strings.Repeat("語", 100)); err != nil {
		t.Errorf("100 characters: %v", err)
	}
	for what, err := range map[string]error{
		"a workspace": func() error { _, err := h.CreateWorkspace(t.Context(), h.org.Admin, "Payments"); return err }(),
		"a process":   func() error { _, err := h.CreateProcess(t.Context(), h.org.Admin, w.ID, "Checkout"); return err }(),
		"anew":        func() error { _, err := h.EditProcess(t.Context(), h.org.Admin, p.ID, rename("Refunds")); return err }(),
	} {
		if !errors.Is(err, keyring.ErrTaken) {
			t.Errorf("a taken name for %s: %v", what, err)
		}
	}
}

// changes tries everything that changes places.
func (h house) changes(actor account.Actor, workspaceID, processID string) map[string]error {
	_, edited := h.EditWorkspace(h.t.Context(), actor, workspaceID, rename("Mine"))
	_, archived := h.EditWorkspace(h.t.Context(), actor, workspaceID, archive)
	_, restored := h.EditWorkspace(h.t.Context(), actor, workspaceID, restore)
	_, process := h.EditProcess(h.t.Context(), actor, processID, rename("Mine"))
	_, archivedProcess := h.EditProcess(h.t.Context(), actor, processID, archive)
	_, restoredProcess := h.EditProcess(h.t.Context(), actor, processID, restore)
	_, inside := h.CreateProcess(h.t.Context(), actor, workspaceID, "Theirs "+uuid.NewString())
	return map[string]error{"rename workspace": edited, "archive workspace": archived, "restore workspace": restored,
		"rename process": process, "archive process": archivedProcess, "restore process": restoredProcess, "create process": inside,
		"delete process": h.DeleteProcess(h.t.Context(), actor, processID), "delete workspace": h.DeleteWorkspace(h.t.Context(), actor, workspaceID)}
}

func TestPlacesAreTheOrganisationsOwnAndForAdmins(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	w := h.workspace("Payments")
	p := h.process(w, "Checkout")
	for _, actor := range []account.Actor{h.org.Support, h.org.Member} {
		for what, err := range h.changes(actor, w.ID, p.ID) {
			if !errors.Is(err, keyring.ErrForbidden) {
				t.Errorf("%s by %s: %v", what, actor.Role, err)
			}
		}
		if _, err := h.CreateWorkspace(t.Context(), actor, "New"); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("create workspace by %s: %v", actor.Role, err)
		}
	}
	if _, err := h.Rooms(t.Context(), h.org.Member, "", false); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member lists places: %v", err)
	}
	for _, ids := range [][2]string{{w.ID, p.ID}, {uuid.NewString(), uuid.NewString()}, {"x", "x"}} {
		for what, err := range h.changes(other.Owner, ids[0], ids[1]) {
			if !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s %s by another organisation: %v", what, ids, err)
			}
		}
	}
	after, err := h.Process(t.Context(), h.org.Support, p.ID)
	if err != nil || after != p {
		t.Errorf("the process is %+v, %v", after, err)
	}
}

func TestArchivedPlaceTakesNoNewKeysAndKeepsThoseItHas(t *testing.T) {
	h := newHouse(t)
	w := h.workspace("Payments")
	p := h.process(w, "Checkout")
	key := h.issue(h.org.Admin, keyring.KeyDraft{Name: "before", Scopes: []string{"read:chat"}, ProcessID: p.ID})
	refused := func(field string, draft keyring.KeyDraft) {
		t.Helper()
		draft.Name, draft.Scopes = "after", []string{"read:chat"}
		_, _, err := h.IssueKey(t.Context(), h.org.Owner, draft)
		if problems := input.ProblemsIn(err); problems[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	works := func() {
		t.Helper()
		row, err := h.Key(t.Context(), h.org.Admin, key.ID)
		if err != nil || !row.AcceptedAt(h.Now()) {
			t.Errorf("the key that was there before: %+v, %v", row.Key, err)
		}
		rotation, err := h.RotateKey(t.Context(), h.org.Admin, key.ID, 0, "")
		if err != nil {
			t.Fatalf("it can't be rotated: %v", err)
		}
		key = rotation.New
	}
	h.editProcess(p.ID, archive)
	refused("processId", keyring.KeyDraft{ProcessID: p.ID})
	refused("processId", keyring.KeyDraft{ProcessID: p.ID, WorkspaceID: w.ID})
	works()
	h.issue(h.org.Admin, keyring.KeyDraft{Name: "of the workspace", Scopes: []string{"read:chat"}, WorkspaceID: w.ID})
	h.editProcess(p.ID, restore)
	h.editWorkspace(w.ID, archive)
	refused("workspaceId", keyring.KeyDraft{WorkspaceID: w.ID})
	refused("processId", keyring.KeyDraft{ProcessID: p.ID})
	works()
	if _, err := h.CreateProcess(t.Context(), h.org.Admin, w.ID, "New"); input.ProblemsIn(err)["workspaceId"] == "" {
		t.Errorf("a new process in an archived workspace: %v", err)
	}
	if _, err := h.EditProcess(t.Context(), h.org.Admin, p.ID, restore); input.ProblemsIn(err)["archived"] == "" {
		t.Errorf("a process is restored in an archived workspace: %v", err)
	}
	h.editProcess(p.ID, archive)
	h.editWorkspace(w.ID, restore)
	refused("processId", keyring.KeyDraft{ProcessID: p.ID}) // it was archived by itself
	h.editProcess(p.ID, restore)
	h.issue(h.org.Admin, keyring.KeyDraft{Name: "again", Scopes: []string{"read:chat"}, ProcessID: p.ID})
	enabled, err := h.EnabledKeysIn(t.Context(), h.org.Support, "")
	if err != nil || enabled[p.ID] != 2 || enabled[w.ID] != 3 {
		t.Errorf("%v, %v", enabled, err)
	}
}

// TestArchivingWaitsForNoKeyAndLetsNoneBehindIt holds an archiving open while a key is asked for.
func TestArchivingWaitsForNoKeyAndLetsNoneBehindIt(t *testing.T) {
	h := newHouse(t)
	p := h.process(h.workspace("Payments"), "Checkout")
	var issued <-chan error
	err := h.store.Mutate(t.Context(), h.org.Admin, account.ArchiveProcess, func(tx *store.Tx) ([]audit.Change, error) {
		locked, err := tx.LockProcess(p.ID)
		if err != nil {
			return nil, err
		}
		now := tx.Now()
		locked.ArchivedAt = &now
		if err := tx.UpdateProcess(locked); err != nil {
			return nil, err
		}
		issued = h.begun(func() error {
			_, _, err := h.IssueKey(t.Context(), h.org.Owner, keyring.KeyDraft{Name: "late", Scopes: []string{"read:chat"}, ProcessID: p.ID})
			return err
		})
		return []audit.Change{{Subject: audit.Subject{Kind: "process", ID: p.ID, Name: p.Name}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-issued; input.ProblemsIn(err)["processId"] == "" {
		t.Errorf("a key came into what was archived meanwhile: %v", err)
	}
}

// TestNoKeyComesIntoWhatIsGoneOrArchived lets them race, and reads in the log who was first.
func TestNoKeyComesIntoWhatIsGoneOrArchived(t *testing.T) {
	h := newHouse(t)
	w := h.workspace("Payments")
	const rounds, issuers = 60, 6
	for i := range rounds {
		p := h.process(w, fmt.Sprint("process ", i))
		var wg sync.WaitGroup
		for range issuers {
			wg.Go(func() {
				_, _, err := h.IssueKey(t.Context(), h.org.Owner, keyring.KeyDraft{Name: p.ID, Scopes: []string{"read:chat"}, ProcessID: p.ID})
				if err != nil && input.ProblemsIn(err)["processId"] == "" && !errors.Is(err, keyring.ErrNotFound) {
					t.Errorf("issuing: %v", err)
				}
			})
		}
		wg.Go(func() {
			if i%2 == 0 {
				h.editProcess(p.ID, archive)
			} else if err := h.DeleteProcess(t.Context(), h.org.Admin, p.ID); err != nil && !errors.Is(err, keyring.ErrInUse) {
				t.Errorf("deleting: %v", err)
			}
		})
		wg.Wait()
	}
	var late int
	err := h.db.QueryRow(`SELECT count(*) FROM audit_events closed JOIN audit_events issued
		ON issued.org_id = closed.org_id AND issued.subject_name = closed.subject_id::text AND issued.seq > closed.seq
		WHERE closed.action IN ('process.archived', 'process.deleted') AND issued.action = 'key.issued'`).Scan(&late)
	if err != nil || late != 0 {
		t.Errorf("%d keys came too late, %v", late, err)
	}
	var closed int
	if err := h.db.QueryRow(`SELECT count(*) FROM audit_events WHERE action IN ('process.archived', 'process.deleted')`).Scan(&closed); err != nil || closed < rounds/2 {
		t.Errorf("%d were closed, %v", closed, err)
	}
}

func TestPlaceInUseIsNotDeleted(t *testing.T) {
	h := newHouse(t)
	w := h.workspace("Payments")
	p := h.process(w, "Checkout")
	if err := h.DeleteWorkspace(t.Context(), h.org.Owner, w.ID); !errors.Is(err, keyring.ErrInUse) {
		t.Errorf("a workspace with a process: %v", err)
	}
	ofProcess := h.issue(h.org.Admin, keyring.KeyDraft{Name: "x", Scopes: []string{"read:chat"}, ProcessID: p.ID})
	if _, err := h.ChangeStatus(t.Context(), h.org.Admin, apikey.Revoke, ofProcess.ID); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteProcess(t.Context(), h.org.Owner, p.ID); !errors.Is(err, keyring.ErrInUse) {
		t.Errorf("a process with a revoked key: %v", err)
	}
	if err := errors.Join(h.DeleteKey(t.Context(), h.org.Admin, ofProcess.ID), h.DeleteProcess(t.Context(), h.org.Owner, p.ID)); err != nil {
		t.Errorf("a process without keys: %v", err)
	}
	ofWorkspace := h.issue(h.org.Admin, keyring.KeyDraft{Name: "x", Scopes: []string{"read:chat"}, WorkspaceID: w.ID})
	if err := h.DeleteWorkspace(t.Context(), h.org.Owner, w.ID); !errors.Is(err, keyring.ErrInUse) {
		t.Errorf("a workspace with a key: %v", err)
	}
	if err := errors.Join(h.DeleteKey(t.Context(), h.org.Admin, ofWorkspace.ID), h.DeleteWorkspace(t.Context(), h.org.Owner, w.ID)); err != nil {
		t.Errorf("a workspace without keys: %v", err)
	}
}

func TestOrganisationHas500OfEachAtMost(t *testing.T) {
	h := newHouse(t)
	w := h.workspace("The first")
	if _, err := h.db.Exec(`INSERT INTO workspaces (id, org_id, name, created_at) SELECT gen_random_uuid(), $1, 'w' || n, now() FROM generate_series(3, 500) AS n`, h.org.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.Exec(`INSERT INTO processes (id, org_id, workspace_id, name, created_at) SELECT gen_random_uuid(), $1, $2, 'p' || n, now() FROM generate_series(2, 500) AS n`, h.org.ID, w.ID); err != nil {
		t.Fatal(err)
	}
	for what, create := range map[string]func(string) error{
		"workspaces": func(name string) error { _, err := h.CreateWorkspace(t.Context(), h.org.Admin, name); return err },
		"processes":  func(name string) error { _, err := h.CreateProcess(t.Context(), h.org.Admin, w.ID, name); return err },
	} {
		made := make(chan error, 4)
		for i := range cap(made) {
			go func() { made <- create(fmt.Sprint("the last ", i)) }()
		}
		good := 0
		for range cap(made) {
			if err := <-made; err == nil {
				good++
			} else if !errors.Is(err, keyring.ErrFull) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if good != 1 {
			t.Errorf("%d %s came where one had room", good, what)
		}
	}
}

// TestKeyChangesNoPlaceBeyondItself: a confined key with every scope and an owner's role.
func TestKeyChangesNoPlaceBeyondItself(t *testing.T) {
	h := newHouse(t)
	ours, theirs := h.workspace("Ours"), h.workspace("Theirs")
	inside, beside, outside := h.process(ours, "Inside"), h.process(ours, "Beside"), h.process(theirs, "Outside")
	acting := func(draft keyring.KeyDraft) account.Actor {
		t.Helper()
		draft.Name, draft.AllScopes = "acting", true
		key := h.issue(h.org.Owner, draft)
		actor, err := h.KeyActor(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, h.org.ID, key.ID)
		if err != nil {
			t.Fatal(err)
		}
		return actor
	}
	free, ofWorkspace, ofProcess := acting(keyring.KeyDraft{}), acting(keyring.KeyDraft{WorkspaceID: ours.ID}), acting(keyring.KeyDraft{ProcessID: inside.ID})
	test, fenced := acting(keyring.KeyDraft{Environment: "test"}), acting(keyring.KeyDraft{IPAllowlist: []string{"192.0.2.0/24"}})
	for _, c := range []struct {
		name    string
		actor   account.Actor
		place   string
		allowed bool
	}{
		{"a test key", test, "organisation", false}, {"a test key", test, ours.ID, false}, {"a test key", test, inside.ID, false},
		{"a key with an allowlist", fenced, ours.ID, true}, {"a key with an allowlist", fenced, inside.ID, true},
		{"a free key", free, "organisation", true}, {"a free key", free, ours.ID, true}, {"a free key", free, outside.ID, true},
		{"a workspace's key", ofWorkspace, "organisation", false}, {"a workspace's key", ofWorkspace, ours.ID, true}, {"a workspace's key", ofWorkspace, theirs.ID, false},
		{"a workspace's key", ofWorkspace, inside.ID, true}, {"a workspace's key", ofWorkspace, beside.ID, true}, {"a workspace's key", ofWorkspace, outside.ID, false},
		{"a process's key", ofProcess, "organisation", false}, {"a process's key", ofProcess, ours.ID, false}, {"a process's key", ofProcess, theirs.ID, false},
		{"a process's key", ofProcess, inside.ID, true}, {"a process's key", ofProcess, beside.ID, false}, {"a process's key", ofProcess, outside.ID, false},
	} {
		tried := map[string]error{}
		switch c.place {
		case "organisation":
			_, tried["create workspace"] = h.CreateWorkspace(t.Context(), c.actor, uuid.NewString())
		case ours.ID, theirs.ID:
			_, tried["rename"] = h.EditWorkspace(t.Context(), c.actor, c.place, rename(uuid.NewString()))
			_, tried["archive"] = h.EditWorkspace(t.Context(), c.actor, c.place, archive)
			_, tried["restore"] = h.EditWorkspace(t.Context(), c.actor, c.place, restore)
			_, tried["create process"] = h.CreateProcess(t.Context(), c.actor, c.place, uuid.NewString())
			tried["delete"] = h.DeleteWorkspace(t.Context(), c.actor, c.place)
		default:
			_, tried["rename"] = h.EditProcess(t.Context(), c.actor, c.place, rename(uuid.NewString()))
			_, tried["archive"] = h.EditProcess(t.Context(), c.actor, c.place, archive)
			_, tried["restore"] = h.EditProcess(t.Context(), c.actor, c.place, restore)
			if !c.allowed {
				tried["delete"] = h.DeleteProcess(t.Context(), c.actor, c.place)
			}
		}
		for what, err := range tried {
			if refused := errors.Is(err, keyring.ErrReach); refused == c.allowed || err != nil && !refused && !errors.Is(err, keyring.ErrInUse) {
				t.Errorf("%s: %s of %s: %v", c.name, what, c.place, err)
			}
		}
	}
}

func TestPlacesAreFoundByNameAndId(t *testing.T) {
	h := newHouse(t)
	payments, support := h.workspace("Payments"), h.workspace("Support")
	checkout, old := h.process(payments, "Checkout"), h.process(payments, "Old checkout")
	h.process(payments, "Refunds")
	h.workspace("Empty")
	h.editProcess(old.ID, archive)
	h.process(support, "Chat")
	h.editWorkspace(support.ID, archive)
	for _, c := range []struct {
		search   string
		archived bool
		want     string
	}{
		{"", false, "Empty() Payments(Checkout,Refunds)"},
		{"", true, "Payments(Old checkout) Support(Chat)"},
		{"CHECK", false, "Payments(Checkout)"},
		{"check", true, "Payments(Old checkout)"},
		{"pay", false, "Payments(Checkout,Refunds)"},
		{checkout.ID, false, "Payments(Checkout)"},
		{"chat", true, "Support(Chat)"},
		{"chat", false, ""},
	} {
		rooms, err := h.Rooms(t.Context(), h.org.Support, c.search, c.archived)
		var got []string
		for _, room := range rooms {
			var inside []string
			for _, p := range room.Processes {
				inside = append(inside, p.Name)
			}
			got = append(got, room.Name+"("+strings.Join(inside, ",")+")")
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q, archived %v: %v, %v", c.search, c.archived, got, err)
		}
	}
}
