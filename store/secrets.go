package store

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
)

// Secrets are keys for one purpose, each drawn from one of the installation's secrets and of no use for another purpose
// (HKDF, RFC 5869). The first seals and signs; all of them open and verify. There is always one.
func (s *Store) Secrets(purpose string) [][32]byte {
	keys := make([][32]byte, len(s.secrets))
	for i, secret := range s.secrets {
		keys[i] = derive(secret, purpose)
	}
	return keys
}

func derive(secret []byte, purpose string) [32]byte {
	key, err := hkdf.Key(sha256.New, secret, nil, purpose, 32)
	if err != nil {
		panic(err) // 32 bytes are far fewer than HKDF can give
	}
	return [32]byte(key)
}

// SecretID names a secret without revealing it: 16 hexadecimal digits.
func (s *Store) SecretID(i int) string {
	id := derive(s.secrets[i], "secret id")
	return hex.EncodeToString(id[:8])
}

// SecretsOutside says whether the secrets come from outside the database.
func (s *Store) SecretsOutside() bool { return s.outside }

// UseSecrets replaces the secret in the database by secrets from outside it, of 32 bytes or more each. It is called before
// anything else uses the store.
func (s *Store) UseSecrets(secrets [][]byte) { s.secrets, s.outside = secrets, true }

// readSecret reads the secret in the database, which it draws on first use.
func (s *Store) readSecret(ctx context.Context) error {
	var drawn [32]byte
	_, _ = rand.Read(drawn[:])
	if _, err := s.db.ExecContext(ctx, `INSERT INTO installation (secret) VALUES ($1) ON CONFLICT DO NOTHING`, drawn[:]); err != nil {
		return err
	}
	var secret []byte
	if err := s.db.GetContext(ctx, &secret, `SELECT secret FROM installation`); err != nil {
		return err
	}
	s.secrets = [][]byte{secret}
	return nil
}

// ErrSecrets says that the replica that started last signs with a secret that this one does not have.
var ErrSecrets = errors.New("the replica that started last signs with a secret that this one lacks; use the same MOONLATCH_SECRET_FILE on all replicas")

// CheckSecrets returns ErrSecrets when this replica can't verify what the replica that started last signs.
func (s *Store) CheckSecrets(ctx context.Context) error {
	var id string
	if err := s.db.GetContext(ctx, &id, `SELECT secret_id FROM installation`); err != nil {
		return tidy(err)
	}
	for i := range s.secrets {
		if id == s.SecretID(i) {
			return nil
		}
	}
	if id == "" { // no replica has said so yet
		return nil
	}
	return ErrSecrets
}

// AnnounceSecret stores which secret this replica signs with, for others to check.
func (s *Store) AnnounceSecret(ctx context.Context) error {
	id := s.SecretID(0)
	_, err := s.db.ExecContext(ctx, `UPDATE installation SET secret_id = $1 WHERE secret_id <> $1`, id)
	return tidy(err)
}
