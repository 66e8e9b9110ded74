package keyring_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// policyDraft is the stored policy as its form would be sent, changed.
func (h house) policyDraft(change func(*keyring.PolicyDraft)) keyring.PolicyDraft {
	h.t.Helper()
	p, err := h.Policy(h.t.Context(), h.org.Owner)
	if err != nil {
		h.t.Fatal(err)
	}
	days := func(d time.Duration) string { return fmt.Sprint(int(d / apikey.Day)) }
	draft := keyring.PolicyDraft{Version: p.Version, LongestDays: days(p.LongestLifetime), DefaultDays: days(p.DefaultLifetime),
		GraceSeconds: fmt.Sprint(int(p.LongestGrace / time.Second)), UnusedDays: days(p.UnusedAfter), RequireAllowlist: p.RequireAllowlist,
		RequireWorkspace: p.RequireWorkspace, DisableUnused: p.DisableUnused, DisableDeparted: p.DisableDeparted}
	change(&draft)
	return draft
}

// demand changes the policy whatever it means for the keys that there are.
func (h house) demand(change func(*keyring.PolicyDraft)) {
	h.t.Helper()
	draft := h.policyDraft(change)
	draft.Confirmed = true
	if _, _, err := h.ChangePolicy(h.t.Context(), h.org.Owner, draft); err != nil {
		h.t.Fatal(err)
	}
}

func TestAPolicyIsAskedForInDays(t *testing.T) {
	h := newHouse(t)
	for field, bad := range map[string][]func(*keyring.PolicyDraft){
		"longestDays": {func(d *keyring.PolicyDraft) { d.LongestDays = "0" }, func(d *keyring.PolicyDraft) { d.LongestDays = "3651" },
			func(d *keyring.PolicyDraft) { d.LongestDays = "" }, func(d *keyring.PolicyDraft) { d.LongestDays = "99999999999999999999" }, func(d *keyring.PolicyDraft) { d.LongestDays = "1.5" }},
		"defaultDays":  {func(d *keyring.PolicyDraft) { d.LongestDays = "30" }, func(d *keyring.PolicyDraft) { d.DefaultDays = "-1" }},
		"graceSeconds": {func(d *keyring.PolicyDraft) { d.GraceSeconds = "2592001" }, func(d *keyring.PolicyDraft) { d.GraceSeconds = "soon" }},
		"unusedDays":   {func(d *keyring.PolicyDraft) { d.UnusedDays = "3651" }, func(d *keyring.PolicyDraft) { d.UnusedDays, d.DisableUnused = "", true }},
	} {
		for i, change := range bad {
			if _, _, err := h.ChangePolicy(t.Context(), h.org.Owner, h.policyDraft(change)); input.ProblemsIn(err)[field] == "" || len(input.ProblemsIn(err)) != 1 {
				t.Errorf("%s %d: %v", field, i, err)
			}
		}
	}
	for _, who := range []account.Actor{h.org.Admin, h.org.Support, h.org.Member} {
		if _, _, err := h.ChangePolicy(t.Context(), who, h.policyDraft(func(*keyring.PolicyDraft) {})); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s: %v", who.Role, err)
		}
	}
	change := func(d *keyring.PolicyDraft) {
		*d = keyring.PolicyDraft{Version: d.Version, LongestDays: " 3650 ", DefaultDays: "1", GraceSeconds: "0", UnusedDays: "1", RequireAllowlist: true, RequireWorkspace: true, DisableUnused: true, DisableDeparted: true}
	}
	form, stale := h.policyDraft(change), h.policyDraft(change)
	stale.DefaultDays = "2"
	for _, again := range []keyring.PolicyDraft{form, form, h.policyDraft(change)} { // from the second time on nothing is left to do
		if _, asked, err := h.ChangePolicy(t.Context(), h.org.Owner, again); err != nil || asked.Concerns() {
			t.Fatal(asked, err)
		}
	}
	want := apikey.Policy{LongestLifetime: 3650 * apikey.Day, DefaultLifetime: apikey.Day, UnusedAfter: apikey.Day, RequireAllowlist: true, WidestIPv4: 8, WidestIPv6: 32, RequireWorkspace: true, DisableUnused: true, DisableDeparted: true, Version: 2}
	if p, err := h.Policy(t.Context(), h.org.Support); err != nil || p != want {
		t.Errorf("%+v, %v", p, err)
	}
	for _, stale.Confirmed = range []bool{false, true} {
		if _, _, err := h.ChangePolicy(t.Context(), h.org.Owner, stale); !errors.Is(err, keyring.ErrStale) {
			t.Errorf("a form that is out of date: %v", err)
		}
	}
	events, err := h.Events(t.Context(), h.org.Owner, audit.Filter{Action: account.ChangePolicy}, "", 5)
	if err != nil || len(events.Events) != 1 || events.Events[0].Subject != (audit.Subject{Kind: "policy", ID: h.org.ID, Name: "Key policy"}) ||
		!strings.Contains(events.Events[0].Before, `"longestLifetimeDays":365`) || !strings.Contains(events.Events[0].After, `"longestLifetimeDays":3650`) {
		t.Errorf("%+v, %v", events.Events, err)
	}
}

