package keyring

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn/frequency"
)

// own are the words that the tests' person and organisation have.
var own = []string{"ada.lovelace@acme.example", "Acme Rockets", "Ada Lovelace"}

// TestFamousPasswordsAreRefused has long passwords of the kinds that lists of leaked ones are full of.
func TestFamousPasswordsAreRefused(t *testing.T) {
	for kind, list := range map[string][]string{
		"phrase": {"correct horse battery staple", "correcthorsebatterystaple", "CorrectHorseBatteryStaple1!", "correct-horse-battery-staple", "Correct.Horse.Battery.Staple.2026",
			"c0rrect h0rse battery staple", "thequickbrownfoxjumpsoverthelazydog", "the quick brown fox", "to be or not to be", "tobeornottobethatisthequestion",
			"may the force be with you", "MayTheForceBeWithYou!", "maythefourthbewithyou", "in the beginning was the word", "Winter is coming", "WinterIsComing2026!",
			"ILoveYou2Forever!", "iloveyouiloveyou", "SuperSecretPassword", "thisismypassword1", "this is my password", "you shall not pass!", "Never gonna give you up",
			"supercalifragilisticexpialidocious", "loremipsumdolorsitamet", "3.14159265358979", "271828182845904", "14159265358979323", "27182818284590452", "1618033988749894"},
		"substitution": {"P@ssw0rdP@ssw0rd", "p4$$w0rdp4$$w0rd", "Passw0rdPassw0rd!", "Tr0ub4dor&3Tr0ub4dor&3", "@dm1n1str@t0r2026", "W3lc0m3W3lc0m3!!", "L3tM31nL3tM31n!"},
		"keyboard": {"qwertyuiopasdfghjkl", "qwertyuiop123456", "1qaz2wsx3edc4rfv", "1qaz2wsx3edc4rfv5tgb", "!QAZ@WSX#EDC$RFV", "zaq12wsxcde34rfv", "1q2w3e4r5t6y7u8i",
			"asdfghjklasdfghjkl", "qazwsxedcrfvtgbyhn", "qwertzuiopasdfghjkl", "йцукенгшщзхъфыва", "ЙцукенЙцукен123", "qweasdzxcqweasdzxc"},
		"sequence": {"abcdefghijklmnop", "abcdefghijklmnopqrstuvwxyz", "zyxwvutsrqponmlkjihg", "0123456789abcdef", "123456789012345", "12345678901234567890", "987654321987654321",
			"112233445566778899", "1111222233334444", "abcd1234abcd1234", "a1b2c3d4e5f6g7h8", "абвгдежзийклмноп", "αβγδεζηθικλμνξο"},
		"repetition": {"aaaaaaaaaaaaaaaa", "abcabcabcabcabcabc", "ha ha ha ha ha ha ha", "monkeymonkeymonkey", "парольпарольпароль", "密码密码密码密码密码密码密码密码", "....................", strings.Repeat("aB3$", 60)},
		"date": {"Summer2026Summer2026", "Summer2026Winter2026", "December2026December", "January-2026-January", "MondayTuesdayWednesday", "01/01/2000 01/01/2000", "31121999311219991",
			"Spring2025Summer2026!", "2024202520262027"},
		"common": {"passwordpassword", "Password123456789", "Password1234567!", "letmeinletmeinletmein", "administrator2026!", "ChangeMeChangeMe1!", "qwerty123456qwerty", "dragondragon123456", "footballbaseball12", "Welcome12345678!"},
		"mixed": {"a1b2c3d4e5f6g7h8i9", "12ab34cd56ef78gh", "a11b22c33d44e55f66", "one1two2three3four4five5", "Monday1Tuesday2Wednesday3", "aabbccddeeffgghhii", "aaabbbcccdddeeefff", "AaBbCcDdEeFfGgHh",
			"Q1 2026 Q2 2026 Q3 2026", "Jan2026Feb2026Mar2026", "Jan 1 2026 Jan 2 2026", "20252026202720282029"},
		"row of numbers":          {"1491625364964811", "2357111317192329", "1248163264128256512", "11235813213455891442", "31415926535897932384626"},
		"order":                   {"staple battery horse correct", "horse staple correct battery", "den Wurm fängt der frühe Vogel", "der fruehe Wurm faengt den Vogel"},
		"beginning of a phrase":   {"Ask not what your country can do", "In the beginning God created", "We the People of the United States", "alphabravocharliedelta"},
		"written in another form": {"70617373776f7264", "cGFzc3dvcmRwYXNzd29yZA==", "636F727265637420686F727365", "bGV0bWVpbmxldG1laW4"},
		"example": {"AKIAIOSFODNN7EXAMPLE", "123e4567-e89b-12d3-a456-426614174000", "5f4dcc3b5aa765d61d8327deb882cf99", "DEADBEEF-CAFEBABE-8BADF00D", "-----BEGIN RSA PRIVATE KEY-----",
			"foo bar baz qux quux", "rm -rf / --no-preserve-root", "May the 4th be with you!", "openthepodbaydoors", "Leonardo Donatello Raphael Michelangelo"},
		"own words": {"AcmeRockets2026!", "acme rockets 2026", "Ada.Lovelace2026!", "ada.lovelace@acme.example", "AcmeMoonlatch2026!", "Moonlatch2026Moonlatch", "LovelaceLovelace1", "Welcome2AcmeRockets", "4cm3r0ck3ts2026!",
			"ada acme lovelace rockets", "rockets.acme.lovelace.ada", "ecalevoladastekcoremca", "Lovelace, Ada (Acme Rockets)"},
		"e-mail address": {"john.smith@gmail.com", "wolfgang.schmidthuber@googlemail.com", "John.Smith@Gmail.com!", "j.mustermann@stadtwerke-bochum.de", "<kqxv.twzlb@mail.initech.co.uk>", "kranich+moonlatch@outlook.com",
			"grace.hopper@acme.example", "john.smith＠gmail.com", "john.smith@gmail.com 1", "postmaster@müller-söhne.de"},
		"four common words": {"this is my house", "i love you so much", "what do you want", "one two three four", "mein hund ist braun"},
		"British": {"God Save Our King 2026", "godsaveourgraciousking", "threelionsonashirt", "bobsyouruncle1234", "fish and chips please", "landofhopeandglory", "Mind the gap!!!!",
			"kingcharlesthethird", "itscominghome2026", "teaandbiscuits123", "youllneverwalkalone", "arsenalfootballclub", "ManchesterUnited1", "Christmas2026!!!", "!\"£$%^&*()_+qwe"},
		"German": {"Passwort2026Passwort", "meinpasswortistgeheim", "GeheimesPasswort1", "P4$$w0rtP4$$w0rt", "drowssaptrowssap", "Willkommen2026Willkommen", "Frühling2026Frühling",
			"Fruehling2026!!!", "Sommer2026Herbst2026", "Weihnachten2026!", "ichliebedich12345", "IchLiebeDichFürImmer", "Sein oder Nichtsein", "einigkeitundrechtundfreiheit",
			"Alle meine Entchen", "hänschenklein123", "stillenachtheiligenacht", "Fuchs du hast die Gans gestohlen", "Freude schöner Götterfunken", "freudeschoenergoetterfunken",
			"Übung macht den Meister", "uebungmachtdenmeister", "morgenstundhatgoldimmund", "Franz jagt im komplett", "Donaudampfschifffahrt", "eins zwei drei vier",
			"einszweidreivierfünf", "montag dienstag mittwoch", "rot gelb grün blau", "schmetterling123", "Fußball2026Fussball", "DuBistDerBeste123", "lassmichrein12345",
			"borussiadortmund1909", "Schalke04Schalke04", "1qay2wsx3edc4rfv", "qaywsxedcrfvtgbz", "1234567890ß´qwertz", "yxcvbnm,.-asdfgh", "31.12.1999 01.01.2000"},
	} {
		for _, password := range list {
			if checkPassword(password, own...) == nil {
				t.Errorf("%s: %q is accepted; it is thought to take %.1e guesses", kind, password, guesses(password, own))
			}
		}
	}
}

