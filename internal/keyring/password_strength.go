package keyring

import (
	_ "embed" // for phrases and germanWords
	"encoding/base64"
	"encoding/hex"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/trustelem/zxcvbn/matching"
	"github.com/trustelem/zxcvbn/scoring"
	"golang.org/x/text/unicode/norm"
)

const (
	// minGuesses is how many guesses a password must take by the estimate: a hundred times what zxcvbn's own highest score
	// asks for. ADR 21 says why.
	minGuesses = 1e12
	// mixedWindow is how long a text may be, in characters, in which a mixture of simple ones is looked for.
	mixedWindow = 64
	// strengthWindow bounds what the estimator reads at once, in characters: its time grows with the square of that.
	strengthWindow = 48
)

// phrases are texts that everybody knows: sayings, titles, rhymes, constants. zxcvbn knows words, and takes four words of
// "correct horse battery staple" for four unrelated ones.
//
//go:embed phrases.txt
var phrases string

// germanWords are words that German passwords are made of, the most frequent first: zxcvbn knows English alone.
//
//go:embed german.txt
var germanWords string

// seasons are what a forced change of passwords makes people write before a year.
var seasons = []string{"spring", "summer", "autumn", "fall", "winter", "january", "february", "march", "april", "may", "june", "july", "august",
	"september", "october", "november", "december", "password", "welcome", "christmas",
	"frühling", "sommer", "herbst", "januar", "februar", "märz", "mai", "juni", "juli", "oktober", "dezember", "passwort", "willkommen", "weihnachten"}

var phraseWords = sync.OnceValue(func() []string {
	var out []string
	for line := range strings.Lines(germanWords) {
		out = append(out, asciiForms(line)...)
	}
	out = append(out, "moonlatch", "apikey", "apikeys")
	for year := 2020; year < 2040; year++ { // zxcvbn's years end with 2019
		out = append(out, strconv.Itoa(year))
		for _, season := range seasons {
			out = append(out, asciiForms(season+strconv.Itoa(year))...)
		}
	}
	for line := range strings.Lines(phrases) {
		words := strings.Fields(line)
		line = strings.ToLower(line)
		for _, spelling := range []string{line, umlauts.Replace(line)} {
			ordered, _ := inOrder(inASCII(spelling)) // as guesses does
			out = append(out, ordered)
		}
		for last := range words { // people leave off the end of what is long
			if beginning := strings.Join(words[:last+1], ""); last+1 == len(words) || last >= 2 && len(beginning) >= 10 {
				out = append(out, asciiForms(beginning)...)
			}
		}
	}
	return out
})

// asciiForms are the spellings of a text that inASCII gives a password: "Übung" is typed as "ubung" and as "uebung".
func asciiForms(text string) []string {
	text = lettersAndDigits(strings.ToLower(text))
	return slices.Compact([]string{inASCII(text), inASCII(umlauts.Replace(text))})
}

var umlauts = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss")

// emailAddress matches an e-mail address in a text.
var emailAddress = regexp.MustCompile(`(?i)[^\s@]+@([\p{L}\d-]+\.)+\p{L}{2,}`)

// addressGuesses is how many guesses an e-mail address takes: about as many are known from breaches.
const addressGuesses = 1e9

// guesses estimates how many guesses a password takes, by zxcvbn, of its weakest spelling. own are words that an attacker
// tries first.
func guesses(password string, own []string) float64 {
	var words []string
	for _, text := range own {
		text = strings.ToLower(text)
		parts := strings.FieldsFunc(text, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) })
		for _, word := range append(parts, text, strings.Join(parts, "")) {
			if len(word) >= 3 {
				words = append(words, inASCII(word), inASCII(umlauts.Replace(word)), cyrillicKeys.Replace(word))
			}
		}
	}
	own = slices.Clone(words)
	for _, word := range phraseWords() { // the estimate of a word is its last place
		if !slices.Contains(own, word) {
			words = append(words, word)
		}
	}
	weakest := math.Inf(1)
	for spelling, times := range spellings(normalPassword(password)) {
		weakest = min(weakest, times*windowGuesses(spelling, words))
	}
	lower := strings.ToLower(inASCII(normalPassword(password)))
	together, times := withoutMarks(lower)
	ordered, orders := inOrder(lower)
	weakest = min(weakest, times*orders*windowGuesses(ordered, words))
	if len(together) <= mixedWindow {
		weakest = min(weakest, times*mixedGuesses(together, words))
	}
	if rest := emailAddress.ReplaceAllString(normalPassword(password), ""); rest != normalPassword(password) {
		weakest = min(weakest, addressGuesses*windowGuesses(inASCII(rest), words))
	}
	return weakest
}

// inOrder puts a text's words into the order of the alphabet, so that a phrase is found whichever comes first, and says how many
// orders there are at most.
func inOrder(text string) (ordered string, orders float64) {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.In(r, unicode.L, unicode.M, unicode.N) })
	return strings.Join(slices.Sorted(slices.Values(words)), ""), math.Gamma(float64(len(words) + 1))
}

