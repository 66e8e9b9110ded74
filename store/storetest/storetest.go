// Package storetest hands each test a private, migrated database on a real PostgreSQL: the one at DATABASE_URL, or
// one that the test binary starts for itself. It also makes an organisation with a member in each role.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
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
	url      string
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

// URL is the address of a new, migrated database that is the test's own.
func URL(t testing.TB) string {
	t.Helper()
	return create(t, func() string { return server.template })
}

// Empty is the address of a new database without a table.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, func() string { return "template1" })
}

func create(t testing.TB, template func() string) string {
	t.Helper()
	server.Do(start)
	if server.err != nil {
		t.Fatal(server.err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	administer(t, "CREATE DATABASE "+name+" TEMPLATE "+template())
	t.Cleanup(func() { administer(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return database(server.url, name)
}

// New is a store over a new database that is the test's own.
func New(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), URL(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// DB is a plain connection to a store's database, for what the store itself would refuse.
func DB(t testing.TB, databaseURL string) *sql.DB {
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

func administer(t testing.TB, statement string) {
	t.Helper()
	if err := execute(server.url, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
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

// start finds or starts the server and makes the template that databases are cloned from. The template is named for
// the migrations, so that test binaries which share a server share it.
func start() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if server.url = os.Getenv("DATABASE_URL"); server.url == "" {
		if server.err = startOwn(ctx); server.err != nil {
			return
		}
	}
	server.template = "template_" + fingerprint()
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
// was faster makes this one's superfluous.
func makeTemplate(ctx context.Context) error {
	building := "building_" + strings.ToLower(rand.Text())
	if err := execute(server.url, "CREATE DATABASE "+building); err != nil {
		return err
	}
	if _, err := store.Migrate(ctx, database(server.url, building)); err != nil {
		return err
	}
	err := execute(server.url, "ALTER DATABASE "+building+" RENAME TO "+server.template)
	if pq.As(err, "42P04", "23505") != nil { // it exists, or comes to exist at this moment
		return execute(server.url, "DROP DATABASE "+building)
	}
	return err
}

func fingerprint() string {
	h := fnv.New64a()
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		panic(err) // the pattern is sound
	}
	for _, file := range files {
		text, err := fs.ReadFile(migrations.Files, file)
		if err != nil {
			panic(err) // the files are part of the program
		}
		_, _ = h.Write(text)
	}
	return fmt.Sprintf("%x", h.Sum64())
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
