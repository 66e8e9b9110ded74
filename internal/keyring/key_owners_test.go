package keyring_test

import (
	"errors"
	"fmt"
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
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// owners is the whole list, read page by page.
func (h house) owners(filter keyring.OwnerFilter, size int) []store.OwnerRow {
	h.t.Helper()
	var out []store.OwnerRow
	for cursor := ""; ; {
		page, err := h.KeyOwnerFigures(h.t.Context(), h.org.Support, filter, cursor, size)
		if err != nil {
			h.t.Fatal(err)
		}
		out = append(out, page.Rows...)
		if cursor = page.Next; cursor == "" {
			return out
		}
	}
}

func (h house) setStatus(who account.Actor, status account.Status) {
	h.t.Helper()
	if _, err := h.db.Exec(`UPDATE members SET status = $2 WHERE id = $1`, who.MemberID, status); err != nil {
		h.t.Fatal(err)
	}
}

// Each figure of an owner is what the list of keys shows by that owner and the filter, at the boundaries too.
func TestFiguresOfOwnersAreWhatTheirListsShow(t *testing.T) {
	h := newHouse(t)
	now := h.everyKind()
	h.setStatus(h.org.Admin, account.Suspended)
	seen := store.OwnerRow{}
	for _, at := range []time.Time{now, now.Add(-time.Microsecond), now.Add(time.Microsecond), now.Add(30 * apikey.Day), now.Add(400 * apikey.Day)} {
		h.at(at)
		for _, byName := range []bool{true, false} {
			rows := h.owners(keyring.OwnerFilter{ByName: byName}, 1)
			if len(rows) != 2 {
				t.Fatalf("%d owners", len(rows))
			}
			for _, o := range rows {
				for filter, figure := range map[apikey.Filter]int64{
					{OwnerID: o.ID, Status: apikey.Enabled}:                o.Enabled,
					{OwnerID: o.ID, ExpiresWithin: 30}:                     o.Expiring,
					{OwnerID: o.ID, Status: apikey.Enabled, UnusedFor: 90}: o.Unused,
				} {
					if n := h.listed(filter); n != figure {
						t.Errorf("%v from now: %+v lists %d keys, and the figure is %d", at.Sub(now), filter, n, figure)
					}
				}
				owned, err := h.OwnedKeys(t.Context(), h.org.Support, o.ID)
				if err != nil || owned.Enabled+owned.Disabled+owned.InGrace != o.Live {
					t.Errorf("%+v, %v; the list says %d", owned, err, o.Live)
				}
				if o.LastUse == nil || o.LastUse.After(now) {
					t.Errorf("last use: %v", o.LastUse)
				}
				seen.Enabled, seen.Expiring, seen.Unused, seen.Live = seen.Enabled+o.Enabled, seen.Expiring+o.Expiring, seen.Unused+o.Unused, seen.Live+o.Live
			}
		}
	}
	if seen.Enabled == 0 || seen.Expiring == 0 || seen.Unused == 0 || seen.Live == 0 {
		t.Errorf("a figure was never put to the test: %+v", seen)
	}
}

func TestOwnersAreFoundSortedAndPaged(t *testing.T) {
	h := newHouse(t)
	for i, name := range []string{"Zoë", "ada", "Bob_%", "", "Čeněk", "dora", "Eve"} {
		who, err := h.CreateMember(t.Context(), keyring.MemberDraft{Organisation: h.org.Name, Email: fmt.Sprintf("p%d@%s.test", i, h.org.Name), Name: name, Role: "admin", Password: another})
		if err != nil {
			t.Fatal(err)
		}
		actor := account.Actor{OrgID: h.org.ID, MemberID: who.ID, Email: who.Email, Role: who.Role}
		for range i % 4 {
			d := draft("soon")
			d.Expires = "3d"
			h.issue(actor, d)
		}
		if i%3 == 0 {
			h.setStatus(actor, []account.Status{account.Suspended, account.Removed, account.Removed}[i/3])
		}
	}
	names := func(filter keyring.OwnerFilter, size int) string {
		t.Helper()
		var out []string
		for _, o := range h.owners(filter, size) {
			out = append(out, o.DisplayName())
		}
		return strings.Join(out, " ")
	}
	for _, size := range []int{1, 2, 3, 25} {
		if got := names(keyring.OwnerFilter{ByName: true}, size); got != "ada Bob_% dora Eve p3@"+h.org.Name+".test" {
			t.Errorf("by name, %d a page: %s", size, got)
		}
		if got := names(keyring.OwnerFilter{}, size); got != "p3@"+h.org.Name+".test Bob_% Eve ada dora" {
			t.Errorf("most to look at first, %d a page: %s", size, got)
		}
	}
	for search, want := range map[string]string{"BOB": "Bob_%", "_%": "Bob_%", "p1@": "ada", "nobody": "", "Čeněk": "", "o": "p3@" + h.org.Name + ".test Bob_% Eve ada dora"} {
		if got := names(keyring.OwnerFilter{Search: search}, 25); got != want {
			t.Errorf("search %q: %s", search, got)
		}
	}
	if got := names(keyring.OwnerFilter{Left: true, ByName: true}, 25); got != "Eve p3@"+h.org.Name+".test" {
		t.Errorf("who has left: %s", got)
	}
	// And back again.
	for _, filter := range []keyring.OwnerFilter{{}, {ByName: true}} {
		var forth, back []string
		page, err := h.KeyOwnerFigures(t.Context(), h.org.Owner, filter, "", 2)
		for err == nil && page.Next != "" {
			forth = append(forth, page.Rows[0].ID)
			page, err = h.KeyOwnerFigures(t.Context(), h.org.Owner, filter, page.Next, 2)
		}
		for err == nil && page.Previous != "" {
			page, err = h.KeyOwnerFigures(t.Context(), h.org.Owner, filter, page.Previous, 2)
			back = append([]string{page.Rows[0].ID}, back...)
		}
		if err != nil || len(back) != 2 || !slices.Equal(forth, back) {
			t.Errorf("%+v: there %v, back %v, %v", filter, forth, back, err)
		}
	}
	page, err := h.KeyOwnerFigures(t.Context(), h.org.Owner, keyring.OwnerFilter{}, "", 2)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.KeyOwnerFigures(t.Context(), h.org.Owner, keyring.OwnerFilter{ByName: true}, page.Next, 2); !errors.Is(err, keyring.ErrCursor) {
		t.Errorf("a cursor of the other order: %v", err)
	}
	stranger := storetest.Organisation(t, h.store)
	if _, err := h.KeyOwnerFigures(t.Context(), stranger.Owner, keyring.OwnerFilter{}, page.Next, 2); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("another organisation's cursor: %v", err)
	}
	if page, err := h.KeyOwnerFigures(t.Context(), stranger.Owner, keyring.OwnerFilter{}, "", 25); err != nil || len(page.Rows) != 0 {
		t.Errorf("another organisation's owners: %v, %v", page.Rows, err)
	}
	if _, err := h.KeyOwnerFigures(t.Context(), h.org.Member, keyring.OwnerFilter{}, "", 25); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member: %v", err)
	}
}