func TestGoodPasswordsAreAccepted(t *testing.T) {
	for _, password := range []string{
		"seven quiet herons wade", "copper gutters drift north", "wet gravel sings at noon", "violet bicycle thunder harbour",
		"kqXv7-pWm2r_Tz9Lb", "kqXv7@pWm2r.9z9Lb", "seven quiet herons a@b.example", "8d0c6f1be7a94325", "ma chaise boit du thé", "Kühlschrank tanzt Walzer", "kranich pfütze violine emsig", "dachs quirlt sieben lampen", "zielony rower śpi głęboko", "фиолетовый трамвай спит", "πράσινο ποδήλατο κοιμάται",
		"紫色の電車が静かな川辺で眠っている", "보라색 전차가 조용한 강가에서", "ترام بنفسجي ينام بهدوء", "हरी साइकिल चुपचाप सोती", "Acme lifts seven purple otters", "🦦🚋🪟🎻🦔🧭🪵🍋🧵🎲🦜🌋🪁🧊🐚",
	} {
		if err := checkPassword(password, own...); err != nil {
			t.Errorf("%q is refused: %v; it is thought to take %.1e guesses", password, err, guesses(password, own))
		}
	}
	for range 300 { // what a password manager draws
		if password := rand.Text()[:16]; checkPassword(strings.ToLower(password), own...) != nil {
			t.Errorf("%q is refused: %.1e guesses", password, guesses(password, own))
		}
	}
	refused, drawn := 0, 150
	for range drawn { // the same with every mark: a few hold a word
		bytes := make([]byte, 16)
		_, _ = rand.Read(bytes) // never fails
		for i := range bytes {
			bytes[i] = '!' + bytes[i]%('~'-'!'+1)
		}
		if checkPassword(string(bytes), own...) != nil {
			refused++
		}
	}
	if refused > drawn/10 {
		t.Errorf("%d of %d passwords of 16 drawn characters are refused", refused, drawn)
	}
}

