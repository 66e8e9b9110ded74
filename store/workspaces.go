package store

import "github.com/google/uuid"

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
