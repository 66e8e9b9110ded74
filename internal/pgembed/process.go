package pgembed

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"time"
)

// process is a child and the news of its end.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has ended; err is set before
	err  error
}

// launch starts cmd as the account, with the privilege, and asks the system to end it should we die: at once when
// killable, else as Stop would. The system counts the death of the thread that started it as ours, so that thread waits
// for the child; and it is given up afterwards, for privilege may have marked it.
func launch(cmd *exec.Cmd, as *account, with privilege, killable bool) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // without Unlock: the thread ends with this goroutine
		if err := prepare(cmd, as, with, killable); err != nil {
			started <- err
			return
		}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) kill() { _ = p.cmd.Process.Kill() } // fails only when it has ended

func (p *process) stop(ctx context.Context) error {
	select {
	case <-p.done:
		return errors.Join(errors.New("the embedded PostgreSQL had ended before"), p.err)
	default:
	}
	interrupt(p.pid())
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("stopping the embedded PostgreSQL: %w", p.err)
		}
		return nil
	case <-ctx.Done():
		p.stopNow()
		return fmt.Errorf("the embedded PostgreSQL did not stop in time and was killed: %w", ctx.Err())
	}
}

// stopNow ends the server without a checkpoint, its backends too.
func (p *process) stopNow() {
	quit(p.pid())
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		p.kill()
		<-p.done
	}
}
