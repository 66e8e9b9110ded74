package input

import (
	"strings"
	"testing"

	"golang.org/x/text/unicode/norm"
)

// FuzzEmail: an address has one form, and its form is itself; case and compatible characters make no other.
func FuzzEmail(f *testing.F) {
	for _, seed := range []string{"Ada@Example.com", "ａｄａ＠example.com", " a@b ", "İ\u0301@x", "ẞ@x", "ß@x", "K@x", "a@b@c", "@", "a@", "a b@c", "ﬁ@x", "\u00a8@x", "ǅ@x", strings.Repeat("a", 252) + "@b", "a\u202eb@c", "\xff@x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		form, err := Email(text)
		if err != nil {
			return
		}
		if again, err := Email(form); err != nil || again != form {
			t.Fatalf("%q is %q, and that is %q, %v", text, form, again, err)
		}
		if len(form) > 254 || strings.ContainsAny(form, " \t\r\n,;<>\x00") || !strings.Contains(form, "@") || strings.ToLower(form) != form || !norm.NFKC.IsNormalString(form) {
			t.Fatalf("%q is %q", text, form)
		}
		if line, err := Line(form); err != nil || line != form {
			t.Fatalf("%q is %q, which is no clean line: %v", text, form, err)
		}
	})
}
