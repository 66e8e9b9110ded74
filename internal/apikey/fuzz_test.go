package apikey

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzParse: what is read is the text itself, and one other character anywhere in it is refused.
func FuzzParse(f *testing.F) {
	good := NewPlaintext(Test).Reveal()
	for _, seed := range []string{good, "pk_live_000000000000_00000000000000000000000000000000000000", "pk_test_AbCdEf000547_0123456789abcdefghijklmnopqrstuv00dXaG", good[:58], good + "\n", ""} {
		f.Add(seed, uint8(20), byte('x'))
	}
	f.Fuzz(func(t *testing.T, text string, at uint8, other byte) {
		p, err := Parse(text)
		if err != nil {
			return
		}
		if p.Reveal() != text || p.Prefix()+"_"+p.RevealPass() != text || !strings.HasPrefix(text, "pk_"+string(p.Environment())+"_") {
			t.Fatal("a key was read that is not the text")
		}
		changed := []byte(text)
		changed[int(at)%len(changed)] = other
		if _, err := Parse(string(changed)); err == nil && string(changed) != text {
			t.Fatalf("a key with %q in place %d is still one", other, int(at)%len(changed))
		}
	})
}

// FuzzRedact puts a key between any two texts: nothing of its secret comes out, nor a key that the texts hold.
func FuzzRedact(f *testing.F) {
	key := "pk_test_AbCdEf000547_0123456789abcdefghijklmnopqrstuv00dXaG"
	for _, around := range []string{"", " ", "key=", "https://example.com/?q=", "pk_live_", "pk_live_000000000000_", key, "pk_live_AAAAAAAAAAAA_" + strings.Repeat("a", 36),
		"pk_live_AAAAAAAAAAAA_" + strings.Repeat("a", 32), "pk_live_AAAAAAAAAAAA:" + strings.Repeat("a", 31)} {
		f.Add(around, "", false)
		f.Add(around, around, true)
	}
	f.Fuzz(func(t *testing.T, before, after string, basic bool) {
		text := key
		if basic {
			text = key[:20] + ":" + key[21:]
		}
		redacted := Redact(before + text + after)
		if pass := key[21:]; strings.Contains(redacted, pass) && !strings.Contains(before+after, pass[:32]) { // to which the signature would be added
			t.Fatalf("%q comes out as %q", before+text+after, redacted)
		}
		if SignatureIn(before+text+after) == "" || SignatureIn(redacted) != "" || Redact(redacted) != redacted {
			t.Fatalf("%q still holds a key", redacted)
		}
		if SignatureIn(before) == "" && Redact(before) != before {
			t.Fatalf("%q has no key and comes out as %q", before, Redact(before))
		}
	})
}

// FuzzParseAllowlist: an allowlist reads back as itself, and lets in the addresses of its entries and no other.
func FuzzParseAllowlist(f *testing.F) {
	for _, seed := range []string{"192.0.2.0/24", "10.0.0.0/8\n2001:db8::/32", "::ffff:192.0.2.9", "::ffff:10.0.0.0/104", "0.0.0.0/0", "::/0", "fe80::1%eth0", "10.0.0.7/8", " 192.0.2.7 ", "010.0.0.1", "1.2.3", "1/8"} {
		f.Add(seed, []byte{192, 0, 2, 9})
		f.Add(seed, netip.MustParseAddr("2001:db8::1").AsSlice())
	}
	f.Fuzz(func(t *testing.T, text string, address []byte) {
		entries := strings.Split(text, "\n")
		list, err := ParseAllowlist(entries)
		if err != nil {
			return
		}
		var texts []string
		seen := map[netip.Prefix]bool{}
		for _, p := range list {
			if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Addr().Zone() != "" || seen[p] {
				t.Fatalf("%q gives %v", text, list)
			}
			seen[p] = true
			texts = append(texts, p.String())
		}
		if again, err := ParseAllowlist(texts); err != nil || fmt.Sprint(again) != fmt.Sprint(list) || len(list) > MaxAllowlist {
			t.Fatalf("%v reads back as %v, %v", list, again, err)
		}
		a, ok := netip.AddrFromSlice(address)
		if !ok {
			return
		}
		a = a.Unmap()
		let, meant := false, false
		for _, p := range list {
			let = let || p.Contains(a)
		}
		for _, entry := range entries {
			entry = strings.TrimSpace(entry)
			network, err := netip.ParsePrefix(entry)
			meant = meant || err == nil && network.Contains(a)
			one, err := netip.ParseAddr(entry)
			meant = meant || err == nil && one.Unmap() == a
		}
		if let != meant {
			t.Fatalf("%q lets %s in: %t", text, a, let)
		}
	})
}

