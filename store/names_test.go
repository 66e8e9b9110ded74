package store_test

import (
	"io/fs"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/migrations"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAnUpgradeKeepsNamesThatAreAlike migrates a database in which earlier versions made such names.
func TestAnUpgradeKeepsNamesThatAreAlike(t *testing.T) {
	db := storetest.DB(t, storetest.Empty(t))
	db.SetMaxOpenConns(1) // a setting is of its connection
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	execute := func(statement string) {
		t.Helper()
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	upgraded := false
	for _, file := range files {
		if strings.HasPrefix(file, "00010") {
			upgraded = true
			execute(`SET session_replication_role = replica;
				INSERT INTO organisations (id, name, created_at) VALUES
					('00000000-0000-7000-8000-000000000001', 'Second Org', '2026-01-01'), ('00000000-0000-7000-8000-000000000002', 'second org', '2026-02-01');
				INSERT INTO workspaces (id, org_id, name, created_at) SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', name, '2026-01-01'
					FROM unnest(ARRAY['Research', 'research', 'RESEARCH', 'Sales']) AS name;
				INSERT INTO processes (id, org_id, workspace_id, name, created_at) SELECT gen_random_uuid(), w.org_id, w.id, n, '2026-01-01'
					FROM workspaces w, unnest(ARRAY['Chat', 'chat']) AS n;
				INSERT INTO bias_profiles (id, org_id, name, default_threshold, created_at) SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', name, 50, '2026-01-01'
					FROM unnest(ARRAY['Strict', 'strict']) AS name;
				SET session_replication_role = DEFAULT`)
		}
		text, err := fs.ReadFile(migrations.Files, file)
		if err != nil {
			t.Fatal(err)
		}
		execute("BEGIN;" + string(text) + "; COMMIT")
	}
	if !upgraded {
		t.Fatal("the migration is not there")
	}
	for table, want := range map[string][2]int{"organisations": {2, 1}, "workspaces": {4, 2}, "processes": {8, 4}, "bias_profiles": {2, 1}} {
		var rows, keys int
		if err := db.QueryRow(`SELECT count(*), count(*) FILTER (WHERE name_key = lower(name)) FROM `+table).Scan(&rows, &keys); err != nil {
			t.Fatal(err)
		}
		if rows != want[0] || keys != want[1] {
			t.Errorf("of %d %s %d have the key of their name, not %v", rows, table, keys, want)
		}
	}
	var disabled int
	if err := db.QueryRow(`SELECT count(*) FROM pg_trigger WHERE tgenabled = 'D'`).Scan(&disabled); err != nil || disabled > 0 {
		t.Errorf("%d triggers are off, %v", disabled, err)
	}
	var always int
	if err := db.QueryRow(`SELECT count(*) FROM pg_trigger WHERE tgname = 'bias_profiles_make_news' AND tgenabled = 'A'`).Scan(&always); err != nil || always != 1 {
		t.Errorf("the notification of profiles is on always: %d, %v", always, err)
	}
}
