-- +goose Up

-- Every table that Mutate writes is guarded as api_keys is: a commit that changed a row of it without an audit event of
-- that transaction about that row is refused. The arguments are the column that holds the event's subject_id and, where
-- rows share one, its subject_kind and the column that holds its subject_name.
-- +goose StatementBegin
CREATE FUNCTION require_audit_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(NEW);
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := to_jsonb(OLD);
    END IF;
    IF NOT EXISTS (
        SELECT FROM audit_events
        WHERE org_id = coalesce(changed ->> 'org_id', changed ->> 'id')::uuid AND subject_id = (changed ->> TG_ARGV[0])::uuid
        AND tx = pg_current_xact_id()
        AND (TG_NARGS = 1 OR subject_kind IN ('organisation', TG_ARGV[1]))
        AND (TG_NARGS < 3 OR subject_kind = 'organisation' OR subject_name = changed ->> TG_ARGV[2])
    ) THEN
        RAISE EXCEPTION 'the % of % in % has no audit event', lower(TG_OP), changed ->> TG_ARGV[0], TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE CONSTRAINT TRIGGER organisations_are_audited AFTER INSERT OR UPDATE OR DELETE ON organisations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');
CREATE CONSTRAINT TRIGGER members_are_audited AFTER INSERT OR UPDATE OR DELETE ON members
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');
CREATE CONSTRAINT TRIGGER key_policies_are_audited AFTER INSERT OR UPDATE OR DELETE ON key_policies
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('org_id', 'policy');
CREATE CONSTRAINT TRIGGER scopes_are_audited AFTER INSERT OR UPDATE OR DELETE ON scopes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('org_id', 'scope', 'name');
CREATE CONSTRAINT TRIGGER workspaces_are_audited AFTER INSERT OR UPDATE OR DELETE ON workspaces
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');
CREATE CONSTRAINT TRIGGER processes_are_audited AFTER INSERT OR UPDATE OR DELETE ON processes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');
CREATE CONSTRAINT TRIGGER bias_profiles_are_audited AFTER INSERT OR UPDATE OR DELETE ON bias_profiles
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');

-- When a session was last seen is no change, and neither is the removal of one that is over.
CREATE CONSTRAINT TRIGGER sessions_are_audited
    AFTER INSERT OR UPDATE OF id, org_id, member_id, created_at, expires_at, ended_at, address, user_agent ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');
CREATE CONSTRAINT TRIGGER session_deletions_are_audited AFTER DELETE ON sessions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.ended_at IS NULL AND OLD.expires_at > now())
    EXECUTE FUNCTION require_audit_event('id');

CREATE CONSTRAINT TRIGGER invitations_are_audited AFTER INSERT OR UPDATE ON invitations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('id');

-- An invitation that is deleted was cancelled, which is an event about it, or accepted, which is one about the member.
-- +goose StatementBegin
CREATE FUNCTION require_invitation_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM audit_events e
        WHERE e.org_id = OLD.org_id AND e.tx = pg_current_xact_id() AND (e.subject_kind, e.subject_id) IN (
            SELECT 'invitation', OLD.id
            UNION ALL SELECT 'member', m.id FROM members m WHERE m.org_id = OLD.org_id AND m.email = OLD.email)
    ) THEN
        RAISE EXCEPTION 'the deletion of % in invitations has no audit event', OLD.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER invitation_deletions_are_audited AFTER DELETE ON invitations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.expires_at > now()) EXECUTE FUNCTION require_invitation_audit();

-- A category is a part of its profile. Where the profile is gone, its own deletion is audited.
-- +goose StatementBegin
CREATE FUNCTION require_category_audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    profile bias_profiles;
BEGIN
    IF TG_OP = 'DELETE' THEN
        SELECT * INTO profile FROM bias_profiles WHERE id = OLD.profile_id;
    ELSE
        SELECT * INTO profile FROM bias_profiles WHERE id = NEW.profile_id;
    END IF;
    IF profile.id IS NOT NULL AND NOT EXISTS (
        SELECT FROM audit_events
        WHERE org_id = profile.org_id AND subject_id = profile.id AND tx = pg_current_xact_id()
    ) THEN
        RAISE EXCEPTION 'the change to a category of % in bias_profiles has no audit event', profile.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE CONSTRAINT TRIGGER bias_profile_categories_are_audited AFTER INSERT OR UPDATE OR DELETE ON bias_profile_categories
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_category_audit();

-- TRUNCATE fires no trigger for a row.
-- +goose StatementBegin
CREATE FUNCTION refuse_audited_truncate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are deleted one by one, each with its audit event', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['organisations', 'members', 'key_policies', 'scopes', 'workspaces', 'processes',
            'bias_profiles', 'bias_profile_categories', 'sessions', 'invitations', 'audit_heads'] LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %I FOR EACH STATEMENT EXECUTE FUNCTION refuse_audited_truncate()',
            name || '_are_not_truncated', name);
    END LOOP;
END $$;
-- +goose StatementEnd

-- A session that skips ordinary triggers (a restore, the worker of a logical replication) changes what caches hold all the
-- same.
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER api_keys_make_news;
ALTER TABLE members ENABLE ALWAYS TRIGGER members_make_news;
ALTER TABLE members ENABLE ALWAYS TRIGGER members_leaving_makes_news;
ALTER TABLE bias_profiles ENABLE ALWAYS TRIGGER bias_profiles_make_news;
ALTER TABLE bias_profile_categories ENABLE ALWAYS TRIGGER bias_profile_categories_make_news;
ALTER TABLE bias_profile_categories ENABLE ALWAYS TRIGGER bias_profile_categories_truncate_makes_news;
