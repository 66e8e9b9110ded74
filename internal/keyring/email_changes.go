package keyring

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// EmailChangeAge is how long the link works that confirms a new address.
const EmailChangeAge = 24 * time.Hour

// ErrEmailChange is the one answer to every link that confirms no address: used, cancelled, replaced, expired or made up.
var ErrEmailChange = errors.New("the link to confirm an address does not work")

// EmailChange is a change of a member's address that waits for its link to be opened.
type EmailChange = store.EmailChange

// EmailChangeDraft is the new address of a member, as typed.
type EmailChangeDraft struct {
	Email      string
	RequestKey string // the same request key again makes no other link, which would end the first; "" for none
}

// StartEmailChange makes a link with which a member confirms a new address. Its token is in the answer and nowhere else. A
// link that the member had before is void. Errors: input.Problems (email), ErrNotFound, ErrMemberState for a member who is
// not active, ErrForbidden, *RepeatedError. An account elsewhere with the address shows when the link is used.
func (r *Keyring) StartEmailChange(ctx context.Context, actor account.Actor, id string, draft EmailChangeDraft) (EmailChange, JoinToken, error) {
	if err := allow(actor, account.StartEmailChange); err != nil {
		return EmailChange{}, JoinToken{}, err
	}
	id, err := canonical(id)
	if err != nil {
		return EmailChange{}, JoinToken{}, err
	}
	email, err := readEmail(draft.Email)
	if err != nil {
		return EmailChange{}, JoinToken{}, input.Problems{"email": err.Error()}
	}
	token := JoinToken{rand.Text()} // 130 bits
	var made EmailChange
	err = r.store.Mutate(ctx, actor, account.StartEmailChange, func(tx *store.Tx) ([]audit.Change, error) {
		member, _, err := lockMember(tx, id)
		if err != nil {
			return nil, err
		}
		if member.Status != account.Active {
			return nil, ErrMemberState
		}
		if err := claim(tx, draft.RequestKey, uuid.NewString(), "email change", []string{id, email}); err != nil {
			return nil, err
		}
		if member.Email == email {
			return nil, input.Problems{"email": "This is the address that the account has. Enter another."}
		}
		taken, err := tx.IsMember(email)
		if err != nil {
			return nil, err
		}
		if taken {
			return nil, input.Problems{"email": "Another member of your organisation has this address."}
		}
		changes, err := cancelEmailChange(tx, member.ID)
		if err != nil {
			return nil, err
		}
		made, err = tx.InsertEmailChange(EmailChange{Member: member, Email: email, ExpiresAt: tx.Now().Add(EmailChangeAge)}, sha256.Sum256([]byte(token.text)))
		return append(changes, audit.Change{Subject: memberSubject(member), After: emailChangeFacts(made)}), err
	})
	if err != nil {
		return EmailChange{}, JoinToken{}, err
	}
	return made, token, nil
}

func emailChangeFacts(c EmailChange) audit.Facts {
	return audit.Facts{"email": c.Email, "expiresAt": c.ExpiresAt.Format(time.RFC3339)}
}

// CancelEmailChange makes the link void that confirms a member's new address; ErrNotFound when there is none.
func (r *Keyring) CancelEmailChange(ctx context.Context, actor account.Actor, id string) error {
	id, err := canonical(id)
	if err != nil {
		return err
	}
	return r.store.Mutate(ctx, actor, account.CancelEmailChange, func(tx *store.Tx) ([]audit.Change, error) {
		changes, err := cancelEmailChange(tx, id)
		if err == nil && len(changes) == 0 {
			err = ErrNotFound
		}
		return changes, err
	})
}

func cancelEmailChange(tx *store.Tx, memberID string) ([]audit.Change, error) {
	gone, err := tx.DeleteEmailChangesOf(memberID)
	return emailChangesCancelled(gone), err
}

// pending counts the changes whose link still worked.
func pending(tx *store.Tx, changes []EmailChange) (n int) {
	for _, c := range changes {
		if c.ExpiresAt.After(tx.Now()) {
			n++
		}
	}
	return n
}

func emailChangesCancelled(gone []EmailChange) []audit.Change {
	var out []audit.Change
	for _, c := range gone {
		out = append(out, audit.Change{Action: account.CancelEmailChange, Subject: memberSubject(c.Member), Before: emailChangeFacts(c)})
	}
	return out
}

// EmailChangeOf returns the change that waits for a member; ErrNotFound when there is none.
func (r *Keyring) EmailChangeOf(ctx context.Context, actor account.Actor, id string) (EmailChange, error) {
	return one(ctx, actor, account.StartEmailChange, id, r.store.EmailChangeOf)
}

// EmailChangesBy counts the pending changes that a member started: they are cancelled once the member is no active owner.
func (r *Keyring) EmailChangesBy(ctx context.Context, actor account.Actor, memberID string) (int, error) {
	return one(ctx, actor, account.StartEmailChange, memberID, r.store.EmailChangesBy)
}