// TestAPolicyThatKeysBreakIsSavedOnlyWhenConfirmed: nothing is saved before, and no key changes.
func TestAPolicyThatKeysBreakIsSavedOnlyWhenConfirmed(t *testing.T) {
	h := newHouse(t)
	now := time.Now().UTC()
	h.at(now.Add(-50 * apikey.Day))
	for i := range 22 {
		h.issue(h.org.Admin, keyring.KeyDraft{Name: fmt.Sprint("bare ", i), Scopes: []string{"read:chat"}})
	}
	h.at(now)
	fine := h.issue(h.org.Admin, keyring.KeyDraft{Name: "fine", Scopes: []string{"read:chat"}, IPAllowlist: []string{"192.0.2.1"}})
	strict := h.policyDraft(func(d *keyring.PolicyDraft) { d.RequireAllowlist = true })
	_, asked, err := h.ChangePolicy(t.Context(), h.org.Owner, strict)
	if err != nil || asked.BrokenAnew != 22 || asked.Broken != 22 || len(asked.Breaking) != 20 || asked.Breaking[0].Name != "bare 21" || asked.Unused != 0 || len(asked.Disabled) != 0 {
		t.Fatalf("%d, %d, %d shown, %v", asked.BrokenAnew, asked.Broken, len(asked.Breaking), err)
	}
	if p, _ := h.Policy(t.Context(), h.org.Owner); p.Version != 1 || p.RequireAllowlist {
		t.Fatalf("it was saved: %+v", p)
	}
	strict.Confirmed = true
	if _, asked, err := h.ChangePolicy(t.Context(), h.org.Owner, strict); err != nil || asked.Concerns() {
		t.Fatal(asked, err)
	}
	policy, err := h.Policy(t.Context(), h.org.Support)
	if err != nil {
		t.Fatal(err)
	}
	if breach, err := h.Breach(t.Context(), h.org.Support, policy); err != nil || breach.Broken != 22 || breach.Concerns() {
		t.Errorf("%+v, %v", breach, err)
	}
	// Those that break it already are no reason to ask again; those that it will disable are.
	if _, asked, err := h.ChangePolicy(t.Context(), h.org.Owner, h.policyDraft(func(d *keyring.PolicyDraft) { d.UnusedDays = "50" })); err != nil || asked.Concerns() {
		t.Errorf("flagging unused keys asks: %+v, %v", asked, err)
	}
	if _, asked, err := h.ChangePolicy(t.Context(), h.org.Owner, h.policyDraft(func(d *keyring.PolicyDraft) { d.DisableUnused = true })); err != nil || asked.UnusedAnew != 22 || asked.Unused != 22 || asked.BrokenAnew != 0 || len(asked.Breaking) != 0 || len(asked.Disabled) != 20 {
		t.Errorf("disabling unused keys asks about %d, shows %d, %v", asked.UnusedAnew, len(asked.Disabled), err)
	}
	page, err := h.Keys(t.Context(), h.org.Owner, apikey.Filter{}, apikey.Newest, "", 50)
	if err != nil || len(page.Rows) != 23 || page.Rows[0].ID != fine.ID {
		t.Fatal(page.Rows, err)
	}
	for _, row := range page.Rows {
		if row.Version != 1 || row.Stored != apikey.Enabled {
			t.Errorf("%s was changed: %+v", row.Name, row.Key)
		}
	}
}

