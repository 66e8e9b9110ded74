package keyring_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestIssuedKeyCanBeFoundByWhatPeopleSeeOfIt(t *testing.T) {
	h := newHouse(t)
	key := h.issue(h.org.Admin, draft("CI 100% pipeline_a"))
	h.issue(h.org.Owner, draft("Something else"))
	for _, search := range []string{"ci 100% PIPE", "pipeline_a", key.ID, key.ID[:13], key.Prefix, key.Signature, h.org.Admin.Email, "admin@"} {
		page, err := h.Keys(t.Context(), h.org.Support, apikey.Filter{Search: search}, apikey.Newest, "", 50)
		if err != nil || len(page.Rows) != 1 || page.Rows[0].ID != key.ID {
			t.Errorf("search %q found %v, %v", search, page.Rows, err)
		}
	}
	page, err := h.Keys(t.Context(), h.org.Support, apikey.Filter{Search: "100_ pipeline"}, apikey.Newest, "", 50)
	if err != nil || len(page.Rows) != 0 {
		t.Errorf("a search with a LIKE wildcard found %v, %v", page.Rows, err)
	}
}

func TestEveryFilterNarrowsToItsKeys(t *testing.T) {
	h := newHouse(t)
	now := time.Now().UTC()
	h.at(now.Add(-100 * apikey.Day))
	expired := h.issue(h.org.Admin, keyring.KeyDraft{Name: "expired", Scopes: []string{"read:chat"}, Expires: "30d"})
	old := h.issue(h.org.Admin, keyring.KeyDraft{Name: "old", Scopes: []string{"write:chat"}, Expires: "105d"})
	h.at(now)
	test := h.issue(h.org.Owner, keyring.KeyDraft{Name: "test", Scopes: []string{"*"}, Environment: "test"})
	rotated := h.issue(h.org.Owner, draft("rotated"))
	rotation, err := h.RotateKey(t.Context(), h.org.Owner, rotated.ID, time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	disabled := h.issue(h.org.Owner, draft("disabled"))
	revoked := h.issue(h.org.Owner, draft("revoked"))
	for id, change := range map[string]apikey.Change{disabled.ID: apikey.Disable, revoked.ID: apikey.Revoke} {
		if _, err := h.ChangeStatus(t.Context(), h.org.Owner, change, id); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		filter apikey.Filter
		want   []string
	}{
		{apikey.Filter{Status: apikey.Expired}, []string{expired.ID}},
		{apikey.Filter{Status: apikey.Disabled}, []string{disabled.ID}},
		{apikey.Filter{Status: apikey.Rotated}, []string{rotated.ID}},
		{apikey.Filter{Status: apikey.Revoked}, []string{revoked.ID}},
		{apikey.Filter{Status: apikey.Enabled, OwnerID: h.org.Admin.MemberID}, []string{old.ID}},
		{apikey.Filter{Environment: apikey.Test}, []string{test.ID}},
		{apikey.Filter{Scope: "write:chat"}, []string{old.ID}},
		{apikey.Filter{ExpiresWithin: 7}, []string{old.ID, rotated.ID}},
		{apikey.Filter{UnusedFor: 90}, []string{old.ID, expired.ID}},
		{apikey.Filter{Status: apikey.Enabled}, []string{rotation.New.ID, test.ID, old.ID}},
		{apikey.Filter{WorkspaceID: uuid.NewString()}, nil},
		{apikey.Filter{ProcessID: uuid.NewString()}, nil},
		{apikey.Filter{ProfileID: uuid.NewString()}, nil},
	} {
		page, err := h.Keys(t.Context(), h.org.Support, c.filter, apikey.Newest, "", 50)
		var got []string
		for _, row := range page.Rows {
			got = append(got, row.ID)
		}
		slices.Sort(got)
		slices.Sort(c.want)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v found %v, %v; want %v", c.filter, got, err, c.want)
		}
	}
}

