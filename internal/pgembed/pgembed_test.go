package pgembed

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/lib/pq"
)

// A test that kills a Moonlatch runs this test binary as one: it serves on the folder in serveVariable until it dies.
const serveVariable = "PGEMBED_TEST_SERVE"

func TestMain(m *testing.M) {
	dir := os.Getenv(serveVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Open(context.Background(), Options{Dir: dir, Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready", s.pid)
	<-s.Done()
}

func start(t *testing.T, dir string, options ...func(*Options)) *Server {
	t.Helper()
	o := Options{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, set := range options {
		set(&o)
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-s.Done():
		default:
			stop(t, s)
		}
	})
	return s
}

func scratch(o *Options) { o.Scratch = true }

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func connect(t *testing.T, url string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func do(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	if _, err := db.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func ask(t *testing.T, db *sql.DB, query string) (answer string) {
	t.Helper()
	if err := db.QueryRow(query).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// kept is a folder whose server was stopped after it was given a row.
func kept(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := start(t, dir)
	db := connect(t, s.URL())
	do(t, db, "CREATE TABLE kept AS SELECT 'still here' AS what")
	db.Close()
	stop(t, s)
	return dir
}

func mustHaveKept(t *testing.T, s *Server) {
	t.Helper()
	if got := ask(t, connect(t, s.URL()), "SELECT what FROM kept"); got != "still here" {
		t.Errorf("the row reads %q", got)
	}
}

func alive(pid int) bool {
	line, known := commandLine(pid)
	return !known || line != ""
}

func eventually(t *testing.T, what string, within time.Duration, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// serveElsewhere runs a server from another process and returns that process and PostgreSQL's number.
func serveElsewhere(t *testing.T, dir string) (*exec.Cmd, int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line := make([]byte, 4096)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "ready ")))
	if err != nil {
		t.Fatalf("the other process said %s", line[:n])
	}
	return cmd, pid
}

func TestNewFolderBecomesADatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a path with 'quotes', a comma\" and größe", "db")
	s := start(t, dir)
	db := connect(t, s.URL())
	for query, want := range map[string]string{
		"SHOW server_encoding":    "UTF8",
		"SHOW timezone":           "UTC",
		"SHOW data_checksums":     "on",
		"SHOW fsync":              "on",
		"SHOW synchronous_commit": "on",
		"SELECT upper('größe')":   "GRÖßE", // letter by letter, as C.UTF-8 does
		"SELECT string_agg(c, '' ORDER BY c) FROM (VALUES ('b'), ('B'), ('a'), ('Ä')) v(c)": "BabÄ",
	} {
		if got := ask(t, db, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	do(t, db, "CREATE EXTENSION pg_trgm")
	if got := ask(t, db, "SELECT similarity('moonlatch', 'moonlach') > 0.5"); got != "true" {
		t.Error("pg_trgm does not compare")
	}
	info, err := os.Stat(filepath.Join(dir, "password"))
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the password's mode is %v", info.Mode())
	}
}

func TestStopKeepsWhatWasWritten(t *testing.T) {
	mustHaveKept(t, start(t, kept(t)))
}

func TestConnectionNeedsThePassword(t *testing.T) {
	for name, dir := range map[string]string{"socket": t.TempDir(), "loopback": tooLongForASocket(t)} {
		t.Run(name, func(t *testing.T) {
			s := start(t, dir, scratch)
			u, err := url.Parse(s.URL())
			if err != nil {
				t.Fatal(err)
			}
			u.User = url.UserPassword(u.User.Username(), "guess")
			if err := connect(t, u.String()).Ping(); err == nil || !strings.Contains(err.Error(), "password authentication failed") {
				t.Errorf("with a wrong password: %v", err)
			}
		})
	}
}

func tooLongForASocket(t *testing.T) string {
	return filepath.Join(t.TempDir(), strings.Repeat("long/", 25))
}

func TestPathTooLongForASocketUsesLoopback(t *testing.T) {
	s := start(t, tooLongForASocket(t), scratch)
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if u.Hostname() != "127.0.0.1" {
		t.Errorf("listens at %q", u.Host)
	}
	if got := ask(t, connect(t, s.URL()), "SHOW listen_addresses"); got != "127.0.0.1" {
		t.Errorf("listens at %q", got)
	}
}

func TestSocketIsNotReachedFromTheNetwork(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no sockets here")
	}
	s := start(t, t.TempDir(), scratch)
	if got := ask(t, connect(t, s.URL()), "SHOW listen_addresses"); got != "" {
		t.Errorf("listens at %q", got)
	}
}

func TestSecondStartSaysThatTheFolderIsInUse(t *testing.T) {
	set(t, &lockPatience, 200*time.Millisecond)
	dir := t.TempDir()
	s := start(t, dir, scratch)
	_, err := Open(t.Context(), Options{Dir: dir, Scratch: true})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("the second start says: %v", err)
	}
	if err := connect(t, s.URL()).Ping(); err != nil {
		t.Errorf("the second start hurt the first: %v", err)
	}
}

