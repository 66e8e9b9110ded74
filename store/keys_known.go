package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// KnownKey is all that verification judges a key by and hands on. Of the key it has what that takes: no dates but its
// end and its grace, and neither prefix nor version.
type KnownKey struct {
	apikey.Key
	OwnerRole   account.Role
	OwnerStatus account.Status
	Profile     *apikey.Profile // nil: none
}

// byHashQuery is one row and one round trip. A profile's categories come as JSON, since they are rows of their own.
const byHashQuery = `SELECT k.id, k.org_id, k.name, k.environment, k.scopes, k.status, k.owner_id, o.role, o.status,
		k.workspace_id, k.process_id, k.ip_allowlist, k.expires_at, k.grace_ends_at,
		p.id, p.name, p.description, p.default_threshold, CASE WHEN p.id IS NOT NULL THEN (
			SELECT json_agg(json_build_object('Name', c.name, 'Enabled', c.enabled, 'Threshold', c.threshold, 'Action', c.action) ORDER BY c.name)
			FROM bias_profile_categories c WHERE c.profile_id = p.id) END
	FROM api_keys k JOIN members o ON o.id = k.owner_id LEFT JOIN bias_profiles p ON p.id = k.profile_id
	WHERE k.hash = $1`

// KeyByHash returns the key whose plaintext has this SHA-256, of whichever organisation, or ErrNotFound.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (KnownKey, error) {
	statement, err := s.byHash.on(ctx, s.db)
	if err != nil {
		return KnownKey{}, tidy(err)
	}
	var k KnownKey
	var p struct {
		id, name, description sql.NullString
		threshold             sql.NullInt64
		categories            []byte
	}
	var workspace, process sql.NullString
	var allowlist pq.StringArray
	err = statement.QueryRowContext(ctx, hash[:]).Scan(&k.ID, &k.OrgID, &k.Name, &k.Environment, (*pq.StringArray)(&k.Scopes), &k.Stored,
		&k.OwnerID, &k.OwnerRole, &k.OwnerStatus, &workspace, &process, &allowlist, &k.ExpiresAt, &k.GraceEndsAt,
		&p.id, &p.name, &p.description, &p.threshold, &p.categories)
	if err != nil {
		return KnownKey{}, tidy(err)
	}
	k.WorkspaceID, k.ProcessID, k.ProfileID = workspace.String, process.String, p.id.String
	k.IPAllowlist = prefixes(allowlist)
	k.ExpiresAt, k.GraceEndsAt = k.ExpiresAt.UTC(), utc(k.GraceEndsAt)
	if p.id.Valid {
		k.Profile = &apikey.Profile{ID: p.id.String, OrgID: k.OrgID, Name: p.name.String, Description: p.description.String,
			DefaultThreshold: int(p.threshold.Int64)}
		if p.categories != nil {
			if err := json.Unmarshal(p.categories, &k.Profile.Categories); err != nil {
				return KnownKey{}, fmt.Errorf("a bias profile's categories: %w", err)
			}
		}
	}
	return k, nil
}

// prepared is a statement that is prepared once, when it is first needed, and by database/sql again on each new
// connection. An unprepared one takes lib/pq three times as long.
type prepared struct {
	query string
	mu    sync.RWMutex
	stmt  *sql.Stmt
}

func (p *prepared) on(ctx context.Context, db *sqlx.DB) (*sql.Stmt, error) {
	p.mu.RLock()
	stmt := p.stmt
	p.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	stmt, err := db.PrepareContext(ctx, p.query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stmt != nil { // another was faster
		return p.stmt, stmt.Close()
	}
	p.stmt = stmt
	return stmt, nil
}
