package pgembed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// cluster is a data directory and what it is run with.
type cluster struct {
	Options
	data, run string
	bin       binaries
	as        *account // nil when PostgreSQL runs as we do
	privilege privilege
}

const halfMade = "cluster.new-" // initdb works beside the final place, so that what has the final name is whole

// madeBy is the major version that made the data directory, 0 when there is none yet.
func (c *cluster) madeBy() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(c.data); err == nil {
			return 0, fmt.Errorf("%s is there, but is no PostgreSQL data directory: move it away", c.data)
		}
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the database folder: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", filepath.Join(c.data, "PG_VERSION"), err)
	}
	return major, nil
}

// own hands what PostgreSQL reads and writes to the account that it runs as. The folder itself stays root's, so that
// the account cannot put something else in the place of what root opens in it.
func (c *cluster) own() error {
	if err := os.MkdirAll(c.run, 0o700); err != nil {
		return err
	}
	if c.as == nil {
		return nil
	}
	for _, path := range []string{c.run, c.data, filepath.Join(c.Dir, "password"), filepath.Join(c.Dir, "lock")} {
		if err := c.as.own(path); err != nil {
			return err
		}
	}
	return nil
}

// password is the superuser's: a new one as long as there is no data that another was set in.
func (c *cluster) password(made bool) (string, error) {
	path := filepath.Join(c.Dir, "password")
	if made {
		text, err := os.ReadFile(path)
		if err != nil || len(text) == 0 {
			return "", fmt.Errorf("the embedded PostgreSQL's password is lost: put %s back, or move %s away to start with an empty database", path, c.Dir)
		}
		return string(text), nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	password := rand.Text() // 130 bits
	_, err = f.WriteString(password)
	if err = errors.Join(err, f.Close()); err == nil && c.as != nil {
		err = c.as.own(path) // initdb reads it
	}
	return password, err
}

// sweep removes what an initdb left that did not come to its end.
func (c *cluster) sweep() {
	entries, err := os.ReadDir(c.Dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), halfMade) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.Dir, e.Name())))
		}
	}
	if err != nil {
		c.Log.Warn("a half-made database folder stays behind", "dir", c.Dir, "err", err)
	}
}

func (c *cluster) initialise(ctx context.Context) error {
	locales := [][]string{{"--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"}}
	if c.bin.major < 17 {
		locales = [][]string{{"--locale=C.UTF-8"}, {"--locale=C"}} // not every system has the first
	}
	var out bytes.Buffer
	var err error
	for _, locale := range locales {
		var dir string
		if dir, err = os.MkdirTemp(c.Dir, halfMade); err != nil {
			return err
		}
		if c.as != nil {
			if err := c.as.own(dir); err != nil {
				return err
			}
		}
		args := append([]string{"--pgdata=" + dir, "--username=" + superuser, "--pwfile=" + filepath.Join(c.Dir, "password"),
			"--auth=scram-sha-256", "--encoding=UTF8", "--data-checksums", "--no-instructions"}, locale...)
		if c.Scratch {
			args = append(args, "--no-sync")
		}
		cmd := c.command("initdb", args...)
		out.Reset()
		cmd.Stdout, cmd.Stderr = &out, &out
		var p *process
		if p, err = launch(cmd, c.as, c.privilege, true); err != nil {
			return fmt.Errorf("starting initdb: %w", err)
		}
		select {
		case <-ctx.Done():
			p.kill()
			<-p.done
			return ctx.Err()
		case <-p.done:
			err = p.err
		}
		if err == nil {
			return os.Rename(dir, c.data)
		}
		os.RemoveAll(dir)
		if !strings.Contains(out.String(), "locale") {
			break
		}
	}
	return fmt.Errorf("making the embedded database with %s: %w: %s", c.bin.path("initdb"), err, lastLines(out.String(), 5))
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}

// command runs in the root folder, which every account can enter, and sees nothing of our environment that it does not
// need: neither secrets nor PG… variables, which would change what it does.
func (c *cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.bin.path(program), args...)
	cmd.Dir = filepath.VolumeName(c.Dir) + string(filepath.Separator)
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC"}
	for _, name := range []string{"PATH", "TMPDIR", "TEMP", "TMP", "SystemRoot", "SystemDrive", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	return cmd
}

func (c *cluster) arguments(at endpoint) []string {
	settings := []string{
		"listen_addresses=" + at.host,
		"port=" + strconv.Itoa(at.port),
		"unix_socket_permissions=0700",
		"timezone=UTC",
		"log_timezone=UTC",
		"jit=off", // short statements only
		"log_destination=stderr",
		"logging_collector=off",
		"log_line_prefix=", // the log has its own time
		// What a statement or a constraint's detail holds may be personal or secret; the caller logs its own errors.
		"log_error_verbosity=terse",
		"log_min_error_statement=panic",
	}
	if at.socketDir != "" {
		settings = append(settings, `unix_socket_directories="`+strings.ReplaceAll(at.socketDir, `"`, `""`)+`"`)
	} else {
		settings = append(settings, "unix_socket_directories=")
	}
	if c.Scratch {
		settings = append(settings, "fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=32MB",
			"wal_level=minimal", "max_wal_senders=0", "checkpoint_timeout=1h", "max_connections=200")
	}
	args := []string{"-D", c.data}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	return args
}

