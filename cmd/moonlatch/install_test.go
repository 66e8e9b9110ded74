package main

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

const packaging = "../../packaging/"

// makeInstall runs "make install" of an empty program into a folder, and returns the modes of what it laid there.
func makeInstall(t *testing.T, dir, prefix string) map[string]fs.FileMode {
	t.Helper()
	if out, err := tryInstall(t, dir, prefix); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
	laid := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		laid[strings.TrimPrefix(file, dir)] = info.Mode().Perm()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return laid
}

// tryInstall runs "make install" of an empty program into a folder, and returns what it said.
func tryInstall(t *testing.T, dir, prefix string) (string, error) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "a program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "make", "-C", "../..", "install", "PROGRAM="+program, "DESTDIR="+dir, "PREFIX="+prefix).CombinedOutput()
	return string(out), err
}

// TestInstallPutsEverythingInItsPlace installs under several prefixes, and a second time over changed settings.
func TestInstallPutsEverythingInItsPlace(t *testing.T) {
	t.Parallel()
	for prefix, system := range map[string]string{"/usr/local": "/usr/local", "/usr": "/usr", "/opt/moon-latch_1.0+2": "/usr/local", "/srv/tmp/home": "/usr/local", "/opt/": "/usr/local", "/": "/usr/local"} {
		dir := filepath.Join(t.TempDir(), "two words")
		settings := filepath.Join(dir, "etc/moonlatch/moonlatch.env")
		laid := makeInstall(t, dir, prefix)
		prefix = strings.TrimSuffix(prefix, "/")
		want := map[string]fs.FileMode{
			prefix + "/bin/moonlatch":                        0o755,
			system + "/lib/systemd/system/moonlatch.service": 0o644, // where systemd looks
			system + "/lib/sysusers.d/moonlatch.conf":        0o644,
			"/etc/moonlatch/moonlatch.env":                   0o640,
		}
		if !maps.Equal(laid, want) {
			t.Errorf("it installs %v, and not %v", laid, want)
		}
		unit := readText(t, filepath.Join(dir, system, "lib/systemd/system/moonlatch.service"))
		if start := "\nExecStart=" + prefix + "/bin/moonlatch serve\n"; !strings.Contains(unit, start) {
			t.Errorf("with PREFIX=%s the unit lacks %q", prefix, start)
		}
		if readText(t, settings) != readText(t, packaging+"moonlatch.env") {
			t.Error("the settings differ from packaging/moonlatch.env")
		}
		if err := os.WriteFile(settings, []byte("LOG_LEVEL=debug\n"), 0o640); err != nil {
			t.Fatal(err)
		}
		makeInstall(t, dir, prefix)
		if readText(t, settings) != "LOG_LEVEL=debug\n" {
			t.Error("a second installation changed the settings")
		}
	}
}

// TestInstallRefusesAPrefixThatTheUnitCannotStart tries prefixes that sed, a shell or systemd would read in another way.
func TestInstallRefusesAPrefixThatTheUnitCannotStart(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"opt/moonlatch", ".", "../x", "~/moonlatch", "/opt/a|b", "/opt/a&b", "/opt/a b", "/opt/a\\b", `/opt/a"b`, "/opt/a'b", "/opt/a%b", "/opt/a;b", "/opt/a`id`", "/opt/é",
		"/opt/../x", "/opt/.", "//opt", "/opt//x", "/home/ada", "/root", "/tmp/x", "/var/tmp", "/run/user/0/x"} {
		dir := t.TempDir()
		out, err := tryInstall(t, dir, prefix)
		var said []string
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, "install: PREFIX="+prefix+" is ") {
				said = append(said, line)
			}
		}
		if laid, _ := os.ReadDir(dir); err == nil || len(said) != 1 || len(laid) > 0 {
			t.Errorf("PREFIX=%s: %v, %q, and it installed %v", prefix, err, out, laid)
		}
	}
}

// TestPackagesHoldWhatIsInstalled compares nfpm's configuration with what "make install" lays: the same files, with the same modes.
func TestPackagesHoldWhatIsInstalled(t *testing.T) {
	t.Parallel()
	var config struct {
		Depends  []string
		Contents []struct {
			Source   string `yaml:"src"`
			Place    string `yaml:"dst"`
			Type     string
			FileInfo struct{ Mode fs.FileMode } `yaml:"file_info"`
		}
		Scripts map[string]string
	}
	if err := yaml.Unmarshal([]byte(readText(t, packaging+"nfpm.yaml")), &config); err != nil {
		t.Fatal(err)
	}
	packed := map[string]fs.FileMode{}
	for _, file := range config.Contents {
		switch place, staged := strings.CutPrefix(file.Source, "${STAGE}"); {
		case staged:
			packed[place] = file.FileInfo.Mode
			if place != file.Place {
				t.Errorf("%s is packed as %s", place, file.Place)
			}
		case file.Source != "" && !exists("../../"+file.Source):
			t.Errorf("there is no %s to be packed", file.Source)
		}
		if file.FileInfo.Mode == 0 {
			t.Errorf("%s has the mode that it happens to have in the checkout", file.Place)
		}
		if kept := file.Type == "config|noreplace"; kept != strings.HasPrefix(file.Place, "/etc/moonlatch/") {
			t.Errorf("%s is kept when it was changed: %t", file.Place, kept)
		}
	}
	if laid := makeInstall(t, t.TempDir(), "/usr"); !maps.Equal(packed, laid) {
		t.Errorf("the packages hold %v, and make install lays %v", packed, laid)
	}
	if !slices.Contains(config.Depends, "systemd") {
		t.Error("systemd-sysusers makes the account, and the packages do not depend on systemd")
	}
	scripts, err := filepath.Glob(packaging + "*.sh")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%v, %v", scripts, err)
	}
	for _, script := range scripts {
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	for when, script := range config.Scripts {
		if !exists("../../" + script) {
			t.Errorf("there is no %s for %s", script, when)
		}
	}
}

