package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/moonlatch/moonlatch/migrations"
)

const readWrite = "SELECT, INSERT, UPDATE, DELETE"

// grants are the privileges that the serving account has on each table, and all that it has. Every table of the schema has a line.
var grants = map[string]string{
	"api_keys":                readWrite,
	"audit_events":            "SELECT, INSERT",
	"audit_heads":             "SELECT, INSERT, UPDATE",
	"bias_profile_categories": readWrite,
	"bias_profiles":           readWrite,
	"cookie_sessions":         readWrite,
	"email_changes":           readWrite,
	"goose_db_version":        "SELECT",
	"installation":            readWrite,
	"invitations":             readWrite,
	"issue_requests":          readWrite,
	"key_policies":            readWrite,
	"key_usage":               readWrite,
	"key_use":                 readWrite,
	"members":                 readWrite,
	"organisation_usage":      readWrite,
	"organisations":           readWrite,
	"processes":               readWrite,
	"scopes":                  readWrite,
	"security_events":         readWrite, // counted up and expiring: its triggers allow that alone
	"sessions":                readWrite,
	"setup_links":             readWrite,
	"sign_in_attempts":        readWrite,
	"signing_keys":            readWrite,
	"usage_flushes":           readWrite,
	"workspaces":              readWrite,
}

// accountsLock is the advisory lock under which accounts and their privileges change: PostgreSQL refuses to change a
// privilege twice at once.
const accountsLock = 0x6d6f6f6e // "moon"

// Migrate brings the schema up to date as the account of ownerURL, and then grants the account of databaseURL what serving
// needs. With "" for ownerURL, the account of databaseURL migrates and grants nothing. It runs under a lock: of two replicas that
// start at once the second waits. It changes nothing where the addresses name different databases.
func Migrate(ctx context.Context, databaseURL, ownerURL string) (applied int, err error) {
	address, variable := databaseURL, "DATABASE_URL"
	if ownerURL != "" {
		address, variable = ownerURL, "MIGRATE_DATABASE_URL"
	}
	db, err := connect(address, 0, maxConnections)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close() }()
	if ownerURL != "" { // DATABASE_URL was probed
		if err := keepsSessions(ctx, db); err != nil {
			return 0, tidy(explain(err, variable))
		}
		if err := sameDatabase(ctx, db, databaseURL); err != nil {
			return 0, tidy(err)
		}
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return 0, err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db.DB, migrations.Files, goose.WithSessionLocker(locker))
	if err != nil {
		return 0, err
	}
	results, err := provider.Up(ctx)
	if err == nil {
		err = fillNameKeys(ctx, db)
	}
	if err == nil && ownerURL != "" {
		if err = grant(ctx, db, databaseURL); err == nil {
			err = sameTables(ctx, db, databaseURL)
		}
	}
	if ownerURL == "" && pq.As(err, "42501") != nil {
		return 0, &setUpFault{"the tables are missing or older than this version, and the account in DATABASE_URL may not change that: " +
			"run moonlatch migrate with MIGRATE_DATABASE_URL, the address of the account that owns the database", err}
	}
	return len(results), tidy(explain(err, variable))
}

// sameDatabase returns an error when an address names another database than the owner's connections. It takes an advisory lock as the
// owner: only in that database is it refused to others, also where a copy has the same name, content and identifiers, and
// whichever pooler is between. Where the address can't be connected to, as without its password, the names are compared.
func sameDatabase(ctx context.Context, owner *sqlx.DB, databaseURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerWithin)
	defer cancel()
	held, err := owner.BeginTxx(ctx, nil)
	if err != nil {
		return explain(err, "MIGRATE_DATABASE_URL")
	}
	defer func() { _ = held.Rollback() }()
	key := rand.Int64()
	var name string
	if err := held.GetContext(ctx, &name, `SELECT current_database() FROM pg_advisory_xact_lock($1)`, key); err != nil {
		return explain(err, "MIGRATE_DATABASE_URL")
	}
	server, err := connect(databaseURL, patience, 1)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	var free bool
	err = server.GetContext(ctx, &free, `SELECT pg_try_advisory_xact_lock($1)`, key)
	if pq.As(err, "3D000") != nil {
		return explain(err, "DATABASE_URL")
	}
	if err != nil {
		who, err := accountOf(databaseURL)
		if err != nil {
			return err
		}
		free = cmp.Or(who.Database, who.User) != name
	}
	if free {
		return errors.New("DATABASE_URL and MIGRATE_DATABASE_URL name different databases: correct one of them, nothing was changed")
	}
	return nil
}

// sameTables returns an error when an address finds other tables than the owner's connections in their one database, or none.
// It returns nil where the address can't be connected to.
func sameTables(ctx context.Context, owner *sqlx.DB, databaseURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerWithin)
	defer cancel()
	const query = `SELECT coalesce(to_regclass('audit_events')::oid, 0)`
	var migrated, served int64
	if err := owner.GetContext(ctx, &migrated, query); err != nil {
		return err
	}
	server, err := connect(databaseURL, patience, 1)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	if err := server.GetContext(ctx, &served, query); err == nil && served != migrated {
		return errors.New("DATABASE_URL and MIGRATE_DATABASE_URL name different schemas: give both the same search_path")
	}
	return nil
}

