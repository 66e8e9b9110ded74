-- +goose Up

-- Which key acted, when a program made the change; '' when a person did. Who acted is then the key's owner.
ALTER TABLE audit_events ADD COLUMN key_id text NOT NULL DEFAULT '';

-- One index for each filter of the log, in the log's own order.
CREATE INDEX audit_events_of_actor ON audit_events (org_id, actor_id, seq DESC);
CREATE INDEX audit_events_of_action ON audit_events (org_id, action, seq DESC);
CREATE INDEX audit_events_of_key ON audit_events (org_id, key_id, seq DESC) WHERE key_id <> '';
