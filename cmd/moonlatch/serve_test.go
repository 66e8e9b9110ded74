package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moonlatch/moonlatch/static"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestANewInstallationIsSetUpByAOneTimeLink(t *testing.T) {
	s := serve(t, onDatabase(t))
	link := regexp.MustCompile(`http://` + regexp.QuoteMeta(s.address) + `(/setup/\w+)`).FindStringSubmatch(s.stdout.String())
	if link == nil {
		t.Fatalf("no link in %s", s.stdout.String())
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, link[1]: 200} {
		if got, _ := s.get(t, path); got != want {
			t.Errorf("%s answers %d", path, got)
		}
	}
	if code := s.wait(t); code != exitDone {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
	if _, err := net.Dial("tcp", s.address); err == nil {
		t.Error("something still listens")
	}
	if strings.Contains(s.stderr.String(), strings.TrimPrefix(link[1], "/setup/")) {
		t.Error("the log has the link's token")
	}
}

func TestServeFillsAnEmptyDatabaseAndLeavesAnyOtherAlone(t *testing.T) {
	env := append(onDatabase(t), "BASE_URL=https://keys.example.com")
	passwords := regexp.MustCompile(`\w{5}-\w{5}-\w{5}-\w{5}`)
	s := serve(t, env, "--demo")
	if said := s.stdout.String(); len(passwords.FindAllString(said, -1)) != 5 || !strings.Contains(said, "Sign in at https://keys.example.com") {
		t.Errorf("it printed %s", said)
	}
	s.wait(t)
	s = serve(t, env, "--demo")
	if said := s.stdout.String(); passwords.MatchString(said) || !strings.Contains(said, "moonlatch user create") {
		t.Errorf("a second start printed %s", said)
	}
}

func TestATakenPortIsOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	dir := t.TempDir()
	moonlatch(t, []string{"ADDR=" + taken.Addr().String(), "DATA_DIR=" + dir}, "", "serve").expect(t, exitFailed, "taken by another program")
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("it began something nevertheless: %v, %v", files, err)
	}
	moonlatch(t, []string{"ADDR=192.0.2.1:80", "DATA_DIR=" + dir}, "", "serve").expect(t, exitFailed, "ADDR")
}

// free returns an address that nothing listens on.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// startWithout runs serve on a database that is away, and waits until its port opens.
func startWithout(t *testing.T, env ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{address: free(t), stop: cancel, ended: make(chan int, 1)}
	go func() {
		s.ended <- run(ctx, []string{"moonlatch", "serve"}, strings.NewReader(""), &s.stdout, &s.stderr, append(env, "ADDR="+s.address))
	}()
	t.Cleanup(func() { s.wait(t) })
	s.awaitPort(t, s)
	return s
}

// awaitPort waits until the port opens, which the process opens.
func (s *server) awaitPort(t *testing.T, process *server) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", s.address); err == nil {
			_ = conn.Close()
			return
		}
		if len(process.ended) > 0 || time.Now().After(deadline) {
			t.Fatalf("the port does not open: %s", process.stderr.String())
		}
	}
}

func TestServeAnswersWhileTheDatabaseIsAway(t *testing.T) {
	for name, away := range map[string]func(*storetest.Cable){"refuses": (*storetest.Cable).Cut, "is silent": (*storetest.Cable).Silence} {
		t.Run(name, func(t *testing.T) {
			cable, address := storetest.Lay(t, storetest.Empty(t))
			away(cable)
			metrics := &server{address: free(t)}
			s := startWithout(t, "DATABASE_URL="+address, "METRICS_ADDR="+metrics.address, "SHUTDOWN_DELAY=0s")
			metrics.awaitPort(t, s)
			var asking sync.WaitGroup // at once, since most wait for the start
			for path, want := range map[string]struct {
				status int
				says   string
			}{
				"/healthz":         {200, "ok"},
				"/readyz":          {503, "starting"},
				"/":                {503, "<html"},
				"/sign-in":         {503, "<html"},
				"/v1/api-keys":     {503, `"code":"unavailable"`},
				"/v1/forward-auth": {503, `"code":"unavailable"`},
			} {
				asking.Go(func() {
					if status, said, err := s.ask(path); err != nil || status != want.status || !strings.Contains(said, want.says) {
						t.Errorf("%s answers %d %s, %v", path, status, said, err)
					}
				})
			}
			asking.Go(func() {
				if status, said, err := metrics.ask("/metrics"); err != nil || status != http.StatusServiceUnavailable {
					t.Errorf("the metrics' address answers %d %s, %v", status, said, err)
				}
			})
			asking.Wait()
			if s.stdout.String() != "" {
				t.Errorf("it says %s", s.stdout.String())
			}
			cable.Mend()
			for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
				if status, _ := s.get(t, "/readyz"); status == http.StatusOK {
					break
				}
				if len(s.ended) > 0 || time.Now().After(deadline) {
					t.Fatalf("it does not get ready: %s", s.stderr.String())
				}
			}
			for path, want := range map[string]int{"/healthz": 200, "/sign-in": 200, "/v1/api-keys": 401, "/v1/forward-auth": 401} {
				if status, said := s.get(t, path); status != want {
					t.Errorf("with the database, %s answers %d %s", path, status, said)
				}
			}
			if status, said := metrics.get(t, "/metrics"); status != http.StatusOK {
				t.Errorf("with the database, the metrics' address answers %d %s", status, said)
			}
			if code := s.wait(t); code != exitDone || !strings.Contains(s.stderr.String(), "waiting for the database") {
				t.Errorf("exit %d: %s", code, s.stderr.String())
			}
		})
	}
}

