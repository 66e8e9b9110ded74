package keyring

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// unconfined returns ErrHandOut when a key acts that is confined to a part of the organisation: such a key changes nothing
// that is the whole organisation's. Nothing confines a person so.
func unconfined(tx *store.Tx) error {
	actor := tx.Actor()
	if actor.KeyID == "" {
		return nil
	}
	acting, err := tx.Key(actor.KeyID)
	if err == nil && (acting.WorkspaceID != "" || acting.ProcessID != "" || acting.ProfileID != "" || acting.Environment == apikey.Test) {
		err = ErrHandOut
	}
	return err
}

// Profiles lists the organisation's bias profiles.
func (r *Keyring) Profiles(ctx context.Context, actor account.Actor) ([]apikey.Profile, error) {
	return seen(actor, account.ReadConfig, func() ([]apikey.Profile, error) { return r.store.Profiles(ctx, actor.OrgID) })
}

// Profile returns a bias profile, or ErrNotFound.
func (r *Keyring) Profile(ctx context.Context, actor account.Actor, id string) (apikey.Profile, error) {
	return one(ctx, actor, account.ReadConfig, id, r.store.ProfileByID)
}

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
