package store_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// answerEach answers the first message of each connection, and closes it.
func answerEach(t *testing.T, listener net.Listener, answer []byte) {
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write(answer)
			_ = conn.Close()
		}
	}()
}

// postgresThatSays listens as a PostgreSQL does, and gives each connection the same answer.
func postgresThatSays(t *testing.T, answer []byte) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answerEach(t, listener, answer)
	return listener.Addr().String()
}

func refusal(code, message string) []byte {
	fields := fmt.Sprintf("SFATAL\x00C%s\x00M%s\x00\x00", code, message)
	return append(binary.BigEndian.AppendUint32([]byte("E"), uint32(4+len(fields))), fields...)
}

func TestAFaultOfTheConfigurationNamesItsFix(t *testing.T) {
	for says, c := range map[string]struct {
		answer []byte
		query  string
	}{
		"?sslmode=disable": {[]byte("N"), ""},
		"password":         {refusal("28P01", "password authentication failed"), "?sslmode=disable"},
		"pg_hba.conf":      {refusal("28000", "no entry"), "?sslmode=disable"},
		"no such database": {refusal("3D000", "database x does not exist"), "?sslmode=disable"},
		"grant it CONNECT": {refusal("42501", "permission denied"), "?sslmode=disable"},
	} {
		err := store.Probe(t.Context(), "postgres://u:hunter2@"+postgresThatSays(t, c.answer)+"/x"+c.query)
		if err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", says, err)
		}
	}
	starting := postgresThatSays(t, refusal("57P03", "the database system is starting up"))
	if err := store.Probe(t.Context(), "postgres://u@"+starting+"/x?sslmode=disable"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("one that starts: %v", err)
	}
}

func TestATLSFileThatCannotBeUsedIsNamed(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("no PEM"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for what, query := range map[string]string{
		"a missing authority":  "sslmode=verify-full&sslrootcert=" + filepath.Join(dir, "missing"),
		"an empty authority":   "sslmode=verify-ca&sslrootcert=" + file("root.crt", 0o600),
		"a missing key":        "sslmode=require&sslcert=" + file("client.crt", 0o600) + "&sslkey=" + filepath.Join(dir, "missing"),
		"a key that all read":  "sslmode=require&sslcert=" + file("client.crt", 0o600) + "&sslkey=" + file("open.key", 0o644),
		"a certificate no PEM": "sslmode=require&sslcert=" + file("client.crt", 0o600) + "&sslkey=" + file("client.key", 0o600),
	} {
		err := store.Probe(t.Context(), "postgres://u:hunter2@"+postgresThatSays(t, []byte("S"))+"/x?"+query)
		if err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "correct its sslrootcert") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestARealDatabaseThatIsMissingIsNamed(t *testing.T) {
	u, err := url.Parse(storetest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/there_is_none"
	if err := store.Probe(t.Context(), u.String()); err == nil || !strings.Contains(err.Error(), "no such database") || !strings.Contains(err.Error(), "there_is_none") {
		t.Error(err)
	}
}

func TestADatabaseThatMoonlatchCannotUseIsNamed(t *testing.T) {
	for says, databaseURL := range map[string]string{
		"its encoding is LATIN1":    storetest.Encoded(t, "LATIN1"),
		"its encoding is SQL_ASCII": storetest.Encoded(t, "SQL_ASCII"),
		"target_session_attrs":      withParameter(t, storetest.Empty(t), "target_session_attrs", "standby"),
	} {
		if err := store.Probe(t.Context(), databaseURL); err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	taken := storetest.Empty(t)
	if _, err := storetest.Plain(t, taken).Exec("CREATE TABLE members (id int)"); err != nil {
		t.Fatal(err)
	}
	for says, databaseURL := range map[string]string{
		"tables of another program": taken,
		"search_path":               withParameter(t, storetest.Empty(t), "search_path", "nowhere"),
	} {
		if _, err := store.Migrate(t.Context(), databaseURL, ""); err == nil || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	readOnly := withParameter(t, storetest.URL(t), "default_transaction_read_only", "on")
	if _, err := store.Open(t.Context(), readOnly); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "it is read-only") {
		t.Errorf("a read-only database: %v", err) // a standby may be promoted yet
	}
}

func withParameter(t *testing.T, databaseURL, name, value string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

func TestAnUnknownHostIsNoReasonToWait(t *testing.T) {
	unknown := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "db.invalid", IsNotFound: true}}
	if err := store.Explain(unknown); errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), `no host "db.invalid"`) {
		t.Error(err)
	}
	later := &net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "db.invalid", IsTemporary: true}}
	if err := store.Explain(later); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a resolver that fails: %v", err)
	}
}

// TestAProbeLeavesNoTransactionOpen looks at the pool that goes on being used: the migration runs on it.
func TestAProbeLeavesNoTransactionOpen(t *testing.T) {
	if left, err := store.TransactionsLeftByProbe(t.Context(), storetest.Empty(t)); err != nil || left != 0 {
		t.Errorf("%d sessions wait in a transaction, %v", left, err)
	}
}
