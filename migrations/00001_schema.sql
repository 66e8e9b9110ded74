-- +goose Up

-- Trigrams make "contains" searches of names and e-mail addresses fast; with btree_gin their index begins with the
-- organisation, as every other does, so that nobody's searches read others' keys.
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE EXTENSION IF NOT EXISTS btree_gin;

-- What belongs to the whole server. The secret seals cursors and form tokens, the same on every replica.
CREATE TABLE installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    secret   bytea NOT NULL CHECK (length(secret) = 32)
);

-- One-time links with which the first owner sets up the organisation on a fresh installation.
CREATE TABLE setup_links (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    expires_at timestamptz NOT NULL
);

CREATE TABLE organisations (
    id         uuid PRIMARY KEY,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL,
    CONSTRAINT organisations_name_taken UNIQUE (name)
);

-- An e-mail address is stored in the one form that internal/input gives it, and signs in to one organisation.
CREATE TABLE members (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organisations,
    email         text NOT NULL,
    name          text NOT NULL DEFAULT '' CHECK (length(name) <= 100),
    role          text NOT NULL CHECK (role IN ('owner', 'admin', 'support', 'member')),
    status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'removed')),
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL,
    UNIQUE (org_id, id),
    CONSTRAINT members_email_taken UNIQUE (email)
);
CREATE INDEX members_of_organisation ON members (org_id, email);
CREATE INDEX members_email_search ON members USING gin (email gin_trgm_ops);

-- A member's signed-in session. Ending it ends whatever cookie leads to it.
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    org_id       uuid NOT NULL,
    member_id    uuid NOT NULL,
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    address      text NOT NULL,
    user_agent   text NOT NULL,
    FOREIGN KEY (org_id, member_id) REFERENCES members (org_id, id)
);
CREATE INDEX sessions_expiry ON sessions (expires_at);
CREATE INDEX sessions_of_member ON sessions (member_id, created_at DESC) WHERE ended_at IS NULL;

-- The cookie's data, as scs keeps it, under the SHA-256 of the token. A destroyed token stays as a tombstone
-- until it would have expired, so that a request still in flight can't bring it back.
CREATE TABLE cookie_sessions (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    data       bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    destroyed  boolean NOT NULL DEFAULT false
);
CREATE INDEX cookie_sessions_expiry ON cookie_sessions (expires_at);

-- Attempts to sign in, counted for each account and each address in windows, for all replicas together.
CREATE TABLE sign_in_attempts (
    subject        text PRIMARY KEY,
    attempts       integer NOT NULL,
    window_ends_at timestamptz NOT NULL
);

CREATE INDEX sign_in_attempts_age ON sign_in_attempts (window_ends_at);

CREATE TABLE key_policies (
    org_id                uuid PRIMARY KEY REFERENCES organisations,
    longest_lifetime_days integer NOT NULL DEFAULT 365 CHECK (longest_lifetime_days BETWEEN 1 AND 3650),
    default_lifetime_days integer NOT NULL DEFAULT 90 CHECK (default_lifetime_days BETWEEN 1 AND longest_lifetime_days),
    longest_grace_seconds integer NOT NULL DEFAULT 2592000 CHECK (longest_grace_seconds BETWEEN 0 AND 2592000)
);

CREATE TABLE scopes (
    org_id      uuid NOT NULL REFERENCES organisations,
    name        text NOT NULL CHECK (name ~ '^[a-z][a-z0-9-]*:[a-z][a-z0-9-]*$'),
    description text NOT NULL DEFAULT '',
    retired_at  timestamptz,
    PRIMARY KEY (org_id, name)
);

CREATE TABLE workspaces (
    id         uuid PRIMARY KEY,
    org_id     uuid NOT NULL REFERENCES organisations,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    created_at timestamptz NOT NULL,
    UNIQUE (org_id, id),
    CONSTRAINT workspaces_name_taken UNIQUE (org_id, name)
);

CREATE TABLE processes (
    id           uuid PRIMARY KEY,
    org_id       uuid NOT NULL,
    workspace_id uuid NOT NULL,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    created_at   timestamptz NOT NULL,
    UNIQUE (org_id, id),
    UNIQUE (org_id, workspace_id, id),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id),
    CONSTRAINT processes_name_taken UNIQUE (workspace_id, name)
);

CREATE TABLE bias_profiles (
    id                uuid PRIMARY KEY,
    org_id            uuid NOT NULL REFERENCES organisations,
    name              text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    description       text NOT NULL DEFAULT '',
    default_threshold integer NOT NULL CHECK (default_threshold BETWEEN 0 AND 100),
    created_at        timestamptz NOT NULL,
    UNIQUE (org_id, id),
    CONSTRAINT bias_profiles_name_taken UNIQUE (org_id, name)
);

