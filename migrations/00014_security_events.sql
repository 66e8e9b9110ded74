-- +goose Up

-- Attempts that came to nothing: failed sign-ins, lock-outs, refused permissions. They change nothing, so they are kept apart from
-- audit_events. What repeats within an hour is one row with a count, and an organisation has a bounded number of rows an hour.
CREATE TABLE security_events (
    id        uuid PRIMARY KEY,
    org_id    uuid NOT NULL REFERENCES organisations,
    kind      text NOT NULL,
    member_id text NOT NULL, -- whose account, or who was refused
    key_id    text NOT NULL, -- of the key that was refused; '' for a person
    address   text NOT NULL, -- '' for several, with key_id and detail: in a full hour a member has one row of a kind
    detail    text NOT NULL, -- the action that was refused; '' for none
    hour      timestamptz NOT NULL,
    first_at  timestamptz NOT NULL,
    last_at   timestamptz NOT NULL,
    count     integer NOT NULL DEFAULT 1 CHECK (count > 0),
    UNIQUE (org_id, hour, kind, member_id, key_id, address, detail)
);

CREATE INDEX security_events_latest ON security_events (org_id, last_at DESC, id DESC);
CREATE INDEX security_events_first ON security_events (org_id, first_at DESC, id DESC); -- an event keeps its place: for exports
CREATE INDEX security_events_age ON security_events (last_at);

-- An event only grows, by its count and the time of the last, and is removed after 90 days.
-- +goose StatementBegin
CREATE FUNCTION keep_security_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.count > OLD.count AND NEW.last_at >= OLD.last_at
        AND (NEW.id, NEW.org_id, NEW.kind, NEW.member_id, NEW.key_id, NEW.address, NEW.detail, NEW.hour, NEW.first_at)
          = (OLD.id, OLD.org_id, OLD.kind, OLD.member_id, OLD.key_id, OLD.address, OLD.detail, OLD.hour, OLD.first_at) THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'DELETE' AND OLD.last_at <= now() - interval '90 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'security events are kept as they are for 90 days' USING ERRCODE = 'integrity_constraint_violation';
END $$;
-- +goose StatementEnd
CREATE TRIGGER security_events_are_kept BEFORE UPDATE OR DELETE ON security_events FOR EACH ROW EXECUTE FUNCTION keep_security_events();
CREATE TRIGGER security_events_are_not_truncated BEFORE TRUNCATE ON security_events FOR EACH STATEMENT EXECUTE FUNCTION keep_security_events();