// TestEstimateReadsBoundedText counts work rather than time: the longest password costs what its two windows do.
func TestEstimateReadsBoundedText(t *testing.T) {
	tail := "violet tram window drifts past copper lanterns"
	if got := guesses(strings.Repeat("a", MaxPassword-len(tail))+tail, nil); got < minGuesses {
		t.Errorf("a strong end of a long password is not read: %.1e", got)
	}
	if got := guesses(strings.Repeat("a", 100)+tail+strings.Repeat("a", 100), nil); got >= minGuesses {
		t.Errorf("the middle of a long password is read: %.1e", got)
	}
	began := time.Now()
	for _, unit := range []string{"a", "2026", "1q2w3e", "p4$sw0rd"} {
		guesses(strings.Repeat(unit, MaxPassword)[:MaxPassword], own)
	}
	t.Logf("four passwords of %d characters took %v", MaxPassword, time.Since(began))
}

// TestThePasswordsOfBreachesAreRefused reads zxcvbn's list of the most common passwords of breaches. Hardly any is as long as ours
// have to be, so the first are also tried written several times, and twice with a year.
func TestThePasswordsOfBreachesAreRefused(t *testing.T) {
	list := frequency.FrequencyLists["passwords"]
	if len(list) < 3000 {
		t.Fatalf("%d passwords are known", len(list))
	}
	tried := 0
	for rank, password := range list {
		tries := []string{password}
		if rank < 300 { // each estimate takes some milliseconds
			tries = append(tries, strings.Repeat(password, 1+MinPassword/len(password)), password+password+"2026")
		}
		for _, text := range tries {
			if utf8.RuneCountInString(text) < MinPassword {
				continue
			}
			if tried++; checkPassword(text) == nil {
				t.Errorf("%q is accepted: %.1e guesses", text, guesses(text, nil))
			}
		}
	}
	t.Logf("%d of them are long enough, as they are or repeated", tried)
}

func TestPasswordsAreStoredAsArgon2id(t *testing.T) {
	p := newPasswords()
	one, err := p.hash(t.Context(), "seven quiet herons wade")
	if err != nil {
		t.Fatal(err)
	}
	other, err := p.hash(t.Context(), "seven quiet herons wade")
	if err != nil || one == other || !strings.HasPrefix(one, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("%s and %s, %v", one, other, err)
	}
}

// TestAPasswordCountsInFull tries lengths up to the most, and one character more or less.
func TestAPasswordCountsInFull(t *testing.T) {
	p := newPasswords()
	for _, n := range []int{64, 128, MaxPassword} {
		password := (strings.Repeat("seven quiet herons wade ", 20) + "violet tram")[:n-4] + "Zq9~"
		if err := checkPassword(password); err != nil {
			t.Errorf("%d characters: %v", n, err)
		}
		hash, err := p.hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string]string{"without its end": password[:n-1], "in another case": strings.ToLower(password), "with a space": password + " "} {
			if same, err := p.matches(t.Context(), text, hash); same || err != nil {
				t.Errorf("%d characters, %s: %t, %v", n, what, same, err)
			}
		}
		if same, err := p.matches(t.Context(), password, hash); !same || err != nil {
			t.Errorf("%d characters: %t, %v", n, same, err)
		}
	}
	if checkPassword(strings.Repeat("seven quiet herons wade ", 11)) == nil {
		t.Errorf("more than %d characters are accepted", MaxPassword)
	}
}
