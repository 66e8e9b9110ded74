package pgembed

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// nothingInstalled makes the machine look as if it had no PostgreSQL of its own.
func nothingInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	set(t, &packagedPattern, filepath.Join(t.TempDir(), "*", "bin"))
}

func TestNoPostgresSaysWhereItLookedAndWhatToDo(t *testing.T) {
	nothingInstalled(t)
	set(t, &npmFolder, "no_such_modules")
	_, err := Open(t.Context(), Options{Dir: t.TempDir()})
	if !errors.Is(err, ErrNoPostgres) {
		t.Fatal(err)
	}
	for _, part := range []string{"pg_config", packagedPattern, npmPackage(), "npm ci", BinDirVariable, "DATABASE_URL"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not name %s: %v", part, err)
		}
	}
}

func TestChosenFolderWithoutPostgresIsRefused(t *testing.T) {
	empty := t.TempDir()
	if _, err := choose(empty, 0, "data"); !errors.Is(err, ErrNoPostgres) || !strings.Contains(err.Error(), empty+": has no postgres") {
		t.Errorf("the error reads: %v", err)
	}
}

func TestTooOldPostgresIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	bin := t.TempDir()
	for _, program := range []string{"postgres", "initdb", "pg_ctl"} {
		if err := os.WriteFile(filepath.Join(bin, program), []byte("#!/bin/sh\necho 'postgres (PostgreSQL) 14.9'\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := choose(bin, 0, "data"); !errors.Is(err, ErrNoPostgres) || !strings.Contains(err.Error(), "is PostgreSQL 14, which is too old") {
		t.Errorf("the error reads: %v", err)
	}
}

func TestNewestPackagedVersionIsLookedAtFirst(t *testing.T) {
	root := t.TempDir()
	for _, version := range []string{"9.6", "15", "18", "17"} {
		if err := os.MkdirAll(filepath.Join(root, version, "bin"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	nothingInstalled(t)
	set(t, &packagedPattern, filepath.Join(root, "*", "bin"))
	var got []string
	for _, p := range places("") {
		if p.what == "packaged" {
			got = append(got, filepath.Base(filepath.Dir(p.dir)))
		}
	}
	if order := strings.Join(got, " "); order != "18 17 15 9.6" {
		t.Errorf("looks at %s", order)
	}
}

func TestVersionIsRead(t *testing.T) {
	for text, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18.4\n":                           18,
		"postgres (PostgreSQL) 19beta1\n":                        19,
	} {
		if got, err := majorOf(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	if _, err := majorOf("Segmentation fault"); err == nil {
		t.Error("no version is read as one")
	}
}

// The package as npm leaves it when it runs no install scripts, in a folder that mktemp -d would make: closed to every
// other account, so that as root PostgreSQL's account cannot reach it by itself.
func TestNpmPackageServesFromAClosedFolderAndWithoutItsInstallScript(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	source := above(wd, filepath.Join("node_modules", npmPackage()))
	if source == "" {
		t.Skip("the npm package is not installed: run 'npm ci' in the source folder")
	}
	checkout := filepath.Join(t.TempDir(), "a check out")
	if err := os.Mkdir(checkout, 0o700); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(checkout, "node_modules", npmPackage())
	if err := os.CopyFS(copied, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(copied, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type() == fs.ModeSymlink {
			return os.Remove(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	postgres := filepath.Join(copied, "native", "bin", "postgres")
	if runtime.GOOS == "windows" {
		postgres += ".exe"
	} else if err := os.Chmod(postgres, 0o644); err != nil {
		t.Fatal(err)
	}
	inside := filepath.Join(checkout, "internal", "package")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	nothingInstalled(t)
	t.Chdir(inside)

	s := start(t, filepath.Join(checkout, "data"), scratch)
	if got := ask(t, connect(t, s.URL()), "SELECT 'Ä' ~* 'ä'"); got != "true" {
		t.Errorf("it answers %q", got)
	}
	chosen, err := choose("", 0, "data")
	if err != nil {
		t.Fatal(err)
	}
	if chosen.path("postgres") != postgres {
		t.Errorf("served by %s", chosen.path("postgres"))
	}
}
