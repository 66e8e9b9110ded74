package keyring

import (
	"cmp"
	"encoding/base64"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
)

const (
	mostDecoded  = 20 // times that a text is decoded: no key is encoded more often by mistake, and the work stays bounded
	mostRedacted = 4  // times that keys are taken out of a text, of which what is left can make another one
)

// WithoutKeys returns a text with the signature in the place of every whole API key in it, and the signature of one of them, "" when
// it holds none. It also finds a key that is percent-encoded, up to 20 times, that is escaped as HTML, JSON or Markdown do, that is written in other
// forms of its characters or with white space or characters between them that show nothing, and the user:pass of HTTP Basic in base64. A text with such a
// key comes back decoded.
func WithoutKeys(text string) (clean, signature string) {
	if !mayHoldKey(text) {
		return text, ""
	}
	clean, signature = apikey.Redact(text), apikey.SignatureIn(text)
	passes := mostDecoded // of all rounds together
	for range mostRedacted {
		decoded := decodeAll(clean, &passes)
		found := apikey.SignatureIn(decoded)
		if found == "" && (signature == "" || passes > 0) {
			return clean, signature
		}
		clean, signature = apikey.Redact(decoded), cmp.Or(found, signature)
	}
	return signature, signature
}

// mayHoldKey reports false for most texts without a close look, which every request's User-Agent has: ASCII in which nothing is
// escaped, with fewer separators than a key has and no beginning of one in base64.
func mayHoldKey(text string) bool {
	separators, last := 0, [4]byte{}
	for i := range len(text) {
		switch c := text[i]; {
		case c >= utf8.RuneSelf, c == '%', c == '&', c == '\\':
			return true
		case c == '_', c == ':':
			separators++
		case c <= ' ' || c == 0x7f: // may stand between the characters of a key
		default:
			if last = [4]byte{last[1], last[2], last[3], c}; string(last[:]) == "cGtf" {
				return true
			}
		}
	}
	return separators >= 3
}

var (
	percentEncoded = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	// basicPair finds a key as user:pass in base64: pk_live_ or pk_test_, and at least as much more as a key has.
	basicPair   = regexp.MustCompile(`cGtf(?:bGl2ZV|dGVzdF)[89][0-9A-Za-z+/_-]{68,}`)
	standard    = strings.NewReplacer("-", "+", "_", "/")                      // of base64, for URLs
	underscores = strings.NewReplacer(`\_`, "_", `\u005f`, "_", `\u005F`, "_") // of Markdown and JSON
)

// decodeAll decodes a text until nothing in it is encoded any more, or no pass is left.
func decodeAll(text string, passes *int) string {
	for ; *passes > 0; *passes-- {
		decoded := input.Folded(percentEncoded.ReplaceAllStringFunc(text, func(encoded string) string {
			decoded, _ := url.PathUnescape(encoded) // the pattern lets nothing else through
			return decoded
		}))
		decoded = underscores.Replace(html.UnescapeString(decoded))
		decoded = basicPair.ReplaceAllStringFunc(decoded, func(encoded string) string {
			whole := len(encoded)
			if whole%4 == 1 {
				whole-- // of which no byte is made
			}
			pair, err := base64.RawStdEncoding.DecodeString(standard.Replace(encoded[:whole]))
			if err != nil || apikey.SignatureIn(string(pair)) == "" {
				return encoded
			}
			return string(pair)
		})
		if decoded == text {
			break
		}
		text = decoded
	}
	return text
}
