package pgembed

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

const (
	// BinDirVariable is the environment variable whose value is meant for Options.BinDir; errors name it.
	BinDirVariable = "PG_BINDIR"
	// The oldest major version that the schema is tested with.
	oldestMajor = 15
)

// Tests look elsewhere.
var (
	packagedPattern = "/usr/lib/postgresql/*/bin" // where Debian's packages put every major version
	npmFolder       = "node_modules"
)

// binaries is one installed PostgreSQL.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(program string) string {
	if runtime.GOOS == "windows" {
		program += ".exe"
	}
	return filepath.Join(b.dir, program)
}

// choose finds the first usable PostgreSQL, or the one in binDir when that is not "": of the major version that made
// the data when there is data (made != 0).
func choose(binDir string, made int, dir string) (binaries, error) {
	var looked, others []string
	for _, place := range places(binDir) {
		if place.dir == "" {
			looked = append(looked, place.what+": not there")
			continue
		}
		b, err := inspect(place)
		if err != nil {
			looked = append(looked, fmt.Sprintf("%s %s: %v", place.what, place.dir, err))
			continue
		}
		if made == 0 || b.major == made {
			return b, nil
		}
		others = append(others, fmt.Sprintf("%d (%s)", b.major, b.dir))
	}
	if len(others) > 0 {
		return binaries{}, fmt.Errorf("%w: %s needs PostgreSQL %d, and this machine has %s; install PostgreSQL %d, "+
			"or set %s to the folder of its programs, or move the folder away to start with an empty database",
			ErrOtherVersion, dir, made, strings.Join(others, ", "), made, BinDirVariable)
	}
	return binaries{}, fmt.Errorf("%w; looked at %s; run 'npm ci' in the source folder, or install PostgreSQL %d or newer, "+
		"or set %s to the folder of its programs, or set DATABASE_URL to use a server",
		ErrNoPostgres, strings.Join(looked, "; "), oldestMajor, BinDirVariable)
}

// place is a folder where PostgreSQL's programs may be; dir is empty when there is no such folder.
type place struct {
	what, dir string
	npm       bool
}

func places(binDir string) []place {
	if binDir != "" {
		return []place{{what: BinDirVariable, dir: binDir}} // who names one wants no other
	}
	config := place{what: "pg_config"}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		config.dir = strings.TrimSpace(string(out))
	}
	all := []place{config}

	packaged, _ := filepath.Glob(packagedPattern) // fails only for a malformed pattern
	packaged = slices.DeleteFunc(packaged, func(dir string) bool { return dir == config.dir })
	slices.SortFunc(packaged, func(a, b string) int { return -cmp.Compare(folderVersion(a), folderVersion(b)) })
	for _, dir := range packaged {
		all = append(all, place{what: "packaged", dir: dir})
	}
	if len(packaged) == 0 && config.dir == "" {
		all = append(all, place{what: packagedPattern})
	}

	name := npmPackage()
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	npm := place{what: "npm package " + name + " above " + strings.Join(starts, " and "), npm: true}
	for _, start := range starts {
		if dir := above(start, filepath.Join(npmFolder, name, "native", "bin")); dir != "" {
			npm.dir = dir
			break
		}
	}
	return append(all, npm)
}

func folderVersion(bin string) float64 {
	v, _ := strconv.ParseFloat(filepath.Base(filepath.Dir(bin)), 64)
	return v
}

func npmPackage() string {
	return "@embedded-postgres/" + runtime.GOOS + "-" + strings.Replace(runtime.GOARCH, "amd64", "x64", 1)
}

// above is the first folder called name in start or in one of its parents.
func above(start, name string) string {
	for dir := start; ; dir = filepath.Dir(dir) {
		if path := filepath.Join(dir, name); isDir(path) {
			return path
		}
		if filepath.Dir(dir) == dir {
			return ""
		}
	}
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func inspect(p place) (binaries, error) {
	dir, err := filepath.Abs(p.dir)
	if err != nil {
		return binaries{}, err
	}
	b := binaries{dir: dir}
	if p.npm {
		if err := hydrate(filepath.Dir(dir)); err != nil {
			return binaries{}, err
		}
	}
	for _, program := range []string{"postgres", "initdb", "pg_ctl"} {
		if _, err := os.Stat(b.path(program)); err != nil {
			return binaries{}, fmt.Errorf("has no %s", program)
		}
	}
	out, err := exec.Command(b.path("postgres"), "--version").CombinedOutput()
	if err != nil {
		return binaries{}, fmt.Errorf("its postgres does not run: %w %s", err, strings.TrimSpace(string(out)))
	}
	if b.major, err = majorOf(string(out)); err != nil {
		return binaries{}, err
	}
	if b.major < oldestMajor {
		return binaries{}, fmt.Errorf("is PostgreSQL %d, which is too old", b.major)
	}
	return b, nil
}

// majorOf reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", and 18beta1 for a prerelease.
func majorOf(version string) (int, error) {
	_, rest, _ := strings.Cut(version, ") ")
	digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err := strconv.Atoi(digits)
	if err != nil {
		return 0, fmt.Errorf("does not say its version: %q", strings.TrimSpace(version))
	}
	return major, nil
}

// hydrate does what the npm package's install script would: npm's archives hold no symbolic links, and npm no longer
// runs install scripts unasked.
func hydrate(native string) error {
	text, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if os.IsNotExist(err) {
		return nil // Windows has none
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("its pg-symlinks.json: %w", err)
	}
	root := filepath.Dir(native)
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("its pg-symlinks.json leads out of the package: %q", l.Target)
		}
		target := filepath.Join(root, l.Target)
		if _, err := os.Stat(target); err == nil {
			continue
		}
		rel, err := filepath.Rel(filepath.Dir(target), filepath.Join(root, l.Source))
		if err != nil {
			return err
		}
		if err := os.Symlink(rel, target); err != nil && !os.IsExist(err) {
			return fmt.Errorf("its libraries lack their links, and this account cannot make them: %w", err)
		}
	}
	programs, err := os.ReadDir(filepath.Join(native, "bin"))
	if err != nil {
		return err
	}
	for _, p := range programs {
		info, err := p.Info()
		if err != nil {
			return err
		}
		if info.Mode()&0o100 == 0 {
			path := filepath.Join(native, "bin", p.Name())
			if err := os.Chmod(path, info.Mode()|((info.Mode()&fs.ModePerm&0o444)>>2)); err != nil {
				return fmt.Errorf("its programs are not executable, and this account cannot change that: %w", err)
			}
		}
	}
	return nil
}
