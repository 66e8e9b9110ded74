package keyring

import (
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// FuzzSealedPosition opens any text as a place in any list: only what was sealed for that very list opens, as it was sealed.
func FuzzSealedPosition(f *testing.F) {
	c := newCursors([][32]byte{{1, 2, 3}})
	place := apikey.Position{Value: "a name", ID: "01980000-0000-7000-8000-000000000000", Backward: true}
	// What c.seal("org", []byte("list"), &place) once gave: fuzzing runs in several processes, which must agree on it.
	const sealed = "bNJeRIVIcECv5Z7CWEPrc9lvLNgKJAqwO_LYp02WcRg4ugQPZZw2dz6fOvPqHLZWOJY19jHSi62ETO9qn9U9uRt6pkUAXJU3caYqhVJ3gpZY7Hf6mwtcFkXIFr9VFSyofc-fQN7E6zNeB6I2ikzVlOEPqxKwtnEq"
	for _, seed := range []string{sealed, "", "AAAA", sealed[:len(sealed)-1], sealed + "A", sealed + "\n", sealed + "=", "x" + sealed[1:], newCursors([][32]byte{{1}}).seal("org", []byte("list"), &place)} {
		f.Add(seed, "org", []byte("list"))
		f.Add(seed, "another", []byte("list"))
		f.Add(seed, "org", []byte("another list"))
	}
	f.Fuzz(func(t *testing.T, cursor, org string, list []byte) {
		at, err := c.open(org, list, cursor)
		switch {
		case cursor == "":
			if err != nil || at != (apikey.Position{}) {
				t.Fatalf("the first page is %v, %v", at, err)
			}
		case cursor == sealed && string(list) == "list" && org == "org":
			if err != nil || at != place {
				t.Fatalf("what was sealed opens as %v, %v", at, err)
			}
		case cursor == sealed && string(list) == "list":
			if !errors.Is(err, ErrNotFound) {
				t.Fatalf("another organisation's is %v, %v", at, err)
			}
		case !errors.Is(err, ErrCursor):
			t.Fatalf("%q opens %q of %q as %v, %v", cursor, list, org, at, err)
		}
		mine := apikey.Position{Value: cursor, ID: org, Backward: len(list)%2 == 0}
		if back, err := c.open(org, list, c.seal(org, list, &mine)); utf8.ValidString(cursor) && utf8.ValidString(org) && (err != nil || back != mine) {
			t.Fatalf("%v opens as %v, %v", mine, back, err)
		}
	})
}