func TestNewKeysFollowThePolicyAndOldOnesKeepTheirBreach(t *testing.T) {
	h := newHouse(t)
	list := []string{"192.0.2.0/24"}
	old := h.issue(h.org.Admin, draft("old"))
	listed := h.issue(h.org.Admin, keyring.KeyDraft{Name: "listed", Scopes: []string{"read:chat"}, IPAllowlist: list})
	workspace := h.workspace("a workspace").ID
	h.demand(func(d *keyring.PolicyDraft) {
		d.LongestDays, d.DefaultDays, d.RequireAllowlist, d.RequireWorkspace = "10", "5", true, true
	})
	for _, who := range []account.Actor{h.org.Owner, h.org.Admin, keyring.Operator(h.org.ID)} {
		bare := draft("bare")
		bare.OwnerID = h.org.Admin.MemberID
		_, _, err := h.IssueKey(t.Context(), who, bare)
		if problems := input.ProblemsIn(err); problems["ipAllowlist"] == "" || problems["workspaceId"] == "" || len(problems) != 2 {
			t.Errorf("%s: %v", who.Role, err)
		}
	}
	good := h.issue(h.org.Admin, keyring.KeyDraft{Name: "good", Scopes: []string{"read:chat"}, IPAllowlist: list, WorkspaceID: workspace})
	if good.Lifetime() != 5*apikey.Day {
		t.Errorf("it lives for %v", good.Lifetime())
	}
	// Editing.
	name, none, some := "renamed", []string{}, []string{"198.51.100.7"}
	for i, c := range []struct {
		key  apikey.Key
		edit keyring.KeyEdit
		good bool
	}{
		{old, keyring.KeyEdit{Name: &name, IPAllowlist: &none}, true}, // what was empty before there was the rule
		{listed, keyring.KeyEdit{IPAllowlist: &none}, false},
		{listed, keyring.KeyEdit{IPAllowlist: &some}, true},
		{old, keyring.KeyEdit{IPAllowlist: &some}, true},
		{old, keyring.KeyEdit{IPAllowlist: &none}, false}, // as good as any other now
	} {
		if _, err := h.EditKey(t.Context(), h.org.Admin, c.key.ID, c.edit); (err == nil) != c.good || !c.good && input.ProblemsIn(err)["ipAllowlist"] == "" {
			t.Errorf("edit %d: %v", i, err)
		}
	}
	// Rotating keeps what it had, but for its lifetime.
	another := h.issue(h.org.Admin, keyring.KeyDraft{Name: "another", Scopes: []string{"read:chat"}, IPAllowlist: list, WorkspaceID: workspace})
	h.demand(func(d *keyring.PolicyDraft) { d.LongestDays, d.DefaultDays, d.GraceSeconds = "3", "3", "3600" })
	rotation, err := h.RotateKey(t.Context(), h.org.Admin, another.ID, time.Hour, "")
	if err != nil || rotation.New.Lifetime() != 3*apikey.Day || rotation.New.WorkspaceID != workspace || len(rotation.New.IPAllowlist) != 1 {
		t.Errorf("%+v, %v", rotation.New, err)
	}
	if _, err := h.RotateKey(t.Context(), h.org.Admin, good.ID, 2*time.Hour, ""); input.ProblemsIn(err)["graceSeconds"] == "" {
		t.Errorf("a grace period beyond the policy: %v", err)
	}
	bare := h.issueBefore()
	if rotation, err := h.RotateKey(t.Context(), h.org.Admin, bare.ID, 0, ""); err != nil || len(rotation.New.IPAllowlist) != 0 || rotation.New.WorkspaceID != "" {
		t.Errorf("a key that breaks the policy can't be rotated: %+v, %v", rotation.New, err)
	}
	// A key that is older than it may become can't be given another end.
	h.at(time.Now().Add(4 * apikey.Day))
	end := time.Now().UTC().Add(6 * apikey.Day).Format(time.DateOnly)
	if _, err := h.EditKey(t.Context(), h.org.Admin, listed.ID, keyring.KeyEdit{Expires: &end}); !strings.Contains(input.ProblemsIn(err)["expiresAt"], "Rotate it") {
		t.Error(err)
	}
}

// issueBefore makes a key as there was one before the policy asked for anything.
func (h house) issueBefore() apikey.Key {
	h.t.Helper()
	var kept keyring.PolicyDraft
	h.demand(func(d *keyring.PolicyDraft) { kept, d.RequireAllowlist, d.RequireWorkspace = *d, false, false })
	key := h.issue(h.org.Admin, draft("from before"))
	h.demand(func(d *keyring.PolicyDraft) {
		d.RequireAllowlist, d.RequireWorkspace = kept.RequireAllowlist, kept.RequireWorkspace
	})
	return key
}

