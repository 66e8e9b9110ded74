package keyring

import (
	"context"
	"errors"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// Membership is since when the actor is a member, and of which organisation.
func (r *Keyring) Membership(ctx context.Context, actor account.Actor) (store.Membership, error) {
	return r.store.Membership(ctx, actor.OrgID, actor.MemberID)
}

// RenameSelf gives the actor another name. Errors: input.Problems (name).
func (r *Keyring) RenameSelf(ctx context.Context, actor account.Actor, name string) error {
	name, err := readLabel(name, "Enter your name.")
	if err != nil {
		return input.Problems{"name": err.Error()}
	}
	return r.store.Mutate(ctx, actor, account.RenameSelf, func(tx *store.Tx) ([]audit.Change, error) {
		before, err := tx.RenameSelf(name)
		if err != nil || before == name {
			return nil, err
		}
		return []audit.Change{{Subject: self(actor), Before: audit.Facts{"name": before}, After: audit.Facts{"name": name}}}, nil
	})
}

// ChangePassword gives the actor another password and ends their other sessions, of browsers and of programs. It returns
// how many those were. The password that they have is asked for, and attempts are counted. Errors:
// input.Problems (currentPassword, newPassword), *LockedError, ErrUnavailable.
func (r *Keyring) ChangePassword(ctx context.Context, actor account.Actor, current, next string) (int, error) {
	membership, err := r.Membership(ctx, actor)
	if err != nil {
		return 0, err
	}
	problems := input.Problems{}
	member, err := r.confirm(ctx, actor, current)
	switch {
	case errors.Is(err, ErrCredentials):
		problems["currentPassword"] = wrongPassword
	case err != nil:
		return 0, err
	case normalPassword(next) == normalPassword(current):
		problems["newPassword"] = "This is the password that you have. Choose another."
	}
	problems.Add("newPassword", checkPassword(next, actor.Email, actor.Name, membership.Organisation))
	if err := problems.Err(); err != nil {
		return 0, err
	}
	hash, err := r.passwords.hash(ctx, next)
	if err != nil {
		return 0, err
	}
	var count int
	err = r.store.Mutate(ctx, actor, account.ChangePassword, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.ReplacePassword(member.PasswordHash, hash); err != nil {
			return nil, err
		}
		changes := []audit.Change{{Subject: self(actor), After: audit.Facts{"password": "changed"}}}
		ended, err := tx.EndOtherSessions()
		for _, id := range ended {
			changes = append(changes, sessionEnded(tx, id, actor.Email))
		}
		count = len(ended)
		return changes, err
	})
	if errors.Is(err, ErrNotFound) { // it was changed since it was compared
		return 0, input.Problems{"currentPassword": wrongPassword}
	}
	return count, err
}

// confirm returns the credentials of a signed-in actor if this is their password; ErrCredentials, *LockedError. Its attempts
// are counted apart from all others: failures from outside do not keep a member from changing the password.
func (r *Keyring) confirm(ctx context.Context, actor account.Actor, password string) (store.Credentials, error) {
	subject := confirmSubject(actor.MemberID)
	if _, err := r.countAttempts(ctx, []attemptLimit{{subject, confirmationsPerActor, attemptWindow, false}}); err != nil {
		return store.Credentials{}, err
	}
	member, err := r.store.CredentialsByEmail(ctx, actor.Email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return store.Credentials{}, err
	}
	matches, err := r.passwords.matches(ctx, password, member.PasswordHash)
	if err != nil {
		return store.Credentials{}, err
	}
	if !matches || member.ID != actor.MemberID {
		r.RecordSecurityEvent(audit.SecurityEvent{OrgID: actor.OrgID, Kind: audit.PasswordFailed, MemberID: actor.MemberID, Address: actor.Address})
		return store.Credentials{}, ErrCredentials
	}
	return member, r.store.ForgetAttempts(ctx, subject)
}

func confirmSubject(memberID string) string { return "password of " + memberID }

const wrongPassword = "This is not your password."

func self(actor account.Actor) audit.Subject {
	return audit.Subject{Kind: "member", ID: actor.MemberID, Name: actor.Email}
}
