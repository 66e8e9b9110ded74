package store_test

import (
	"context"
	"database/sql"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const (
	owner  = "moonlatch_test_owner"
	server = "moonlatch_test_server"
)

func execute(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func texts(t *testing.T, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	var out []string
	if err := db.QueryRow(`SELECT coalesce(array_agg(t::text ORDER BY t), '{}') FROM (`+query+`) AS q (t)`, args...).Scan(pq.Array(&out)); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestServingAccountCannotGetPastTheGuards tries what would let the account that serves change the log, or switch off what guards it.
func TestServingAccountCannotGetPastTheGuards(t *testing.T) {
	address := storetest.URL(t)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	storetest.Organisation(t, s)
	db := storetest.Plain(t, address)
	if user := texts(t, db, `SELECT session_user`); !slices.Equal(user, []string{server}) {
		t.Fatalf("the store is opened as %s", user)
	}
	execute(t, db, `GRANT ALL ON audit_events TO `+server) // only a warning, since there is nothing that it may grant
	for _, statement := range []string{
		`UPDATE audit_events SET after = ''`, `UPDATE audit_events SET after = after WHERE false`, `DELETE FROM audit_events`, `TRUNCATE audit_events`,
		`SELECT * FROM audit_events FOR UPDATE`, `DELETE FROM audit_heads`, `TRUNCATE api_keys CASCADE`, `TRUNCATE cookie_sessions`,
		`INSERT INTO audit_events SELECT * FROM audit_events ON CONFLICT (org_id, seq) DO UPDATE SET after = ''`,
		`ALTER TABLE audit_events DISABLE TRIGGER ALL`, `ALTER TABLE audit_events DISABLE TRIGGER USER`, `ALTER TABLE api_keys DISABLE TRIGGER api_keys_are_audited`,
		`ALTER TABLE audit_events RENAME TO gone`, `ALTER TABLE audit_events OWNER TO ` + server, `ALTER TABLE api_keys ADD COLUMN x text`, `DROP TABLE audit_events`,
		`DROP TRIGGER audit_events_are_final ON audit_events`, `DROP FUNCTION refuse_audit_change() CASCADE`,
		`CREATE OR REPLACE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `ALTER FUNCTION require_audit_event() SET search_path = pg_temp`,
		`CREATE RULE r AS ON INSERT TO audit_events DO INSTEAD NOTHING`, `CREATE INDEX ON audit_events (at)`,
		`CREATE TABLE x (y int)`, `CREATE TEMPORARY TABLE audit_events (y int)`, `CREATE TABLE x (org_id uuid REFERENCES organisations)`,
		`CREATE TRIGGER t BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()`,
		`CREATE SCHEMA x`, `CREATE ROLE x`, `CREATE VIEW v AS SELECT 1`, `CREATE SEQUENCE s`, `CREATE TYPE e AS ENUM ('x')`,
		`SET session_replication_role = replica`, `SET ROLE ` + owner, `SET SESSION AUTHORIZATION ` + owner, `GRANT ` + owner + ` TO ` + server,
		`ALTER ROLE ` + server + ` SUPERUSER`, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)`, `DELETE FROM goose_db_version`,
		`COPY audit_events FROM PROGRAM 'true'`, `DO $$ BEGIN LOCK TABLE goose_db_version IN ACCESS EXCLUSIVE MODE; END $$`, `CREATE EXTENSION pgcrypto`,
	} {
		if _, err := db.Exec(statement); pq.As(err, "42501") == nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	if reason, err := s.AuditBypass(t.Context()); reason != "" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
}

// TestEveryTableHasItsPrivileges asks the catalogue: no table is forgotten, and the serving account has nothing else.
func TestEveryTableHasItsPrivileges(t *testing.T) {
	db := storetest.DB(t, storetest.URL(t))
	tables := texts(t, db, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('i', 'I', 'S', 't', 'c')`)
	if listed := slices.Sorted(maps.Keys(store.Grants)); !slices.Equal(tables, listed) {
		for _, table := range tables {
			if store.Grants[table] == "" {
				t.Errorf("%s has no line in grants (store/migrate.go)", table)
			}
		}
		for _, table := range listed {
			if !slices.Contains(tables, table) {
				t.Errorf("grants (store/migrate.go) has a line for %s, which is no table", table)
			}
		}
	}
	for _, table := range tables {
		want := strings.Split(store.Grants[table], ", ")
		slices.Sort(want)
		if has := texts(t, db, `SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p WHERE has_table_privilege($1, 'public.' || quote_ident($2), p)`,
			server, table); !slices.Equal(has, want) {
			t.Errorf("%s: the serving account may %s, want %s", table, has, want)
		}
	}
	// What the triggers never let change, the account may not change either.
	for _, table := range texts(t, db, `SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgfoid = 'refuse_audit_change'::regproc`) {
		if store.Grants[table] != "SELECT, INSERT" {
			t.Errorf("%s: %s", table, store.Grants[table])
		}
	}
	if owned := texts(t, db, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND pg_get_userbyid(relowner) <> $1`, owner); len(owned) > 0 {
		t.Errorf("owned by others: %s", owned)
	}
	if roles := texts(t, db, `SELECT rolname FROM pg_roles WHERE rolname IN ($1, $2) AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)
		OR rolname <> $2 AND pg_has_role($2, oid, 'MEMBER')`, owner, server); len(roles) > 0 {
		t.Errorf("too powerful, or the serving account's: %s", roles)
	}
}

// TestGuardsReadTheirOwnSchema has a temporary table stand in for the log, as an account that may make one could.
func TestGuardsReadTheirOwnSchema(t *testing.T) {
	db := storetest.DB(t, storetest.URL(t))
	if loose := texts(t, db, `SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype
		AND 'search_path=public, pg_temp' <> ALL (coalesce(proconfig, '{}'))`); len(loose) > 0 {
		t.Errorf("no fixed search_path (ALTER FUNCTION … SET search_path, as in migration 15): %s", loose)
	}
	if definers := texts(t, db, `SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef`); len(definers) > 0 {
		t.Errorf("run with the owner's rights: %s", definers)
	}
	db.SetMaxOpenConns(1)
	execute(t, db, `CREATE TEMPORARY TABLE audit_events (org_id uuid, subject_id uuid, subject_kind text, subject_name text, tx xid8 DEFAULT pg_current_xact_id())`)
	_, err := db.Exec(`BEGIN; INSERT INTO audit_events (org_id, subject_id) VALUES ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000001');
		INSERT INTO organisations (id, name, created_at) VALUES ('00000000-0000-7000-8000-000000000001', 'Shadow', now()); COMMIT`)
	if err == nil || !strings.Contains(err.Error(), "has no audit event") {
		t.Errorf("an event in a temporary table: %v", err)
	}
}

// TestMigratingTakesWhatWasGivenTooMuch also grants an account that is new.
func TestMigratingTakesWhatWasGivenTooMuch(t *testing.T) {
	address := storetest.URL(t)
	db := storetest.DB(t, address)
	execute(t, db, `GRANT ALL ON ALL TABLES IN SCHEMA public TO `+server, `GRANT UPDATE (after) ON audit_events TO `+server, `GRANT CREATE ON SCHEMA public TO PUBLIC, `+server)
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if reason, err := s.AuditBypass(t.Context()); reason != "it has UPDATE on audit_events" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
	for range 2 { // again is no error
		if n, err := store.Migrate(t.Context(), address, storetest.Owner(address)); n != 0 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if reason, err := s.AuditBypass(t.Context()); reason != "" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
	if more := texts(t, db, `SELECT relname || ' ' || p FROM pg_class, unnest(ARRAY['TRUNCATE', 'TRIGGER', 'REFERENCES']) AS p
		WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND has_table_privilege($1, oid, p)`, server); len(more) > 0 {
		t.Errorf("still granted: %s", more)
	}
	if _, err := storetest.Plain(t, address).Exec(`CREATE TABLE x (y int)`); pq.As(err, "42501") == nil {
		t.Errorf("CREATE TABLE: %v", err)
	}
}

// TestOneAccountMayDoBoth migrates and serves as the owner, whose own rights no grant touches, and says what that costs.
func TestOneAccountMayDoBoth(t *testing.T) {
	address := storetest.Empty(t)
	for _, ownerURL := range []string{"", address} {
		if _, err := store.Migrate(t.Context(), address, ownerURL); err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	storetest.Organisation(t, s)
	if reason, err := s.AuditBypass(t.Context()); reason != "it owns the tables" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
}

// TestServingAccountDoesNotMigrate refuses in one sentence, and leaves the schema as it is.
func TestServingAccountDoesNotMigrate(t *testing.T) {
	pending := storetest.URL(t)
	execute(t, storetest.DB(t, pending), `DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)`)
	for name, address := range map[string]string{"an empty database": storetest.Serving(storetest.Empty(t)), "one migration pending": pending} {
		_, err := store.Migrate(t.Context(), address, "")
		if err == nil || !strings.Contains(err.Error(), "run moonlatch migrate with MIGRATE_DATABASE_URL") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := store.Migrate(t.Context(), storetest.URL(t), ""); n != 0 || err != nil {
		t.Errorf("nothing is pending: %d, %v", n, err)
	}
}

func TestMigratingNamesTheVariableThatIsWrong(t *testing.T) {
	address := storetest.URL(t)
	with := func(change func(*url.URL)) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	for says, c := range map[string][2]string{
		"in MIGRATE_DATABASE_URL":                            {address, with(func(u *url.URL) { u.User = url.UserPassword(owner, "wrong") })},
		`no account "nobody_here", the user in DATABASE_URL`: {with(func(u *url.URL) { u.User = url.User("nobody_here") }), storetest.Owner(address)},
	} {
		if _, err := store.Migrate(t.Context(), c[0], c[1]); err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%v, want %s", err, says)
		}
	}
}

// TestMigratingRefusesTwoDatabases changes nothing in either, and looks at the names where it can't connect.
func TestMigratingRefusesTwoDatabases(t *testing.T) {
	const different = "DATABASE_URL and MIGRATE_DATABASE_URL name different databases"
	empty, copied, another := storetest.Empty(t), storetest.URL(t), storetest.URL(t)
	with := func(address string, change func(*url.URL)) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	noPassword := func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") }
	elsewhere := func(u *url.URL) { u.RawQuery += "&search_path=elsewhere" }
	split := storetest.Empty(t)
	execute(t, storetest.DB(t, split), `CREATE SCHEMA elsewhere AUTHORIZATION `+owner)
	for name, c := range map[string]struct{ serving, owner, says string }{
		"an empty one to be migrated":        {copied, storetest.Owner(empty), different},
		"an empty one to be served":          {storetest.Serving(empty), storetest.Owner(copied), different},
		"a copy":                             {copied, storetest.Owner(another), different},
		"without the password, another name": {with(copied, noPassword), storetest.Owner(another), different},
		"one that is not there":              {with(copied, func(u *url.URL) { u.Path = "/not_here" }), storetest.Owner(copied), "there is no such database"},
		"another schema":                     {storetest.Serving(split), with(split, elsewhere), "name different schemas: give both the same search_path"},
		"one":                                {copied, storetest.Owner(copied), ""},
		"one, without the password":          {with(copied, noPassword), storetest.Owner(copied), ""},
	} {
		_, err := store.Migrate(t.Context(), c.serving, c.owner)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if tables := texts(t, storetest.DB(t, empty), `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace`); len(tables) > 0 {
		t.Errorf("migrated: %s", tables)
	}
}

// TestAnOlderVersionGrantsNothing leaves the privileges to the newer version that has migrated.
func TestAnOlderVersionGrantsNothing(t *testing.T) {
	address := storetest.URL(t)
	db := storetest.DB(t, address)
	execute(t, db, `GRANT DELETE ON audit_heads TO `+server, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)`)
	if _, err := store.Migrate(t.Context(), address, storetest.Owner(address)); err != nil {
		t.Fatal(err)
	}
	if kept := texts(t, db, `SELECT has_table_privilege($1, 'audit_heads', 'DELETE')`, server); !slices.Equal(kept, []string{"true"}) {
		t.Error("the older version took what the newer one had granted")
	}
}

// TestSchemaNeedNotBePublic migrates into another schema, which both addresses name.
func TestSchemaNeedNotBePublic(t *testing.T) {
	address := storetest.Empty(t)
	execute(t, storetest.DB(t, address), `CREATE SCHEMA "Key Console" AUTHORIZATION `+owner)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.RawQuery += "&search_path=%22Key%20Console%22"
	address = u.String()
	if _, err := store.Migrate(t.Context(), storetest.Serving(address), address); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), storetest.Serving(address))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	storetest.Organisation(t, s)
	if err := s.Ready(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
	if reason, err := s.AuditBypass(t.Context()); reason != "" || err != nil {
		t.Errorf("%q, %v", reason, err)
	}
	if _, err := storetest.Plain(t, storetest.Serving(address)).Exec(`UPDATE audit_events SET after = ''`); pq.As(err, "42501") == nil {
		t.Errorf("%v", err)
	}
}
