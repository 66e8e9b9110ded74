package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/pgembed"
	"github.com/moonlatch/moonlatch/store"
)

// reachPatience is how long a start waits for a database elsewhere: both may have been started at once. Tests shorten it.
var reachPatience = 30 * time.Second

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

// startDatabase returns the configured database when it answers, or starts the embedded one.
func (p *program) startDatabase(ctx context.Context) (database, error) {
	if db := p.config.database(); db.url != "" {
		return db, p.reach(ctx, db.url)
	}
	server, err := pgembed.Open(ctx, pgembed.Options{Dir: p.embeddedDir(), BinDir: p.config.PGBinDir, Log: p.log})
	if err != nil {
		return database{}, p.withoutURL(err)
	}
	return embedded(server.URL(), server), nil
}

// withoutURL adds to an error of the embedded PostgreSQL that DATABASE_URL may be what is missing, unless there is data in
// DATA_DIR already.
func (p *program) withoutURL(err error) error {
	_, missing := os.Stat(filepath.Join(p.embeddedDir(), "cluster"))
	if missing == nil || errors.Is(err, pgembed.ErrInUse) || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("DATABASE_URL is not set, and a private PostgreSQL can't be started in DATA_DIR (%s): %w; set DATABASE_URL, or DATA_DIR to a folder that can be written to",
		p.config.DataDir, err)
}

// findDatabase is startDatabase for a command that may run beside a server: it uses the server's database, and does not
// wait for one elsewhere.
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
	db, err := p.startDatabase(ctx)
	if errors.Is(err, pgembed.ErrInUse) { // a server was just starting
		if url, attachErr := pgembed.Attach(p.embeddedDir()); attachErr == nil {
			return embedded(url, nil), nil
		}
	}
	return db, err
}

func (p *program) embeddedDir() string { return filepath.Join(p.config.DataDir, "postgres") }

// reach waits until the database answers.
func (p *program) reach(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, reachPatience)
	defer cancel()
	var said time.Time
	for {
		err := store.Probe(ctx, url)
		if !errors.Is(err, store.ErrUnavailable) {
			return err
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			p.log.Warn("waiting for the database", "error", err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(reachEvery):
		}
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

// work migrates the database, opens it with secrets from outside it if there are any, does the work, and stops what was
// started here.
func (d database) work(ctx context.Context, secrets secretLines, work func(*store.Store, *keyring.Keyring) error) (err error) {
	defer func() { err = firstOf(err, d.stop()) }()
	if _, err := d.migrate(ctx); err != nil {
		return err
	}
	s, err := store.Open(ctx, d.url)
	if err != nil && d.owner != "" && !d.embedded && !errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("%w; DATABASE_URL must name the database of MIGRATE_DATABASE_URL", err)
	}
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, s.Close()) }()
	if len(secrets) > 0 {
		s.UseSecrets(secrets)
	}
	return work(s, keyring.New(s))
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
