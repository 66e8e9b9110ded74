package keyring

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/account"
)

// Members lists the organisation's members.
func (r *Keyring) Members(ctx context.Context, actor account.Actor) ([]account.Person, error) {
	return seen(actor, account.ReadMembers, func() ([]account.Person, error) { return r.store.Members(ctx, actor.OrgID) })
}

// Member returns a member, or ErrNotFound.
func (r *Keyring) Member(ctx context.Context, actor account.Actor, id string) (account.Person, error) {
	return one(ctx, actor, account.ReadMembers, id, r.store.MemberByID)
}
