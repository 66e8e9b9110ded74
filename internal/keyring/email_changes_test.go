package keyring_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// startEmail starts the change of a member's address by the owner, and returns the link's token.
func (h house) startEmail(member account.Actor, email string) string {
	h.t.Helper()
	_, token, err := h.StartEmailChange(h.t.Context(), h.org.Owner, member.MemberID, keyring.EmailChangeDraft{Email: email})
	if err != nil {
		h.t.Fatal(err)
	}
	return token.Reveal()
}

func (h house) confirmEmail(token, password string) error {
	_, err := h.ConfirmEmail(h.t.Context(), program, token, password)
	return err
}

// actionsOn lists what the log says happened to a member, the newest first.
func (h house) actionsOn(id string) map[string]int {
	h.t.Helper()
	rows, err := h.db.Query(`SELECT action FROM audit_events WHERE org_id = $1 AND subject_id = $2`, h.org.ID, id)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	found := map[string]int{}
	for rows.Next() {
		var action string
		if err := rows.Scan(&action); err != nil {
			h.t.Fatal(err)
		}
		found[action]++
	}
	return found
}

func TestAnEmailChangesByItsLinkAndThePassword(t *testing.T) {
	h := newHouse(t)
	ctx, admin := t.Context(), h.org.Admin
	key := h.issue(admin, draft("kept"))
	before, err := h.SignIn(ctx, program, admin.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	_, invitation, err := h.Invite(ctx, h.org.Owner, keyring.InvitationDraft{Email: "new@example.com", Role: "member"})
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		who   account.Actor
		id    string
		email string
		want  error
	}{
		"an admin":           {admin, admin.MemberID, "new@example.com", keyring.ErrForbidden},
		"a member":           {h.org.Member, h.org.Member.MemberID, "new@example.com", keyring.ErrForbidden},
		"nobody's id":        {h.org.Owner, "00000000-0000-7000-8000-000000000001", "new@example.com", keyring.ErrNotFound},
		"no id":              {h.org.Owner, "x", "new@example.com", keyring.ErrNotFound},
		"no address":         {h.org.Owner, admin.MemberID, "x", input.Problems{}},
		"the same address":   {h.org.Owner, admin.MemberID, " " + admin.Email, input.Problems{}},
		"a member's address": {h.org.Owner, admin.MemberID, h.org.Support.Email, input.Problems{}},
	} {
		_, _, err := h.StartEmailChange(ctx, c.who, c.id, keyring.EmailChangeDraft{Email: c.email})
		if problems := input.ProblemsIn(c.want) != nil; problems && input.ProblemsIn(err)["email"] == "" || !problems && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	first := h.startEmail(admin, "old@example.com")
	token := h.startEmail(admin, " NEW@Example.com ")
	if waiting, err := h.EmailChangeOf(ctx, h.org.Owner, admin.MemberID); err != nil || waiting.Email != "new@example.com" {
		t.Errorf("waiting is %+v, %v", waiting, err)
	}
	if err := h.confirmEmail(first, storetest.Password); !errors.Is(err, keyring.ErrEmailChange) {
		t.Errorf("a link that was replaced: %v", err)
	}
	if err := h.confirmEmail(token, "not the password of it"); input.ProblemsIn(err)["password"] == "" {
		t.Errorf("a wrong password: %v", err)
	}
	session, err := h.ConfirmEmail(ctx, program, token, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	actor, _, err := h.Actor(ctx, program, session.ID)
	if err != nil || actor.Email != "new@example.com" || actor.MemberID != admin.MemberID {
		t.Errorf("signed in is %+v, %v", actor, err)
	}
	if _, _, err := h.Actor(ctx, program, before.ID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the session before: %v", err)
	}
	if _, err := h.SignIn(ctx, program, admin.Email, storetest.Password); !errors.Is(err, keyring.ErrCredentials) {
		t.Errorf("signing in with the earlier address: %v", err)
	}
	if _, err := h.SignIn(ctx, program, "new@example.com", storetest.Password); err != nil {
		t.Errorf("signing in with the new one: %v", err)
	}
	if row, err := h.Key(ctx, h.org.Owner, key.ID); err != nil || row.OwnerID != admin.MemberID || row.Owner.Email != "new@example.com" {
		t.Errorf("the key is %+v, %v", row, err)
	}
	if _, err := h.InvitationFor(ctx, invitation.Reveal()); !errors.Is(err, keyring.ErrInvitation) {
		t.Errorf("an invitation to the address: %v", err)
	}
	if err := h.confirmEmail(token, storetest.Password); !errors.Is(err, keyring.ErrEmailChange) {
		t.Errorf("the link once more: %v", err)
	}
	if found := h.actionsOn(admin.MemberID); found["member.email_change_started"] != 2 || found["member.email_change_cancelled"] != 1 || found["member.email_changed"] != 1 {
		t.Errorf("the log says %v", found)
	}
}

func TestALinkThatConfirmsAnAddressEnds(t *testing.T) {
	for what, end := range map[string]func(h house, token string) error{
		"cancelled": func(h house, _ string) error {
			return h.CancelEmailChange(h.t.Context(), h.org.Owner, h.org.Admin.MemberID)
		},
		"a day later": func(h house, _ string) error { h.at(h.Now().Add(keyring.EmailChangeAge)); return nil },
		"suspended": func(h house, _ string) error {
			_, err := h.ChangeMember(h.t.Context(), h.org.Owner, h.org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended})
			return err
		},
		"removed": func(h house, _ string) error {
			_, err := h.ChangeMember(h.t.Context(), h.org.Owner, h.org.Admin.MemberID, keyring.MemberEdit{Status: account.Removed})
			return err
		},
		"its maker is no owner": func(h house, _ string) error {
			if _, err := h.ChangeMember(h.t.Context(), h.org.Owner, h.org.Support.MemberID, keyring.MemberEdit{Role: account.Owner}); err != nil {
				return err
			}
			_, err := h.ChangeMember(h.t.Context(), h.org.Owner, h.org.Owner.MemberID, keyring.MemberEdit{Role: account.Admin})
			return err
		},
		"the operator was faster": func(h house, _ string) error {
			_, err := h.SetEmail(h.t.Context(), h.org.Admin.Email, "operator@example.com")
			return err
		},
	} {
		h := newHouse(t)
		token := h.startEmail(h.org.Admin, "new@example.com")
		if err := end(h, token); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if _, err := h.EmailChangeFor(t.Context(), token); !errors.Is(err, keyring.ErrEmailChange) {
			t.Errorf("%s: the page: %v", what, err)
		}
		if err := h.confirmEmail(token, storetest.Password); !errors.Is(err, keyring.ErrEmailChange) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h := newHouse(t)
	if err := h.CancelEmailChange(t.Context(), h.org.Owner, h.org.Admin.MemberID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("cancelling nothing: %v", err)
	}
}

// TestAnEndedLinkStaysVoidWhenTheMemberIsReinstated undoes each loss of power that ended a pending link.
func TestAnEndedLinkStaysVoidWhenTheMemberIsReinstated(t *testing.T) {
	suspend, reinstate := keyring.MemberEdit{Status: account.Suspended}, keyring.MemberEdit{Status: account.Active}
	demote, promote := keyring.MemberEdit{Role: account.Admin}, keyring.MemberEdit{Role: account.Owner}
	for what, c := range map[string]struct {
		starter    bool // who loses their power: the owner who started the change, or the member whose address changes
		loss, gain keyring.MemberEdit
		cancelled  int
	}{
		"the member suspended":             {false, suspend, reinstate, 1},
		"the member demoted":               {false, keyring.MemberEdit{Role: account.Member}, demote, 0},
		"the starter suspended":            {true, suspend, reinstate, 1},
		"the starter demoted":              {true, demote, promote, 1},
		"the starter demoted, suspended":   {true, keyring.MemberEdit{Role: account.Admin, Status: account.Suspended}, keyring.MemberEdit{Role: account.Owner, Status: account.Active}, 1},
		"the member suspended and demoted": {false, keyring.MemberEdit{Role: account.Member, Status: account.Suspended}, keyring.MemberEdit{Role: account.Admin, Status: account.Active}, 1},
	} {
		h := newHouse(t)
		starter := h.promote(h.org.Support)
		_, token, err := h.StartEmailChange(t.Context(), starter, h.org.Admin.MemberID, keyring.EmailChangeDraft{Email: "new@example.com"})
		if err != nil {
			t.Fatal(err)
		}
		invitation, join, err := h.Invite(t.Context(), starter, keyring.InvitationDraft{Email: "invited@example.com", Role: "owner"})
		if err != nil {
			t.Fatal(err)
		}
		session, program := h.signedIn(h.org.Admin), h.logIn(h.org.Admin).Reveal()
		id := h.org.Admin.MemberID
		if c.starter {
			id = starter.MemberID
		}
		change, err := h.ChangeMember(t.Context(), h.org.Owner, id, c.loss)
		if err != nil || change.EmailChanges != c.cancelled {
			t.Fatalf("%s: %+v, %v", what, change, err)
		}
		if got := h.actionsOn(h.org.Admin.MemberID)["member.email_change_cancelled"]; got != c.cancelled {
			t.Errorf("%s: the log says %d times that the change was cancelled", what, got)
		}
		if _, err := h.ChangeMember(t.Context(), h.org.Owner, id, c.gain); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		var wantWaiting, wantConfirmed error
		if c.cancelled == 1 {
			wantWaiting, wantConfirmed = keyring.ErrNotFound, keyring.ErrEmailChange
		}
		if _, err := h.EmailChangeOf(t.Context(), h.org.Owner, h.org.Admin.MemberID); !errors.Is(err, wantWaiting) {
			t.Errorf("%s: the pending change: %v", what, err)
		}
		if err := h.confirmEmail(token.Reveal(), storetest.Password); !errors.Is(err, wantConfirmed) {
			t.Errorf("%s: the link: %v", what, err)
		}
		if _, err := h.Invitation(t.Context(), h.org.Owner, invitation.ID); errors.Is(err, keyring.ErrNotFound) != c.starter {
			t.Errorf("%s: the starter's invitation: %v", what, err)
		}
		if c.starter {
			h.joinRefused(what, join.Reveal(), keyring.ErrInvitation)
		} else if c.cancelled == 1 {
			h.refuse(what, program)
			if _, _, err := h.Actor(t.Context(), keyring.Visitor{}, session.SessionID); !errors.Is(err, keyring.ErrNotFound) {
				t.Errorf("%s: the session: %v", what, err)
			}
		}
	}
}

func TestAnAddressThatWasTakenMeanwhileIsNotGivenTwice(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	elsewhere, here := h.startEmail(h.org.Admin, other.Owner.Email), h.startEmail(h.org.Support, "new@example.com")
	if err := h.confirmEmail(elsewhere, storetest.Password); !errors.Is(err, keyring.ErrHasAccount) {
		t.Errorf("an address of another organisation: %v", err)
	}
	if _, err := h.SetEmail(t.Context(), h.org.Member.Email, "new@example.com"); err != nil {
		t.Fatal(err)
	}
	if err := h.confirmEmail(here, storetest.Password); !errors.Is(err, keyring.ErrHasAccount) {
		t.Errorf("an address that a member has by now: %v", err)
	}
	if _, err := h.SignIn(t.Context(), program, h.org.Admin.Email, storetest.Password); err != nil {
		t.Errorf("their earlier address: %v", err)
	}
}

// TestAnAddressIsConfirmedOnceWhateverComesAtOnce: two confirmations, and a suspension beside one.
func TestAnAddressIsConfirmedOnceWhateverComesAtOnce(t *testing.T) {
	h := newHouse(t)
	token := h.startEmail(h.org.Admin, "new@example.com")
	errs := make([]error, 4)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = h.confirmEmail(token, storetest.Password) })
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, keyring.ErrEmailChange) && input.ProblemsIn(err) == nil {
			t.Errorf("%v", err)
		}
	}
	if done != 1 || h.actionsOn(h.org.Admin.MemberID)["member.email_changed"] != 1 {
		t.Errorf("%d confirmations counted", done)
	}
	token = h.startEmail(h.org.Support, "newer@example.com")
	var confirmed, suspended error
	wg.Go(func() { confirmed = h.confirmEmail(token, storetest.Password) })
	wg.Go(func() {
		_, suspended = h.ChangeMember(t.Context(), h.org.Owner, h.org.Support.MemberID, keyring.MemberEdit{Status: account.Suspended})
	})
	wg.Wait()
	// Confirmed and then suspended, it may have been too late to begin a session.
	if suspended != nil || confirmed != nil && !errors.Is(confirmed, keyring.ErrEmailChange) && !errors.Is(confirmed, keyring.ErrCredentials) {
		t.Errorf("confirmed %v, suspended %v", confirmed, suspended)
	}
	var live int
	if err := h.db.QueryRow(`SELECT count(*) FROM sessions WHERE member_id = $1 AND ended_at IS NULL`, h.org.Support.MemberID).Scan(&live); err != nil || live != 0 {
		t.Errorf("%d sessions of somebody who is suspended, %v", live, err)
	}
}

