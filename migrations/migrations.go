// Package migrations holds the database's schema as goose migrations.
package migrations

import (
	"embed"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Files are the migrations, in the order of their numbers.
//
//go:embed *.sql
var Files embed.FS

// Latest is the number of the last migration.
func Latest() int {
	names, err := fs.Glob(Files, "*.sql")
	if err != nil {
		panic(err) // the pattern is sound
	}
	last, _, _ := strings.Cut(slices.Max(names), "_")
	number, err := strconv.Atoi(last)
	if err != nil {
		panic(err) // goose would not take such a name
	}
	return number
}
