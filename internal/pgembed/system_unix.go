//go:build unix

package pgembed

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom PostgreSQL runs as when we are root.
type account struct{ uid, gid int }

func (a account) String() string {
	if u, err := user.LookupId(strconv.Itoa(a.uid)); err == nil {
		return u.Username
	}
	return strconv.Itoa(a.uid)
}

// accountFor is the owner of the data, so that a folder of an ordinary user stays that user's; or, for new data, an
// account that exists for this, or for nothing. It is nil when we are an ordinary user ourselves.
func accountFor(data string) (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	info, err := os.Stat(data)
	if err == nil {
		if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
			return &account{int(st.Uid), int(st.Gid)}, nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid > 0 {
			return &account{uid, gid}, nil
		}
	}
	return &account{65534, 65534}, nil
}

// own gives the account the file, or the folder with what is in it, unless it has it. A folder that root copied is
// root's.
func (a account) own(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == a.uid {
		return nil
	}
	if err == nil {
		err = filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, a.uid, a.gid))
		})
	}
	if err != nil {
		return fmt.Errorf("giving the database folder to account %v, as which PostgreSQL runs: %w", a, err)
	}
	return nil
}

// may tells whether the mode bits give the account the permission (read 4, search and execute 1) on the path itself.
func (a account) may(path string, permission uint32) bool {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return true // the program that needs it will say it better
	}
	mode := uint32(st.Mode)
	switch {
	case int(st.Uid) == a.uid:
		mode >>= 6
	case int(st.Gid) == a.gid:
		mode >>= 3
	}
	return mode&permission == permission
}

// reaches tells whether the account may search every folder above the path.
func (a account) reaches(path string) bool {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if !a.may(dir, 1) {
			return false
		}
		if filepath.Dir(dir) == dir {
			return true
		}
	}
}

func setCredential(cmd *exec.Cmd, as *account) {
	// A session of its own: the terminal's Ctrl-C is ours to handle, and the server is stopped last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if as != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(as.uid), Gid: uint32(as.gid)}
	}
}

// What PostgreSQL understands by these: interrupt is the fast shutdown, quit the immediate one.
func interrupt(pid int) { _ = syscall.Kill(pid, syscall.SIGINT) }
func quit(pid int)      { _ = syscall.Kill(pid, syscall.SIGQUIT) }
func kill(pid int)      { _ = syscall.Kill(pid, syscall.SIGKILL) }

func tryLock(path string) (f *os.File, held bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, false, nil
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, true, nil
	}
	return nil, false, err
}
