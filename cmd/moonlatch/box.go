package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// box prints lines so that they can't be missed.
func (p *program) box(lines ...string) {
	width := 0
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(line))
	}
	edge := strings.Repeat("─", width+4)
	var b strings.Builder
	fmt.Fprintf(&b, "\n┌%s┐\n", edge)
	for _, line := range append(append([]string{""}, lines...), "") {
		fmt.Fprintf(&b, "│  %s%s  │\n", line, strings.Repeat(" ", width-utf8.RuneCountInString(line)))
	}
	fmt.Fprintf(&b, "└%s┘\n\n", edge)
	fmt.Fprint(p.stdout, b.String())
}
