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
// how many of those were in use. The password that they have is asked for, and counted, as signing in does. Errors:
// input.Problems (currentPassword, newPassword), *LockedError, ErrUnavailable.
func (r *Keyring) ChangePassword(ctx context.Context, actor account.Actor, current, next string) (int, error) {
	membership, err := r.Membership(ctx, actor)
	if err != nil {
		return 0, err
	}
	problems := input.Problems{}
	member, err := r.authenticate(ctx, Visitor{actor.Address, actor.UserAgent}, actor.Email, current)
	switch {
	case errors.Is(err, ErrCredentials) || err == nil && member.ID != actor.MemberID:
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
	var live int
	err = r.store.Mutate(ctx, actor, account.ChangePassword, func(tx *store.Tx) ([]audit.Change, error) {
		if err := tx.ReplacePassword(member.PasswordHash, hash); err != nil {
			return nil, err
		}
		changes := []audit.Change{{Subject: self(actor), After: audit.Facts{"password": "changed"}}}
		ended, inUse, err := tx.EndOtherSessions()
		for _, id := range ended {
			changes = append(changes, sessionEnded(tx, id, actor.Email))
		}
		live = inUse
		return changes, err
	})
	if errors.Is(err, ErrNotFound) { // it was changed since it was compared
		return 0, input.Problems{"currentPassword": wrongPassword}
	}
	return live, err
}

const wrongPassword = "This is not your password."

func self(actor account.Actor) audit.Subject {
	return audit.Subject{Kind: "member", ID: actor.MemberID, Name: actor.Email}
}
