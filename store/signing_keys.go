package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
)

const (
	// TokenLifetime is how long a session token is good for at most.
	TokenLifetime = 15 * time.Minute
	// clocksApart is how much longer a superseded key stays than the tokens that it signed: replicas whose clocks differ
	// by less may still sign with it.
	clocksApart = 5 * time.Minute
)

// SigningKey is a key that signs session tokens, without its private half, which is drawn from Secret and never stored.
type SigningKey struct {
	ID        string    `db:"id"`
	Number    int       `db:"number"` // 1 for the first; a successor has the next
	SignsFrom time.Time `db:"signs_from"`
}

// retired is true of a key whose every token has expired, for a successor has signed for long enough ($1 is now). The
// newest key never is.
var retired = fmt.Sprintf(`number < (SELECT coalesce(max(number), 0) FROM signing_keys WHERE signs_from <= $1::timestamptz - interval '%d seconds')`,
	int((TokenLifetime + clocksApart).Seconds()))

// SigningKeys lists the keys whose tokens may be good, and the one that is to sign next, the oldest first.
func (s *Store) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	var out []SigningKey
	err := s.db.SelectContext(ctx, &out, `SELECT id, number, signs_from FROM signing_keys WHERE NOT (`+retired+`) ORDER BY number`, s.Now())
	for i := range out {
		out[i].SignsFrom = out[i].SignsFrom.UTC()
	}
	return out, tidy(err)
}

// InsertSigningKey makes the key of this number, unless another replica was faster, and returns the one that there is.
func (s *Store) InsertSigningKey(ctx context.Context, number int, signsFrom time.Time) (SigningKey, error) {
	_, err := s.db.ExecContext(ctx, `INSERT INTO signing_keys (id, number, signs_from) VALUES ($1, $2, $3)
		ON CONFLICT ON CONSTRAINT signing_keys_one_successor DO NOTHING`, uuid.Must(uuid.NewV7()), number, signsFrom)
	if err != nil {
		return SigningKey{}, tidy(err)
	}
	var key SigningKey
	err = s.db.GetContext(ctx, &key, `SELECT id, number, signs_from FROM signing_keys WHERE number = $1`, number)
	key.SignsFrom = key.SignsFrom.UTC()
	return key, tidy(err)
}
