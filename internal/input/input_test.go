package input

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestLineIsCleanedOrRefused(t *testing.T) {
	for text, want := range map[string]string{"  a b ": "a b", "a  b": "a b", "a\u00a0\u2009b": "a b", "山田\u3000太郎": "山田 太郎", "e\u0301": "é", "": "", "日本語 🙂": "日本語 🙂", "❤️": "❤️", "\t\n": ""} {
		if got, err := Line(text); got != want || err != nil {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, bad := range []string{"a\x00b", "a\nb", "a\u202eb", "a\u200bb", "a\u2028b", "\xff", "a\x7fb", "a\u0085b", "\ufeffa", "\u2800\u3164", "\uffa0", "a\u034f", "\u17b4", "\U000e0100", "\uffff"} {
		if got, err := Line(bad); err == nil {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
}

func TestAnInstantIsRFC3339(t *testing.T) {
	for text, want := range map[string]bool{
		"2027-01-01T00:00:00Z": true, "2027-01-01T00:00:00.123456789Z": true, "2027-01-01T00:00:00+23:59": true, "2027-01-01T00:00:00-00:00": true,
		"2027-01-01T00:00:00+24:00": false, "2027-01-01T00:00:00+23:60": false, "2027-01-01T00:00:00,5Z": false, "2027-01-01T0:00:00Z": false,
		"2027-01-01 00:00:00Z": false, "2027-01-01T24:00:00Z": false, "2027-02-29T00:00:00Z": false, "2027-01-01": false, "": false, "10000-01-01T00:00:00Z": false,
	} {
		if _, err := Instant(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSearchRefusesNothing(t *testing.T) {
	for text, want := range map[string]string{" a b ": "a b", "a \t\u00a0b": "a b", "a\u200b \u200b b": "a b", "\u200ba\u202eb\n": "ab", "\u200b\ufeff": "", "\xff": "", "e\u0301": "é", "❤️": "❤️", strings.Repeat("語", 10_000): strings.Repeat("語", maxSearch)} {
		if got := Search(text); got != want {
			t.Errorf("%.30q is %.30q", text, got)
		}
	}
}

func TestFoldedLeavesBaseCharacters(t *testing.T) {
	for text, want := range map[string]string{"": "", "pk_live": "pk_live", "ｐｋ＿ｌｉｖｅ：": "pk_live:", "p\u200bk\u00ad \u202e_\r\n\ufeff\ufe0f\u3164\xff\x00": "pk_", "e\u0301é": "ee", "①𝐚": "1a"} {
		if got := Folded(text); got != want {
			t.Errorf("%q is %q", text, got)
		}
	}
}

func TestVariantsOfAnAddressAreOneAccount(t *testing.T) {
	for _, text := range []string{"Ada@Example.com", " ada@example.COM ", "ａｄａ@example.com"} {
		if got, err := Email(text); got != "ada@example.com" || err != nil {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "a", "@b", "a@", "a b@c", "a@b\x00", "a,b@c", "<a@b>"} {
		if got, err := Email(bad); err == nil {
			t.Errorf("%q was taken as %q", bad, got)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\u202eb")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Line(text)
		if err != nil {
			return
		}
		again, err := Line(got)
		if err != nil || again != got || !utf8.ValidString(got) || !norm.NFC.IsNormalString(got) {
			t.Fatalf("%q is %q, which is not clean", text, got)
		}
		for _, r := range got {
			if unicode.IsControl(r) {
				t.Fatalf("%q kept %q", text, r)
			}
		}
	})
}

func TestProblemsAreAnErrorOnlyWhenThereAreAny(t *testing.T) {
	p := Problems{}
	p.Add("name", nil)
	if p.Err() != nil || ProblemsIn(p.Err()) != nil || ProblemsIn(errors.New("x")) != nil {
		t.Error("no problem is a problem")
	}
	p.Add("name", Sentence("First."))
	p.Add("name", Sentence("Second."))
	if got := ProblemsIn(p.Err()); got["name"] != "First." {
		t.Errorf("%v", got)
	}
}

// TestJoinersAreTextBetweenWhatTheyJoin takes what Persian, Indic scripts and emoji are written with, and refuses what hides.
func TestJoinersAreTextBetweenWhatTheyJoin(t *testing.T) {
	for _, text := range []string{"علی\u200cرضا", "می\u200cخواهم", "क्\u200dष", "ശ്രീ\u200d കൃഷ്ണ", "👩\u200d💻 laptop", "🏳\ufe0f\u200d🌈", "👩🏽\u200d🔬", "❤\ufe0f\u200d🔥", "👨\u200d👩\u200d👧\u200d👦",
		"ന്\u200d", "അവന്\u200d x", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f kit", "🏴\u200d☠\ufe0f", "☎\ufe0e", "1\ufe0f\u20e3", "葛\U000e0100城", "ᠮᠣᠩᠭᠣᠯ\u180b"} {
		got, err := Line(text)
		if strings.HasPrefix(text, "ശ്രീ") { // a joiner behind a vowel and before a space joins nothing
			if err == nil {
				t.Errorf("%q is taken as %q", text, got)
			}
			continue
		}
		if err != nil || got != norm.NFC.String(text) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
		if found := Search(text); found != norm.NFC.String(text) {
			t.Errorf("%q is looked for as %q", text, found)
		}
	}
	for _, text := range []string{"\u200cadmin", "admin\u200d", "a\u200d\u200db", "a\u200c\u200cb", "a \u200db", "1\u200d2", "a\u200d💻", "💻\u200da", "a\u200bb", "a\u202eb", "a\u2066b", "a\ufeffb", "💻\u200c💻", "-\u200d-", "\ufe0f", "admin\ufe0f", "a\ufe0f\ufe0fb", "❤\ufe0f\ufe0f",
		"a\ufe0e", "a\U000e0100", "葛\U000e0100\U000e0100", "a\u180b", "ᠮ\u180b\u180b", "\u180e", "a\U000e0067\U000e007f", "🏴\U000e0067", "🏴\U000e007f", "🏴\U000e0067\U000e0062\U000e0065x",
		"🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e0067\U000e0067\U000e0067\U000e007f", "x\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"} {
		if got, err := Line(text); err == nil {
			t.Errorf("%q is taken as %q", text, got)
		}
		if found := Search(text); strings.ContainsAny(found, "\u200b\u200c\u200d\u202e\u2066\ufeff\ufe0e\u180e\U000e0067\U000e007f") {
			t.Errorf("%q is looked for as %q", text, found)
		}
	}
	for _, address := range []string{"a\u200cb@example.com", "1\ufe0f@example.com", "☎\ufe0e@example.com", "葛\U000e0100@example.com", "ന്\u200d@example.com"} {
		if got, err := Email(address); err == nil {
			t.Errorf("an address with a joiner or a selector: %q", got)
		}
	}
	if NameKey("葛\U000e0100城") != NameKey("葛城") || NameKey("☎\ufe0e") != NameKey("☎") {
		t.Error("a variant of a character makes another name")
	}
	if NameKey("❤\ufe0f x") != NameKey("❤ x") {
		t.Error("a style makes another name")
	}
	if NameKey("علی\u200cرضا") != NameKey("علیرضا") {
		t.Error("a joiner makes another name")
	}
}
