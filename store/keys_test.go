package store_test

import (
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestStatusInSQLIsStatusInGo asks for every status at, just before and just after every boundary, and holds the list
// to what StatusAt says.
func TestStatusInSQLIsStatusInGo(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	start := time.Now().UTC().Truncate(time.Microsecond)
	end := start.Add(time.Hour)
	s.Now = func() time.Time { return start }
	keys := map[string]apikey.Key{}
	for _, stored := range []apikey.Status{apikey.Enabled, apikey.Disabled, apikey.Rotated, apikey.Revoked} {
		key := insertKey(t, s, org.Owner, nil)
		key.Stored = stored
		if stored == apikey.Rotated {
			grace := end.Add(-time.Minute)
			key.RotatedAt, key.GraceEndsAt = &start, &grace
		}
		if stored == apikey.Revoked {
			key.RevokedAt = &start
		}
		keys[key.ID] = update(t, s, org.Owner, key)
	}
	for _, now := range []time.Time{start, end.Add(-time.Minute), end.Add(-time.Microsecond), end, end.Add(time.Microsecond), end.Add(time.Hour)} {
		s.Now = func() time.Time { return now }
		found := 0
		for _, status := range apikey.Statuses {
			page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{Status: status}, apikey.Newest, apikey.Position{}, 50)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range page.Rows {
				found++
				if is := keys[row.ID].StatusAt(now); is != status {
					t.Errorf("%s before the end: SQL says %s, Go says %s", end.Sub(now), status, is)
				}
			}
		}
		if found != len(keys) {
			t.Errorf("%s before the end: %d of %d keys have a status", end.Sub(now), found, len(keys))
		}
	}
}

func TestSearchCannotLeaveTheOrganisation(t *testing.T) {
	s := storetest.New(t)
	ours, theirs := storetest.Organisation(t, s), storetest.Organisation(t, s)
	key := insertKey(t, s, theirs.Owner, nil)
	for _, f := range []apikey.Filter{{}, {Search: key.ID}, {Search: key.Prefix}, {Search: key.Signature}, {Search: theirs.Owner.Email},
		{OwnerID: theirs.Owner.MemberID}, {Scope: "read:chat"}, {Status: apikey.Enabled}, {ExpiresWithin: 7}, {Environment: apikey.Live}} {
		page, err := s.ListKeys(t.Context(), ours.ID, f, apikey.Newest, apikey.Position{}, 50)
		if err != nil || len(page.Rows) != 0 {
			t.Errorf("%+v finds %d keys of another organisation, %v", f, len(page.Rows), err)
		}
	}
	if rows, err := s.KeysByID(t.Context(), ours.ID, []string{key.ID}); err != nil || len(rows) != 0 {
		t.Errorf("%v, %v", rows, err)
	}
	if requests, err := s.RequestsSince(t.Context(), ours.ID, []string{key.ID}, time.Time{}); err != nil || len(requests) != 0 {
		t.Errorf("%v, %v", requests, err)
	}
}
