package bench

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/lib/pq"
)

// process is a server.
type process struct {
	*exec.Cmd
	address string
	pprof   string // where it tells where its time goes
}

// start runs the program as it is run behind a gateway on the same machine.
func start(b *testing.B, program, databaseURL string, environment ...string) *process {
	b.Helper()
	command := exec.Command(program, "serve")
	command.Env = append(os.Environ(), append(environment, "DATABASE_URL="+databaseURL, "ADDR=127.0.0.1:0", "TRUSTED_PROXIES=127.0.0.1", "LOG_LEVEL=warn")...)
	return await(b, command)
}

func startFloor(b *testing.B, floor, databaseURL string) *process {
	b.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "GOGC=200", "BENCH_FLOOR="+floor, "DATABASE_URL="+databaseURL)
	return await(b, command)
}

var listening = regexp.MustCompile(`(\w+) listens on ([\d.]+:\d+)`)

// await starts a server and waits until it says where it listens.
func await(b *testing.B, command *exec.Cmd) *process {
	b.Helper()
	p := &process{Cmd: command}
	p.Stderr = os.Stderr
	stdout, err := p.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = p.Process.Signal(os.Interrupt)
		_ = p.Wait()
	})
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		switch found := listening.FindStringSubmatch(lines.Text()); {
		case found == nil:
		case found[1] == "pprof":
			p.pprof = found[2]
		default:
			p.address = found[2]
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return p
		}
	}
	b.Fatalf("%s did not start", p)
	return nil
}

const (
	fixed     = "fixed"
	oneColumn = "one column"
	oneRow    = "one row"
)

// lookUps are the least that one can ask, and what of a key itself one has to know to judge it.
var lookUps = map[string]string{
	oneColumn: `SELECT id FROM api_keys WHERE hash = $1`,
	oneRow: `SELECT id, org_id, name, environment, scopes, status, owner_id, workspace_id, process_id, expires_at, grace_ends_at
		FROM api_keys WHERE hash = $1`,
}

// serveFloor is a server of one handler: of a fixed body and, before that, perhaps of one look-up by a key's hash.
func serveFloor(floor string) {
	answer := func(c echo.Context) error { return c.JSONBlob(http.StatusOK, []byte(`{"valid":true}`)) }
	handle := answer
	if query := lookUps[floor]; query != "" {
		db, err := sql.Open("postgres", os.Getenv("DATABASE_URL"))
		if err != nil {
			panic(err)
		}
		db.SetMaxOpenConns(20)
		db.SetMaxIdleConns(20)
		byHash, err := db.Prepare(query)
		if err != nil {
			panic(err)
		}
		defer func() { _ = byHash.Close() }()
		handle = func(c echo.Context) error {
			hash := sha256.Sum256([]byte(strings.TrimPrefix(c.Request().Header.Get("Authorization"), "Bearer ")))
			var id, org, name, environment, status, owner string
			var scopes pq.StringArray
			var workspace, process sql.NullString
			var expires, grace sql.NullTime
			columns := []any{&id, &org, &name, &environment, &scopes, &status, &owner, &workspace, &process, &expires, &grace}
			if floor == oneColumn {
				columns = columns[:1]
			}
			if err := byHash.QueryRowContext(c.Request().Context(), hash[:]).Scan(columns...); err != nil {
				return err
			}
			return answer(c)
		}
	}
	e := echo.New()
	e.GET("/v1/forward-auth", handle)
	e.POST("/v1/api-keys/verify", handle)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("floor listens on", listener.Addr())
	// The limits are those of moonlatch serve.
	server := &http.Server{Handler: e, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
		IdleTimeout: 120 * time.Second, MaxHeaderBytes: 16 << 10}
	panic(server.Serve(listener))
}

// cpu is what the process has used so far, user and system, to a hundredth of a second.
func (p *process) cpu(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	if err != nil {
		b.Skip("only Linux tells what another process has used: ", err)
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')'):]) // proc(5): these are the fields from the third on
	var sum time.Duration
	for _, field := range fields[12:14] {
		ticks, err := strconv.Atoi(string(field))
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ticks) * 10 * time.Millisecond
	}
	return sum
}

// metric reads a sum of series from the server's own metrics.
func (p *process) metric(b *testing.B, prefix string) (sum float64) {
	b.Helper()
	for line := range bytes.Lines(p.get(b, p.address, "/metrics")) {
		if bytes.HasPrefix(line, []byte(prefix)) {
			value, err := strconv.ParseFloat(string(bytes.TrimSpace(line[bytes.LastIndexByte(line, ' '):])), 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += value
		}
	}
	return sum
}

// askedDatabase counts the questions that the cache did not answer.
func (p *process) askedDatabase(b *testing.B) float64 {
	return p.metric(b, "moonlatch_verification_lookups_total") - p.metric(b, `moonlatch_verification_lookups_total{source="hit"}`)
}

func (p *process) cached(b *testing.B) int {
	return int(p.metric(b, `moonlatch_cache_entries{kind="known"}`))
}

func (p *process) profile(b *testing.B, file string) {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		b.Error(err)
	}
	if err := os.WriteFile(file, p.get(b, p.pprof, "/debug/pprof/profile?seconds=4"), 0o644); err != nil {
		b.Error(err)
	}
	if err := os.WriteFile(strings.TrimSuffix(file, "pprof")+"allocs.pprof", p.get(b, p.pprof, "/debug/pprof/allocs?seconds=1"), 0o644); err != nil {
		b.Error(err)
	}
}

