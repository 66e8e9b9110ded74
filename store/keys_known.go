package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// KnownKey is all that verification judges a key by and hands on. Of the key it has what that takes: no dates but those
// that can end it, and neither prefix nor version.
type KnownKey struct {
	apikey.Key
	OwnerStatus account.Status
	ActsAs      account.Role    // the weaker of the owner's role and the key's limit
	Profile     *apikey.Profile // nil: none
}

// byHashQuery is one row and one round trip. A profile comes as JSON, since its categories are rows of their own; its
// fields are those of apikey.Profile.
const byHashQuery = `SELECT k.id, k.org_id, k.name, k.environment, k.scopes, k.status, k.owner_id, o.role, o.status, k.role_limit,
		k.workspace_id, k.process_id, k.ip_allowlist, k.expires_at, k.grace_ends_at, k.revoked_at, CASE WHEN k.profile_id IS NOT NULL THEN (
			SELECT json_build_object('ID', p.id, 'OrgID', p.org_id, 'Name', p.name, 'Description', p.description,
				'DefaultThreshold', p.default_threshold, 'Categories', ` + categoriesOf + `)
			FROM bias_profiles p WHERE p.id = k.profile_id) END
	FROM api_keys k JOIN members o ON o.id = k.owner_id
	WHERE k.hash = $1`

// KeyByHash returns the key whose plaintext has this SHA-256, of whichever organisation, or ErrNotFound.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (KnownKey, error) {
	var k KnownKey
	var workspace, process sql.NullString
	var allowlist pq.StringArray
	var profile []byte
	var owner account.Role
	err := s.byHash.QueryRowContext(ctx, hash[:]).Scan(&k.ID, &k.OrgID, &k.Name, &k.Environment, (*pq.StringArray)(&k.Scopes), &k.Stored,
		&k.OwnerID, &owner, &k.OwnerStatus, &k.RoleLimit, &workspace, &process, &allowlist, &k.ExpiresAt, &k.GraceEndsAt, &k.RevokedAt, &profile)
	if err != nil {
		return KnownKey{}, tidy(err)
	}
	k.ActsAs = owner.AtMost(account.Role(k.RoleLimit))
	k.WorkspaceID, k.ProcessID, k.IPAllowlist = workspace.String, process.String, prefixes(allowlist)
	k.ExpiresAt, k.GraceEndsAt, k.RevokedAt = k.ExpiresAt.UTC(), utc(k.GraceEndsAt), utc(k.RevokedAt)
	if profile != nil {
		if err := json.Unmarshal(profile, &k.Profile); err != nil {
			return KnownKey{}, fmt.Errorf("a bias profile: %w", err)
		}
		k.ProfileID = k.Profile.ID
	}
	return k, nil
}
