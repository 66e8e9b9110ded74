package ui

import (
	"testing"
	"time"
)

func TestTimesAreSaidAsPeopleSayThem(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		offset     time.Duration
		ago, until string
	}{
		{0, "just now", "just now"},
		{-30 * time.Second, "just now", "just now"},
		{-time.Minute, "1 minute ago", "1 minute ago"},
		{-59*time.Minute - 59*time.Second, "59 minutes ago", "59 minutes ago"},
		{-time.Hour, "1 hour ago", "1 hour ago"},
		{-23*time.Hour - 59*time.Minute, "23 hours ago", "23 hours ago"},
		{-24 * time.Hour, "yesterday", "yesterday"},
		{-36 * time.Hour, "yesterday", "yesterday"},
		{-36*time.Hour - time.Minute, "2 days ago", "2 days ago"},
		{-47*time.Hour - 59*time.Minute, "2 days ago", "2 days ago"},
		{-48 * time.Hour, "2 days ago", "2 days ago"},
		{-99 * day, "99 days ago", "99 days ago"},
		{-100 * day, "3 months ago", "3 months ago"},
		{-365 * day, "12 months ago", "12 months ago"},
		{-730 * day, "2 years ago", "2 years ago"},
		{30 * time.Second, "just now", "in less than a minute"},
		{time.Hour, "just now", "in 1 hour"},
		{12 * day, "just now", "in 12 days"},
		{12*day - time.Nanosecond, "just now", "in 12 days"},
		{11*day + 13*time.Hour, "just now", "in 12 days"},
		{11*day + 11*time.Hour, "just now", "in 11 days"},
		{90*day - time.Minute, "just now", "in 90 days"},
		{180*day - time.Minute, "just now", "in 6 months"},
		{365*day - time.Minute, "just now", "in 12 months"},
		{24*time.Hour - time.Second, "just now", "in 24 hours"},
		{365 * day, "just now", "in 12 months"},
	} {
		at := now.Add(c.offset)
		if got := Ago(at, now); got != c.ago {
			t.Errorf("Ago(%v) = %q, want %q", c.offset, got, c.ago)
		}
		if got := Until(at, now); got != c.until {
			t.Errorf("Until(%v) = %q, want %q", c.offset, got, c.until)
		}
	}
}

func TestNumbersAreGrouped(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 7: "7", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1200: "-1,200"} {
		if got := Number(n); got != want {
			t.Errorf("Number(%d) = %q, want %q", n, got, want)
		}
	}
	if Count(1, "key") != "1 key" || Count(0, "key") != "0 keys" {
		t.Error("a noun does not follow its number")
	}
}

func TestExactTimesSayUTC(t *testing.T) {
	at := time.Date(2026, 11, 21, 1, 5, 0, 0, time.FixedZone("east", 3*3600))
	if got := Exact(at); got != "20 Nov 2026, 22:05 UTC" {
		t.Error(got)
	}
}
