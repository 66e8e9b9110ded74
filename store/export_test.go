package store

import (
	"context"
	"time"
)

// SetWallClock replaces this machine's clock as the store sees it.
func (s *Store) SetWallClock(wall func() time.Time) { s.clock.wall = wall }

// ReadClock takes a reading of the database's clock, as a heartbeat does.
func (s *Store) ReadClock(database, asked, answered time.Time) {
	s.clock.read(database, asked, answered)
}

// Explain is what Probe makes of an error.
func Explain(err error) error { return tidy(explain(err, "DATABASE_URL")) }

// Tidy is what the store makes of an error.
func Tidy(err error) error { return tidy(err) }

// OwnersLike counts the owners of keys that a search for a part of their name or e-mail asks for by id; many when it asks each key.
func (s *Store) OwnersLike(ctx context.Context, orgID, search string) (ids int, many bool, err error) {
	found, err := s.ownersWhere(ctx, orgID, ownerLike(`$2`), "%"+escapeLike(search)+"%")
	return len(found.ids), found.many, err
}

// Settings reads the session settings of some connection of a pool, as Pools names it.
func (s *Store) Settings(ctx context.Context, pool string) (settings string, err error) {
	db := s.db.DB
	if pool == "lookups" {
		db = s.lookUp
	}
	err = db.GetContext(ctx, &settings, `SELECT concat_ws(' ', current_setting('statement_timeout'), current_setting('lock_timeout'),
		current_setting('idle_in_transaction_session_timeout'), current_setting('jit'), current_setting('timezone'))`)
	return settings, err
}

// Grants are the serving account's privileges by table.
var Grants = grants

// TransactionsLeftByProbe counts the sessions that wait in an open transaction while the pool that was probed lives.
func TransactionsLeftByProbe(ctx context.Context, databaseURL string) (left int, err error) {
	db, err := connect(databaseURL, 0, maxConnections)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	if err := keepsSessions(ctx, db); err != nil {
		return 0, err
	}
	err = db.GetContext(ctx, &left, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'idle in transaction'`)
	return left, err
}
