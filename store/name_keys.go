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

// fillNameKeys gives names their key that have none: those from before the column, and those that an older version wrote beside this
// one. Go does it, since PostgreSQL folds case as its locale does and not as input.NameKey. Of names that are alike the
// oldest has the key, and the others one with their id, until they are renamed. It does nothing where the account does not own
// the tables, or a newer version has migrated.
func fillNameKeys(ctx context.Context, db *sqlx.DB) error {
	for _, t := range namedTables {
		if err := fillTable(ctx, db, t[0], t[1]); err != nil {
			return err
		}
	}
	return nil
}

func fillTable(ctx context.Context, db *sqlx.DB, table, scope string) error {
	var missing bool
	if err := db.GetContext(ctx, &missing, `SELECT EXISTS (SELECT FROM `+table+` WHERE name_key IS NULL)
		AND pg_has_role(relowner, 'USAGE') AND $1 = (SELECT max(version_id) FROM goose_db_version WHERE is_applied)
		FROM pg_class WHERE oid = $2::regclass`, migrations.Latest(), table); err != nil || !missing {
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
	var rows []struct{ ID, Scope, Name, Key string }
	if err := tx.SelectContext(ctx, &rows, `SELECT id, `+scope+` AS scope, name, coalesce(name_key, '') AS key FROM `+table+`
		ORDER BY name_key IS NULL, created_at, id`); err != nil {
		return err
	}
	taken := map[[2]string]bool{}
	var ids, keys []string
	for _, r := range rows {
		if r.Key == "" {
			r.Key = input.NameKey(r.Name)
			if taken[[2]string{r.Scope, r.Key}] {
				r.Key += " " + r.ID
			}
			ids, keys = append(ids, r.ID), append(keys, r.Key)
		}
		taken[[2]string{r.Scope, r.Key}] = true
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