// FuzzParseExpiry: an expiry is to come, within the policy, as exact as it is stored, and reads back as itself.
func FuzzParseExpiry(f *testing.F) {
	for _, seed := range []string{"", "90d", "0d", "65535d", "2027-01-31", "2027-01-31T00:00:00Z", "2026-11-21T10:00:00.0000001Z", "2026-11-21T12:00:00.000001+02:00", "9999-12-31T23:59:59Z"} {
		f.Add(seed, uint32(0))
		f.Add(seed, uint32(86_400*364))
	}
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	policy := Policy{LongestLifetime: 365 * Day, DefaultLifetime: 90 * Day}
	f.Fuzz(func(t *testing.T, text string, age uint32) {
		created := now.Add(-time.Duration(age) * time.Second)
		at, err := ParseExpiry(text, now, created, policy)
		if err != nil {
			return
		}
		if !at.After(now) || at.After(created.Add(policy.LongestLifetime)) || at.Location() != time.UTC || at != at.Truncate(time.Microsecond) {
			t.Fatalf("%q is %s", text, at.Format(time.RFC3339Nano))
		}
		if again, err := ParseExpiry(at.Format(time.RFC3339Nano), now, created, policy); err != nil || !again.Equal(at) {
			t.Fatalf("%s reads back as %s, %v", at, again, err)
		}
	})
}

// FuzzCheckName: a name that is taken has 1 to 100 characters.
func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"", "a", strings.Repeat("é", 100), strings.Repeat("é", 101), "my pk_live_000000000000_000000000000000000000000000000001Bx2Ss", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n := utf8.RuneCountInString(name)
		if taken := CheckName(name) == nil; taken != (n >= 1 && n <= MaxName) {
			t.Fatalf("%q is taken: %t", name, taken)
		}
	})
}

// FuzzParseSort: an order that is known reads back as itself.
func FuzzParseSort(f *testing.F) {
	for _, seed := range []string{"", "name", "-created", "--name", "-", "expires", "used", "Name"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sort, ok := ParseSort(text)
		if ok && text != "" && sort.String() != text || ok && text == "" && sort != Newest {
			t.Fatalf("%q is %v", text, sort)
		}
		if again, known := ParseSort(sort.String()); ok && (!known || again != sort) {
			t.Fatalf("%v reads back as %v", sort, again)
		}
	})
}

// FuzzThreshold: what is taken is digits alone, stands for itself, and lies on the scale.
func FuzzThreshold(f *testing.F) {
	for _, seed := range []string{"0", "100", "101", "-1", "+5", "1e2", "5 0", " 50 ", "050", "0000", "٥٠", "５０", "0x1", "1_0", "50.0", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := ParseThreshold(text)
		if err != nil {
			return
		}
		text = strings.TrimSpace(text)
		if n < 0 || n > MaxThreshold || len(text) > 3 || strings.TrimLeft(text, "0") != strings.TrimLeft(strconv.Itoa(n), "0") || LevelOf(n).Label() == "" {
			t.Fatalf("%q is read as %d", text, n)
		}
	})
}
