package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/guidetest"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const operatorsGuide = "../../docs/operating.md"

// commands are those of the operator's guide under a heading, a block each.
func commands(t *testing.T, heading string) []string {
	t.Helper()
	return guidetest.Blocks(t, operatorsGuide, "## "+heading, "sh")
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
	run := exec.CommandContext(t.Context(), "sh", "-e", "-c", script) // without -u, as people's shells are
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

// TestDumpIsRestored does what the operator's guide says, dumping with the account that serves: what comes back is whole, verifies
// keys, and guards itself.
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

	served := storetest.Serving(restored)
	shell(t, dir, commands(t, "Restore")[1], at[0], "RESTORED_URL="+restored, "DATABASE_URL="+served)

	s, err := store.Open(t.Context(), served)
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
	refusesDisabling(t, served)
	createUser(t, []string{"DATABASE_URL=" + served}, "Acme", "ben@acme.test", "admin")
	moonlatch(t, []string{"DATABASE_URL=" + served}, "", "audit", "verify").expect(t, exitDone, "Acme: 4 events, the chain holds.")
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

// TestFolderIsCopiedOnce refuses to copy into an earlier copy, which cp would do one level deeper or over its files.
func TestFolderIsCopiedOnce(t *testing.T) {
	dir := t.TempDir()
	for name, path := range map[string]string{"plain": dir + "/plain", "slash": dir + "/slash/"} {
		if err := os.MkdirAll(filepath.Join(path, "base"), 0o700); err != nil {
			t.Fatal(err)
		}
		again := exec.CommandContext(t.Context(), "sh", "-c", commands(t, "Back up")[1])
		again.Env = append(os.Environ(), "DATA_DIR="+path)
		shell(t, dir, commands(t, "Back up")[1], "DATA_DIR="+path)
		if !exists(filepath.Join(dir, name+".backup", "base")) {
			t.Errorf("%s: nothing was copied", name)
		}
		if out, err := again.CombinedOutput(); err == nil || exists(filepath.Join(dir, name+".backup", name)) {
			t.Errorf("%s: copied over the first copy: %s", name, out)
		}
	}
}

// TestGuidesCommandsNeedTheirVariables runs each block of the guide as it stands, with none of its variables set: it names the
// one that it lacks, and runs no program.
func TestGuidesCommandsNeedTheirVariables(t *testing.T) {
	text, err := os.ReadFile(operatorsGuide)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for _, heading := range []string{"The secret", "Back up", "Restore", "Install", "Remove"} { // the last two take no variable; make test-packages runs them
		for _, block := range commands(t, heading) {
			tried++
			if !strings.Contains(block, "$") {
				continue
			}
			programs, dir := t.TempDir(), t.TempDir()
			for _, program := range []string{"pg_dump", "pg_restore", "moonlatch", "mkdir", "cp"} {
				if err := os.WriteFile(filepath.Join(programs, program), []byte("#!/bin/sh\n: > ran\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			run := exec.CommandContext(t.Context(), "sh", "-c", block)
			run.Dir, run.Env = dir, []string{"PATH=" + programs}
			out, err := run.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "DATABASE_URL: ") && !strings.Contains(string(out), "RESTORED_URL: ") && !strings.Contains(string(out), "DATA_DIR: ") {
				t.Errorf("%s: %v\n%s%s", heading, err, block, out)
			}
			if exists(filepath.Join(dir, "ran")) {
				t.Errorf("%s: a program ran without its variable:\n%s", heading, block)
			}
		}
	}
	if blocks := strings.Count(string(text), "```sh\n"); tried != blocks {
		t.Errorf("the guide has %d blocks of commands, and %d are run", blocks, tried)
	}
}

// TestGuidesSecretIsTaken reads the file that the guide's command makes.
func TestGuidesSecretIsTaken(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl on this machine: making a secret with it is not tried here")
	}
	dir := t.TempDir()
	shell(t, dir, commands(t, "The secret")[0])
	if _, err := readSecretFile(filepath.Join(dir, "moonlatch.secret")); err != nil {
		t.Error(err)
	}
}

// TestGuideNamesCommandsThatExist looks for each command and flag in the program's own help.
func TestGuideNamesCommandsThatExist(t *testing.T) {
	text, err := os.ReadFile(operatorsGuide)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`moonlatch ([^`]+)`").FindAllStringSubmatch(string(text), -1)
	if len(found) < 4 {
		t.Fatalf("the guide names %d commands", len(found))
	}
	for _, command := range found {
		words := strings.Fields(command[1])
		var path, flags []string
		for _, word := range words {
			switch {
			case strings.HasPrefix(word, "--"):
				flags = append(flags, word)
			case len(flags) == 0 && word != "…":
				path = append(path, word)
			}
		}
		help := moonlatch(t, nil, "", append(path, "--help")...).expect(t, exitDone, "").stdout
		if len(path) > 0 && !strings.Contains(help, "moonlatch "+strings.Join(path, " ")) {
			t.Errorf("there is no %q", command[1])
		}
		for _, flag := range flags {
			if !strings.Contains(help, flag) {
				t.Errorf("%q: there is no %s", command[1], flag)
			}
		}
	}
}