// grant gives the account of an address the privileges of grants, and takes every other that it was given on these tables, on
// their schema and on their database. It changes nothing where that account is connected already, as in an installation with
// one account, or where a newer version has migrated and granted.
func grant(ctx context.Context, db *sqlx.DB, databaseURL string) error {
	server, err := accountOf(databaseURL)
	if err != nil {
		return err
	}
	tx, err := lockAccounts(ctx, db)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var at struct {
		Schema, Database string
		Same             sql.NullBool
		Version          int
	}
	if err := tx.GetContext(ctx, &at, `SELECT current_schema() AS schema, current_database() AS database,
		(SELECT max(version_id) FROM goose_db_version WHERE is_applied) AS version,
		(SELECT rolname = current_user FROM pg_roles WHERE rolname = $1) AS same`, server.User); err != nil {
		return err
	}
	switch {
	case !at.Same.Valid:
		return fmt.Errorf("the database has no account %q, the user in DATABASE_URL: create it with CREATE ROLE, or correct DATABASE_URL", server.User)
	case at.Same.Bool || at.Version > migrations.Latest():
		return nil
	}
	statements, err := grantsFor(ctx, tx, pq.QuoteIdentifier(server.User), pq.QuoteIdentifier(at.Schema), pq.QuoteIdentifier(at.Database))
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, strings.Join(statements, "; ")); err != nil {
		return err
	}
	return commit(ctx, tx)
}

// grantsFor are the statements that give a role the privileges of grants, on the tables that there are. Its arguments are
// quoted.
func grantsFor(ctx context.Context, tx *sqlx.Tx, role, schema, database string) ([]string, error) {
	var relations []struct {
		Name, Table string // Table is Name itself, or the one that a sequence numbers
		Kind        string
	}
	if err := tx.SelectContext(ctx, &relations, `SELECT c.relname AS name, coalesce(t.relname, c.relname) AS table, c.relkind AS kind
		FROM pg_class c
			JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
			LEFT JOIN pg_depend d ON c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
				AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
			LEFT JOIN pg_class t ON t.oid = d.refobjid
		WHERE c.relkind IN ('r', 'p', 'S') ORDER BY c.relname`); err != nil {
		return nil, err
	}
	statements := []string{
		fmt.Sprintf("REVOKE TEMPORARY ON DATABASE %s FROM PUBLIC", database),
		fmt.Sprintf("REVOKE ALL ON DATABASE %s FROM %s", database, role),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", database, role),
		fmt.Sprintf("REVOKE CREATE ON SCHEMA %s FROM PUBLIC", schema),
		fmt.Sprintf("REVOKE ALL ON SCHEMA %s FROM %s", schema, role),
		fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s", schema, role),
	}
	for _, r := range relations {
		privileges, ours := grants[r.Table]
		if !ours {
			continue
		}
		object := schema + "." + pq.QuoteIdentifier(r.Name)
		if r.Kind == "S" {
			object, privileges = "SEQUENCE "+object, "SELECT" // which a backup needs; no statement of the store uses one
		}
		statements = append(statements, fmt.Sprintf("REVOKE ALL ON %s FROM %s", object, role), fmt.Sprintf("GRANT %s ON %s TO %s", privileges, object, role))
	}
	return statements, nil
}

// CreateAccount makes the account of databaseURL one that may log in with the password of that address and nothing else, as
// the account of ownerURL. One that exists gets that password.
func CreateAccount(ctx context.Context, databaseURL, ownerURL string) error {
	server, err := accountOf(databaseURL)
	if err != nil {
		return err
	}
	db, err := connect(ownerURL, 0, 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	tx, err := lockAccounts(ctx, db)
	if err != nil {
		return tidy(err)
	}
	defer func() { _ = tx.Rollback() }()
	verb := "ALTER"
	err = tx.GetContext(ctx, new(string), `SELECT rolname FROM pg_roles WHERE rolname = $1`, server.User)
	if errors.Is(err, sql.ErrNoRows) {
		verb, err = "CREATE", nil
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, fmt.Sprintf("%s ROLE %s LOGIN PASSWORD %s", verb, pq.QuoteIdentifier(server.User), pq.QuoteLiteral(server.Password)))
	}
	if err == nil {
		err = commit(ctx, tx)
	}
	return tidy(err)
}

func lockAccounts(ctx context.Context, db *sqlx.DB) (*sqlx.Tx, error) {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, accountsLock); err != nil {
		_ = tx.Rollback()
		return nil, err
	}
	return tx, nil
}

// accountOf is who an address connects as, also where only the environment says so.
func accountOf(databaseURL string) (pq.Config, error) {
	dsn, _, err := dataSource(databaseURL, 0)
	if err != nil {
		return pq.Config{}, err
	}
	return pq.NewConfig(dsn.String())
}
