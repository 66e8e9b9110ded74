package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/input"
)

// Workspace is a part of an organisation.
type Workspace struct {
	ID         string     `db:"id"`
	Name       string     `db:"name"`
	CreatedAt  time.Time  `db:"created_at"`
	ArchivedAt *time.Time `db:"archived_at"` // since when it takes no new keys; nil for one that does
}

// Archived says whether the workspace takes no new keys.
func (w Workspace) Archived() bool { return w.ArchivedAt != nil }

// Process is something in a workspace that is called through the API and has keys of its own.
type Process struct {
	ID                  string     `db:"id"`
	Name                string     `db:"name"`
	WorkspaceID         string     `db:"workspace_id"`
	WorkspaceName       string     `db:"workspace_name"`
	CreatedAt           time.Time  `db:"created_at"`
	ArchivedAt          *time.Time `db:"archived_at"`           // since when it takes no new keys by itself
	WorkspaceArchivedAt *time.Time `db:"workspace_archived_at"` // since when it takes none because its workspace does not
}

// Archived says whether the process takes no new keys, be it by itself or with its workspace.
func (p Process) Archived() bool { return p.ArchivedAt != nil || p.WorkspaceArchivedAt != nil }

const (
	workspaceQuery = `SELECT id, name, created_at, archived_at FROM workspaces WHERE org_id = $1`
	processQuery   = `SELECT p.id, p.name, p.workspace_id, w.name AS workspace_name, p.created_at, p.archived_at, w.archived_at AS workspace_archived_at
		FROM processes p JOIN workspaces w ON w.id = p.workspace_id WHERE p.org_id = $1`
)

func (w Workspace) tidy() Workspace {
	w.CreatedAt, w.ArchivedAt = w.CreatedAt.UTC(), utc(w.ArchivedAt)
	return w
}

func (p Process) tidy() Process {
	p.CreatedAt, p.ArchivedAt, p.WorkspaceArchivedAt = p.CreatedAt.UTC(), utc(p.ArchivedAt), utc(p.WorkspaceArchivedAt)
	return p
}

// MostPlaces bounds how many workspaces an organisation has, and how many processes: as many as lists of them hold.
const MostPlaces = 500

// Workspaces lists the organisation's workspaces by name, at most MostPlaces.
func (s *Store) Workspaces(ctx context.Context, orgID string) ([]Workspace, error) {
	var out []Workspace
	err := s.db.SelectContext(ctx, &out, workspaceQuery+` ORDER BY lower(name), id LIMIT $2`, orgID, MostPlaces)
	for i := range out {
		out[i] = out[i].tidy()
	}
	return out, tidy(err)
}

// WorkspaceByID returns a workspace of the organisation, or ErrNotFound.
func (s *Store) WorkspaceByID(ctx context.Context, orgID, id string) (Workspace, error) {
	var w Workspace
	err := s.db.GetContext(ctx, &w, workspaceQuery+` AND id = $2`, orgID, id)
	return w.tidy(), tidy(err)
}

// Processes lists the organisation's processes by their workspaces' names and their own, at most MostPlaces.
func (s *Store) Processes(ctx context.Context, orgID string) ([]Process, error) {
	var out []Process
	err := s.db.SelectContext(ctx, &out, processQuery+` ORDER BY lower(w.name), w.id, lower(p.name), p.id LIMIT $2`, orgID, MostPlaces)
	for i := range out {
		out[i] = out[i].tidy()
	}
	return out, tidy(err)
}

// ProcessByID returns a process of the organisation, or ErrNotFound.
func (s *Store) ProcessByID(ctx context.Context, orgID, id string) (Process, error) {
	var p Process
	err := s.db.GetContext(ctx, &p, processQuery+` AND p.id = $2`, orgID, id)
	return p.tidy(), tidy(err)
}

// enabledIn counts the enabled keys that a condition tells, at most $3, in an index that has no others.
func enabledIn(condition string) string {
	return `(SELECT count(*) FROM (SELECT FROM api_keys k WHERE k.org_id = $1 AND k.status = 'enabled' AND k.ends_at > $2 AND ` + condition + ` LIMIT $3) AS counted)`
}

// EnabledKeysIn counts the enabled keys of each workspace, its processes' among them, and of each process, by id; at
// most MostCounted + 1 of each. An id limits it to one.
func (s *Store) EnabledKeysIn(ctx context.Context, orgID, id string) (map[string]int, error) {
	var counts []struct {
		ID   string `db:"id"`
		Keys int    `db:"keys"`
	}
	err := s.db.SelectContext(ctx, &counts, `SELECT w.id, `+enabledIn(`k.workspace_id = w.id`)+` AS keys
			FROM workspaces w WHERE w.org_id = $1 AND ($4 = '' OR w.id = nullif($4, '')::uuid)
		UNION ALL SELECT p.id, `+enabledIn(`k.workspace_id = p.workspace_id AND k.process_id = p.id`)+`
			FROM processes p WHERE p.org_id = $1 AND ($4 = '' OR p.id = nullif($4, '')::uuid)`,
		orgID, s.Now(), MostCounted+1, id)
	out := make(map[string]int, len(counts))
	for _, c := range counts {
		out[c.ID] = c.Keys
	}
	return out, tidy(err)
}

