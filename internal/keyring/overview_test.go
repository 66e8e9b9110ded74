package keyring_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

// everyKind issues keys of both environments and of two owners, some of them long ago, and brings them into every state
// that there is. It returns a time at which two of them are at the very end of their life or their grace period.
func (h house) everyKind() time.Time {
	h.t.Helper()
	now := h.Now()
	ctx := h.t.Context()
	must := func(err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	for _, owner := range []account.Actor{h.org.Owner, h.org.Admin} {
		for _, age := range []time.Duration{0, 89, 90, 91, 200} {
			for _, life := range []string{"30d", "91d", "120d", "230d", "365d"} {
				for state := range 5 {
					h.at(now.Add(-age * apikey.Day))
					d := draft("of every kind")
					d.Expires = life
					key := h.issue(owner, d)
					switch state {
					case 1:
						_, err := h.ChangeStatus(ctx, owner, apikey.Disable, key.ID)
						must(err)
					case 2:
						_, err := h.ChangeStatus(ctx, owner, apikey.Revoke, key.ID)
						must(err)
					case 3, 4:
						_, err := h.RotateKey(ctx, owner, key.ID, []time.Duration{0, 30 * apikey.Day}[state-3], "")
						must(err)
					}
					if state == 0 && life == "365d" && age == 200 {
						use := now.Add(-time.Hour)
						must(h.store.AddUsage(ctx, store.UsageBatch{Replica: uuid.NewString(), Number: 1, Counts: []store.UsageCount{{KeyID: key.ID, Hour: use, Accepted: 1, LastUsedAt: use}}}))
					}
				}
			}
		}
	}
	h.at(now)
	return now
}

// listed counts the list that a filter shows.
func (h house) listed(filter apikey.Filter) int64 {
	h.t.Helper()
	var n int64
	for cursor := ""; ; {
		page, err := h.Keys(h.t.Context(), h.org.Support, filter, apikey.Newest, cursor, 100)
		if err != nil {
			h.t.Fatal(err)
		}
		n += int64(len(page.Rows))
		if cursor = page.Next; cursor == "" {
			return n
		}
	}
}

// Each figure is what its list shows, before, at and after every boundary, and whatever the policy asks.
func TestEveryFigureIsWhatItsListShows(t *testing.T) {
	h := newHouse(t)
	now := h.everyKind()
	if _, err := h.db.Exec(`UPDATE members SET status = 'suspended' WHERE id = $1`, h.org.Admin.MemberID); err != nil {
		t.Fatal(err)
	}
	seen := store.KeyFigures{}
	for _, rules := range []string{"longest_lifetime_days = 100", "longest_lifetime_days = 3650, require_allowlist = true", "longest_lifetime_days = 3650, require_allowlist = false, require_workspace = true", "longest_lifetime_days = 3650, require_workspace = false"} {
		if _, err := h.db.Exec(`UPDATE key_policies SET default_lifetime_days = 30, `+rules+` WHERE org_id = $1`, h.org.ID); err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{now, now.Add(-time.Microsecond), now.Add(time.Microsecond), now.Add(30 * apikey.Day), now.Add(30*apikey.Day - time.Microsecond), now.Add(400 * apikey.Day)} {
			h.at(at)
			o, err := h.Overview(t.Context(), h.org.Support)
			if err != nil {
				t.Fatal(err)
			}
			figures := map[apikey.Filter]int64{
				{ExpiresWithin: 30}: o.Expiring, {Status: apikey.Enabled, UnusedFor: 90}: o.Unused, {Orphaned: true}: o.Orphaned,
				{BreaksPolicy: true}: o.Breaking, {Status: apikey.Rotated, Live: true}: o.InGrace, {}: o.Keys(),
			}
			for _, status := range apikey.Statuses {
				figures[apikey.Filter{Status: status}] = o.ByStatus[status]
			}
			for filter, figure := range figures {
				if n := h.listed(filter); n != figure {
					t.Errorf("%s, %v from now: %+v lists %d keys, and the figure is %d", rules, at.Sub(now), filter, n, figure)
				}
			}
			seen.Expiring, seen.Unused, seen.Orphaned, seen.Breaking, seen.InGrace =
				seen.Expiring+o.Expiring, seen.Unused+o.Unused, seen.Orphaned+o.Orphaned, seen.Breaking+o.Breaking, seen.InGrace+o.InGrace
		}
	}
	if seen.Expiring == 0 || seen.Unused == 0 || seen.Orphaned == 0 || seen.Breaking == 0 || seen.InGrace == 0 {
		t.Errorf("a figure was never put to the test: %+v", seen)
	}
}

func TestTheOverviewShowsWhatEndsNextAndIsItsOrganisationsAlone(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	for _, days := range []string{"29d", "31d", "3d", "8d", "12d", "20d", "25d"} {
		d := draft(days)
		d.Expires = days
		h.issue(h.org.Admin, d)
	}
	o, err := h.Overview(t.Context(), h.org.Admin)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, row := range o.Soon {
		names += row.Name + " "
	}
	if names != "3d 8d 12d 20d 25d " || o.Expiring != 6 || len(o.Usage) != 30 {
		t.Errorf("%s; %d, %d days", names, o.Expiring, len(o.Usage))
	}
	if o, err := other.Overview(t.Context(), other.org.Owner); err != nil || o.Keys() != 0 || len(o.Soon) != 0 {
		t.Errorf("another organisation's: %+v, %v", o, err)
	}
	if _, err := h.Overview(t.Context(), h.org.Member); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member: %v", err)
	}
}
