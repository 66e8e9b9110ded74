package keyring

import (
	"context"
	"errors"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// The shapes of the catalogue of scopes.
type (
	CataloguedScope = store.CataloguedScope
	Holders         = store.Holders
)

// MaxCatalogue bounds how many scopes an organisation has, the retired ones among them.
const MaxCatalogue = store.MaxCatalogue

// Errors of the catalogue of scopes.
var (
	// ErrScopeHeld is refused to whoever would delete a scope that a key holds, whatever the key's status.
	ErrScopeHeld = errors.New("keys hold this scope")
	// ErrScopeAsked is refused to whoever would delete a scope that Moonlatch's own API asks of a key.
	ErrScopeAsked = errors.New("the API itself asks for this scope")
)

// Scopes lists the catalogue of scopes.
func (r *Keyring) Scopes(ctx context.Context, actor account.Actor) ([]CataloguedScope, error) {
	return seen(actor, account.ReadConfig, func() ([]CataloguedScope, error) { return r.store.Scopes(ctx, actor.OrgID) })
}

// Scope returns an entry of the catalogue, or ErrNotFound.
func (r *Keyring) Scope(ctx context.Context, actor account.Actor, name string) (CataloguedScope, error) {
	return seen(actor, account.ReadConfig, func() (CataloguedScope, error) {
		if apikey.CheckScopeName(name) != nil {
			return CataloguedScope{}, ErrNotFound
		}
		return r.store.ScopeByName(ctx, actor.OrgID, name)
	})
}

// ScopeHolders counts the keys that hold each scope by name; "*" is one of the names.
func (r *Keyring) ScopeHolders(ctx context.Context, actor account.Actor) (map[string]Holders, error) {
	return seen(actor, account.ReadConfig, func() (map[string]Holders, error) { return r.store.ScopeHolders(ctx, actor.OrgID) })
}

// HoldersOf counts the keys that hold one scope by name.
func (r *Keyring) HoldersOf(ctx context.Context, actor account.Actor, name string) (Holders, error) {
	return seen(actor, account.ReadConfig, func() (Holders, error) { return r.store.HoldersOf(ctx, actor.OrgID, name) })
}

// CreateScope adds a scope to the catalogue. Errors: input.Problems (name, description), ErrTaken, also by a retired one;
// ErrFull, ErrReach.
func (r *Keyring) CreateScope(ctx context.Context, actor account.Actor, name, description string) (CataloguedScope, error) {
	if err := allow(actor, account.CreateScope); err != nil {
		return CataloguedScope{}, err
	}
	problems := input.Problems{}
	name, err := readLine(name)
	if err == nil {
		err = apikey.CheckScopeName(name)
	}
	problems.Add("name", err)
	description, err = readDescription(description)
	problems.Add("description", err)
	if err := problems.Err(); err != nil {
		return CataloguedScope{}, err
	}
	made := CataloguedScope{Scope: store.Scope{Name: name, Description: description}}
	err = r.store.Mutate(ctx, actor, account.CreateScope, func(tx *store.Tx) ([]audit.Change, error) {
		if err := unconfined(tx); err != nil {
			return nil, err
		}
		return []audit.Change{scopeChange(tx, "", nil, &made)}, tx.InsertScope(made.Scope)
	})
	return made, err
}

func readDescription(text string) (string, error) {
	description, err := readLine(text)
	if err != nil {
		return "", err
	}
	return description, apikey.CheckScopeDescription(description)
}

// ScopeEdit is what of a scope somebody wants changed; nil leaves a thing as it is.
type ScopeEdit struct {
	Description *string
	Retired     *bool // it can't be granted any more; keys that hold it keep it
}

// EditScope describes a scope, retires it or brings it back. What it finds done already it leaves alone. Errors:
// input.Problems (description), ErrNotFound, ErrReach.
func (r *Keyring) EditScope(ctx context.Context, actor account.Actor, name string, edit ScopeEdit) (CataloguedScope, error) {
	if err := allow(actor, account.EditScope); err != nil {
		return CataloguedScope{}, err
	}
	var after CataloguedScope
	err := r.changeScope(ctx, actor, account.EditScope, name, func(tx *store.Tx, before CataloguedScope) (changes []audit.Change, err error) {
		after = before
		if edit.Description != nil {
			problems := input.Problems{}
			after.Description, err = readDescription(*edit.Description)
			problems.Add("description", err)
			if err := problems.Err(); err != nil {
				return nil, err
			}
			if after != before {
				described := after
				changes = append(changes, scopeChange(tx, account.EditScope, &before, &described))
			}
		}
		if edit.Retired != nil && *edit.Retired != before.Retired {
			was, action := after, account.RestoreScope
			if after.Retired = *edit.Retired; after.Retired {
				action = account.RetireScope
			}
			changes = append(changes, scopeChange(tx, action, &was, &after))
		}
		if changes == nil {
			return nil, nil
		}
		return changes, tx.UpdateScope(after)
	})
	return after, err
}

// DeleteScope removes a scope from the catalogue. Errors: ErrScopeHeld, ErrScopeAsked, ErrNotFound, ErrReach.
func (r *Keyring) DeleteScope(ctx context.Context, actor account.Actor, name string) error {
	if err := allow(actor, account.DeleteScope); err != nil {
		return err
	}
	return r.changeScope(ctx, actor, account.DeleteScope, name, func(tx *store.Tx, before CataloguedScope) ([]audit.Change, error) {
		if account.AsksFor(name) {
			return nil, ErrScopeAsked
		}
		held, err := tx.IsHeld(name)
		if err == nil && held {
			err = ErrScopeHeld
		}
		if err != nil {
			return nil, err
		}
		return []audit.Change{scopeChange(tx, "", &before, nil)}, tx.DeleteScope(name)
	})
}

// changeScope locks an entry of the catalogue and lets change make of it what it will.
func (r *Keyring) changeScope(ctx context.Context, actor account.Actor, action account.Action, name string,
	change func(*store.Tx, CataloguedScope) ([]audit.Change, error)) error {
	if apikey.CheckScopeName(name) != nil {
		return ErrNotFound
	}
	return r.store.Mutate(ctx, actor, action, func(tx *store.Tx) ([]audit.Change, error) {
		before, err := tx.LockScope(name)
		if err != nil {
			return nil, err
		}
		if err := unconfined(tx); err != nil {
			return nil, err
		}
		return change(tx, before)
	})
}

// scopeChange says what happened to a scope. It has no id of its own: its organisation's stands for it.
func scopeChange(tx *store.Tx, action account.Action, before, after *CataloguedScope) audit.Change {
	facts := func(s *CataloguedScope) audit.Facts {
		if s == nil {
			return nil
		}
		return audit.Facts{"name": s.Name, "description": s.Description, "retired": s.Retired}
	}
	name := ""
	for _, s := range []*CataloguedScope{before, after} {
		if s != nil {
			name = s.Name
		}
	}
	return audit.Change{Action: action, Subject: audit.Subject{Kind: "scope", ID: tx.Actor().OrgID, Name: name}, Before: facts(before), After: facts(after)}
}
