package demo_test

import (
	"errors"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/demo"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

func TestFilledDatabaseShowsEverythingThereIs(t *testing.T) {
	s := storetest.New(t)
	began := time.Now()
	accounts, err := demo.Fill(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("filled in %v", time.Since(began))
	if now := s.Now(); time.Since(now) > time.Minute {
		t.Errorf("the clock was left at %v", now)
	}
	orgID, rows := filled(t, s)
	t.Run("people", func(t *testing.T) { checkPeople(t, s, accounts) })
	t.Run("keys", func(t *testing.T) { checkKeys(t, s, rows) })
	t.Run("trails", func(t *testing.T) { checkTrails(t, s, rows) })
	t.Run("usage", func(t *testing.T) { checkUsage(t, s, rows) })
	t.Run("refusals", func(t *testing.T) { checkRefusals(t, s, orgID) })
	t.Run("chain", func(t *testing.T) {
		if n, err := s.VerifyChain(t.Context(), orgID); err != nil || n < 100 {
			t.Errorf("%d events hold, %v", n, err)
		}
	})
	t.Run("again", func(t *testing.T) {
		if _, err := demo.Fill(t.Context(), s); !errors.Is(err, demo.ErrNotEmpty) {
			t.Errorf("filling it again: %v", err)
		}
	})
}

// filled returns the demonstration's organisation and its keys.
func filled(t *testing.T, s *store.Store) (orgID string, rows []store.KeyRow) {
	t.Helper()
	org, err := s.OrganisationByName(t.Context(), demo.Organisation)
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{}, apikey.Newest, apikey.Position{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	return org.ID, page.Rows
}

// TestTheDemonstrationIsWholeOnEveryDayOfTheWeek fills databases at different times of different days: some callers rest at weekends.
func TestTheDemonstrationIsWholeOnEveryDayOfTheWeek(t *testing.T) {
	for day := range 7 {
		s := storetest.New(t)
		at := time.Now().Truncate(apikey.Day).Add(-time.Duration(day) * (apikey.Day - 3*time.Hour))
		s.Now = func() time.Time { return at }
		t.Run(at.Weekday().String(), func(t *testing.T) {
			if _, err := demo.Fill(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			_, rows := filled(t, s)
			checkKeys(t, s, rows)
			checkUsage(t, s, rows)
		})
	}
}

// Everybody can sign in but who left; nobody's password is another's; no session of the story is left.
func checkPeople(t *testing.T, s *store.Store, accounts demo.Accounts) {
	roles, passwords := map[account.Role]int{}, map[string]bool{}
	for _, a := range accounts {
		roles[a.Role]++
		passwords[a.Password] = true
		session, err := keyring.New(s).SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, a.Email, a.Password)
		if err != nil {
			t.Fatalf("%s can't sign in: %v", a.Email, err)
		}
		actor, _, err := keyring.New(s).Actor(t.Context(), keyring.Visitor{}, session.ID)
		if err != nil || actor.Role != a.Role {
			t.Errorf("%s is %s, %v", a.Email, actor.Role, err)
		}
		if sessions, err := keyring.New(s).Sessions(t.Context(), actor); err != nil || len(sessions) != 1 {
			t.Errorf("%s has the sessions %v, %v", a.Email, sessions, err)
		}
	}
	if roles[account.Owner] != 1 || roles[account.Admin] != 2 || roles[account.Support] != 1 || roles[account.Member] != 1 || len(passwords) != len(accounts) {
		t.Errorf("the accounts are %v with %d passwords", roles, len(passwords))
	}
}

func checkKeys(t *testing.T, s *store.Store, rows []store.KeyRow) {
	now := s.Now()
	found := map[string]int{}
	for _, r := range rows {
		left := r.ExpiresAt.Sub(now)
		status := r.StatusAt(now)
		for trait, has := range map[string]bool{
			string(status):        true,
			string(r.Environment): true,
			"in grace":            r.InGraceAt(now),
			"grace over":          status == apikey.Rotated && !r.InGraceAt(now),
			"within 7 days":       status == apikey.Enabled && left < 7*apikey.Day,
			"within 30 days":      status == apikey.Enabled && left > 7*apikey.Day && left < 30*apikey.Day,
			"later":               status == apikey.Enabled && left > 30*apikey.Day,
			"all scopes":          r.Scopes[0] == apikey.All,
			"workspace":           r.WorkspaceID != "" && r.ProcessID == "",
			"process":             r.ProcessID != "",
			"profile":             r.ProfileID != "",
			"allowlist":           len(r.IPAllowlist) > 0,
			"orphan":              r.Owner.Status == account.Suspended,
			"never used":          r.Use.At == nil && status == apikey.Enabled,
			"long unused":         r.Use.At != nil && now.Sub(*r.Use.At) > 120*apikey.Day && status == apikey.Enabled,
			"just used":           r.Use.At != nil && now.Sub(*r.Use.At) < time.Hour,
			"handed over":         r.OwnerID != r.CreatedBy,
			"not Latin":           r.Name[0] > 0x7f,
		} {
			if has {
				found[trait]++
			}
		}
	}
	for _, trait := range []string{"enabled", "disabled", "rotated", "revoked", "expired", "live", "test", "in grace", "grace over", "within 7 days",
		"within 30 days", "later", "all scopes", "workspace", "process", "profile", "allowlist", "orphan", "never used", "long unused", "just used",
		"handed over", "not Latin"} {
		if found[trait] == 0 {
			t.Errorf("no key is %q", trait)
		}
	}
	if len(rows) < 35 || len(rows) > 50 {
		t.Errorf("there are %d keys", len(rows))
	}
	t.Logf("%d keys: %v", len(rows), found)
	longest := 0
	for _, r := range rows {
		if line, err := s.KeyLineage(t.Context(), r.OrgID, r.ID); err != nil {
			t.Fatal(err)
		} else {
			longest = max(longest, len(line))
		}
	}
	if longest != 4 {
		t.Errorf("the longest line of rotations has %d keys", longest)
	}
}

// Every key's trail begins with its making, names who did it and by which session, and is in order.
func checkTrails(t *testing.T, s *store.Store, rows []store.KeyRow) {
	for _, r := range rows {
		trail, err := s.Events(t.Context(), r.OrgID, audit.Filter{SubjectID: r.ID}, store.Span{}, 50)
		if err != nil || len(trail) == 0 {
			t.Fatalf("%s has no trail: %v", r.Name, err)
		}
		first := trail[len(trail)-1]
		if !first.At.Equal(r.CreatedAt) || first.ActorID != r.CreatedBy || first.SessionID == "" || first.Address == "" {
			t.Errorf("%s was made by %+v", r.Name, first)
		}
		for i, event := range trail[1:] {
			if event.At.After(trail[i].At) {
				t.Errorf("%s: event %d is later than the next", r.Name, event.Seq)
			}
		}
	}
}

// Every kind of security event is there but the rarest, with a member and a key, and one member's email is about to change.
func checkRefusals(t *testing.T, s *store.Store, orgID string) {
	events, err := s.SecurityEvents(t.Context(), orgID, audit.SecurityFilter{}, apikey.Position{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	kinds, repeated, byKey := map[string]bool{}, false, false
	for _, e := range events {
		kinds[e.Kind], repeated, byKey = true, repeated || e.Count > 1, byKey || e.KeyID != ""
		if e.MemberID == "" || e.Address == "" || e.LastAt.After(s.Now()) || e.LastAt.Before(e.FirstAt) {
			t.Errorf("an event is %+v", e)
		}
	}
	for _, kind := range audit.SecurityKinds {
		if !kinds[kind] && kind != audit.SignInLimited {
			t.Errorf("there is no %s", kind)
		}
	}
	if !repeated || !byKey {
		t.Errorf("no event repeats (%v), or is of a key (%v)", repeated, byKey)
	}
	started, err := s.Events(t.Context(), orgID, audit.Filter{Action: account.StartEmailChange}, store.Span{}, 10)
	if err != nil || len(started) != 1 {
		t.Fatalf("email changes: %+v, %v", started, err)
	}
	if change, err := s.EmailChangeOf(t.Context(), orgID, started[0].Subject.ID); err != nil || !change.ExpiresAt.After(s.Now()) {
		t.Errorf("the email change is %+v, %v", change, err)
	}
}

// A key was used while it was good, last when the table of its hours says so, and refused only after that.
func checkUsage(t *testing.T, s *store.Store, rows []store.KeyRow) {
	now := s.Now()
	refusedAfterDeath := 0
	for _, r := range rows {
		usage, err := s.KeyUsage(t.Context(), r.OrgID, r.ID, 250)
		if err != nil {
			t.Fatal(err)
		}
		var lastDay time.Time
		for _, day := range usage {
			if day.Accepted > 0 {
				lastDay = day.Day
				if day.Day.Add(apikey.Day).Before(r.CreatedAt) || day.Day.After(goodUntil(r.Key)) {
					t.Errorf("%s was accepted on %v", r.Name, day.Day)
				}
			} else if day.Refused > 0 && !day.Day.Add(apikey.Day).Before(goodUntil(r.Key)) {
				refusedAfterDeath++
			}
		}
		switch {
		case r.Use.At == nil && !lastDay.IsZero():
			t.Errorf("%s was accepted on %v and never used", r.Name, lastDay)
		case r.Use.At == nil:
		case !r.Use.At.Truncate(apikey.Day).Equal(lastDay):
			t.Errorf("%s was last accepted on %v and last used at %v", r.Name, lastDay, r.Use.At)
		case r.Use.At.After(now) || r.Use.At.After(goodUntil(r.Key)) || r.Use.At.Before(r.CreatedAt):
			t.Errorf("%s was last used at %v", r.Name, r.Use.At)
		}
	}
	if refusedAfterDeath < 10 {
		t.Errorf("dead keys were refused on %d days", refusedAfterDeath)
	}
}

// goodUntil is the latest time at which the key can have been accepted.
func goodUntil(k apikey.Key) time.Time {
	until := k.ExpiresAt
	for _, t := range []*time.Time{k.GraceEndsAt, k.RevokedAt} {
		if t != nil && t.Before(until) {
			until = *t
		}
	}
	return until
}

func TestADatabaseInUseIsLeftAlone(t *testing.T) {
	s := storetest.New(t)
	storetest.Organisation(t, s)
	if accounts, err := demo.Fill(t.Context(), s); !errors.Is(err, demo.ErrNotEmpty) || len(accounts) > 0 {
		t.Errorf("%v, %v", accounts, err)
	}
}

// Who can sign in is told even when the rest fails, for the accounts stay.
func TestAccountsAreToldAlthoughFillingFails(t *testing.T) {
	url := storetest.URL(t)
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := storetest.DB(t, url).Exec(`DROP TABLE key_usage`); err != nil {
		t.Fatal(err)
	}
	if accounts, err := demo.Fill(t.Context(), s); err == nil || len(accounts) != 5 {
		t.Errorf("%d accounts, %v", len(accounts), err)
	}
}
