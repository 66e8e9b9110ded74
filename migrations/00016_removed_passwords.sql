-- +goose Up

-- A member who is removed has no password. Versions before the one that deletes its hash when they are removed left it. That is no
-- change that anyone made, so it has no event.
ALTER TABLE members DISABLE TRIGGER members_are_audited;
UPDATE members SET password_hash = '' WHERE status = 'removed' AND password_hash <> '';
ALTER TABLE members ENABLE TRIGGER members_are_audited;