func TestPagesGoThereAndBackWhileKeysAreCreated(t *testing.T) {
	h := newHouse(t)
	want := map[string]bool{}
	for i := range 23 {
		want[h.issue(h.org.Admin, draft([]string{"b", "a", "C", "c"}[i%4])).ID] = true
	}
	for _, text := range []string{"", "created", "name", "-name", "expires", "-expires", "used", "-used"} {
		sort, _ := apikey.ParseSort(text)
		seen := map[string]bool{}
		var first, last keyring.KeyPage
		for cursor := ""; ; {
			page, err := h.Keys(t.Context(), h.org.Admin, apikey.Filter{Search: "ADMIN"}, sort, cursor, 5)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range page.Rows {
				if seen[row.ID] {
					t.Errorf("%q repeats %s", text, row.ID)
				}
				seen[row.ID] = true
			}
			if first.Rows == nil {
				first = page
			}
			last = page
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		for id := range want {
			if !seen[id] {
				t.Errorf("%q skips %s", text, id)
			}
		}
		for last.Previous != "" {
			var err error
			if last, err = h.Keys(t.Context(), h.org.Admin, apikey.Filter{Search: "ADMIN"}, sort, last.Previous, 5); err != nil {
				t.Fatal(err)
			}
		}
		if len(last.Rows) != 5 || last.Rows[0].ID != first.Rows[0].ID {
			t.Errorf("%q: going back ends at %v, began at %v", text, last.Rows[0].ID, first.Rows[0].ID)
		}
		h.issue(h.org.Owner, draft("another owner's, created between two pages"))
	}
}

func TestCursorFitsOneListOnly(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	for range 3 {
		h.issue(h.org.Admin, draft("x"))
	}
	page, err := h.Keys(t.Context(), h.org.Admin, apikey.Filter{}, apikey.Newest, "", 2)
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	changed := []byte(page.Next)
	changed[len(changed)/2] ^= 1
	byName, _ := apikey.ParseSort("name")
	for name, c := range map[string]struct {
		actor  account.Actor
		filter apikey.Filter
		sort   apikey.Sort
		cursor string
		want   error
	}{
		"another organisation": {other.Admin, apikey.Filter{}, apikey.Newest, page.Next, keyring.ErrNotFound},
		"another filter":       {h.org.Admin, apikey.Filter{Search: "x"}, apikey.Newest, page.Next, keyring.ErrCursor},
		"another order":        {h.org.Admin, apikey.Filter{}, byName, page.Next, keyring.ErrCursor},
		"changed":              {h.org.Admin, apikey.Filter{}, apikey.Newest, string(changed), keyring.ErrCursor},
		"made up":              {h.org.Admin, apikey.Filter{}, apikey.Newest, "AAAA", keyring.ErrCursor},
	} {
		if _, err := h.Keys(t.Context(), c.actor, c.filter, c.sort, c.cursor, 2); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("AAAA")
	f.Add("")
	h := keyring.New(storetest.New(f))
	actor := account.Actor{OrgID: uuid.NewString(), Role: account.Admin}
	f.Fuzz(func(t *testing.T, cursor string) {
		_, err := h.Keys(t.Context(), actor, apikey.Filter{}, apikey.Newest, cursor, 1)
		if cursor != "" && !errors.Is(err, keyring.ErrCursor) {
			t.Fatalf("cursor %q: %v", cursor, err)
		}
	})
}

func TestDraftIsRefusedFieldByField(t *testing.T) {
	h := newHouse(t)
	for field, bad := range map[string][]keyring.KeyDraft{
		"name": {{}, {Name: string(make([]byte, 3))}, {Name: "a\u202eb"}, {Name: "\xff"}, {Name: "a\u200bb"},
			{Name: string(slices.Repeat([]rune{'é'}, 101))}},
		"scopes":      {{}, {Scopes: []string{"read:nothing"}}, {Scopes: []string{""}}},
		"environment": {{Environment: "prod"}},
		"ipAllowlist": {{IPAllowlist: []string{"10.0.0.0/33"}}, {IPAllowlist: []string{"10.0.0.7/8"}}, {IPAllowlist: []string{"example.com"}}},
		"expiresAt": {{Expires: "2020-01-01"}, {Expires: "9999-12-31"}, {Expires: "10000-01-01"}, {Expires: "366d"}, {Expires: "0d"},
			{Expires: "tomorrow"}, {Expires: "2026-13-45"}, {Expires: "2027-01-01T00:00:00+99:99"}},
	} {
		for _, d := range bad {
			_, _, err := h.IssueKey(t.Context(), h.org.Admin, d)
			if input.ProblemsIn(err)[field] == "" {
				t.Errorf("%s of %+v: %v", field, d, err)
			}
		}
	}
	if _, _, err := h.IssueKey(t.Context(), h.org.Admin, keyring.KeyDraft{Name: string(slices.Repeat([]rune{'é'}, 100)), Scopes: []string{"read:chat"}}); err != nil {
		t.Errorf("a name of 100 characters: %v", err)
	}
}

func TestOnlyAnOwnerGrantsAll(t *testing.T) {
	h := newHouse(t)
	if _, _, err := h.IssueKey(t.Context(), h.org.Admin, keyring.KeyDraft{Name: "x", Scopes: []string{"*"}}); !errors.Is(err, keyring.ErrGrantAll) {
		t.Errorf("an admin granted *: %v", err)
	}
	all := h.issue(h.org.Owner, keyring.KeyDraft{Name: "x", AllScopes: true})
	if !slices.Equal(all.Scopes, []string{"*"}) {
		t.Errorf("an owner's All is %v", all.Scopes)
	}
	if _, err := h.RotateKey(t.Context(), h.org.Admin, all.ID, 0, ""); !errors.Is(err, keyring.ErrGrantAll) {
		t.Errorf("an admin got the plaintext of a key with * by rotating it: %v", err)
	}
	named := h.issue(h.org.Admin, keyring.KeyDraft{Name: "x", AllScopes: true})
	if len(named.Scopes) != 15 || slices.Contains(named.Scopes, "*") {
		t.Errorf("an admin's All is %v", named.Scopes)
	}
}

func TestAnotherOrganisationsIDsAreUnknown(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	key := h.issue(h.org.Admin, draft("ours"))
	name := "theirs"
	for _, id := range []string{key.ID, uuid.NewString(), "no uuid"} {
		ctx, who := t.Context(), other.Owner
		_, read := h.Key(ctx, who, id)
		_, edit := h.EditKey(ctx, who, id, keyring.KeyEdit{Name: &name})
		_, transfer := h.TransferKey(ctx, who, id, who.MemberID)
		_, disable := h.ChangeStatus(ctx, who, apikey.Disable, id)
		_, rotate := h.RotateKey(ctx, who, id, 0, "")
		remove := h.DeleteKey(ctx, who, id)
		for verb, err := range map[string]error{"read": read, "edit": edit, "transfer": transfer, "disable": disable, "rotate": rotate, "delete": remove} {
			if !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s %s: %v", verb, id, err)
			}
		}
	}
	if n, err := h.ChangeStatuses(t.Context(), other.Owner, apikey.Revoke, []string{key.ID}); n != 0 || err != nil {
		t.Errorf("a foreign key was revoked with others: %d, %v", n, err)
	}
	if in, err := h.KeysInUse(t.Context(), other.Owner, []string{key.ID}); len(in) != 0 || err != nil {
		t.Errorf("a foreign key was listed: %v, %v", in, err)
	}
	past, err := h.KeyHistory(t.Context(), other.Owner, key.ID, 30, 0)
	if err != nil || len(past.Trail) != 0 || len(past.Line) != 0 {
		t.Errorf("a foreign key's past was shown: %+v, %v", past, err)
	}
	if _, err := h.TransferKey(t.Context(), h.org.Owner, key.ID, other.Owner.MemberID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("a key was given away to another organisation: %v", err)
	}
	for _, bad := range []keyring.KeyDraft{{WorkspaceID: uuid.NewString()}, {ProcessID: uuid.NewString()}, {ProfileID: uuid.NewString()}, {WorkspaceID: "x"}, {OwnerID: other.Admin.MemberID}} {
		bad.Name, bad.Scopes = "x", []string{"read:chat"}
		if _, _, err := h.IssueKey(t.Context(), h.org.Owner, bad); !errors.Is(err, keyring.ErrNotFound) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestKeysLifeFollowsTheTable(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	makeKey := map[apikey.Status]func() apikey.Key{
		apikey.Enabled: func() apikey.Key { return h.issue(h.org.Owner, draft("x")) },
		apikey.Expired: func() apikey.Key {
			h.at(now.Add(-40 * apikey.Day))
			defer h.at(now)
			return h.issue(h.org.Owner, keyring.KeyDraft{Name: "x", Scopes: []string{"read:chat"}, Expires: "30d"})
		},
		apikey.Disabled: func() apikey.Key { return h.change(apikey.Disable) },
		apikey.Revoked:  func() apikey.Key { return h.change(apikey.Revoke) },
		apikey.Rotated: func() apikey.Key {
			rotation, err := h.RotateKey(t.Context(), h.org.Owner, h.issue(h.org.Owner, draft("x")).ID, time.Hour, "")
			if err != nil {
				t.Fatal(err)
			}
			return rotation.Old
		},
	}
	name := "y"
	do := map[apikey.Change]func(string) error{
		apikey.Edit: func(id string) error {
			_, err := h.EditKey(t.Context(), h.org.Owner, id, keyring.KeyEdit{Name: &name})
			return err
		},
		apikey.Transfer: func(id string) error {
			_, err := h.TransferKey(t.Context(), h.org.Owner, id, h.org.Admin.MemberID)
			return err
		},
		apikey.Rotate: func(id string) error { _, err := h.RotateKey(t.Context(), h.org.Owner, id, 0, ""); return err },
		apikey.Delete: func(id string) error { return h.DeleteKey(t.Context(), h.org.Owner, id) },
	}
	for _, change := range []apikey.Change{apikey.Disable, apikey.Enable, apikey.Revoke} {
		do[change] = func(id string) error {
			_, err := h.ChangeStatus(t.Context(), h.org.Owner, change, id)
			return err
		}
	}
	// The table of PRODUCT.md, "The life of a key".
	may := map[apikey.Status][]apikey.Change{
		apikey.Enabled:  {apikey.Edit, apikey.Transfer, apikey.Disable, apikey.Rotate, apikey.Revoke, apikey.Delete},
		apikey.Disabled: {apikey.Edit, apikey.Transfer, apikey.Enable, apikey.Rotate, apikey.Revoke, apikey.Delete},
		apikey.Rotated:  {apikey.Revoke, apikey.Delete},
		apikey.Revoked:  {apikey.Delete},
		apikey.Expired:  {apikey.Delete},
	}
	h.at(now)
	for status, make := range makeKey {
		for change, do := range do {
			err := do(make().ID)
			if want := slices.Contains(may[status], change); want && err != nil || !want && !errors.Is(err, apikey.ErrState) {
				t.Errorf("%s a key that is %s: %v", change, status, err)
			}
		}
	}
}

func (h house) change(change apikey.Change) apikey.Key {
	h.t.Helper()
	key, err := h.ChangeStatus(h.t.Context(), h.org.Owner, change, h.issue(h.org.Owner, draft("x")).ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

func TestSuccessorIsTheSameKeyAnew(t *testing.T) {
	h := newHouse(t)
	start := time.Now().Add(-80 * apikey.Day)
	h.at(start)
	old := h.issue(h.org.Owner, keyring.KeyDraft{Name: "x", Scopes: []string{"read:chat", "write:chat"}, Environment: "test", IPAllowlist: []string{"192.0.2.0/24"}, Expires: "90d"})
	now := start.Add(80 * apikey.Day)
	h.at(now)
	r, err := h.RotateKey(t.Context(), h.org.Admin, old.ID, 30*apikey.Day, "")
	if err != nil {
		t.Fatal(err)
	}
	n := r.New
	if n.Name != old.Name || !slices.Equal(n.Scopes, old.Scopes) || n.Environment != old.Environment || n.OwnerID != old.OwnerID || !slices.Equal(n.IPAllowlist, old.IPAllowlist) {
		t.Errorf("the successor differs: %+v", n)
	}
	if n.Lifetime() != 90*apikey.Day || n.ID == old.ID || n.Prefix == old.Prefix || r.Plaintext.Prefix() != n.Prefix {
		t.Errorf("the successor is not a 90-day key of its own: %+v", n)
	}
	if got := r.Old; got.Stored != apikey.Rotated || got.ReplacedBy != n.ID || !got.GraceEndsAt.Equal(old.ExpiresAt) {
		t.Errorf("the old key outlives its own expiry, or is not rotated: %+v", got)
	}
	disabled := h.change(apikey.Disable)
	r, err = h.RotateKey(t.Context(), h.org.Owner, disabled.ID, apikey.Day, "")
	if err != nil || r.New.Stored != apikey.Disabled || r.Old.InGraceAt(now) {
		t.Errorf("rotating a disabled key brought one to life: %+v, %v", r, err)
	}
	if _, err := h.RotateKey(t.Context(), h.org.Owner, r.New.ID, 31*apikey.Day, ""); input.ProblemsIn(err)["graceSeconds"] == "" {
		t.Errorf("a grace period of 31 days: %v", err)
	}
}

func TestEditRefusesToUndoSomebodyElsesChange(t *testing.T) {
	h := newHouse(t)
	key := h.issue(h.org.Owner, draft("first"))
	second, third := "second", "third"
	if _, err := h.EditKey(t.Context(), h.org.Owner, key.ID, keyring.KeyEdit{Version: key.Version, Name: &second}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.EditKey(t.Context(), h.org.Admin, key.ID, keyring.KeyEdit{Version: key.Version, Name: &third}); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("a late form was taken: %v", err)
	}
	again, err := h.EditKey(t.Context(), h.org.Owner, key.ID, keyring.KeyEdit{Version: key.Version, Name: &second})
	if err != nil || again.Version != key.Version+1 {
		t.Errorf("the same form sent twice: version %d, %v", again.Version, err)
	}
}

func TestExpiryCountsFromCreationAlsoWhenEdited(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	h.at(now.Add(-20 * apikey.Day))
	key := h.issue(h.org.Owner, draft("x"))
	h.at(now)
	for text, fine := range map[string]bool{"340d": true, "350d": false} {
		_, err := h.EditKey(t.Context(), h.org.Owner, key.ID, keyring.KeyEdit{Expires: &text})
		if (err == nil) != fine || err != nil && input.ProblemsIn(err)["expiresAt"] == "" {
			t.Errorf("%s from now for a key 20 days old: %v", text, err)
		}
	}
}

func TestSameRequestIssuesOneKey(t *testing.T) {
	h := newHouse(t)
	const times = 20
	var wg sync.WaitGroup
	results := make(chan error, times)
	for range times {
		wg.Go(func() {
			d := draft("once")
			d.RequestKey = "form-1"
			_, _, err := h.IssueKey(t.Context(), h.org.Admin, d)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	issued, firstID := 0, ""
	for err := range results {
		var repeated *keyring.RepeatedError
		switch {
		case err == nil:
			issued++
		case errors.As(err, &repeated) && repeated.SameBody:
			firstID = repeated.KeyID
		default:
			t.Error(err)
		}
	}
	page, err := h.Keys(t.Context(), h.org.Admin, apikey.Filter{}, apikey.Newest, "", 50)
	if err != nil || issued != 1 || len(page.Rows) != 1 || page.Rows[0].ID != firstID {
		t.Errorf("%d issued, %d stored, %v", issued, len(page.Rows), err)
	}
	other := draft("another body")
	other.RequestKey = "form-1"
	var repeated *keyring.RepeatedError
	if _, _, err := h.IssueKey(t.Context(), h.org.Admin, other); !errors.As(err, &repeated) || repeated.SameBody {
		t.Errorf("the same request key with another body: %v", err)
	}
	if _, _, err := h.IssueKey(t.Context(), h.org.Owner, other); err != nil {
		t.Errorf("another person's request key is their own: %v", err)
	}
}

func TestOfRotationsAndRevocationsAtOnceOneStateRemains(t *testing.T) {
	h := newHouse(t)
	for range 25 {
		key := h.issue(h.org.Owner, draft("contended"))
		var wg sync.WaitGroup
		var mu sync.Mutex
		rotated, revoked := 0, 0
		for i := range 4 {
			wg.Go(func() {
				var err error
				if i%2 == 0 {
					_, err = h.RotateKey(t.Context(), h.org.Owner, key.ID, time.Hour, "")
				} else {
					_, err = h.ChangeStatus(t.Context(), h.org.Admin, apikey.Revoke, key.ID)
				}
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil && i%2 == 0:
					rotated++
				case err == nil:
					revoked++
				case !errors.Is(err, apikey.ErrState):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		now, err := h.Key(t.Context(), h.org.Owner, key.ID)
		if err != nil || rotated > 1 || revoked != 1 || now.Stored != apikey.Revoked || (rotated == 1) != (now.ReplacedBy != "") {
			t.Fatalf("%d rotations and %d revocations won, the key is %+v, %v", rotated, revoked, now.Key, err)
		}
	}
	if n, err := h.store.VerifyChain(t.Context(), h.org.ID); err != nil || n == 0 {
		t.Errorf("the chain after contention: %d events, %v", n, err)
	}
}

func TestSeveralKeysChangeInOneGo(t *testing.T) {
	h := newHouse(t)
	a, b, dead := h.issue(h.org.Owner, draft("a")), h.issue(h.org.Owner, draft("b")), h.change(apikey.Revoke)
	n, err := h.ChangeStatuses(t.Context(), h.org.Admin, apikey.Disable, []string{b.ID, dead.ID, a.ID, a.ID, uuid.NewString()})
	if n != 2 || err != nil {
		t.Errorf("%d changed, %v", n, err)
	}
}

func TestTrailTellsWhoDidWhatAndHidesNothingSecret(t *testing.T) {
	h := newHouse(t)
	key, plaintext, err := h.IssueKey(t.Context(), h.org.Owner, draft("before"))
	if err != nil {
		t.Fatal(err)
	}
	name := "after"
	if _, err := h.EditKey(t.Context(), h.org.Admin, key.ID, keyring.KeyEdit{Name: &name}); err != nil {
		t.Fatal(err)
	}
	if err := h.DeleteKey(t.Context(), h.org.Admin, key.ID); err != nil {
		t.Fatal(err)
	}
	past, err := h.KeyHistory(t.Context(), h.org.Support, key.ID, 7, 0)
	if err != nil || len(past.Trail) != 3 || len(past.Usage) != 7 {
		t.Fatalf("%+v, %v", past, err)
	}
	removed, edited := past.Trail[0], past.Trail[1]
	if edited.Action != account.EditKey || edited.Email != h.org.Admin.Email || edited.Role != account.Admin || edited.Address != "192.0.2.1" ||
		edited.Before != `{"name":"before"}` || edited.After != `{"name":"after"}` {
		t.Errorf("the edit's event is %+v", edited)
	}
	if removed.Action != account.DeleteKey || removed.Subject.Name != "after" || removed.After != "" || removed.Before == "" {
		t.Errorf("the deletion's event is %+v", removed)
	}
	for _, e := range past.Trail {
		for _, text := range []string{e.Before, e.After} {
			if secret := plaintext.RevealPass(); len(text) > 0 && (strings.Contains(text, secret[:20])) {
				t.Errorf("the event %s holds the secret", e.Action)
			}
		}
	}
}

// PostgreSQL takes an id in other spellings too; the audit log's hash must be over the one that is stored.
func TestIDInAnotherSpellingKeepsTheChain(t *testing.T) {
	h := newHouse(t)
	for _, spell := range []func(string) string{strings.ToUpper, func(s string) string { return strings.ReplaceAll(s, "-", "") },
		func(s string) string { return "{" + s + "}" }, func(s string) string { return "urn:uuid:" + s }} {
		session, err := h.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, h.org.Member.Email, storetest.Password)
		if err != nil {
			t.Fatal(err)
		}
		key := h.issue(h.org.Owner, draft("x"))
		if err := h.EndSession(t.Context(), h.org.Member, spell(session.ID)); err != nil {
			t.Error(err)
		}
		if same, err := h.TransferKey(t.Context(), h.org.Owner, spell(key.ID), spell(key.OwnerID)); err != nil || same.Version != key.Version {
			t.Errorf("a transfer to the owner that the key has made version %d, %v", same.Version, err)
		}
		if n, err := h.ChangeStatuses(t.Context(), h.org.Owner, apikey.Disable, []string{spell(key.ID), key.ID}); n != 1 || err != nil {
			t.Errorf("%d keys changed, %v", n, err)
		}
		if err := h.DeleteKey(t.Context(), h.org.Owner, spell(key.ID)); err != nil {
			t.Error(err)
		}
		if _, err := h.store.VerifyChain(t.Context(), h.org.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

func TestWholeKeyIsNoText(t *testing.T) {
	h := newHouse(t)
	p := apikey.NewPlaintext(apikey.Live)
	key := h.issue(h.org.Owner, draft("x"))
	scope, err := h.CreateScope(t.Context(), h.org.Owner, "some:thing", "")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := h.CreateProfile(t.Context(), h.org.Owner, keyring.ProfileDraft{Name: "Careful"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{p.Reveal(), "Bearer " + p.Reveal(), p.Prefix() + ":" + p.RevealPass(), "old " + p.Reveal() + " key",
		strings.ReplaceAll(p.Reveal(), "_", "\uff3f"), strings.Replace(p.Reveal(), "_", " _", 1), "key " + strings.Replace(p.Reveal(), "l", "l\u0301", 1),
		strings.ReplaceAll(p.Reveal(), "_", "%5F"), strings.ReplaceAll(p.Reveal(), "_", "%255f"), strings.ReplaceAll(p.Reveal(), "_", `\_`), strings.ReplaceAll(p.Reveal(), "_", "&#95;"),
		strings.ReplaceAll(p.Reveal(), "_", "&lowbar;"), strings.ReplaceAll(p.Reveal(), "_", `\u005f`), "Basic " + base64.StdEncoding.EncodeToString([]byte(p.Prefix()+":"+p.RevealPass()))} {
		for what, err := range map[string]error{
			"name of a member":         h.RenameSelf(t.Context(), h.org.Owner, name),
			"name of a workspace":      errorOf(h.CreateWorkspace(t.Context(), h.org.Owner, name)),
			"description of a scope":   errorOf(h.EditScope(t.Context(), h.org.Owner, scope.Name, keyring.ScopeEdit{Description: &name})),
			"description of a profile": errorOf(h.EditProfile(t.Context(), h.org.Owner, profile.ID, keyring.ProfileEdit{Description: &name})),
		} {
			if input.ProblemsIn(err) == nil {
				t.Errorf("a key became the %s: %v", what, err)
			}
		}
		if _, _, err := h.IssueKey(t.Context(), h.org.Owner, draft(name)); input.ProblemsIn(err)["name"] == "" {
			t.Errorf("a key became a name: %v", err)
		}
		if _, err := h.EditKey(t.Context(), h.org.Owner, key.ID, keyring.KeyEdit{Name: &name}); input.ProblemsIn(err)["name"] == "" {
			t.Errorf("a key became a name by an edit: %v", err)
		}
	}
	if _, _, err := h.Invite(t.Context(), h.org.Owner, keyring.InvitationDraft{Email: p.Reveal() + "@example.com", Role: "member"}); input.ProblemsIn(err)["email"] == "" {
		t.Errorf("a key became an address: %v", err)
	}
	if _, _, err := h.IssueKey(t.Context(), h.org.Owner, draft(p.Prefix())); err != nil {
		t.Errorf("what may be seen of a key may be a name: %v", err)
	}
}
