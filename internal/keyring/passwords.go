package keyring

import (
	"context"
	"fmt"
	"strings"
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

	hashesAtOnce = 2               // argon2id is expensive on purpose
	hashQueue    = 2 * time.Second // then "unavailable", rather than a queue without end
)

// argonCost is one of the equal choices of the OWASP Password Storage Cheat Sheet: 19 MiB, two passes.
var argonCost = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// decoy is a hash of argonCost that nobody's password has: what is compared when there is no account, so that the
// answer takes as long.
const decoy = "$argon2id$v=19$m=19456,t=2,p=1$+2JtAq+7LgwajbZ6Fr/P8g$BCX6X4U5431cx1gJjBKPTjH/2vU/krl82GzpvxuyvTY"

// passwords hashes and compares, a few at a time.
type passwords struct{ turns chan struct{} }

func newPasswords() *passwords {
	return &passwords{turns: make(chan struct{}, hashesAtOnce)}
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

// checkPassword returns the sentence to show beside a password that may not be used. The words around it (the
// e-mail address, the organisation) are too easy to guess to count.
func checkPassword(password string, words ...string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return input.Sentence("This password is not valid UTF-8. Type it again.")
	case n < MinPassword:
		return input.Sentence(fmt.Sprintf("Use at least %d characters. A few unrelated words are easy to remember.", MinPassword))
	case n > MaxPassword:
		return input.Sentence(fmt.Sprintf("Use at most %d characters.", MaxPassword))
	case tooCommon(password, words):
		return input.Sentence("This password is easy to guess. Use words that are not about you or this service.")
	}
	return nil
}

// commonParts are what the long passwords of published lists are built from.
var commonParts = []string{
	"password", "passw0rd", "pass", "qwertyuiop", "qwerty", "qazwsx", "asdfghjkl", "asdfgh", "zxcvbnm", "1q2w3e4r5t", "1q2w3e4r", "1qaz2wsx",
	"letmein", "welcome", "administrator", "admin", "changeme", "iloveyou", "secret", "default", "trustno1", "monkey", "dragon", "master",
	"football", "baseball", "sunshine", "princess", "superman", "batman", "moonlatch", "apikey", "login", "hello", "test",
	"abcdefghijklmnopqrstuvwxyz", "abcdefgh", "abcdef", "abc", "0123456789", "1234567890", "123456789", "12345678", "1234567", "123456", "12345", "1234", "123",
	"9876543210", "987654321", "87654321", "654321", "54321", "4321", "321",
}

// tooCommon is true when little is left of a password once common parts, the given words and repetitions are gone.
func tooCommon(password string, words []string) bool {
	rest := strings.ToLower(password)
	var parts []string
	for _, word := range words {
		parts = append(parts, strings.FieldsFunc(strings.ToLower(word), func(r rune) bool { return strings.ContainsRune(" @.-_+", r) })...)
	}
	for _, part := range append(parts, commonParts...) {
		if len(part) >= 3 {
			rest = strings.ReplaceAll(rest, part, "")
		}
	}
	different := map[rune]bool{}
	for _, r := range rest {
		different[r] = true
	}
	return len(different) < 5 || repeats(password)
}

// repeats is true for a text that is one piece of at most a third of its length, over and over.
func repeats(text string) bool {
	for size := 1; size*3 <= len(text); size++ {
		if strings.HasPrefix(strings.Repeat(text[:size], len(text)/size+1), text) {
			return true
		}
	}
	return false
}
