package keyring

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// InvitationAge is how long the link of an invitation works.
const InvitationAge = 7 * 24 * time.Hour

// Errors about invitations.
var (
	// ErrInvitation is the one answer to every link that lets nobody in: used, withdrawn, replaced, expired or made up.
	ErrInvitation = errors.New("the invitation does not work any more")
	// ErrHasAccount says that an address can't join: somebody signs in with it already, here or elsewhere.
	ErrHasAccount = fmt.Errorf("the invited address has an account already: %w", ErrTaken)
)

// JoinToken is the part of an invitation's link that lets somebody in. It redacts itself wherever it is printed, logged or
// encoded.
type JoinToken struct{ text string }

// Reveal returns the token's text. A test lists the only files that may call it.
func (t JoinToken) Reveal() string { return t.text }

const redactedJoinToken = "[redacted invitation]"

func (t JoinToken) String() string               { return redactedJoinToken }
func (t JoinToken) GoString() string             { return redactedJoinToken }
func (t JoinToken) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redactedJoinToken)) }
func (t JoinToken) LogValue() slog.Value         { return slog.StringValue(redactedJoinToken) }
func (t JoinToken) MarshalText() ([]byte, error) { return []byte(redactedJoinToken), nil }

// InvitationDraft is whom somebody asks to join, as typed.
type InvitationDraft struct {
	Email, Role string
	RequestKey  string // the same request key again does not make another link, which would end the first; "" for none
}

// Invite makes a link with which somebody joins the actor's organisation. Its token is in the answer and nowhere else.
// Inviting an address again makes the link before void. Errors: input.Problems (email, role), ErrForbidden also for an
// actor who has just lost the role. Whether the address has an account elsewhere is not told by inviting; whoever holds the
// link, the inviter too, learns it by joining, since nothing proves that the address is theirs. *RepeatedError when the same
// request made a link before.
func (r *Keyring) Invite(ctx context.Context, actor account.Actor, draft InvitationDraft) (Invitation, JoinToken, error) {
	if err := allow(actor, account.InviteMember); err != nil {
		return Invitation{}, JoinToken{}, err
	}
	var asked Invitation
	problems := input.Problems{}
	var err error
	asked.Email, err = readEmail(draft.Email)
	problems.Add("email", err)
	asked.Role, err = ReadRole(draft.Role)
	problems.Add("role", err)
	if err := problems.Err(); err != nil {
		return Invitation{}, JoinToken{}, err
	}
	token := JoinToken{rand.Text()} // 130 bits
	var made Invitation
	err = r.store.Mutate(ctx, actor, account.InviteMember, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.HoldOwner(); err != nil { // who is sent away meanwhile leaves no link behind
			return nil, err
		}
		if err := claim(tx, draft.RequestKey, uuid.NewString(), "invite", []string{asked.Email, string(asked.Role)}); err != nil {
			return nil, err
		}
		asked.ExpiresAt = tx.Now().Add(InvitationAge)
		var before Invitation
		if made, before, err = tx.InsertInvitation(asked, sha256.Sum256([]byte(token.text))); err != nil {
			return nil, err
		}
		here, err := tx.IsMember(asked.Email) // asked now, since who joins by the earlier link was waited for
		if err != nil {
			return nil, err
		}
		if here {
			return nil, input.Problems{"email": "This address belongs to a member of your organisation already."}
		}
		change := audit.Change{Subject: invitationSubject(made), After: invitationFacts(made)}
		if before.ID != "" {
			change.Before = invitationFacts(before)
		}
		return []audit.Change{change}, nil
	})
	if err != nil {
		return Invitation{}, JoinToken{}, err
	}
	return made, token, nil
}

func invitationSubject(i Invitation) audit.Subject {
	return audit.Subject{Kind: "invitation", ID: i.ID, Name: i.Email}
}

func invitationFacts(i Invitation) audit.Facts {
	return audit.Facts{"email": i.Email, "role": i.Role, "invitedBy": i.By.Email, "expiresAt": i.ExpiresAt.Format(time.RFC3339)}
}

// Invitations lists the organisation's invitations whose address has the text, at most limit of them: those that work
// first, the newest of them first, and then those that have expired.
func (r *Keyring) Invitations(ctx context.Context, actor account.Actor, text string, limit int) ([]Invitation, error) {
	return seen(actor, account.ReadMembers, func() ([]Invitation, error) { return r.store.Invitations(ctx, actor.OrgID, text, limit) })
}

// InvitationsBy counts the invitations that a member made and that have not expired: those that stop working with them.
func (r *Keyring) InvitationsBy(ctx context.Context, actor account.Actor, memberID string) (int, error) {
	return one(ctx, actor, account.ReadMembers, memberID, r.store.InvitationsBy)
}

