package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// CheckURL says what is wrong with a database's address, without connecting; the error never repeats its password.
func CheckURL(databaseURL string) error {
	db, err := connect(databaseURL, patience, 1)
	if err != nil {
		return err
	}
	return db.Close()
}

// Probe returns nil when a database answers at the address, within the store's time limit, and keeps sessions. The error is
// ErrUnavailable when waiting may help, else a sentence that names the fix.
func Probe(ctx context.Context, databaseURL string) error {
	db, err := connect(databaseURL, patience, 1+sessionRounds)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if err = keepsSessions(ctx, db); err == nil {
		err = holdsUnicode(ctx, db)
	}
	if dsn, _, parseErr := dataSource(databaseURL, 0); parseErr == nil && hostsOf(dsn) > 1 && unreachable(err) {
		return tidy(err) // one of the other hosts may come up
	}
	return tidy(explain(err, "DATABASE_URL"))
}

// holdsUnicode returns an error unless the database's encoding is UTF-8: it would refuse a name in another one, or cut it in the
// middle of a character.
func holdsUnicode(ctx context.Context, db *sqlx.DB) error {
	var encoding string
	if err := db.GetContext(ctx, &encoding, "SHOW server_encoding"); err != nil || encoding == "UTF8" {
		return err
	}
	return &setUpFault{"the database in DATABASE_URL does not hold Unicode: make one with ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0, and move what is in this one",
		fmt.Errorf("its encoding is %s", encoding)}
}

// sessionRounds is how many connections keepsSessions compares with its first.
const sessionRounds = 3

// errSharedSessions says that a pooler gives one connection of PostgreSQL to several clients by turns.
var errSharedSessions = errors.New("two connections share one session")

// keepsSessions returns errSharedSessions unless each connection has a session of its own, as it must for prepared
// statements, settings and LISTEN. It marks one session, and looks for the mark on other connections and again on the first.
// Each of the others then holds the session that it got in a transaction, so that a pooler can't give the first one its old
// session by chance every time.
func keepsSessions(ctx context.Context, db *sqlx.DB) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerWithin)
	defer cancel()
	first, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = first.Close() }()
	mark := rand.Text()
	if _, err := first.ExecContext(ctx, "SELECT set_config('moonlatch.session', '"+mark+"', false)"); err != nil {
		return err
	}
	marked := func(conn *sql.Conn) (found bool, err error) {
		err = conn.QueryRowContext(ctx, "SELECT coalesce(current_setting('moonlatch.session', true), '') = '"+mark+"'").Scan(&found)
		return found, err
	}
	compare := func(other *sql.Conn) error {
		if taken, err := marked(other); err != nil || taken {
			return cmp.Or(err, errSharedSessions)
		}
		if kept, err := marked(first); err != nil || !kept {
			return cmp.Or(err, errSharedSessions)
		}
		return nil
	}
	var refused error
	refusals := 0
	for range sessionRounds {
		other, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = other.Close() }()
		if err := compare(other); err != nil {
			return err
		}
		if _, err := other.ExecContext(ctx, "BEGIN"); errors.Is(err, driver.ErrBadConn) {
			refused = err
			if refusals++; refusals == sessionRounds {
				return errSharedSessions // PgBouncer in statement mode ends a connection that begins a transaction
			}
			continue
		} else if err != nil {
			return err
		}
		defer func() { _, _ = other.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") }() // the pool goes on being used
		if err := compare(other); err != nil {
			return err
		}
	}
	return refused
}

// setUpFault is an error of the configuration that waiting does not mend.
type setUpFault struct {
	sentence string
	cause    error
}

func (e *setUpFault) Error() string {
	return e.sentence + " (" + strings.TrimPrefix(e.cause.Error(), "pq: ") + ")"
}

