package views

import (
	"fmt"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// Overview is the first page: how the organisation's keys are.
type Overview struct {
	Page
	ByStatus                                      map[apikey.Status]int64
	InGrace, Expiring, Unused, Orphaned, Breaking int64
	Soon                                          []Key             // the next few to expire, the first first
	Usage                                         []apikey.DayUsage // requests with all keys, one a day, oldest first, without gaps
	NoneYet                                       bool              // the organisation has no key at all: the page teaches
	BaseURL                                       string            // where this server is reached
}

// figure is a number of keys and the list of just those.
type figure struct {
	Keys  int64
	Label string
	Dot   string // the class of a status' dot; empty for none
	Path  string
}

func figureOf(keys int64, label string, filter apikey.Filter, sort apikey.Sort) figure {
	return figure{Keys: keys, Label: label, Path: ListState{Filter: filter, Sort: sort}.Path()}
}

// statuses are the keys by status, in the order of a key's life.
func (m Overview) statuses() []figure {
	var out []figure
	for _, s := range apikey.Statuses {
		f := figureOf(m.ByStatus[s], s.Label(), apikey.Filter{Status: s}, apikey.Newest)
		k := Key{Key: apikey.Key{Stored: s, ExpiresAt: m.Now.Add(apikey.Day)}}
		if s == apikey.Expired {
			k.Stored, k.ExpiresAt = apikey.Enabled, m.Now
		}
		f.Dot = k.dotAt(m.Now)
		out = append(out, f)
	}
	return out
}

// concerns are the keys that somebody should look at.
func (m Overview) concerns() []figure {
	return []figure{
		figureOf(m.Expiring, fmt.Sprintf("Expiring within %d days", apikey.SoonDays), apikey.Filter{ExpiresWithin: apikey.SoonDays}, apikey.Sort{By: apikey.ByExpiry}),
		figureOf(m.Unused, fmt.Sprintf("Unused for %d days", apikey.LongDays), apikey.Filter{Status: apikey.Enabled, UnusedFor: apikey.LongDays}, apikey.Sort{By: apikey.ByUse}),
		figureOf(m.Orphaned, "Owner has left", apikey.Filter{Orphaned: true}, apikey.Newest),
		figureOf(m.Breaking, "Outside the key policy", apikey.Filter{BreaksPolicy: true}, apikey.Newest),
		figureOf(m.InGrace, "Rotated, still working", apikey.Filter{Status: apikey.Rotated, Live: true}, apikey.Newest),
	}
}
