-- +goose Up

-- The keys that sign session tokens, each the successor of the one numbered before it. What is stored signs nothing:
-- the private half is drawn from the installation's secret and the id. Of two replicas that rotate at once, one makes
-- the successor.
CREATE TABLE signing_keys (
    id         uuid PRIMARY KEY,
    number     integer NOT NULL,
    signs_from timestamptz NOT NULL,
    CONSTRAINT signing_keys_one_successor UNIQUE (number)
);

-- The first is there from the beginning, so that no replica ever has to make one before it can sign.
INSERT INTO signing_keys (id, number, signs_from) VALUES (gen_random_uuid(), 1, now());
