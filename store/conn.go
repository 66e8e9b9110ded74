package store

import (
	"context"
	"database/sql"
	"reflect"
	"strings"

	"github.com/jmoiron/sqlx"
)

// conn is the connection of a transaction. It notes whether a statement wrote a row.
type conn struct {
	tx    *sqlx.Tx
	wrote bool
}

// GetContext is sqlx's.
func (c *conn) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	err := c.tx.GetContext(ctx, dest, query, args...)
	c.wrote = c.wrote || err == nil && writes(query)
	return err
}

// SelectContext is sqlx's.
func (c *conn) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	err := c.tx.SelectContext(ctx, dest, query, args...)
	c.wrote = c.wrote || writes(query) && reflect.Indirect(reflect.ValueOf(dest)).Len() > 0
	return err
}

// ExecContext is sqlx's.
func (c *conn) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return c.note(c.tx.ExecContext(ctx, query, args...))
}

// NamedExecContext is sqlx's.
func (c *conn) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	return c.note(c.tx.NamedExecContext(ctx, query, arg))
}

func (c *conn) note(result sql.Result, err error) (sql.Result, error) {
	if err == nil {
		n, _ := result.RowsAffected() // lib/pq knows it of every statement
		c.wrote = c.wrote || n > 0
	}
	return result, err
}

// writes reports whether a query that returns rows writes some.
func writes(query string) bool {
	return strings.Contains(query, "INSERT INTO ") || strings.Contains(query, "DELETE FROM ") || strings.Contains(query, " SET ")
}
