package gateways_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// site is what stands behind a gateway: the program as it is built, an API, and an ear between the gateway and the
// program that hears what is asked.
type site struct {
	t       *testing.T
	ring    *keyring.Keyring
	org     storetest.Org
	cable   *storetest.Cable // between the program and its database
	address string           // of the program
	ear     *recorder        // passes what it hears on to the program
	api     *recorder
}

func newSite(t *testing.T) *site {
	t.Helper()
	databaseURL := storetest.URL(t)
	db, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	cable, through := storetest.Lay(t, databaseURL)
	s := &site{t: t, ring: keyring.New(db), org: storetest.Organisation(t, db), cable: cable, address: serve(t, through)}
	s.ear = newRecorder(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: s.address})
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
	}})
	s.api = newRecorder(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/broken":
			http.Error(w, "the API's own", http.StatusInternalServerError)
			return
		case r.Header.Get("Upgrade") != "":
			w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
			w.Header().Set("Connection", "Upgrade")
			w.WriteHeader(http.StatusSwitchingProtocols)
			return
		case r.URL.Path == "/events": // says one thing, and then nothing until it is left
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: first\n\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "from the API")
	}))
	return s
}

var listening = regexp.MustCompile(`listens on (\S+):`)

// build builds Moonlatch.
func build(t *testing.T, program string) {
	t.Helper()
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../cmd/moonlatch").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}

// serve builds the program and runs it, as it is run behind a gateway.
func serve(t *testing.T, databaseURL string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "moonlatch")
	build(t, program)
	command := exec.Command(program, "serve")
	command.Env = append(os.Environ(), "DATABASE_URL="+databaseURL, "ADDR=127.0.0.1:0", "TRUSTED_PROXIES=127.0.0.1", "BASE_URL=https://keys.example.com")
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, command)
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if found := listening.FindStringSubmatch(lines.Text()); found != nil {
			go func() { _, _ = io.Copy(io.Discard, stdout) }()
			return found[1]
		}
	}
	t.Fatal("the server did not start")
	return ""
}

// start runs a program until the test ends. What it said is shown when the test failed.
func start(t *testing.T, command *exec.Cmd) {
	t.Helper()
	var said bytes.Buffer
	command.Stderr = &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = command.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(command.Path), said.String())
		}
	})
}

// issue makes a key in the test organisation.
func (s *site) issue(draft keyring.KeyDraft) (apikey.Key, apikey.Plaintext) {
	s.t.Helper()
	draft.Name = "gateway"
	key, plaintext, err := s.ring.IssueKey(s.t.Context(), s.org.Owner, draft)
	if err != nil {
		s.t.Fatal(err)
	}
	return key, plaintext
}

// recorder is a server that remembers what it was asked.
type recorder struct {
	*httptest.Server
	connections atomic.Int32
	gone        atomic.Bool  // it breaks every connection off
	status      atomic.Int32 // what it answers with itself, unless it is 0
	delay       atomic.Int64 // how long it waits before it answers, unless it is left

	mu   sync.Mutex
	seen []request
}

type request struct {
	method, uri string
	header      http.Header
	trailer     http.Header
	body        string
}

func newRecorder(t *testing.T, answer http.Handler) *recorder {
	r := &recorder{}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) {
		if r.gone.Load() {
			panic(http.ErrAbortHandler)
		}
		select {
		case <-time.After(time.Duration(r.delay.Load())):
		case <-asked.Context().Done():
			return
		}
		body, err := io.ReadAll(asked.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.seen = append(r.seen, request{asked.Method, asked.RequestURI, asked.Header.Clone(), asked.Trailer.Clone(), string(body)})
		r.mu.Unlock()
		if status := r.status.Load(); status != 0 {
			w.Header().Set("Location", "https://other.example/")
			w.WriteHeader(int(status))
			_, _ = io.WriteString(w, "from another program")
			return
		}
		asked.Body = io.NopCloser(bytes.NewReader(body))
		answer.ServeHTTP(w, asked)
	}))
	r.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			r.connections.Add(1)
		}
	}
	r.Start()
	t.Cleanup(r.Close)
	return r
}

// take returns what was asked since it was last called.
func (r *recorder) take() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

func (r *recorder) host() string { return strings.TrimPrefix(r.URL, "http://") }