CREATE TABLE bias_profile_categories (
    profile_id uuid NOT NULL REFERENCES bias_profiles ON DELETE CASCADE,
    name       text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    enabled    boolean NOT NULL,
    threshold  integer NOT NULL CHECK (threshold BETWEEN 0 AND 100),
    action     text NOT NULL CHECK (action IN ('flag', 'block')),
    PRIMARY KEY (profile_id, name)
);

-- The foreign keys carry org_id, so that a key can't point into another organisation. A process implies its
-- workspace: the key names both, and the pair must belong together. replaced_by has no foreign key: a successor may
-- be deleted, and the old key still says what replaced it.
CREATE TABLE api_keys (
    id            uuid PRIMARY KEY,
    org_id        uuid NOT NULL REFERENCES organisations,
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    environment   text NOT NULL CHECK (environment IN ('live', 'test')),
    prefix        text NOT NULL,
    hash          bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    signature     text NOT NULL CHECK (length(signature) = 6),
    scopes        text[] NOT NULL CHECK (cardinality(scopes) > 0),
    status        text NOT NULL CHECK (status IN ('enabled', 'disabled', 'rotated', 'revoked')),
    owner_id      uuid NOT NULL,
    created_by    uuid NOT NULL,
    workspace_id  uuid,
    process_id    uuid,
    profile_id    uuid,
    ip_allowlist  cidr[] NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL CHECK (expires_at > created_at),
    rotated_at    timestamptz,
    grace_ends_at timestamptz CHECK (grace_ends_at <= expires_at),
    replaced_by   uuid,
    revoked_at    timestamptz,
    version       integer NOT NULL DEFAULT 1,
    UNIQUE (org_id, id),
    CONSTRAINT api_keys_owner_fkey FOREIGN KEY (org_id, owner_id) REFERENCES members (org_id, id),
    CONSTRAINT api_keys_creator_fkey FOREIGN KEY (org_id, created_by) REFERENCES members (org_id, id),
    CONSTRAINT api_keys_workspace_fkey FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id),
    CONSTRAINT api_keys_process_fkey FOREIGN KEY (org_id, workspace_id, process_id) REFERENCES processes (org_id, workspace_id, id),
    CONSTRAINT api_keys_profile_fkey FOREIGN KEY (org_id, profile_id) REFERENCES bias_profiles (org_id, id),
    CONSTRAINT api_keys_process_has_workspace CHECK (process_id IS NULL OR workspace_id IS NOT NULL),
    CONSTRAINT api_keys_rotation CHECK ((status <> 'rotated') OR (rotated_at IS NOT NULL AND grace_ends_at IS NOT NULL)),
    CONSTRAINT api_keys_revocation CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
) WITH (parallel_workers = 0); -- a page takes less time than starting a worker

-- One index a filter, each in the order of the list, so that a page is read and not sorted. Where a second filter passes
-- most keys by, INCLUDE lets that be seen in the index, without reading the rows.
CREATE INDEX api_keys_newest ON api_keys (org_id, created_at DESC, id DESC) INCLUDE (status, expires_at, name);
CREATE INDEX api_keys_by_status ON api_keys (org_id, status, created_at DESC, id DESC);
CREATE INDEX api_keys_by_owner ON api_keys (org_id, owner_id, created_at DESC, id DESC);
CREATE INDEX api_keys_by_environment ON api_keys (org_id, environment, created_at DESC, id DESC);
CREATE INDEX api_keys_by_workspace ON api_keys (org_id, workspace_id, created_at DESC, id DESC) WHERE workspace_id IS NOT NULL;
CREATE INDEX api_keys_by_process ON api_keys (org_id, process_id, created_at DESC, id DESC) INCLUDE (workspace_id) WHERE process_id IS NOT NULL;
CREATE INDEX api_keys_by_profile ON api_keys (org_id, profile_id, created_at DESC, id DESC) WHERE profile_id IS NOT NULL;
CREATE INDEX api_keys_by_expiry ON api_keys (org_id, expires_at, id) INCLUDE (status, created_at);
CREATE INDEX api_keys_by_name ON api_keys (org_id, lower(name), id);
CREATE INDEX api_keys_by_signature ON api_keys (org_id, signature);
CREATE INDEX api_keys_by_prefix ON api_keys (org_id, prefix);
CREATE INDEX api_keys_predecessor ON api_keys (replaced_by) WHERE replaced_by IS NOT NULL;
-- Without fastupdate a search never reads a list of what is not in the index yet; keys are written seldom.
CREATE INDEX api_keys_by_scope ON api_keys USING gin (org_id, scopes) WITH (fastupdate = off);
CREATE INDEX api_keys_name_search ON api_keys USING gin (org_id, name gin_trgm_ops) WITH (fastupdate = off);
-- How many names hold a word is guessed from a sample. Of the usual 100 names it can't be told whether the word is in
-- a hundredth of them, which is found soonest in the list, or in hardly any, which needs the index.
ALTER TABLE api_keys ALTER name SET STATISTICS 400;

