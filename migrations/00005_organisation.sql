-- +goose Up

-- What an organisation asks of its keys, beside how long they live. A key that was issued before breaks a new rule
-- openly: it is listed, and changed by people alone. Only what nobody uses may be disabled by itself.
ALTER TABLE key_policies
    ADD COLUMN require_allowlist  boolean NOT NULL DEFAULT false,
    ADD COLUMN require_workspace  boolean NOT NULL DEFAULT false,
    ADD COLUMN unused_days        integer NOT NULL DEFAULT 0 CHECK (unused_days BETWEEN 0 AND 3650), -- 0: never
    ADD COLUMN disable_unused     boolean NOT NULL DEFAULT false, -- else they are flagged
    ADD COLUMN disable_departed   boolean NOT NULL DEFAULT false, -- the keys of whoever is suspended or removed
    ADD COLUMN version            integer NOT NULL DEFAULT 1;

-- What is archived takes no new keys; those that it has go on working.
ALTER TABLE workspaces ADD COLUMN archived_at timestamptz;
ALTER TABLE processes ADD COLUMN archived_at timestamptz;
CREATE INDEX processes_of_workspace ON processes (org_id, workspace_id);
-- How many keys go on working in each is counted here, without the many that don't.
CREATE INDEX api_keys_enabled_in ON api_keys (org_id, workspace_id, process_id, expires_at) WHERE status = 'enabled' AND workspace_id IS NOT NULL;

-- Grows by one with every change, so that a form can tell that it is out of date.
ALTER TABLE bias_profiles ADD COLUMN version integer NOT NULL DEFAULT 1;

-- An address signs in to one organisation, and can join another once it was removed from the first. Who comes back is
-- a new member: the keys of the old one stay without an owner until somebody takes them.
ALTER TABLE members DROP CONSTRAINT members_email_taken;
CREATE UNIQUE INDEX members_email_taken ON members (email) WHERE status <> 'removed';

-- When a member was last seen.
CREATE INDEX sessions_last_seen ON sessions (member_id, last_seen_at DESC);

-- Links with which somebody joins, under the SHA-256 of their token. One that is accepted or withdrawn is gone, and the
-- audit log keeps it; inviting an address again replaces the link before.
CREATE TABLE invitations (
    id         uuid PRIMARY KEY,
    org_id     uuid NOT NULL REFERENCES organisations,
    email      text NOT NULL,
    role       text NOT NULL CHECK (role IN ('owner', 'admin', 'support', 'member')),
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    invited_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    FOREIGN KEY (org_id, invited_by) REFERENCES members (org_id, id),
    UNIQUE (org_id, email)
);

-- Requests with all of an organisation's keys, by the hour: what the overview draws. It outlives the keys.
CREATE TABLE organisation_usage (
    org_id   uuid NOT NULL REFERENCES organisations,
    hour     timestamptz NOT NULL CHECK (extract(minute FROM hour) = 0 AND extract(second FROM hour) = 0),
    accepted bigint NOT NULL DEFAULT 0,
    refused  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (org_id, hour)
);
INSERT INTO organisation_usage (org_id, hour, accepted, refused)
    SELECT k.org_id, u.hour, sum(u.accepted), sum(u.refused) FROM key_usage u JOIN api_keys k ON k.id = u.key_id GROUP BY k.org_id, u.hour;

-- Which keys still work beside their successors: of the rotated ones, ever fewer.
CREATE INDEX api_keys_in_grace ON api_keys (org_id, grace_ends_at) WHERE status = 'rotated';

-- A range of dates is found in the log without reading what is younger.
CREATE INDEX audit_events_by_time ON audit_events (org_id, at);

-- The time that an event carries is its transaction's beginning, and its place in the log that of its end. The head keeps
-- the youngest time so far, and by how much at most an event was older than one before it: so a range of times is a range
-- of numbers, and every filter's index finds it.
ALTER TABLE audit_heads
    ADD COLUMN latest timestamptz,
    ADD COLUMN late   interval NOT NULL DEFAULT '0';
UPDATE audit_heads SET latest = log.latest, late = log.late FROM (
    SELECT org_id, max(at) AS latest, max(before - at) AS late
    FROM (SELECT org_id, at, max(at) OVER (PARTITION BY org_id ORDER BY seq) AS before FROM audit_events) AS e GROUP BY org_id) AS log
WHERE log.org_id = audit_heads.org_id;

CREATE INDEX audit_events_of_kind ON audit_events (org_id, subject_kind, seq DESC);
CREATE INDEX audit_events_of_actors_action ON audit_events (org_id, actor_id, action, seq DESC);
CREATE INDEX audit_events_of_nobody ON audit_events (org_id, actor_email, seq DESC) WHERE actor_id = '';
CREATE INDEX audit_events_of_nobodys_action ON audit_events (org_id, actor_email, action, seq DESC) WHERE actor_id = '';