// decoded are the texts that a password in hexadecimal or base64 stands for, in ASCII. Digits alone are none: of eight pairs that
// are drawn, one in sixty would be text.
func decoded(password string) (texts []string) {
	unpadded := strings.TrimRight(password, "=")
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.RawStdEncoding.DecodeString, base64.RawURLEncoding.DecodeString} {
		text, err := decode(unpadded)
		unreadable := func(r rune) bool { return r < ' ' || r > '~' }
		if err == nil && !strings.ContainsFunc(string(text), unreadable) && strings.Trim(password, "0123456789") != "" {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// year matches one that people write behind a word, or behind each of several.
var year = regexp.MustCompile(`19\d\d|20\d\d`)

// row matches a row of letters or of digits.
var row = regexp.MustCompile(`\D+|\d+`)

// yearGuesses is how many guesses a year takes, however often a password repeats it.
const yearGuesses = 100

// mixedGuesses estimates what simple texts were mixed to, as "a1b2c3", "aabbcc" and "Jan2026Feb2026" are: letters and digits
// apart, what stands several times in a row once, the years taken out. Each row of letters or digits, and each character of
// which it may be that it was doubled, takes a guess of two.
func mixedGuesses(text string, words []string) float64 {
	least := apartGuesses(text, words)
	if single := squeezed(text); single != text {
		least = min(least, math.Exp2(float64(len(single)))*apartGuesses(single, words))
	}
	years := map[string]bool{}
	rest := year.ReplaceAllStringFunc(text, func(y string) string { years[y] = true; return "" })
	if len(years) > 0 {
		least = min(least, math.Pow(yearGuesses, float64(len(years)))*min(windowGuesses(rest, words), apartGuesses(rest, words)))
	}
	return least
}

// apartGuesses estimates a text's letters and its digits, each by themselves.
func apartGuesses(text string, words []string) float64 {
	rows := len(row.FindAllString(text, -1))
	return math.Exp2(float64(rows)) * windowGuesses(only(text, unicode.IsLetter), words) * windowGuesses(only(text, unicode.IsDigit), words)
}

// squeezed writes a character once that stands several times in a row.
func squeezed(text string) string {
	return string(slices.Compact([]rune(text)))
}

// only leaves the characters of a class.
func only(text string, class func(rune) bool) string {
	return strings.Map(func(r rune) rune {
		if class(r) {
			return r
		}
		return -1
	}, text)
}

// windowGuesses reads a long text's beginning and its end, each strengthWindow characters, and returns the better: the
// whole takes no fewer guesses than either.
func windowGuesses(text string, words []string) float64 {
	runes := []rune(text)
	if len(runes) <= strengthWindow {
		return textGuesses(text, words)
	}
	return max(textGuesses(string(runes[:strengthWindow]), words), textGuesses(string(runes[len(runes)-strengthWindow:]), words))
}

// textGuesses is zxcvbn's estimate without what it adds for each further part: that alone makes 10^12 of any four words, be they
// the person's own.
func textGuesses(text string, words []string) float64 {
	if text == "" {
		return 1
	}
	return scoring.MostGuessableMatchSequence(text, matching.Omnimatch(text, words), true).Guesses
}

// spellings are the texts that a password may have been made of: itself, and what is left without separators, without the
// Shift key and without common substitutions; and the same of the keys on which Cyrillic letters were typed. Each has the number
// of guesses that what was left out takes.
func spellings(password string) map[string]float64 {
	out := map[string]float64{}
	add := func(text string, times float64) {
		if least, there := out[text]; !there || times < least {
			out[text] = times
		}
	}
	for _, text := range append(decoded(password), password, cyrillicKeys.Replace(password)) {
		text = inASCII(text)
		lower := strings.ToLower(text)
		add(text, 1)
		add(unshift.Replace(lower), 1)
		add(withoutMarks(text))
		add(withoutMarks(unshift.Replace(lower)))
		add(withoutMarks(unleet.Replace(lower)))
	}
	return out
}

// inASCII takes accents from letters and puts a Latin letter in the place of each other character, since the estimator
// counts bytes. Neighbours of an alphabet stay neighbours, and what repeats still does. No text becomes harder to guess.
func inASCII(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r < unicode.MaxASCII:
			return r
		case r >= 0x300 && r < 0x370: // combining accents
			return -1
		}
		return 'a' + r%26
	}, norm.NFD.String(text))
}

// unshift is the key of a US keyboard that gives each character with Shift.
var unshift = strings.NewReplacer("!", "1", "@", "2", "#", "3", "$", "4", "%", "5", "^", "6", "&", "7", "*", "8", "(", "9", ")", "0",
	"_", "-", "+", "=", "{", "[", "}", "]", ":", ";", `"`, "'", "<", ",", ">", ".", "?", "/", "~", "`", "|", `\`)

// unleet takes substitutions back, also where a text mixes them.
var unleet = strings.NewReplacer("@", "a", "4", "a", "3", "e", "1", "i", "!", "i", "0", "o", "$", "s", "5", "s", "7", "t", "+", "t")

// marks is how many marks a US keyboard has, but for the space.
const marks = 32

// withoutMarks leaves letters and digits. One kind of mark separates words or ends them; each further one takes as many
// guesses as there are marks on a keyboard.
func withoutMarks(text string) (left string, times float64) {
	kinds := map[rune]bool{}
	left = only(text, func(r rune) bool {
		kept := unicode.In(r, unicode.L, unicode.M, unicode.N)
		kinds[r] = !kept && r != ' '
		return kept
	})
	times = 1
	for _, mark := range kinds {
		if mark {
			times *= marks
		}
	}
	return left, max(1, times/marks)
}

func lettersAndDigits(text string) string {
	return only(text, func(r rune) bool { return unicode.In(r, unicode.L, unicode.M, unicode.N) })
}

// cyrillicKeys puts Cyrillic letters into the place of the Latin ones of the same keys, so that walks over the Russian
// keyboard are found.
var cyrillicKeys = func() *strings.Replacer {
	const russian, latin = "йцукенгшщзхъфывапролджэячсмитьбюё", "qwertyuiop[]asdfghjkl;'zxcvbnm,.`"
	var pairs []string
	keys := []rune(latin)
	for i, letter := range []rune(russian) {
		pairs = append(pairs, string(letter), string(keys[i]), string(unicode.ToUpper(letter)), strings.ToUpper(string(keys[i])))
	}
	return strings.NewReplacer(pairs...)
}()
