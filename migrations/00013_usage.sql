-- +goose Up

-- Usage of the last days is kept by the hour. What is older is one row a day, at midnight (UTC), and is removed when it is older
-- than the server keeps it (store/usage_retention.go). Both find their rows by the hour.
CREATE INDEX key_usage_by_hour ON key_usage (hour);
CREATE INDEX organisation_usage_by_hour ON organisation_usage (hour);