// TestRequestsWaitForTheStart sends requests before, during and after the start, in a bubble's time.
func TestRequestsWaitForTheStart(t *testing.T) {
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	synctest.Test(t, func(t *testing.T) {
		var answers *startingHandler
		var asking sync.WaitGroup
		askUntil := func(ctx context.Context, method, path, want string, after time.Duration) {
			began := time.Now()
			asking.Go(func() {
				got := httptest.NewRecorder()
				answers.ServeHTTP(got, httptest.NewRequestWithContext(ctx, method, path, nil))
				if took := time.Since(began); got.Body.String() != want || took != after {
					t.Errorf("%s %s says %q after %s", method, path, got.Body, took)
				}
			})
		}
		ask := func(path, want string, after time.Duration) {
			t.Helper()
			askUntil(t.Context(), http.MethodGet, path, want, after)
		}

		answers = newStartingHandler(t.Context(), says("starting"))
		ask("/v1/forward-auth", "starting", startWait)
		for _, path := range []string{"/healthz", "/readyz", static.Path("app.css"), "/favicon.ico"} {
			ask(path, "starting", 0)
		}
		askUntil(t.Context(), http.MethodHead, "/readyz", "starting", 0)
		hangsUp, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		askUntil(hangsUp, http.MethodPost, "/v1/api-keys/verify", "starting", time.Second)
		time.Sleep(startWaits - time.Second)
		ask("/sign-in", "starting", time.Second)
		time.Sleep(2 * time.Second)
		ask("/sign-in", "starting", 0) // the start takes so long that it waits for the database
		asking.Wait()

		starts, end := context.WithCancel(t.Context())
		answers = newStartingHandler(starts, says("starting"))
		ask("/v1/forward-auth", "starting", time.Second)
		time.Sleep(time.Second)
		end()
		asking.Wait()

		answers = newStartingHandler(t.Context(), says("starting"))
		ask("/v1/forward-auth", "started", time.Second)
		ask("/metrics", "started", time.Second)
		time.Sleep(time.Second)
		answers.start(says("started"))
		ask("/readyz", "started", 0)
		asking.Wait()
	})
}

// TestAStartThatEndsAnswersTheRequestsThatWait closes the port while a request waits for the start.
func TestAStartThatEndsAnswersTheRequestsThatWait(t *testing.T) {
	listener, err := listen(t.Context(), "ADDR", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	answers := newStartingHandler(ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	asked := make(chan struct{})
	front := startWeb(slog.New(slog.DiscardHandler), listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		answers.ServeHTTP(w, r)
	}))
	s, status := &server{address: listener.Addr().String()}, make(chan int, 1)
	go func() {
		got, _, err := s.ask("/sign-in")
		if err != nil {
			t.Error(err)
		}
		status <- got
	}()
	<-asked
	end()
	front.close()
	if got := <-status; got != http.StatusServiceUnavailable {
		t.Errorf("the request that waits is answered %d", got)
	}
}

func TestServeStopsWhileItWaitsForTheDatabase(t *testing.T) {
	s := startWithout(t, append([]string{"SHUTDOWN_DELAY=10m"}, nowhere...)...)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.stderr.String(), "waiting for the database"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not say that it waits")
		}
	}
	if code := s.wait(t); code != exitDone {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
	if strings.Contains(s.stderr.String(), "hunter2") {
		t.Error("it repeats the password")
	}
}

func TestServeDoesNotWaitForADatabaseThatIsMisconfigured(t *testing.T) {
	u, err := url.Parse(storetest.URL(t))
	if err != nil {
		t.Fatal(err)
	}
	missing, guess := *u, *u
	missing.Path = "/there_is_none"
	guess.User = url.UserPassword(u.User.Username(), "hunter2")
	for says, address := range map[string]string{"there is no such database": missing.String(), "refuses the password": guess.String()} {
		o := moonlatch(t, []string{"ADDR=127.0.0.1:0", "DATABASE_URL=" + address}, "", "serve")
		if o.code != exitFailed || !strings.Contains(o.stderr, "moonlatch: "+says) && !strings.Contains(o.stderr, "moonlatch: the database "+says) || strings.Contains(o.stderr, "hunter2") {
			t.Errorf("exit %d: %s", o.code, o.stderr)
		}
	}
}