// Invitation returns an invitation, or ErrNotFound.
func (r *Keyring) Invitation(ctx context.Context, actor account.Actor, id string) (Invitation, error) {
	return one(ctx, actor, account.ReadMembers, id, r.store.InvitationByID)
}

// WithdrawInvitation makes an invitation's link void; ErrNotFound for one that is gone.
func (r *Keyring) WithdrawInvitation(ctx context.Context, actor account.Actor, id string) (Invitation, error) {
	if err := allow(actor, account.WithdrawInvite); err != nil {
		return Invitation{}, err
	}
	id, err := canonical(id)
	if err != nil {
		return Invitation{}, err
	}
	var gone Invitation
	err = r.store.Mutate(ctx, actor, account.WithdrawInvite, func(tx *store.Tx) ([]audit.Change, error) {
		gone, err = tx.DeleteInvitation(id)
		return withdrawn(gone), err
	})
	return gone, err
}

func withdrawn(gone ...Invitation) []audit.Change {
	var out []audit.Change
	for _, i := range gone {
		out = append(out, audit.Change{Action: account.WithdrawInvite, Subject: invitationSubject(i), Before: invitationFacts(i)})
	}
	return out
}

// withdrawAll cancels the invitations and email changes of a member who is no active owner any more, so that they neither come
// back nor let others in by a link that they made. It counts those that had not expired.
func withdrawAll(tx *store.Tx, p account.Person, done *MemberChange) ([]audit.Change, error) {
	started, err := tx.DeleteEmailChangesBy(p.ID)
	if err != nil {
		return nil, err
	}
	gone, err := tx.DeleteInvitationsBy(p.ID)
	for _, i := range gone {
		if i.ExpiresAt.After(tx.Now()) {
			done.Links++
		}
	}
	done.EmailChanges = pending(tx, started)
	return append(withdrawn(gone...), emailChangesCancelled(started)...), err
}

// withdrawOwn makes the link void to the address of somebody who came in without it, or goes: it would let them in again.
func withdrawOwn(tx *store.Tx, p account.Person) ([]audit.Change, error) {
	gone, err := tx.DeleteInvitationsTo(p.Email)
	return withdrawn(gone...), err
}

// InvitationFor returns what a link invites to, for whoever holds its token; ErrInvitation when it does not work any more.
func (r *Keyring) InvitationFor(ctx context.Context, token string) (Invitation, error) {
	invitation, err := r.store.InvitationByToken(ctx, sha256.Sum256([]byte(token)))
	if errors.Is(err, ErrNotFound) {
		err = ErrInvitation
	}
	return invitation, err
}

// Join makes whoever holds an invitation's token a member, uses the link up, and signs them in. Errors: ErrInvitation,
// input.Problems (name, password), ErrHasAccount.
func (r *Keyring) Join(ctx context.Context, from Visitor, token, name, password string) (Session, error) {
	invitation, err := r.InvitationFor(ctx, token) // before an expensive hash is computed for anybody
	if err != nil {
		return Session{}, err
	}
	person := account.Person{ID: uuid.Must(uuid.NewV7()).String(), OrgID: invitation.OrgID, Email: invitation.Email, Role: invitation.Role}
	problems := input.Problems{}
	person.Name, err = readLabel(name, "Enter your name.")
	problems.Add("name", err)
	problems.Add("password", checkPassword(password, person.Email, invitation.Organisation, person.Name))
	if err := problems.Err(); err != nil {
		return Session{}, err
	}
	hash, err := r.passwords.hash(ctx, password)
	if err != nil {
		return Session{}, err
	}
	actor := account.Actor{OrgID: person.OrgID, MemberID: person.ID, Email: person.Email, Name: person.Name, Role: person.Role,
		Address: from.Address, UserAgent: from.UserAgent}
	err = r.store.Mutate(ctx, actor, account.JoinMember, func(tx *store.Tx) ([]audit.Change, error) {
		used, err := tx.UseInvitation(sha256.Sum256([]byte(token)))
		if errors.Is(err, ErrNotFound) {
			return nil, ErrInvitation
		}
		if err != nil {
			return nil, err
		}
		if person, err = tx.InsertMember(person, hash); err != nil {
			return nil, err
		}
		change := memberChange(person)
		change.After["invitedBy"] = used.By.Email
		return []audit.Change{change}, nil
	})
	if errors.Is(err, ErrTaken) {
		err = ErrHasAccount
	}
	if err != nil {
		return Session{}, err
	}
	return r.beginSession(ctx, from, store.Credentials{Person: person, PasswordHash: hash}, store.BrowserSession)
}
