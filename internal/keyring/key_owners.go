package keyring

import (
	"cmp"
	"context"
	"slices"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// OwnerFilter is what the list of key owners is narrowed to.
type OwnerFilter = store.OwnerFilter

// OwnerPage is a part of the list of key owners.
type OwnerPage = Page[store.OwnerRow]

// KeyOwnerFigures lists the members who own keys, and their keys in figures. Errors: ErrCursor, and ErrNotFound for another
// organisation's cursor.
func (r *Keyring) KeyOwnerFigures(ctx context.Context, actor account.Actor, filter OwnerFilter, cursor string, limit int) (OwnerPage, error) {
	if err := allow(actor, account.ReadKeys); err != nil {
		return OwnerPage{}, err
	}
	return listed(r.cursors, actor, listID("key owners", filter), cursor, func(at apikey.Position) (store.Page[store.OwnerRow], error) {
		return r.store.KeyOwnerFigures(ctx, actor.OrgID, filter, at, limit)
	})
}

// OwnedKeys is a member, how many live keys they own, and the busiest of those in the last 24 hours.
type OwnedKeys struct {
	LiveKeys
	Owner   account.Person
	Busiest []KeyInUse
}

const busiestShown = 5

// OwnedKeys looks at what would change if all of a member's live keys did; ErrNotFound for nobody of the organisation.
func (r *Keyring) OwnedKeys(ctx context.Context, actor account.Actor, id string) (OwnedKeys, error) {
	var o OwnedKeys
	var err error
	if o.Owner, err = r.Person(ctx, actor, id); err != nil {
		return o, err
	}
	if o.LiveKeys, err = r.store.LiveKeysOf(ctx, actor.OrgID, o.Owner.ID); err != nil {
		return o, err
	}
	o.Busiest, err = r.BusiestKeys(ctx, actor, o.Owner.ID)
	return o, err
}

// BusiestKeys are those of a member's live keys that most requests of the last 24 hours came with, the first first.
func (r *Keyring) BusiestKeys(ctx context.Context, actor account.Actor, id string) ([]KeyInUse, error) {
	ids, err := one(ctx, actor, account.ReadKeys, id, func(ctx context.Context, orgID, id string) ([]string, error) {
		return r.store.BusiestKeys(ctx, orgID, id, r.store.Now().Add(-apikey.Day), busiestShown)
	})
	if err != nil {
		return nil, err
	}
	keys, err := r.KeysInUse(ctx, actor, ids)
	slices.SortStableFunc(keys, func(a, b KeyInUse) int { return cmp.Compare(b.Requests24h, a.Requests24h) })
	return keys, err
}

// OwnersChange is what became of a member's live keys.
type OwnersChange struct {
	From    account.Person
	To      account.Person // when they were transferred
	Changed int
	Status  int // stayed, since their status does not allow the change
	Entrust int // stayed, since the actor may not give them to that owner: see ErrEntrust
}

// TransferAllKeys gives all live keys of a member to another in one transaction. Those that can't be, or may not be, stay.
// Errors: ErrNotFound for nobody of the organisation; a MissingError for a new owner who may hold no keys; input.Problems
// (ownerId).
func (r *Keyring) TransferAllKeys(ctx context.Context, actor account.Actor, id, ownerID string) (OwnersChange, error) {
	id, err := canonical(id)
	if err != nil {
		return OwnersChange{}, err
	}
	if err := reference("ownerId", &ownerID); err != nil {
		return OwnersChange{}, err
	}
	if ownerID == id {
		return OwnersChange{}, input.Problems{"ownerId": "These keys are theirs already. Choose somebody else."}
	}
	var out OwnersChange
	err = r.store.Mutate(ctx, actor, account.TransferKey, func(tx *store.Tx) ([]audit.Change, error) {
		from, err := tx.LockKeyOwner(id)
		if err != nil {
			return nil, err
		}
		to, err := tx.KeyOwner(ownerID)
		if err != nil {
			return nil, err
		}
		out = OwnersChange{From: from, To: to}
		return changeMany(tx, account.TransferKey, store.KeysOf{OwnerID: id, Live: true}, func(key apikey.Key) (apikey.Key, error) {
			switch {
			case !key.StatusAt(tx.Now()).Allows(apikey.Transfer):
				out.Status++
			case !actor.MayEntrust(key.Scopes, to.Role):
				out.Entrust++
			default:
				out.Changed++
				key.OwnerID = to.ID
			}
			return key, nil
		})
	})
	return out, err
}

// RevokeAllKeys revokes all live keys of a member in one transaction, those in their grace period too. seen is how many there
// were when somebody decided; 0 takes them as they come. Errors: ErrNotFound for nobody of the organisation, ErrStale when
// there are some, but not as many as were seen.
func (r *Keyring) RevokeAllKeys(ctx context.Context, actor account.Actor, id string, seen int64) (OwnersChange, error) {
	id, err := canonical(id)
	if err != nil {
		return OwnersChange{}, err
	}
	var out OwnersChange
	err = r.store.Mutate(ctx, actor, account.RevokeKey, func(tx *store.Tx) ([]audit.Change, error) {
		owner, err := tx.LockKeyOwner(id)
		if err != nil {
			return nil, err
		}
		happened, err := changeMany(tx, account.RevokeKey, store.KeysOf{OwnerID: id, Live: true}, func(key apikey.Key) (apikey.Key, error) {
			return changed(key, apikey.Revoke, tx.Now()), nil // whatever is live may be revoked
		})
		out = OwnersChange{From: owner, Changed: len(happened)}
		if err == nil && seen != 0 && len(happened) != 0 && int64(len(happened)) != seen {
			err = ErrStale
		}
		return happened, err
	})
	return out, err
}
