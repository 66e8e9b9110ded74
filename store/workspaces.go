package store

import (
	"context"

	"github.com/google/uuid"
)

// WorkspaceByID returns a workspace of the organisation, or ErrNotFound.
func (s *Store) WorkspaceByID(ctx context.Context, orgID, id string) (Choice, error) {
	var w Choice
	err := s.db.GetContext(ctx, &w, `SELECT id, name, archived_at IS NOT NULL AS archived FROM workspaces WHERE org_id = $1 AND id = $2`, orgID, id)
	return w, tidy(err)
}

// ProcessByID returns a process of the organisation, or ErrNotFound.
func (s *Store) ProcessByID(ctx context.Context, orgID, id string) (Choice, error) {
	var p Choice
	err := s.db.GetContext(ctx, &p, `SELECT p.id, p.name, p.workspace_id AS parent, coalesce(p.archived_at, w.archived_at) IS NOT NULL AS archived
		FROM processes p JOIN workspaces w ON w.id = p.workspace_id WHERE p.org_id = $1 AND p.id = $2`, orgID, id)
	return p, tidy(err)
}

// InsertWorkspace makes a workspace of the actor's organisation; ErrTaken when it has one of that name.
func (tx *Tx) InsertWorkspace(name string) (Choice, error) {
	w := Choice{ID: uuid.Must(uuid.NewV7()).String(), Name: name}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO workspaces (id, org_id, name, created_at) VALUES ($1, $2, $3, $4)`,
		w.ID, tx.actor.OrgID, w.Name, tx.now)
	return w, tidy(err)
}

// InsertProcess makes a process in a workspace of the actor's organisation. ErrNotFound when the organisation has no
// such workspace, ErrTaken when the workspace has a process of that name.
func (tx *Tx) InsertProcess(workspaceID, name string) (Choice, error) {
	p := Choice{ID: uuid.Must(uuid.NewV7()).String(), Name: name, Parent: workspaceID}
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO processes (id, org_id, workspace_id, name, created_at) VALUES ($1, $2, $3, $4, $5)`,
		p.ID, tx.actor.OrgID, p.Parent, p.Name, tx.now)
	return p, tidy(err)
}