// explainPooler returns the sentence for what PgBouncer refuses, or "". It has one code for nearly everything.
func explainPooler(message string) string {
	for beginning, sentence := range map[string]string{
		"unsupported startup parameter":  "the pooler in DATABASE_URL refuses a parameter: take it out of DATABASE_URL, or add it to the pooler's ignore_startup_parameters",
		"no such database":               noDatabase,
		"no such user":                   refusesPassword,
		"password authentication failed": refusesPassword,
		"SASL authentication failed":     refusesPassword,
	} {
		if strings.HasPrefix(message, beginning) {
			return sentence
		}
	}
	return ""
}

const (
	refusesPassword = "the database refuses the password: correct the user and the password in DATABASE_URL, or PGPASSWORD"
	noDatabase      = "there is no such database: create it with createdb, or correct its name in DATABASE_URL"
)

// unusableTLSFile reports whether a connection was not tried because a certificate or key of its address is missing, unreadable or
// no PEM. lib/pq and crypto/tls have no type for the last.
func unusableTLSFile(err error) bool {
	var file *fs.PathError
	if errors.As(err, &file) || errors.Is(err, pq.ErrSSLKeyHasWorldPermissions) || errors.Is(err, pq.ErrSSLKeyUnknownOwnership) {
		return true
	}
	return err != nil && (strings.HasSuffix(err.Error(), "couldn't parse pem from sslrootcert") ||
		strings.HasPrefix(err.Error(), "tls: failed to find ") || strings.HasPrefix(err.Error(), "tls: private key "))
}

// explain puts a sentence with the fix before an error of connecting or migrating that the configuration causes, and names
// the variable that holds the address. The error never repeats a password.
func explain(err error, variable string) error {
	sentence := ""
	var answer *pq.Error
	var host *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errSharedSessions):
		sentence = "the pooler in DATABASE_URL gives one connection to several clients by turns: set its pool_mode to session, or name PostgreSQL itself in DATABASE_URL"
	case errors.Is(err, pq.ErrSSLNotSupported):
		sentence = "the database does not offer TLS: add ?sslmode=disable to DATABASE_URL if the network between is private, or turn TLS on in PostgreSQL"
	case errors.As(err, &certificate):
		sentence = "the database's TLS certificate is not trusted: add sslrootcert=FILE with its authority to DATABASE_URL, and use the host name of the certificate"
	case unusableTLSFile(err):
		sentence = "a TLS file that DATABASE_URL names can't be used: correct its sslrootcert, sslcert or sslkey, or the file's mode"
	case err != nil && (strings.HasSuffix(err.Error(), "session is not read-only") || strings.HasSuffix(err.Error(), "server is not in hot standby mode")):
		sentence = "Moonlatch writes, and target_session_attrs in DATABASE_URL asks for a server that can't be written to: make it read-write"
	case errors.As(err, &host) && host.IsNotFound:
		sentence = fmt.Sprintf("there is no host %q: correct the host in DATABASE_URL", host.Name)
	case errors.As(err, &answer):
		switch answer.Code {
		case "08P01":
			sentence = explainPooler(answer.Message)
		case "28P01":
			sentence = refusesPassword
		case "28000":
			sentence = "the database refuses this account: correct the user in DATABASE_URL, or allow it in PostgreSQL's pg_hba.conf"
		case "3D000":
			sentence = noDatabase
		case "3F000":
			sentence = "there is no schema to work in: create the one that search_path in DATABASE_URL names, or correct it"
		case "42P07":
			sentence = "the database in DATABASE_URL holds tables of another program: give Moonlatch a database, or a schema, of its own"
		case "42501":
			sentence = "the account in DATABASE_URL lacks a permission: make it the owner of the database"
			if answer.Fatal() { // it was refused the connection, which needs less
				sentence = "the account in DATABASE_URL may not connect to the database: grant it CONNECT, or run moonlatch migrate, which does"
			}
		}
	}
	if sentence == "" {
		return err
	}
	return &setUpFault{strings.ReplaceAll(sentence, "DATABASE_URL", variable), err}
}
