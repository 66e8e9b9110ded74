package gateways_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moonlatch/moonlatch/internal/guidetest"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const guide = documents + ".md"

// terminal is a shell that a reader of the guide types into.
type terminal struct {
	t      *testing.T
	dir    string
	stdin  *os.File
	status *bufio.Scanner
	typed  int
}

// openTerminal opens a shell in an empty folder that has the files which the guide names.
func openTerminal(t *testing.T, env ...string) *terminal {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "docs", "gateways"), os.DirFS(documents)); err != nil {
		t.Fatal(err)
	}
	read, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	shell := exec.Command("sh")
	shell.Dir, shell.Stdin, shell.Env = dir, read, append(os.Environ(), append([]string{"HOME=" + t.TempDir()}, env...)...)
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	t.Cleanup(func() { // and all that was started in it
		_ = stdin.Close()
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL)
		_ = shell.Wait()
	})
	return &terminal{t: t, dir: dir, stdin: stdin, status: bufio.NewScanner(stdout)}
}

// enter types commands, and returns whether the last one succeeded, and what they had said when it was done.
func (s *terminal) enter(commands string) (said string, succeeded bool) {
	s.t.Helper()
	s.typed++
	output := filepath.Join(s.dir, "said."+strconv.Itoa(s.typed))
	if _, err := fmt.Fprintf(s.stdin, "{\n%s\n} >%s 2>&1\necho $?\n", commands, output); err != nil {
		s.t.Fatal(err)
	}
	if !s.status.Scan() {
		s.t.Fatalf("the shell ended at:\n%s", commands)
	}
	text, err := os.ReadFile(output)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text), s.status.Text() == "0"
}

// must types commands that succeed.
func (s *terminal) must(commands string) {
	s.t.Helper()
	if said, succeeded := s.enter(commands); !succeeded {
		s.t.Fatalf("%s\n%s", commands, said)
	}
}

// listens waits until a program that was started in the background takes connections.
func (s *terminal) listens(port string) {
	s.t.Helper()
	await(s.t, "127.0.0.1:"+port)
}

// free ports of the trial.
func ports(t *testing.T) (moonlatch, api, gateway string) {
	t.Helper()
	port := func() string {
		_, port, _ := strings.Cut(free(t), ":")
		return port
	}
	return port(), port(), port()
}

// expected is a command of the guide, and the status that its comment names.
var expected = regexp.MustCompile(`^(curl .*\S) +# (\d{3})\b(.*)$`)

// try enters a block's lines one by one, and compares each answer with the line's comment. It returns the last answer.
func (s *terminal) try(block string) (last string) {
	s.t.Helper()
	tried := 0
	for line := range strings.Lines(block) {
		line = strings.TrimSuffix(line, "\n")
		wants := expected.FindStringSubmatch(line)
		if wants == nil {
			s.enter(line)
			continue
		}
		tried++
		last, _ = s.enter(line)
		if !strings.Contains(last, "HTTP/1.1 "+wants[2]) {
			s.t.Errorf("%s\n%s", line, last)
		}
		_, body, _ := strings.Cut(last, "\r\n\r\n")
		sees := strings.Contains(strings.ToLower(body), "x-key-id: ") && !strings.Contains(body, "forged")
		if strings.Contains(wants[3], "the API sees X-Key-Id") && !sees || strings.Contains(wants[3], "the API sees no X-Key-Id") && strings.Contains(strings.ToLower(body), "x-key-id") {
			s.t.Errorf("%s\n%s", line, last)
		}
	}
	if tried == 0 {
		s.t.Fatalf("nothing is tried:\n%s", block)
	}
	return last
}

