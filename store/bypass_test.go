package store_test

import (
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAuditBypassNamesEveryWayPastTheGuards gives an account one thing at a time, directly or through roles that it must
// switch to.
func TestAuditBypassNamesEveryWayPastTheGuards(t *testing.T) {
	address := storetest.URL(t)
	db := storetest.DB(t, address)
	database := texts(t, db, `SELECT quote_ident(current_database())`)[0]
	super := texts(t, db, `SELECT current_user`)[0]
	// $me is the account that serves; $near and $far are roles without a privilege, of which $near is a member of $far, and neither
	// inherits.
	for _, c := range []struct{ given, reason string }{
		{``, ``},
		{`GRANT $near TO $me`, ``},
		{`GRANT ` + server + ` TO $me`, ``},
		{`GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO $me`, ``},
		{`GRANT SELECT ON ALL TABLES IN SCHEMA public TO $near; GRANT $near TO $me`, ``},
		{`GRANT SET ON PARAMETER log_min_duration_statement TO $me`, ``},
		{`ALTER ROLE $me CREATEDB`, ``},

		{`ALTER ROLE $me SUPERUSER`, `it is a superuser`},
		{`ALTER ROLE $far SUPERUSER; GRANT $near TO $me`, `it is a member of $far, which is a superuser`},
		{`GRANT ` + super + ` TO $near; GRANT $near TO $me`, `it is a member of ` + super + `, which is a superuser`},
		{`GRANT ` + owner + ` TO $me`, `it is a member of ` + owner + `, which owns the tables`},
		{`ALTER ROLE $me NOINHERIT; GRANT ` + owner + ` TO $far; GRANT $near TO $me`, `it is a member of ` + owner + `, which owns the tables`},
		{`GRANT ` + owner + ` TO $me; ALTER ROLE $me SET role = ` + server, `it is a member of ` + owner + `, which owns the tables`},
		{`ALTER TABLE scopes OWNER TO $me`, `it owns the tables`},
		{`ALTER TABLE api_keys OWNER TO $far; GRANT $near TO $me`, `it is a member of $far, which owns the tables`},
		{`ALTER FUNCTION refuse_audit_change() OWNER TO $me`, `it owns the functions of the triggers`},
		{`ALTER SCHEMA public OWNER TO $me`, `it owns the schema`},
		{`ALTER SCHEMA public OWNER TO $far; GRANT $near TO $me`, `it is a member of $far, which owns the schema`},
		{`ALTER SCHEMA public OWNER TO ` + owner + `; ALTER DATABASE ` + database + ` OWNER TO $me`, `it owns the database`},
		{`ALTER DATABASE ` + database + ` OWNER TO $me`, `it is a member of pg_database_owner, which owns the schema`},
		{`ALTER ROLE $me CREATEROLE`, `it has CREATEROLE`},
		{`ALTER ROLE $far CREATEROLE; GRANT $near TO $me`, `it is a member of $far, which has CREATEROLE`},
		{`ALTER ROLE $me REPLICATION`, `it has REPLICATION`},
		{`ALTER ROLE $me BYPASSRLS`, `it has BYPASSRLS`},
		{`GRANT pg_read_server_files TO $me`, `it is a member of pg_read_server_files, which may use files or programs of the database server`},
		{`GRANT pg_write_server_files TO $far; GRANT $near TO $me`, `it is a member of pg_write_server_files, which may use files or programs of the database server`},
		{`GRANT pg_execute_server_program TO $me`, `it is a member of pg_execute_server_program, which may use files or programs of the database server`},
		{`GRANT EXECUTE ON FUNCTION lo_export(oid, text) TO $me`, `it may use files or programs of the database server`},
		{`GRANT pg_write_all_data TO $me`, `it is a member of pg_write_all_data, which may write to every table`},
		{`GRANT pg_read_all_data TO $me`, `it may read the hashes of passwords`},
		{`GRANT SELECT (rolpassword) ON pg_authid TO $me`, `it may read the hashes of passwords`},
		{`GRANT SELECT ON pg_shadow TO $near; ALTER ROLE $me NOINHERIT; GRANT $near TO $me`, `it is a member of $near, which may read the hashes of passwords`},
		{`GRANT SET ON PARAMETER session_replication_role TO $me`, `it may set session_replication_role`},
		{`GRANT SET ON PARAMETER session_replication_role TO $far; GRANT $near TO $me`, `it is a member of $far, which may set session_replication_role`},
		{`GRANT SET ON PARAMETER session_preload_libraries TO $me`, `it may set session_preload_libraries`},
		{`GRANT ALTER SYSTEM ON PARAMETER archive_command TO $me`, `it may use ALTER SYSTEM`},
		{`GRANT DELETE ON audit_events TO $me`, `it has DELETE on audit_events`},
		{`GRANT UPDATE (after) ON audit_events TO PUBLIC`, `it has UPDATE on audit_events`},
		{`GRANT UPDATE (after) ON audit_events TO $far; GRANT $near TO $me`, `it is a member of $far, which has UPDATE on audit_events`},
		{`GRANT DELETE ON audit_heads TO $me`, `it has DELETE on audit_heads`},
		{`GRANT TRIGGER ON api_keys TO $me`, `it has TRIGGER on api_keys`},
		{`GRANT TRUNCATE ON api_keys TO $me`, `it has TRUNCATE on api_keys`},
		{`GRANT CREATE ON SCHEMA public TO $me`, `it may create objects in the schema`},
		{`GRANT CREATE ON SCHEMA public TO PUBLIC`, `it may create objects in the schema`},
		{`GRANT CREATE ON DATABASE ` + database + ` TO $me`, `it may create schemas in the database`},
		{`ALTER ROLE $me SET session_replication_role = replica`, `it works with session_replication_role = replica`},
	} {
		t.Run(c.given, func(t *testing.T) {
			tag := "_" + strings.ToLower(rand.Text()[:10]) // roles are the whole server's
			me, near, far := "me"+tag, "near"+tag, "far"+tag
			named := strings.NewReplacer("$me", me, "$near", near, "$far", far)
			u, err := url.Parse(address)
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword(me, tag)
			t.Cleanup(func() {
				execute(t, db, `ALTER SCHEMA public OWNER TO pg_database_owner`, `ALTER DATABASE `+database+` OWNER TO `+owner,
					`REASSIGN OWNED BY `+me+`, `+far+` TO `+owner, `DROP OWNED BY `+me+`, `+near+`, `+far, `DROP ROLE `+me+`, `+near+`, `+far,
					`REVOKE UPDATE (after) ON audit_events FROM PUBLIC`, `REVOKE CREATE ON SCHEMA public FROM PUBLIC`)
			})
			execute(t, db, `CREATE ROLE `+me+` LOGIN PASSWORD '`+tag+`'`, `CREATE ROLE `+far+` NOINHERIT`, `CREATE ROLE `+near+` NOINHERIT`, `GRANT `+far+` TO `+near)
			for table, privileges := range store.Grants {
				execute(t, db, `GRANT `+privileges+` ON `+table+` TO `+me)
			}
			execute(t, db, named.Replace(c.given))
			s, err := store.Open(t.Context(), u.String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if reason, err := s.AuditBypass(t.Context()); reason != named.Replace(c.reason) || err != nil {
				t.Errorf("%q, %v, want %q", reason, err, named.Replace(c.reason))
			}
		})
	}
}