// TestGuessesAtALinkFallUnderTheLimitsOfSigningIn guesses from many networks, over days, and beside the sign-in page.
func TestGuessesAtALinkFallUnderTheLimitsOfSigningIn(t *testing.T) {
	h := newHouse(t)
	now := time.Now()
	h.at(now)
	admin := h.org.Admin
	token := h.startEmail(admin, "new@example.com")
	guess := func(n int) bool {
		t.Helper()
		_, err := h.ConfirmEmail(t.Context(), visitorAt(n), token, wrong)
		if !isLocked(err) && input.ProblemsIn(err)["password"] == "" {
			t.Fatal(err)
		}
		return !isLocked(err)
	}
	evaluated := 0
	for range 30 {
		if guess(0) {
			evaluated++
		}
	}
	if evaluated != 10 {
		t.Errorf("%d guesses of one network were evaluated", evaluated)
	}
	if kinds := kindsOf(h.securityEvents(audit.SecurityFilter{})); kinds[audit.SignInFailed] != 10 || kinds[audit.SignInLocked] != 1 {
		t.Errorf("the events are %v", kinds)
	}
	for n := range 200 {
		h.at(now.Add(time.Duration(n) * 6 * time.Minute)) // 20 hours
		if guess(n + 1) {
			evaluated++
		}
	}
	if evaluated != 100 {
		t.Errorf("%d guesses were evaluated in a day", evaluated)
	}
	if _, err := h.ConfirmEmail(t.Context(), program, token, storetest.Password); !isLocked(err) {
		t.Errorf("the password, while it is locked: %v", err)
	}
	if _, err := h.SignIn(t.Context(), visitorAt(500), admin.Email, wrong); !isLocked(err) {
		t.Errorf("the same day's guesses at signing in: %v", err)
	}
	if _, err := h.ChangePassword(t.Context(), admin, storetest.Password, another); err != nil {
		t.Errorf("the member's own change of the password: %v", err)
	}
}

func kindsOf(events []audit.SecurityEvent) map[string]int {
	kinds := map[string]int{}
	for _, e := range events {
		kinds[e.Kind] += e.Count
	}
	return kinds
}

// TestAMemberIsLockedBeforeTheChangeOfTheirEmail: a transaction that waits for the member holds no change of an email meanwhile.
func TestAMemberIsLockedBeforeTheChangeOfTheirEmail(t *testing.T) {
	for name, change := range map[string]func(h house, token string) error{
		"confirming": func(h house, token string) error { return h.confirmEmail(token, storetest.Password) },
		"the operator": func(h house, _ string) error {
			_, err := h.SetEmail(h.t.Context(), h.org.Admin.Email, "newer@example.com")
			return err
		},
	} {
		h := newHouse(t)
		token := h.startEmail(h.org.Admin, "new@example.com")
		tx, err := h.db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(`SELECT FROM members WHERE id = $1 FOR NO KEY UPDATE`, h.org.Admin.MemberID); err != nil {
			t.Fatal(err)
		}
		changed := h.begun(func() error { return change(h, token) })
		if _, err := tx.Exec(`SELECT FROM email_changes WHERE member_id = $1 FOR UPDATE NOWAIT`, h.org.Admin.MemberID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := <-changed; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