// TestTheGuideIsFollowed does what docs/gateways.md tells a reader to do, with nothing but its own text and files.
func TestTheGuideIsFollowed(t *testing.T) {
	for _, program := range []string{"curl", "python3"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("the guide's trial needs %s, which is not installed", program)
		}
	}
	programs := t.TempDir()
	build(t, filepath.Join(programs, "moonlatch"))
	databaseURL := storetest.URL(t)
	db, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	org := storetest.Organisation(t, db)
	_ = db.Close()
	cache, err := exec.Command("go", "env", "GOCACHE").Output() // a home without it would have Go compile its own library first
	if err != nil {
		t.Fatal(err)
	}
	start, try := guidetest.Blocks(t, guide, "## Copy, start, try", "sh"), guidetest.Blocks(t, guide, "### Try it", "sh")
	for heading, program := range map[string]string{"### Start nginx": "nginx", "### Start Caddy": "caddy", "### Start the middleware": "go"} {
		t.Run(program, func(t *testing.T) {
			switch {
			case lookUp(program) == "":
				t.Skipf("%s is not installed; make test-gateways installs it", program)
			case program == "nginx" && os.Geteuid() != 0:
				t.Skip("the guide starts nginx as root, which this account is not")
			}
			moonlatch, api, gateway := ports(t)
			s := openTerminal(t, "PATH="+programs+":"+os.Getenv("PATH")+":/usr/sbin:/usr/local/sbin", "DATABASE_URL="+databaseURL, "GOCACHE="+strings.TrimSpace(string(cache)),
				"MOONLATCH_PORT="+moonlatch, "API_PORT="+api, "PORT="+gateway, "ORGANISATION="+org.Name, "OWNER="+org.Owner.Email)
			s.must(start[0])
			s.must(start[1])
			s.listens(moonlatch)
			s.must(start[2])
			s.must(start[3])
			s.listens(api)
			if program == "go" {
				write(t, filepath.Join(s.dir, "trial"), "main.go", guidetest.Blocks(t, guide, heading, "go")[0])
			}
			s.must(guidetest.Blocks(t, guide, heading, "sh")[0])
			s.listens(gateway)
			s.try(try[0])
			if last := s.try(try[1]); !strings.Contains(last, "\r\nRetry-After: ") {
				t.Errorf("without Moonlatch:\n%s", last)
			}
			if t.Failed() {
				for i := range s.typed {
					text, _ := os.ReadFile(filepath.Join(s.dir, "said."+strconv.Itoa(i+1)))
					t.Logf("%d: %s", i+1, text)
				}
			}
		})
	}
	if len(start) != 4+5+len(try) {
		t.Errorf("the guide has %d blocks of commands, which are not those that are run here", len(start))
	}
}

// TestTheGuideAdaptsWhatIsNotRun runs the commands for the gateways that no package has, with programs in their place that only look
// at the files.
func TestTheGuideAdaptsWhatIsNotRun(t *testing.T) {
	programs := t.TempDir()
	for _, program := range []string{"traefik", "envoy"} {
		if err := os.WriteFile(filepath.Join(programs, program), []byte("#!/bin/sh\n: >\"$0.ran\"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	start := guidetest.Blocks(t, guide, "## Copy, start, try", "sh")
	for heading, files := range map[string][]string{"### Start Traefik": {"traefik.yml", "traefik-dynamic.yml"}, "### Start Envoy": {"envoy.yaml"}} {
		s := openTerminal(t, "PATH="+programs+":"+os.Getenv("PATH"), "MOONLATCH_PORT=18080", "API_PORT=19000", "PORT=18000")
		s.must(start[0])
		s.must(guidetest.Blocks(t, guide, heading, "sh")[0] + "wait $gateway")
		var all string
		for _, file := range files {
			text, err := os.ReadFile(filepath.Join(s.dir, "trial", file))
			if err != nil {
				t.Fatal(err)
			}
			all += string(text)
		}
		for _, left := range []string{":8080", " 8080", ":9000", " 9000", `":80"`, "port_value: 80}", "/etc/traefik", "api.example.com`"} {
			if strings.Contains(all, left) {
				t.Errorf("%s leaves %q as it is", heading, left)
			}
		}
		for _, port := range []string{"18080", "19000", "18000"} {
			if !strings.Contains(all, port) {
				t.Errorf("%s does not write %s", heading, port)
			}
		}
	}
	for _, program := range []string{"traefik", "envoy"} {
		if _, err := os.Stat(filepath.Join(programs, program+".ran")); err != nil {
			t.Errorf("%s was not started: %v", program, err)
		}
	}
}
