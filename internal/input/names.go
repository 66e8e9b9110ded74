package input

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// NameKey is what names of organisations, workspaces, processes and profiles are compared by: without case, width and
// repeated spaces, and without the joiners and selectors that hardly show. Letters of different scripts stay apart.
func NameKey(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == joiner || r == nonJoiner || unicode.Is(unicode.Variation_Selector, r) {
			return -1
		}
		return r
	}, name)
	key := norm.NFKC.String(cases.Fold().String(norm.NFKC.String(name))) // a small letter can join an accent that its capital could not
	return strings.Join(strings.Fields(key), " ")
}
