package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// A workspace is a part of an organisation, and a process lies in one.
type (
	Workspace = store.Workspace
	Process   = store.Process
)

// MostPlaces bounds how many workspaces an organisation has, and how many processes.
const MostPlaces = store.MostPlaces

// Workspaces lists the organisation's workspaces.
func (r *Keyring) Workspaces(ctx context.Context, actor account.Actor) ([]Workspace, error) {
	return seen(actor, account.ReadConfig, func() ([]Workspace, error) { return r.store.Workspaces(ctx, actor.OrgID) })
}

// Workspace returns a workspace, or ErrNotFound.
func (r *Keyring) Workspace(ctx context.Context, actor account.Actor, id string) (Workspace, error) {
	return one(ctx, actor, account.ReadConfig, id, r.store.WorkspaceByID)
}

// Processes lists the organisation's processes.
func (r *Keyring) Processes(ctx context.Context, actor account.Actor) ([]Process, error) {
	return seen(actor, account.ReadConfig, func() ([]Process, error) { return r.store.Processes(ctx, actor.OrgID) })
}

// Process returns a process, or ErrNotFound.
func (r *Keyring) Process(ctx context.Context, actor account.Actor, id string) (Process, error) {
	return one(ctx, actor, account.ReadConfig, id, r.store.ProcessByID)
}

// EnabledKeysIn says how many enabled keys each workspace and each process has, by id; MostCounted + 1 stands for more. An id
// limits it to one.
func (r *Keyring) EnabledKeysIn(ctx context.Context, actor account.Actor, id string) (map[string]int, error) {
	return seen(actor, account.ReadKeys, func() (map[string]int, error) { return r.store.EnabledKeysIn(ctx, actor.OrgID, id) })
}

// Room is a workspace with those of its processes that were asked for.
type Room struct {
	Workspace
	Processes []Process
}

// Rooms lists workspaces with their processes: those that take new keys, or those that are archived. A workspace that is
// not archived itself is among the latter when a process of it is. A search finds by name or id; a workspace that it
// finds comes with all its processes, and one that it does not find with those that it does.
func (r *Keyring) Rooms(ctx context.Context, actor account.Actor, search string, archived bool) ([]Room, error) {
	workspaces, err := r.Workspaces(ctx, actor)
	if err != nil {
		return nil, err
	}
	processes, err := r.Processes(ctx, actor)
	if err != nil {
		return nil, err
	}
	search = strings.ToLower(search)
	found := func(name, id string) bool {
		return strings.Contains(strings.ToLower(name), search) || id == search
	}
	var rooms []Room
	for _, w := range workspaces {
		room, whole := Room{Workspace: w}, found(w.Name, w.ID)
		for _, p := range processes {
			if p.WorkspaceID == w.ID && p.Archived() == archived && (whole || found(p.Name, p.ID)) {
				room.Processes = append(room.Processes, p)
			}
		}
		if len(room.Processes) > 0 || whole && w.Archived() == archived {
			rooms = append(rooms, room)
		}
	}
	return rooms, nil
}

// ErrReach is refused to a key that is confined to a part of the organisation and would change something outside.
var ErrReach = fmt.Errorf("a key changes nothing outside of what it is confined to: %w", store.ErrForbidden)

// reaches returns ErrReach when a key acts that is confined to less than the place: to another workspace or process, or to
// an environment or a bias profile, for a place takes keys of each. To change a workspace or to add a process to it takes a
// key that is not confined to a process. From where the key may be used is no matter here.
func reaches(tx *store.Tx, workspaceID, processID string) error {
	actor := tx.Actor()
	if actor.KeyID == "" {
		return nil
	}
	acting, err := tx.ActingKey()
	acting.IPAllowlist = nil
	place := apikey.Key{WorkspaceID: workspaceID, ProcessID: processID, Environment: apikey.Live}
	if err == nil && !place.Within(acting) {
		err = ErrReach
	}
	return err
}

// CreateWorkspace makes a workspace. Errors: input.Problems (name), ErrTaken, ErrFull, ErrReach.
func (r *Keyring) CreateWorkspace(ctx context.Context, actor account.Actor, name string) (Workspace, error) {
	var made Workspace
	if err := allow(actor, account.CreateWorkspace); err != nil {
		return made, err
	}
	problems := input.Problems{}
	name, err := readPlace(name)
	problems.Add("name", err)
	if err := problems.Err(); err != nil {
		return made, err
	}
	err = r.store.Mutate(ctx, actor, account.CreateWorkspace, func(tx *store.Tx) (_ []audit.Change, err error) {
		if err := reaches(tx, "", ""); err != nil {
			return nil, err
		}
		made, err = tx.InsertWorkspace(name)
		return []audit.Change{{Subject: workspaceSubject(made), After: workspaceFacts(made)}}, err
	})
	return made, err
}

