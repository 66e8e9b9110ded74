package store_test

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func setPolicy(t *testing.T, s *store.Store, owner account.Actor, p apikey.Policy) apikey.Policy {
	t.Helper()
	err := s.Mutate(t.Context(), owner, account.ChangePolicy, func(tx *store.Tx) ([]audit.Change, error) {
		return []audit.Change{{Subject: audit.Subject{Kind: "policy", ID: owner.OrgID}}}, tx.UpdatePolicy(p)
	})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := s.Policy(t.Context(), owner.OrgID)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

// judged has keys of every status, of both owners, at, just below and just above the lifetime of 30 days, with and without
// an allowlist and a workspace, and with every status at the boundaries of its time.
func judged(t *testing.T, s *store.Store, org storetest.Org, start time.Time) map[string]apikey.Key {
	t.Helper()
	var workspace store.Workspace
	err := s.Mutate(t.Context(), org.Owner, account.CreateWorkspace, func(tx *store.Tx) (_ []audit.Change, err error) {
		workspace, err = tx.InsertWorkspace("one")
		return []audit.Change{{Subject: audit.Subject{Kind: "workspace", ID: workspace.ID}}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]apikey.Key{}
	i := 0
	for _, stored := range []apikey.Status{apikey.Enabled, apikey.Disabled, apikey.Rotated, apikey.Revoked} {
		for _, lifetime := range []time.Duration{30 * apikey.Day, 30*apikey.Day - time.Microsecond, 30*apikey.Day + time.Microsecond} {
			for _, bare := range []bool{true, false} {
				owner := []account.Actor{org.Owner, org.Admin}[i%2]
				i++
				key := insertKey(t, s, owner, func(k *apikey.Key) {
					k.ExpiresAt = start.Add(lifetime)
					if !bare {
						k.WorkspaceID, k.IPAllowlist = workspace.ID, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
					}
				})
				if key.Stored = stored; stored == apikey.Rotated {
					grace := start.Add(apikey.Day)
					key.RotatedAt, key.GraceEndsAt = &start, &grace
				}
				if stored == apikey.Revoked {
					key.RevokedAt = &start
				}
				if stored != apikey.Enabled {
					key = update(t, s, owner, key)
				}
				keys[key.ID] = key
			}
		}
	}
	return keys
}

// TestBrokenPolicyInSQLIsBrokenPolicyInGo asks for the live keys, for those that break a policy, and for those whose owner has left, at the
// boundaries of lifetimes and of time, and holds the list and the counts to what the rules in Go say.
func TestBrokenPolicyInSQLIsBrokenPolicyInGo(t *testing.T) {
	s := storetest.New(t)
	org, other := storetest.Organisation(t, s), storetest.Organisation(t, s)
	start := time.Now().UTC().Truncate(time.Microsecond)
	s.Now = func() time.Time { return start }
	keys := judged(t, s, org, start)
	judged(t, s, other, start)
	err := s.Mutate(t.Context(), org.Owner, account.SuspendMember, func(tx *store.Tx) ([]audit.Change, error) {
		return []audit.Change{{Subject: audit.Subject{Kind: "member", ID: org.Admin.MemberID}}}, tx.UpdateMember(account.Person{ID: org.Admin.MemberID, Role: account.Admin, Status: account.Suspended})
	})
	if err != nil {
		t.Fatal(err)
	}
	loose := apikey.Policy{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day}
	for _, p := range []apikey.Policy{
		loose,
		{LongestLifetime: 30 * apikey.Day, DefaultLifetime: apikey.Day},
		{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day, RequireAllowlist: true},
		{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day, RequireAllowlist: true, WidestIPv4: 24, WidestIPv6: 48},
		{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day, RequireAllowlist: true, WidestIPv4: 25},
		{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day, RequireAllowlist: true, WidestIPv6: 128},
		{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day, RequireWorkspace: true},
		{LongestLifetime: apikey.Day, DefaultLifetime: apikey.Day, RequireAllowlist: true, RequireWorkspace: true},
	} {
		policy := setPolicy(t, s, org.Owner, p)
		for _, now := range []time.Time{start, start.Add(apikey.Day - time.Microsecond), start.Add(apikey.Day), start.Add(30*apikey.Day - time.Microsecond),
			start.Add(30 * apikey.Day), start.Add(30*apikey.Day + time.Microsecond)} {
			s.Now = func() time.Time { return now }
			var live, breaking, orphaned []string
			for id, key := range keys {
				if key.LiveAt(now) {
					live = append(live, id)
				}
				if key.LiveAt(now) && len(policy.Broken(key)) > 0 {
					breaking = append(breaking, id)
				}
				if key.LiveAt(now) && key.OwnerID == org.Admin.MemberID {
					orphaned = append(orphaned, id)
				}
			}
			for _, c := range []struct {
				filter apikey.Filter
				want   []string
			}{{apikey.Filter{Live: true}, live}, {apikey.Filter{BreaksPolicy: true}, breaking}, {apikey.Filter{Orphaned: true}, orphaned}} {
				page, err := s.ListKeys(t.Context(), org.ID, c.filter, apikey.Newest, apikey.Position{}, 50)
				var got []string
				for _, row := range page.Rows {
					got = append(got, row.ID)
				}
				slices.Sort(got)
				slices.Sort(c.want)
				if err != nil || !slices.Equal(got, c.want) {
					t.Errorf("%+v under %+v, %s after the start: %d keys, %v; Go says %d", c.filter, p, now.Sub(start), len(got), err, len(c.want))
				}
			}
			breach, err := s.Breach(t.Context(), org.ID, loose, policy, 50)
			if err != nil || breach.Broken != int64(len(breaking)) || breach.BrokenAnew != breach.Broken || len(breach.Breaking) != len(breaking) {
				t.Errorf("under %+v, %s after the start: %d break it, %d anew, %d shown, %v; Go says %d", p, now.Sub(start), breach.Broken, breach.BrokenAnew, len(breach.Breaking), err, len(breaking))
			}
			if same, err := s.Breach(t.Context(), org.ID, policy, policy, 50); err != nil || same.Concerns() || len(same.Breaking) != 0 || same.Broken != breach.Broken {
				t.Errorf("a policy that stays as it is concerns %d keys, %v", same.BrokenAnew, err)
			}
		}
	}
}

// TestUnusedInSQLIsUnusedInGo asks for idle keys at the boundary, and who would come to be disabled.
func TestUnusedInSQLIsUnusedInGo(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	start := time.Now().UTC().Truncate(time.Microsecond)
	s.Now = func() time.Time { return start }
	keys := judged(t, s, org, start)
	before := setPolicy(t, s, org.Owner, apikey.Policy{LongestLifetime: 365 * apikey.Day, DefaultLifetime: apikey.Day, UnusedAfter: 20 * apikey.Day, DisableUnused: true})
	policy := before
	policy.UnusedAfter = 10 * apikey.Day
	for _, now := range []time.Time{start, start.Add(10*apikey.Day - time.Microsecond), start.Add(10 * apikey.Day), start.Add(20*apikey.Day - time.Microsecond), start.Add(20 * apikey.Day), start.Add(30 * apikey.Day)} {
		s.Now = func() time.Time { return now }
		var idle, anew int64
		want := map[string]bool{}
		for id, key := range keys {
			if key.StatusAt(now) == apikey.Enabled && policy.Unused(key.CreatedAt, now) {
				want[id] = true
				idle++
				if !before.Unused(key.CreatedAt, now) {
					anew++
				}
			}
		}
		breach, err := s.Breach(t.Context(), org.ID, before, policy, 50)
		if err != nil || breach.Unused != idle || breach.UnusedAnew != anew || breach.BrokenAnew != 0 || breach.Concerns() && int64(len(breach.Disabled)) != idle {
			t.Errorf("%s after the start: %d are unused, %d anew, %v; Go says %d and %d", now.Sub(start), breach.Unused, breach.UnusedAnew, err, idle, anew)
		}
		ids, err := s.IdleKeys(t.Context(), org.ID, now.Add(-policy.UnusedAfter))
		slices.Sort(ids)
		if err != nil || !slices.Equal(ids, slices.Sorted(maps.Keys(want))) {
			t.Errorf("%s after the start: idle are %v, %v", now.Sub(start), ids, err)
		}
	}
}
