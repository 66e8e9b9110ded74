package keyring

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/store"
)

// unconfined returns ErrReach when a key acts that is confined to a part of the organisation: such a key changes nothing
// that is the whole organisation's. Addresses confine from where it acts, and not what it reaches.
func unconfined(tx *store.Tx) error { return reaches(tx, "", "") }

// seen reads what the actor may see of the organisation.
func seen[T any](actor account.Actor, action account.Action, read func() (T, error)) (found T, err error) {
	if err := allow(actor, action); err != nil {
		return found, err
	}
	return read()
}

func one[T any](ctx context.Context, actor account.Actor, action account.Action, id string, read func(ctx context.Context, orgID, id string) (T, error)) (T, error) {
	return seen(actor, action, func() (found T, err error) {
		if id, err = canonical(id); err != nil {
			return found, err
		}
		return read(ctx, actor.OrgID, id)
	})
}