func (c *cluster) start(ctx context.Context, password string) (*Server, error) {
	deadline := time.Now().Add(startPatience)
	retryUntil := time.Now().Add(orphanPatience)
	for {
		at, err := listenAt(c.run)
		if err != nil {
			return nil, err
		}
		cmd := c.command("postgres", c.arguments(at)...)
		out := &output{log: c.Log}
		cmd.Stderr = out
		cmd.WaitDelay = 2 * time.Second // a backend that outlives the server holds stderr open
		p, err := launch(cmd, c.as, c.privilege, false)
		if err != nil {
			return nil, fmt.Errorf("starting %s: %w", c.bin.path("postgres"), err)
		}
		err = c.awaitReady(ctx, p, deadline)
		if err == nil {
			return &Server{url: at.url(password), pid: p.pid(), proc: p}, nil
		}
		if errors.Is(err, errEnded) {
			if time.Now().Before(retryUntil) && passing(out.tail()) {
				if err := sleep(ctx, 100*time.Millisecond); err != nil {
					return nil, err
				}
				continue
			}
			return nil, fmt.Errorf("the embedded PostgreSQL did not start: %w: %s", p.err, out.tail())
		}
		p.stopNow()
		return nil, err
	}
}

// passing tells the reasons not to start that go by: the backends of a killed server are still ending, or another
// program took the free port first.
func passing(said string) bool {
	return strings.Contains(said, "pre-existing shared memory block") ||
		strings.Contains(said, "could not create any TCP/IP sockets")
}

var errEnded = errors.New("ended")

func (c *cluster) awaitReady(ctx context.Context, p *process, deadline time.Time) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if at, err := readPostmaster(c.data); err == nil && at.pid == p.pid() && at.ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return errEnded
		case now := <-tick.C:
			if now.After(deadline) {
				return fmt.Errorf("the embedded PostgreSQL is not ready after %v", startPatience)
			}
		}
	}
}

// settleOrphan ends a server that outlived its Moonlatch, and removes the lock files of one that did not end in order:
// the number in them may be another process's now, and PostgreSQL would then refuse to start.
func (c *cluster) settleOrphan(ctx context.Context) error {
	at, err := readPostmaster(c.data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if at.pid != 0 {
		for _, how := range []func(int){interrupt, quit, kill} {
			if c.whose(at.pid) != ours {
				break
			}
			c.Log.Warn("stopping the PostgreSQL of a Moonlatch that ended without stopping it", "pid", at.pid)
			how(at.pid)
			for deadline := time.Now().Add(orphanPatience); c.whose(at.pid) == ours && time.Now().Before(deadline); {
				if err := sleep(ctx, 10*time.Millisecond); err != nil {
					return err
				}
			}
		}
		switch c.whose(at.pid) {
		case ours:
			return fmt.Errorf("%w: %s, by PostgreSQL process %d, which cannot be stopped", ErrInUse, c.Dir, at.pid)
		case unclear:
			return nil // PostgreSQL decides, and says why when it refuses
		case nobodys:
		}
	}
	locks := []string{filepath.Join(c.data, "postmaster.pid")}
	sockets, err := os.ReadDir(c.run)
	for _, s := range sockets {
		locks = append(locks, filepath.Join(c.run, s.Name()))
	}
	for _, path := range locks {
		if gone := os.Remove(path); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

type holder int

const (
	nobodys holder = iota // the process is gone, or is no PostgreSQL
	ours                  // a server on this data directory
	unclear               // a PostgreSQL, but not seen whose, or nothing can be seen
)

func (c *cluster) whose(pid int) holder {
	line, known := commandLine(pid)
	switch {
	case !known:
		return unclear
	case strings.Contains(line, " -D "+c.data+" "): // as arguments has it
		return ours
	case strings.Contains(line, "postgres"):
		return unclear
	}
	return nobodys
}

// output passes PostgreSQL's log on, and remembers its end for the error of a start that fails.
type output struct {
	log  *slog.Logger
	mu   sync.Mutex
	rest []byte
	last []string
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, p...)
	for {
		line, rest, whole := bytes.Cut(o.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		o.rest = bytes.Clone(rest)
		o.line(strings.TrimSpace(string(line)))
	}
}

func (o *output) line(text string) {
	if text == "" {
		return
	}
	if o.last = append(o.last, text); len(o.last) > 8 {
		o.last = o.last[1:]
	}
	level := slog.LevelDebug
	severity, message, found := strings.Cut(text, ":  ")
	if !found {
		message = text
	}
	ordinary := "terminating connection due to administrator command" // what Stop does
	if (severity == "FATAL" || severity == "PANIC") && message != ordinary {
		level = slog.LevelWarn
	}
	o.log.Log(context.Background(), level, "postgresql: "+message, "severity", severity)
}

func (o *output) tail() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.last, " | ")
}
