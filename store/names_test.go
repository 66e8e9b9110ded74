package store_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/pressly/goose/v3"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/migrations"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// alike are names that earlier versions kept apart, and this one compares as equal.
var alike = [][]string{
	{"Second Org", "second org", "SECOND ORG", "Second  Org", "Second\u00a0Org", "Ｓｅｃｏｎｄ Org"},
	{"Straße", "STRASSE", "STRAẞE", "straſſe"},
	{"İstanbul", "i\u0307stanbul"}, {"Istanbul", "istanbul", "ISTANBUL"}, {"ısparta"},
	{"ΟΔΟΣ", "οδος", "οδοσ"},
	{"Office", "oﬃce", "OFFICE"},
	{"Caf\u00e9", "CAFE\u0301"},
	{"Ⅷ", "viii"},
	{"ÄÖÜ", "äöü", "äö\u200dü"},
	{"ПРИВЕТ", "привет"},
}

// TestAnUpgradeFillsTheKeysOfNames migrates a database of an earlier version. Each name then has the key that Go gives it, and of
// those that are alike the oldest alone.
func TestAnUpgradeFillsTheKeysOfNames(t *testing.T) {
	address := storetest.Empty(t)
	provider, err := goose.NewProvider(goose.DialectPostgres, storetest.Plain(t, address), migrations.Files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	earlier := storetest.Unaudited(t, address)
	const org = "00000000-0000-7000-8000-000000000001"
	rows := 0
	add := func(name string) {
		rows++
		id := uuid.Must(uuid.NewV7()).String()
		for _, statement := range []string{
			`INSERT INTO organisations (id, name, created_at) VALUES ($1, $2, now() + $3 * interval '1 second')`,
			`INSERT INTO workspaces (id, org_id, name, created_at) VALUES ($1, '` + org + `', $2, now() + $3 * interval '1 second')`,
			`INSERT INTO processes (id, org_id, workspace_id, name, created_at) VALUES ($1, '` + org + `', '` + org + `', $2, now() + $3 * interval '1 second')`,
			`INSERT INTO bias_profiles (id, org_id, name, default_threshold, created_at) VALUES ($1, '` + org + `', $2, 50, now() + $3 * interval '1 second')`,
		} {
			if _, err := earlier.Exec(statement, id, name, rows); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		}
	}
	for _, names := range alike {
		for _, name := range names {
			add(name)
		}
	}
	migrate := func() {
		t.Helper()
		if _, err := store.Migrate(t.Context(), storetest.Serving(address), address); err != nil {
			t.Fatal(err)
		}
	}
	check := func(keys int) {
		t.Helper()
		for _, table := range []string{"organisations", "workspaces", "processes", "bias_profiles"} {
			found, err := earlier.Query(`SELECT id, name, name_key FROM ` + table + ` ORDER BY created_at`)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = found.Close() }()
			seen, n := map[string]bool{}, 0
			for ; found.Next(); n++ {
				var id, name, key string
				if err := found.Scan(&id, &name, &key); err != nil {
					t.Fatalf("%s: %v", table, err)
				}
				want := input.NameKey(name)
				if seen[want] {
					want += " " + id
				}
				seen[want] = true
				if key != want {
					t.Errorf("%s: the key of %q is %q, want %q", table, name, key, want)
				}
			}
			if n != keys {
				t.Errorf("%s: %d rows of %d", table, n, keys)
			}
		}
	}
	migrate()
	check(rows)
	add("Second\u3000ORG") // as an older version does beside this one
	migrate()
	check(rows)
	if off := texts(t, storetest.DB(t, address), `SELECT tgname FROM pg_trigger WHERE tgenabled = 'D'`); len(off) > 0 {
		t.Errorf("triggers are off: %s", off)
	}
	if always := texts(t, storetest.DB(t, address), `SELECT tgname FROM pg_trigger WHERE tgname = 'bias_profiles_make_news' AND tgenabled = 'A'`); len(always) != 1 {
		t.Error("the notification of profiles is not on always")
	}
	s := storetest.Open(t, storetest.Serving(address))
	for i, names := range alike {
		name := fmt.Sprintf(" %s ", names[len(names)-1])
		operator := account.Actor{OrgID: uuid.NewString(), Email: "operator", Role: account.Operator}
		err := s.Mutate(t.Context(), operator, account.SetUp, func(tx *store.Tx) ([]audit.Change, error) {
			return nil, tx.InsertOrganisation(name, audit.Genesis)
		})
		if !errors.Is(err, store.ErrTaken) {
			t.Errorf("a new name like those of %d, %q: %v", i, name, err)
		}
	}
}

// TestARenameByAnOlderVersionIsFollowed renames in the way of a version that knows no keys of names: two rows take each other's
// name, and one takes a name that another row had.
func TestARenameByAnOlderVersionIsFollowed(t *testing.T) {
	address := storetest.URL(t)
	earlier := storetest.Unaudited(t, address)
	const org = "00000000-0000-7000-8000-000000000001"
	ids := map[string]string{}
	for i, name := range []string{"alpha", "beta", "gamma"} {
		ids[name] = fmt.Sprintf("00000000-0000-7000-8000-%012d", i+1)
		for _, statement := range []string{
			`INSERT INTO organisations (id, name, name_key, created_at) VALUES ($1, $2, $2, now())`,
			`INSERT INTO workspaces (id, org_id, name, name_key, created_at) VALUES ($1, '` + org + `', $2, $2, now())`,
			`INSERT INTO processes (id, org_id, workspace_id, name, name_key, created_at) VALUES ($1, '` + org + `', '` + org + `', $2, $2, now())`,
			`INSERT INTO bias_profiles (id, org_id, name, name_key, default_threshold, created_at) VALUES ($1, '` + org + `', $2, $2, 50, now())`,
		} {
			if _, err := earlier.Exec(statement, ids[name], name); err != nil {
				t.Fatal(err)
			}
		}
	}
	tables := []string{"organisations", "workspaces", "processes", "bias_profiles"}
	for _, table := range tables {
		if _, err := earlier.Exec(`UPDATE `+table+` SET name = CASE id WHEN $1 THEN 'BETA' WHEN $2 THEN 'Gamma' ELSE 'Alpha' END`, ids["alpha"], ids["beta"]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Migrate(t.Context(), storetest.Serving(address), storetest.Owner(address)); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if got := texts(t, earlier, `SELECT name || ' ' || name_key FROM `+table); fmt.Sprint(got) != "[Alpha alpha BETA beta Gamma gamma]" {
			t.Errorf("%s: the names and their keys are %q", table, got)
		}
	}
}

// TestAServerLeavesKeysOfNamesToTheOwner starts while an older version writes names without.
func TestAServerLeavesKeysOfNamesToTheOwner(t *testing.T) {
	address := storetest.URL(t)
	if _, err := storetest.Unaudited(t, address).Exec(`INSERT INTO organisations (id, name, created_at) VALUES ($1, 'Early', now())`, uuid.NewString()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Migrate(t.Context(), address, ""); err != nil {
		t.Errorf("the account that serves: %v", err)
	}
	if _, err := store.Migrate(t.Context(), address, storetest.Owner(address)); err != nil {
		t.Error(err)
	}
	var keys []string
	if err := storetest.DB(t, address).QueryRow(`SELECT array_agg(name_key) FROM organisations`).Scan(pq.Array(&keys)); err != nil || len(keys) != 1 || keys[0] != "early" {
		t.Errorf("%s, %v", keys, err)
	}
}