// InsertWorkspace makes a workspace of the actor's organisation; ErrTaken when it has one of that name, ErrFull when it
// has MostPlaces.
func (tx *Tx) InsertWorkspace(name string) (Workspace, error) {
	if err := tx.room(`workspaces`, MostPlaces); err != nil {
		return Workspace{}, err
	}
	w := Workspace{ID: uuid.Must(uuid.NewV7()).String(), Name: name, CreatedAt: tx.now}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO workspaces (id, org_id, name, created_at, name_key) VALUES ($1, $2, $3, $4, $5)`,
		w.ID, tx.actor.OrgID, w.Name, w.CreatedAt, input.NameKey(w.Name))
	return w, tidy(err)
}

// InsertProcess makes a process in a workspace of the actor's organisation. ErrNotFound when the organisation has no
// such workspace, ErrTaken when the workspace has a process of that name, ErrFull when the organisation has MostPlaces.
func (tx *Tx) InsertProcess(workspaceID, name string) (Process, error) {
	if err := tx.room(`processes`, MostPlaces); err != nil {
		return Process{}, err
	}
	p := Process{ID: uuid.Must(uuid.NewV7()).String(), Name: name, WorkspaceID: workspaceID, CreatedAt: tx.now}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO processes (id, org_id, workspace_id, name, created_at, name_key) VALUES ($1, $2, $3, $4, $5, $6)`,
		p.ID, tx.actor.OrgID, p.WorkspaceID, p.Name, p.CreatedAt, input.NameKey(p.Name))
	return p, tidy(err)
}

// HoldWorkspace returns a workspace of the actor's organisation, and lets nobody rename or archive it until the
// transaction ends: no key comes into one that was archived meanwhile. Those who hold it don't wait for each other.
func (tx *Tx) HoldWorkspace(id string) (Workspace, error) {
	var w Workspace
	err := tx.db.GetContext(tx.ctx, &w, workspaceQuery+` AND id = $2 FOR SHARE`, tx.actor.OrgID, id)
	return w.tidy(), tidy(err)
}

// HoldProcess does the same for a process and its workspace.
func (tx *Tx) HoldProcess(id string) (Process, error) {
	var p Process
	err := tx.db.GetContext(tx.ctx, &p, processQuery+` AND p.id = $2 FOR SHARE`, tx.actor.OrgID, id)
	return p.tidy(), tidy(err)
}

// LockWorkspace returns a workspace of the actor's organisation and holds its row until the transaction ends, for a
// change.
func (tx *Tx) LockWorkspace(id string) (Workspace, error) {
	var w Workspace
	err := tx.db.GetContext(tx.ctx, &w, workspaceQuery+` AND id = $2 FOR NO KEY UPDATE`, tx.actor.OrgID, id)
	return w.tidy(), tidy(err)
}

// LockProcess does the same for a process. Its workspace stays as it is meanwhile.
func (tx *Tx) LockProcess(id string) (Process, error) {
	var p Process
	err := tx.db.GetContext(tx.ctx, &p, processQuery+` AND p.id = $2 FOR NO KEY UPDATE OF p FOR SHARE OF w`, tx.actor.OrgID, id)
	return p.tidy(), tidy(err)
}

// UpdateWorkspace stores a workspace's name and whether it is archived; ErrTaken when another has the name.
func (tx *Tx) UpdateWorkspace(w Workspace) error {
	return oneRow(tx.db.ExecContext(tx.ctx, `UPDATE workspaces SET name = $3, archived_at = $4, `+renamed(`$3`, `$5`)+` WHERE org_id = $1 AND id = $2`,
		tx.actor.OrgID, w.ID, w.Name, w.ArchivedAt, input.NameKey(w.Name)))
}

// UpdateProcess does the same for a process.
func (tx *Tx) UpdateProcess(p Process) error {
	return oneRow(tx.db.ExecContext(tx.ctx, `UPDATE processes SET name = $3, archived_at = $4, `+renamed(`$3`, `$5`)+` WHERE org_id = $1 AND id = $2`,
		tx.actor.OrgID, p.ID, p.Name, p.ArchivedAt, input.NameKey(p.Name)))
}

// renamed sets what a name is compared by if it changes. Another change leaves names alike that were so before.
func renamed(name, key string) string {
	return `name_key = CASE WHEN name = ` + name + ` THEN name_key ELSE ` + key + ` END`
}

// DeleteWorkspace removes a workspace; ErrInUse while a key or a process refers to it.
func (tx *Tx) DeleteWorkspace(id string) error {
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM workspaces WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id)
	return oneRow(result, referred(err))
}

// DeleteProcess removes a process; ErrInUse while a key refers to it.
func (tx *Tx) DeleteProcess(id string) error {
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM processes WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id)
	return oneRow(result, referred(err))
}

// referred is ErrInUse for what a foreign key kept from being removed. Its constraint has the same name as when a key
// refers to what is not there.
func referred(err error) error {
	var pqErr *pq.Error
	if errors.As(err, &pqErr) && pqErr.Code == "23503" {
		return ErrInUse
	}
	return err
}
