package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

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

// Probe returns nil when a database answers at the address, within the store's time limit. The error is ErrUnavailable
// when waiting may help, else a sentence that names the fix.
func Probe(ctx context.Context, databaseURL string) error {
	db, err := connect(databaseURL, patience, 1)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	err = db.PingContext(ctx)
	if dsn, parseErr := dataSource(databaseURL, 0); parseErr == nil && hostsOf(dsn) > 1 && unreachable(err) {
		return tidy(err) // one of the other hosts may come up
	}
	return tidy(explain(err))
}

// setUpFault is an error of the configuration that waiting does not mend.
type setUpFault struct {
	sentence string
	cause    error
}

func (e *setUpFault) Error() string {
	return e.sentence + " (" + strings.TrimPrefix(e.cause.Error(), "pq: ") + ")"
}

// explain puts a sentence with the fix before an error of connecting or migrating that the configuration causes. The
// error never repeats a password.
func explain(err error) error {
	sentence := ""
	var answer *pq.Error
	var host *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, pq.ErrSSLNotSupported):
		sentence = "the database does not offer TLS: add ?sslmode=disable to DATABASE_URL if the network between is private, or turn TLS on in PostgreSQL"
	case errors.As(err, &certificate):
		sentence = "the database's TLS certificate is not trusted: add sslrootcert=FILE with its authority to DATABASE_URL, and use the host name of the certificate"
	case errors.As(err, &host) && host.IsNotFound:
		sentence = fmt.Sprintf("there is no host %q: correct the host in DATABASE_URL", host.Name)
	case errors.As(err, &answer):
		switch answer.Code {
		case "28P01":
			sentence = "the database refuses the password: correct the user and the password in DATABASE_URL, or PGPASSWORD"
		case "28000":
			sentence = "the database refuses this account: correct the user in DATABASE_URL, or allow it in PostgreSQL's pg_hba.conf"
		case "3D000":
			sentence = "there is no such database: create it with createdb, or correct its name in DATABASE_URL"
		case "42501":
			sentence = "the account in DATABASE_URL lacks a permission: make it the owner of the database"
		}
	}
	if sentence == "" {
		return err
	}
	return &setUpFault{sentence, err}
}
