package keyring_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const newPassword = "seven quiet herons wade"

func TestOneTimeLinksHoldAtLeast128Bits(t *testing.T) {
	h := newHouse(t)
	setup, err := keyring.New(storetest.New(t)).SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{
		"a set-up link": setup, "an invitation": h.invite("new@example.test", string(account.Member)), "a change of an email": h.startEmail(h.org.Member, "other@example.test"),
	} {
		if !regexp.MustCompile(`^[A-Z2-7]{26,}$`).MatchString(token) { // base32 has 5 bits a character
			t.Errorf("%s has the token %q", what, token)
		}
	}
}

// invite makes a link by the owner.
func (h house) invite(email, role string) string {
	h.t.Helper()
	_, token, err := h.Invite(h.t.Context(), h.org.Owner, keyring.InvitationDraft{Email: email, Role: role})
	if err != nil {
		h.t.Fatal(err)
	}
	return token.Reveal()
}

// join accepts a link, and returns who came.
func (h house) join(token, name string) account.Actor {
	h.t.Helper()
	session, err := h.Join(h.t.Context(), program, token, name, newPassword)
	if err != nil {
		h.t.Fatal(err)
	}
	actor, _, err := h.Actor(h.t.Context(), program, session.ID)
	if err != nil {
		h.t.Fatal(err)
	}
	return actor
}

func (h house) joinRefused(what, token string, want error) {
	h.t.Helper()
	if _, err := h.Join(h.t.Context(), program, token, "Noor", newPassword); !errors.Is(err, want) {
		h.t.Errorf("%s: %v", what, err)
	}
}

func TestAnInvitationLetsOnePersonInOnce(t *testing.T) {
	h := newHouse(t)
	since := h.lastEvent()
	token := h.invite(" Noor@Example.COM ", "admin")
	found, err := h.InvitationFor(t.Context(), token)
	if err != nil || found.Email != "noor@example.com" || found.Role != account.Admin || found.Organisation != h.org.Name || found.By.ID != h.org.Owner.MemberID ||
		found.ExpiresAt.Sub(found.CreatedAt) != 7*24*time.Hour {
		t.Fatalf("%+v, %v", found, err)
	}
	noor := h.join(token, "Noor")
	if noor.Email != "noor@example.com" || noor.Role != account.Admin || noor.Name != "Noor" || noor.OrgID != h.org.ID {
		t.Errorf("%+v", noor)
	}
	if _, err := h.SignIn(t.Context(), program, "noor@example.com", newPassword); err != nil {
		t.Errorf("signing in: %v", err)
	}
	h.joinRefused("a second time", token, keyring.ErrInvitation)
	if _, err := h.InvitationFor(t.Context(), token); !errors.Is(err, keyring.ErrInvitation) {
		t.Errorf("the form again: %v", err)
	}
	got := h.happened(since)
	if fmt.Sprint(got) != "[member.invited noor@example.com member.joined noor@example.com session.started noor@example.com session.started noor@example.com]" {
		t.Errorf("the audit log says %v", got)
	}
	var by string
	if err := h.db.QueryRow(`SELECT actor_id FROM audit_events WHERE org_id = $1 AND action = 'member.joined'`, h.org.ID).Scan(&by); err != nil || by != noor.MemberID {
		t.Errorf("joined by %s, %v", by, err)
	}
}

