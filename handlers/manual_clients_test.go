package handlers

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// clientSections are the sections of the manual that generate clients, and the file of the program that each shows.
var clientSections = map[string]string{
	"In Go, with oapi-codegen":                                 "main.go",
	"In TypeScript, with openapi-ts":                           "keys.ts",
	"In TypeScript, with openapi-typescript and openapi-fetch": "keys.ts",
}

const clientPackages = "../internal/contract"

// TestGeneratedClientsCallTheServer runs the commands of docs/api.md that generate a client, compiles the program beside them,
// and lets it call a server. npm's packages come from the lock file, and the generator for Go from go.mod, each at the version
// on the page; the rest is run as it is printed.
func TestGeneratedClientsCallTheServer(t *testing.T) {
	packages, err := filepath.Abs(clientPackages + "/node_modules")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(packages + "/.installed"); err != nil {
		t.Fatal("the generators are not installed: run `make internal/contract/node_modules/.installed`, which `make test` does by itself")
	}
	locked, err := os.ReadFile(clientPackages + "/package.json")
	if err != nil {
		t.Fatal(err)
	}
	generator, err := exec.CommandContext(t.Context(), "go", "tool", "-n", "oapi-codegen").Output()
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Path}}/cmd/oapi-codegen@{{.Version}}", "github.com/oapi-codegen/oapi-codegen/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	programs, commands := map[string]string{}, map[string]string{}
	for _, x := range examplesIn(t, manual) {
		switch {
		case clientSections[x.section] == "":
		case x.language == "sh":
			commands[x.section] = x.text
		default:
			programs[x.section] = x.text
		}
	}
	pinned := regexp.MustCompile(`(?:npm install |-p )((?:@[\w-]+/)?[\w-]+)@([\d.]+)`)
	for section, file := range clientSections {
		t.Run(section, func(t *testing.T) {
			t.Parallel()
			if programs[section] == "" || commands[section] == "" {
				t.Fatal("docs/api.md has no program, or no commands, in this section")
			}
			for _, name := range pinned.FindAllStringSubmatch(commands[section], -1) {
				if !strings.Contains(string(locked), `"`+name[1]+`": "`+name[2]+`"`) {
					t.Errorf("docs/api.md has %s, which is not the version in package.json", name[0])
				}
			}
			goRun := "go run " + strings.TrimSpace(string(version)) + " "
			if file == "main.go" && !strings.Contains(commands[section], goRun) {
				t.Errorf("docs/api.md does not use the version in go.mod: %s", goRun)
			}
			script := strings.ReplaceAll(commands[section], goRun, strings.TrimSpace(string(generator))+" ")
			script = regexp.MustCompile(`(?m)^npm install .*$`).ReplaceAllString(script, "") // it is installed already
			server, sent := newRecordedSite(t)
			_, secret := server.key(server.org.Admin, "write:api-keys", "read:api-keys", "verify:api-keys", "read:chat")
			folder := t.TempDir()
			if err := os.Symlink(packages, filepath.Join(folder, "node_modules")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(folder, file), []byte(programs[section]), 0o600); err != nil {
				t.Fatal(err)
			}
			shell := exec.CommandContext(t.Context(), "sh", "-euc", script)
			shell.Dir = folder
			shell.Env = append(os.Environ(), "MOONLATCH_URL="+server.URL, "MOONLATCH_API_KEY="+secret, "npm_config_offline=true", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
			said, err := shell.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			server.holdClient(t, string(said))
			calls := sent()
			if len(calls) < 8 {
				t.Errorf("the server got only %d calls", len(calls))
			}
			for _, header := range calls {
				if header.Get("Authorization") != "Bearer "+secret || len(header.Values("Authorization")) != 1 || header.Get("X-Api-Key") != "" || header.Get("Cookie") != "" {
					t.Errorf("the key was not sent as one Bearer header: %d of Authorization, X-Api-Key %t, Cookie %t",
						len(header.Values("Authorization")), header.Get("X-Api-Key") != "", header.Get("Cookie") != "")
				}
			}
		})
	}
}

// newRecordedSite is a server that records the header of every call to /v1.
func newRecordedSite(t *testing.T) (s *site, sent func() []http.Header) {
	t.Helper()
	var mu sync.Mutex
	var calls []http.Header
	s = newSite(t)
	inside := s.Config.Handler
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if forPrograms(r.URL.Path) {
			mu.Lock()
			calls = append(calls, r.Header.Clone())
			mu.Unlock()
		}
		inside.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Server.Close)
	return s, func() []http.Header {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(calls)
	}
}

// holdClient compares what a client's program printed with what became of the keys.
func (s *site) holdClient(t *testing.T, said string) {
	t.Helper()
	rotated := regexp.MustCompile(`(?m)^rotated (\S+) (\S+)$`).FindStringSubmatch(said)
	if rotated == nil {
		t.Fatalf("nothing was rotated:\n%s", said)
	}
	old, err := s.keyring.Key(t.Context(), s.org.Owner, rotated[1])
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.keyring.Key(t.Context(), s.org.Owner, rotated[2])
	if err != nil {
		t.Fatal(err)
	}
	if old.Stored != apikey.Rotated || old.ReplacedBy != next.ID || next.Stored != apikey.Revoked || !strings.HasSuffix(next.Name, ", renamed") {
		t.Errorf("the keys are %+v and %+v", old, next)
	}
	for _, want := range []string{"listed 1", "renamed true", "verified true " + next.Name, "revoked " + next.ID, "refused 404 not_found"} {
		if !slices.Contains(strings.Split(said, "\n"), want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}
