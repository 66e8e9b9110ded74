// Package jobs is what runs by itself: each job shortly after the start, and then again and again until it is stopped.
package jobs

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Job is something to be done again and again. A run that fails is logged, and the next one comes as if it had not.
type Job struct {
	Name  string
	Every time.Duration
	Do    func(context.Context) error
}

// soon is how long after the start a job first runs: not while a server that just starts has better things to do.
const soon = 5 * time.Second

// Jobs are running jobs.
type Jobs struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// Start runs the jobs, each beside the others, until Stop or the end of ctx.
func Start(ctx context.Context, log *slog.Logger, jobs ...Job) *Jobs {
	ctx, cancel := context.WithCancel(ctx)
	j := &Jobs{cancel: cancel}
	for _, job := range jobs {
		j.running.Go(func() { job.repeat(ctx, log) })
	}
	return j
}

// Stop ends the jobs and waits for those that are at work, whose context it cancels.
func (j *Jobs) Stop() {
	j.cancel()
	j.running.Wait()
}

func (j Job) repeat(ctx context.Context, log *slog.Logger) {
	for pause := min(soon, j.Every); ; pause = j.Every {
		if !sleep(ctx, jitter(pause)) {
			return
		}
		began := time.Now()
		err := j.Do(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.WarnContext(ctx, "a job failed", "job", j.Name, "error", err)
		default:
			log.DebugContext(ctx, "a job is done", "job", j.Name, "took", time.Since(began))
		}
	}
}

// jitter lengthens a pause by up to a tenth, so that replicas which started together do not work together.
func jitter(pause time.Duration) time.Duration { return pause + rand.N(pause/10+1) }

// sleep is false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
