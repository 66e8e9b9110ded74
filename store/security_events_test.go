package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// attempt is a failed sign-in at a member's account.
func attempt(org storetest.Org, member, address string, at time.Time) audit.SecurityEvent {
	return audit.SecurityEvent{OrgID: org.ID, Kind: audit.SignInFailed, MemberID: member, Address: address, FirstAt: at, LastAt: at, Count: 1}
}

func TestSecurityEventsOfAnHourAreBounded(t *testing.T) {
	s, org, _ := ledger(t)
	other := storetest.Organisation(t, s)
	hour := s.Now().Truncate(time.Hour)
	record := func(e audit.SecurityEvent) {
		t.Helper()
		if err := s.RecordSecurityEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	read := func(org storetest.Org) []audit.SecurityEvent {
		t.Helper()
		events, err := s.SecurityEventsByFirst(t.Context(), org.ID, audit.SecurityFilter{}, apikey.Position{}, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		return events
	}
	const sent = 600
	for n := range sent {
		member := []string{org.Owner.MemberID, org.Admin.MemberID}[n%2]
		record(attempt(org, member, fmt.Sprintf("2001:db8::%x", n), hour.Add(time.Duration(n)*time.Second)))
	}
	record(attempt(org, org.Owner.MemberID, "2001:db8::0", hour.Add(59*time.Minute))) // has a row
	record(attempt(org, org.Support.MemberID, "2001:db8::0", hour.Add(59*time.Minute)))
	record(attempt(other, other.Owner.MemberID, "2001:db8::0", hour))
	events, attempts := read(org), 0
	for _, e := range events {
		attempts += e.Count
		if e.MemberID == "" || e.OrgID != org.ID || e.LastAt.Before(e.FirstAt) {
			t.Errorf("a row is %+v", e)
		}
	}
	if len(events) != 503 || attempts != sent+2 {
		t.Errorf("%d attempts are in %d rows", attempts, len(events))
	}
	if first := events[len(events)-1]; first.Count != 2 || first.Address != "2001:db8::0" || !first.LastAt.Equal(hour.Add(59*time.Minute)) {
		t.Errorf("what had a row is counted as %+v", first)
	}
	if last := events[0]; last.MemberID != org.Support.MemberID || last.Address != "" || last.Count != 1 {
		t.Errorf("a member without a row is counted as %+v", last)
	}
	if theirs := read(other); len(theirs) != 1 || theirs[0].Address == "" {
		t.Errorf("another organisation has %+v", theirs)
	}
	record(attempt(org, org.Owner.MemberID, "192.0.2.1", hour.Add(time.Hour)))
	if events = read(org); len(events) != 504 || events[0].Address != "192.0.2.1" {
		t.Errorf("the next hour begins with %+v", events[0])
	}
}

// TestSecurityEventsAreListedByTheirLastAttempt: one that repeats moves to the front of the list, and keeps its place in the
// order of first attempts.
func TestSecurityEventsAreListedByTheirLastAttempt(t *testing.T) {
	s, org, _ := ledger(t)
	hour := s.Now().Truncate(time.Hour)
	for minute, address := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1"} {
		if err := s.RecordSecurityEvent(t.Context(), attempt(org, org.Owner.MemberID, address, hour.Add(time.Duration(minute)*time.Minute))); err != nil {
			t.Fatal(err)
		}
	}
	type lister func(context.Context, string, audit.SecurityFilter, apikey.Position, int) ([]audit.SecurityEvent, error)
	for _, c := range []struct {
		list lister
		at   func(audit.SecurityEvent) time.Time
		want []string
	}{
		{s.SecurityEvents, func(e audit.SecurityEvent) time.Time { return e.LastAt }, []string{"192.0.2.1", "192.0.2.3", "192.0.2.2"}},
		{s.SecurityEventsByFirst, func(e audit.SecurityEvent) time.Time { return e.FirstAt }, []string{"192.0.2.3", "192.0.2.2", "192.0.2.1"}},
	} {
		var got []string
		var after apikey.Position
		for range len(c.want) + 1 {
			events, err := c.list(t.Context(), org.ID, audit.SecurityFilter{}, after, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range events {
				got, after = append(got, e.Address), apikey.Position{Value: c.at(e).Format(time.RFC3339Nano), ID: e.ID}
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("the order is %v, not %v", got, c.want)
		}
	}
}

func TestSecurityEventsAreKeptAsTheyAreFor90Days(t *testing.T) {
	s, org, db := ledger(t)
	old := s.Now().Add(-91 * 24 * time.Hour)
	for _, at := range []time.Time{old, s.Now().Add(-89 * 24 * time.Hour)} {
		if err := s.RecordSecurityEvent(t.Context(), attempt(org, org.Owner.MemberID, "192.0.2.1", at)); err != nil {
			t.Fatal(err)
		}
	}
	for _, statement := range []string{
		`UPDATE security_events SET count = count`,
		`UPDATE security_events SET count = 0`,
		`UPDATE security_events SET count = count + 1, last_at = last_at - interval '1 second'`,
		`UPDATE security_events SET count = count + 1, member_id = '` + uuid.NewString() + `'`,
		`UPDATE security_events SET count = count + 1, address = ''`,
		`UPDATE security_events SET count = count + 1, kind = 'sign_in.limited'`,
		`UPDATE security_events SET count = count + 1, first_at = first_at - interval '1 day'`,
		`DELETE FROM security_events`,
		`TRUNCATE security_events`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("%s is allowed", statement)
		}
	}
	for _, ahead := range []time.Duration{2 * 24 * time.Hour, 0} { // a replica whose clock is ahead removes no more
		clock := s.Now
		s.Now = func() time.Time { return clock().Add(ahead) }
		err := s.Sweep(t.Context())
		s.Now = clock
		if err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.SecurityEvents(t.Context(), org.ID, audit.SecurityFilter{}, apikey.Position{}, 10)
	if err != nil || len(events) != 1 || !events[0].FirstAt.After(old) {
		t.Errorf("after sweeping: %+v, %v", events, err)
	}
}
