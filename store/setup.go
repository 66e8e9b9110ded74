package store

import (
	"context"
	"errors"
	"time"
)

// IsSetUp says whether the installation has an organisation.
func (s *Store) IsSetUp(ctx context.Context) (bool, error) {
	var found bool
	err := s.db.GetContext(ctx, &found, `SELECT EXISTS (SELECT 1 FROM organisations)`)
	return found, tidy(err)
}

// InsertSetupLink stores the hash of a one-time link with which the first owner sets up the organisation.
func (s *Store) InsertSetupLink(ctx context.Context, hash [32]byte, expiresAt time.Time) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO setup_links (token_hash, expires_at) VALUES ($1, $2)`, hash[:], expiresAt)
	return tidy(err)
}

// HasSetupLink says whether a link still works.
func (s *Store) HasSetupLink(ctx context.Context, hash [32]byte) (bool, error) {
	var found bool
	err := s.db.GetContext(ctx, &found, `SELECT EXISTS (SELECT 1 FROM setup_links WHERE token_hash = $1 AND expires_at > $2)`, hash[:], s.Now())
	return found, tidy(err)
}

// UseSetupLink uses up the link, and every other one with it: an installation is set up once. ErrSetUp when the
// link no longer works.
func (tx *Tx) UseSetupLink(hash [32]byte) error {
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM setup_links WHERE token_hash = $1 AND expires_at > $2`, hash[:], tx.now)
	if err := oneRow(result, err); errors.Is(err, ErrNotFound) {
		return ErrSetUp
	} else if err != nil {
		return err
	}
	var taken bool
	if err := tx.db.GetContext(tx.ctx, &taken, `SELECT EXISTS (SELECT 1 FROM organisations)`); err != nil {
		return tidy(err)
	}
	if taken {
		return ErrSetUp
	}
	_, err = tx.db.ExecContext(tx.ctx, `DELETE FROM setup_links`)
	return tidy(err)
}