func TestAllLiveKeysGoToSomebodyElseButThoseThatMayNot(t *testing.T) {
	h := newHouse(t)
	ctx, org := t.Context(), h.org
	plain, disabled := h.issue(org.Admin, draft("plain")), h.issue(org.Admin, draft("disabled"))
	all := h.issue(org.Owner, keyring.KeyDraft{Name: "all", Scopes: []string{"*"}, OwnerID: org.Admin.MemberID})
	old, revoked, others := h.issue(org.Admin, draft("old")), h.issue(org.Admin, draft("revoked")), h.issue(org.Owner, draft("another's"))
	for _, c := range []struct {
		key    apikey.Key
		change apikey.Change
	}{{disabled, apikey.Disable}, {revoked, apikey.Revoke}} {
		if _, err := h.ChangeStatus(ctx, org.Admin, c.change, c.key.ID); err != nil {
			t.Fatal(err)
		}
	}
	rotation, err := h.RotateKey(ctx, org.Admin, old.ID, apikey.Day, "")
	if err != nil {
		t.Fatal(err)
	}
	before := h.lastEvent()
	got, err := h.TransferAllKeys(ctx, org.Admin, org.Admin.MemberID, org.Owner.MemberID)
	if err != nil || got.Changed != 3 || got.Status != 1 || got.Entrust != 1 || got.From.ID != org.Admin.MemberID || got.To.ID != org.Owner.MemberID {
		t.Fatalf("%+v, %v", got, err)
	}
	for id, want := range map[string]string{plain.ID: org.Owner.MemberID, disabled.ID: org.Owner.MemberID, rotation.New.ID: org.Owner.MemberID, others.ID: org.Owner.MemberID,
		all.ID: org.Admin.MemberID, old.ID: org.Admin.MemberID, revoked.ID: org.Admin.MemberID} {
		if key, err := h.Key(ctx, org.Owner, id); err != nil || key.OwnerID != want {
			t.Errorf("%s belongs to %s, %v", key.Name, key.Owner.Email, err)
		}
	}
	if events := h.happened(before); len(events) != 3 || !strings.HasPrefix(events[0], "key.transferred") {
		t.Errorf("the log says %v", events)
	}
	again, err := h.TransferAllKeys(ctx, org.Owner, org.Admin.MemberID, org.Owner.MemberID)
	if err != nil || again.Changed != 1 || again.Entrust != 0 {
		t.Errorf("an owner may do the rest: %+v, %v", again, err)
	}

	if _, err := h.TransferAllKeys(ctx, org.Owner, org.Owner.MemberID, org.Owner.MemberID); input.ProblemsIn(err)["ownerId"] == "" {
		t.Errorf("to oneself: %v", err)
	}
	for name, to := range map[string]string{"support": org.Support.MemberID, "nobody": uuid.NewString(), "no id": "x"} {
		var missing keyring.MissingError
		if _, err := h.TransferAllKeys(ctx, org.Owner, org.Owner.MemberID, to); !errors.As(err, &missing) {
			t.Errorf("to %s: %v", name, err)
		}
	}
	stranger := storetest.Organisation(t, h.store)
	if _, err := h.TransferAllKeys(ctx, stranger.Owner, org.Owner.MemberID, stranger.Admin.MemberID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("another organisation's owner: %v", err)
	}
	for _, actor := range []account.Actor{org.Support, org.Member} {
		if _, err := h.TransferAllKeys(ctx, actor, org.Owner.MemberID, org.Admin.MemberID); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s: %v", actor.Role, err)
		}
		if _, err := h.RevokeAllKeys(ctx, actor, org.Owner.MemberID, 0); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s: %v", actor.Role, err)
		}
	}
}