func (p *process) get(b *testing.B, address, path string) []byte {
	b.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		b.Error(err)
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Errorf("%s: %d, %v", path, response.StatusCode, err)
	}
	return body
}

// build makes the program, with some files taken from elsewhere.
func build(b *testing.B, overlay map[string]string) string {
	b.Helper()
	folder := b.TempDir()
	said, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		b.Fatal(err)
	}
	file, program := filepath.Join(folder, "overlay.json"), filepath.Join(folder, "moonlatch")
	write(b, file, said)
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-overlay", file, "-o", program, "../../cmd/moonlatch").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, said)
	}
	return program
}

// uncountedOverlay makes a program of the same code but for the line that counts.
func uncountedOverlay(b *testing.B) map[string]string {
	return overlay(b, "../verify/verify.go", func(text string) string {
		uncounted := strings.Replace(text, "\tv.ledger.add(e.id, now, code == Valid, q)\n", "", 1)
		if uncounted == text {
			b.Fatal("verify.go has no such line any more")
		}
		return uncounted
	})
}

// profileOverlay makes a program that tells where its time goes, which the product does not.
func profileOverlay(b *testing.B) map[string]string {
	return overlay(b, "../../cmd/moonlatch/pprof.go", func(string) string {
		return `package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
)

func init() {
	listener, err := net.Listen("tcp", os.Getenv("BENCH_PPROF"))
	if err != nil {
		panic(err)
	}
	fmt.Println("pprof listens on", listener.Addr())
	go func() { panic(http.Serve(listener, nil)) }()
}
`
	})
}

func overlay(b *testing.B, file string, change func(string) string) map[string]string {
	b.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		b.Fatal(err)
	}
	changed := filepath.Join(b.TempDir(), filepath.Base(file))
	write(b, changed, []byte(change(string(text))))
	return map[string]string{path: changed}
}

func write(b *testing.B, file string, text []byte) {
	b.Helper()
	if err := os.WriteFile(file, text, 0o644); err != nil {
		b.Fatal(err)
	}
}

// countRoundTripsAndBytes asks a server, which collects its garbage early, about keys that it does not know, and
// counts how often the database has told it that it is ready again.
func countRoundTripsAndBytes(b *testing.B, program string, w *world) (roundTrips, bytes float64) {
	const garbage = 50 // percent of what is live
	var ready atomic.Int64
	p := start(b, program, listen(b, w.url, &ready), fmt.Sprint("GOGC=", garbage))
	// live is what the heap held after the last collection, which the requests before it are there to bring about.
	live := func() float64 {
		for range 3 { // what is not written down is in memory too, and what was so for the last time until the next
			for p.metric(b, "moonlatch_usage_flush_lag_seconds") > 0 {
				time.Sleep(100 * time.Millisecond)
			}
			load(b, p, hotRound, forwardAuth(inTurn(w.keys[:1])))
		}
		return p.metric(b, "go_memstats_next_gc_bytes ") / (1 + garbage/100.0)
	}
	empty := live()
	load(b, p, coldRound, forwardAuth(inTurn(w.keys[inUse:]))) // opens the connections
	before, asked := ready.Load(), p.askedDatabase(b)
	warm(b, p, w.keys[:inUse])
	roundTrips = float64(ready.Load()-before) / (p.askedDatabase(b) - asked)
	full := live()
	return roundTrips, (full - empty) / float64(p.cached(b))
}

// listen stands before the database and counts how often it says that it is ready for the next question.
func listen(b *testing.B, databaseURL string, ready *atomic.Int64) string {
	b.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		b.Fatal(err)
	}
	q := u.Query()
	network, address := "tcp", u.Host
	if folder := q.Get("host"); folder != "" { // a socket
		network, address = "unix", filepath.Join(folder, ".s.PGSQL."+q.Get("port"))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial(network, address)
			if err != nil {
				b.Error(err)
				return
			}
			go func() { _, _ = io.Copy(far, near) }()
			go func() { hear(near, far, ready) }()
		}
	}()
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = listener.Addr().String(), q.Encode()
	return u.String()
}

// hear passes on what the database says: messages of a letter and a length, of which Z means that it is ready.
func hear(to io.Writer, from io.Reader, ready *atomic.Int64) {
	in, out := bufio.NewReader(from), bufio.NewWriter(to)
	for {
		head, err := in.Peek(5)
		if err != nil {
			return
		}
		if head[0] == 'Z' {
			ready.Add(1)
		}
		if _, err := io.CopyN(out, in, 1+int64(binary.BigEndian.Uint32(head[1:]))); err != nil {
			return
		}
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return
			}
		}
	}
}
