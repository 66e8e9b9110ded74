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
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// attempt is a failed sign-in at a member's account.
func attempt(org storetest.Org, member, address string, at time.Time) audit.SecurityEvent {
	return audit.SecurityEvent{OrgID: org.ID, Kind: audit.SignInFailed, MemberID: member, Address: address, FirstAt: at, LastAt: at, Count: 1}
}

// record stores events, one after the other.
func record(t *testing.T, s *store.Store, events ...audit.SecurityEvent) {
	t.Helper()
	for _, e := range events {
		if err := s.RecordSecurityEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// recorded lists an organisation's events by their first attempt, newest first.
func recorded(t *testing.T, s *store.Store, org storetest.Org) []audit.SecurityEvent {
	t.Helper()
	events, err := s.SecurityEventsByFirst(t.Context(), org.ID, audit.SecurityFilter{}, apikey.Position{}, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func TestSecurityEventsOfAnHourAreBounded(t *testing.T) {
	s, org, _ := ledger(t)
	other := storetest.Organisation(t, s)
	hour := s.Now().Truncate(time.Hour)
	const sent = 800
	for n := range sent { // each from a network of its own, at 300 members
		record(t, s, attempt(org, fmt.Sprint("member ", n%300), fmt.Sprint("network ", n), hour.Add(time.Duration(n)*time.Second)))
	}
	record(t, s, attempt(org, "member 0", "network 0", hour.Add(59*time.Minute))) // has a row
	record(t, s, attempt(other, other.Owner.MemberID, "network 0", hour))
	events, attempts, whole := recorded(t, s, org), 0, 0
	for _, e := range events {
		attempts += e.Count
		if e.Address != "" {
			whole++
		}
		if e.MemberID == "" || e.OrgID != org.ID || e.LastAt.Before(e.FirstAt) {
			t.Errorf("a row is %+v", e)
		}
	}
	if whole > 500 || whole < 400 || len(events)-whole > 300 || attempts != sent+1 {
		t.Errorf("%d attempts are in %d rows, %d of them whole", attempts, len(events), whole)
	}
	if first := events[len(events)-1]; first.Count != 2 || first.Address != "network 0" || !first.LastAt.Equal(hour.Add(59*time.Minute)) {
		t.Errorf("what had a row is counted as %+v", first)
	}
	if theirs := recorded(t, s, other); len(theirs) != 1 || theirs[0].Address == "" {
		t.Errorf("another organisation has %+v", theirs)
	}
	before := len(events)
	record(t, s, attempt(org, "member 299", "network 0", hour.Add(time.Hour)))
	if events = recorded(t, s, org); len(events) != before+1 || events[0].Address != "network 0" {
		t.Errorf("the next hour begins with %+v", events[0])
	}
}

// TestNoFloodHidesWhatComesAfterIt floods an hour in each way that one attacker has, and looks whether attempts that follow are
// still told apart.
func TestNoFloodHidesWhatComesAfterIt(t *testing.T) {
	s, _, _ := ledger(t)
	hour := s.Now().Truncate(time.Hour)
	const attacker, victim, later = "attacker", "victim", "203.0.113.9"
	event := func(kind, member, key, address, detail string) audit.SecurityEvent {
		return audit.SecurityEvent{Kind: kind, MemberID: member, KeyID: key, Address: address, Detail: detail, FirstAt: hour, LastAt: hour, Count: 1}
	}
	for _, flood := range []struct {
		name string
		nth  func(n int) audit.SecurityEvent
		then []audit.SecurityEvent
	}{
		{"one network guesses at very many accounts", func(n int) audit.SecurityEvent {
			return event(audit.SignInFailed, fmt.Sprint("member ", n), "", "198.51.100.1", "")
		}, []audit.SecurityEvent{event(audit.SignInFailed, victim, "", later, ""), event(audit.SignInLocked, "member 699", "", "198.51.100.1", "")}},
		{"many networks guess at one account", func(n int) audit.SecurityEvent {
			return event(audit.SignInFailed, victim, "", fmt.Sprint("network ", n), "")
		}, []audit.SecurityEvent{
			event(audit.SignInFailed, "another", "", later, ""), event(audit.SignInFailed, victim, "", later, "suspended"), // the right password
			event(audit.SignInLocked, victim, "", later, ""), event(audit.PasswordFailed, victim, "", later, ""),
		}},
		{"many networks guess at 100 accounts", func(n int) audit.SecurityEvent {
			return event(audit.SignInFailed, fmt.Sprint("member ", n%100), "", fmt.Sprint("network ", n), "")
		}, []audit.SecurityEvent{
			event(audit.SignInFailed, victim, "", later, ""), event(audit.SignInFailed, victim, "", "203.0.113.10", ""), event(audit.SignInLocked, "member 1", "", later, ""),
		}},
		{"a member is refused one action from many networks", func(n int) audit.SecurityEvent {
			return event(audit.PermissionRefused, attacker, "", fmt.Sprint("network ", n), "audit.read")
		}, []audit.SecurityEvent{
			event(audit.PermissionRefused, victim, "", later, "audit.read"), event(audit.SignInFailed, attacker, "", later, ""),
			event(audit.PermissionRefused, attacker, "", later, "member.invited"), event(audit.PermissionRefused, attacker, "another key", later, "audit.read"),
		}},
		{"a member's keys are refused everything from many networks", func(n int) audit.SecurityEvent {
			return event(audit.PermissionRefused, attacker, fmt.Sprint("key ", n%70), fmt.Sprint("network ", n), fmt.Sprint("action ", n%50))
		}, []audit.SecurityEvent{
			event(audit.PermissionRefused, victim, "a key", later, "audit.read"), event(audit.OriginRefused, attacker, "", later, ""), event(audit.SignInFailed, attacker, "", later, ""),
		}},
		{"a member sends forms of other sites from many networks", func(n int) audit.SecurityEvent {
			return event(audit.OriginRefused, attacker, "", fmt.Sprint("network ", n), "")
		}, []audit.SecurityEvent{event(audit.OriginRefused, victim, "", later, ""), event(audit.PermissionRefused, attacker, "", later, "audit.read")}},
	} {
		t.Run(flood.name, func(t *testing.T) {
			t.Parallel()
			org := storetest.Organisation(t, s)
			sent := 0
			of := func(e audit.SecurityEvent) audit.SecurityEvent {
				sent++
				e.OrgID = org.ID
				return e
			}
			for n := range 700 {
				record(t, s, of(flood.nth(n)))
			}
			if whole := slices.DeleteFunc(recorded(t, s, org), func(e audit.SecurityEvent) bool { return e.Address == "" }); len(whole) < 50 || len(whole) > 480 {
				t.Errorf("%d rows of the flood have an address", len(whole))
			}
			for _, e := range flood.then {
				e = of(e)
				record(t, s, e)
				if !slices.ContainsFunc(recorded(t, s, org), func(o audit.SecurityEvent) bool { return sameAttempt(o, e) }) {
					t.Errorf("%+v is not told apart", e)
				}
			}
			counted := 0
			for _, e := range recorded(t, s, org) {
				counted += e.Count
			}
			if counted != sent {
				t.Errorf("of %d attempts %d are counted", sent, counted)
			}
		})
	}
}

func sameAttempt(a, b audit.SecurityEvent) bool {
	return a.Kind == b.Kind && a.MemberID == b.MemberID && a.KeyID == b.KeyID && a.Address == b.Address && a.Detail == b.Detail
}

// TestWhatLosesItsAddressKeepsItsDetail: of a member's flood from many networks one sees what it was at least.
func TestWhatLosesItsAddressKeepsItsDetail(t *testing.T) {
	s, org, _ := ledger(t)
	hour := s.Now().Truncate(time.Hour)
	for n := range 600 {
		record(t, s, audit.SecurityEvent{OrgID: org.ID, Kind: audit.PermissionRefused, MemberID: org.Member.MemberID, KeyID: "k", Address: fmt.Sprint("network ", n),
			Detail: []string{"key.revoked", "audit.read"}[n%2], FirstAt: hour, LastAt: hour, Count: 1})
	}
	bare := slices.DeleteFunc(recorded(t, s, org), func(e audit.SecurityEvent) bool { return e.Address != "" })
	if len(bare) != 2 || bare[0].KeyID != "k" || bare[1].KeyID != "k" || bare[0].Detail == bare[1].Detail || bare[0].Count < 200 || bare[1].Count < 200 {
		t.Errorf("%+v", bare)
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
