package internal_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The documents in which a claim names the test that shows it.
var claims = []string{"../SECURITY.md", "../docs/threat-model.md", "../docs/data.md"}

// TestEveryTestThatADocumentNamesExists reads the tests' names from the sources, so that no claim rests on a test that was renamed.
func TestEveryTestThatADocumentNamesExists(t *testing.T) {
	tests := testNames(t)
	for _, file := range claims {
		for _, name := range testsNamed(read(t, file)) {
			if !tests[name] {
				t.Errorf("%s names %s, and there is no such test", file, name)
			}
		}
	}
}

// TestEveryLinkOfADocumentLeadsSomewhere follows the relative links of every page, and their anchors.
func TestEveryLinkOfADocumentLeadsSomewhere(t *testing.T) {
	pages := documents(t)
	if len(pages) < 20 {
		t.Fatalf("%d documents found", len(pages))
	}
	for _, page := range pages {
		for _, lost := range deadLinks(page, read(t, page)) {
			t.Errorf("%s: %s leads nowhere", page, lost)
		}
	}
}

// TestEveryTableIsInThePageOnData reads the schema's tables, so that none holds personal data that nobody wrote down.
func TestEveryTableIsInThePageOnData(t *testing.T) {
	page := read(t, "../docs/data.md")
	migrations, err := filepath.Glob("../migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	tables := 0
	for _, file := range migrations {
		for _, found := range table.FindAllStringSubmatch(read(t, file), -1) {
			if tables++; !strings.Contains(page, "`"+found[1]+"`") {
				t.Errorf("%s makes the table %s: say in docs/data.md what it holds of people, and for how long", file, found[1])
			}
		}
	}
	if tables < 20 {
		t.Errorf("%d tables found", tables)
	}
}

var table = regexp.MustCompile(`(?m)^\s*CREATE TABLE (?:IF NOT EXISTS )?(\w+)`)

// TestChecksOfDocumentsFindMistakes feeds the checks of this file what they are there to find.
func TestChecksOfDocumentsFindMistakes(t *testing.T) {
	if got := testsNamed("`TestA` and `FuzzB`, TestC/`x`, Testing, `Test`"); !slices.Equal(got, []string{"TestA", "FuzzB", "TestC"}) {
		t.Errorf("names of tests: %q", got)
	}
	if tests := testNames(t); tests["TestThatNobodyWrote"] || tests["TestMain"] || !tests["TestDataRunsOneWay"] || !tests["FuzzParse"] {
		t.Error("the tests of the repository are not told apart from what is none")
	}
	page := "# One\n## Two words: `x`\n[a](x.md) [b](#two-words-x) [c](#three) [d](house_test.go) [e](../README.md#no-such) [f](https://example.com/x)\n```\n[g](y.md)\n```\n"
	if got := deadLinks("page.md", page); !slices.Equal(got, []string{"x.md", "#three", "../README.md#no-such"}) {
		t.Errorf("dead links: %q", got)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// walk calls see for every file of the repository, but for what is made or comes from elsewhere.
func walk(t *testing.T, see func(file string) error) {
	t.Helper()
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && (name == "node_modules" || name == "data" || name == "bin" || len(name) > 2 && name[0] == '.') {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		return see(file)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// documents are the Markdown files of the repository.
func documents(t *testing.T) (out []string) {
	t.Helper()
	walk(t, func(file string) error {
		if strings.HasSuffix(file, ".md") {
			out = append(out, file)
		}
		return nil
	})
	return out
}

// testNames are the names of all functions that go test runs.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	walk(t, func(file string) error {
		if !strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, declaration := range parsed.Decls {
			if f, ok := declaration.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name != "TestMain" && testName.FindString(f.Name.Name) == f.Name.Name {
				out[f.Name.Name] = true
			}
		}
		return nil
	})
	return out
}

var testName = regexp.MustCompile(`\b(Test|Fuzz)[A-Z0-9]\w*`)

func testsNamed(text string) []string { return testName.FindAllString(text, -1) }

var (
	link  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	fence = regexp.MustCompile("(?ms)^\\s*```.*?^\\s*```$")
)

// deadLinks are the relative links of a page to no file, or to no heading of one.
func deadLinks(page, text string) (out []string) {
	for _, found := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		if strings.Contains(found[1], "://") {
			continue
		}
		path, anchor, _ := strings.Cut(found[1], "#")
		target := text
		if path != "" {
			file := filepath.Join(filepath.Dir(page), path)
			info, err := os.Stat(file)
			if err != nil {
				out = append(out, found[1])
				continue
			}
			if anchor == "" || info.IsDir() {
				continue
			}
			content, err := os.ReadFile(file)
			if err != nil {
				out = append(out, found[1])
				continue
			}
			target = string(content)
		}
		if !slices.Contains(anchors(target), anchor) {
			out = append(out, found[1])
		}
	}
	return out
}

// anchors are the names that a page's headings can be linked by: lower case, hyphens for spaces, no other punctuation, and
// a number where a heading comes again.
func anchors(page string) (out []string) {
	seen := map[string]int{}
	for line := range strings.Lines(fence.ReplaceAllString(page, "")) {
		heading, is := strings.CutPrefix(strings.TrimLeft(line, "#"), " ")
		if !is || line[0] != '#' {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(heading))
		if n := seen[slug]; n > 0 {
			out = append(out, fmt.Sprintf("%s-%d", slug, n))
		} else {
			out = append(out, slug)
		}
		seen[slug]++
	}
	return out
}