// EmailChangeFor returns the change that a link confirms; ErrEmailChange when it does not work.
func (r *Keyring) EmailChangeFor(ctx context.Context, token string) (EmailChange, error) {
	change, err := r.store.EmailChangeByToken(ctx, sha256.Sum256([]byte(token)))
	if errors.Is(err, ErrNotFound) {
		err = ErrEmailChange
	}
	return change, err
}

// ConfirmEmail gives a member the address of a link, uses the link up, ends their sessions and signs them in. Their password
// is asked for under the limits of signing in, which their attempts to sign in fall under too. Invitations to the address are void. Keys and history stay with the member. Errors:
// ErrEmailChange, input.Problems (password), *LockedError, ErrHasAccount, and ErrStale when their role was lowered meanwhile.
// ErrCredentials means that the address is changed, and they were suspended or given another password just after.
func (r *Keyring) ConfirmEmail(ctx context.Context, from Visitor, token, password string) (Session, error) {
	waiting, err := r.EmailChangeFor(ctx, token)
	if err != nil {
		return Session{}, err
	}
	who := waiting.Member
	actor := account.Actor{OrgID: who.OrgID, MemberID: who.ID, Email: who.Email, Name: who.Name, Role: who.Role, Address: from.Address, UserAgent: from.UserAgent}
	member, err := r.authenticate(ctx, from, who.Email, password)
	switch {
	case errors.Is(err, ErrCredentials):
		if _, over := r.EmailChangeFor(ctx, token); over != nil { // the member was suspended, or the link used, meanwhile
			return Session{}, over
		}
		return Session{}, input.Problems{"password": wrongPassword}
	case err != nil:
		return Session{}, err
	case member.ID != who.ID: // they got another address meanwhile, and another member theirs
		return Session{}, ErrEmailChange
	}
	err = r.store.Mutate(ctx, actor, account.ChangeEmail, func(tx *store.Tx) ([]audit.Change, error) {
		if _, _, err := tx.LockMember(who.ID); err != nil { // before the change, as in StartEmailChange and ChangeMember
			return nil, err
		}
		used, err := tx.UseEmailChange(sha256.Sum256([]byte(token)))
		if err != nil {
			return nil, err
		}
		if err := tx.ReplaceEmail(member, used.Email); err != nil {
			return nil, err
		}
		return emailChanged(tx, member.Person, used.Email)
	})
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, store.ErrUnauthenticated): // used, or the member was suspended or changed meanwhile
		return Session{}, ErrEmailChange
	case errors.Is(err, ErrTaken):
		return Session{}, ErrHasAccount
	case errors.Is(err, ErrForbidden):
		return Session{}, ErrStale
	case err != nil:
		return Session{}, err
	}
	member.Email = waiting.Email
	return r.beginSession(ctx, from, member, store.BrowserSession)
}

// emailChanged tells that a member has another address, ends their sessions, and makes invitations to it void.
func emailChanged(tx *store.Tx, member account.Person, email string) ([]audit.Change, error) {
	before := member.Email
	member.Email = email
	changes := []audit.Change{{Action: account.ChangeEmail, Subject: memberSubject(member), Before: audit.Facts{"email": before}, After: audit.Facts{"email": email}}}
	void, err := withdrawOwn(tx, member)
	if err != nil {
		return nil, err
	}
	if !tx.Actor().May(account.WithdrawInvite) { // then the member has as good as accepted it, and this event tells
		void = nil
	}
	ended, err := endAllSessions(tx, member.ID, email)
	return append(append(changes, void...), ended...), err
}

// SetEmail gives a member another address and ends their sessions. It is the operator's. Errors: input.Problems (email, new),
// ErrNotFound, ErrTaken when the address has an account.
func (r *Keyring) SetEmail(ctx context.Context, email, next string) (account.Person, error) {
	problems := input.Problems{}
	email, err := input.Email(email)
	problems.Add("email", err)
	next, err = readEmail(next)
	problems.Add("new", err)
	if err == nil && next == email {
		problems["new"] = "This is the address that the account has."
	}
	if err := problems.Err(); err != nil {
		return account.Person{}, err
	}
	member, err := r.store.CredentialsByEmail(ctx, email)
	if err != nil {
		return account.Person{}, err
	}
	err = r.store.Mutate(ctx, Operator(member.OrgID), account.ChangeEmail, func(tx *store.Tx) ([]audit.Change, error) {
		if _, _, err := tx.LockMember(member.ID); err != nil { // before the change that waits, as everywhere
			return nil, err
		}
		cancelled, err := cancelEmailChange(tx, member.ID)
		if err != nil {
			return nil, err
		}
		if err := tx.SetEmail(member.ID, next); err != nil {
			return nil, err
		}
		changes, err := emailChanged(tx, member.Person, next)
		return append(cancelled, changes...), err
	})
	member.Email = next
	return member.Person, err
}
