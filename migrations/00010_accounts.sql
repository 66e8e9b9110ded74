-- +goose Up

-- What a session was begun for. A session token opens none but those of programs, and a cookie none but those of browsers:
-- a token that was forged for the id of a browser's session is refused.
ALTER TABLE sessions ADD COLUMN kind text NOT NULL DEFAULT 'browser' CHECK (kind IN ('browser', 'program'));
UPDATE sessions SET kind = 'program' WHERE expires_at <= created_at + interval '15 minutes';

-- Which secret the replica that started last signs with, by a name that reveals nothing of it; '' before the first start.
-- Replicas whose secrets differ notice it here.
ALTER TABLE installation ADD COLUMN secret_id text NOT NULL DEFAULT '';
