package keyring_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
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

// promote makes a member an owner.
func (h house) promote(who account.Actor) account.Actor {
	h.t.Helper()
	if _, err := h.ChangeMember(h.t.Context(), h.org.Owner, who.MemberID, keyring.MemberEdit{Role: account.Owner}); err != nil {
		h.t.Fatal(err)
	}
	who.Role = account.Owner
	return who
}

// happened lists the actions of the events since the given number, with their subjects' names.
func (h house) happened(since int64) (out []string) {
	h.t.Helper()
	rows, err := h.db.Query(`SELECT action || ' ' || subject_name FROM audit_events WHERE org_id = $1 AND seq > $2 ORDER BY seq`, h.org.ID, since)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			h.t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		h.t.Fatal(err)
	}
	return out
}

func (h house) lastEvent() (seq int64) {
	h.t.Helper()
	if err := h.db.QueryRow(`SELECT seq FROM audit_heads WHERE org_id = $1`, h.org.ID).Scan(&seq); err != nil {
		h.t.Fatal(err)
	}
	return seq
}

func (h house) policyDisablesTheKeysOfWhoeverLeaves() {
	h.t.Helper()
	if _, err := h.db.Exec(`UPDATE key_policies SET disable_departed = true WHERE org_id = $1`, h.org.ID); err != nil {
		h.t.Fatal(err)
	}
}

// TestWhoLeavesIsSignedOutAndTheirKeysAreDealtWith suspends and removes somebody in every way, who has keys in every
// state.
func TestWhoLeavesIsSignedOutAndTheirKeysAreDealtWith(t *testing.T) {
	for _, status := range []account.Status{account.Suspended, account.Removed} {
		for fate, want := range map[keyring.KeysOfLeaver]struct {
			after  string // enabled, disabled, rotated in grace: status and whose
			events string
		}{
			keyring.LeaveKeys:    {"enabled his, disabled his, rotated his", ""},
			keyring.TransferKeys: {"enabled hers, disabled hers, rotated his", "key.transferred k-disabled, key.transferred k-enabled"},
			keyring.DisableKeys:  {"disabled his, disabled his, rotated his", "key.disabled k-enabled"},
			keyring.RevokeKeys:   {"revoked his, revoked his, revoked his", "key.revoked k-disabled, key.revoked k-enabled, key.revoked k-rotated"},
		} {
			t.Run(string(status)+" "+string(fate), func(t *testing.T) {
				h := newHouse(t)
				leaver := h.org.Admin
				enabled, disabled, rotated := h.issue(leaver, draft("k-enabled")), h.issue(leaver, draft("k-disabled")), h.issue(leaver, draft("k-rotated"))
				dead := h.issue(leaver, draft("k-dead"))
				for id, change := range map[string]apikey.Change{disabled.ID: apikey.Disable, dead.ID: apikey.Revoke} {
					if _, err := h.ChangeStatus(t.Context(), leaver, change, id); err != nil {
						t.Fatal(err)
					}
				}
				rotation, err := h.RotateKey(t.Context(), leaver, rotated.ID, time.Hour, "")
				if err != nil {
					t.Fatal(err)
				}
				if err := h.DeleteKey(t.Context(), leaver, rotation.New.ID); err != nil {
					t.Fatal(err)
				}
				browser, err := h.SignIn(t.Context(), program, leaver.Email, storetest.Password)
				if err != nil {
					t.Fatal(err)
				}
				token := h.logIn(leaver).Reveal()
				since := h.lastEvent()

				edit := keyring.MemberEdit{Status: status, Keys: fate}
				if fate == keyring.TransferKeys {
					edit.Heir = h.org.Owner.MemberID
				}
				change, err := h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, edit)
				if err != nil || change.Person.Status != status || change.Sessions != 2 {
					t.Fatalf("%+v, %v", change, err)
				}
				var after []string
				for _, key := range []apikey.Key{enabled, disabled, rotated} {
					row, err := h.Key(t.Context(), h.org.Owner, key.ID)
					if err != nil {
						t.Fatal(err)
					}
					after = append(after, string(row.Stored)+map[bool]string{true: " his", false: " hers"}[row.OwnerID == leaver.MemberID])
				}
				if got := strings.Join(after, ", "); got != want.after {
					t.Errorf("the keys are %s, want %s", got, want.after)
				}
				events := h.happened(since)
				var aboutKeys []string
				ended := 0
				for _, event := range events[1:] {
					if strings.HasPrefix(event, "session.ended ") {
						ended++
					} else {
						aboutKeys = append(aboutKeys, event)
					}
				}
				slices.Sort(aboutKeys)
				if first := "member." + string(status) + " " + leaver.Email; events[0] != first || ended != 2 || strings.Join(aboutKeys, ", ") != want.events || change.Changed != len(aboutKeys) {
					t.Errorf("the audit log says %v, and %d keys changed", events, change.Changed)
				}
				if _, _, err := h.Actor(t.Context(), program, browser.ID); !errors.Is(err, keyring.ErrNotFound) {
					t.Errorf("the browser's session: %v", err)
				}
				h.refuse("a token of who has left", token)
				if _, err := h.SignIn(t.Context(), program, leaver.Email, storetest.Password); !errors.Is(err, keyring.ErrCredentials) {
					t.Errorf("who has left signs in: %v", err)
				}

				// The same again finds its work done, and changes nothing; what else becomes of the keys of who was removed is for
				// the page of key owners.
				since = h.lastEvent()
				if _, err := h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, edit); err != nil || len(h.happened(since)) != 0 {
					t.Errorf("the same again: %v, %v", h.happened(since), err)
				}
				if status == account.Removed {
					again, err := h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, keyring.MemberEdit{Status: status, Keys: keyring.RevokeKeys})
					if err != nil || again.Person.Status != status || again.Changed != 0 || len(h.happened(since)) != 0 {
						t.Errorf("removed again, with other words about the keys: %+v, %v", again, err)
					}
				}
				_, err = h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, keyring.MemberEdit{Status: account.Active})
				if status == account.Removed {
					if !errors.Is(err, keyring.ErrMemberState) {
						t.Errorf("who was removed is let in again: %v", err)
					}
					for _, edit := range []keyring.MemberEdit{{Role: account.Owner}, {Status: account.Suspended}} {
						if _, err := h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, edit); !errors.Is(err, keyring.ErrMemberState) {
							t.Errorf("%+v of who was removed: %v", edit, err)
						}
					}
				} else if _, signIn := h.SignIn(t.Context(), program, leaver.Email, storetest.Password); err != nil || signIn != nil {
					t.Errorf("who is reinstated: %v, %v", err, signIn)
				}
			})
		}
	}
}

