package verify_test

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// promise is the product's: a change is honoured so long after it was acknowledged, whatever happens to the network.
const promise = time.Second

// world is a database with an organisation, as those see it who change keys.
type world struct {
	*testing.T
	url   string
	store *store.Store
	ring  *keyring.Keyring
	org   storetest.Org
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, url: storetest.URL(t)}
	w.store = open(t, w.url)
	w.ring, w.org = keyring.New(w.store), storetest.Organisation(t, w.store)
	return w
}

func open(t testing.TB, databaseURL string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// replica is a verifier over a store of its own, which runs until the test ends or stop is called.
func (w *world) replica(databaseURL string) (v *verify.Verifier, stop func()) {
	w.Helper()
	return w.run(open(w, databaseURL))
}

func (w *world) run(s *store.Store) (v *verify.Verifier, stop func()) {
	v = verify.New(s, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { v.Run(ctx) })
	stop = func() { cancel(); running.Wait() }
	w.Cleanup(stop)
	return v, stop
}

// key is a key that was just issued.
type key struct {
	apikey.Key
	text string
}

func (w *world) issue(change func(*keyring.KeyDraft)) key {
	w.Helper()
	draft := keyring.KeyDraft{Name: "a key", Scopes: []string{"read:chat", "write:chat"}}
	if change != nil {
		change(&draft)
	}
	issued, plaintext, err := w.ring.IssueKey(w.Context(), w.org.Owner, draft)
	w.must(err)
	return key{issued, plaintext.Reveal()}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// profile makes a bias profile with one category.
func (w *world) profile() (made apikey.Profile) {
	w.Helper()
	w.must(w.store.Mutate(w.Context(), w.org.Owner, account.CreateProfile, func(tx *store.Tx) (_ []audit.Change, err error) {
		made, err = tx.InsertProfile(apikey.Profile{Name: "Strict", Description: "for chat", DefaultThreshold: 20,
			Categories: []apikey.Category{{Name: "age", Enabled: true, Threshold: 30, Action: apikey.Block}, {Name: "race", Threshold: 70, Action: apikey.Flag}}})
		return []audit.Change{{Subject: audit.Subject{Kind: "profile", ID: made.ID, Name: made.Name}}}, err
	}))
	return made
}

// sql changes what no use case changes, beside the audit log.
func (w *world) sql(statement string, args ...any) {
	w.Helper()
	db := storetest.Unaudited(w, w.url)
	_, err := db.ExecContext(w.Context(), statement, args...)
	w.must(err)
}

// verify asks again while the database does not answer in time, as a gateway's client would on a busy machine.
func (w *world) verify(v *verify.Verifier, k key, q verify.Question) verify.Verdict {
	w.Helper()
	verdict, err := v.Verify(w.Context(), k.text, q)
	for deadline := time.Now().Add(time.Minute); errors.Is(err, store.ErrUnavailable) && time.Now().Before(deadline); {
		verdict, err = v.Verify(w.Context(), k.text, q)
	}
	w.must(err)
	return verdict
}

// warm asks until the cache answers, as it does once the news are heard. It counts as use.
func (w *world) warm(v *verify.Verifier, k key) {
	w.Helper()
	w.eventually("the cache answers", func() bool {
		before := v.Stats().Hits
		_, _ = v.Verify(w.Context(), k.text, verify.Question{})
		return v.Stats().Hits > before
	})
}

// eventually waits for what will come, however slow the machine is.
func (w *world) eventually(what string, is func() bool) {
	w.Helper()
	for began := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			w.Fatalf("in 30 s it did not come to be that %s", what)
		}
	}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

func TestAKeyIsJudgedInTheOrderOfTheCodes(t *testing.T) {
	w := newWorld(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	admin, ctx := w.org.Owner, t.Context()
	change := func(c apikey.Change) func(key) {
		return func(k key) { _, err := w.ring.ChangeStatus(ctx, admin, c, k.ID); w.must(err) }
	}
	rotate := func(grace time.Duration) func(key) {
		return func(k key) { _, err := w.ring.RotateKey(ctx, admin, k.ID, grace, ""); w.must(err) }
	}
	narrow := func(d *keyring.KeyDraft) { d.IPAllowlist = []string{"203.0.113.0/24", "2001:db8::/32", "fe80::/10"} }
	all := func(d *keyring.KeyDraft) { d.Scopes = []string{"*"} }
	inside := verify.Question{Address: addr("203.0.113.7")}
	wrong := verify.Question{Scopes: []string{"write:config"}}
	v := verify.New(w.store, slog.New(slog.DiscardHandler))
	for _, c := range []struct {
		name   string
		draft  func(*keyring.KeyDraft)
		do     func(key)
		after  time.Duration
		ask    verify.Question
		want   verify.Code
		status apikey.Status
	}{
		{"enabled", nil, nil, 0, verify.Question{}, verify.Valid, apikey.Enabled},
		{"disabled", nil, change(apikey.Disable), 0, wrong, verify.Disabled, apikey.Disabled},
		{"revoked", nil, change(apikey.Revoke), 0, wrong, verify.Revoked, apikey.Revoked},
		{"just before its end", nil, nil, 90*apikey.Day - time.Microsecond, verify.Question{}, verify.Valid, apikey.Enabled},
		{"at its end", nil, nil, 90 * apikey.Day, wrong, verify.Expired, apikey.Expired},
		{"disabled and at its end", nil, change(apikey.Disable), 90 * apikey.Day, wrong, verify.Expired, apikey.Expired},
		{"rotated, in its grace", nil, rotate(time.Hour), time.Hour - time.Microsecond, verify.Question{}, verify.Valid, apikey.Rotated},
		{"rotated, its grace over", nil, rotate(time.Hour), time.Hour, wrong, verify.Rotated, apikey.Rotated},
		{"one scope", nil, nil, 0, verify.Question{Scopes: []string{"read:chat"}}, verify.Valid, apikey.Enabled},
		{"its scopes", nil, nil, 0, verify.Question{Scopes: []string{"write:chat", "read:chat"}}, verify.Valid, apikey.Enabled},
		{"a scope too many", nil, nil, 0, verify.Question{Scopes: []string{"read:chat", "write:config"}}, verify.InsufficientScope, apikey.Enabled},
		{"every scope asked of one with some", nil, nil, 0, verify.Question{Scopes: []string{"*"}}, verify.InsufficientScope, apikey.Enabled},
		{"every scope", all, nil, 0, verify.Question{Scopes: []string{"*", "write:config"}}, verify.Valid, apikey.Enabled},
		{"scope before address", narrow, nil, 0, wrong, verify.InsufficientScope, apikey.Enabled},
		{"an address of the list", narrow, nil, 0, inside, verify.Valid, apikey.Enabled},
		{"the same written as IPv6", narrow, nil, 0, verify.Question{Address: addr("::ffff:203.0.113.7")}, verify.Valid, apikey.Enabled},
		{"an IPv6 address", narrow, nil, 0, verify.Question{Address: addr("2001:db8::1")}, verify.Valid, apikey.Enabled},
		{"one with a zone", narrow, nil, 0, verify.Question{Address: addr("fe80::1%eth0")}, verify.Valid, apikey.Enabled},
		{"an address beside the list", narrow, nil, 0, verify.Question{Address: addr("203.0.114.7")}, verify.AddressNotAllowed, apikey.Enabled},
		{"no address", narrow, nil, 0, verify.Question{}, verify.AddressNotAllowed, apikey.Enabled},
		{"its own organisation", nil, nil, 0, verify.Question{OrgID: w.org.ID}, verify.Valid, apikey.Enabled},
		{"another organisation", nil, nil, 0, verify.Question{OrgID: w.org.Owner.MemberID}, verify.NotFound, ""},
		{"no organisation's id", nil, nil, 0, verify.Question{OrgID: "x"}, verify.NotFound, ""},
	} {
		w.store.Now = func() time.Time { return now }
		k := w.issue(c.draft)
		if c.do != nil {
			c.do(k)
		}
		w.store.Now = func() time.Time { return now.Add(c.after) }
		verdict := w.verify(v, k, c.ask)
		if verdict.Code != c.want {
			t.Errorf("%s: %s, not %s", c.name, verdict.Code, c.want)
		}
		if (verdict.Key == nil) != (c.want == verify.NotFound) || verdict.Key != nil && verdict.Key.Status != c.status {
			t.Errorf("%s: the key is %+v", c.name, verdict.Key)
		}
	}
}

func TestWhatIsNoKeyIsToldApart(t *testing.T) {
	w := newWorld(t)
	k := w.issue(nil)
	v, _ := w.replica(w.url)
	w.warm(v, k)
	for text, want := range map[string]verify.Code{
		"": verify.Malformed, "x": verify.Malformed, k.text + "x": verify.Malformed, k.text[:len(k.text)-1] + "~": verify.Malformed,
		apikey.NewPlaintext(apikey.Live).Reveal(): verify.NotFound,
	} {
		for range 2 { // the second time from the cache
			if verdict, err := v.Verify(t.Context(), text, verify.Question{}); err != nil || verdict.Code != want || verdict.Key != nil {
				t.Errorf("%q: %+v, %v", text, verdict, err)
			}
		}
	}
	if s := v.Stats(); s.Verdicts[verify.Malformed] != 8 || s.Verdicts[verify.NotFound] != 2 || s.Unknown != 1 {
		t.Errorf("%+v", s)
	}
}

func TestAVerdictTellsAllOfTheKey(t *testing.T) {
	w := newWorld(t)
	profile := w.profile()
	var process store.Process
	w.must(w.store.Mutate(t.Context(), w.org.Owner, account.CreateProcess, func(tx *store.Tx) (_ []audit.Change, err error) {
		space, err := tx.InsertWorkspace("Payments")
		if err != nil {
			return nil, err
		}
		process, err = tx.InsertProcess(space.ID, "Checkout")
		return []audit.Change{{Subject: audit.Subject{Kind: "process", ID: process.ID, Name: process.Name}}, {Subject: audit.Subject{Kind: "workspace", ID: space.ID, Name: space.Name}}}, err
	}))
	k := w.issue(func(d *keyring.KeyDraft) {
		d.OwnerID, d.ProcessID, d.ProfileID, d.Environment = w.org.Admin.MemberID, process.ID, profile.ID, "test"
	})
	_, err := w.ring.RotateKey(t.Context(), w.org.Owner, k.ID, time.Hour, "")
	w.must(err)
	row, err := w.store.KeyByID(t.Context(), w.org.ID, k.ID)
	w.must(err)
	v, _ := w.replica(w.url)
	w.warm(v, k)
	cold := verify.New(w.store, slog.New(slog.DiscardHandler))
	for from, v := range map[string]*verify.Verifier{"the cache": v, "the database": cold} {
		got := w.verify(v, k, verify.Question{}).Key
		if got.ID != k.ID || got.Name != "a key" || got.OrgID != w.org.ID || got.OwnerID != w.org.Admin.MemberID || got.ActsAs != account.Admin ||
			!got.OwnerActive || got.WorkspaceID != process.WorkspaceID || got.ProcessID != process.ID || got.Environment != apikey.Test ||
			!slices.Equal(got.Scopes, k.Scopes) || !got.ExpiresAt.Equal(k.ExpiresAt) || got.ExpiresAt.Location() != time.UTC ||
			got.Status != apikey.Rotated || got.GraceEndsAt == nil || !got.GraceEndsAt.Equal(*row.GraceEndsAt) {
			t.Errorf("from %s: %+v", from, got)
		}
		if p := got.Profile; p == nil || p.ID != profile.ID || p.OrgID != w.org.ID || p.Name != profile.Name || p.Description != profile.Description ||
			p.DefaultThreshold != profile.DefaultThreshold || !slices.Equal(p.Categories, profile.Categories) {
			t.Errorf("from %s: the profile is %+v", from, got.Profile)
		}
	}
	plain := w.verify(v, w.issue(nil), verify.Question{}).Key
	if plain.WorkspaceID != "" || plain.ProcessID != "" || plain.Profile != nil || plain.GraceEndsAt != nil {
		t.Errorf("a key without them has %+v", plain)
	}
}

// changes are what can happen to a key that two replicas have in their caches, and how one sees that it was honoured.
func (w *world) changes() map[string]struct {
	draft    func(*keyring.KeyDraft)
	do       func(key) error
	honoured func(verify.Verdict) bool
} {
	ctx, owner, profile := w.Context(), w.org.Owner, w.profile()
	edit := func(k key, e keyring.KeyEdit) error { _, err := w.ring.EditKey(ctx, owner, k.ID, e); return err }
	status := func(c apikey.Change) func(key) error {
		return func(k key) error { _, err := w.ring.ChangeStatus(ctx, owner, c, k.ID); return err }
	}
	code := func(want verify.Code) func(verify.Verdict) bool {
		return func(v verify.Verdict) bool { return v.Code == want }
	}
	member := func(set string) func(key) error {
		return func(key) error { w.sql(`UPDATE members SET `+set+` WHERE id = $1`, w.org.Admin.MemberID); return nil }
	}
	carrying := func(d *keyring.KeyDraft) { d.ProfileID = profile.ID }
	admins := func(d *keyring.KeyDraft) { d.OwnerID = w.org.Admin.MemberID }
	return map[string]struct {
		draft    func(*keyring.KeyDraft)
		do       func(key) error
		honoured func(verify.Verdict) bool
	}{
		"revoked":  {nil, status(apikey.Revoke), code(verify.Revoked)},
		"disabled": {nil, status(apikey.Disable), code(verify.Disabled)},
		"rotated":  {nil, func(k key) error { _, err := w.ring.RotateKey(ctx, owner, k.ID, 0, ""); return err }, code(verify.Rotated)},
		"deleted":  {nil, func(k key) error { return w.ring.DeleteKey(ctx, owner, k.ID) }, code(verify.NotFound)},
		"an allowlist": {nil, func(k key) error {
			return edit(k, keyring.KeyEdit{IPAllowlist: &[]string{"203.0.113.0/24"}})
		}, code(verify.AddressNotAllowed)},
		"an earlier end": {nil, func(k key) error {
			soon := time.Now().Add(50 * time.Millisecond).Format(time.RFC3339Nano)
			err := edit(k, keyring.KeyEdit{Expires: &soon})
			time.Sleep(60 * time.Millisecond)
			return err
		}, code(verify.Expired)},
		"fewer scopes": {nil, func(k key) error { // no use case narrows a key
			w.sql(`ALTER TABLE api_keys DISABLE TRIGGER api_keys_are_audited`)
			w.sql(`UPDATE api_keys SET scopes = '{read:billing}' WHERE id = $1`, k.ID)
			return nil
		}, code(verify.InsufficientScope)},
		"another profile": {nil, func(k key) error { return edit(k, keyring.KeyEdit{ProfileID: &profile.ID}) },
			func(v verify.Verdict) bool { return v.Key.Profile != nil }},
		"the profile's default": {carrying, func(key) error {
			w.sql(`UPDATE bias_profiles SET default_threshold = 99 WHERE id = $1`, profile.ID)
			return nil
		}, func(v verify.Verdict) bool { return v.Key.Profile.DefaultThreshold == 99 }},
		"the profile's category": {carrying, func(key) error {
			w.sql(`UPDATE bias_profile_categories SET threshold = 1 WHERE profile_id = $1 AND name = 'age'`, profile.ID)
			return nil
		}, func(v verify.Verdict) bool { return v.Key.Profile.Categories[0].Threshold == 1 }},
		"the owner's role":   {admins, member(`role = 'support'`), func(v verify.Verdict) bool { return v.Key.ActsAs == account.Support }},
		"the owner's status": {admins, member(`status = 'suspended'`), func(v verify.Verdict) bool { return !v.Key.OwnerActive }},
	}
}

func TestAChangeIsHonouredByEveryReplica(t *testing.T) {
	w := newWorld(t)
	first, _ := w.replica(w.url)
	second, _ := w.replica(w.url)
	for name, c := range w.changes() {
		k := w.issue(c.draft)
		ask := verify.Question{Scopes: []string{"read:chat"}}
		for _, v := range []*verify.Verifier{first, second} {
			w.warm(v, k)
			if verdict := w.verify(v, k, ask); verdict.Code != verify.Valid || c.honoured(verdict) {
				t.Fatalf("%s, before: %+v", name, verdict)
			}
		}
		if err := c.do(k); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		acknowledged := time.Now()
		for i, v := range []*verify.Verifier{first, second} {
			for !c.honoured(w.verify(v, k, ask)) {
				if late := time.Since(acknowledged); late > promise {
					t.Fatalf("%s is not honoured by replica %d after %s", name, i+1, late)
				}
			}
			t.Logf("%s: honoured by replica %d after %s", name, i+1, time.Since(acknowledged))
			for range 100 {
				if !c.honoured(w.verify(v, k, ask)) {
					t.Fatalf("%s was honoured and is not any more by replica %d", name, i+1)
				}
			}
		}
		w.sql(`UPDATE members SET role = 'admin', status = 'active' WHERE id = $1`, w.org.Admin.MemberID)
	}
}

// link is by what the connection that carries the news is known.
const link = "moonlatch news"

// TestNoKeyIsAcceptedASecondAfterItsRevocation breaks the network of one of two replicas in every way while both have a
// key in their caches, revokes the key, and asks both without a pause.
func TestNoKeyIsAcceptedASecondAfterItsRevocation(t *testing.T) {
	for name, fault := range map[string]struct {
		only  string
		begin func(*storetest.Cable)
	}{
		"everything is cut":    {"", (*storetest.Cable).Cut},
		"everything is silent": {"", (*storetest.Cable).Silence},
		"the news are cut":     {link, (*storetest.Cable).Cut},
		"the news are silent":  {link, (*storetest.Cable).Silence},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			cable, address := storetest.Lay(t, w.url)
			cable.Only(fault.only)
			near, _ := w.replica(w.url)
			far, _ := w.replica(address)
			k := w.issue(nil)
			w.warm(near, k)
			w.warm(far, k)
			fault.begin(cable)
			_, err := w.ring.ChangeStatus(t.Context(), w.org.Owner, apikey.Revoke, k.ID)
			w.must(err)
			acknowledged := time.Now()
			var asking sync.WaitGroup
			for place, v := range map[string]*verify.Verifier{"near": near, "far": far} {
				asking.Go(func() {
					var last time.Duration
					var accepted, refused, unknown int
					for time.Since(acknowledged) < 2*promise {
						asked := time.Since(acknowledged)
						switch verdict, err := v.Verify(t.Context(), k.text, verify.Question{}); {
						case errors.Is(err, store.ErrUnavailable):
							unknown++
						case err != nil || verdict.Code != verify.Valid && verdict.Code != verify.Revoked:
							t.Errorf("%s: %+v, %v", place, verdict, err)
							return
						case verdict.Code == verify.Revoked:
							refused++
						default:
							accepted, last = accepted+1, asked
						}
						time.Sleep(time.Millisecond)
					}
					t.Logf("%s: last accepted after %s; %d accepted, %d refused, %d not answered", place, last, accepted, refused, unknown)
					if last > promise {
						t.Errorf("%s: the key was accepted %s after its revocation", place, last)
					}
					if nearby := place == "near"; nearby && unknown > 0 || (nearby || fault.only != "") && refused == 0 {
						t.Errorf("%s: %d refused, %d not answered", place, refused, unknown)
					}
				})
			}
			if fault.only == "" {
				other := apikey.NewPlaintext(apikey.Live).Reveal()
				if verdict, err := far.Verify(t.Context(), other, verify.Question{}); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("a key that nobody can look up is %+v, %v", verdict, err)
				}
			}
			asking.Wait()
			cable.Mend()
			w.warm(far, k)
			if verdict := w.verify(far, k, verify.Question{}); verdict.Code != verify.Revoked {
				t.Errorf("after the network was mended the key is %s", verdict.Code)
			}
		})
	}
}

