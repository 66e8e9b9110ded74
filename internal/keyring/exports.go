package keyring

import (
	"context"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// exportBatch is how many rows of an export are read at once: few enough that one statement is quick and little is in
// memory.
const (
	exportBatch = 500
	ownerBatch  = 50 // of members whose keys are counted
)

// Batches reads an export, a batch at a time and each in a statement of its own, so that nothing of the database is held
// while the reader takes their time. It ends with an empty batch. Errors, after the first batch:
// ErrUnauthenticated, ErrForbidden and ErrStale, as of store.JudgeActor.
type Batches[T any] func(context.Context) ([]T, error)

// judged judges the actor again before each batch but the first: an export may take an hour.
func judged[T any](r *Keyring, actor account.Actor, next Batches[T]) Batches[T] {
	begun := false
	return func(ctx context.Context) ([]T, error) {
		if begun {
			if err := r.store.JudgeActor(ctx, actor); err != nil {
				return nil, err
			}
		}
		begun = true
		return next(ctx)
	}
}

// ExportKeys reads the keys that a filter lets through, in the order in which they were made. One that is made or deleted
// meanwhile may be missing.
func (r *Keyring) ExportKeys(_ context.Context, actor account.Actor, filter apikey.Filter) (Batches[KeyRow], error) {
	if err := allow(actor, account.ReadKeys); err != nil {
		return nil, err
	}
	return judged(r, actor, pages(func(ctx context.Context, at apikey.Position) ([]KeyRow, *apikey.Position, error) {
		page, err := r.store.ListKeys(ctx, actor.OrgID, filter, apikey.Sort{By: apikey.ByCreation}, at, exportBatch)
		return page.Rows, page.Next, err
	})), nil
}

// ExportKeyOwners reads the members who own keys, with their keys in figures, by name.
func (r *Keyring) ExportKeyOwners(_ context.Context, actor account.Actor, filter OwnerFilter) (Batches[OwnerRow], error) {
	if err := allow(actor, account.ReadKeys); err != nil {
		return nil, err
	}
	filter.ByName = true
	return judged(r, actor, pages(func(ctx context.Context, at apikey.Position) ([]OwnerRow, *apikey.Position, error) {
		page, err := r.store.KeyOwnerFigures(ctx, actor.OrgID, filter, at, ownerBatch)
		return page.Rows, page.Next, err
	})), nil
}

// OwnerRow is a member who owns keys, and their keys in figures.
type OwnerRow = store.OwnerRow

// pages reads a list from its first page to its last.
func pages[T any](read func(context.Context, apikey.Position) ([]T, *apikey.Position, error)) Batches[T] {
	at := &apikey.Position{}
	return func(ctx context.Context) (rows []T, err error) {
		if at != nil {
			rows, at, err = read(ctx, *at)
		}
		return rows, err
	}
}
