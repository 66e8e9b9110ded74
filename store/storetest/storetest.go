// Package storetest hands each test a private, migrated database on a real PostgreSQL: the one at DATABASE_URL, or
// one that the test binary starts for itself. It also makes an organisation with a member in each role.
//
// Every database belongs to the account moonlatch_test_owner, which migrates it, and is served as moonlatch_test_server, with
// the privileges of production. The account of DATABASE_URL must be a superuser, since tests create databases and accounts
// and skip triggers, and the server must take passwords.
package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/pgembed"
	"github.com/moonlatch/moonlatch/migrations"
	"github.com/moonlatch/moonlatch/store"
)

var server struct {
	sync.Once
	url      string // as the superuser
	template string
	stop     func()
	err      error
}

// Main runs a package's tests (a *testing.M), and stops the database afterwards that they may have started.
func Main(m interface{ Run() int }) {
	code := m.Run()
	if server.stop != nil {
		server.stop()
	}
	os.Exit(code)
}

const (
	owner   = "moonlatch_test_owner"
	serving = "moonlatch_test_server"
)

// URL is the address of a new, migrated database that is the test's own, as the serving account.
func URL(t testing.TB) string {
	t.Helper()
	return as(serving, create(t, func() string { return server.template }))
}

// Empty is the address of a new database without a table, as the account that owns it.
func Empty(t testing.TB) string {
	t.Helper()
	return as(owner, create(t, func() string { return "template1" }))
}

// Encoded is the address of a new database without a table in another encoding than UTF-8, as the account that owns it.
func Encoded(t testing.TB, encoding string) string {
	t.Helper()
	return as(owner, create(t, func() string { return "template0 ENCODING '" + encoding + "' LC_COLLATE 'C' LC_CTYPE 'C'" }))
}

// Owner is the address of a test's database as the account that owns it, and may migrate it.
func Owner(databaseURL string) string { return as(owner, databaseURL) }

// Serving is the address of a test's database as the account that serves.
func Serving(databaseURL string) string { return as(serving, databaseURL) }

func create(t testing.TB, template func() string) string {
	t.Helper()
	server.Do(start)
	if server.err != nil {
		t.Fatal(server.err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	administer(t, "CREATE DATABASE "+name+" OWNER "+owner+" TEMPLATE "+template(),
		"REVOKE TEMPORARY ON DATABASE "+name+" FROM PUBLIC") // as migrating does: it is no part of the template
	t.Cleanup(func() { administer(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return database(server.url, name)
}

// New is a store over a new database that is the test's own.
func New(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, URL(t))
}

// Open is a store over the database of an address, closed when the test ends.
func Open(t testing.TB, databaseURL string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// DB is a plain connection to a test's database as a superuser, for what the store itself would refuse.
func DB(t testing.TB, databaseURL string) *sql.DB {
	t.Helper()
	return Plain(t, asSuperuser(databaseURL))
}

// Plain is a plain connection with the account of the address itself.
func Plain(t testing.TB, databaseURL string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Unaudited is a plain connection to a store's database that skips the triggers which ask for audit events, and foreign
// keys: for fixtures that no use case makes, and for tampering.
func Unaudited(t testing.TB, databaseURL string) *sql.DB {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("session_replication_role", "replica")
	u.RawQuery = q.Encode()
	return DB(t, u.String())
}

// as is an address with another account. Test binaries that share a server know its password, since it is drawn from the
// superuser's address.
func as(account, databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // it has been connected to
	}
	secret := sha256.Sum256([]byte(account + " " + server.url + " " + os.Getenv("PGPASSWORD")))
	u.User = url.UserPassword(account, hex.EncodeToString(secret[:]))
	return u.String()
}

// asSuperuser is the address of a test's database as the account that made it; any other address stays as it is.
func asSuperuser(databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil || u.User == nil || u.User.Username() != owner && u.User.Username() != serving {
		return databaseURL
	}
	super, err := url.Parse(server.url)
	if err != nil {
		panic(err) // it has been connected to
	}
	u.User = super.User
	return u.String()
}

func administer(t testing.TB, statements ...string) {
	t.Helper()
	if err := execute(server.url, statements...); err != nil {
		t.Fatalf("%s: %v", statements, err)
	}
}

func execute(databaseURL string, statements ...string) error {
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// start finds or starts the server, makes the accounts, and makes the template that databases are cloned from.
func start() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if server.url = os.Getenv("DATABASE_URL"); server.url == "" {
		if server.err = startOwn(ctx); server.err != nil {
			return
		}
	}
	for _, account := range []string{owner, serving} {
		if server.err = store.CreateAccount(ctx, as(account, server.url), server.url); server.err != nil {
			return
		}
	}
	server.err = makeTemplate(ctx)
}

func startOwn(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "moonlatch-test-")
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // PostgreSQL may have to run as another user
		return err
	}
	pg, err := pgembed.Open(ctx, pgembed.Options{Dir: dir, BinDir: os.Getenv(pgembed.BinDirVariable), Scratch: true})
	if err != nil {
		return err
	}
	server.url = pg.URL()
	server.stop = func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = pg.Stop(ctx)
		_ = os.RemoveAll(dir)
	}
	return nil
}

// makeTemplate builds the template under another name and renames it when it is whole: another test binary that
// was faster makes this one's superfluous. The template is named for the migrations and the privileges, so that test binaries
// which share a server share it.
func makeTemplate(ctx context.Context) error {
	building := "building_" + strings.ToLower(rand.Text())
	if err := execute(server.url, "CREATE DATABASE "+building+" OWNER "+owner); err != nil {
		return err
	}
	address := database(server.url, building)
	if _, err := store.Migrate(ctx, as(serving, address), as(owner, address)); err != nil {
		return err
	}
	print, err := fingerprint(ctx, address)
	if err != nil {
		return err
	}
	server.template = "template_" + print
	err = execute(server.url, "ALTER DATABASE "+building+" RENAME TO "+server.template)
	if pq.As(err, "42P04", "23505") != nil { // it exists, or comes to exist at this moment
		return execute(server.url, "DROP DATABASE "+building)
	}
	return err
}

func fingerprint(ctx context.Context, databaseURL string) (string, error) {
	db, err := sql.Open("postgres", databaseURL)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	var privileges string
	if err := db.QueryRowContext(ctx, `SELECT string_agg(relname || ' ' || relacl::text, ',' ORDER BY relname) FROM pg_class WHERE relacl IS NOT NULL`).Scan(&privileges); err != nil {
		return "", err
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(privileges))
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		return "", err
	}
	for _, file := range files {
		text, err := fs.ReadFile(migrations.Files, file)
		if err != nil {
			return "", err
		}
		_, _ = h.Write(text)
	}
	return fmt.Sprintf("%x", h.Sum64()), nil
}

func database(databaseURL, name string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // it has just been connected to
	}
	u.Path = "/" + name
	return u.String()
}