// TestALinkThatIsOverLetsNobodyIn ends links in every way that there is.
func TestALinkThatIsOverLetsNobodyIn(t *testing.T) {
	h := newHouse(t)
	h.joinRefused("a made-up one", "AAAAAAAAAAAAAAAAAAAAAAAAAA", keyring.ErrInvitation)
	h.joinRefused("none", "", keyring.ErrInvitation)
	h.joinRefused("one with a NUL", "x\x00", keyring.ErrInvitation)

	now := time.Now()
	h.at(now)
	token := h.invite("late@example.com", "member")
	h.at(now.Add(7 * 24 * time.Hour))
	h.joinRefused("an expired one", token, keyring.ErrInvitation)
	h.at(now)

	invitation, secret, err := h.Invite(t.Context(), h.org.Owner, keyring.InvitationDraft{Email: "back@example.com", Role: "member"})
	if err != nil {
		t.Fatal(err)
	}
	for who, want := range map[*account.Actor]error{&h.org.Admin: keyring.ErrForbidden, &h.org.Support: keyring.ErrForbidden} {
		if _, err := h.WithdrawInvitation(t.Context(), *who, invitation.ID); !errors.Is(err, want) {
			t.Errorf("withdrawn by %s: %v", who.Email, err)
		}
	}
	other := storetest.Organisation(t, h.store)
	if _, err := h.WithdrawInvitation(t.Context(), other.Owner, invitation.ID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("withdrawn by another organisation: %v", err)
	}
	if _, err := h.Invitation(t.Context(), other.Owner, invitation.ID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("seen by another organisation: %v", err)
	}
	if _, err := h.WithdrawInvitation(t.Context(), h.org.Owner, invitation.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := h.WithdrawInvitation(t.Context(), h.org.Owner, invitation.ID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("withdrawn twice: %v", err)
	}
	h.joinRefused("a withdrawn one", secret.Reveal(), keyring.ErrInvitation)

	first := h.invite("again@example.com", "owner")
	second := h.invite("again@example.com", "support")
	h.joinRefused("a replaced one", first, keyring.ErrInvitation)
	if came := h.join(second, "Again"); came.Role != account.Support {
		t.Errorf("the newer one: %+v", came)
	}
	list, err := h.Invitations(t.Context(), h.org.Support, "", 50)
	if err != nil || len(list) != 1 || list[0].Email != "late@example.com" {
		t.Errorf("the list says %+v, %v", list, err)
	}
}

// TestALinkIsVoidWithoutItsMaker demotes, suspends and removes an owner whose links are about.
func TestALinkIsVoidWithoutItsMaker(t *testing.T) {
	for name, edit := range map[string]keyring.MemberEdit{"demoted": {Role: account.Admin}, "suspended": {Status: account.Suspended}, "removed": {Status: account.Removed}} {
		h := newHouse(t)
		second := h.promote(h.org.Admin)
		_, backDoor, err := h.Invite(t.Context(), second, keyring.InvitationDraft{Email: "back-door@example.com", Role: "owner"})
		if err != nil {
			t.Fatal(err)
		}
		good := h.invite("good@example.com", "member")
		since := h.lastEvent()
		change, err := h.ChangeMember(t.Context(), h.org.Owner, second.MemberID, edit)
		if err != nil || change.Links != 1 {
			t.Fatalf("%s: %+v, %v", name, change, err)
		}
		if got := h.happened(since); len(got) != 2 || got[1] != "member.invitation_withdrawn back-door@example.com" {
			t.Errorf("%s: the audit log says %v", name, got)
		}
		h.joinRefused(name, backDoor.Reveal(), keyring.ErrInvitation)
		if _, _, err := h.Invite(t.Context(), second, keyring.InvitationDraft{Email: "new@example.com", Role: "owner"}); !errors.Is(err, keyring.ErrForbidden) {
			t.Errorf("%s: invites with the role that they had: %v", name, err)
		}
		h.join(good, "Good")
		// Whatever else made them none: the link is void all the same.
		left := h.invite("left@example.com", "member")
		if _, err := h.db.Exec(`UPDATE members SET status = 'suspended' WHERE id = $1`, h.org.Owner.MemberID); err != nil {
			t.Fatal(err)
		}
		h.joinRefused("of an owner who is none", left, keyring.ErrInvitation)
	}
}

// TestALinkIsVoidOnceItsAddressHasAnAccount has the operator make one meanwhile: the link would let its holder in again
// after they are removed.
func TestALinkIsVoidOnceItsAddressHasAnAccount(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	token := h.invite("two-ways@example.com", "owner")
	elsewhere, _, err := h.Invite(t.Context(), other.Owner, keyring.InvitationDraft{Email: "two-ways@example.com", Role: "member"})
	if err != nil {
		t.Fatal(err)
	}
	since := h.lastEvent()
	made, err := h.CreateMember(t.Context(), keyring.MemberDraft{Organisation: h.org.Name, Email: "Two-Ways@example.com", Name: "Two Ways", Role: "member", Password: another})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.happened(since); len(got) != 2 || got[1] != "member.invitation_withdrawn two-ways@example.com" {
		t.Errorf("the audit log says %v", got)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, made.ID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	h.joinRefused("after the operator's account was removed", token, keyring.ErrInvitation)
	if left, err := h.Invitations(t.Context(), other.Owner, "", 50); err != nil || len(left) != 1 || left[0].ID != elsewhere.ID {
		t.Errorf("another organisation's invitation: %+v, %v", left, err)
	}
}

// TestALinkIsNotRenewedForWhoJoinsAtThatMoment has an owner press “New link” while the first one is used.
func TestALinkIsNotRenewedForWhoJoinsAtThatMoment(t *testing.T) {
	h := newHouse(t)
	token := h.invite("now@example.com", "owner")
	joining := account.Actor{OrgID: h.org.ID, MemberID: uuid.NewString(), Email: "now@example.com", Role: account.Owner}
	var renewed <-chan error
	err := h.store.Mutate(t.Context(), joining, account.JoinMember, func(tx *store.Tx) ([]audit.Change, error) {
		if _, err := tx.UseInvitation(sha256.Sum256([]byte(token))); err != nil {
			return nil, err
		}
		if _, err := tx.InsertMember(account.Person{ID: joining.MemberID, Email: joining.Email, Role: joining.Role}, "none"); err != nil {
			return nil, err
		}
		renewed = h.begun(func() error {
			_, _, err := h.Invite(t.Context(), h.org.Owner, keyring.InvitationDraft{Email: joining.Email, Role: "owner"})
			return err
		})
		return []audit.Change{{Subject: audit.Subject{Kind: "member", ID: joining.MemberID, Name: joining.Email}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-renewed; input.ProblemsIn(err)["email"] == "" {
		t.Errorf("a member got a new link: %v", err)
	}
	if left, err := h.Invitations(t.Context(), h.org.Owner, "", 50); err != nil || len(left) != 0 {
		t.Errorf("left are %+v, %v", left, err)
	}
}

// TestALinkIsVoidOnceItsAddressIsRemoved removes a member whose address is invited all the same, as no use case lets it be.
func TestALinkIsVoidOnceItsAddressIsRemoved(t *testing.T) {
	h := newHouse(t)
	token := h.invite("other@example.com", "owner")
	if _, err := h.db.Exec(`UPDATE invitations SET email = $1 WHERE email = 'other@example.com'`, h.org.Support.Email); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Support.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	h.joinRefused("after the member was removed", token, keyring.ErrInvitation)
}

// TestExpiredInvitationsAreListedForAMonth and go with their maker, but are no links that stop working.
func TestExpiredInvitationsAreListedForAMonth(t *testing.T) {
	h := newHouse(t)
	second := h.promote(h.org.Admin)
	now := time.Now()
	for _, invited := range []struct {
		days  int
		email string
	}{{-38, "month@example.com"}, {-10, "week@example.com"}, {-1, "live@example.com"}} {
		h.at(now.AddDate(0, 0, invited.days))
		if _, _, err := h.Invite(t.Context(), second, keyring.InvitationDraft{Email: invited.email, Role: "member"}); err != nil {
			t.Fatal(err)
		}
	}
	listed := func() (out []string) {
		t.Helper()
		list, err := h.Invitations(t.Context(), h.org.Owner, "", 50)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			out = append(out, i.Email)
		}
		return out
	}
	h.at(now)
	if got := fmt.Sprint(listed()); got != "[live@example.com week@example.com month@example.com]" {
		t.Errorf("listed are %s", got)
	}
	if err := h.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(listed()); got != "[live@example.com week@example.com]" {
		t.Errorf("after sweeping: %s", got)
	}
	if n, err := h.InvitationsBy(t.Context(), h.org.Owner, second.MemberID); n != 1 || err != nil {
		t.Errorf("%d links work, %v", n, err)
	}
	change, err := h.ChangeMember(t.Context(), h.org.Owner, second.MemberID, keyring.MemberEdit{Role: account.Admin})
	if err != nil || change.Links != 1 || len(listed()) != 0 {
		t.Errorf("%+v, %v, left are %v", change, err, listed())
	}
}

func TestWhoCanBeInvited(t *testing.T) {
	h := newHouse(t)
	other := storetest.Organisation(t, h.store)
	for field, attempts := range map[string][][2]string{
		"email": {{"", "member"}, {"x", "member"}, {"a\x00@example.com", "member"}, {strings.Repeat("a", 300) + "@example.com", "member"}, {h.org.Support.Email, "member"}, {strings.ToUpper(h.org.Support.Email), "member"}},
		"role":  {{"new@example.com", ""}, {"new@example.com", "operator"}, {"new@example.com", "Admin"}},
	} {
		for _, a := range attempts {
			_, _, err := h.Invite(t.Context(), h.org.Owner, keyring.InvitationDraft{Email: a[0], Role: a[1]})
			if problems := input.ProblemsIn(err); problems[field] == "" || len(problems) != 1 {
				t.Errorf("%q as %q: %v", a[0], a[1], err)
			}
		}
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Support.MemberID, keyring.MemberEdit{Status: account.Suspended}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := h.Invite(t.Context(), h.org.Owner, keyring.InvitationDraft{Email: h.org.Support.Email, Role: "member"}); input.ProblemsIn(err)["email"] == "" {
		t.Errorf("a suspended member: %v", err)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Support.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	back := h.join(h.invite(h.org.Support.Email, "admin"), "Back again")
	if back.MemberID == h.org.Support.MemberID || back.Email != h.org.Support.Email {
		t.Errorf("who comes back is %+v", back)
	}
	// Whether an address has an account elsewhere is not told to who invites, but to who holds the link.
	token := h.invite(other.Admin.Email, "member")
	h.joinRefused("with an account elsewhere", token, keyring.ErrHasAccount)
	if _, err := h.ChangeMember(t.Context(), other.Owner, other.Admin.MemberID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	if came := h.join(token, "Came over"); came.OrgID != h.org.ID {
		t.Errorf("once they were removed there: %+v", came)
	}
}

func TestAMistakeInJoiningDoesNotUseTheLinkUp(t *testing.T) {
	h := newHouse(t)
	token := h.invite("noor@example.com", "member")
	for field, typed := range map[string][][2]string{
		"name":     {{"", newPassword}, {strings.Repeat("x", 101), newPassword}, {"x\x00", newPassword}, {"\u202e", newPassword}},
		"password": {{"Noor", ""}, {"Noor", "too short"}, {"Noor", "noor@example.com noor"}, {"Noor", strings.Repeat("long words ", 40)}, {"Noor", "\xff" + newPassword}},
	} {
		for _, a := range typed {
			_, err := h.Join(t.Context(), program, token, a[0], a[1])
			if problems := input.ProblemsIn(err); problems[field] == "" || len(problems) != 1 {
				t.Errorf("%q: %v", a, err)
			}
		}
	}
	h.join(token, "Noor")
}

// TestOfTwoWhoAcceptAtOnceOneJoins sends one link twice at the same moment.
func TestOfTwoWhoAcceptAtOnceOneJoins(t *testing.T) {
	h := newHouse(t)
	for i := range 5 {
		token := h.invite(fmt.Sprintf("two%d@example.com", i), "admin")
		errs := make([]error, 2)
		start := make(chan struct{})
		var both sync.WaitGroup
		for n := range errs {
			both.Go(func() {
				<-start
				_, errs[n] = h.Join(t.Context(), program, token, fmt.Sprint("Number ", n), newPassword)
			})
		}
		close(start)
		both.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), keyring.ErrInvitation) {
			t.Errorf("turn %d: %v", i, errs)
		}
	}
}

func TestTheTokenOfALinkIsNotPrinted(t *testing.T) {
	h := newHouse(t)
	_, token, err := h.Invite(t.Context(), h.org.Owner, keyring.InvitationDraft{Email: "noor@example.com", Role: "member"})
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s %q", token, token, token, token, []any{token}); strings.Contains(text, token.Reveal()) {
		t.Error(text)
	}
}
