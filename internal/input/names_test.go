package input

import "testing"

func TestNamesAreComparedWithoutCaseWidthAndSpaces(t *testing.T) {
	for _, alike := range [][]string{
		{"Second Org", "second org", "SECOND ORG", "Second  Org", " Second\u00a0Org ", "Ｓｅｃｏｎｄ Org"},
		{"Straße", "STRASSE", "strasse"},
		{"Caf\u00e9", "CAFE\u0301", "cafe\u0301"},
		{"ΟΔΟΣ", "οδος", "οδοσ"},
		{"ＡＰＩ", "api"},
	} {
		for _, name := range alike {
			if NameKey(name) != NameKey(alike[0]) {
				t.Errorf("%q and %q differ: %q, %q", name, alike[0], NameKey(name), NameKey(alike[0]))
			}
		}
	}
	for _, apart := range [][2]string{{"Second Org", "SecondOrg"}, {"Cafe", "Café"}, {"Second Org", "Second Org 2"}, {"pay", "рау"}} {
		if NameKey(apart[0]) == NameKey(apart[1]) {
			t.Errorf("%q and %q are one", apart[0], apart[1])
		}
	}
	for _, name := range []string{"", "A", "ǰ", "İ", "ﬃ", "Ⅷ"} {
		if key := NameKey(name); NameKey(key) != key {
			t.Errorf("the key of %q has another key: %q, %q", name, key, NameKey(key))
		}
	}
}
