-- +goose Up

-- News: whatever a cached answer about a key was made of tells every replica that it changed, at the commit and in the
-- order of the commits. A payload is a word and what the change is about, far below NOTIFY's 8000 bytes; equal ones of
-- one transaction are sent once.
-- +goose StatementBegin
CREATE FUNCTION tell_key_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('moonlatch_news', 'key ' || encode(CASE WHEN TG_OP = 'DELETE' THEN OLD.hash ELSE NEW.hash END, 'hex'));
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER api_keys_make_news AFTER INSERT OR UPDATE OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION tell_key_news();

-- +goose StatementBegin
CREATE FUNCTION tell_member_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('moonlatch_news', 'member ' || CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END);
    RETURN NULL;
END $$;
-- +goose StatementEnd
-- Nobody's key is older than its owner, so that a new member is no news.
CREATE TRIGGER members_make_news AFTER UPDATE ON members
    FOR EACH ROW WHEN (OLD.role <> NEW.role OR OLD.status <> NEW.status) EXECUTE FUNCTION tell_member_news();
CREATE TRIGGER members_leaving_makes_news AFTER DELETE ON members
    FOR EACH ROW EXECUTE FUNCTION tell_member_news();

-- +goose StatementBegin
CREATE FUNCTION tell_profile_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('moonlatch_news', 'profile ' || CASE WHEN TG_OP = 'DELETE' THEN OLD.id ELSE NEW.id END);
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER bias_profiles_make_news AFTER INSERT OR UPDATE OR DELETE ON bias_profiles
    FOR EACH ROW EXECUTE FUNCTION tell_profile_news();

-- +goose StatementBegin
CREATE FUNCTION tell_category_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM pg_notify('moonlatch_news', 'profile ' || OLD.profile_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM pg_notify('moonlatch_news', 'profile ' || NEW.profile_id);
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER bias_profile_categories_make_news AFTER INSERT OR UPDATE OR DELETE ON bias_profile_categories
    FOR EACH ROW EXECUTE FUNCTION tell_category_news();

-- A TRUNCATE fires no trigger for a row. 'all' empties every cache. (Members and profiles can't be truncated: api_keys
-- refer to them, and refuse it.)
-- +goose StatementBegin
CREATE FUNCTION tell_all_news() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('moonlatch_news', 'all');
    RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER bias_profile_categories_truncate_makes_news AFTER TRUNCATE ON bias_profile_categories
    FOR EACH STATEMENT EXECUTE FUNCTION tell_all_news();

-- The last batch of counts that each replica has written down, so that a batch which is sent again, because nobody knows
-- what became of it, is not counted twice.
CREATE TABLE usage_flushes (
    replica uuid PRIMARY KEY,
    last    bigint NOT NULL,
    at      timestamptz NOT NULL
);
CREATE INDEX usage_flushes_age ON usage_flushes (at);
