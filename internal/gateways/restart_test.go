package gateways_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// replica is one of several servers on one database, at an address that it keeps when it is started again.
type replica struct {
	program, address, databaseURL string
	command                       *exec.Cmd
	ended                         chan struct{}
	said                          *bytes.Buffer
}

func (r *replica) start(t *testing.T) {
	t.Helper()
	r.command, r.ended, r.said = exec.Command(r.program, "serve"), make(chan struct{}), &bytes.Buffer{}
	r.command.Env = append(os.Environ(), "DATABASE_URL="+r.databaseURL, "ADDR="+r.address, "TRUSTED_PROXIES=127.0.0.1", "BASE_URL=https://keys.example.com", "LOG_LEVEL=warn")
	r.command.Stdout, r.command.Stderr = io.Discard, r.said
	if err := r.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func(command *exec.Cmd, ended chan struct{}) { _ = command.Wait(); close(ended) }(r.command, r.ended)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if response, err := http.Get("http://" + r.address + "/readyz"); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("a replica does not get ready")
		}
	}
}

// stop sends SIGTERM, as a supervisor does, and waits until the replica has ended by itself.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	if err := r.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.ended:
	case <-time.After(time.Minute):
		t.Fatal("a replica does not stop")
	}
	if code := r.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("a replica exits %d: %s", code, r.said.String())
	}
}

// operatorsNginx is the configuration of the operator's guide, with these addresses.
func operatorsNginx(t *testing.T, dir, address string, replicas ...*replica) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```nginx\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 2 {
		t.Fatalf("docs/operating.md has %d blocks for nginx", len(blocks))
	}
	upstream := blocks[0][1]
	for i, documented := range []string{"10.0.0.11:8080", "10.0.0.12:8080"} {
		if !strings.Contains(upstream, documented) {
			t.Fatalf("the upstream block does not name %s", documented)
		}
		upstream = strings.ReplaceAll(upstream, documented, replicas[i].address)
	}
	text := "events {}\nhttp {\naccess_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		text += fmt.Sprintf("%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	return text + upstream + "server {\nlisten " + address + ";\n" + blocks[1][1] + "}\n}\n"
}

// TestReplicasAreRestartedWithoutAFailedRequest restarts two replicas one after the other behind nginx, as the operator's
// guide has it, while keys are asked about without a pause.
func TestReplicasAreRestartedWithoutAFailedRequest(t *testing.T) {
	nginx := lookUp("nginx")
	if nginx == "" {
		t.Skip("nginx is not installed; make test-gateways installs it")
	}
	databaseURL := storetest.URL(t)
	db, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := &site{t: t, ring: keyring.New(db), org: storetest.Organisation(t, db)}
	_, asked := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
	_, caller := s.issue(keyring.KeyDraft{Scopes: []string{"verify:api-keys"}})

	program := filepath.Join(t.TempDir(), "moonlatch")
	if said, err := exec.Command("go", "build", "-buildvcs=false", "-o", program, "../../cmd/moonlatch").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	var replicas []*replica
	for range 2 {
		r := &replica{program: program, address: free(t), databaseURL: databaseURL}
		r.start(t)
		t.Cleanup(func() { _ = r.command.Process.Kill(); <-r.ended })
		replicas = append(replicas, r)
	}
	dir, address := t.TempDir(), free(t)
	file := write(t, dir, "nginx.conf", operatorsNginx(t, dir, address, replicas...))
	own := "daemon off; error_log stderr; pid " + filepath.Join(dir, "pid") + ";"
	if os.Geteuid() == 0 {
		own += " user root;" // its own account could not enter the test's folder
	}
	start(t, exec.Command(nginx, "-p", dir, "-e", "stderr", "-c", file, "-g", own))
	await(t, address)

	var sent, failed atomic.Int64
	var working sync.WaitGroup
	done := make(chan struct{})
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	ask := func(method, path, key, body string) {
		sent.Add(1)
		r, err := http.NewRequest(method, "http://"+address+path, strings.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		if err != nil {
			failed.Add(1)
			t.Errorf("%s %s: %v", method, path, err)
			return
		}
		said, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			failed.Add(1)
			t.Errorf("%s %s: %d %s", method, path, response.StatusCode, said)
		}
	}
	for i := range 8 {
		working.Go(func() {
			pace := time.NewTicker(16 * time.Millisecond) // 500 requests a second in all
			defer pace.Stop()
			for {
				select {
				case <-done:
					return
				case <-pace.C:
				}
				if i%2 == 0 {
					ask(http.MethodGet, "/v1/forward-auth?scope=read:chat", asked.Reveal(), "")
				} else {
					ask(http.MethodPost, "/v1/api-keys/verify", caller.Reveal(), `{"key":"`+asked.Reveal()+`"}`)
				}
			}
		})
	}
	for _, r := range replicas {
		r.stop(t)
		r.start(t)
	}
	close(done)
	working.Wait()
	if sent.Load() < 500 {
		t.Errorf("only %d requests were sent", sent.Load())
	}
	t.Logf("%d requests, %d failed", sent.Load(), failed.Load())
}
