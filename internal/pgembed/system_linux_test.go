package pgembed

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func asRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root hands its folder to another account")
	}
}

func statusOf(t *testing.T, pid int, field string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), field+":")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}

func TestPostgresOfRootHasNoMoreThanTheCapabilityToReachItsFolder(t *testing.T) {
	asRoot(t)
	s := start(t, t.TempDir(), scratch) // below a folder that only root can enter
	as, err := accountFor(t.TempDir() + "/new")
	if err != nil {
		t.Fatal(err)
	}
	if uid, _, _ := strings.Cut(statusOf(t, s.pid, "Uid"), "\t"); uid == "0" || uid != fmt.Sprint(as.uid) {
		t.Errorf("runs as %s", uid)
	}
	if groups := statusOf(t, s.pid, "Groups"); groups != "" {
		t.Errorf("is in the groups %s", groups)
	}
	effective := statusOf(t, s.pid, "CapEff")
	if effective != fmt.Sprintf("%016x", 1<<capDACReadSearch) && effective != fmt.Sprintf("%016x", 1<<capDACOverride) {
		t.Errorf("has the capabilities %s", effective)
	}
}

func TestPostgresOfRootHasNoCapabilityWhereItNeedsNone(t *testing.T) {
	asRoot(t)
	open := t.TempDir()
	for dir := open; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	as, err := accountFor(filepath.Join(open, "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	bin, err := choose("", 0, open)
	if err != nil {
		t.Fatal(err)
	}
	if !as.reaches(bin.path("postgres")) {
		t.Skipf("%s is closed to account %v here", bin.dir, as)
	}
	s := start(t, open, scratch)
	if effective := statusOf(t, s.pid, "CapEff"); effective != "0000000000000000" {
		t.Errorf("has the capabilities %s", effective)
	}
}

func TestFolderOfAnOrdinaryUserStaysThatUsersWhenRootStarts(t *testing.T) {
	asRoot(t)
	dir := kept(t)
	const ordinary = 12345
	owner := account{ordinary, ordinary}
	for _, name := range []string{"cluster", "run", "password", "lock"} {
		if err := owner.own(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, dir)
	mustHaveKept(t, s)
	if uid, _, _ := strings.Cut(statusOf(t, s.pid, "Uid"), "\t"); uid != fmt.Sprint(ordinary) {
		t.Errorf("runs as %s", uid)
	}
}

func TestFolderThatRootCopiedServes(t *testing.T) {
	asRoot(t)
	dir := kept(t)
	if err := (account{0, 0}).own(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cluster", "run", "password", "lock"} {
		if err := (account{0, 0}).own(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	mustHaveKept(t, start(t, dir))
}
