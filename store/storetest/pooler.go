package storetest

import (
	"bytes"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Pooler starts a PgBouncer before a database, with its defaults but for pool_mode and the settings given, and returns the
// address to use instead. The test is skipped where PgBouncer is not installed.
func Pooler(t testing.TB, databaseURL, mode string, settings ...string) string {
	t.Helper()
	program := lookUp("pgbouncer", "/usr/sbin/pgbouncer")
	if program == "" {
		t.Skip("pgbouncer is not installed; make test-gateways installs it")
	}
	_, direct := Lay(t, databaseURL) // by TCP, since not every account may enter the database's folder
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "moonlatch-pooler-") // which another account may enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	password, _ := u.User.Password()
	users := file("users.txt", fmt.Sprintf("\"%s\" \"%s\"\n", u.User.Username(), strings.ReplaceAll(password, `"`, `""`)))
	port := freePort(t)
	own := []string{"listen_addr = 127.0.0.1", "listen_port = " + port, "unix_socket_dir =", "auth_type = plain", "auth_file = " + users, "pool_mode = " + mode}
	configuration := file("pgbouncer.ini", fmt.Sprintf("[databases]\n%s = host=%s port=%s\n[pgbouncer]\n%s\n",
		strings.TrimPrefix(u.Path, "/"), u.Hostname(), u.Port(), strings.Join(append(own, settings...), "\n")))
	var arguments []string
	if os.Geteuid() == 0 { // it refuses to run as root
		arguments = []string{"-u", "nobody"}
	}
	var said bytes.Buffer
	command := exec.Command(program, append(arguments, configuration)...)
	command.Stdout, command.Stderr = &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	t.Cleanup(func() { _ = command.Process.Kill(); <-ended })
	address := "127.0.0.1:" + port
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-ended:
			t.Fatalf("pgbouncer ended: %s", said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("pgbouncer does not listen")
		}
	}
	u.Host = address
	q := u.Query()
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return u.String()
}

// lookUp returns the first of some programs that is there, or "".
func lookUp(names ...string) string {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
