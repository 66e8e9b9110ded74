// Package input is about what people type: text is cleaned here once, and what is wrong with it is
// said by field, for pages and for JSON alike.
package input

import (
	"errors"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"golang.org/x/text/unicode/norm"
)

// Problems has a sentence for each field that can't be accepted. It is an error when it is not empty.
type Problems map[string]string

// Add notes what is wrong with a field; the first sentence stays.
func (p Problems) Add(field string, err error) {
	if _, taken := p[field]; err != nil && !taken {
		p[field] = err.Error()
	}
}

// Err is nil when nothing is wrong.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Error names the fields, for logs and terminals.
func (p Problems) Error() string {
	var out []string
	for field, sentence := range p {
		out = append(out, field+": "+sentence)
	}
	sort.Strings(out)
	return strings.Join(out, " ")
}

// ProblemsIn returns the problems inside an error, or nil.
func ProblemsIn(err error) Problems {
	var p Problems
	errors.As(err, &p)
	return p
}

// Sentence is an error in words that are meant for people, to be shown beside the field that it is about.
type Sentence string

func (s Sentence) Error() string { return string(s) }

const (
	errEncoding Sentence = "This text is not valid UTF-8. Type it again."
	errControl  Sentence = "Remove the invisible or control characters."
	errID       Sentence = "Send an id, which is a UUID."
	errEmail    Sentence = "Enter an e-mail address, like name@example.com."
)

// Line cleans one line of text: surrounding space goes, composed form (Unicode NFC) comes. Control characters,
// characters that turn the direction of text, and zero-width ones are refused, for they make two names look alike.
func Line(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errEncoding
	}
	text = norm.NFC.String(strings.TrimSpace(text))
	if visible(text) != text {
		return "", errControl
	}
	return text, nil
}

// maxSearch is longer than any name, e-mail address or id, in characters.
const maxSearch = 300

// Search cleans what somebody looks for. It is compared and not kept, so nothing is refused: what shows nothing goes, and
// what is too long for anything to match is cut.
func Search(text string) string {
	text = visible(norm.NFC.String(strings.TrimSpace(visible(strings.ToValidUTF8(text, "")))))
	if cut := []rune(text); len(cut) > maxSearch {
		text = string(cut[:maxSearch])
	}
	return text
}

// visible is the text without the characters that show nothing. A joiner shows how its neighbours are written, and stays
// where it has such neighbours.
func visible(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return r == emojiStyle || invisible(r) }) {
		return text
	}
	runes := []rune(text)
	shown := make([]rune, 0, len(runes))
	for i, r := range runes {
		if r == emojiStyle && (i == 0 || !styled(runes[i-1])) {
			continue
		}
		if !invisible(r) || i > 0 && i < len(runes)-1 && joins(runes[i-1], r, runes[i+1]) {
			shown = append(shown, r)
		}
	}
	return string(shown)
}

const (
	nonJoiner = '\u200C' // parts letters that would be joined: Persian needs it within words
	joiner    = '\u200D' // joins letters of Indic scripts, and emoji
)

// joins reports whether a joiner between these two is text: it stands between letters or marks, or U+200D between the
// parts of an emoji.
func joins(before, r, after rune) bool {
	if r != nonJoiner && r != joiner {
		return false
	}
	written := unicode.In(before, unicode.L, unicode.M) && before != emojiStyle && unicode.In(after, unicode.L, unicode.M)
	emoji := r == joiner && (before == emojiStyle || unicode.In(before, unicode.So, unicode.Sk)) && unicode.Is(unicode.So, after)
	return written || emoji
}

// styled reports whether U+FE0F behind a character makes an emoji of it: a symbol, or a digit of a keycap.
func styled(before rune) bool {
	return unicode.In(before, unicode.So, unicode.Sm, unicode.Sk, unicode.Po) && before > unicode.MaxASCII || strings.ContainsRune("0123456789#*", before)
}

// unseen are the characters that show nothing: control and format characters, line and paragraph separators, those
// that Unicode lets a font ignore, and non-characters.
var unseen = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point,
	unicode.Variation_Selector, unicode.Noncharacter_Code_Point}

const (
	emojiStyle   = '\uFE0F' // a variation selector that many keyboards put behind an emoji
	emptyBraille = '\u2800'
)

func invisible(r rune) bool {
	return r != emojiStyle && (r == emptyBraille || unicode.In(r, unseen...))
}

// ID brings an id to the one spelling in which it is stored and written down. Others are understood, as they are
// elsewhere: in capitals, without dashes, in braces, as a URN (RFC 9562).
func ID(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil || uuid.Validate(text) != nil { // which looks at the braces
		return "", errID
	}
	return id.String(), nil
}

// Email brings an address to the form in which it is stored and compared, so that variants are one account.
func Email(text string) (string, error) {
	text, err := Line(text)
	if err != nil {
		return "", err
	}
	if strings.ContainsRune(text, joiner) || strings.ContainsRune(text, nonJoiner) {
		return "", errEmail
	}
	text = norm.NFKC.String(strings.ToLower(norm.NFKC.String(text))) // a small letter can join an accent that its capital could not
	at := strings.LastIndexByte(text, '@')
	if at < 1 || at == len(text)-1 || len(text) > 254 || strings.ContainsAny(text, " \t,;<>") {
		return "", errEmail
	}
	return text, nil
}