// CreateProcess makes a process in a workspace. Errors: input.Problems (name, workspaceId), ErrTaken, ErrFull, ErrReach,
// and a MissingError for a workspace that the organisation does not have, which may come together with problems of the name.
func (r *Keyring) CreateProcess(ctx context.Context, actor account.Actor, workspaceID, name string) (Process, error) {
	var made Process
	if err := allow(actor, account.CreateProcess); err != nil {
		return made, err
	}
	problems := input.Problems{}
	name, err := readPlace(name)
	problems.Add("name", err)
	if workspaceID == "" {
		problems["workspaceId"] = "Choose the workspace that it is part of."
	}
	if err := errors.Join(problems.Err(), reference("workspaceId", &workspaceID)); err != nil {
		return made, err
	}
	err = r.store.Mutate(ctx, actor, account.CreateProcess, func(tx *store.Tx) ([]audit.Change, error) {
		workspace, err := tx.HoldWorkspace(workspaceID)
		if err != nil {
			return nil, missing(err, "workspaceId")
		}
		if err := reaches(tx, workspaceID, ""); err != nil {
			return nil, err
		}
		if workspace.Archived() {
			return nil, input.Problems{"workspaceId": "This workspace is archived. Restore it first, or choose another."}
		}
		made, err = tx.InsertProcess(workspaceID, name)
		made.WorkspaceName = workspace.Name
		return []audit.Change{{Subject: processSubject(made), After: processFacts(made)}}, err
	})
	return made, err
}

// PlaceEdit is what of a workspace or a process somebody wants changed; nil leaves a thing as it is.
type PlaceEdit struct {
	Name     *string
	Archived *bool
}

// EditWorkspace renames, archives or restores a workspace. What is archived takes no new keys; those that it has go on
// working. Errors: input.Problems (name), ErrTaken, ErrNotFound, ErrReach.
func (r *Keyring) EditWorkspace(ctx context.Context, actor account.Actor, id string, edit PlaceEdit) (Workspace, error) {
	var after Workspace
	err := r.editPlace(ctx, actor, workspaceActions, id, edit, func(tx *store.Tx, id string, name string) ([]audit.Change, error) {
		before, err := tx.LockWorkspace(id)
		if err != nil {
			return nil, err
		}
		if err := reaches(tx, before.ID, ""); err != nil {
			return nil, err
		}
		after = before
		after.Name = cmp.Or(name, before.Name)
		after.ArchivedAt = edit.archive(before.ArchivedAt, tx.Now())
		changes := workspaceActions.changes(workspaceSubject(after), workspaceFacts(before), workspaceFacts(after))
		if len(changes) == 0 {
			return nil, nil
		}
		return changes, tx.UpdateWorkspace(after)
	})
	return after, err
}

// EditProcess does the same for a process. One whose workspace is archived can't be restored by itself: input.Problems
// (archived).
func (r *Keyring) EditProcess(ctx context.Context, actor account.Actor, id string, edit PlaceEdit) (Process, error) {
	var after Process
	err := r.editPlace(ctx, actor, processActions, id, edit, func(tx *store.Tx, id string, name string) ([]audit.Change, error) {
		before, err := tx.LockProcess(id)
		if err != nil {
			return nil, err
		}
		if err := reaches(tx, before.WorkspaceID, before.ID); err != nil {
			return nil, err
		}
		if edit.Archived != nil && !*edit.Archived && before.WorkspaceArchivedAt != nil {
			return nil, input.Problems{"archived": "Its workspace is archived, and the process with it. Restore the workspace first."}
		}
		after = before
		after.Name = cmp.Or(name, before.Name)
		after.ArchivedAt = edit.archive(before.ArchivedAt, tx.Now())
		changes := processActions.changes(processSubject(after), processFacts(before), processFacts(after))
		if len(changes) == 0 {
			return nil, nil
		}
		return changes, tx.UpdateProcess(after)
	})
	return after, err
}

// editPlace asks for each part of an edit whether the actor may, reads the new name ("" for none), and changes the place.
func (r *Keyring) editPlace(ctx context.Context, actor account.Actor, actions placeActions, id string, edit PlaceEdit,
	change func(tx *store.Tx, id, name string) ([]audit.Change, error)) error {
	action := actions.rename
	if edit.Archived != nil {
		action = actions.archive
		if !*edit.Archived {
			action = actions.restore
		}
		if err := allow(actor, action); err != nil {
			return err
		}
	}
	name := ""
	if edit.Name != nil {
		if err := allow(actor, actions.rename); err != nil {
			return err
		}
		problems := input.Problems{}
		var err error
		name, err = readPlace(*edit.Name)
		problems.Add("name", err)
		if err := problems.Err(); err != nil {
			return err
		}
	}
	id, err := canonical(id)
	if err != nil {
		return err
	}
	return r.store.Mutate(ctx, actor, action, func(tx *store.Tx) ([]audit.Change, error) { return change(tx, id, name) })
}

