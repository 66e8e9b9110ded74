package keyring

import (
	"context"
	"fmt"
	"runtime"
	"time"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"

	"github.com/moonlatch/moonlatch/internal/input"
)

const (
	// MinPassword and MaxPassword bound a password's length in characters. NIST SP 800-63B-4 asks for 15 where the
	// password is the single factor, and for at least 64 to be allowed.
	MinPassword = 15
	MaxPassword = 256

	hashQueue = 2 * time.Second // then "unavailable", rather than a queue without end
)

// argonCost is one of the equal choices of the OWASP Password Storage Cheat Sheet: 19 MiB, two passes.
var argonCost = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// decoy is a hash of argonCost that nobody's password has: what is compared when there is no account, so that the
// answer takes as long.
const decoy = "$argon2id$v=19$m=19456,t=2,p=1$+2JtAq+7LgwajbZ6Fr/P8g$BCX6X4U5431cx1gJjBKPTjH/2vU/krl82GzpvxuyvTY"

// passwords hashes and compares, a few at a time.
type passwords struct{ turns chan struct{} }

func newPasswords() *passwords {
	return &passwords{turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))} // argon2id is expensive on purpose; the other half serves the rest
}

func (p *passwords) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hashQueue)
	defer cancel()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("too many people sign in at once: %w", ErrUnavailable)
	}
}

func (p *passwords) hash(ctx context.Context, password string) (string, error) {
	if err := p.turn(ctx); err != nil {
		return "", err
	}
	defer func() { <-p.turns }()
	return argon2id.CreateHash(normalPassword(password), argonCost)
}

// matches compares a password with a hash, or with the decoy when hash is "".
func (p *passwords) matches(ctx context.Context, password, hash string) (bool, error) {
	if err := p.turn(ctx); err != nil {
		return false, err
	}
	defer func() { <-p.turns }()
	known := hash != ""
	if !known {
		hash = decoy
	}
	same, err := argon2id.ComparePasswordAndHash(normalPassword(password), hash)
	return same && known, err
}

// normalPassword gives a password one spelling whatever keyboard it came from (NIST SP 800-63B-4, 3.1.1.2).
func normalPassword(password string) string { return norm.NFKC.String(password) }

// checkPassword returns the sentence to show beside a password that may not be used. The words of its surroundings (the
// e-mail address, the person, the organisation) count as words of a dictionary.
func checkPassword(password string, words ...string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return input.Sentence("This password is not valid UTF-8. Type it again.")
	case n < MinPassword:
		return input.Sentence(fmt.Sprintf("Use at least %d characters. A few unrelated words are easy to remember.", MinPassword))
	case n > MaxPassword:
		return input.Sentence(fmt.Sprintf("Use at most %d characters.", MaxPassword))
	case guesses(password, words) < minGuesses:
		return input.Sentence("This password is easy to guess. Use five or more unrelated words, none about you, your organisation or this service.")
	}
	return nil
}