// TestALinkThatKeepsBreakingKeepsThePromise ends the connection of the news again and again while keys are disabled
// and enabled.
func TestALinkThatKeepsBreakingKeepsThePromise(t *testing.T) {
	w := newWorld(t)
	v, _ := w.replica(w.url)
	k := w.issue(nil)
	w.warm(v, k)
	status := k.Stored
	for i := range 20 {
		if i%2 == 0 {
			w.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '` + link + `' AND datname = current_database()`)
		}
		change, want := apikey.Disable, verify.Disabled
		if status == apikey.Disabled {
			change, want = apikey.Enable, verify.Valid
		}
		changed, err := w.ring.ChangeStatus(t.Context(), w.org.Owner, change, k.ID)
		w.must(err)
		status = changed.Stored
		for acknowledged := time.Now(); w.verify(v, k, verify.Question{}).Code != want; {
			if late := time.Since(acknowledged); late > promise {
				t.Fatalf("after %s the key is not %s", late, want)
			}
		}
	}
	w.warm(v, k)
}

// TestAReadBegunBeforeAChangeIsNeverKept lets many ask while a key changes to and fro: once a change has been honoured, nobody
// sees the key as it was before.
func TestAReadBegunBeforeAChangeIsNeverKept(t *testing.T) {
	w := newWorld(t)
	v, _ := w.replica(w.url)
	k := w.issue(nil)
	w.warm(v, k)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			for ctx.Err() == nil {
				_, _ = v.Verify(ctx, k.text, verify.Question{})
			}
		})
	}
	for i := range 40 {
		change, want := apikey.Disable, verify.Disabled
		if i%2 == 1 {
			change, want = apikey.Enable, verify.Valid
		}
		_, err := w.ring.ChangeStatus(t.Context(), w.org.Owner, change, k.ID)
		w.must(err)
		acknowledged := time.Now()
		for w.verify(v, k, verify.Question{}).Code != want {
			if late := time.Since(acknowledged); late > promise {
				t.Fatalf("after %s the key is not %s", late, want)
			}
		}
		for range 50 {
			if got := w.verify(v, k, verify.Question{}).Code; got != want {
				t.Fatalf("the key was %s and is %s again", want, got)
			}
		}
	}
	cancel()
	asking.Wait()
}

// TestACrowdLeavesConnectionsForOthers lets many more keys be looked up than there are connections while the table is
// locked: everybody is answered, and whoever asks something else still is.
func TestACrowdLeavesConnectionsForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v, stop := w.run(w.store)
	k := w.issue(nil)
	w.warm(v, k)
	db := storetest.DB(t, w.url)
	var lock *sql.Tx
	var asking sync.WaitGroup
	crowd := func() (remembered bool) {
		w.warm(v, k)
		w.verify(v, k, verify.Question{})
		var err error
		lock, err = db.BeginTx(t.Context(), nil)
		w.must(err)
		_, err = lock.ExecContext(t.Context(), `LOCK TABLE api_keys`)
		w.must(err)
		before := v.Stats().Failures
		for range 100 {
			asking.Go(func() {
				if verdict, err := v.Verify(t.Context(), apikey.NewPlaintext(apikey.Live).Reveal(), verify.Question{}); !errors.Is(err, store.ErrUnavailable) {
					t.Errorf("while the table is locked: %+v, %v", verdict, err)
				}
			})
		}
		w.eventually("some have given up", func() bool { return v.Stats().Failures > before })
		for range 200 {
			if verdict, err := v.Verify(t.Context(), k.text, verify.Question{}); err == nil && verdict.Code == verify.Valid {
				return true
			}
			time.Sleep(5 * time.Millisecond)
		}
		return false
	}
	// On a slow machine the link may break, after which nothing is remembered; then once more.
	for tries := 1; !crowd(); tries++ {
		if tries == 10 {
			t.Fatal("the cache does not answer")
		}
		asking.Wait()
		w.must(lock.Rollback())
	}
	others, cancel := context.WithTimeout(t.Context(), 3*time.Second) // the product's promise for every request
	defer cancel()
	for range 20 {
		if _, err := w.store.Organisations(others); err != nil {
			t.Fatal(err)
		}
	}
	asking.Wait()
	w.must(lock.Rollback())
	w.verify(v, k, verify.Question{})
	stop()
	if got, want := w.counted(k), v.Stats().Verdicts[verify.Valid]; got != [2]int64{want, 0} { // flushes waited for the lock, too
		t.Errorf("%d uses were counted as %v", want, got)
	}
}