// TestSettingsFileHoldsEveryVariable reads the settings file that is installed as a shell does, as it is and with its examples.
func TestSettingsFileHoldsEveryVariable(t *testing.T) {
	t.Parallel()
	text := readText(t, packaging+"moonlatch.env")
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(rand.Text()+rand.Text()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile(`(?m)^#([A-Z0-9_]+=)`).ReplaceAllString(text, "$1")
	examples = strings.ReplaceAll(examples, "/etc/moonlatch/secret", secret)
	for _, settings := range []string{text, examples} {
		out, err := exec.CommandContext(t.Context(), "env", "-i", "/bin/sh", "-c", `set -a; eval "$1"; env`, "sh", settings).Output()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readConfig(strings.Split(strings.TrimSpace(string(out)), "\n")); err != nil {
			t.Errorf("the settings are refused: %v", err)
		}
	}
	named := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^([A-Z0-9_]+)=(.*)$`).FindAllStringSubmatch(examples, -1) {
		named[match[1]] = match[2]
	}
	for field := range reflect.TypeFor[config]().Fields() {
		name, standard := field.Tag.Get("env"), field.Tag.Get("envDefault")
		example, found := named[name]
		if !found {
			t.Errorf("packaging/moonlatch.env lacks %s", name)
		}
		if standard != "" && example != standard && name != "DATA_DIR" { // a folder that systemd makes
			t.Errorf("packaging/moonlatch.env has %s=%s, and the default is %s", name, example, standard)
		}
		delete(named, name)
	}
	if len(named) > 0 {
		t.Errorf("packaging/moonlatch.env has what the program does not read: %v", named)
	}
}

// TestUnitIsHardened has systemd rate the unit: below 2.0 of 10, where 10 is unprotected.
func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	lines := strings.Split(readText(t, packaging+"moonlatch.service"), "\n")
	for _, setting := range []string{"User=moonlatch", "StateDirectory=moonlatch", "KillMode=mixed", "EnvironmentFile=-/etc/moonlatch/moonlatch.env",
		"Restart=on-failure", fmt.Sprintf("RestartPreventExitStatus=%d", exitConfig)} {
		if !slices.Contains(lines, setting) {
			t.Errorf("the unit lacks %s", setting)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on this machine: the unit is not rated here")
	}
	rate := func(unit string) (string, error) {
		out, err := exec.CommandContext(t.Context(), analyze, "security", "--offline=true", "--threshold=19", "--no-pager", unit).CombinedOutput()
		return string(out), err
	}
	unprotected := filepath.Join(t.TempDir(), "bare.service")
	if err := os.WriteFile(unprotected, []byte("[Service]\nExecStart=/bin/true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := rate(unprotected); err == nil || !strings.Contains(out, "Overall exposure level") {
		t.Skipf("this systemd-analyze can't rate a unit by its file: %v\n%s", err, out)
	}
	if out, err := rate(packaging + "moonlatch.service"); err != nil {
		t.Errorf("systemd-analyze: %v\n%s", err, out)
	}
}

// TestVersionComesFromTheTag asks for the version of a repository as it goes from its first commit to a tag and beyond.
func TestVersionComesFromTheTag(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script, err := filepath.Abs(packaging + "version.sh")
	if err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Ada", "-c", "user.email=ada@acme.test", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)...)
		command.Dir = dir
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commit := func(text string) {
		t.Helper()
		write(text)
		git("add", "file")
		git("commit", "--quiet", "--message", text)
	}
	version := func(pattern string) {
		t.Helper()
		command := exec.CommandContext(t.Context(), "sh", script)
		command.Dir = dir
		out, err := command.Output()
		if got := strings.TrimSpace(string(out)); err != nil || !regexp.MustCompile("^"+pattern+"$").MatchString(got) {
			t.Errorf("it is %q, and not %s: %v", got, pattern, err)
		}
	}
	git("init", "--quiet")
	commit("first")
	version(`0\.0\.0\+1\.g[0-9a-f]{12}`)
	write("changed")
	version(`0\.0\.0\+1\.g[0-9a-f]{12}\.dirty`)
	commit("second")
	git("tag", "v1.2.3")
	git("tag", "latest")
	version(`1\.2\.3`)
	write("changed again")
	version(`1\.2\.3\+0\.g[0-9a-f]{12}\.dirty`)
	commit("third")
	version(`1\.2\.3\+1\.g[0-9a-f]{12}`)
	git("tag", "--annotate", "v1.3.0-rc.1", "--message", "soon")
	version(`1\.3\.0-rc\.1`)
	commit("fourth")
	version(`1\.3\.0-rc\.1\+1\.g[0-9a-f]{12}`)
}

func readText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