func (h house) disableUnused() {
	h.t.Helper()
	if err := h.DisableUnused(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
}

func (h house) status(id string) apikey.Status {
	h.t.Helper()
	row, err := h.Key(h.t.Context(), h.org.Owner, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return row.StatusAt(h.Now())
}

func TestUnusedKeysAreDisabledInTheNameOfThePolicy(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	now := time.Now().UTC().Truncate(time.Microsecond)
	h.at(now.Add(-60 * apikey.Day))
	idle, used, disabled := h.issue(h.org.Admin, draft("idle")), h.issue(h.org.Admin, draft("used")), h.issue(h.org.Admin, draft("disabled"))
	short := h.issue(h.org.Admin, keyring.KeyDraft{Name: "expired", Scopes: []string{"read:chat"}, Expires: "30d"})
	foreign := h.issue(other.Admin, draft("foreign"))
	if _, err := h.ChangeStatus(t.Context(), h.org.Admin, apikey.Disable, disabled.ID); err != nil {
		t.Fatal(err)
	}
	h.at(now.Add(-59 * apikey.Day))
	younger := h.issue(h.org.Admin, draft("younger"))
	h.at(now)
	h.disableUnused() // no policy says so yet
	h.demand(func(d *keyring.PolicyDraft) { d.UnusedDays = "60" })
	h.disableUnused() // flagged only
	for _, id := range []string{idle.ID, used.ID} {
		if got := h.status(id); got != apikey.Enabled {
			t.Fatalf("%s without a policy that says so", got)
		}
	}
	h.demand(func(d *keyring.PolicyDraft) { d.DisableUnused = true })
	err := h.store.AddUsage(t.Context(), store.UsageBatch{Replica: idle.ID, Number: 1, Counts: []store.UsageCount{
		{KeyID: used.ID, Hour: now, Accepted: 1, LastUsedAt: now.Add(-time.Minute), Address: "192.0.2.1"}}})
	if err != nil {
		t.Fatal(err)
	}
	var replicas sync.WaitGroup
	for range 4 {
		replicas.Go(h.disableUnused)
	}
	replicas.Wait()
	for key, want := range map[*apikey.Key]apikey.Status{&idle: apikey.Disabled, &used: apikey.Enabled, &disabled: apikey.Disabled, &short: apikey.Expired, &younger: apikey.Enabled} {
		if got := h.status(key.ID); got != want {
			t.Errorf("%s is %s, want %s", key.Name, got, want)
		}
	}
	if row, err := h.Key(t.Context(), other.Owner, foreign.ID); err != nil || row.Stored != apikey.Enabled {
		t.Errorf("another organisation's key is %s, %v", row.Stored, err)
	}
	events, err := h.Events(t.Context(), h.org.Owner, audit.Filter{Action: account.DisableKey}, "", 10)
	if err != nil || len(events.Events) != 2 || events.Events[0].Subject.ID != idle.ID || events.Events[0].Email != "key policy" ||
		events.Events[0].ActorID != "" || events.Events[0].Role != account.Operator || events.Events[0].After != `{"status":"disabled"}` {
		t.Errorf("%+v, %v", events.Events, err)
	}

	// Enabled again, it has the policy's days before it anew: by itself, and in the edit form.
	if _, err := h.ChangeStatus(t.Context(), h.org.Admin, apikey.Enable, idle.ID); err != nil {
		t.Fatal(err)
	}
	enabled := apikey.Enabled
	if _, err := h.EditKey(t.Context(), h.org.Admin, disabled.ID, keyring.KeyEdit{Status: &enabled}); err != nil {
		t.Fatal(err)
	}
	renamed := "renamed" // an edit that enables nothing gives no time
	if _, err := h.EditKey(t.Context(), h.org.Admin, younger.ID, keyring.KeyEdit{Name: &renamed}); err != nil {
		t.Fatal(err)
	}
	h.at(now.Add(apikey.Day))
	h.disableUnused()
	if h.status(idle.ID) != apikey.Enabled || h.status(disabled.ID) != apikey.Enabled || h.status(younger.ID) != apikey.Disabled {
		t.Errorf("a day later: %s, %s, %s", h.status(idle.ID), h.status(disabled.ID), h.status(younger.ID))
	}
	if page, err := h.Keys(t.Context(), h.org.Owner, apikey.Filter{UnusedFor: 30}, apikey.Newest, "", 10); err != nil || len(page.Rows) != 2 { // younger and short
		t.Errorf("%d keys are unused for 30 days, %v", len(page.Rows), err)
	}
}

func TestMoreUnusedKeysThanOneTransactionTakes(t *testing.T) {
	h := newHouse(t)
	now := time.Now().UTC()
	h.at(now.Add(-60 * apikey.Day))
	first := h.issue(h.org.Admin, draft("first"))
	_, err := h.db.Exec(`SET session_replication_role = replica;
		INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, created_at, expires_at)
		SELECT gen_random_uuid(), org_id, 'more', environment, prefix || n, sha256(n::text::bytea), signature, scopes, status, owner_id, created_by, created_at, expires_at
			FROM api_keys, generate_series(1, 1100) AS n;
		INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM api_keys ON CONFLICT DO NOTHING`)
	if err != nil {
		t.Fatal(err)
	}
	h.at(now)
	h.demand(func(d *keyring.PolicyDraft) { d.UnusedDays, d.DisableUnused = "60", true })
	h.disableUnused()
	var left, written int
	if err := h.db.QueryRow(`SELECT (SELECT count(*) FROM api_keys WHERE status = 'enabled'), (SELECT count(*) FROM audit_events WHERE action = 'key.disabled')`).Scan(&left, &written); err != nil || left != 0 || written != 1101 {
		t.Errorf("%d are left, %d are written down, %v", left, written, err)
	}
	if h.status(first.ID) != apikey.Disabled {
		t.Error("the first is enabled")
	}
}
