package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// Cookies keeps the data behind session cookies for scs. A token is stored as its SHA-256. One that was destroyed
// leaves a tombstone, since scs would otherwise bring it back when a request that was in flight commits late.
type Cookies struct{ store *Store }

// Cookies returns the scs store.
func (s *Store) Cookies() Cookies { return Cookies{s} }

// FindCtx returns the data behind a token.
func (c Cookies) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	var data []byte
	hash := sha256.Sum256([]byte(token))
	err := tidy(c.store.db.GetContext(ctx, &data, `SELECT data FROM cookie_sessions
		WHERE token_hash = $1 AND expires_at > $2 AND NOT destroyed`, hash[:], c.store.Now()))
	if errors.Is(err, ErrNotFound) {
		return nil, false, nil
	}
	return data, err == nil, err
}

// CommitCtx stores the data behind a token, unless the token was destroyed. It expires cookieAge after it was first stored:
// the expiry that scs names goes by this machine's clock.
func (c Cookies) CommitCtx(ctx context.Context, token string, data []byte, _ time.Time) error {
	hash := sha256.Sum256([]byte(token))
	_, err := c.store.db.ExecContext(ctx, `INSERT INTO cookie_sessions AS c (token_hash, data, expires_at) VALUES ($1, $2, $3)
		ON CONFLICT (token_hash) DO UPDATE SET data = $2 WHERE NOT c.destroyed`, hash[:], data, c.store.Now().Add(cookieAge))
	return tidy(err)
}

// DeleteCtx destroys a token. The tombstone stays for as long as any cookie could. "" is the token of a request without
// a session, and writes nothing.
func (c Cookies) DeleteCtx(ctx context.Context, token string) error {
	if token == "" {
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	_, err := c.store.db.ExecContext(ctx, `INSERT INTO cookie_sessions (token_hash, data, expires_at, destroyed) VALUES ($1, '', $2, true)
		ON CONFLICT (token_hash) DO UPDATE SET data = '', destroyed = true`, hash[:], c.store.Now().Add(cookieAge))
	return tidy(err)
}

// cookieAge is how long a cookie leads to its data; the session that the data names may end before.
const cookieAge = 24 * time.Hour

// Find, Commit and Delete are what scs calls on a store that knows no context; it never does on this one.
func (c Cookies) Find(token string) ([]byte, bool, error) {
	return c.FindCtx(context.Background(), token)
}

// Commit is CommitCtx without a context.
func (c Cookies) Commit(token string, data []byte, expiry time.Time) error {
	return c.CommitCtx(context.Background(), token, data, expiry)
}

// Delete is DeleteCtx without a context.
func (c Cookies) Delete(token string) error { return c.DeleteCtx(context.Background(), token) }
