package keyring_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const another = "violet tram window hums"

// signedIn is the actor in a session of their own.
func (h house) signedIn(who account.Actor) account.Actor {
	h.t.Helper()
	session, err := h.SignIn(h.t.Context(), keyring.Visitor{Address: "192.0.2.9"}, who.Email, storetest.Password)
	if err != nil {
		h.t.Fatal(err)
	}
	who.SessionID = session.ID
	return who
}

func TestANewNameIsSavedAndWrittenDownOnce(t *testing.T) {
	h := newHouse(t)
	member := h.org.Member
	for range 2 { // the form was sent twice
		if err := h.RenameSelf(t.Context(), member, "  Ada Byron "); err != nil {
			t.Fatal(err)
		}
	}
	if person, err := h.store.MemberByID(t.Context(), h.org.ID, member.MemberID); err != nil || person.Name != "Ada Byron" {
		t.Errorf("%+v, %v", person, err)
	}
	var events int
	if err := h.db.QueryRow(`SELECT count(*) FROM audit_events WHERE action = 'member.renamed' AND subject_id = $1 AND actor_id = $1::text`, member.MemberID).Scan(&events); err != nil || events != 1 {
		t.Errorf("%d events, %v", events, err)
	}
	for _, bad := range []string{"", " ", strings.Repeat("x", 101), "a\x00b", "a\u202eb", "\xff"} {
		if problems := input.ProblemsIn(h.RenameSelf(t.Context(), member, bad)); problems["name"] == "" {
			t.Errorf("the name %.20q: %v", bad, problems)
		}
	}
}

func TestANewPasswordEndsTheOtherSessionsAndNoOther(t *testing.T) {
	h := newHouse(t)
	here, browser, colleague := h.signedIn(h.org.Member), h.signedIn(h.org.Member), h.signedIn(h.org.Admin)
	program, err := h.Tokens("https://moonlatch.test").LogIn(t.Context(), keyring.Visitor{}, h.org.Member.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := h.ChangePassword(t.Context(), here, storetest.Password, another)
	if err != nil || ended != 2 {
		t.Fatalf("%d sessions ended, %v", ended, err)
	}
	if _, _, err := h.Actor(t.Context(), keyring.Visitor{}, browser.SessionID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("another session of theirs: %v", err)
	}
	if _, err := h.Tokens("https://moonlatch.test").Actor(t.Context(), keyring.Visitor{}, program.Reveal()); !errors.Is(err, keyring.ErrToken) {
		t.Errorf("a program's session of theirs: %v", err)
	}
	for name, id := range map[string]string{"the one that acts": here.SessionID, "a colleague's": colleague.SessionID} {
		if _, _, err := h.Actor(t.Context(), keyring.Visitor{}, id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{}, h.org.Member.Email, storetest.Password); !errors.Is(err, keyring.ErrCredentials) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{}, h.org.Member.Email, another); err != nil {
		t.Errorf("the new password: %v", err)
	}
	var told int
	if err := h.db.QueryRow(`SELECT count(*) FROM audit_events WHERE org_id = $1 AND action = 'member.password_changed' AND (after LIKE '%argon%' OR after LIKE '%violet%') IS FALSE`, h.org.ID).Scan(&told); err != nil || told != 1 {
		t.Errorf("%d events, or one that tells too much; %v", told, err)
	}
}

func TestAPasswordThatWillNotDoChangesNothing(t *testing.T) {
	h := newHouse(t)
	here, other := h.signedIn(h.org.Member), h.signedIn(h.org.Member)
	for _, c := range []struct{ current, next, field string }{
		{"not my password at all", another, "currentPassword"}, {"", another, "currentPassword"}, {"\xff\x00", another, "currentPassword"},
		{storetest.Password, "", "newPassword"}, {storetest.Password, "short", "newPassword"}, {storetest.Password, "passwordpassword", "newPassword"},
		{storetest.Password, storetest.Password, "newPassword"}, {storetest.Password, h.org.Name + h.org.Name, "newPassword"}, {storetest.Password, strings.Repeat("long ", 60), "newPassword"},
	} {
		_, err := h.ChangePassword(t.Context(), here, c.current, c.next)
		if problems := input.ProblemsIn(err); len(problems) != 1 || problems[c.field] == "" {
			t.Errorf("%q to %.20q: %v", c.current, c.next, err)
		}
	}
	if _, _, err := h.Actor(t.Context(), keyring.Visitor{}, other.SessionID); err != nil {
		t.Errorf("another session ended: %v", err)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{}, h.org.Member.Email, storetest.Password); err != nil {
		t.Error(err)
	}
}

// Guesses at the current password are limited, and apart from guesses at the door: neither keeps somebody from the other.
func TestGuessingTheCurrentPasswordIsLimited(t *testing.T) {
	h := newHouse(t)
	here := h.signedIn(h.org.Member)
	for range 10 {
		if _, err := h.ChangePassword(t.Context(), here, "wrong horse battery", another); input.ProblemsIn(err) == nil {
			t.Fatal(err)
		}
	}
	var locked *keyring.LockedError
	if _, err := h.ChangePassword(t.Context(), here, storetest.Password, another); !errors.As(err, &locked) {
		t.Errorf("the eleventh attempt: %v", err)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{}, here.Email, storetest.Password); err != nil {
		t.Errorf("signing in afterwards: %v", err)
	}
	attacked := h.signedIn(h.org.Support)
	from := keyring.Visitor{Address: "192.0.2.66"}
	for range 11 {
		_, _ = h.SignIn(t.Context(), from, attacked.Email, "wrong horse battery")
	}
	if _, err := h.SignIn(t.Context(), from, attacked.Email, storetest.Password); !errors.As(err, &locked) {
		t.Errorf("signing in to an account that is attacked: %v", err)
	}
	if _, err := h.ChangePassword(t.Context(), attacked, storetest.Password, another); err != nil {
		t.Errorf("changing its password: %v", err)
	}
}

// Whatever happens at once, afterwards one password holds, and no session is left that was begun with another.
func TestOfTwoNewPasswordsAtOnceOneHoldsAndNoSignInSlipsThrough(t *testing.T) {
	h := newHouse(t)
	for round := range 6 {
		org := storetest.Organisation(t, h.store)
		first, second := h.signedIn(org.Member), h.signedIn(org.Member)
		var changed atomic.Int32
		var winner atomic.Value
		var all sync.WaitGroup
		for i, who := range []account.Actor{first, second} {
			all.Go(func() {
				next := []string{"violet tram window hums", "orange canoe ladder sings"}[i]
				_, err := h.ChangePassword(t.Context(), who, storetest.Password, next)
				switch {
				case err == nil:
					changed.Add(1)
					winner.Store(next)
				case input.ProblemsIn(err)["currentPassword"] == "" && !errors.Is(err, keyring.ErrUnavailable):
					t.Error(err)
				}
			})
		}
		all.Go(func() {
			_, err := h.SignIn(t.Context(), keyring.Visitor{}, org.Member.Email, storetest.Password)
			if err != nil && !errors.Is(err, keyring.ErrCredentials) && !errors.Is(err, keyring.ErrUnavailable) {
				t.Error(err)
			}
		})
		all.Wait()
		if changed.Load() != 1 {
			t.Fatalf("round %d: %d changes held", round, changed.Load())
		}
		left, err := h.Sessions(t.Context(), org.Member)
		if err != nil || len(left) != 1 {
			t.Errorf("round %d: %d sessions are left, %v", round, len(left), err)
		}
		if _, err := h.SignIn(t.Context(), keyring.Visitor{}, org.Member.Email, winner.Load().(string)); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
}
