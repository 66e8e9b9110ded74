// Package contract_test asks other people's tools what they have against the OpenAPI document: two linters, and a
// TypeScript client that is generated from it and compiled.
package contract_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