// Password is every test member's password.
const Password = "correct horse battery"

// passwordHash is Password at a cost that no real account would have, so that tests are quick.
const passwordHash = "$argon2id$v=19$m=64,t=1,p=1$EXjL5LaTyDEI2h/APQ6ZTQ$wno5CapIPXBkUL0RDHoybGSz8JkFTvzFjRRSrIHUNZk"

// Org is an organisation with a member in each role. Their addresses are <role>@<organisation's name>.test.
type Org struct {
	ID, Name                      string
	Owner, Admin, Support, Member account.Actor
}

// Organisation makes one, with a random name.
func Organisation(t testing.TB, s *store.Store) Org {
	t.Helper()
	org := Org{ID: uuid.NewString(), Name: "org-" + strings.ToLower(rand.Text()[:8])}
	operator := account.Actor{OrgID: org.ID, Email: "operator", Role: account.Operator}
	err := s.Mutate(t.Context(), operator, account.SetUp, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.InsertOrganisation(org.Name, audit.Genesis); err != nil {
			return nil, err
		}
		happened := []audit.Change{{Subject: audit.Subject{Kind: "organisation", ID: org.ID, Name: org.Name}, After: audit.Facts{"name": org.Name}}}
		for role, actor := range map[account.Role]*account.Actor{account.Owner: &org.Owner, account.Admin: &org.Admin,
			account.Support: &org.Support, account.Member: &org.Member} {
			p, err := tx.InsertMember(account.Person{Email: string(role) + "@" + org.Name + ".test", Name: role.Label(), Role: role}, passwordHash)
			if err != nil {
				return nil, err
			}
			*actor = account.Actor{OrgID: org.ID, MemberID: p.ID, Email: p.Email, Name: p.Name, Role: role, Address: "192.0.2.1", UserAgent: "test"}
			happened = append(happened, audit.Change{Action: account.CreateMember, Subject: audit.Subject{Kind: "member", ID: p.ID, Name: p.Email},
				After: audit.Facts{"email": p.Email, "name": p.Name, "role": p.Role, "status": p.Status}})
		}
		return happened, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return org
}
