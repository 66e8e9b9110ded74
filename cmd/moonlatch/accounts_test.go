package main

import (
	"crypto/rand"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/pgembed"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// bypass is what the log says of one account for all.
const bypass = "could change the audit log"

// disabling is what the account that serves must not do.
const disabling = `ALTER TABLE audit_events DISABLE TRIGGER USER`

func refusesDisabling(t *testing.T, databaseURL string) {
	t.Helper()
	if _, err := storetest.Plain(t, databaseURL).Exec(disabling); err == nil || !strings.Contains(err.Error(), "must be owner of table audit_events") {
		t.Errorf("%s: %v", disabling, err)
	}
}

// serves starts and stops a server, and returns its log.
func serves(t *testing.T, env ...string) string {
	t.Helper()
	s := serve(t, append(env, "ADDR=127.0.0.1:0", "SHUTDOWN_DELAY=0s"))
	if code, body := s.get(t, "/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s", code, body)
	}
	if code := s.wait(t); code != exitDone {
		t.Errorf("exit %d", code)
	}
	return s.stderr.String()
}

func TestOneAccountIsServedWithAWarning(t *testing.T) {
	t.Parallel()
	if log := serves(t, "DATABASE_URL="+storetest.Empty(t)); strings.Count(log, bypass) != 1 || !strings.Contains(log, "it owns the tables") {
		t.Error(log)
	}
}

func TestTwoAccountsAreServedWithout(t *testing.T) {
	t.Parallel()
	owner := storetest.Empty(t)
	env := []string{"DATABASE_URL=" + storetest.Serving(owner), "MIGRATE_DATABASE_URL=" + owner}
	for range 2 {
		if log := serves(t, env...); strings.Contains(log, bypass) {
			t.Error(log)
		}
	}
	createUser(t, env, "Acme", "ada@acme.test", "owner") // with the owner's address
	createUser(t, env[:1], "Acme", "ben@acme.test", "admin")
	refusesDisabling(t, storetest.Serving(owner))
}

// TestMigrateNeedsNoPasswordOfTheServer gives it the server's account by name alone.
func TestMigrateNeedsNoPasswordOfTheServer(t *testing.T) {
	t.Parallel()
	owner := storetest.Empty(t)
	nameless, err := url.Parse(storetest.Serving(owner))
	if err != nil {
		t.Fatal(err)
	}
	nameless.User = url.User(nameless.User.Username())
	env := []string{"DATABASE_URL=" + nameless.String(), "MIGRATE_DATABASE_URL=" + owner}
	moonlatch(t, env, "", "migrate").expect(t, exitDone, "up to date")
	moonlatch(t, env, "", "migrate").expect(t, exitDone, "Migrations applied: 0.")
	if log := serves(t, "DATABASE_URL="+storetest.Serving(owner)); strings.Contains(log, bypass) {
		t.Error(log)
	}
}

func TestServingAccountRefusesToStartWhileMigrationsArePending(t *testing.T) {
	t.Parallel()
	owner := storetest.Empty(t)
	for _, command := range []string{"serve", "migrate"} {
		moonlatch(t, []string{"DATABASE_URL=" + storetest.Serving(owner), "ADDR=127.0.0.1:0"}, "", command).
			expect(t, exitFailed, "run moonlatch migrate with MIGRATE_DATABASE_URL")
	}
}

func TestTwoAddressesOfOneDatabase(t *testing.T) {
	t.Parallel()
	empty := storetest.Empty(t)
	moonlatch(t, []string{"MIGRATE_DATABASE_URL=" + empty}, "", "migrate").expect(t, exitConfig, "MIGRATE_DATABASE_URL: needs DATABASE_URL")
	different := []string{"DATABASE_URL=" + storetest.Serving(empty), "MIGRATE_DATABASE_URL=" + storetest.Owner(storetest.URL(t)), "ADDR=127.0.0.1:0"}
	for _, command := range [][]string{{"migrate"}, {"serve"}, {"audit", "verify"}} {
		moonlatch(t, different, "", command...).expect(t, exitFailed, "DATABASE_URL and MIGRATE_DATABASE_URL name different databases")
	}
	if o := moonlatch(t, []string{"DATABASE_URL=" + empty, "MIGRATE_DATABASE_URL=mysql://u:hunter2@h/d"}, "", "migrate").expect(t, exitConfig, "MIGRATE_DATABASE_URL: must be a postgres:// address"); strings.Contains(o.stderr, "hunter2") {
		t.Error(o.stderr)
	}
}

// TestEmbeddedPostgreSQLHasTwoAccounts also where an earlier version made the folder, with the superuser alone.
func TestEmbeddedPostgreSQLHasTwoAccounts(t *testing.T) {
	t.Parallel()
	env := onFolder(t)
	dir := filepath.Join(strings.TrimPrefix(env[0], "DATA_DIR="), "postgres")
	before, err := pgembed.Open(t.Context(), pgembed.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	moonlatch(t, []string{"DATABASE_URL=" + before.URL()}, "", "migrate").expect(t, exitDone, "up to date")
	if err := before.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := serve(t, env)
	superuser, err := pgembed.Attach(dir)
	if err != nil {
		t.Fatal(err)
	}
	var others int
	if err := storetest.Plain(t, superuser).QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
		AND usename <> 'moonlatch_server'`).Scan(&others); err != nil || others > 0 {
		t.Errorf("%d connections of the superuser, %v", others, err)
	}
	refusesDisabling(t, pgembed.ServingURL(superuser))
	createUser(t, env, "Acme", "ada@acme.test", "owner") // beside the server
	if s.wait(t) != exitDone || strings.Contains(s.stderr.String(), bypass) {
		t.Error(s.stderr.String())
	}
	createUser(t, env, "Acme", "ben@acme.test", "admin") // without it
}

// TestGuidesAccountsServe runs the guide's statements under names of the test's own.
func TestGuidesAccountsServe(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(text), "\n## Two database accounts\n")
	_, part, _ = strings.Cut(part, "```sql\n")
	block, _, found := strings.Cut(part, "```")
	if !found {
		t.Fatal("the guide has no statements")
	}
	name := "guide_" + strings.ToLower(rand.Text())
	at := storetest.URL(t)
	db := storetest.DB(t, at)
	t.Cleanup(func() {
		for _, statement := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "DROP ROLE IF EXISTS " + name + "_owner, " + name + "_server"} {
			if _, err := storetest.DB(t, at).Exec(statement); err != nil {
				t.Error(err)
			}
		}
	})
	for _, statement := range strings.Split(strings.TrimSpace(block), "\n") {
		if _, err := db.Exec(strings.ReplaceAll(statement, "moonlatch", name)); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	address := func(account, password string) string {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path = url.UserPassword(account, password), "/"+name
		return u.String()
	}
	server := "DATABASE_URL=" + address(name+"_server", "another password")
	moonlatch(t, []string{server, "MIGRATE_DATABASE_URL=" + address(name+"_owner", "one password")}, "", "migrate").expect(t, exitDone, "up to date")
	if log := serves(t, server); strings.Contains(log, bypass) {
		t.Error(log)
	}
	refusesDisabling(t, address(name+"_server", "another password"))
}
