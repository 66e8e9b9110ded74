package internal_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// example is a block of CONTRIBUTING.md that names its file, and the line after which it stands in a file that is there.
var example = regexp.MustCompile("(?ms)^```\\w+ ([\\w./]+)(?:: after (?:\"([^\"\\n]*)\"|`([^`\\n]*)`))?\\n(.*?)^```$")

// TestTheExampleOfAScreenWorks puts the blocks of CONTRIBUTING.md where it says that they belong, beside the files as they are
// (go build -overlay), compiles the whole and runs the tests that the guide names as its proof.
func TestTheExampleOfAScreenWorks(t *testing.T) {
	guide, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	blocks := example.FindAllStringSubmatch(string(guide), -1)
	if fences := strings.Count(string(guide), "\n```") / 2; len(blocks) != fences-1 { // the look at the dependencies is a command
		t.Fatalf("%d of the guide's %d blocks say where they belong", len(blocks), fences)
	}
	files := map[string]string{} // their texts by their paths in the project
	for _, b := range blocks {
		name, after, text := b[1], b[2]+b[3], b[4]
		if after == "" {
			if _, err := os.Stat(filepath.Join(root, name)); err == nil || files[name] != "" {
				t.Fatalf("%s is there already: choose another example", name)
			}
			files[name] = text
			continue
		}
		if files[name] == "" {
			whole, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(whole)
		}
		lines := regexp.MustCompile(`(?m)^\t*`+regexp.QuoteMeta(after)+`.*\n`).FindAllStringIndex(files[name], -1)
		if len(lines) != 1 {
			t.Fatalf("%d lines of %s begin with %q, and one is needed", len(lines), name, after)
		}
		at := lines[0][1]
		files[name] = files[name][:at] + text + files[name][at:]
	}

	scratch, overlay := t.TempDir(), map[string]string{}
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
	}
	lay := func(name string) string {
		t.Helper()
		at := filepath.Join(scratch, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(root, name)] = at
		return at
	}
	for name, text := range files {
		at := lay(name)
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if base, is := strings.CutSuffix(name, ".templ"); is {
			run("go", "tool", "templ", "generate", "-f", at)
			lay(base + "_templ.go")
		}
	}
	const types = "handlers/api_types_gen.go"
	config, err := os.ReadFile(filepath.Join(root, "handlers/oapi-codegen.yaml"))
	if err != nil || !strings.Contains(string(config), "output: "+types) {
		t.Fatalf("the configuration names no %s: %v", types, err)
	}
	configured := filepath.Join(scratch, "oapi-codegen.yaml")
	if err := os.WriteFile(configured, []byte(strings.ReplaceAll(string(config), "output: "+types, "output: "+lay(types))), 0o600); err != nil {
		t.Fatal(err)
	}
	run("go", "tool", "oapi-codegen", "-config", configured, filepath.Join(scratch, "handlers/openapi.yaml"))
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	overlaid := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(overlaid, text, 0o600); err != nil {
		t.Fatal(err)
	}
	run("go", "build", "-overlay", overlaid, "./cmd/...", "./handlers", "./views", "./store", "./internal/...")
	run("go", "test", "-overlay", overlaid, "-run", "TestAnAnnouncement", "./internal/keyring")
	run("go", "test", "-overlay", overlaid, "-run", "TestEveryAuditedTable|TestEveryActionHasWords|TestWhatWasRefusedIsInWords", "./store", "./views")
}