func TestSecondStartWaitsForTheFirstToGo(t *testing.T) {
	dir := kept(t)
	first := start(t, dir)
	time.AfterFunc(300*time.Millisecond, func() { stop(t, first) })
	mustHaveKept(t, start(t, dir))
}

func TestOfManyStartsAtOnceOneSucceeds(t *testing.T) {
	set(t, &lockPatience, 300*time.Millisecond)
	dir := t.TempDir()
	var mu sync.Mutex
	var won []*Server
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{Dir: dir, Scratch: true})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, s)
			} else if !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range won {
		stop(t, s)
	}
	if len(won) != 1 {
		t.Errorf("%d servers ran on one folder", len(won))
	}
}

func TestAttachFindsTheServerOfAnotherProcess(t *testing.T) {
	for name, dir := range map[string]string{"socket": t.TempDir(), "loopback": tooLongForASocket(t)} {
		t.Run(name, func(t *testing.T) {
			if _, err := Attach(dir); !errors.Is(err, ErrNotRunning) {
				t.Errorf("before: %v", err)
			}
			s := start(t, dir, scratch)
			address, err := Attach(dir)
			if err != nil {
				t.Fatal(err)
			}
			if address != s.URL() {
				t.Errorf("attached to %q, which is not the server's own %q", address, s.URL())
			}
			stop(t, s)
			if _, err := Attach(dir); !errors.Is(err, ErrNotRunning) {
				t.Errorf("after: %v", err)
			}
		})
	}
}

func TestKilledServerRecovers(t *testing.T) {
	dir := kept(t)
	other, pid := serveElsewhere(t, dir)
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other.Wait()
	began := time.Now()
	mustHaveKept(t, start(t, dir))
	t.Logf("ready %v after the kill", time.Since(began))
	if alive(pid) {
		t.Errorf("PostgreSQL %d of the killed process still runs", pid)
	}
}

func TestServerDoesNotOutliveAKilledProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells a child that its parent died; elsewhere the next start ends it")
	}
	other, pid := serveElsewhere(t, t.TempDir())
	if !alive(pid) {
		t.Fatal("PostgreSQL does not run")
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other.Wait()
	eventually(t, "PostgreSQL ends with the process that started it", 10*time.Second, func() bool { return !alive(pid) })
}

func TestKilledPostgresRecovers(t *testing.T) {
	dir := kept(t)
	s := start(t, dir)
	kill(s.pid)
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("Done does not tell that PostgreSQL has ended")
	}
	if err := s.Stop(t.Context()); err == nil {
		t.Error("Stop does not tell that PostgreSQL had ended by itself")
	}
	mustHaveKept(t, start(t, dir))
}

// An orphan is what a killed Moonlatch leaves where the system does not end its children with it.
func orphan(t *testing.T, dir string) *process {
	t.Helper()
	c := cluster{Options: Options{Dir: dir, Log: slog.New(slog.DiscardHandler)}, data: filepath.Join(dir, "cluster"), run: filepath.Join(dir, "run")}
	made, err := c.madeBy()
	if err != nil {
		t.Fatal(err)
	}
	if c.bin, err = choose("", made, dir); err != nil {
		t.Fatal(err)
	}
	if c.as, err = accountFor(c.data); err != nil {
		t.Fatal(err)
	}
	if c.privilege, err = privilegeFor(c.as, c.bin, dir); err != nil {
		t.Fatal(err)
	}
	s, err := c.start(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proc.kill)
	return s.proc
}

func TestOrphanedServerIsStoppedFirst(t *testing.T) {
	dir := kept(t)
	left := orphan(t, dir)
	mustHaveKept(t, start(t, dir))
	if alive(left.pid()) {
		t.Errorf("the orphan %d still runs", left.pid())
	}
}

