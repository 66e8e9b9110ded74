package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// MaxClockSkew is how far this machine's clock may be off the database's before the server says so and is not ready.
const MaxClockSkew = 2 * time.Second

// ErrClockSkew says that this machine's clock is off the database's by more than MaxClockSkew.
var ErrClockSkew = errors.New("this server's clock is wrong")

// clock follows the database's clock, so that several replicas have one time and a wrong clock on one of them ends
// nothing. Between two readings it goes by the monotonic clock, which a correction of the wall clock does not move.
type clock struct {
	wall    func() time.Time // this machine's clock, to be replaced by tests
	reading atomic.Pointer[reading]
	last    atomic.Int64 // the latest time that now returned, in microseconds since 1970
}

// reading is what the database's clock showed at a moment of the monotonic clock, give or take the uncertainty.
type reading struct {
	database, at time.Time
	uncertainty  time.Duration
}

func newClock() *clock {
	return &clock{wall: time.Now}
}

// now returns the database's time, in UTC and whole microseconds. It does not step back when a better reading shows that
// the one before was ahead: it holds until the database's time has caught up, for at most MaxClockSkew. Only a database
// whose own clock was set back further, or another one that has taken its place, sets it back.
func (c *clock) now() time.Time {
	for {
		last := c.last.Load() // before the estimate: of two calls at once the slower one tries again
		now := c.estimate().UnixMicro()
		if behind := last - now; behind >= 0 && behind <= MaxClockSkew.Microseconds() {
			now = last
		} else if !c.last.CompareAndSwap(last, now) {
			continue
		}
		return time.UnixMicro(now).UTC()
	}
}

// estimate returns the database's time by the last reading; this machine's until the database was read.
func (c *clock) estimate() time.Time {
	if r := c.reading.Load(); r != nil {
		return r.database.Add(time.Since(r.at))
	}
	return c.wall()
}

// read takes what the database's clock showed between the moments when it was asked and when it answered. A reading that
// agrees with the one before and is no more certain changes nothing, so that the time does not jitter.
func (c *clock) read(database, asked, answered time.Time) {
	half := answered.Sub(asked) / 2
	database = database.Add(half)
	before := c.reading.Load()
	if before == nil || half < before.uncertainty || database.Sub(before.database.Add(answered.Sub(before.at))).Abs() > half+before.uncertainty {
		c.reading.Store(&reading{database, answered, half})
	}
}

// skew returns how far this machine's clock is ahead of the database's; negative where it is behind.
func (c *clock) skew() time.Duration { return c.wall().Sub(c.estimate()) }

// check returns ErrClockSkew, with the skew, when it is more than MaxClockSkew.
func (c *clock) check() error {
	skew := c.skew()
	if skew.Abs() <= MaxClockSkew {
		return nil
	}
	side := "ahead of"
	if skew < 0 {
		side = "behind"
	}
	return fmt.Errorf("%w: it is %s %s the database's", ErrClockSkew, skew.Abs().Round(time.Second), side)
}

// ClockSkew returns how far this machine's clock is ahead of the database's, by the last reading.
func (s *Store) ClockSkew() time.Duration { return s.clock.skew() }

func (s *Store) readClock(ctx context.Context) error {
	var database time.Time
	asked := time.Now()
	if err := s.db.GetContext(ctx, &database, `SELECT clock_timestamp()`); err != nil {
		return err
	}
	s.clock.read(database, asked, time.Now())
	return nil
}
