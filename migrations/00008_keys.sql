-- +goose Up

-- When a key stops for good as things stand: its expiry, the end of its grace period or its revocation, whichever comes first.
-- It is what lists show, sort, filter and count, and the rule of apikey.Key.EndsAt. Adding it rewrites the table, which fires no
-- trigger; an UPDATE would need an audit event for every key.
ALTER TABLE api_keys ADD COLUMN ends_at timestamptz NOT NULL GENERATED ALWAYS AS (least(expires_at, grace_ends_at, revoked_at)) STORED;

-- The indexes that held the expiry hold the effective end.
DROP INDEX api_keys_by_expiry;
CREATE INDEX api_keys_by_end ON api_keys (org_id, ends_at, id) INCLUDE (status, created_at);
DROP INDEX api_keys_newest;
CREATE INDEX api_keys_newest ON api_keys (org_id, created_at DESC, id DESC) INCLUDE (status, ends_at, name);
DROP INDEX api_keys_enabled_in;
CREATE INDEX api_keys_enabled_in ON api_keys (org_id, workspace_id, process_id, ends_at) WHERE status = 'enabled' AND workspace_id IS NOT NULL;
DROP INDEX api_keys_in_grace;
CREATE INDEX api_keys_in_grace ON api_keys (org_id, ends_at) WHERE status = 'rotated';

-- The strongest role that a key acts with in Moonlatch's own API: a transfer or a promotion gives its plaintext no power that
-- those who know it did not have. A key that was issued before this gets its owner's role. The function fills the column in a
-- rewrite of the table, for the reason above.
-- +goose StatementBegin
CREATE FUNCTION pg_temp.role_of(member uuid) RETURNS text LANGUAGE sql STABLE AS $$ SELECT role FROM members WHERE id = member $$;
-- +goose StatementEnd
ALTER TABLE api_keys ADD COLUMN role_limit text;
ALTER TABLE api_keys ALTER COLUMN role_limit TYPE text USING pg_temp.role_of(owner_id);
ALTER TABLE api_keys
    ALTER COLUMN role_limit SET NOT NULL,
    ALTER COLUMN role_limit SET DEFAULT 'member', -- which may do nothing with keys
    ADD CONSTRAINT api_keys_role_limit CHECK (role_limit IN ('owner', 'admin', 'support', 'member'));
DROP FUNCTION pg_temp.role_of(uuid);

-- Where a policy requires an IP allowlist, a range with a shorter prefix than these admits so many addresses that it is none.
ALTER TABLE key_policies
    ADD COLUMN widest_ipv4 integer NOT NULL DEFAULT 8 CHECK (widest_ipv4 BETWEEN 0 AND 32),
    ADD COLUMN widest_ipv6 integer NOT NULL DEFAULT 32 CHECK (widest_ipv6 BETWEEN 0 AND 128);
