package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
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

// TestSearchIsOneListInEveryOrder reads, page by page, keys that are found by name, by owner, by an identifier, or by
// several of them at once: each comes once, and where the order says.
func TestSearchIsOneListInEveryOrder(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	start := time.Now().UTC().Truncate(time.Microsecond)
	const word = "admin@" // begins an owner's e-mail
	found := map[string]bool{}
	for i := range 12 {
		s.Now = func() time.Time { return start.Add(time.Duration(i/2) * time.Minute) } // pairs that only the id tells apart
		key := insertKey(t, s, org.Owner, func(k *apikey.Key) {
			if i%3 == 1 {
				k.OwnerID = org.Admin.MemberID
			}
			if i%2 == 0 {
				k.Name = "An ADMIN@work key"
			}
			if i == 5 {
				k.Signature = word
			}
		})
		found[key.ID] = i%2 == 0 || i == 5 || i%3 == 1
	}
	for _, text := range []string{"created", "-created", "name", "-name", "expires", "-expires", "used", "-used"} {
		sort, _ := apikey.ParseSort(text)
		all, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{}, sort, apikey.Position{}, 50)
		if err != nil || len(all.Rows) != 12 {
			t.Fatalf("%s: %d keys, %v", text, len(all.Rows), err)
		}
		var want []string
		for _, row := range all.Rows {
			if found[row.ID] {
				want = append(want, row.ID)
			}
		}
		var got, back []string
		var last apikey.Position
		for at := (&apikey.Position{}); at != nil; {
			last = *at
			page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{Search: word}, sort, *at, 2)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range page.Rows {
				got = append(got, row.ID)
			}
			at = page.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
		last.Backward = true
		page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{Search: word}, sort, last, 50)
		for _, row := range page.Rows {
			back = append(back, row.ID)
		}
		if err != nil || len(back) == 0 || !slices.Equal(back, want[:len(back)]) {
			t.Errorf("%s, back: %v, %v; want the first of %v", text, back, err, want)
		}
	}
}

func TestKeyOwnersAreThoseWithKeys(t *testing.T) {
	s := storetest.New(t)
	ours, theirs := storetest.Organisation(t, s), storetest.Organisation(t, s)
	insertKey(t, s, theirs.Admin, nil)
	for _, owner := range []account.Actor{ours.Owner, ours.Admin, ours.Owner} {
		insertKey(t, s, owner, nil)
	}
	owners, err := s.KeyOwners(t.Context(), ours.ID)
	if err != nil || len(owners) != 2 || owners[0].ID != ours.Admin.MemberID || owners[1].ID != ours.Owner.MemberID {
		t.Errorf("%v, %v", owners, err)
	}
	if owners, err := s.KeyOwners(t.Context(), uuid.NewString()); err != nil || len(owners) != 0 {
		t.Errorf("owners in no organisation: %v, %v", owners, err)
	}
}

// TestEndInSQLIsEndInGo holds the column by which lists are sorted and filtered to apikey.Key.EndsAt, in every state.
func TestEndInSQLIsEndInGo(t *testing.T) {
	address := storetest.URL(t)
	s := storetest.Open(t, address)
	org := storetest.Organisation(t, s)
	start := time.Now().UTC().Truncate(time.Microsecond)
	s.Now = func() time.Time { return start }
	keys := judged(t, s, org, start)
	db := storetest.DB(t, address)
	for id, key := range keys {
		var end time.Time
		if err := db.QueryRowContext(t.Context(), `SELECT ends_at FROM api_keys WHERE id = $1`, id).Scan(&end); err != nil {
			t.Fatal(err)
		}
		if !end.Equal(key.EndsAt()) {
			t.Errorf("%s: %s in SQL, %s in Go", key.Stored, end, key.EndsAt())
		}
	}
	for _, days := range []int{1, 7, 30, 31} {
		page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{ExpiresWithin: days}, apikey.Sort{By: apikey.ByExpiry}, apikey.Position{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for i, row := range page.Rows {
			found[row.ID] = true
			if i > 0 && page.Rows[i-1].EndsAt().After(row.EndsAt()) {
				t.Errorf("within %d days: %s comes before %s", days, page.Rows[i-1].EndsAt(), row.EndsAt())
			}
		}
		for id, key := range keys {
			if want := key.LiveAt(start) && !key.EndsAt().After(start.Add(time.Duration(days)*apikey.Day)); found[id] != want {
				t.Errorf("within %d days: a %s key that ends at %s is found: %t", days, key.Stored, key.EndsAt(), found[id])
			}
		}
	}
}
