package handlers

import (
	"regexp"
	"strings"

	"github.com/moonlatch/moonlatch/internal/input"
)

// pageVerbs finds what a person does on a page, at the beginning of a sentence or of its second half, and quoted text, which
// is the caller's own.
var pageVerbs = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|“[^”]*”|\b(?:Enter|Choose|Select|Type|enter|choose|select)\b`)

// inProgramWords returns the problems as a program reads them. The rules' sentences are written for people, who enter and
// choose; a program sends.
func inProgramWords(problems input.Problems) input.Problems {
	out := input.Problems{}
	for name, sentence := range problems {
		out[name] = pageVerbs.ReplaceAllStringFunc(sentence, func(found string) string {
			switch {
			case strings.HasPrefix(found, `"`), strings.HasPrefix(found, "“"):
				return found
			case found[0] >= 'a':
				return "send"
			}
			return "Send"
		})
	}
	return out
}