func TestTheKeyPolicyDecidesAboutTheKeysOfWhoLeaves(t *testing.T) {
	h := newHouse(t)
	key := h.issue(h.org.Admin, draft("theirs"))
	h.policyDisablesTheKeysOfWhoeverLeaves()
	_, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.LeaveKeys})
	if problems := input.ProblemsIn(err); problems["keys"] == "" {
		t.Fatalf("leaving the keys as they are: %v", err)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended}); err != nil {
		t.Fatal(err)
	}
	if row, err := h.Key(t.Context(), h.org.Owner, key.ID); err != nil || row.Stored != apikey.Disabled {
		t.Errorf("the key is %s, %v", row.Stored, err)
	}
}

func TestWhatCanNotBeMeantIsSaidByField(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	for field, edits := range map[string][]keyring.MemberEdit{
		"role":   {{Role: "operator"}, {Role: "Owner"}, {Role: "x\x00"}},
		"status": {{Status: "gone"}},
		"keys":   {{Status: account.Suspended, Keys: "burn"}, {Status: account.Active, Keys: keyring.DisableKeys}, {Role: account.Support, Keys: keyring.LeaveKeys}},
		"keysTo": {{Status: account.Removed, Keys: keyring.TransferKeys}, {Status: account.Removed, Heir: h.org.Owner.MemberID}, {Role: account.Support, Heir: h.org.Owner.MemberID},
			{Status: account.Removed, Keys: keyring.TransferKeys, Heir: "x\x00"}, {Status: account.Removed, Keys: keyring.TransferKeys, Heir: h.org.Admin.MemberID},
			{Status: account.Removed, Keys: keyring.TransferKeys, Heir: h.org.Support.MemberID}, {Status: account.Removed, Keys: keyring.TransferKeys, Heir: other.Owner.MemberID}},
	} {
		for _, edit := range edits {
			_, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Admin.MemberID, edit)
			if problems := input.ProblemsIn(err); problems[field] == "" || len(problems) != 1 {
				t.Errorf("%+v: %v", edit, err)
			}
		}
	}
	if row, err := h.Member(t.Context(), h.org.Owner, h.org.Admin.MemberID); err != nil || row.Status != account.Active || row.Role != account.Admin {
		t.Errorf("what was refused was done: %+v, %v", row, err)
	}
}

