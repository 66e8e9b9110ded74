package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moonlatch/moonlatch/internal/jobs"
)

var silent = slog.New(slog.DiscardHandler)

func TestAJobRunsSoonAndThenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var runs atomic.Int32
		j := jobs.Start(t.Context(), silent, jobs.Job{Name: "count", Every: 10 * time.Minute, Do: func(context.Context) error {
			runs.Add(1)
			return nil
		}})
		defer j.Stop()
		for _, c := range []struct {
			pause    time.Duration
			from, to int32 // a pause is 10 to 11 minutes
		}{{4 * time.Second, 0, 0}, {2 * time.Second, 1, 1}, {9 * time.Minute, 1, 1}, {3 * time.Minute, 2, 2}, {50 * time.Minute, 6, 7}} {
			time.Sleep(c.pause)
			synctest.Wait()
			if got := runs.Load(); got < c.from || got > c.to {
				t.Fatalf("%v later it has run %d times, not %d to %d", c.pause, got, c.from, c.to)
			}
		}
	})
}

func TestAJobThatFailsIsLoggedAndRunsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		runs := 0
		j := jobs.Start(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), jobs.Job{Name: "sweep", Every: time.Second, Do: func(context.Context) error {
			runs++
			return errors.New("the database does not answer")
		}})
		time.Sleep(3 * time.Second)
		j.Stop()
		if runs < 2 {
			t.Errorf("it ran %d times", runs)
		}
		if said := log.String(); strings.Count(said, "job=sweep") != runs || !strings.Contains(said, "does not answer") {
			t.Errorf("the log says %q of %d runs", said, runs)
		}
	})
}

func TestStopWaitsForAJobAtWorkAndStartsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		finished := 0
		j := jobs.Start(t.Context(), slog.New(slog.NewTextHandler(&log, nil)), jobs.Job{Name: "slow", Every: time.Second, Do: func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Minute) // takes its time to tidy up
			finished++
			return ctx.Err()
		}})
		time.Sleep(2 * time.Second)
		j.Stop()
		time.Sleep(time.Hour)
		if finished != 1 || log.Len() > 0 {
			t.Errorf("%d runs finished, and the log says %q", finished, log.String())
		}
	})
}

func TestJobsEndWithTheirContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		j := jobs.Start(ctx, silent, jobs.Job{Name: "never", Every: time.Hour, Do: func(context.Context) error {
			t.Error("it ran")
			return nil
		}})
		cancel()
		j.Stop()
	})
}
