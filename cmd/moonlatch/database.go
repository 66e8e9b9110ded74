package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/pgembed"
	"github.com/moonlatch/moonlatch/store"
)

const (
	reachEvery = time.Second
	sayEvery   = 5 * time.Second

	// stopPatience is how long the embedded PostgreSQL may take to stop.
	stopPatience = 15 * time.Second
)

// database is where the data is: its address as the account that serves, and as the one that migrates, "" where that is the
// same. Server is nil when it is not ours to stop.
type database struct {
	url, owner string
	embedded   bool
	server     *pgembed.Server
}

// database is that of DATABASE_URL and MIGRATE_DATABASE_URL.
func (c config) database() database {
	return database{url: string(c.DatabaseURL), owner: string(c.MigrateURL)}
}

// embedded is the private database at an address, which is its superuser's.
func embedded(owner string, server *pgembed.Server) database {
	return database{url: pgembed.ServingURL(owner), owner: owner, embedded: true, server: server}
}

// startEmbedded starts the embedded PostgreSQL.
func (p *program) startEmbedded(ctx context.Context) (database, error) {
	server, err := pgembed.Open(ctx, pgembed.Options{Dir: p.embeddedDir(), BinDir: p.config.PGBinDir, Log: p.log})
	if err != nil {
		return database{}, p.withoutURL(err)
	}
	return embedded(server.URL(), server), nil
}

// startStore opens the migrated store of the configured database, or of the embedded one, which it starts; it waits for either as
// long as it is unavailable. The caller closes the store and stops the database.
func (p *program) startStore(ctx context.Context) (db database, s *store.Store, err error) {
	if db = p.config.database(); db.url != "" {
		s, err = p.awaitStore(ctx, db)
		return db, s, err
	}
	if db, err = p.startEmbedded(ctx); err != nil {
		return db, nil, err
	}
	if s, err = p.awaitStore(ctx, db); err != nil {
		return db, nil, firstOf(err, db.stop())
	}
	return db, s, nil
}

// withoutURL adds to an error of the embedded PostgreSQL that DATABASE_URL may be what is missing, unless there is data in
// DATA_DIR already. If that belongs to another account, the error names it as the cause.
func (p *program) withoutURL(err error) error {
	_, missing := os.Stat(filepath.Join(p.embeddedDir(), "cluster"))
	if missing == nil && errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("the private PostgreSQL in DATA_DIR (%s) is another account's: run moonlatch as that one, or set DATABASE_URL: %w", p.config.DataDir, err)
	}
	if missing == nil || errors.Is(err, pgembed.ErrInUse) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("DATABASE_URL is not set, and a private PostgreSQL can't be started in DATA_DIR (%s): %w; set DATABASE_URL, or DATA_DIR to a folder that can be written to",
		p.config.DataDir, err)
}

// findDatabase returns the configured database, without waiting for it, or the embedded one: that of a running server, or else
// started here.
func (p *program) findDatabase(ctx context.Context) (database, error) {
	if db := p.config.database(); db.url != "" {
		return db, store.Probe(ctx, db.url)
	}
	url, err := pgembed.Attach(p.embeddedDir())
	if err != nil && !errors.Is(err, pgembed.ErrNotRunning) {
		return database{}, p.withoutURL(err)
	}
	if err == nil {
		return embedded(url, nil), nil
	}
	db, err := p.startEmbedded(ctx)
	if errors.Is(err, pgembed.ErrInUse) { // a server was just starting
		if url, attachErr := pgembed.Attach(p.embeddedDir()); attachErr == nil {
			return embedded(url, nil), nil
		}
	}
	return db, err
}

func (p *program) embeddedDir() string { return filepath.Join(p.config.DataDir, "postgres") }

// awaitStore opens the store once the database answers and is migrated. It tries again for as long as the database is
// unavailable, and gives up on any other error, or when ctx or the embedded PostgreSQL ends.
func (p *program) awaitStore(ctx context.Context, db database) (*store.Store, error) {
	var said time.Time
	for {
		var err error
		if !db.embedded { // its account is made when it is migrated
			err = probe(ctx, db.url)
		}
		if err == nil {
			var s *store.Store
			if s, err = db.open(ctx, p.config.Secrets); err == nil {
				return s, nil
			}
		}
		if !errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
			return nil, err
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			p.log.Warn("waiting for the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-db.ended():
			return nil, err
		case <-time.After(reachEvery):
		}
	}
}

// probe is store.Probe, but returns as soon as ctx ends, also when the network is silent.
func probe(ctx context.Context, url string) error {
	answer := make(chan error, 1)
	go func() { answer <- store.Probe(ctx, url) }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-answer:
		return err
	}
}

// ended is closed when the embedded PostgreSQL has ended; one elsewhere is not watched.
func (d database) ended() <-chan struct{} {
	if d.server == nil {
		return nil
	}
	return d.server.Done()
}

func (d database) stop() error {
	if d.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	return d.server.Stop(ctx)
}

// withStore does an operator's work on a migrated database, and leaves no server of its own behind.
func (p *program) withStore(ctx context.Context, work func(*store.Store, *keyring.Keyring) error) error {
	db, err := p.findDatabase(ctx)
	if err != nil {
		return err
	}
	return db.work(ctx, p.config.Secrets, work)
}

// work opens the store, does the work, and stops what was started here.
func (d database) work(ctx context.Context, secrets secretLines, work func(*store.Store, *keyring.Keyring) error) (err error) {
	defer func() { err = firstOf(err, d.stop()) }()
	s, err := d.open(ctx, secrets)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, s.Close()) }()
	return work(s, keyring.New(s))
}

// open migrates the database and opens it, with secrets from outside it if there are any.
func (d database) open(ctx context.Context, secrets secretLines) (*store.Store, error) {
	if _, err := d.migrate(ctx); err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, d.url)
	if err == nil && len(secrets) > 0 {
		s.UseSecrets(secrets)
	}
	return s, err
}

// migrate brings the schema up to date and returns how many migrations that took.
func (d database) migrate(ctx context.Context) (int, error) {
	if d.embedded {
		if err := store.CreateAccount(ctx, d.url, d.owner); err != nil {
			return 0, fmt.Errorf("creating the account that serves: %w", err)
		}
	}
	return store.Migrate(ctx, d.url, d.owner)
}

// firstOf is the error that began it: what goes wrong in stopping after a failure only follows from it.
func firstOf(err, later error) error {
	if err != nil {
		return err
	}
	return later
}
