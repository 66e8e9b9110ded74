-- +goose Up

-- Which key acted, when a program made the change; '' when a person did. Who acted is then the key's owner.
ALTER TABLE audit_events ADD COLUMN key_id text NOT NULL DEFAULT '';
