package views

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/views/ui"
)

// The chart's own units: a day is as wide as dayWidth, and the tallest possible bar is chartHeight high.
const (
	dayWidth    = 10
	barWidth    = 7
	chartHeight = 100
)

// bar is one day of the chart: what was accepted from the ground up, what was refused on top of it.
type bar struct {
	X                   string
	AcceptedY, Accepted string
	RefusedY, Refused   string
	Says                string
}

// usage is requests by day, oldest first, without gaps.
type usage []apikey.DayUsage

// ceiling is the number at the top of the chart: the busiest day, rounded up to one digit and noughts.
func (u usage) ceiling() int64 {
	var most int64
	for _, d := range u {
		most = max(most, d.Accepted+d.Refused)
	}
	for step := int64(1); ; step *= 10 {
		for _, k := range []int64{1, 2, 3, 4, 5, 6, 8} {
			if k*step >= most {
				return k * step
			}
		}
	}
}

func (u usage) bars() []bar {
	top := u.ceiling()
	height := func(n int64) float64 { return float64(n) * chartHeight / float64(top) }
	size := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
	var out []bar
	for i, d := range u {
		accepted, refused := height(d.Accepted), height(d.Refused)
		out = append(out, bar{
			X:         strconv.Itoa(i * dayWidth),
			AcceptedY: size(chartHeight - accepted), Accepted: size(accepted),
			RefusedY: size(chartHeight - accepted - refused), Refused: size(refused),
			Says: fmt.Sprintf("%s: %s accepted, %s refused", d.Day.UTC().Format("2 Jan"), ui.Number(d.Accepted), ui.Number(d.Refused)),
		})
	}
	return out
}

func (u usage) viewBox() string {
	return fmt.Sprintf("0 0 %d %d", max(len(u), 1)*dayWidth, chartHeight)
}

func (u usage) totals() (accepted, refused int64) {
	for _, d := range u {
		accepted += d.Accepted
		refused += d.Refused
	}
	return accepted, refused
}

// says describes the chart in a sentence, for those who can't see it.
func (u usage) says() string {
	accepted, refused := u.totals()
	if accepted+refused == 0 {
		return fmt.Sprintf("No requests in the last %d days.", len(u))
	}
	busiest := u[0]
	for _, d := range u {
		if d.Accepted+d.Refused > busiest.Accepted+busiest.Refused {
			busiest = d
		}
	}
	return fmt.Sprintf("%s accepted and %s refused in the last %d days; most on %s.", ui.Count(accepted, "request"), ui.Number(refused), len(u),
		busiest.Day.UTC().Format("2 January"))
}

func dayLabel(at time.Time) string { return at.UTC().Format("2 Jan") }

// newestFirst is the order in which figures are read in a table.
func newestFirst(days []apikey.DayUsage) []apikey.DayUsage {
	out := make([]apikey.DayUsage, 0, len(days))
	for i := len(days) - 1; i >= 0; i-- {
		out = append(out, days[i])
	}
	return out
}

func (m KeyDetail) olderTrail() string {
	return KeyPath(m.Key.ID) + "?" + url.Values{"days": {strconv.Itoa(m.Days)}, "before": {m.Older}}.Encode()
}

// shortID is as much of an id as tells it from its neighbours at a glance: time-ordered ids differ at their end.
func shortID(id string) string {
	if len(id) <= 8 {
		return id
	}
	return id[len(id)-8:]
}
