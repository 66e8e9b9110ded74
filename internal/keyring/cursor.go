package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// cursors seals places in a list, so that a link can carry one and nobody can make one up. A seal fits one filter
// and one order of one organisation's list.
type cursors struct{ keys []cipher.AEAD } // the first seals, all of them open

func newCursors(secrets [][32]byte) cursors {
	var c cursors
	for _, secret := range secrets {
		c.keys = append(c.keys, newAEAD(secret))
	}
	return c
}

func newAEAD(secret [32]byte) cipher.AEAD {
	block, err := aes.NewCipher(secret[:])
	if err != nil {
		panic(err) // 32 bytes are a key of AES-256
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

type sealedPosition struct {
	OrgID string
	apikey.Position
}

func (c cursors) seal(orgID string, list []byte, at *apikey.Position) string {
	if at == nil {
		return ""
	}
	text, err := json.Marshal(sealedPosition{orgID, *at})
	if err != nil {
		panic(err) // strings and a boolean always have a JSON form
	}
	return base64.RawURLEncoding.EncodeToString(c.keys[0].Seal(nil, nil, text, list))
}

// open returns ErrCursor for what this server did not seal for this list, and ErrNotFound for another organisation's.
func (c cursors) open(orgID string, list []byte, cursor string) (apikey.Position, error) {
	if cursor == "" {
		return apikey.Position{}, nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || strings.ContainsAny(cursor, "\r\n") { // base64 would pass over them
		return apikey.Position{}, ErrCursor
	}
	text, err := c.unseal(sealed, list)
	if err != nil {
		return apikey.Position{}, ErrCursor
	}
	var at sealedPosition
	if err := json.Unmarshal(text, &at); err != nil {
		return apikey.Position{}, ErrCursor
	}
	if at.OrgID != orgID {
		return apikey.Position{}, ErrNotFound
	}
	return at.Position, nil
}

func (c cursors) unseal(sealed, list []byte) (text []byte, err error) {
	for _, key := range c.keys {
		if text, err = key.Open(nil, nil, sealed, list); err == nil {
			break
		}
	}
	return text, err
}

// Page is a part of a list, with the cursors of the pages beside it; "" where the list ends.
type Page[T any] struct {
	Rows           []T
	Next, Previous string
}

// listed reads the part of a list that a cursor leads to. Errors: those of open and of read.
func listed[T any](c cursors, actor account.Actor, list []byte, cursor string, read func(apikey.Position) (store.Page[T], error)) (Page[T], error) {
	at, err := c.open(actor.OrgID, list, cursor)
	if err != nil {
		return Page[T]{}, err
	}
	page, err := read(at)
	return Page[T]{page.Rows, c.seal(actor.OrgID, list, page.Next), c.seal(actor.OrgID, list, page.Previous)}, err
}

// listID is what a cursor is bound to beside the organisation: which list, narrowed to what, in which order.
func listID(list ...any) []byte {
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return text
}