func TestAllLiveKeysAreRevokedOnceThoseInTheirGracePeriodToo(t *testing.T) {
	h := newHouse(t)
	ctx, org := t.Context(), h.org
	for i := range 3 {
		key := h.issue(org.Admin, draft(fmt.Sprint("key ", i)))
		use := h.Now()
		if err := h.store.AddUsage(ctx, store.UsageBatch{Replica: uuid.NewString(), Number: 1, Counts: []store.UsageCount{{KeyID: key.ID, Hour: use, Accepted: int64(i + 1), LastUsedAt: use}}}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := h.RotateKey(ctx, org.Admin, key.ID, apikey.Day, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	untouched := h.issue(org.Owner, draft("another's"))
	owned, err := h.OwnedKeys(ctx, org.Support, org.Admin.MemberID)
	if err != nil || owned.Enabled != 3 || owned.InGrace != 1 || owned.Requests24h != 6 || len(owned.Busiest) != 3 || owned.Busiest[0].Requests24h != 3 || owned.Busiest[2].Requests24h != 1 {
		t.Errorf("before: %+v, %v", owned, err)
	}
	before := h.lastEvent()
	changed := make(chan int, 2)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			got, err := h.RevokeAllKeys(ctx, org.Owner, org.Admin.MemberID, 0)
			if err != nil || got.Status != 0 {
				t.Error(got, err)
			}
			changed <- got.Changed
		})
	}
	both.Wait()
	if sum := <-changed + <-changed; sum != 4 {
		t.Errorf("two at once revoked %d keys", sum)
	}
	if events := h.happened(before); len(events) != 4 {
		t.Errorf("the log says %v", events)
	}
	if n := h.listed(apikey.Filter{OwnerID: org.Admin.MemberID, Status: apikey.Revoked}); n != 4 {
		t.Errorf("%d keys are revoked", n)
	}
	if key, err := h.Key(ctx, org.Owner, untouched.ID); err != nil || key.Stored != apikey.Enabled {
		t.Error(key.Stored, err)
	}
	stranger := storetest.Organisation(t, h.store)
	if _, err := h.RevokeAllKeys(ctx, stranger.Owner, org.Owner.MemberID, 0); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("another organisation's owner: %v", err)
	}
}
