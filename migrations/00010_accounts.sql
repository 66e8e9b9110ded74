-- +goose Up

-- What a session was begun for. A session token opens none but those of programs, and a cookie none but those of browsers:
-- a token that was forged for the id of a browser's session is refused.
ALTER TABLE sessions ADD COLUMN kind text NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'program'));
UPDATE sessions SET kind = 'program' WHERE expires_at <= created_at + interval '15 minutes';

-- Which secret the replica that started last signs with, by a name that reveals nothing of it; '' before the first start.
-- Replicas whose secrets differ notice it here.
ALTER TABLE installation ADD COLUMN secret_id text NOT NULL DEFAULT '';

DROP TRIGGER sessions_are_audited ON sessions;
CREATE CONSTRAINT TRIGGER sessions_are_audited
    AFTER INSERT OR UPDATE OF id, org_id, member_id, created_at, expires_at, ended_at, address, user_agent, kind ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');

-- What a name is compared by: without case, width and repeated spaces (input.NameKey). PostgreSQL folds case as its locale does, so
-- the program fills it after the migrations (store.Migrate). NULL is what an older version writes beside this one during an
-- upgrade; it is filled when this version migrates again.
ALTER TABLE organisations ADD COLUMN name_key text;
ALTER TABLE workspaces ADD COLUMN name_key text;
ALTER TABLE processes ADD COLUMN name_key text;
ALTER TABLE bias_profiles ADD COLUMN name_key text;

CREATE UNIQUE INDEX organisations_name_alike ON organisations (name_key);
CREATE UNIQUE INDEX workspaces_name_alike ON workspaces (org_id, name_key);
CREATE UNIQUE INDEX processes_name_alike ON processes (workspace_id, name_key);
CREATE UNIQUE INDEX bias_profiles_name_alike ON bias_profiles (org_id, name_key);

-- A change of a member's address that waits for its link to be opened, under the SHA-256 of the link's token. A member has one
-- at most; what is used, cancelled or replaced is gone, and the audit log keeps it.
CREATE TABLE email_changes (
    id         uuid PRIMARY KEY,
    org_id     uuid NOT NULL,
    member_id  uuid NOT NULL UNIQUE,
    email      text NOT NULL,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    started_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (org_id, member_id) REFERENCES members (org_id, id),
    FOREIGN KEY (org_id, started_by) REFERENCES members (org_id, id)
);
CREATE CONSTRAINT TRIGGER email_changes_are_audited AFTER INSERT OR UPDATE ON email_changes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('member_id');
CREATE CONSTRAINT TRIGGER email_change_deletions_are_audited AFTER DELETE ON email_changes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.expires_at > now()) EXECUTE FUNCTION require_audit_event('member_id');
CREATE TRIGGER email_changes_are_not_truncated BEFORE TRUNCATE ON email_changes
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_audited_truncate();
