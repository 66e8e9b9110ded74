// Package ui has the primitives of the pages: times, icons, fields, menus. It knows no word of the product.
package ui

import (
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Ago says how long ago something was, as people do: "just now", "3 minutes ago", "yesterday", "12 days ago". A day is one of
// UTC, as in Exact. A time that is still to come is "just now": clocks differ.
func Ago(at, now time.Time) string {
	d := now.Sub(at)
	switch {
	case d < time.Minute:
		return "just now"
	case d < day || d >= 2*day:
		return Span(d) + " ago"
	case at.UTC().Truncate(day).Equal(now.UTC().Add(-day).Truncate(day)):
		return "yesterday"
	}
	return "2 days ago"
}

// Until says how far away something is, to the nearest unit: "in 12 days", "in less than a minute"; or how long it is
// past.
func Until(at, now time.Time) string {
	d := at.Sub(now)
	switch {
	case d <= 0:
		return Ago(at, now)
	case d < time.Minute:
		return "in less than a minute"
	}
	return "in " + Left(d)
}

// Left is a length of time that is still to come, to the nearest unit: what was made to last for 90 days has 90 days
// left a minute later.
func Left(d time.Duration) string {
	switch {
	case d >= 730*day:
		d += 365 * day / 2
	case d >= 100*day:
		d += 365 * day / 24
	case d >= 2*day:
		d += day / 2
	case d >= time.Hour:
		d += time.Hour / 2
	case d >= time.Minute:
		d += time.Minute / 2
	}
	return Span(d)
}

// Span is a length of time in its largest unit, rounded down: "3 minutes", "26 hours", "90 days", "7 months".
// Days go up to 99, since keys live for 30 or 90 of them; a month is 365/12 days.
func Span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return Count(int64(d/time.Minute), "minute")
	case d < 2*day:
		return Count(int64(d/time.Hour), "hour")
	case d < 100*day:
		return Count(int64(d/day), "day")
	case d < 730*day:
		return Count(int64(d*12/(365*day)), "month")
	}
	return Count(int64(d/(365*day)), "year")
}

// Count is a number with its noun: "1 key", "1,204 keys".
func Count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Number(n) + " " + noun + "s"
}

// Number groups the digits of a number in threes: 1,204.
func Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	var groups []string
	for len(text) > 3 {
		groups = append([]string{text[len(text)-3:]}, groups...)
		text = text[:len(text)-3]
	}
	return sign + strings.Join(append([]string{text}, groups...), ",")
}

// Exact is a moment to the minute in UTC, and says so: "21 Nov 2026, 14:05 UTC".
func Exact(at time.Time) string { return at.UTC().Format("2 Jan 2006, 15:04 UTC") }

// Machine is a moment as <time datetime> wants it.
func Machine(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// Plural picks the word for a number.
func Plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// Describe joins the ids that describe a field: its hint's and, when something is wrong, its problem's.
func Describe(id, hint, problem string) string {
	var ids []string
	if hint != "" {
		ids = append(ids, id+"-hint")
	}
	if problem != "" {
		ids = append(ids, id+"-problem")
	}
	return strings.Join(ids, " ")
}
