package store

import (
	"context"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

const (
	// HourlyUsageDays is for how many whole days before today usage is kept by the hour. RequestsSince needs one.
	HourlyUsageDays = 7

	// usageBatch is how many rows one transaction removes or folds, a small fraction of the store's time limit.
	usageBatch = 2000
	// usageRound bounds a call of CompactUsage. The next one continues.
	usageRound = time.Minute
)

// usageTable is a table of counts by hour.
type usageTable struct{ name, subject, parent string } // the column whose counts they are, and the table that it refers to

var usageTables = []usageTable{{"key_usage", "key_id", "api_keys"}, {"organisation_usage", "org_id", "organisations"}}

// CompactUsage removes counts of usage that are older than so many whole days before today (UTC), and folds those older
// than HourlyUsageDays into one row a day, which keeps each day's sums. It returns within about a minute, and leaves what
// it did not come to, or what is locked at that moment, to the next call. Where another replica is at it, it does nothing.
//
// Each batch is a transaction. It waits for no flush of counts that adds to the same days, and such a flush, which is of a
// replica that was cut off for days, waits for one batch: what it adds becomes part of the day's row by the next call.
func (s *Store) CompactUsage(ctx context.Context, days int) error {
	began := time.Now()
	today := s.Now().Truncate(apikey.Day)
	oldest, hourly := today.AddDate(0, 0, -days), today.AddDate(0, 0, -HourlyUsageDays)
	// repeat runs batches until one is far from full: what is locked is left out, and at the end there is little left.
	repeat := func(batch func(context.Context, *sqlx.Tx) (int64, error)) error {
		for time.Since(began) < usageRound {
			if n, err := s.compactBatch(ctx, batch); err != nil || n < usageBatch/2 {
				return tidy(err)
			}
		}
		return nil
	}
	for _, t := range usageTables {
		var from time.Time // what was removed before it need not be searched again
		if err := repeat(func(ctx context.Context, tx *sqlx.Tx) (n int64, err error) {
			n, from, err = t.remove(ctx, tx, from, oldest)
			return n, err
		}); err != nil {
			return err
		}
		var unfolded []time.Time
		if err := s.db.SelectContext(ctx, &unfolded, `SELECT d FROM generate_series($1::timestamptz, $2::timestamptz - interval '1 day', '1 day') AS d
			WHERE EXISTS (SELECT FROM `+t.name+` WHERE hour > d AND hour < d + interval '1 day')`, oldest, hourly); err != nil {
			return tidy(err)
		}
		for _, day := range unfolded {
			if err := repeat(func(ctx context.Context, tx *sqlx.Tx) (int64, error) { return t.fold(ctx, tx, day) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// compactBatch runs a batch in a transaction of its own, if no other replica runs one at this moment, and returns how many
// rows it removed.
func (s *Store) compactBatch(ctx context.Context, batch func(context.Context, *sqlx.Tx) (int64, error)) (int64, error) {
	tx, end, err := s.db.begin(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer end()
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	var alone bool
	if err := tx.GetContext(ctx, &alone, `SELECT pg_try_advisory_xact_lock(hashtextextended('moonlatch usage', 0))`); err != nil || !alone {
		return 0, err
	}
	n, err := batch(ctx, tx)
	if err != nil {
		return 0, err
	}
	return n, commit(ctx, tx)
}

// remove deletes rows of a span of time, the oldest first, and returns how many and the hour of the last.
func (t usageTable) remove(ctx context.Context, tx *sqlx.Tx, from, before time.Time) (n int64, last time.Time, err error) {
	err = tx.QueryRowContext(ctx, `WITH gone AS (DELETE FROM `+t.name+` WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM `+t.name+` WHERE hour >= $1 AND hour < $2 ORDER BY hour LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING hour)
		SELECT count(*), coalesce(max(hour), $1) FROM gone`, from, before, usageBatch).Scan(&n, &last)
	return n, last, err
}

// fold adds hours of a day to the day's row, which is that of its first hour, and removes them. It returns how many.
//
// A flush locks the keys, and then their hours in order; deleting a key locks the key, and then its hours. So the days' rows
// come first, and that of a key which is being deleted is not made. It waits only for a flush that inserts the same day's row
// at that moment; rows that are locked are skipped.
func (t usageTable) fold(ctx context.Context, tx *sqlx.Tx, day time.Time) (folded int64, err error) {
	first := ` FROM ` + t.name + ` WHERE hour > $1 AND hour < $1::timestamptz + interval '1 day' ORDER BY hour LIMIT $2`
	if _, err := tx.ExecContext(ctx, `WITH living AS MATERIALIZED (
			SELECT id FROM `+t.parent+` WHERE id IN (SELECT `+t.subject+first+`) ORDER BY id FOR KEY SHARE SKIP LOCKED)
		INSERT INTO `+t.name+` (`+t.subject+`, hour)
		SELECT id, $1 FROM living WHERE NOT EXISTS (SELECT FROM `+t.name+` WHERE `+t.subject+` = id AND hour = $1) ORDER BY id ON CONFLICT DO NOTHING`, day, usageBatch); err != nil {
		return 0, err
	}
	err = tx.GetContext(ctx, &folded, `WITH days AS MATERIALIZED (
			SELECT `+t.subject+` AS subject FROM `+t.name+` WHERE hour = $1 AND `+t.subject+` IN (SELECT `+t.subject+first+`) FOR UPDATE SKIP LOCKED
		), hours AS MATERIALIZED (
			SELECT `+t.subject+` AS subject, hour`+first+` FOR UPDATE SKIP LOCKED
		), gone AS (
			DELETE FROM `+t.name+` AS g USING hours AS h JOIN days USING (subject) WHERE g.`+t.subject+` = h.subject AND g.hour = h.hour
			RETURNING h.subject, g.accepted, g.refused
		), sums AS (
			UPDATE `+t.name+` AS g SET accepted = g.accepted + s.accepted, refused = g.refused + s.refused
			FROM (SELECT subject, sum(accepted) AS accepted, sum(refused) AS refused FROM gone GROUP BY subject) AS s
			WHERE g.`+t.subject+` = s.subject AND g.hour = $1
		)
		SELECT count(*) FROM gone`, day, usageBatch)
	return folded, err
}