// archive is since when a place is archived after the edit.
func (e PlaceEdit) archive(since *time.Time, now time.Time) *time.Time {
	switch {
	case e.Archived == nil || *e.Archived && since != nil:
		return since
	case *e.Archived:
		return &now
	}
	return nil
}

// placeActions are the actions on workspaces, or on processes.
type placeActions struct{ rename, archive, restore account.Action }

var (
	workspaceActions = placeActions{account.RenameWorkspace, account.ArchiveWorkspace, account.RestoreWorkspace}
	processActions   = placeActions{account.RenameProcess, account.ArchiveProcess, account.RestoreProcess}
)

// changes says what an edit did: a new name and an archiving are two events.
func (a placeActions) changes(subject audit.Subject, before, after audit.Facts) []audit.Change {
	var out []audit.Change
	if before["name"] != after["name"] {
		out = append(out, audit.Change{Action: a.rename, Subject: subject, Before: audit.Facts{"name": before["name"]}, After: audit.Facts{"name": after["name"]}})
	}
	if before["archivedAt"] != after["archivedAt"] {
		action := a.archive
		if after["archivedAt"] == "" {
			action = a.restore
		}
		out = append(out, audit.Change{Action: action, Subject: subject, Before: audit.Facts{"archivedAt": before["archivedAt"]}, After: audit.Facts{"archivedAt": after["archivedAt"]}})
	}
	return out
}

// DeleteWorkspace removes a workspace that nothing refers to. Errors: ErrInUse while it has a key, whatever its status, or
// a process; ErrNotFound, ErrReach.
func (r *Keyring) DeleteWorkspace(ctx context.Context, actor account.Actor, id string) error {
	id, err := canonical(id)
	if err != nil {
		return err
	}
	return r.store.Mutate(ctx, actor, account.DeleteWorkspace, func(tx *store.Tx) ([]audit.Change, error) {
		workspace, err := tx.LockWorkspace(id)
		if err != nil {
			return nil, err
		}
		if err := reaches(tx, workspace.ID, ""); err != nil {
			return nil, err
		}
		return []audit.Change{{Subject: workspaceSubject(workspace), Before: workspaceFacts(workspace)}}, tx.DeleteWorkspace(id)
	})
}

// DeleteProcess does the same for a process; ErrInUse while it has a key.
func (r *Keyring) DeleteProcess(ctx context.Context, actor account.Actor, id string) error {
	id, err := canonical(id)
	if err != nil {
		return err
	}
	return r.store.Mutate(ctx, actor, account.DeleteProcess, func(tx *store.Tx) ([]audit.Change, error) {
		process, err := tx.LockProcess(id)
		if err != nil {
			return nil, err
		}
		if err := reaches(tx, process.WorkspaceID, process.ID); err != nil {
			return nil, err
		}
		return []audit.Change{{Subject: processSubject(process), Before: processFacts(process)}}, tx.DeleteProcess(id)
	})
}

// takesKeys returns input.Problems (workspaceId, processId) for a new key that would come into what is archived, and a
// MissingError for what is not there. Both stay as they are until the transaction ends.
func takesKeys(tx *store.Tx, key apikey.Key) error {
	problems := input.Problems{}
	if key.WorkspaceID != "" {
		workspace, err := tx.HoldWorkspace(key.WorkspaceID)
		if err != nil {
			return missing(err, "workspaceId")
		}
		if workspace.Archived() {
			problems["workspaceId"] = "This workspace is archived and takes no new keys. Choose another, or restore it."
		}
	}
	if key.ProcessID != "" {
		process, err := tx.HoldProcess(key.ProcessID)
		switch {
		case err != nil:
			return missing(err, "processId")
		case process.ArchivedAt != nil:
			problems["processId"] = "This process is archived and takes no new keys. Choose another, or restore it."
		case process.Archived():
			problems["processId"] = "Its workspace is archived, so this process takes no new keys. Choose another, or restore the workspace."
		}
	}
	return problems.Err()
}

// readPlace reads the name of a workspace or a process.
func readPlace(text string) (string, error) {
	return readLabel(text, "Enter a name.")
}

func workspaceSubject(w Workspace) audit.Subject {
	return audit.Subject{Kind: "workspace", ID: w.ID, Name: w.Name}
}

func workspaceFacts(w Workspace) audit.Facts {
	return audit.Facts{"name": w.Name, "archivedAt": archivedFact(w.ArchivedAt)}
}

func processSubject(p Process) audit.Subject {
	return audit.Subject{Kind: "process", ID: p.ID, Name: p.Name}
}

func processFacts(p Process) audit.Facts {
	return audit.Facts{"name": p.Name, "workspaceId": p.WorkspaceID, "archivedAt": archivedFact(p.ArchivedAt)}
}

func archivedFact(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}
