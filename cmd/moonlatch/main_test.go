package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store/storetest"
)

// asProgram in the environment makes a run of the tests' binary one of the program.
const asProgram = "MOONLATCH_TESTS_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	storetest.Main(m)
}

const password = "seven quiet herons wade"

// outcome is what a run answered.
type outcome struct {
	code           int
	stdout, stderr string
}

// moonlatch runs the program with an environment of its own.
func moonlatch(t *testing.T, env []string, stdin string, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"moonlatch"}, args...), strings.NewReader(stdin), &stdout, &stderr, env)
	return outcome{code, stdout.String(), stderr.String()}
}

// expect checks a run that must succeed, or fail with one line on stderr.
func (o outcome) expect(t *testing.T, code int, says string) outcome {
	t.Helper()
	where := o.stderr
	if code == exitDone {
		where = o.stdout
	} else if strings.Count(o.stderr, "\n") != 1 || o.stdout != "" {
		t.Errorf("it printed %q and, in more or less than one line, %q", o.stdout, o.stderr)
	}
	if o.code != code || !strings.Contains(where, says) {
		t.Errorf("exit %d and %q %q, want %d and %q", o.code, o.stdout, o.stderr, code, says)
	}
	return o
}

func onDatabase(t *testing.T) []string {
	return []string{"DATABASE_URL=" + storetest.URL(t), "ADDR=127.0.0.1:0", "SHUTDOWN_DELAY=0s"}
}

func onFolder(t *testing.T) []string {
	return []string{"DATA_DIR=" + t.TempDir(), "ADDR=127.0.0.1:0", "SHUTDOWN_DELAY=0s"}
}

func createUser(t *testing.T, env []string, organisation, email, role string, more ...string) {
	t.Helper()
	moonlatch(t, env, password+"\n", append([]string{"user", "create", "--organisation", organisation, "--email", email, "--role", role, "--password-stdin"}, more...)...).
		expect(t, exitDone, email)
}

// transcript can be read while it is written.
type transcript struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.text.Write(p)
}

func (w *transcript) String() string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.text.String()
}

// server is a run of serve.
type server struct {
	stdout, stderr transcript
	address        string
	stop           context.CancelFunc
	ended          chan int
}

var listening = regexp.MustCompile(`(?:listens on |"listening","address":")(\S+?)(?:: open|",)`)

func serve(t *testing.T, env []string, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{stop: cancel, ended: make(chan int, 1)}
	go func() {
		s.ended <- run(ctx, append([]string{"moonlatch", "serve"}, args...), strings.NewReader(""), &s.stdout, &s.stderr, env)
	}()
	t.Cleanup(func() { s.wait(t) })
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found := listening.FindStringSubmatch(s.stdout.String() + s.stderr.String()); found != nil {
			s.address = found[1]
			return s
		}
		if len(s.ended) > 0 {
			break
		}
	}
	t.Fatalf("the server did not start: %s %s", s.stdout.String(), s.stderr.String())
	return nil
}

// wait stops the server and returns what it exited with.
func (s *server) wait(t *testing.T) int {
	t.Helper()
	s.stop()
	return s.end(t)
}

// end waits for the server to stop by itself.
func (s *server) end(t *testing.T) int {
	t.Helper()
	select {
	case code := <-s.ended:
		s.ended <- code
		return code
	case <-time.After(30 * time.Second):
		t.Fatal("the server did not stop")
		return 0
	}
}

func (s *server) get(t *testing.T, path string) (int, string) {
	t.Helper()
	status, body, err := s.ask(path)
	if err != nil {
		t.Fatal(err)
	}
	return status, body
}

func (s *server) ask(path string) (int, string, error) {
	response, err := http.Get("http://" + s.address + path)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}
