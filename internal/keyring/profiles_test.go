package keyring_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func (h house) profile(name string) apikey.Profile {
	h.t.Helper()
	made, err := h.CreateProfile(h.t.Context(), h.org.Owner, keyring.ProfileDraft{Name: name})
	if err != nil {
		h.t.Fatal(err)
	}
	return made
}

// carrying issues a key that carries a profile.
func (h house) carrying(p apikey.Profile) apikey.Key {
	h.t.Helper()
	d := draft("carries " + p.Name)
	d.ProfileID = p.ID
	return h.issue(h.org.Owner, d)
}

func (h house) last(id string) audit.Event {
	h.t.Helper()
	events, err := h.store.Events(h.t.Context(), h.org.ID, audit.Filter{SubjectID: id}, store.Span{}, 1)
	if err != nil || len(events) == 0 {
		h.t.Fatal(events, err)
	}
	return events[0]
}

func TestABiasProfileIsMadeAndChanged(t *testing.T) {
	h := newHouse(t)
	ctx, owner := t.Context(), h.org.Owner
	made, err := h.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: "  Strict ", Description: "For chat", Categories: []keyring.CategoryDraft{
		{Name: "race", Enabled: true, Threshold: "40", Action: "block"}, {Name: "age", Enabled: true}}})
	if err != nil {
		t.Fatal(err)
	}
	want := apikey.Profile{ID: made.ID, OrgID: h.org.ID, Name: "Strict", Description: "For chat", DefaultThreshold: 50, Version: 1, Categories: []apikey.Category{
		{Name: "age", Enabled: true, Threshold: 50, Action: apikey.Flag}, {Name: "race", Enabled: true, Threshold: 40, Action: apikey.Block}}}
	stored, err := h.Profile(ctx, h.org.Support, made.ID)
	if err != nil || !reflect.DeepEqual(made, want) || !reflect.DeepEqual(stored, want) {
		t.Errorf("made %+v, stored %+v, want %+v, %v", made, stored, want, err)
	}
	if e := h.last(made.ID); e.Action != account.CreateProfile || e.After != `{"category age":"on, 50, flag","category race":"on, 40, block","defaultThreshold":50,"description":"For chat","name":"Strict"}` {
		t.Errorf("the log says %s %s", e.Action, e.After)
	}

	categories := []keyring.CategoryDraft{{Name: "race", Threshold: "40", Action: "block"}, {Name: "native language", Enabled: true, Threshold: "0"}}
	edit := keyring.ProfileEdit{Version: 1, Categories: &categories}
	edited, err := h.EditProfile(ctx, owner, made.ID, edit)
	if err != nil || edited.Version != 2 || edited.Name != "Strict" || len(edited.Categories) != 2 || edited.Categories[0].Threshold != 0 || edited.Categories[1].Enabled {
		t.Errorf("edited: %+v, %v", edited, err)
	}
	if e := h.last(made.ID); e.Before != `{"category age":"on, 50, flag","category race":"on, 40, block"}` || e.After != `{"category native language":"on, 0, flag","category race":"off, 40, block"}` {
		t.Errorf("the log says %s %s", e.Before, e.After)
	}
	if again, err := h.EditProfile(ctx, owner, made.ID, edit); err != nil || again.Version != 2 { // the same form sent twice
		t.Errorf("saved twice: %+v, %v", again, err)
	}
	other := "Another name"
	if _, err := h.EditProfile(ctx, owner, made.ID, keyring.ProfileEdit{Version: 1, Name: &other}); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("an edit of what somebody else changed: %v", err)
	}
	h.profile(other)
	if _, err := h.EditProfile(ctx, owner, made.ID, keyring.ProfileEdit{Name: &other}); !errors.Is(err, keyring.ErrTaken) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := h.CreateProfile(ctx, owner, keyring.ProfileDraft{Name: "Strict"}); !errors.Is(err, keyring.ErrTaken) {
		t.Errorf("a name that is taken: %v", err)
	}
}

