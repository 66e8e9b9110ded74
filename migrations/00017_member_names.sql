-- +goose Up

-- Members are searched for by a part of their name, too. This index stands beside that of their email addresses: to replace that one
-- would lock all members, and older replicas with them.
CREATE INDEX members_name_search ON members USING gin (name gin_trgm_ops);
