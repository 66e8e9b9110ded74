package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"regexp"
	"strings"
)

const (
	base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

	publicIDLength = 12 // characters; 71 bits, so that two keys never share a prefix in practice
	secretLength   = 32 // characters; 62^32 is 190.5 bits
	checksumLength = 6  // characters; 62^6 holds every CRC32
	plaintextLen   = len("pk_live_") + publicIDLength + len("_") + secretLength + checksumLength

	// SignatureLength is how many characters of the end of a key people may see.
	SignatureLength = 6
)

// ErrMalformed says that a text does not have the shape or the checksum of a key.
var ErrMalformed = errors.New("this is not an API key: its shape or its checksum is wrong")

// Plaintext is a whole key: pk_live_ or pk_test_, a public id, "_", a secret and a checksum.
// It exists to be handed over once, so it redacts itself wherever it is printed, logged or encoded.
type Plaintext struct{ text string }

// NewPlaintext draws a new key for an environment from the system's random source.
func NewPlaintext(env Environment) Plaintext {
	body := env.prefix() + randomBase62(publicIDLength) + "_" + randomBase62(secretLength)
	sum := checksum(body)
	return Plaintext{body + string(sum[:])}
}

// Parse recognises a key by shape and checksum, without a look-up. A key may also be written as user:pass, with a colon in
// the place of its last "_". It returns ErrMalformed for anything else.
func Parse(text string) (Plaintext, error) {
	if len(text) != plaintextLen {
		return Plaintext{}, ErrMalformed
	}
	env, rest := Environment(""), ""
	for _, e := range Environments {
		if after, ok := strings.CutPrefix(text, e.prefix()); ok {
			env, rest = e, after
		}
	}
	if env == "" || rest[publicIDLength] != '_' && rest[publicIDLength] != ':' {
		return Plaintext{}, ErrMalformed
	}
	if !isBase62(rest[:publicIDLength]) || !isBase62(rest[publicIDLength+1:]) {
		return Plaintext{}, ErrMalformed
	}
	if at := len(text) - len(rest) + publicIDLength; text[at] == ':' {
		text = text[:at] + "_" + text[at+1:]
	}
	body, sum := text[:len(text)-checksumLength], text[len(text)-checksumLength:]
	if want := checksum(body); string(want[:]) != sum {
		return Plaintext{}, ErrMalformed
	}
	return Plaintext{text}, nil
}

// embedded finds keys inside other text, also in the form user:pass.
var embedded = regexp.MustCompile(fmt.Sprintf(`pk_(?:live|test)_[0-9A-Za-z]{%d}[_:][0-9A-Za-z]{%d}([0-9A-Za-z]{%d})`, publicIDLength, secretLength, checksumLength))

// beginning finds a key at the beginning of a text.
var beginning = regexp.MustCompile("^" + embedded.String())

// SignatureIn is the signature of the first key that stands somewhere in the text; "" when there is none. It goes by
// shape alone: a key with a typo is still nearly a secret.
func SignatureIn(text string) string {
	if found := embedded.FindStringSubmatch(text); found != nil {
		return found[1]
	}
	return ""
}

// Redact puts the signature in the place of every key in the text. It goes from the right to the left, so that nothing
// that looks like a key's beginning takes the beginning of the key behind it away.
func Redact(text string) string {
	for at := len(text); ; {
		if at = strings.LastIndex(text[:at], "pk_"); at < 0 {
			return text
		}
		if found := beginning.FindStringSubmatch(text[at:]); found != nil {
			text = text[:at] + found[1] + text[at+len(found[0]):]
		}
	}
}

// What people see of a key: its prefix, dots and its signature, with the word that a screen reader says between them; or
// dots and the signature.
var (
	maskedWhole = regexp.MustCompile(fmt.Sprintf(`^(pk_(?:live|test)_[0-9A-Za-z]{%d})(?:_|_?\s*[•·…*.]+\s*(?:to\s+)?[0-9A-Za-z]{%d})$`, publicIDLength, SignatureLength))
	maskedEnd   = regexp.MustCompile(fmt.Sprintf(`^[•·…*.]+\s*(?:to\s+)?([0-9A-Za-z]{%d})$`, SignatureLength))
)

// Unmask returns the prefix or the signature that finds a key which is written as it is displayed; any other text as it is.
func Unmask(text string) string {
	for _, shape := range []*regexp.Regexp{maskedWhole, maskedEnd} {
		if found := shape.FindStringSubmatch(text); found != nil {
			return found[1]
		}
	}
	return text
}

// Reveal returns the whole key. A test lists the only files that may call it.
func (p Plaintext) Reveal() string { return p.text }

// Prefix is the public part of the key, everything before the last "_": also the user of HTTP Basic.
func (p Plaintext) Prefix() string { return p.text[:strings.LastIndexByte(p.text, '_')] }

// RevealPass is everything after the last "_": the password of HTTP Basic, as secret as the key.
func (p Plaintext) RevealPass() string { return p.text[strings.LastIndexByte(p.text, '_')+1:] }

// Signature is the last 6 characters, by which people tell keys apart.
func (p Plaintext) Signature() string { return p.text[len(p.text)-SignatureLength:] }

// Environment is the one that the key's first characters name.
func (p Plaintext) Environment() Environment {
	if strings.HasPrefix(p.text, Test.prefix()) {
		return Test
	}
	return Live
}

// Hash is the SHA-256 of the whole plaintext: what is stored, and what a key is looked up by.
func (p Plaintext) Hash() [sha256.Size]byte {
	return sha256.Sum256(append(make([]byte, 0, plaintextLen), p.text...)) // unlike []byte(p.text) it needs no allocation
}

const redacted = "[redacted API key]"

func (p Plaintext) String() string               { return redacted }
func (p Plaintext) GoString() string             { return redacted }
func (p Plaintext) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (p Plaintext) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (p Plaintext) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func randomBase62(n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = base62[randomIndex()]
	}
	return string(out)
}

// randomIndex draws evenly from 0 to 61: a byte of 248 or more would favour the first letters and is drawn again.
func randomIndex() byte {
	var b [1]byte
	for {
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails: it ends the program instead
		if b[0] < 248 {
			return b[0] % 62
		}
	}
}

// checksum is the CRC32 of the body in six base62 digits.
func checksum(body string) (digits [checksumLength]byte) {
	sum := crc32.ChecksumIEEE(append(make([]byte, 0, plaintextLen), body...))
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i], sum = base62[sum%62], sum/62
	}
	return digits
}

func isBase62(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}