-- When and from where a key was last used. It is born with its key and does not live in the row that
-- verification reads. idle_since is the last use or, before the first, the key's creation.
CREATE TABLE key_use (
    key_id       uuid PRIMARY KEY,
    org_id       uuid NOT NULL,
    idle_since   timestamptz NOT NULL,
    last_used_at timestamptz,
    address      text NOT NULL DEFAULT '',
    user_agent   text NOT NULL DEFAULT '',
    FOREIGN KEY (org_id, key_id) REFERENCES api_keys (org_id, id) ON DELETE CASCADE
) WITH (parallel_workers = 0);
CREATE INDEX key_use_by_idleness ON key_use (org_id, idle_since, key_id);

-- Requests that a key was presented with, counted by the hour.
CREATE TABLE key_usage (
    key_id   uuid NOT NULL REFERENCES api_keys ON DELETE CASCADE,
    hour     timestamptz NOT NULL CHECK (extract(minute FROM hour) = 0 AND extract(second FROM hour) = 0),
    accepted bigint NOT NULL DEFAULT 0,
    refused  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (key_id, hour)
);

-- Which key a request made, so that the same request again does not make another. A page's form carries a
-- random token as its request key.
CREATE TABLE issue_requests (
    org_id      uuid NOT NULL REFERENCES organisations,
    actor_id    uuid NOT NULL,
    request_key text NOT NULL CHECK (length(request_key) BETWEEN 1 AND 255),
    body_hash   bytea NOT NULL CHECK (length(body_hash) = 32),
    key_id      uuid NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT issue_requests_repeated PRIMARY KEY (org_id, actor_id, request_key)
);
CREATE INDEX issue_requests_age ON issue_requests (created_at);

-- The audit log: a chain for each organisation. hash is a SHA-256 over the event's canonical content and the
-- hash before it (internal/audit). tx is the transaction that wrote it, by which the trigger below knows that
-- a change to a key has its event.
CREATE TABLE audit_events (
    org_id       uuid NOT NULL REFERENCES organisations,
    seq          bigint NOT NULL,
    id           uuid NOT NULL UNIQUE,
    at           timestamptz NOT NULL,
    action       text NOT NULL,
    actor_id     text NOT NULL,
    actor_email  text NOT NULL,
    actor_role   text NOT NULL,
    session_id   text NOT NULL,
    address      text NOT NULL,
    user_agent   text NOT NULL,
    subject_kind text NOT NULL,
    subject_id   uuid NOT NULL,
    subject_name text NOT NULL,
    before       text NOT NULL,
    after        text NOT NULL,
    prev_hash    bytea NOT NULL CHECK (length(prev_hash) = 32),
    hash         bytea NOT NULL CHECK (length(hash) = 32),
    tx           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (org_id, seq)
);
CREATE INDEX audit_events_of_subject ON audit_events (org_id, subject_id, seq DESC);

CREATE TABLE audit_heads (
    org_id uuid PRIMARY KEY REFERENCES organisations,
    seq    bigint NOT NULL,
    hash   bytea NOT NULL CHECK (length(hash) = 32)
);

-- +goose StatementBegin
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit events are never changed or removed' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_events_are_final BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION refuse_audit_change();
CREATE TRIGGER audit_events_are_kept BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change();

-- +goose StatementBegin
CREATE FUNCTION require_key_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed api_keys := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM audit_events
        WHERE org_id = changed.org_id AND subject_id = changed.id AND tx = pg_current_xact_id()
    ) THEN
        RAISE EXCEPTION 'the change to key % has no audit event', changed.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER api_keys_are_audited AFTER INSERT OR UPDATE OR DELETE ON api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_key_audit();

-- +goose StatementBegin
CREATE FUNCTION refuse_key_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'keys are deleted one by one, each with its audit event' USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
CREATE TRIGGER api_keys_are_not_truncated BEFORE TRUNCATE ON api_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_key_truncate();
