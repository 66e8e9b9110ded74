package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// bypasses say what lets a role r change the audit log or switch off what guards it, the worst first: a text, and when it
// holds. The schema of the tables is n, the database d, and t a privilege on a table that is not in grants.
var bypasses = [][2]string{
	{`'is a superuser'`, `r.rolsuper`},
	{`'owns the tables'`, `EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relkind IN ('r', 'p') AND relowner = r.oid)`},
	{`'owns the functions of the triggers'`, `EXISTS (SELECT FROM pg_proc WHERE pronamespace = n.oid AND prorettype = 'trigger'::regtype AND proowner = r.oid)`},
	{`'owns the schema'`, `n.nspowner = r.oid`},
	{`'owns the database'`, `d.datdba = r.oid`},
	{`'has CREATEROLE'`, `r.rolcreaterole`}, // up to PostgreSQL 15 it may join every role but a superuser's
	{`'has REPLICATION'`, `r.rolreplication`},
	{`'has BYPASSRLS'`, `r.rolbypassrls`},
	{`'may use files or programs of the database server'`, `r.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
		OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace
			AND proname IN ('pg_read_file', 'pg_read_binary_file', 'pg_file_write', 'lo_import', 'lo_export') AND has_function_privilege(r.oid, oid, 'EXECUTE'))`},
	{`'may write to every table'`, `r.rolname = 'pg_write_all_data'`},
	{`'may apply another server''s changes'`, `r.rolname = 'pg_create_subscription'`}, // no trigger sees them
	{`'may read the hashes of passwords'`, `r.rolname = 'pg_read_all_data' OR has_table_privilege(r.oid, 'pg_catalog.pg_authid', 'SELECT')
		OR has_any_column_privilege(r.oid, 'pg_catalog.pg_authid', 'SELECT') OR has_any_column_privilege(r.oid, 'pg_catalog.pg_shadow', 'SELECT')`}, // an MD5 hash is enough to log in
	{`'may set session_replication_role'`, `has_parameter_privilege(r.oid, 'session_replication_role', 'SET')`},
	{`'may set session_preload_libraries'`, `has_parameter_privilege(r.oid, 'session_preload_libraries', 'SET')`},
	{`'may use ALTER SYSTEM'`, `EXISTS (SELECT FROM pg_parameter_acl WHERE has_parameter_privilege(r.oid, parname, 'ALTER SYSTEM'))`},
	{`'has ' || t.privilege || ' on ' || t.name`, `t.name IS NOT NULL`},
	{`'may create objects in the schema'`, `has_schema_privilege(r.oid, n.oid, 'CREATE')`},
	{`'may create schemas in the database'`, `has_database_privilege(r.oid, d.oid, 'CREATE')`}, // one of the owner's name precedes others in the owner's search_path
	{`'works with session_replication_role = replica'`, `current_setting('session_replication_role') = 'replica'`},
}

// AuditBypass is why the account that serves could change the audit log, or switch off what guards it; "" when it can't. It
// looks at every role that the account is a member of, also indirectly or without inheriting: SET ROLE reaches them all.
func (s *Store) AuditBypass(ctx context.Context) (reason string, err error) {
	ranked := make([]string, len(bypasses))
	for i, b := range bypasses {
		ranked[i] = fmt.Sprintf("(%d, %s, %s)", i, b[0], b[1])
	}
	var tables, privileges []string
	for _, table := range slices.Sorted(maps.Keys(grants)) {
		for _, privilege := range []string{"UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "INSERT"} {
			if !strings.Contains(grants[table], privilege) {
				tables, privileges = append(tables, table), append(privileges, privilege)
			}
		}
	}
	err = s.db.GetContext(ctx, &reason, `SELECT CASE WHEN r.rolname = session_user THEN 'it ' ELSE format('it is a member of %I, which ', r.rolname) END || b.words
		FROM pg_roles r
			JOIN pg_database d ON d.datname = current_database()
			JOIN pg_namespace n ON n.oid = (SELECT relnamespace FROM pg_class WHERE oid = 'audit_events'::regclass)
			LEFT JOIN LATERAL (SELECT name, privilege FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS more (name, privilege, place)
					JOIN pg_class c ON c.relname = name AND c.relnamespace = n.oid
				WHERE CASE WHEN privilege IN ('INSERT', 'UPDATE') THEN has_any_column_privilege(r.oid, c.oid, privilege) ELSE has_table_privilege(r.oid, c.oid, privilege) END
				ORDER BY name <> 'audit_events', place LIMIT 1) AS t ON true
			CROSS JOIN LATERAL (VALUES `+strings.Join(ranked, ",\n")+`) AS b (rank, words, holds)
		WHERE pg_has_role(session_user, r.oid, 'MEMBER') AND b.holds
		ORDER BY b.rank, r.rolname <> session_user, r.rolname LIMIT 1`, pq.Array(tables), pq.Array(privileges))
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return reason, tidy(err)
}