func TestOnlyOwnersChangeMembersAndOnlyTheirOwn(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	edits := []keyring.MemberEdit{{Role: account.Support}, {Status: account.Suspended}, {Status: account.Removed}, {Status: account.Active}, {}}
	key := h.org.Owner
	key.KeyID, key.Scopes = "x", []string{apikey.All}
	for _, actor := range []account.Actor{h.org.Admin, h.org.Support, h.org.Member, key} {
		for _, edit := range edits {
			if _, err := h.ChangeMember(t.Context(), actor, h.org.Member.MemberID, edit); !errors.Is(err, keyring.ErrForbidden) {
				t.Errorf("%s: %+v: %v", actor.Email, edit, err)
			}
		}
		if _, err := h.SignOutMember(t.Context(), actor, h.org.Member.MemberID); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s signs somebody out: %v", actor.Email, err)
		}
		if _, _, err := h.Invite(t.Context(), actor, keyring.InvitationDraft{Email: "new@example.com", Role: "member"}); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s invites: %v", actor.Email, err)
		}
	}
	for _, id := range []string{other.Admin.MemberID, "x", "00000000-0000-0000-0000-000000000000"} {
		for _, edit := range edits[:4] {
			if _, err := h.ChangeMember(t.Context(), h.org.Owner, id, edit); !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s: %+v: %v", id, edit, err)
			}
		}
		_, member := h.Member(t.Context(), h.org.Owner, id)
		_, out := h.SignOutMember(t.Context(), h.org.Owner, id)
		_, sessions := h.MemberSessions(t.Context(), h.org.Owner, id)
		if !errors.Is(member, keyring.ErrNotFound) || !errors.Is(out, keyring.ErrNotFound) || id == "x" && !errors.Is(sessions, keyring.ErrNotFound) {
			t.Errorf("%s: %v, %v, %v", id, member, out, sessions)
		}
	}
	list, err := h.Members(t.Context(), h.org.Support, account.MemberFilter{}, "", 50)
	if err != nil || len(list.Rows) != 4 {
		t.Errorf("the list has %d members, %v", len(list.Rows), err)
	}
	if _, err := h.Members(t.Context(), h.org.Member, account.MemberFilter{}, "", 50); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("a member lists members: %v", err)
	}
}

