// Package input is about what people type: text is cleaned here once, and what is wrong with it is
// said by field, for pages and for JSON alike.
package input

import (
	"errors"
	"regexp"
	"sort"
	"strings"
	"time"
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
	errInstant  Sentence = "Send a time in RFC 3339, like 2027-01-31T00:00:00Z."
	errID       Sentence = "Send an id, which is a UUID."
	errEmail    Sentence = "Enter an e-mail address, like name@example.com."
)

// Line cleans one line of text: surrounding space goes, space within becomes one U+0020, as browsers display and copy it,
// and composed form (Unicode NFC) comes. Control characters, characters that turn the direction of text, and zero-width
// ones are refused, for they make two names look alike.
func Line(text string) (string, error) {
	if !utf8.ValidString(text) {
		return "", errEncoding
	}
	text = norm.NFC.String(strings.TrimSpace(text))
	if visible(text) != text {
		return "", errControl
	}
	return oneSpace(text), nil
}

// oneSpace replaces each run of white space by one U+0020, and takes it away at both ends.
func oneSpace(text string) string { return strings.Join(strings.Fields(text), " ") }

// maxSearch is longer than any name, e-mail address or id, in characters.
const maxSearch = 300

// Search cleans what somebody looks for. It is compared and not kept, so nothing is refused: what shows nothing goes, and
// what is too long for anything to match is cut.
func Search(text string) string {
	text = strings.ToValidUTF8(text, "")
	text = visible(norm.NFC.String(oneSpace(visible(text))))
	if cut := []rune(text); len(cut) > maxSearch {
		text = string(cut[:maxSearch])
	}
	return text
}

// visible is the text without the characters that show nothing. A joiner or a selector shows how its neighbours are
// written, and stays where it has such neighbours.
func visible(text string) string {
	if !strings.ContainsFunc(text, invisible) {
		return text
	}
	runes := []rune(text)
	shown := make([]rune, 0, len(runes))
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		if n := flagTags(runes[i:]); n > 0 {
			shown = append(shown, runes[i:i+n]...)
			i += n - 1
			continue
		}
		var before, after rune // 0 is a neighbour of nothing
		if i > 0 {
			before = runes[i-1]
		}
		if i < len(runes)-1 {
			after = runes[i+1]
		}
		if !invisible(r) || joins(before, r, after) || selects(before, r) {
			shown = append(shown, r)
		}
	}
	return string(shown)
}

const (
	nonJoiner  = '\u200C' // parts letters that would be joined: Persian needs it within words
	joiner     = '\u200D' // joins letters of Indic scripts, and emoji
	textStyle  = '\uFE0E' // asks for a symbol in black and white
	emojiStyle = '\uFE0F' // asks for a symbol as an emoji; many keyboards put it behind one
	blackFlag  = '\U0001F3F4'
	endOfTags  = '\U000E007F'
)

// joins reports whether a joiner between these two is text: it stands between letters or marks, U+200D behind a virama,
// as older text writes a chillu (RFC 5892, A.2), or U+200D between the parts of an emoji.
func joins(before, r, after rune) bool {
	if r != nonJoiner && r != joiner {
		return false
	}
	written := isText(before) && isText(after) || r == joiner && isVirama(before)
	emoji := r == joiner && (before == emojiStyle || unicode.In(before, unicode.So, unicode.Sk)) && unicode.Is(unicode.So, after)
	return written || emoji
}

func isText(r rune) bool { return unicode.In(r, unicode.L, unicode.M) && !unicode.In(r, unseen...) }

func isVirama(r rune) bool {
	const virama = 9 // the canonical combining class
	return norm.NFC.PropertiesString(string(r)).CCC() == virama
}

// selects reports whether a variation selector is text: behind a symbol or the digit of a keycap one for text or emoji,
// behind a Chinese character one of those that Japanese names need, and behind a Mongolian letter one of its forms.
func selects(before, r rune) bool {
	switch {
	case r == textStyle || r == emojiStyle:
		return unicode.In(before, unicode.So, unicode.Sm, unicode.Sk, unicode.Po) && before > unicode.MaxASCII || strings.ContainsRune("0123456789#*", before)
	case r >= '\U000E0100' && r <= '\U000E01EF':
		return unicode.Is(unicode.Han, before)
	case r >= '\u180B' && r <= '\u180D' || r == '\u180F':
		return unicode.Is(unicode.Mongolian, before) && unicode.Is(unicode.L, before)
	}
	return false
}

// flagTags counts the characters of a flag of a part of a country at the beginning of a text, like England's: a black flag,
// small letters and digits as tags, and the end of tags (UTS 51, ED-14a). 0 if there is none.
func flagTags(text []rune) int {
	const fewest, most = 3, 6 // a country and its part, like gbeng
	if text[0] != blackFlag {
		return 0
	}
	for i, r := range text[1:min(len(text), most+2)] {
		switch {
		case r == endOfTags && i >= fewest:
			return i + 2
		case !(r >= '\U000E0030' && r <= '\U000E0039' || r >= '\U000E0061' && r <= '\U000E007A'):
			return 0
		}
	}
	return 0
}

// unseen are the characters that show nothing: control and format characters, line and paragraph separators, those
// that Unicode lets a font ignore, and non-characters.
var unseen = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point,
	unicode.Variation_Selector, unicode.Noncharacter_Code_Point}

const emptyBraille = '\u2800'

func invisible(r rune) bool { return r == emptyBraille || unicode.In(r, unseen...) }

// ID brings an id to the one spelling in which it is stored and written down. Others are understood, as they are
// elsewhere: in capitals, without dashes, in braces, as a URN (RFC 9562).
func ID(text string) (string, error) {
	id, err := uuid.Parse(text)
	if err != nil || uuid.Validate(text) != nil { // which looks at the braces
		return "", errID
	}
	return id.String(), nil
}

// instant is RFC 3339, 5.6, in capitals and without leap seconds. The standard library's parser takes more: an hour of one
// digit, a comma, an offset of a whole day.
var instant = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$`)

// Instant reads a time as instant has it; errInstant for anything else.
func Instant(text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil || !instant.MatchString(text) {
		return time.Time{}, errInstant
	}
	return at, nil
}

// Email brings an address to the form in which it is stored and compared, so that variants are one account.
func Email(text string) (string, error) {
	text, err := Line(text)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(text, invisible) { // joiners and selectors are text in a name alone
		return "", errEmail
	}
	text = norm.NFKC.String(strings.ToLower(norm.NFKC.String(text))) // a small letter can join an accent that its capital could not
	at := strings.LastIndexByte(text, '@')
	if at < 1 || at == len(text)-1 || len(text) > 254 || strings.ContainsAny(text, " \t,;<>") {
		return "", errEmail
	}
	return text, nil
}

// Folded returns the base characters of a text, for looking for what must not be in it: compatibility forms as the usual ones
// (full-width letters, Unicode NFKD), and without marks, white space, what shows nothing, and what is not UTF-8.
func Folded(text string) string {
	return strings.Map(func(r rune) rune {
		if invisible(r) || unicode.In(r, unicode.M, unicode.White_Space) {
			return -1
		}
		return r
	}, norm.NFKD.String(strings.ToValidUTF8(text, "")))
}
