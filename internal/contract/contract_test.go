// Package contract_test asks other people's tools what they have against the OpenAPI document: two linters, and a
// TypeScript client that is generated from it and compiled.
package contract_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const document = "../../handlers/openapi.yaml"

// complaints is what a tool (check.mjs) has against a document: nothing, or a line for each problem.
func complaints(t *testing.T, tool, document string) string {
	t.Helper()
	if _, err := os.Stat("node_modules/.installed"); err != nil {
		t.Fatal("the linters are not installed: run `make internal/contract/node_modules/.installed`, which `make test` does by itself")
	}
	if _, err := os.ReadDir("."); err != nil { // looked at, so that go test forgets its answer when check.mjs changes
		t.Fatal(err)
	}
	var said strings.Builder
	command := exec.CommandContext(t.Context(), "node", "check.mjs", tool, document, t.TempDir())
	command.Stdout, command.Stderr = &said, &said // a client's generator warns on the second
	if err := command.Run(); err != nil {
		t.Fatalf("%s did not come to an end: %v\n%s", tool, err, said.String())
	}
	return said.String()
}

func TestNoToolComplainsAboutTheDocument(t *testing.T) {
	for _, tool := range []string{"redocly", "spectral", "typescript"} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			if said := complaints(t, tool, document); said != "" {
				t.Error(said)
			}
		})
	}
}

// TestToolsWouldComplain holds the test above to its word: each tool finds the mistake that is its to find.
func TestToolsWouldComplain(t *testing.T) {
	good, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for tool, mistake := range map[string]struct{ right, wrong, want string }{
		"redocly":    {"      summary: Rotate a key\n", "", "operation-summary"},
		"spectral":   {"graceSeconds: 86400\n", "graceSeconds: soon\n", "oas3-valid-media-example"},
		"typescript": {"newKey: {$ref: \"#/components/schemas/NewApiKey\"}", "newKey: {type: string}", "plaintextKey"},
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			bad := strings.Replace(string(good), mistake.right, mistake.wrong, 1)
			file := filepath.Join(t.TempDir(), "openapi.yaml")
			if err := os.WriteFile(file, []byte(bad), 0o600); bad == string(good) || err != nil {
				t.Fatalf("the document has no %q, %v", mistake.right, err)
			}
			if said := complaints(t, tool, file); !strings.Contains(said, mistake.want) {
				t.Errorf("%q is not in %q", mistake.want, said)
			}
		})
	}
}

// TestCommandsOfTheManualGenerateClients runs the commands of docs/api.md as they are printed, against a server that serves
// the document. npx finds the pinned versions in node_modules; Go takes its tool from go.mod, at the version on the page.
func TestCommandsOfTheManualGenerateClients(t *testing.T) {
	manual, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	served, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(served)
	}))
	t.Cleanup(server.Close)
	version, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Path}}/cmd/oapi-codegen@{{.Version}}", "github.com/oapi-codegen/oapi-codegen/v2").Output()
	if err != nil {
		t.Fatal(err)
	}
	pinned := "go run " + strings.TrimSpace(string(version)) + " "
	commands := regexp.MustCompile("(?m)^\\| [^|]+ \\| `((?:npx|curl) [^`]+ -o ([^ `]+)[^`]*)` \\|$").FindAllStringSubmatch(string(manual), -1)
	made := map[string]string{"moonlatch": "moonlatch/sdk.gen.ts", "moonlatch.d.ts": "moonlatch.d.ts", "client.gen.go": "client.gen.go"}
	for _, command := range commands {
		line, file := command[1], made[command[2]]
		delete(made, command[2])
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(line, "go run ") && !strings.Contains(line, pinned) {
				t.Fatalf("%s: go.mod has %s", line, pinned)
			}
			folder := t.TempDir()
			line := strings.ReplaceAll(line, pinned, "go tool oapi-codegen ")
			for _, name := range []string{"moonlatch", "moonlatch.d.ts", "openapi.json", "client.gen.go"} {
				line = strings.ReplaceAll(line, "-o "+name, "-o "+filepath.Join(folder, name))
			}
			line = strings.ReplaceAll(line, " openapi.json", " "+filepath.Join(folder, "openapi.json"))
			shell := exec.CommandContext(t.Context(), "sh", "-euc", line)
			shell.Env = append(os.Environ(), "MOONLATCH_URL="+server.URL, "npm_config_offline=true", "NO_PROXY=*", "no_proxy=*")
			if said, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, said)
			}
			if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, missing := range made {
		t.Errorf("no command in docs/api.md makes %s", missing)
	}
}