// TestARoleHoldsFromTheNextRequest changes a role under a live session, a live token and a key.
func TestARoleHoldsFromTheNextRequest(t *testing.T) {
	h := newHouse(t)
	admin := h.org.Admin
	session, err := h.SignIn(t.Context(), program, admin.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	token := h.logIn(admin).Reveal()
	key := h.issue(admin, keyring.KeyDraft{Name: "acts", Scopes: []string{"read:api-keys", "write:api-keys"}})
	roles := func() string {
		t.Helper()
		browser, _, err1 := h.Actor(t.Context(), program, session.ID)
		byToken, err2 := h.try(token)
		byKey, err3 := h.KeyActor(t.Context(), program, h.org.ID, key.ID)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(browser.Role, byToken.Role, byKey.Role, byKey.May(account.IssueKey))
	}
	for _, role := range []account.Role{account.Support, account.Member, account.Owner, account.Admin} {
		if _, err := h.ChangeMember(t.Context(), h.org.Owner, admin.MemberID, keyring.MemberEdit{Role: role}); err != nil {
			t.Fatal(err)
		}
		acts := role.AtMost(account.Admin) // a key gains no power by its owner's promotion
		if got, want := roles(), fmt.Sprint(role, role, acts, acts.May(account.IssueKey)); got != want {
			t.Errorf("after becoming %s: %s", role, got)
		}
	}
}

func TestTheLastOwnerStays(t *testing.T) {
	h := newHouse(t)
	owner := h.org.Owner
	for _, edit := range []keyring.MemberEdit{{Role: account.Admin}, {Status: account.Suspended}, {Status: account.Removed}, {Role: account.Member, Status: account.Suspended}} {
		if _, err := h.ChangeMember(t.Context(), owner, owner.MemberID, edit); !errors.Is(err, keyring.ErrLastOwner) {
			t.Errorf("%+v: %v", edit, err)
		}
	}
	second := h.promote(h.org.Admin)
	if _, err := h.ChangeMember(t.Context(), owner, second.MemberID, keyring.MemberEdit{Status: account.Suspended}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ChangeMember(t.Context(), owner, owner.MemberID, keyring.MemberEdit{Role: account.Admin}); !errors.Is(err, keyring.ErrLastOwner) {
		t.Errorf("a suspended owner counts as one: %v", err)
	}
	if _, err := h.ChangeMember(t.Context(), owner, second.MemberID, keyring.MemberEdit{Status: account.Active}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ChangeMember(t.Context(), owner, owner.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Errorf("an owner beside another can't leave: %v", err)
	}
	if _, err := h.ChangeMember(t.Context(), owner, second.MemberID, keyring.MemberEdit{Role: account.Admin}); !errors.Is(err, keyring.ErrForbidden) {
		t.Errorf("who has left goes on: %v", err)
	}
}

// TestOnlyWhatWasSeenIsDoneToSomebody sends forms away that are about a member, or about keys, that are not so any more.
func TestOnlyWhatWasSeenIsDoneToSomebody(t *testing.T) {
	h := newHouse(t)
	ctx, org, leaver := t.Context(), h.org, h.org.Admin.MemberID
	first := h.issue(org.Admin, draft("seen"))
	h.issue(org.Admin, draft("not seen"))
	since := h.lastEvent()
	edit := keyring.MemberEdit{Status: account.Suspended, Keys: keyring.RevokeKeys, Was: account.Active, Live: 1}
	if _, err := h.ChangeMember(ctx, org.Owner, leaver, edit); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("one key seen of two: %v", err)
	}
	if _, err := h.RevokeAllKeys(ctx, org.Owner, leaver, 3); !errors.Is(err, keyring.ErrStale) {
		t.Errorf("three keys seen of two: %v", err)
	}
	if got := h.happened(since); len(got) != 0 {
		t.Errorf("happened all the same: %v", got)
	}
	edit.Keys, edit.Live = keyring.DisableKeys, 2
	if change, err := h.ChangeMember(ctx, org.Owner, leaver, edit); err != nil || change.Changed != 2 {
		t.Errorf("as seen: %+v, %v", change, err)
	}
	edit.Keys = keyring.RevokeKeys
	if _, err := h.ChangeMember(ctx, org.Owner, leaver, edit); !errors.Is(err, keyring.ErrMemberState) {
		t.Errorf("an active member seen, who is suspended: %v", err)
	}
	if change, err := h.RevokeAllKeys(ctx, org.Owner, leaver, 2); err != nil || change.Changed != 2 {
		t.Errorf("revoked as seen: %+v, %v", change, err)
	}
	if change, err := h.RevokeAllKeys(ctx, org.Owner, leaver, 2); err != nil || change.Changed != 0 {
		t.Errorf("the same form twice: %+v, %v", change, err)
	}
	if h.status(first.ID) != apikey.Revoked {
		t.Error("the key that was seen is not revoked")
	}
}

// races is how often a race is run: MOONLATCH_RACES times, else as often as it says.
func races(t *testing.T, usually int) int {
	t.Helper()
	text := os.Getenv("MOONLATCH_RACES")
	if text == "" {
		return usually
	}
	turns, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return turns
}

// TestOneOwnerIsLeftWhateverTwoDoAtOnce lets two owners send each other away at the same moment, over two stores.
// MOONLATCH_RACES=1000 does it more often.
func TestOneOwnerIsLeftWhateverTwoDoAtOnce(t *testing.T) {
	turns := races(t, 60)
	address := storetest.URL(t)
	rings := make([]*keyring.Keyring, 2)
	var first *store.Store
	for i := range rings {
		s, err := store.Open(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		rings[i], first = keyring.New(s), s
	}
	org, db := storetest.Organisation(t, first), storetest.Unaudited(t, address)
	one, two := org.Owner, org.Admin
	two.Role = account.Owner
	for _, who := range []account.Actor{one, org.Admin} {
		for range 3 {
			if _, _, err := rings[0].IssueKey(t.Context(), who, draft("theirs")); err != nil {
				t.Fatal(err)
			}
		}
	}
	edits := []keyring.MemberEdit{{Role: account.Admin}, {Status: account.Suspended}, {Status: account.Removed, Keys: keyring.DisableKeys}, {Status: account.Suspended, Keys: keyring.TransferKeys}}
	outcomes := map[string]int{}
	for turn := range turns {
		if _, err := db.ExecContext(t.Context(), `UPDATE members SET role = 'owner', status = 'active' WHERE id IN ($1, $2)`, one.MemberID, two.MemberID); err != nil {
			t.Fatal(err)
		}
		mine, theirs := edits[turn%4], edits[turn/4%4]
		targets := []string{two.MemberID, one.MemberID} // each other
		if turn%3 == 1 {
			targets = []string{one.MemberID, two.MemberID} // each themselves
		} else if turn%3 == 2 {
			targets = []string{one.MemberID, one.MemberID} // the one steps back, and is sent away by the other
		}
		heir := func(edit *keyring.MemberEdit, target string) {
			if edit.Keys == keyring.TransferKeys {
				edit.Heir = map[string]string{one.MemberID: two.MemberID, two.MemberID: one.MemberID}[target]
			}
		}
		heir(&mine, targets[0])
		heir(&theirs, targets[1])
		errs := make([]error, 2)
		start := make(chan struct{})
		var both sync.WaitGroup
		both.Go(func() { <-start; _, errs[0] = rings[0].ChangeMember(t.Context(), one, targets[0], mine) })
		both.Go(func() { <-start; _, errs[1] = rings[1].ChangeMember(t.Context(), two, targets[1], theirs) })
		close(start)
		both.Wait()
		var owners int
		if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM members WHERE org_id = $1 AND role = 'owner' AND status = 'active'`, org.ID).Scan(&owners); err != nil {
			t.Fatal(err)
		}
		if owners != 1 {
			t.Fatalf("turn %d: %d owners are left: %+v by one, %+v by the other: %v", turn, owners, mine, theirs, errs)
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, keyring.ErrLastOwner) && !errors.Is(err, keyring.ErrForbidden) && !errors.Is(err, keyring.ErrUnauthenticated) && !errors.Is(err, keyring.ErrMemberState) && input.ProblemsIn(err)["keysTo"] == "" {
				t.Errorf("turn %d: %v", turn, err)
			}
		}
		outcomes[fmt.Sprint(errs[0] == nil, errs[1] == nil)]++
	}
	t.Logf("%d turns, done: %v", turns, outcomes)
	if n, err := first.VerifyChain(t.Context(), org.ID); err != nil {
		t.Errorf("the audit log after %d events: %v", n, err)
	}
}

// TestOwnersSignInWhileAMemberIsChanged holds a change to a member open, as one with many keys does.
func TestOwnersSignInWhileAMemberIsChanged(t *testing.T) {
	h := newHouse(t)
	second := h.promote(h.org.Admin)
	for _, target := range []account.Actor{h.org.Support, second, h.org.Owner} {
		err := h.store.Mutate(t.Context(), h.org.Owner, account.SuspendMember, func(tx *store.Tx) ([]audit.Change, error) {
			if _, _, err := tx.LockMember(target.MemberID); err != nil {
				return nil, err
			}
			for _, who := range []account.Actor{h.org.Owner, second} {
				if who.MemberID == target.MemberID {
					continue
				}
				if _, err := h.SignIn(t.Context(), program, who.Email, storetest.Password); err != nil {
					t.Errorf("%s, while %s is changed: %v", who.Email, target.Email, err)
				}
				if _, _, err := h.IssueKey(t.Context(), who, draft("meanwhile")); err != nil {
					t.Errorf("a key of %s, while %s is changed: %v", who.Email, target.Email, err)
				}
			}
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoKeyIsGivenToWhoLeavesAtThatMoment transfers a key to somebody, and one of theirs away, while they are suspended.
func TestNoKeyIsGivenToWhoLeavesAtThatMoment(t *testing.T) {
	h := newHouse(t)
	leaver, owner := h.org.Admin.MemberID, h.org.Owner.MemberID
	for turn := range 10 {
		in, out := h.issue(h.org.Owner, draft("in")), h.issue(h.org.Admin, draft("out"))
		var gone, given, taken error
		start := make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			<-start
			_, gone = h.ChangeMember(t.Context(), h.org.Owner, leaver, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.DisableKeys})
		})
		all.Go(func() { <-start; _, given = h.TransferKey(t.Context(), h.org.Owner, in.ID, leaver) })
		all.Go(func() { <-start; _, taken = h.TransferKey(t.Context(), h.org.Owner, out.ID, owner) })
		close(start)
		all.Wait()
		var missing store.MissingError
		if gone != nil || taken != nil || given != nil && !errors.As(given, &missing) {
			t.Errorf("turn %d: %v, %v, %v", turn, gone, given, taken)
		}
		if live, err := h.store.LiveKeysOf(t.Context(), h.org.ID, leaver); err != nil || live.Enabled != 0 {
			t.Errorf("turn %d: who left has %+v, %v", turn, live, err)
		}
		if _, err := h.ChangeMember(t.Context(), h.org.Owner, leaver, keyring.MemberEdit{Status: account.Active}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNoSuccessorEscapesWhatHappensToAllKeys rotates somebody's only key while all that they own is revoked, disabled or
// transferred. MOONLATCH_RACES=1000 does it more often.
func TestNoSuccessorEscapesWhatHappensToAllKeys(t *testing.T) {
	h := newHouse(t)
	ctx, org := t.Context(), h.org
	all := map[string]func() error{
		"suspended, revoked": func() error {
			_, err := h.ChangeMember(ctx, org.Owner, org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.RevokeKeys})
			return err
		},
		"suspended, disabled": func() error {
			_, err := h.ChangeMember(ctx, org.Owner, org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.DisableKeys})
			return err
		},
		"suspended, transferred": func() error {
			_, err := h.ChangeMember(ctx, org.Owner, org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.TransferKeys, Heir: org.Owner.MemberID})
			return err
		},
		"revoked": func() error { _, err := h.RevokeAllKeys(ctx, org.Owner, org.Admin.MemberID, 0); return err },
		"transferred": func() error {
			_, err := h.TransferAllKeys(ctx, org.Owner, org.Admin.MemberID, org.Owner.MemberID)
			return err
		},
	}
	for name, deal := range all {
		rotated := 0
		for turn := range races(t, 8) {
			if _, err := h.ChangeMember(ctx, org.Owner, org.Admin.MemberID, keyring.MemberEdit{Status: account.Active}); err != nil {
				t.Fatal(err)
			}
			if _, err := h.RevokeAllKeys(ctx, org.Owner, org.Admin.MemberID, 0); err != nil {
				t.Fatal(err)
			}
			key := h.issue(org.Admin, draft("only"))
			var dealt, rotation error
			start := make(chan struct{})
			var both sync.WaitGroup
			both.Go(func() { <-start; dealt = deal() })
			both.Go(func() { <-start; _, rotation = h.RotateKey(ctx, org.Owner, key.ID, 0, "") })
			close(start)
			both.Wait()
			if dealt != nil || rotation != nil && !errors.Is(rotation, apikey.ErrState) {
				t.Errorf("%s, turn %d: %v, %v", name, turn, dealt, rotation)
			}
			if live, err := h.store.LiveKeysOf(ctx, org.ID, org.Admin.MemberID); err != nil || live.Enabled != 0 {
				t.Errorf("%s, turn %d: the member still has %+v, %v", name, turn, live, err)
			}
			if rotation == nil {
				rotated++
			}
		}
		t.Logf("%s: %d rotations came first", name, rotated)
	}
}

func TestMembersAreListedInPages(t *testing.T) {
	h := newHouse(t)
	for i := range 7 {
		h.join(h.invite(fmt.Sprintf("p%d@list.example", i), "member"), fmt.Sprintf("Person %d%%", i))
	}
	h.issue(h.org.Admin, draft("one"))
	filter := account.MemberFilter{Search: "@LIST."}
	var all []string
	var page keyring.MemberPage
	var err error
	for cursor := ""; ; {
		if page, err = h.Members(t.Context(), h.org.Admin, filter, cursor, 3); err != nil {
			t.Fatal(err)
		}
		for _, row := range page.Rows {
			all = append(all, row.Email)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if got := strings.Join(all, " "); got != "p0@list.example p1@list.example p2@list.example p3@list.example p4@list.example p5@list.example p6@list.example" {
		t.Errorf("forward: %s", got)
	}
	if page, err = h.Members(t.Context(), h.org.Admin, filter, page.Previous, 3); err != nil || len(page.Rows) != 3 || page.Rows[0].Email != "p3@list.example" || page.Next == "" || page.Previous == "" {
		t.Errorf("and back: %+v, %v", page, err)
	}
	if _, err := h.Members(t.Context(), h.org.Admin, account.MemberFilter{}, page.Next, 3); !errors.Is(err, keyring.ErrCursor) {
		t.Errorf("a cursor of another filter: %v", err)
	}
	for want, filter := range map[int]account.MemberFilter{
		1: {Search: "person 3%"}, 0: {Search: "person _"}, 8: {Role: account.Member}, 11: {Statuses: []account.Status{account.Active}},
	} {
		if page, err := h.Members(t.Context(), h.org.Admin, filter, "", 50); err != nil || len(page.Rows) != want {
			t.Errorf("%+v: %d, %v", filter, len(page.Rows), err)
		}
	}
	row, err := h.Member(t.Context(), h.org.Support, h.org.Admin.MemberID)
	if err != nil || row.LiveKeys != 1 || row.SeenAt != nil || row.JoinedAt.IsZero() {
		t.Errorf("%+v, %v", row, err)
	}
	h.logIn(h.org.Admin)
	if row, err := h.Member(t.Context(), h.org.Support, h.org.Admin.MemberID); err != nil || row.SeenAt == nil {
		t.Errorf("after a log-in: %+v, %v", row, err)
	}
}

// TestASessionThatIsOverDoesNotEndAgain has sessions whose time is over, which are kept for a month.
func TestASessionThatIsOverDoesNotEndAgain(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	h.at(now.Add(-10 * time.Hour))
	h.signedIn(h.org.Member) // idle for too long
	h.at(now)
	here := h.signedIn(h.org.Member)
	h.signedIn(h.org.Member)
	since := h.lastEvent()
	if n, err := h.ChangePassword(t.Context(), here, storetest.Password, newPassword); n != 1 || err != nil || len(h.happened(since)) != 2 {
		t.Errorf("a new password: %d sessions, %v, %v", n, h.happened(since), err)
	}
	if n, err := h.SignOutMember(t.Context(), h.org.Owner, h.org.Member.MemberID); n != 1 || err != nil {
		t.Errorf("signed out: %d sessions, %v", n, err)
	}
}

func TestSigningSomebodyOutEndsEverySession(t *testing.T) {
	h := newHouse(t)
	first, second := h.logIn(h.org.Admin).Reveal(), h.logIn(h.org.Admin).Reveal()
	own := h.logIn(h.org.Owner).Reveal()
	since := h.lastEvent()
	if n, err := h.SignOutMember(t.Context(), h.org.Owner, h.org.Admin.MemberID); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	h.refuse("the first", first)
	h.refuse("the second", second)
	h.accept("the owner's", own)
	if got := h.happened(since); len(got) != 3 || got[0] != "member.signed_out "+h.org.Admin.Email || got[1] != "session.ended "+h.org.Admin.Email {
		t.Errorf("the audit log says %v", got)
	}
	if n, err := h.SignOutMember(t.Context(), h.org.Owner, h.org.Admin.MemberID); n != 0 || err != nil {
		t.Error(n, err)
	}
}

// TestAMemberWithAnIdleSessionIsErased: the session is too old to be used, and is erased before it expires.
func TestAMemberWithAnIdleSessionIsErased(t *testing.T) {
	h := newHouse(t)
	now, leaver := time.Now(), h.org.Admin
	h.at(now.Add(-9 * time.Hour))
	idle, err := h.SignIn(t.Context(), program, leaver.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	h.at(now)
	open, err := h.SignIn(t.Context(), program, leaver.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Erase(t.Context(), leaver.Email); err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{"idle": idle.ID, "open": open.ID} { // each ends once
		if ended := h.actionsOn(id)["session.ended"]; ended != 1 {
			t.Errorf("the log says %d times that the %s session ended", ended, name)
		}
	}
	var left int
	if err := h.db.QueryRow(`SELECT count(*) FROM sessions WHERE member_id = $1`, leaver.MemberID).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d sessions are left, %v", left, err)
	}
}

// TestAnErasedMemberIsFoundInTheAuditLogAlone reads the whole database after somebody was removed, and again after they were erased.
func TestAnErasedMemberIsFoundInTheAuditLogAlone(t *testing.T) {
	h := newHouse(t)
	leaver := h.org.Admin
	const name, browser, address = "Wilhelmina Quist", "Teapot/418", "198.51.100.77"
	session, err := h.SignIn(t.Context(), keyring.Visitor{Address: address, UserAgent: browser}, leaver.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.RenameSelf(t.Context(), leaver, name); err != nil {
		t.Fatal(err)
	}
	key := h.issue(leaver, draft("theirs"))
	earlier := leaver.Email
	if err := h.confirmEmail(h.startEmail(leaver, "between@example.com"), storetest.Password); err != nil {
		t.Fatal(err)
	}
	if _, err := h.SetEmail(t.Context(), "between@example.com", "last@example.com"); err != nil {
		t.Fatal(err)
	}
	leaver.Email = "last@example.com"
	h.invite(earlier, "member")
	h.startEmail(leaver, "proposed@example.com")
	where := func(text string) (tables []string) {
		t.Helper()
		rows, err := h.db.Query(`SELECT quote_ident(table_name) FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var table string
			var found bool
			if err := rows.Scan(&table); err != nil {
				t.Fatal(err)
			}
			if err := h.db.QueryRow(`SELECT EXISTS (SELECT FROM `+table+` AS x WHERE strpos(x::text, $1) > 0)`, text).Scan(&found); err != nil {
				t.Fatal(err)
			}
			if found {
				tables = append(tables, table)
			}
		}
		return tables
	}
	for _, email := range []string{earlier, "between@example.com", leaver.Email} {
		if done, err := h.Erase(t.Context(), email); !errors.Is(err, keyring.ErrMemberState) || !slices.Equal(done.Kept, []string{leaver.Email}) {
			t.Errorf("an account that was not removed, by %s: %+v, %v", email, done, err)
		}
	}
	if _, err := h.Erase(t.Context(), "proposed@example.com"); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("an address that was proposed and not confirmed: %v", err)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, leaver.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	var hash string
	if err := h.db.QueryRow(`SELECT password_hash FROM members WHERE id = $1`, leaver.MemberID).Scan(&hash); err != nil || hash != "" {
		t.Errorf("the hash of a removed member's password: %q, %v", hash, err)
	}
	if got := where(leaver.Email); !slices.Contains(got, "members") {
		t.Fatalf("the address is in %q", got)
	}
	if got := where(earlier); !slices.Contains(got, "invitations") {
		t.Fatalf("the earlier address is in %q", got)
	}
	since := h.lastEvent()
	done, err := h.Erase(t.Context(), strings.ToUpper(earlier))
	if err != nil || len(done.Erased) != 1 || len(done.Kept) != 0 || !strings.HasSuffix(done.Erased[0], "@erased.invalid") {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := h.happened(since); !slices.Equal(got, []string{"member.erased " + done.Erased[0], "member.invitation_withdrawn " + done.Erased[0]}) {
		t.Errorf("the audit log says %q", got)
	}
	for _, text := range []string{leaver.Email, "between@example.com", earlier, "proposed@example.com", name, browser, address} {
		got := slices.DeleteFunc(where(text), func(table string) bool { return table == "sign_in_attempts" }) // of a network, for 15 minutes
		if !slices.Equal(got, []string{"audit_events"}) {
			t.Errorf("%q is in %q", text, got)
		}
	}
	if got := where(session.ID); !slices.Equal(got, []string{"audit_events"}) {
		t.Errorf("the session is in %q", got)
	}
	row, err := h.Key(t.Context(), h.org.Owner, key.ID)
	if err != nil || row.OwnerID != leaver.MemberID {
		t.Errorf("their key: %+v, %v", row, err)
	}
	member, err := h.Member(t.Context(), h.org.Owner, leaver.MemberID)
	if err != nil || member.Email != done.Erased[0] || member.Name != "" || member.Status != account.Removed {
		t.Errorf("the member: %+v, %v", member, err)
	}
	since = h.lastEvent()
	for _, email := range []string{earlier, "between@example.com", leaver.Email, done.Erased[0]} {
		if again, err := h.Erase(t.Context(), email); err != nil || len(again.Erased)+len(again.Kept) != 0 {
			t.Errorf("erased twice, by %s: %+v, %v", email, again, err)
		}
	}
	if got := h.happened(since); len(got) != 0 {
		t.Errorf("erasing twice wrote %q", got)
	}
	h.invite(earlier, "member") // a mistake, or somebody else's by now: it is deleted with the next run
	if again, err := h.Erase(t.Context(), earlier); err != nil || !slices.Equal(again.Erased, done.Erased) {
		t.Errorf("erased again, after an invitation: %+v, %v", again, err)
	}
	if got := where(earlier); !slices.Equal(got, []string{"audit_events"}) {
		t.Errorf("after an invitation the address is in %q", got)
	}
	if _, err := h.Erase(t.Context(), "no address"); err == nil {
		t.Error("what is no address is erased")
	}
}
