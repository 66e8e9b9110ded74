// Package licences holds the licences of the software of others that the binary contains.
package licences

import _ "embed"

// Text names each module and package with its version, and repeats its licence in full. make licences writes it.
//
//go:embed third-party.txt
var Text string

// Heading is the line with which the entry of a module or package begins.
func Heading(name, version string) string { return "=== " + name + " " + version }
