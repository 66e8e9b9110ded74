package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// commands are those of the operator's guide under a heading, a block each.
func commands(t *testing.T, heading string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(text), "\n## "+heading+"\n")
	part, _, _ = strings.Cut(part, "\n## ")
	var blocks []string
	for {
		var block string
		if _, part, _ = strings.Cut(part, "```sh\n"); part == "" {
			break
		}
		block, part, _ = strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	if !found || len(blocks) == 0 {
		t.Fatalf("the guide has no commands under %q", heading)
	}
	return blocks
}

// clientPrograms is the folder of PostgreSQL's programs for dumping and restoring. A test's own server comes with them where
// PostgreSQL is installed, and without where it is npm's.
func clientPrograms(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("pg_dump"); err == nil && os.Getenv("DATABASE_URL") != "" {
		return filepath.Dir(path)
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if path := filepath.Join(strings.TrimSpace(string(out)), "pg_dump"); exists(path) {
			return filepath.Dir(path)
		}
	}
	if len(found) == 0 {
		t.Skip("no pg_dump on this machine: backing up with it is not tried here")
	}
	return filepath.Dir(slices.Max(found))
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// shell runs commands of the guide in a folder, with a moonlatch of ours.
func shell(t *testing.T, dir, script string, env ...string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
	run.Dir, run.Env = dir, append(os.Environ(), env...)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// buildProgram builds the program into a folder.
func buildProgram(t *testing.T, dir string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "moonlatch"), ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestDumpIsRestored does what the operator's guide says: what comes back is whole, verifies keys, and guards itself.
func TestDumpIsRestored(t *testing.T) {
	t.Parallel()
	dir, programs := t.TempDir(), clientPrograms(t)
	buildProgram(t, dir)
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	issued := moonlatch(t, env, "", "key", "issue", "--organisation", "Acme", "--owner", "ada@acme.test", "--name", "CI", "--scope", "read:chat").expect(t, exitDone, "pk_live_")
	restored := storetest.Empty(t)
	at := []string{"PATH=" + dir + ":" + programs + ":" + os.Getenv("PATH"), env[0], "RESTORED_URL=" + restored}
	shell(t, dir, commands(t, "Back up")[0], at...)
	if said := shell(t, dir, commands(t, "Restore")[0], at...); !strings.Contains(said, "Acme: 3 events, the chain holds.") {
		t.Errorf("the restored log: %q", said)
	}

	s, err := store.Open(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	hash := sha256.Sum256([]byte(strings.TrimSpace(issued.stdout)))
	if known, err := s.KeyByHash(t.Context(), hash); err != nil || known.Name != "CI" {
		t.Errorf("the key %s: %+v, %v", hex.EncodeToString(hash[:4]), known, err)
	}
	db := storetest.DB(t, restored)
	for _, forbidden := range []string{`UPDATE audit_events SET after = ''`, `DELETE FROM audit_events`, `UPDATE api_keys SET name = 'x'`} {
		if _, err := db.Exec(forbidden); err == nil {
			t.Errorf("the restored database allows %s", forbidden)
		}
	}
	createUser(t, []string{"DATABASE_URL=" + restored}, "Acme", "ben@acme.test", "admin")
	moonlatch(t, []string{"DATABASE_URL=" + restored}, "", "audit", "verify").expect(t, exitDone, "Acme: 4 events, the chain holds.")
}

// TestFolderIsCopied is the same for a server that runs a PostgreSQL of its own.
func TestFolderIsCopied(t *testing.T) {
	t.Parallel()
	env := onFolder(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	data := strings.TrimPrefix(env[0], "DATA_DIR=")
	shell(t, filepath.Dir(data), commands(t, "Back up")[1], env[0])
	t.Cleanup(func() { _ = os.RemoveAll(data + ".backup") })
	createUser(t, env, "Acme", "ben@acme.test", "admin")
	moonlatch(t, []string{"DATA_DIR=" + data + ".backup"}, "", "audit", "verify").expect(t, exitDone, "Acme: 2 events, the chain holds.")
}
