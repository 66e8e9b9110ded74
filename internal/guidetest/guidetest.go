// Package guidetest reads the commands and files of a guide, so that tests run what readers are told to run.
package guidetest

import (
	"os"
	"strings"
	"testing"
)

// Blocks returns the code blocks of one language under a heading of a guide, like "## Back up", up to the next heading of the same
// or a higher level. It fails the test where there are none.
func Blocks(t testing.TB, guide, heading, language string) []string {
	t.Helper()
	text, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, part, found := strings.Cut(string(text), "\n"+heading+"\n")
	for level, _, _ := strings.Cut(heading, " "); len(level) > 1; level = level[1:] {
		part, _, _ = strings.Cut(part, "\n"+level+" ")
	}
	var blocks []string
	for {
		var block string
		if _, part, _ = strings.Cut(part, "```"+language+"\n"); part == "" {
			break
		}
		block, part, _ = strings.Cut(part, "```")
		blocks = append(blocks, block)
	}
	if !found || len(blocks) == 0 {
		t.Fatalf("%s has no %s under %q", guide, language, heading)
	}
	return blocks
}
