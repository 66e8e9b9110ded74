package keyring

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

const (
	// JWKSMaxAge is how long others may keep the published keys.
	JWKSMaxAge = 5 * time.Minute
	// keysMaxAge is how long this server goes by the keys that it has read.
	keysMaxAge = time.Minute
	// publishedAhead is how long a new key is published before it signs: longer than JWKSMaxAge and keysMaxAge together,
	// so that nobody meets a token of a key that they have not heard of.
	publishedAhead = 10 * time.Minute

	rotateEvery = 30 * apikey.Day

	// readPause is how soon the keys are read again, at the earliest, for a key that is unknown. Anybody can name one.
	readPause = time.Second
	// readPatience is how long reading the keys may take; those who want them wait for one reader.
	readPatience = time.Second
)

// SigningKey is a key that signs session tokens, to whoever runs the server.
type SigningKey struct {
	ID        string // the kid of its tokens
	SignsFrom time.Time
}

// RotateSigningKey makes the key that is to sign next and is published from now on. While one waits to sign already, it
// makes no other and returns that one: replicas that rotate at the same time make one successor. Where there is no key at all,
// the one that it makes signs at once, and has no successor for the next 10 minutes either.
func (r *Keyring) RotateSigningKey(ctx context.Context) (SigningKey, error) {
	keys, err := r.store.SigningKeys(ctx)
	if err != nil {
		return SigningKey{}, err
	}
	var key store.SigningKey
	now := r.store.Now()
	switch newest := newestOf(keys); {
	case len(keys) == 0:
		key, err = r.store.InsertSigningKey(ctx, replacementNumber, now)
	case newest.SignsFrom.After(now), isReplacement(keys) && newest.SignsFrom.Add(publishedAhead).After(now):
		key = newest
	default:
		key, err = r.store.InsertSigningKey(ctx, newest.Number+1, now.Add(publishedAhead))
	}
	return SigningKey{keyName(r.store, key.ID, 0), key.SignsFrom}, err
}

// replacementNumber is the number of a key that is made where there is none: an installation's own first key has number 1.
const replacementNumber = 2

// isReplacement reports whether the only published key was made where there was none. A successor has its predecessor beside it for longer
// than publishedAhead.
func isReplacement(keys []store.SigningKey) bool {
	return len(keys) == 1 && keys[0].Number == replacementNumber
}

// KeepSigningKey rotates a signing key that is 30 days old. It is to be called now and then.
func (r *Keyring) KeepSigningKey(ctx context.Context) error {
	keys, err := r.store.SigningKeys(ctx)
	if err != nil || r.store.Now().Sub(newestOf(keys).SignsFrom) < rotateEvery {
		return err
	}
	_, err = r.RotateSigningKey(ctx)
	return err
}

// newestOf returns the key that no other succeeds yet, and a zero key when somebody has emptied the table.
func newestOf(keys []store.SigningKey) store.SigningKey {
	if len(keys) == 0 {
		return store.SigningKey{}
	}
	return keys[len(keys)-1]
}

// JWKS is the set of public keys with which anybody can check a token without asking the server (RFC 7517, section 5).
type JWKS struct {
	Keys []JWK `json:"keys"`
}

