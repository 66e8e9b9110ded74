package pgembed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	capDACOverride   = 1
	capDACReadSearch = 2

	prSetSecurebits     = 28
	secbitNoSetuidFixup = 1 << 2
)

// privilege is the capability that PostgreSQL keeps although it is not root; 0 is none.
type privilege uintptr

// privilegeFor says what the account lacks to reach its programs and its data: nothing, where it can by itself. A
// checkout under /root, or under a folder that mktemp -d made, is closed to it otherwise. Reading and searching
// suffice, unless the programs themselves are closed (umask 077) or a container withholds that capability and only has
// the wider one, as Docker's does.
func privilegeFor(as *account, bin binaries, dir string) (privilege, error) {
	if as == nil {
		return 0, nil
	}
	runs := as.may(bin.path("postgres"), 1) && as.may(bin.path("initdb"), 1)
	// Where there is no such lib or share, as with Debian's share, it is the system's and open.
	reads := as.may(filepath.Join(bin.dir, "../lib"), 4|1) && as.may(filepath.Join(bin.dir, "../share"), 4|1)
	if runs && reads && as.reaches(bin.path("postgres")) && as.reaches(filepath.Join(dir, "cluster")) {
		return 0, nil
	}
	have, err := permitted()
	if err != nil {
		return 0, err
	}
	if runs && have&(1<<capDACReadSearch) != 0 {
		return capDACReadSearch, nil
	}
	if have&(1<<capDACOverride) != 0 {
		return capDACOverride, nil
	}
	return 0, fmt.Errorf("PostgreSQL runs as account %v, which cannot reach %s or %s: open the folders above them to it (chmod o+x), or run Moonlatch as an ordinary user", as, bin.dir, dir)
}

func permitted() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(text), "CapPrm:")
	line, _, _ := strings.Cut(after, "\n")
	return strconv.ParseUint(strings.TrimSpace(line), 16, 64)
}

// prepare is called on the thread that starts the child.
func prepare(cmd *exec.Cmd, as *account, with privilege, killable bool) error {
	setCredential(cmd, as)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
	if killable {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if with == 0 {
		return nil
	}
	cmd.SysProcAttr.AmbientCaps = []uintptr{uintptr(with)}
	// PostgreSQL looks for its programs with access(2), which disregards the capabilities of whoever is not root unless
	// this bit is set (access_override_creds in the kernel's fs/open.c). It belongs to the thread, and the child
	// inherits it.
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetSecurebits, secbitNoSetuidFixup, 0); errno != 0 {
		return fmt.Errorf("letting account %v reach its programs and data: %w", as, errno)
	}
	return nil
}

// commandLine is empty when there is no such process, or it has ended and nobody has taken note of it. known is false
// when the system does not show it.
func commandLine(pid int) (line string, known bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if os.IsNotExist(err) {
		err = syscall.Kill(pid, 0) // a hidden process (hidepid) looks like none
	}
	if err != nil {
		return "", errors.Is(err, syscall.ESRCH)
	}
	return string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})), true
}
