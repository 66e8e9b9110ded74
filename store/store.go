// Package store is the only one that knows SQL: one file a table. What changes goes through Mutate, which
// checks the permission, opens the transaction and writes the audit event; write methods exist only on the Tx
// that it hands out. A few kinds of bookkeeping are no change to an organisation and are not audited:
// the cookie's data, when a session was last seen, attempts to sign in, one-time setup links, the counts of usage, and
// the keys that sign tokens, which belong to the whole server.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"golang.org/x/sync/singleflight"

	"github.com/moonlatch/moonlatch/migrations"
)

const (
	// patience is how long a statement, a lock or a silent network may take before the request is answered
	// "unavailable": every request is answered within 3 s, whatever happens to the database.
	patience = 2 * time.Second

	maxConnections = 20

	// LookUps is how many keys are looked up for verification at once, on connections of their own: neither do pages
	// wait for a crowd of unknown keys, nor gateways for a crowd of pages.
	LookUps = 12
	// lookUpPatience is as patience is. Gateways wait for the answer.
	lookUpPatience = time.Second
)

// Store is the database.
type Store struct {
	db      pool
	lookUp  *sqlx.DB // for byHash alone
	url     string
	secrets [][]byte  // the first seals and signs, all of them open and verify
	outside bool      // they come from outside the database
	byHash  *sql.Stmt // database/sql prepares it again on each new connection
	ready   singleflight.Group
	clock   *clock
	// Now is the time by which everything is judged: the database's, as of the last reading of its clock. To be replaced by
	// tests.
	Now func() time.Time
}

// Open connects to a migrated database and reads the installation's secret, which it draws on first use.
func Open(ctx context.Context, databaseURL string) (*Store, error) {
	db, err := connect(databaseURL, patience, maxConnections)
	if err != nil {
		return nil, err
	}
	lookUp, err := connect(databaseURL, lookUpPatience, LookUps)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	s := &Store{db: pool{db}, lookUp: lookUp, url: databaseURL, clock: newClock()}
	s.Now = s.clock.now
	if err := s.readClock(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("reading the database's clock: %w", tidy(err))
	}
	if err := s.readSecret(ctx); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("reading the installation's secret: %w", tidy(err))
	}
	if s.byHash, err = lookUp.PrepareContext(ctx, byHashQuery); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("preparing to verify keys: %w", tidy(err))
	}
	return s, nil
}

// Close closes every connection.
func (s *Store) Close() error { return errors.Join(s.lookUp.Close(), s.db.Close()) }

// Pool is the state of some of the connections to the database.
type Pool struct {
	For               string // what they are for
	Open, InUse, Most int
	Waits             int64         // for a connection, since the start
	Waited            time.Duration // all of them together
}

// Pools says how the connections are used: those that verification looks keys up on, and those for everything else. One
// more, which is in no pool, hears the news.
func (s *Store) Pools() []Pool {
	pools := []Pool{{For: "everything"}, {For: "lookups"}}
	for i, db := range []*sqlx.DB{s.db.DB, s.lookUp} {
		is, p := db.Stats(), &pools[i]
		p.Open, p.InUse, p.Most, p.Waits, p.Waited = is.OpenConnections, is.InUse, is.MaxOpenConnections, is.WaitCount, is.WaitDuration
	}
	return pools
}

// Ready returns nil when the database answers, also to a verification's look-up, and has the tables of this version, or of a
// later one, and this machine's clock is right; else ErrUnavailable, ErrClockSkew, or what is wrong. Callers at the same time share
// one answer: anyone may ask, and a crowd of them takes no more than one connection from verification.
func (s *Store) Ready(ctx context.Context) error {
	answer := s.ready.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
		defer cancel()
		return nil, s.checkReady(ctx)
	})
	select {
	case r := <-answer:
		return r.Err
	case <-ctx.Done():
		return tidy(ctx.Err())
	}
}

func (s *Store) checkReady(ctx context.Context) error {
	var version int
	if err := s.db.GetContext(ctx, &version, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`); err != nil {
		return tidy(err)
	}
	if version < migrations.Latest() {
		return fmt.Errorf("the database has the tables of version %d, and %d is needed: run moonlatch migrate", version, migrations.Latest())
	}
	if _, err := s.KeyByHash(ctx, [32]byte{}); err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("looking up a key: %w", err)
	}
	return s.clock.check()
}

// connect opens a pool of so many connections at most. A limit bounds every statement, lock and read from the network; 0 means no bound.
func connect(databaseURL string, limit time.Duration, most int) (*sqlx.DB, error) {
	dsn, settings, err := dataSource(databaseURL, limit)
	if err != nil {
		return nil, err
	}
	direct, err := pq.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL can't be read: %w", err)
	}
	var connector driver.Connector = sessionConnector{direct, settings.statement()}
	if limit > 0 {
		connector = withDeadlines(direct, settings, limit+500*time.Millisecond, hostsOf(dsn)) // the server's own time-outs come first
	}
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(most)
	db.SetMaxIdleConns(most) // below the open limit, connections would be opened and closed all the time
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db, nil
}

// dataSource reads DATABASE_URL: where to connect, as lib/pq takes it, and the run-time parameters of each connection, the
// server's time-outs among them.
func dataSource(databaseURL string, limit time.Duration) (*url.URL, sessionSettings, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		sentence := "DATABASE_URL must be a postgres:// address" // err would repeat the password
		if err != nil && strings.HasPrefix(databaseURL, "postgres") {
			sentence = "DATABASE_URL can't be read: correct the host and the port, and write what is no letter or digit in the user and the password as % codes, like %23 for #"
		}
		return nil, nil, errors.New(sentence)
	}
	q := u.Query()
	if strings.Contains(u.Host, ",") { // lib/pq takes several hosts with ports as parameters alone
		var hosts, ports []string
		for _, one := range strings.Split(u.Host, ",") {
			host, port, given := strings.Cut(one, ":")
			if !given {
				port = "5432"
			}
			hosts, ports = append(hosts, host), append(ports, port)
		}
		q.Set("host", strings.Join(hosts, ","))
		q.Set("port", strings.Join(ports, ","))
		u.Host = ""
	}
	if q.Get("connect_timeout") == "" {
		q.Set("connect_timeout", "2")
	}
	u.RawQuery = q.Encode()
	config, err := pq.NewConfig(u.String())
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_URL can't be read: %w", err)
	}
	settings := sessionSettings{}
	for name, value := range config.Runtime {
		settings[strings.ToLower(name)] = value
		q.Del(name)
	}
	u.RawQuery = q.Encode()
	settings["timezone"] = "UTC"
	settings["jit"] = "off" // compiling a statement takes longer than any of ours
	if limit > 0 {
		for name, value := range map[string]time.Duration{
			"statement_timeout":                   limit,
			"lock_timeout":                        limit,
			"idle_in_transaction_session_timeout": 2 * limit,
		} {
			settings[name] = fmt.Sprint(value.Milliseconds())
		}
	}
	return u, settings, nil
}
