//go:build unix && !linux

package pgembed

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// privilege exists on Linux only.
type privilege struct{}

func privilegeFor(as *account, bin binaries, dir string) (privilege, error) {
	if as == nil || as.reaches(bin.path("postgres")) && as.reaches(filepath.Join(dir, "cluster")) {
		return privilege{}, nil
	}
	return privilege{}, fmt.Errorf("PostgreSQL runs as account %v, which cannot reach %s or %s: open the folders above them to it (chmod o+x), or run Moonlatch as an ordinary user", as, bin.dir, dir)
}

// prepare cannot ask this system to end the child with us: the next start ends it (settleOrphan).
func prepare(cmd *exec.Cmd, as *account, _ privilege, _ bool) error {
	setCredential(cmd, as)
	return nil
}

func commandLine(pid int) (line string, known bool) {
	if syscall.Kill(pid, 0) == syscall.ESRCH {
		return "", true
	}
	out, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return strings.TrimSpace(string(out)), err == nil
}