// JWK is a public Ed25519 key (RFC 8037, section 2).
type JWK struct {
	KeyType   string `json:"kty"`
	Curve     string `json:"crv"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	ID        string `json:"kid"`
	X         string `json:"x"` // base64url without padding
}

// JWKS returns the published keys: those whose tokens may be good, and the one that signs next. They may be kept for
// JWKSMaxAge. A token that they verify may belong to a session that has been ended since; only the server knows.
func (r *Keyring) JWKS(ctx context.Context) (JWKS, error) {
	keys, err := r.signing.keys(ctx)
	set := JWKS{Keys: []JWK{}}
	for _, key := range keys {
		set.Keys = append(set.Keys, JWK{KeyType: "OKP", Curve: "Ed25519", Algorithm: "EdDSA", Use: "sig",
			ID: key.id, X: base64.RawURLEncoding.EncodeToString(key.public())})
	}
	return set, err
}

// signingKey is a key with its private half.
type signingKey struct {
	id        string // the kid of its tokens
	signsFrom time.Time
	signs     bool // when its time has come; else it was drawn from an earlier secret, and only verifies
	private   ed25519.PrivateKey
}

func (k signingKey) public() ed25519.PublicKey { return k.private.Public().(ed25519.PublicKey) }

// keyName is the kid of the key that is drawn from a row's id and one of the secrets. Secrets from outside the database are
// part of it, for each draws another key.
func keyName(s *store.Store, rowID string, secret int) string {
	if !s.SecretsOutside() || rowID == "" {
		return rowID
	}
	return rowID + "." + s.SecretID(secret)
}

// signingKeys remembers the published keys, so that a request does not ask the database for them.
type signingKeys struct {
	store   *store.Store
	reading chan struct{} // holds the one who reads them
	last    atomic.Pointer[readKeys]
}

// readKeys is what the last reading brought. When it failed, keys are those of the one before.
type readKeys struct {
	keys []signingKey // the oldest first
	at   time.Time
	err  error
}

func newSigningKeys(s *store.Store) *signingKeys {
	k := &signingKeys{store: s, reading: make(chan struct{}, 1)}
	k.last.Store(&readKeys{})
	return k
}

// keys returns the published keys, the oldest first.
func (k *signingKeys) keys(ctx context.Context) ([]signingKey, error) {
	read := k.since(ctx, keysMaxAge)
	return read.keys, read.err
}

// current is the key that signs now: the newest whose time has come. The first has no one before it, and signs also
// where the clock is behind the database's.
func (k *signingKeys) current(ctx context.Context) (signingKey, error) {
	keys, err := k.keys(ctx)
	if err == nil && len(keys) == 0 { // one that was made since signs at once
		read := k.since(ctx, 0)
		keys, err = read.keys, read.err
	}
	if err != nil {
		return signingKey{}, err
	}
	if len(keys) == 0 {
		return signingKey{}, fmt.Errorf("there is no key to sign with; make one with moonlatch signing-key rotate")
	}
	now, current := k.store.Now(), keys[0]
	for _, key := range keys {
		if key.signs && !key.signsFrom.After(now) {
			current = key
		}
	}
	return current, nil
}

// find returns a published key, and ErrToken when there is none of this id. It does not say so before it has asked the
// database: one that does not answer is ErrUnavailable.
func (k *signingKeys) find(ctx context.Context, id string) (signingKey, error) {
	var read *readKeys
	for _, age := range []time.Duration{keysMaxAge, readPause} {
		read = k.since(ctx, age)
		for _, key := range read.keys {
			if key.id == id {
				return key, nil
			}
		}
	}
	if read.err != nil {
		return signingKey{}, read.err
	}
	return signingKey{}, ErrToken
}

// since returns the keys as they were no longer ago than the age, and reads them when they are older. Whoever comes
// while they are read waits for that reading.
func (k *signingKeys) since(ctx context.Context, age time.Duration) *readKeys {
	if last := k.last.Load(); last.within(age, k.store.Now()) {
		return last
	}
	select {
	case k.reading <- struct{}{}:
		defer func() { <-k.reading }()
	case <-ctx.Done():
		return &readKeys{err: fmt.Errorf("reading the signing keys: %w: %w", ErrUnavailable, ctx.Err())}
	}
	last := k.last.Load()
	if last.within(age, k.store.Now()) {
		return last
	}
	read := k.read(ctx)
	if read.err != nil {
		read.keys = last.keys
	}
	k.last.Store(read)
	return read
}

// within says whether a reading is recent enough; one that failed holds for no longer than the pause.
func (r *readKeys) within(age time.Duration, now time.Time) bool {
	if r.err != nil {
		age = min(age, readPause)
	}
	passed := now.Sub(r.at)
	return 0 <= passed && passed < age // a clock that was set back says nothing
}

// read asks the database, also when the client whose request it serves goes away: others wait for the answer.
func (k *signingKeys) read(ctx context.Context) *readKeys {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readPatience)
	defer cancel()
	read := &readKeys{at: k.store.Now()}
	rows, err := k.store.SigningKeys(ctx)
	for _, row := range rows {
		for i, seed := range k.store.Secrets("signing key " + row.ID) {
			read.keys = append(read.keys, signingKey{keyName(k.store, row.ID, i), row.SignsFrom, i == 0, ed25519.NewKeyFromSeed(seed[:])})
		}
	}
	read.err = err
	return read
}
