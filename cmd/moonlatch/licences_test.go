package main

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/licences"
)

// TestEveryLicenceIsInTheProgram compares what the program prints with what the linker put into it.
func TestEveryLicenceIsInTheProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	buildProgram(t, dir)
	info, err := buildinfo.ReadFile(filepath.Join(dir, "moonlatch"))
	if err != nil {
		t.Fatal(err)
	}
	inside := map[string]string{"Go": "standard library and runtime"}
	for _, module := range info.Deps {
		inside[module.Path] = module.Version
	}
	lock, err := os.ReadFile("../../package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var npm struct {
		Packages map[string]struct{ Version string }
	}
	if err := json.Unmarshal(lock, &npm); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"@fontsource-variable/figtree", "daisyui", "htmx.org", "tailwindcss"} {
		inside[name] = npm.Packages["node_modules/"+name].Version
	}
	printed := moonlatch(t, []string{"ADDR=wrong"}, "", "licences").expect(t, exitDone, "Permission is hereby granted").stdout
	if len(inside) < 20 {
		t.Errorf("only %d parts were found", len(inside))
	}
	for name, version := range inside {
		_, entry, found := strings.Cut(printed, "\n"+licences.Heading(name, version)+"\n")
		entry, _, _ = strings.Cut(entry, "\n=== ")
		if !found || len(entry) < 200 {
			t.Errorf("%s %s has no licence here: run make licences", name, version)
		}
	}
}