func TestOrphanThatDoesNotListenIsKilled(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no process is stopped there but by killing it")
	}
	set(t, &orphanPatience, time.Second)
	dir := kept(t)
	left := orphan(t, dir)
	if err := exec.Command("kill", "-STOP", strconv.Itoa(left.pid())).Run(); err != nil {
		t.Fatal(err)
	}
	mustHaveKept(t, start(t, dir))
	if alive(left.pid()) {
		t.Errorf("the orphan %d still runs", left.pid())
	}
}

func TestStalePidOfAnotherProcessDoesNotBlockTheStart(t *testing.T) {
	dir := kept(t)
	innocent := exec.Command("sleep", "60")
	if err := innocent.Start(); err != nil {
		t.Skip("no sleep here: ", err)
	}
	t.Cleanup(func() { innocent.Process.Kill(); innocent.Wait() })
	data := filepath.Join(dir, "cluster")
	text := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n  1234 5678\nready\n", innocent.Process.Pid, data, filepath.Join(dir, "run"))
	for _, path := range []string{filepath.Join(data, "postmaster.pid"), filepath.Join(dir, "run", ".s.PGSQL.5432.lock")} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mustHaveKept(t, start(t, dir))
	if !alive(innocent.Process.Pid) {
		t.Error("a process that has nothing to do with PostgreSQL was ended")
	}
}

func TestHalfMadeDatabaseIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	half := filepath.Join(dir, halfMade+"123")
	if err := os.MkdirAll(filepath.Join(half, "base", "1"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start(t, dir, scratch)
	if err := connect(t, s.URL()).Ping(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the half-made database is still there: %v", err)
	}
}

func TestStartSurvivesAKillDuringInitdb(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serveVariable+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "initdb begins", 10*time.Second, func() bool {
		begun, _ := filepath.Glob(filepath.Join(dir, halfMade+"*", "global"))
		return len(begun) > 0
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	s := start(t, dir, scratch)
	if err := connect(t, s.URL()).Ping(); err != nil {
		t.Error(err)
	}
}

func TestFolderOfAnotherMajorVersionNamesBoth(t *testing.T) {
	dir := kept(t)
	version := filepath.Join(dir, "cluster", "PG_VERSION")
	if err := os.WriteFile(version, []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Dir: dir})
	here, found := choose("", 0, dir)
	if found != nil {
		t.Fatal(found)
	}
	if !errors.Is(err, ErrOtherVersion) || !strings.Contains(err.Error(), "needs PostgreSQL 9") ||
		!strings.Contains(err.Error(), fmt.Sprintf("has %d (", here.major)) {
		t.Errorf("the error reads: %v", err)
	}
}

func TestLostPasswordIsNamed(t *testing.T) {
	dir := kept(t)
	password := filepath.Join(dir, "password")
	if err := os.Remove(password); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), password) {
		t.Errorf("the error reads: %v", err)
	}
}

func TestLogHoldsNoStatementAndNoValue(t *testing.T) {
	var log bytes.Buffer
	s := start(t, t.TempDir(), scratch, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	db := connect(t, s.URL())
	do(t, db, "CREATE TABLE secrets (what text UNIQUE)")
	do(t, db, "INSERT INTO secrets VALUES ('plain-text')")
	if _, err := db.Exec("INSERT INTO secrets VALUES ($1)", "plain-text"); err == nil {
		t.Fatal("the same value went in twice")
	}
	db.Close()
	stop(t, s) // the log is written when the process has ended
	if !strings.Contains(log.String(), "duplicate key value violates unique constraint") {
		t.Errorf("the log lacks the error: %s", &log)
	}
	if strings.Contains(log.String(), "plain-text") {
		t.Errorf("the log holds the value: %s", &log)
	}
}

func TestRefusedStartSaysWhatPostgresSaid(t *testing.T) {
	dir := kept(t)
	conf := filepath.Join(dir, "cluster", "postgresql.conf")
	f, err := os.OpenFile(conf, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, "\nno_such_setting = 1\n")
	f.Close()
	_, err = Open(t.Context(), Options{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("the error reads: %v", err)
	}
}

func set[T any](t *testing.T, variable *T, value T) {
	old := *variable
	*variable = value
	t.Cleanup(func() { *variable = old })
}
