package store

import (
	"context"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/migrations"
)

// namedTables are the tables with a name_key, and the column of what a name is unique in.
var namedTables = [][2]string{{"organisations", "''"}, {"workspaces", "org_id"}, {"processes", "workspace_id"}, {"bias_profiles", "org_id"}}

// fillNameKeys gives each name its key where it has none or another name's: names from before the column, and those that an older
// version wrote beside this one. Go does it, since PostgreSQL folds case as its locale does and not as input.NameKey. Of names that
// are alike the oldest has the key, and the others one with their id, until they are renamed. It does nothing where the account
// does not own the tables, or a newer version has migrated.
func fillNameKeys(ctx context.Context, db *sqlx.DB) error {
	for _, t := range namedTables {
		if err := fillTable(ctx, db, t[0], t[1]); err != nil {
			return err
		}
	}
	return nil
}

func fillTable(ctx context.Context, db *sqlx.DB, table, scope string) error {
	var may bool
	if err := db.GetContext(ctx, &may, `SELECT pg_has_role(relowner, 'USAGE') AND $1 = (SELECT max(version_id) FROM goose_db_version WHERE is_applied)
		FROM pg_class WHERE oid = $2::regclass`, migrations.Latest(), table); err != nil || !may {
		return err
	}
	if ids, _, err := wrongKeys(ctx, db, table, scope); err != nil || len(ids) == 0 {
		return err
	}
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	// The names stay as they are, so there is no event. It also keeps others from writing.
	if _, err := tx.ExecContext(ctx, `ALTER TABLE `+table+` DISABLE TRIGGER `+table+`_are_audited`); err != nil {
		return err
	}
	ids, keys, err := wrongKeys(ctx, tx, table, scope)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE `+table+` SET name_key = NULL WHERE id = ANY ($1::uuid[]) AND name_key IS NOT NULL`, pq.Array(ids)); err != nil { // two may have each other's
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE `+table+` AS t SET name_key = k.key FROM unnest($1::uuid[], $2::text[]) AS k (id, key) WHERE t.id = k.id`,
		pq.Array(ids), pq.Array(keys)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `ALTER TABLE `+table+` ENABLE TRIGGER `+table+`_are_audited`); err != nil {
		return err
	}
	return commit(ctx, tx)
}

// wrongKeys returns the rows of a table that have no key or another name's, and the keys that they are to have.
func wrongKeys(ctx context.Context, db sqlx.QueryerContext, table, scope string) (ids, keys []string, err error) {
	var rows []struct{ ID, Scope, Name, Key string }
	if err := sqlx.SelectContext(ctx, db, &rows, `SELECT id, `+scope+` AS scope, name, coalesce(name_key, '') AS key FROM `+table+`
		ORDER BY created_at, id`); err != nil {
		return nil, nil, err
	}
	taken := map[[2]string]bool{}
	for _, r := range rows {
		if key := input.NameKey(r.Name); r.Key == key || r.Key == key+" "+r.ID {
			taken[[2]string{r.Scope, r.Key}] = true
		}
	}
	for _, r := range rows {
		key := input.NameKey(r.Name)
		if r.Key == key || r.Key == key+" "+r.ID {
			continue
		}
		if taken[[2]string{r.Scope, key}] {
			key += " " + r.ID
		}
		taken[[2]string{r.Scope, key}] = true
		ids, keys = append(ids, r.ID), append(keys, key)
	}
	return ids, keys, nil
}
