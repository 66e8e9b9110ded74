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
type formTokens struct{ secrets [][32]byte } // the first seals, all of them open

func (f formTokens) issue(sessionID string) string {
	text := rand.Text()
	return text + "." + seal(f.secrets[0], text, sessionID)
}

// requestKey returns the token's request key; ok is false when another session's form, or nobody's, carries it.
func (f formTokens) requestKey(token, sessionID string) (key string, ok bool) {
	text, sealed, _ := strings.Cut(token, ".")
	for _, secret := range f.secrets {
		if hmac.Equal([]byte(sealed), []byte(seal(secret, text, sessionID))) {
			return text, true
		}
	}
	return text, false
}

func seal(secret [32]byte, text, sessionID string) string {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("form token " + sessionID + " " + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
