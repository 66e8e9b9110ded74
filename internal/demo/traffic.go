package demo

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// traffic is the requests that somebody makes with a key.
type traffic struct {
	busy   float64 // requests in its busiest hours
	shape  shape
	agent  string
	from   []string      // addresses
	goesOn time.Duration // how long it keeps trying a key that is no longer good
	ended  time.Duration // so long ago; 0: it still runs
	stray  bool          // now and then somebody tries it from an address that the key does not allow
}

// shape is how much of a caller's busiest hour another hour has: 0 to 1.
type shape func(hour time.Time) float64

const shown = 90 // days of requests

// batch is how many counts go to the database at once, well within its time limit on a slow machine.
const batch = 5000

// always is a service that people use all day, in the evening most, at weekends a little less.
func always(hour time.Time) float64 {
	day := (1 - math.Cos(2*math.Pi*float64(hour.Hour()-5)/24)) / 2
	if weekend(hour) {
		return 0.8 * (0.25 + 0.65*day)
	}
	return 0.25 + 0.75*day
}

// office is people, or what they start, at work.
func office(hour time.Time) float64 {
	switch h := hour.Hour(); {
	case weekend(hour):
		return 0.02
	case h < 7 || h > 18:
		return 0.03
	case h == 7 || h == 12 || h >= 17:
		return 0.5
	}
	return 1
}

// nightly is a job that runs when nobody works.
func nightly(hour time.Time) float64 {
	switch hour.Hour() {
	case 2:
		return 1
	case 3:
		return 0.4
	}
	return 0
}

// weekly is a report on Monday morning.
func weekly(hour time.Time) float64 {
	if hour.Weekday() == time.Monday && hour.Hour() == 6 {
		return 1
	}
	return 0
}

// steady is a machine that asks every so many seconds.
func steady(time.Time) float64 { return 1 }

func weekend(t time.Time) bool { return t.Weekday() == time.Saturday || t.Weekday() == time.Sunday }

// call makes the requests of every line up to now.
func (f *filler) call() error {
	var counts []store.UsageCount
	hourly := f.now.Truncate(apikey.Day).AddDate(0, 0, -store.HourlyUsageDays)
	for _, l := range f.lines {
		for _, c := range l.calls(f.now) {
			if c.Hour.Before(hourly) { // as the server keeps them
				c.Hour = c.Hour.Truncate(apikey.Day)
			}
			counts = append(counts, c)
		}
	}
	replica, number := uuid.NewString(), int64(0)
	for chunk := range slices.Chunk(counts, batch) {
		number++
		if err := f.store.AddUsage(f.ctx, store.UsageBatch{Replica: replica, Number: number, Counts: chunk}); err != nil {
			return err
		}
	}
	return nil
}

// calls are the line's requests of the last days; of a caller that stopped before these, its last week. The dice are the line's
// own, so that the shape is the same every time.
func (l *line) calls(now time.Time) []store.UsageCount {
	if l.traffic.shape == nil { // nobody calls
		return nil
	}
	dice := rand.New(rand.NewPCG(42, l.seed))
	until := now.Add(-l.traffic.ended)
	var out []store.UsageCount
	mood := 1.0 // no two days are alike
	from := now.AddDate(0, 0, -shown)
	if week := until.AddDate(0, 0, -7); week.Before(from) { // a day could be one on which nobody works
		from = week
	}
	for hour := from.Truncate(time.Hour); hour.Before(until); hour = hour.Add(time.Hour) {
		if hour.Hour() == 0 {
			mood = 0.8 + 0.4*dice.Float64()
		}
		demand := l.traffic.busy * l.traffic.shape(hour) * mood * (0.85 + 0.3*dice.Float64())
		within := span{hour, hour.Add(time.Hour)}
		if until.Before(within.to) {
			within.to = until
		}
		for i, k := range l.keys {
			if c := l.count(k, within, demand*l.share(i, hour), dice); c.Accepted > 0 || c.Refused > 0 {
				out = append(out, c)
			}
		}
	}
	return out
}

// share is how much of the line's requests come with a key: callers move to a successor bit by bit, until the grace
// period ends; those who are late go on a while.
func (l *line) share(i int, at time.Time) float64 {
	share := 1.0
	if k := l.keys[i]; k.RotatedAt != nil {
		share = left(k, at)
	}
	if i > 0 {
		share = math.Min(share, 1-left(l.keys[i-1], at))
	}
	return share
}

// left is how much a rotated key is still called with.
func left(k *lived, at time.Time) float64 {
	const late = 0.04
	if at.Before(*k.RotatedAt) {
		return 1
	}
	grace := k.GraceEndsAt.Sub(*k.RotatedAt)
	if !at.Before(*k.GraceEndsAt) || grace == 0 {
		return late
	}
	return math.Max(late, 1-float64(at.Sub(*k.RotatedAt))/float64(grace))
}

// count is what happened to the requests of one hour: accepted while the key was good, else refused.
func (l *line) count(k *lived, within span, demand float64, dice *rand.Rand) store.UsageCount {
	c := store.UsageCount{KeyID: k.ID, Hour: within.from, UserAgent: l.traffic.agent}
	c.Address = l.traffic.from[dice.IntN(len(l.traffic.from))]
	var died time.Time
	bad := within.to.Sub(within.from)
	for _, good := range k.good {
		overlap := good.overlap(within)
		if length := overlap.to.Sub(overlap.from); length > 0 {
			bad -= length
			n := roundly(demand*length.Hours(), dice)
			if n > 0 {
				c.Accepted += n
				c.LastUsedAt = overlap.to.Add(-time.Duration(dice.Float64() * float64(length) / float64(n))).Truncate(time.Microsecond)
			}
		}
		if !good.to.After(within.to) {
			died = good.to
		}
	}
	if since := within.from.Sub(died); !died.IsZero() && since < l.traffic.goesOn {
		patience := 1 - math.Max(0, float64(since))/float64(l.traffic.goesOn)
		c.Refused = roundly(demand*bad.Hours()*patience, dice)
	}
	if l.traffic.stray && c.Accepted > 0 && dice.IntN(200) == 0 {
		c.Refused += 5 + dice.Int64N(60)
	}
	return c
}

func (s span) overlap(other span) span {
	if other.from.After(s.from) {
		s.from = other.from
	}
	if other.to.Before(s.to) {
		s.to = other.to
	}
	return s
}

// roundly makes a whole number of a fraction, so that half a request an hour is one in every second hour.
func roundly(x float64, dice *rand.Rand) int64 { return int64(x + dice.Float64()) }
