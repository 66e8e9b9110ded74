package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"
)

// answerWithin bounds a statement outside a transaction, and the begin of one: the wait for a connection, every new
// attempt and the answer together. It holds also where the caller's context allows more. Inside a transaction nothing
// waits for a connection, and the limits of the server and of the dialer bound each statement.
const answerWithin = 2500 * time.Millisecond

// pool is the connections to the database. A statement on it returns within answerWithin.
type pool struct{ *sqlx.DB }

// GetContext reads one row.
func (p pool) GetContext(ctx context.Context, to any, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return p.DB.GetContext(ctx, to, query, args...)
}

// SelectContext reads all rows.
func (p pool) SelectContext(ctx context.Context, to any, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return p.DB.SelectContext(ctx, to, query, args...)
}

// ExecContext executes a statement that returns no row.
func (p pool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return p.DB.ExecContext(ctx, query, args...)
}

// begin opens a transaction within answerWithin; it then lives until the context ends or end is called, which comes after
// its commit or rollback.
func (p pool) begin(ctx context.Context, options *sql.TxOptions) (tx *sqlx.Tx, end func(), err error) {
	ctx, end = context.WithCancel(ctx)
	late := time.AfterFunc(answerWithin, end)
	tx, err = p.BeginTxx(ctx, options)
	if !late.Stop() {
		if err == nil {
			_ = tx.Rollback()
		}
		err = context.DeadlineExceeded
	}
	if err != nil {
		end()
	}
	return tx, end, err
}

// commit is the context's error when the context ended before the commit: database/sql may have rolled back by then, and calls
// the transaction done.
func commit(ctx context.Context, tx *sqlx.Tx) error {
	err := tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// reader is a pool or a transaction.
type reader interface {
	GetContext(ctx context.Context, to any, query string, args ...any) error
	SelectContext(ctx context.Context, to any, query string, args ...any) error
}