func TestABiasProfileThatMakesNoSenseIsRefusedFieldByField(t *testing.T) {
	h := newHouse(t)
	many := make([]keyring.CategoryDraft, 51)
	for i := range many {
		many[i].Name = fmt.Sprint("category ", i)
	}
	for name, c := range map[string]struct {
		draft  keyring.ProfileDraft
		fields []string
	}{
		"nothing":       {keyring.ProfileDraft{}, []string{"name"}},
		"long":          {keyring.ProfileDraft{Name: strings.Repeat("é", 101), Description: strings.Repeat("x", 501)}, []string{"description", "name"}},
		"control":       {keyring.ProfileDraft{Name: "a\u202eb", Description: "two\nlines"}, []string{"description", "name"}},
		"thresholds":    {keyring.ProfileDraft{Name: "x", DefaultThreshold: "101", Categories: []keyring.CategoryDraft{{Name: "a"}, {Name: "b", Threshold: "-1"}}}, []string{"categories[1].threshold", "defaultThreshold"}},
		"categories":    {keyring.ProfileDraft{Name: "x", Categories: []keyring.CategoryDraft{{Name: "Race"}, {Name: " "}, {Name: "rACE", Action: "warn"}}}, []string{"categories[1].name", "categories[2].action", "categories[2].name"}},
		"too many":      {keyring.ProfileDraft{Name: "x", Categories: many}, []string{"categories"}},
		"a key in them": {keyring.ProfileDraft{Name: apikey.NewPlaintext(apikey.Live).Reveal(), Description: "x " + apikey.NewPlaintext(apikey.Live).Reveal()}, []string{"description", "name"}},
	} {
		_, err := h.CreateProfile(t.Context(), h.org.Owner, c.draft)
		var fields []string
		for field := range input.ProblemsIn(err) {
			fields = append(fields, field)
		}
		slices.Sort(fields)
		if !slices.Equal(fields, c.fields) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyOwnersChangeBiasProfiles(t *testing.T) {
	h := newHouse(t)
	p, name := h.profile("Strict"), "x"
	for _, who := range []account.Actor{h.org.Admin, h.org.Support, h.org.Member} {
		_, create := h.CreateProfile(t.Context(), who, keyring.ProfileDraft{Name: "y"})
		_, edit := h.EditProfile(t.Context(), who, p.ID, keyring.ProfileEdit{Name: &name})
		_, remove := h.DeleteProfile(t.Context(), who, p.ID, "")
		for _, err := range []error{create, edit, remove} {
			if !errors.Is(err, keyring.ErrForbidden) {
				t.Errorf("%s: %v", who.Role, err)
			}
		}
	}
	other := storetest.Organisation(t, h.store)
	for _, id := range []string{p.ID, uuid.NewString(), "no id"} {
		_, edit := h.EditProfile(t.Context(), other.Owner, id, keyring.ProfileEdit{Name: &name})
		_, remove := h.DeleteProfile(t.Context(), other.Owner, id, keyring.ReleaseKeys)
		_, read := h.Profile(t.Context(), other.Owner, id)
		for _, err := range []error{edit, remove, read} {
			if !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("another organisation with %s: %v", id, err)
			}
		}
	}
	if _, err := h.CreateProfile(t.Context(), other.Owner, keyring.ProfileDraft{Name: "Strict"}); err != nil { // names are an organisation's own
		t.Error(err)
	}
}

func TestAProfileInUseIsReplacedOrReleasedBeforeItIsDeleted(t *testing.T) {
	h := newHouse(t)
	ctx, owner := t.Context(), h.org.Owner
	strict, mild := h.profile("Strict"), h.profile("Mild")
	live, revoked := h.carrying(strict), h.carrying(strict)
	if _, err := h.ChangeStatus(ctx, owner, apikey.Revoke, revoked.ID); err != nil {
		t.Fatal(err)
	}
	var inUse *keyring.ProfileInUseError
	if _, err := h.DeleteProfile(ctx, owner, strict.ID, ""); !errors.As(err, &inUse) || inUse.Keys != 2 || inUse.Live != 1 {
		t.Fatalf("in use, and nothing said about its keys: %v", err)
	}
	for _, to := range []string{uuid.NewString(), "nonsense"} {
		if _, err := h.DeleteProfile(ctx, owner, strict.ID, to); !errors.Is(err, keyring.MissingError{Field: "moveTo"}) && !errors.As(err, new(keyring.MissingError)) {
			t.Errorf("moved to %s: %v", to, err)
		}
	}
	if _, err := h.DeleteProfile(ctx, owner, strict.ID, strict.ID); input.ProblemsIn(err)["moveTo"] == "" {
		t.Errorf("moved to itself: %v", err)
	}
	rows, err := h.ProfileRows(ctx, h.org.Support)
	if err != nil || len(rows) != 2 || rows[1].Keys != 2 || rows[1].Live != 1 || rows[0].Keys != 0 || rows[1].ChangedBy != owner.Email {
		t.Errorf("the list: %+v, %v", rows, err)
	}
	moved, err := h.DeleteProfile(ctx, owner, strict.ID, strings.ToUpper(mild.ID))
	if err != nil || moved != 2 {
		t.Fatal(moved, err)
	}
	for _, id := range []string{live.ID, revoked.ID} {
		row, err := h.Key(ctx, owner, id)
		e := h.last(id)
		if err != nil || row.ProfileID != mild.ID || e.Action != account.EditKey || !strings.Contains(e.Before, strict.ID) || !strings.Contains(e.After, mild.ID) {
			t.Errorf("the key %+v, %v; the log: %+v", row.Key, err, e)
		}
	}
	if e := h.last(strict.ID); e.Action != account.DeleteProfile || !strings.Contains(e.Before, `"name":"Strict"`) || e.After != "" {
		t.Errorf("the log: %+v", e)
	}
	if _, err := h.Profile(ctx, owner, strict.ID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the deleted profile: %v", err)
	}
	if moved, err := h.DeleteProfile(ctx, owner, mild.ID, keyring.ReleaseKeys); err != nil || moved != 2 {
		t.Fatal(moved, err)
	}
	if row, err := h.Key(ctx, owner, live.ID); err != nil || row.ProfileID != "" {
		t.Errorf("a released key: %+v, %v", row.Key, err)
	}
	if _, err := h.store.VerifyChain(ctx, h.org.ID); err != nil {
		t.Error(err)
	}
}

// TestAKeyChangesProfilesOnlyAsFarAsItReaches: what holds for the whole organisation is nothing for a key that is confined to
// a part of it, and moving keys takes what changing each of them takes.
func TestAKeyChangesProfilesOnlyAsFarAsItReaches(t *testing.T) {
	h := newHouse(t)
	ctx := t.Context()
	strict, mild := h.profile("Strict"), h.profile("Mild")
	carrier := h.carrying(strict)
	workspace, process := h.place(h.org.Owner)
	as := func(change func(*keyring.KeyDraft), scopes ...string) account.Actor {
		d := keyring.KeyDraft{Name: "acts", Scopes: scopes}
		if change != nil {
			change(&d)
		}
		key := h.issue(h.org.Owner, d)
		actor, err := h.KeyActor(ctx, keyring.Visitor{Address: "192.0.2.1"}, h.org.ID, key.ID)
		if err != nil {
			t.Fatal(err)
		}
		return actor
	}
	name := "Renamed"
	for what, change := range map[string]func(*keyring.KeyDraft){
		"workspace": func(d *keyring.KeyDraft) { d.WorkspaceID = workspace }, "process": func(d *keyring.KeyDraft) { d.ProcessID = process },
		"profile": func(d *keyring.KeyDraft) { d.ProfileID = mild.ID }, "test": func(d *keyring.KeyDraft) { d.Environment = "test" },
	} {
		actor := as(change, "*")
		_, create := h.CreateProfile(ctx, actor, keyring.ProfileDraft{Name: what})
		_, edit := h.EditProfile(ctx, actor, strict.ID, keyring.ProfileEdit{Name: &name})
		_, remove := h.DeleteProfile(ctx, actor, strict.ID, mild.ID)
		for _, err := range []error{create, edit, remove} {
			if !errors.Is(err, keyring.ErrReach) {
				t.Errorf("a key confined by its %s: %v", what, err)
			}
		}
	}
	fenced := as(func(d *keyring.KeyDraft) { d.IPAllowlist = []string{"192.0.2.0/24"} }, "write:config", "write:api-keys", "read:chat", "write:chat")
	if _, err := h.EditProfile(ctx, fenced, strict.ID, keyring.ProfileEdit{Name: &name}); err != nil {
		t.Errorf("a key that is confined to addresses alone: %v", err)
	}
	if _, err := h.DeleteProfile(ctx, fenced, strict.ID, mild.ID); !errors.Is(err, keyring.ErrHandOut) {
		t.Errorf("a key that would change one which is accepted from elsewhere: %v", err)
	}
	if _, err := h.DeleteProfile(ctx, as(nil, "write:config"), strict.ID, mild.ID); !errors.Is(err, keyring.ErrMoveKeys) {
		t.Errorf("a key that may not change keys: %v", err)
	}
	if _, err := h.DeleteProfile(ctx, as(nil, "write:config", "write:api-keys"), strict.ID, mild.ID); !errors.Is(err, keyring.ErrHandOut) {
		t.Errorf("a key that would change one with other scopes: %v", err)
	}
	if row, err := h.Key(ctx, h.org.Owner, carrier.ID); err != nil || row.Version != 1 {
		t.Errorf("the key that was not moved: %+v, %v", row.Key, err)
	}
	if moved, err := h.DeleteProfile(ctx, as(nil, "write:config", "write:api-keys", "read:chat", "write:chat"), strict.ID, mild.ID); err != nil || moved != 1 {
		t.Errorf("a key that may: %d, %v", moved, err)
	}
}

// place makes a workspace and a process in it.
func (h house) place(who account.Actor) (workspace, process string) {
	h.t.Helper()
	err := h.store.Mutate(h.t.Context(), who, account.CreateWorkspace, func(tx *store.Tx) ([]audit.Change, error) {
		w, err := tx.InsertWorkspace("Research")
		if err != nil {
			return nil, err
		}
		p, err := tx.InsertProcess(w.ID, "Nightly import")
		workspace, process = w.ID, p.ID
		return []audit.Change{{Subject: audit.Subject{Kind: "workspace", ID: w.ID, Name: w.Name}}, {Subject: audit.Subject{Kind: "process", ID: p.ID, Name: p.Name}}}, err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return workspace, process
}

// TestNoOrganisationHasTooManyProfiles races for the last place.
func TestNoOrganisationHasTooManyProfiles(t *testing.T) {
	h := newHouse(t)
	err := h.store.Mutate(t.Context(), h.org.Owner, account.CreateProfile, func(tx *store.Tx) ([]audit.Change, error) {
		var happened []audit.Change
		for i := range apikey.MaxProfiles - 1 {
			made, err := tx.InsertProfile(apikey.Profile{Name: fmt.Sprint("profile ", i)})
			if err != nil {
				return nil, err
			}
			happened = append(happened, audit.Change{Subject: audit.Subject{Kind: "profile", ID: made.ID}})
		}
		return happened, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var racing sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		racing.Go(func() {
			_, errs[i] = h.CreateProfile(t.Context(), h.org.Owner, keyring.ProfileDraft{Name: fmt.Sprint("the last ", i)})
		})
	}
	racing.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, keyring.ErrFull) {
			t.Errorf("refused with %v", err)
		}
	}
	if all, err := h.Profiles(t.Context(), h.org.Owner); made != 1 || err != nil || len(all) != apikey.MaxProfiles {
		t.Errorf("%d were made, and there are %d, %v", made, len(all), err)
	}
}

// TestDeletionAgainstAssignment lets keys be given a profile, be rotated and be issued with it while it is deleted, through two
// stores. MOONLATCH_RACES=1000 does it more often.
func TestDeletionAgainstAssignment(t *testing.T) {
	turns := races(t, 40)
	url := storetest.URL(t)
	open := func() *keyring.Keyring {
		s, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return keyring.New(s)
	}
	s, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h := house{t: t, store: s, Keyring: keyring.New(s), org: storetest.Organisation(t, s)}
	there, owner, ctx := open(), h.org.Owner, t.Context()
	outcomes := map[string]int{}
	began := time.Now()
	for i := range turns {
		goes, stays := h.profile(fmt.Sprint("goes ", i)), h.profile(fmt.Sprint("stays ", i))
		carrier, free := h.carrying(goes), h.issue(owner, draft("free"))
		moveTo := map[bool]string{true: stays.ID, false: keyring.ReleaseKeys}[i%2 == 0]
		start := make(chan struct{})
		var racing sync.WaitGroup
		errs := map[string]error{}
		var lock sync.Mutex
		race := func(name string, do func() error) {
			racing.Go(func() {
				<-start
				err := do()
				lock.Lock()
				defer lock.Unlock()
				errs[name] = err
			})
		}
		var rotation keyring.Rotation
		var issued apikey.Key
		race("delete", func() error { _, err := h.DeleteProfile(ctx, owner, goes.ID, moveTo); return err })
		race("assign", func() error {
			_, err := there.EditKey(ctx, owner, free.ID, keyring.KeyEdit{ProfileID: &goes.ID})
			return err
		})
		race("rotate", func() (err error) { rotation, err = there.RotateKey(ctx, owner, carrier.ID, time.Hour, ""); return err })
		race("issue", func() (err error) {
			d := draft("issued")
			d.ProfileID = goes.ID
			issued, _, err = there.IssueKey(ctx, owner, d)
			return err
		})
		if i%4 == 0 { // and the other one is deleted towards it
			race("delete the other", func() error { _, err := there.DeleteProfile(ctx, owner, stays.ID, goes.ID); return err })
		}
		close(start)
		racing.Wait()
		for name, err := range errs {
			missing := errors.As(err, new(keyring.MissingError))
			outcomes[fmt.Sprintf("%s: %t", name, err == nil)]++
			if err != nil && !missing {
				t.Fatalf("turn %d: %s: %v", i, name, err)
			}
		}
		left := map[string]bool{"": true}
		profiles, err := h.Profiles(ctx, owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range profiles {
			left[p.ID] = true
		}
		ids := []string{carrier.ID, free.ID}
		if errs["rotate"] == nil {
			ids = append(ids, rotation.New.ID)
		}
		if errs["issue"] == nil {
			ids = append(ids, issued.ID)
		}
		for _, id := range ids {
			row, err := h.Key(ctx, owner, id)
			if err != nil || !left[row.ProfileID] {
				t.Fatalf("turn %d: a key that carries nothing that is there: %+v, %v", i, row.Key, err)
			}
			if id == free.ID && errs["assign"] == nil && errs["delete"] == nil && row.Version != 3 {
				t.Fatalf("turn %d: an assignment that was answered, and a deletion: %+v", i, row.Key)
			}
			events, err := h.store.Events(ctx, h.org.ID, audit.Filter{SubjectID: id}, store.Span{}, 100)
			if err != nil || len(events) != row.Version {
				t.Fatalf("turn %d: the key changed %d times, and the log has %d events, %v", i, row.Version-1, len(events), err)
			}
		}
		if i%4 == 0 && (errs["delete"] == nil) == (errs["delete the other"] == nil) && moveTo != keyring.ReleaseKeys {
			t.Fatalf("turn %d: of two that were deleted towards each other: %v", i, errs)
		}
		for _, p := range profiles { // an organisation has room for so many
			if _, err := h.DeleteProfile(ctx, owner, p.ID, keyring.ReleaseKeys); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Logf("%d turns in %s: %v", turns, time.Since(began), outcomes)
	if _, err := h.store.VerifyChain(ctx, h.org.ID); err != nil {
		t.Error(err)
	}
}

// BenchmarkDeletingAProfileOf10000Keys says how long the one step takes.
func BenchmarkDeletingAProfileOf10000Keys(b *testing.B) {
	address := storetest.URL(b)
	s, err := store.Open(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	ring, org, db := keyring.New(s), storetest.Organisation(b, s), storetest.Unaudited(b, address)
	for b.Loop() {
		b.StopTimer()
		var ids [2]string
		for i := range ids {
			made, err := ring.CreateProfile(b.Context(), org.Owner, keyring.ProfileDraft{Name: uuid.NewString()})
			if err != nil {
				b.Fatal(err)
			}
			ids[i] = made.ID
		}
		for _, statement := range []string{
			`ALTER TABLE api_keys DISABLE TRIGGER api_keys_are_audited`,
			fmt.Sprintf(`WITH made AS (INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, profile_id, created_at, expires_at)
				SELECT gen_random_uuid(), '%[1]s', 'key ' || i, 'live', 'pk_live_' || i, sha256(gen_random_uuid()::text::bytea), 'abcdef', '{read:chat,write:chat}', 'enabled', '%[2]s', '%[2]s', '%[3]s', now(), now() + interval '90 days'
				FROM generate_series(1, 10000) i RETURNING id, org_id, created_at) INSERT INTO key_use (key_id, org_id, idle_since) SELECT id, org_id, created_at FROM made`, org.ID, org.Owner.MemberID, ids[0]),
			`ALTER TABLE api_keys ENABLE TRIGGER api_keys_are_audited`, `ANALYZE api_keys`,
		} {
			if _, err := db.ExecContext(b.Context(), statement); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		if moved, err := ring.DeleteProfile(b.Context(), org.Owner, ids[0], ids[1]); err != nil || moved != 10_000 {
			b.Fatal(moved, err)
		}
	}
}
