package store

import (
	"context"
	"errors"
	"time"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/input"
)

// IsSetUp says whether the installation has an organisation.
func (s *Store) IsSetUp(ctx context.Context) (bool, error) {
	var found bool
	err := s.db.GetContext(ctx, &found, `SELECT EXISTS (SELECT 1 FROM organisations)`)
	return found, tidy(err)
}

// InsertSetupLink stores the hash of a one-time link with which the first owner sets up the organisation.
func (s *Store) InsertSetupLink(ctx context.Context, hash [32]byte, expiresAt time.Time) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO setup_links (token_hash, expires_at) VALUES ($1, $2)`, hash[:], expiresAt)
	return tidy(err)
}

// HasSetupLink says whether a link still works.
func (s *Store) HasSetupLink(ctx context.Context, hash [32]byte) (bool, error) {
	var found bool
	err := s.db.GetContext(ctx, &found, `SELECT EXISTS (SELECT 1 FROM setup_links WHERE token_hash = $1 AND expires_at > $2)`, hash[:], s.Now())
	return found, tidy(err)
}

// RequireNoOrganisation returns ErrSetUp when the installation has an organisation. Else it holds a lock until the transaction
// ends, so that of several that create the first organisation at once the others wait and get ErrSetUp.
func (tx *Tx) RequireNoOrganisation() error {
	if _, err := tx.db.ExecContext(tx.ctx, `SELECT pg_advisory_xact_lock(hashtextextended('moonlatch setup', 0))`); err != nil {
		return tidy(err)
	}
	var taken bool
	if err := tx.db.GetContext(tx.ctx, &taken, `SELECT EXISTS (SELECT 1 FROM organisations)`); err != nil {
		return tidy(err)
	}
	if taken {
		return ErrSetUp
	}
	return nil
}

// UseSetupLink uses up the link, and every other one with it: an installation is set up once. ErrSetUp when the
// link no longer works or there is an organisation.
func (tx *Tx) UseSetupLink(hash [32]byte) error {
	if err := tx.RequireNoOrganisation(); err != nil {
		return err
	}
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM setup_links WHERE token_hash = $1 AND expires_at > $2`, hash[:], tx.now)
	if err := oneRow(result, err); errors.Is(err, ErrNotFound) {
		return ErrSetUp
	} else if err != nil {
		return err
	}
	_, err = tx.db.ExecContext(tx.ctx, `DELETE FROM setup_links`)
	return tidy(err)
}

// Organisation is the tenant.
type Organisation struct{ ID, Name string }

// Organisations lists every organisation, by name: for the operator's commands.
func (s *Store) Organisations(ctx context.Context) ([]Organisation, error) {
	var out []Organisation
	err := s.db.SelectContext(ctx, &out, `SELECT id, name FROM organisations ORDER BY name`)
	return out, tidy(err)
}

// OrganisationByName returns the organisation of this name, else the one whose name is alike but for case, width and
// spaces; ErrNotFound when there is none.
func (s *Store) OrganisationByName(ctx context.Context, name string) (Organisation, error) {
	var out Organisation
	err := s.db.GetContext(ctx, &out, `SELECT id, name FROM organisations WHERE name = $1 OR name_key = $2 ORDER BY name <> $1 LIMIT 1`, name, input.NameKey(name))
	return out, tidy(err)
}

// firstScopes is the catalogue that an organisation begins with: the 13 scopes of the product's sources but "*",
// which is no entry of the catalogue, and those of Moonlatch's own API.
var firstScopes = [][2]string{
	{"read:personas", "List and read personas"},
	{"write:personas", "Create, change and delete personas"},
	{"read:chat", "Read conversations"},
	{"write:chat", "Send messages"},
	{"read:marketplace", "Browse the marketplace"},
	{"write:marketplace", "Publish and change offers"},
	{"read:billing", "Read invoices and usage"},
	{"read:audit", "Read the audit log"},
	{"read:webhooks", "List webhooks"},
	{"write:webhooks", "Create, change and delete webhooks"},
	{"read:config", "Read workspaces, processes, bias profiles and scopes"},
	{"write:config", "Change workspaces, processes, bias profiles and scopes"},
	{"read:api-keys", "List and read API keys"},
	{"write:api-keys", "Issue, edit, rotate, revoke and delete API keys"},
	{"verify:api-keys", "Ask whether a key is good"},
}

// InsertOrganisation makes the actor's organisation (whose id the actor carries already) with its policy, its first
// scopes and the beginning of its audit log.
func (tx *Tx) InsertOrganisation(name string, chainStart []byte) error {
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO organisations (id, name, created_at, name_key) VALUES ($1, $2, $3, $4)`, tx.actor.OrgID, name, tx.now, input.NameKey(name))
	if err != nil {
		return tidy(err)
	}
	if _, err := tx.db.ExecContext(tx.ctx, `INSERT INTO key_policies (org_id) VALUES ($1)`, tx.actor.OrgID); err != nil {
		return tidy(err)
	}
	var names, descriptions []string
	for _, scope := range firstScopes {
		names, descriptions = append(names, scope[0]), append(descriptions, scope[1])
	}
	_, err = tx.db.ExecContext(tx.ctx, `INSERT INTO scopes (org_id, name, description)
		SELECT $1, name, description FROM unnest($2::text[], $3::text[]) AS s (name, description)`, tx.actor.OrgID, pq.Array(names), pq.Array(descriptions))
	if err != nil {
		return tidy(err)
	}
	_, err = tx.db.ExecContext(tx.ctx, `INSERT INTO audit_heads (org_id, seq, hash) VALUES ($1, 0, $2)`, tx.actor.OrgID, chainStart)
	return tidy(err)
}
