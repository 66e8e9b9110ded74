package main

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/moonlatch/moonlatch/internal/pgembed"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestComposeServesWithTwoAccounts runs what compose.yaml runs against a PostgreSQL of its own: on a new volume, and on one where
// the superuser has migrated and served.
func TestComposeServesWithTwoAccounts(t *testing.T) {
	t.Parallel()
	var file struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
			Volumes     []string
		}
	}
	text, err := os.ReadFile("../../compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	migrate, server, database := file.Services["migrate"], file.Services["moonlatch"].Environment, file.Services["database"]
	if _, ok := server["MIGRATE_DATABASE_URL"]; ok || strings.Contains(server["PGPASSWORD"], "OWNER_PASSWORD") || strings.Join(migrate.Command, " ") != "migrate" {
		t.Errorf("the server knows the owner's address or password: %v, %v", server, migrate.Command)
	}
	if !strings.Contains(strings.Join(database.Volumes, "\n"), "./compose/accounts.sh:/docker-entrypoint-initdb.d/accounts.sh") {
		t.Error(database.Volumes)
	}

	psql := filepath.Join(clientPrograms(t), "psql")
	if !exists(psql) {
		t.Skip("no psql on this machine: what compose.yaml runs is not tried here")
	}
	pg, err := pgembed.Open(t.Context(), pgembed.Options{Dir: filepath.Join(t.TempDir(), "postgres"), Scratch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Stop(t.Context()) }()
	at := func(of, password, database string) string { // an address of compose.yaml's, or the superuser's, on this server
		from, err := url.Parse(of)
		if err != nil {
			t.Fatal(err)
		}
		here, err := url.Parse(pg.URL())
		if err != nil {
			t.Fatal(err)
		}
		here.User, here.Path = url.UserPassword(from.User.Username(), password), "/"+database
		return here.String()
	}
	super, err := url.Parse(pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	superPassword, _ := super.User.Password()
	admin := storetest.Plain(t, pg.URL())
	admin.SetMaxOpenConns(1) // it stays connected when its password is gone
	for name, prepare := range map[string]func(string){
		"new": func(string) {},
		"old": func(name string) {
			env := []string{"DATABASE_URL=" + at(pg.URL(), superPassword, name)}
			createUser(t, env, "Acme", "ada@acme.test", "owner")
			if log := serves(t, env...); !strings.Contains(log, "it is a superuser") {
				t.Error(log)
			}
		},
	} {
		for _, statement := range []string{"ALTER ROLE " + database.Environment["POSTGRES_USER"] + " PASSWORD '" + superPassword + "'", "CREATE DATABASE " + name} {
			if _, err := admin.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		prepare(name)
		script := exec.CommandContext(t.Context(), "sh", "../../compose/accounts.sh")
		host, port := super.Hostname(), super.Port()
		if host == "" {
			host, port = super.Query().Get("host"), super.Query().Get("port")
		}
		script.Env = []string{"PATH=" + filepath.Dir(psql) + ":" + os.Getenv("PATH"), "PGHOST=" + host, "PGPORT=" + port, "PGPASSWORD=" + superPassword,
			"POSTGRES_USER=" + database.Environment["POSTGRES_USER"], "POSTGRES_DB=" + name, "OWNER_PASSWORD=it's one", "SERVER_PASSWORD=it's another"}
		if out, err := script.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		serving := at(server["DATABASE_URL"], "it's another", name)
		moonlatch(t, []string{"MIGRATE_DATABASE_URL=" + at(migrate.Environment["MIGRATE_DATABASE_URL"], "it's one", name), "DATABASE_URL=" + at(migrate.Environment["DATABASE_URL"], "", name)},
			"", "migrate").expect(t, exitDone, "up to date")
		if log := serves(t, "DATABASE_URL="+serving); strings.Contains(log, bypass) {
			t.Errorf("%s: %s", name, log)
		}
		createUser(t, []string{"DATABASE_URL=" + serving}, "Acme", "ben@acme.test", "owner")
		refusesDisabling(t, serving)
		var powerful int
		if err := admin.QueryRow(`SELECT count(*) FROM pg_roles WHERE rolname LIKE 'moonlatch\_%' AND (rolsuper OR rolcreaterole OR rolcreatedb)`).Scan(&powerful); err != nil || powerful > 0 {
			t.Errorf("%s: %d of the two are too powerful, %v", name, powerful, err)
		}
		var refused int
		if err := admin.QueryRow(`SELECT count(*) FROM pg_authid WHERE rolname = current_user AND rolpassword IS NULL`).Scan(&refused); err != nil || refused != 1 {
			t.Errorf("%s: the superuser keeps its password, %v", name, err)
		}
	}
}