func TestServeEndsWithItsEmbeddedPostgreSQL(t *testing.T) {
	t.Parallel()
	env := onFolder(t)
	s := serve(t, env)
	text, err := os.ReadFile(filepath.Join(strings.TrimPrefix(env[0], "DATA_DIR="), "postgres", "cluster", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	postgres, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := postgres.Signal(os.Interrupt); err != nil { // a fast shutdown
		t.Fatal(err)
	}
	if code := s.end(t); code != exitFailed || !strings.Contains(s.stderr.String(), "moonlatch: the embedded PostgreSQL ended by itself\n") {
		t.Errorf("exit %d, %s", code, s.stderr.String())
	}
	serve(t, env) // and it can be started again
}

func TestStoppingLetsRequestsFinish(t *testing.T) {
	listener, err := listen(t.Context(), "ADDR", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	log := slog.New(slog.DiscardHandler)
	slow := startWeb(log, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stop()
		time.Sleep(200 * time.Millisecond)
		_, _ = io.WriteString(w, "whole")
	}))
	ended := make(chan error, 1)
	p := &program{stdout: io.Discard, log: log, closing: make(chan struct{})}
	go func() { ended <- p.answer(ctx, slow, &url.URL{}, nil) }()
	if status, body := (&server{address: listener.Addr().String()}).get(t, "/"); status != http.StatusOK || body != "whole" {
		t.Errorf("%d %q", status, body)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAStartWithoutABaseURLSaysWhereLinksLead(t *testing.T) {
	env := onDatabase(t)
	s := serve(t, env)
	s.wait(t)
	if log := s.stderr.String(); !strings.Contains(log, "BASE_URL is not set") || !strings.Contains(log, s.address) {
		t.Errorf("the log says %s", log)
	}
	if said := s.stdout.String(); !strings.Contains(said, "/setup/") || !strings.Contains(said, "BASE_URL is not set") {
		t.Errorf("beside the link to set up: %s", said)
	}
	s = serve(t, append(env, "BASE_URL=https://keys.example.com"))
	s.wait(t)
	if said := s.stdout.String() + s.stderr.String(); !strings.Contains(said, "https://keys.example.com/setup/") || strings.Contains(said, "BASE_URL") {
		t.Errorf("with one: %s", said)
	}
}

func TestAServerToldToStopIsNotReadyAndStillAnswers(t *testing.T) {
	s := serve(t, append(onDatabase(t), "SHUTDOWN_DELAY=3s"))
	if got, _ := s.get(t, "/readyz"); got != http.StatusOK {
		t.Fatalf("before, /readyz answers %d", got)
	}
	s.stop()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get("http://" + s.address + "/readyz")
		if err != nil {
			t.Fatalf("the port closed before /readyz answered 503: %v", err)
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusServiceUnavailable {
			if !response.Close {
				t.Error("the connection stays open")
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("/readyz never answered 503")
		}
	}
	for path, body := range map[string]string{"/v1/api-keys/verify": `{"key": "pk_live_x"}`, "/v1/auth/login": `{"email": "ada@acme.example", "password": "not the password"}`} {
		response, err := http.Post("http://"+s.address+path, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode == http.StatusServiceUnavailable || !response.Close {
			t.Errorf("while it stops, POST %s answers %d, and closes its connection: %t", path, response.StatusCode, response.Close)
		}
	}
	if got, _ := s.get(t, "/sign-in"); got != http.StatusOK && got != http.StatusSeeOther {
		t.Errorf("while it stops, a page answers %d", got)
	}
	if code := s.end(t); code != exitDone {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
}

func TestServeKeepsUsageForAsLongAsItIsTold(t *testing.T) {
	env := append(onDatabase(t), "USAGE_RETENTION=120")
	createUser(t, env, "Acme", "ada@acme.example", "owner")
	db := storetest.DB(t, strings.TrimPrefix(env[0], "DATABASE_URL="))
	if _, err := db.ExecContext(t.Context(), `INSERT INTO organisation_usage (org_id, hour, accepted)
		SELECT id, date_trunc('day', now(), 'UTC') - days * interval '1 day' + hours * interval '1 hour', days FROM organisations, unnest(ARRAY[1, 110, 130]) AS days, unnest(ARRAY[13, 14]) AS hours`); err != nil {
		t.Fatal(err)
	}
	serve(t, env)
	var left string
	for deadline := time.Now().Add(time.Minute); left != "00:00 220, 13:00 1, 14:00 1" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err := db.QueryRowContext(t.Context(), `SELECT string_agg(to_char(hour, 'HH24:MI ') || accepted, ', ' ORDER BY hour) FROM organisation_usage`).Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
	if left != "00:00 220, 13:00 1, 14:00 1" {
		t.Errorf("after a minute %s is left", left)
	}
}

// TestStoppingStoresTheLastSecurityEvents makes storing an event take longer than the server has left after it was told to stop.
func TestStoppingStoresTheLastSecurityEvents(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@example.com", "owner", "--new-organisation")
	db := storetest.DB(t, strings.TrimPrefix(env[0], "DATABASE_URL="))
	for _, statement := range []string{
		`CREATE FUNCTION wait_a_moment() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NEW; END $$`,
		`CREATE TRIGGER is_slow BEFORE INSERT ON security_events FOR EACH ROW EXECUTE FUNCTION wait_a_moment()`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, env)
	response, err := http.Post("http://"+s.address+"/v1/auth/login", "application/json", strings.NewReader(`{"email": "ada@example.com", "password": "not the password"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _ = response.Body.Close(); response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d", response.StatusCode)
	}
	code := s.wait(t)
	var stored int
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM security_events WHERE kind = 'sign_in.failed'`).Scan(&stored); err != nil || stored != 1 || code != exitDone {
		t.Errorf("exit %d with %d events stored, %v: %s", code, stored, err, s.stderr.String())
	}
}

// TestNothingThatHangsKeepsAStoppedServerAlive stops a server whose parts never end: after its delay, and after the database ended.
func TestNothingThatHangsKeepsAStoppedServerAlive(t *testing.T) {
	t.Parallel()
	const says = "did not stop within 10ms"
	hangs := func() error { select {} }
	ctx, stop := context.WithCancel(t.Context())
	p := &program{closing: make(chan struct{})}
	ended := make(chan error, 1)
	go func() { ended <- p.stopInTime(ctx, 10*time.Millisecond, hangs) }()
	stop()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("told to stop: %v", err)
	}
	p.config.ShutdownDelay = time.Hour
	close(p.closing) // which ends the delay
	for _, ctx := range []context.Context{ctx, t.Context()} {
		if err := p.stopInTime(ctx, 10*time.Millisecond, hangs); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("no longer accepting: %v", err)
		}
	}
	if err := p.stopInTime(ctx, time.Hour, func() error { return io.ErrUnexpectedEOF }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("it ended by itself: %v", err)
	}
}

// TestASilentDatabaseDoesNotKeepAStoppedServerAlive lets the network to the database go silent, under requests that wait for it.
func TestASilentDatabaseDoesNotKeepAStoppedServerAlive(t *testing.T) {
	t.Parallel()
	cable, address := storetest.Lay(t, strings.TrimPrefix(onDatabase(t)[0], "DATABASE_URL="))
	s := serve(t, []string{"DATABASE_URL=" + address, "ADDR=127.0.0.1:0", "SHUTDOWN_DELAY=0s"})
	if got, _ := s.get(t, "/readyz"); got != http.StatusOK {
		t.Fatalf("/readyz answers %d", got)
	}
	cable.Silence()
	defer cable.Mend()
	for range 10 {
		go func() {
			if response, err := http.Get("http://" + s.address + "/sign-in"); err == nil {
				_ = response.Body.Close()
			}
		}()
	}
	s.stop()
	select {
	case code := <-s.ended:
		s.ended <- code
	case <-time.After(5 * time.Minute):
		t.Fatalf("it does not stop: %s", s.stderr.String())
	}
}

// TestASecondSignalEndsTheServerAtOnce sends SIGTERM during a long SHUTDOWN_DELAY, and again.
func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	var stdout, stderr transcript
	server := exec.CommandContext(t.Context(), os.Args[0], "serve")
	server.Env, server.Stdout, server.Stderr = append(onDatabase(t), "SHUTDOWN_DELAY=10m", asProgram+"=1"), &stdout, &stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Wait() }()
	awaitText := func(log *transcript, text string) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(log.String(), text); time.Sleep(20 * time.Millisecond) {
			if len(ended) > 0 || time.Now().After(deadline) {
				t.Fatalf("it does not say %q: %s %s", text, stdout.String(), stderr.String())
			}
		}
	}
	awaitText(&stdout, "listens on")
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitText(&stderr, "stopping")
	for deadline := time.After(2 * time.Minute); ; {
		_ = server.Process.Signal(syscall.SIGTERM) // fails when it has ended
		select {
		case err := <-ended:
			if err == nil || !strings.Contains(err.Error(), "terminated") {
				t.Errorf("it ended with %v: %s", err, stderr.String())
			}
			return
		case <-time.After(100 * time.Millisecond):
		case <-deadline:
			t.Fatal("it goes on")
		}
	}
}
