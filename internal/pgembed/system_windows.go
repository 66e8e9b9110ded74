package pgembed

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// PostgreSQL takes no signals here: it is killed, and recovers at its next start.

type (
	account   struct{}
	privilege struct{}
)

func accountFor(string) (*account, error) { return nil, nil }
func (account) own(string) error          { return nil }

func privilegeFor(*account, binaries, string) (privilege, error) { return privilege{}, nil }

func prepare(*exec.Cmd, *account, privilege, bool) error { return nil }

func interrupt(pid int) { kill(pid) }
func quit(pid int)      { kill(pid) }
func kill(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

func commandLine(int) (string, bool) { return "", false }

// tryLock opens the file in such a way that nobody else can open it for writing.
func tryLock(path string) (f *os.File, held bool, err error) {
	name, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return nil, false, err
	}
	h, err := syscall.CreateFile(name, syscall.GENERIC_READ|syscall.GENERIC_WRITE, syscall.FILE_SHARE_READ, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	const sharingViolation syscall.Errno = 32
	if errors.Is(err, sharingViolation) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	return os.NewFile(uintptr(h), path), false, nil
}
