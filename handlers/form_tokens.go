package handlers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// formTokens makes the one-use tokens of forms that create something. A token belongs to the session that the form
// was shown in; used twice, it is recognised as the same request.
type formTokens struct{ secret [32]byte }

func (f formTokens) issue(sessionID string) string {
	text := rand.Text()
	return text + "." + f.seal(text, sessionID)
}

// requestKey returns the token's request key; ok is false when another session's form, or nobody's, carries it.
func (f formTokens) requestKey(token, sessionID string) (key string, ok bool) {
	text, seal, _ := strings.Cut(token, ".")
	return text, hmac.Equal([]byte(seal), []byte(f.seal(text, sessionID)))
}

func (f formTokens) seal(text, sessionID string) string {
	mac := hmac.New(sha256.New, f.secret[:])
	mac.Write([]byte("form token " + sessionID + " " + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
