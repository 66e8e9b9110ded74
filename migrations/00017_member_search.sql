-- +goose Up

-- Members are searched for by a part of their name as well as of their email address, within their organisation.
CREATE INDEX members_search ON members USING gin (org_id, email gin_trgm_ops, name gin_trgm_ops) WITH (fastupdate = off);
DROP INDEX members_email_search;
