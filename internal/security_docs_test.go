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
var claims = []string{"../SECURITY.md", "../docs/threat-model.md", "../docs/data.md", "../docs/security.md"}

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

// TestEveryRequirementOfASVSHasItsRow compares docs/security.md with the numbers and levels of the standard.
func TestEveryRequirementOfASVSHasItsRow(t *testing.T) {
	levels := asvs(t)
	page := read(t, "../docs/security.md")
	states, problems := checkRows(page, levels, settings(t))
	for _, problem := range problems {
		t.Error(problem)
	}
	said := fmt.Sprintf("Of %d requirements, %d are met, %d do not apply, and %d are not met.", len(levels), states["met"], states["n/a"], states["not met"])
	if !strings.Contains(page, said) {
		t.Errorf("docs/security.md does not say: %s", said)
	}
}

// asvs are the requirements of levels 1 and 2, with their level.
func asvs(t *testing.T) map[string]string {
	t.Helper()
	levels, count := map[string]string{}, map[string]int{}
	for line := range strings.Lines(read(t, "testdata/asvs-5.0.0.txt")) {
		if number, level, ok := strings.Cut(strings.TrimSpace(line), " "); ok && number != "#" {
			levels[number] = level
			count[level]++
		}
	}
	if len(levels) != 253 || count["1"] != 70 || count["2"] != 183 {
		t.Fatalf("%d requirements, %v by level", len(levels), count)
	}
	return levels
}

// settings are the variables of the environment that the configuration reads.
func settings(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, name := range regexp.MustCompile(`"([A-Z][A-Z_]{3,})"`).FindAllStringSubmatch(read(t, "../cmd/moonlatch/config.go"), -1) {
		out[name[1]] = true
	}
	if len(out) < 10 {
		t.Fatalf("%d settings found", len(out))
	}
	return out
}

var (
	row     = regexp.MustCompile(`(?m)^\| (\d+\.\d+\.\d+) \|(.*)\|$`)
	setting = regexp.MustCompile("`([A-Z][A-Z_]{3,})(?:=[^`]*)?`")
)

// checkRows counts the rows by state, and says what is wrong with them: a requirement without a row, with two, of another level or of
// an unknown state; one that is met with nothing to show it; one that is not met, or does not apply, without a reason.
func checkRows(page string, levels map[string]string, settings map[string]bool) (states map[string]int, problems []string) {
	states, seen := map[string]int{}, map[string]int{}
	for _, found := range row.FindAllStringSubmatch(page, -1) {
		number, cells := found[1], strings.Split(found[2], " | ")
		if seen[number]++; seen[number] > 1 {
			problems = append(problems, number+" stands twice")
		}
		if len(cells) != 5 {
			problems = append(problems, fmt.Sprintf("%s has %d cells", number, len(cells)+1))
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		level, asked, state, how, shown := cells[0], cells[1], cells[2], cells[3], cells[4]
		switch {
		case levels[number] == "":
			problems = append(problems, number+" is no requirement of levels 1 and 2")
		case level != levels[number]:
			problems = append(problems, fmt.Sprintf("%s is of level %s", number, levels[number]))
		case asked == "":
			problems = append(problems, number+" does not say what is asked for")
		}
		states[state]++
		switch state {
		case "met":
			if len(testsNamed(shown)) == 0 && !link.MatchString(shown) && !namesSetting(shown, settings) {
				problems = append(problems, number+" is met, with no test, setting or page that shows it")
			}
		case "n/a", "not met":
			if len(how) < 5 {
				problems = append(problems, fmt.Sprintf("%s is %s without a reason", number, state))
			}
		default:
			problems = append(problems, fmt.Sprintf("%s is %q", number, state))
		}
	}
	for number := range levels {
		if seen[number] == 0 {
			problems = append(problems, number+" is missing")
		}
	}
	return states, problems
}

func namesSetting(text string, settings map[string]bool) bool {
	return slices.ContainsFunc(setting.FindAllStringSubmatch(text, -1), func(found []string) bool { return settings[found[1]] })
}

// TestSettingsThatADocumentNamesExist compares with the configuration what is written in capitals, like a setting.
func TestSettingsThatADocumentNamesExist(t *testing.T) {
	known := settings(t)
	others := map[string]bool{"PGPASSWORD": true, "TRACE": true, "SELECT": true, "INSERT": true, "NOTIFY": true}
	for _, file := range claims {
		for _, found := range setting.FindAllStringSubmatch(read(t, file), -1) {
			if !known[found[1]] && !others[found[1]] {
				t.Errorf("%s names %s, which is no setting", file, found[1])
			}
		}
	}
}

// TestCryptographyIsInTheInventory compares the files that use cryptography with docs/security.md.
func TestCryptographyIsInTheInventory(t *testing.T) {
	page := read(t, "../docs/security.md")
	_, section, _ := strings.Cut(page, "\n### Cryptography\n")
	section, _, _ = strings.Cut(section, "\n### ")
	used := map[string]bool{}
	for _, file := range shipped(t) {
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if strings.HasPrefix(imported, "crypto/") || strings.HasPrefix(imported, "golang.org/x/crypto") ||
				strings.Contains(imported, "argon2id") || strings.Contains(imported, "jwt") {
				used[file.name] = true
			}
		}
	}
	if len(used) < 15 {
		t.Errorf("%d files use cryptography", len(used))
	}
	for name := range used {
		if !strings.Contains(section, "`"+name+"`") {
			t.Errorf("%s uses cryptography, and is not in the inventory of docs/security.md", name)
		}
	}
	for _, found := range regexp.MustCompile("`([a-z/_]+\\.go)`").FindAllStringSubmatch(section, -1) {
		if !used[found[1]] {
			t.Errorf("the inventory names %s, which uses no cryptography", found[1])
		}
	}
}

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
	levels := map[string]string{"1.1.1": "1", "1.1.2": "2", "1.1.3": "1", "1.1.4": "2", "1.1.5": "1", "1.1.6": "2"}
	rows := "| 1.1.1 | 1 | a | met | so | `TestA` |\n| 1.1.2 | 2 | a | not met | it is not there | – |\n| 1.1.3 | 1 | a | met |  | `RATE_LIMIT` |\n"
	if states, got := checkRows(rows+"| 1.1.4 | 2 | a | n/a | nothing of it | – |\n| 1.1.5 | 1 | a | met |  | [b](b.md) |\n| 1.1.6 | 2 | a | met |  | FuzzA |\n",
		levels, map[string]bool{"RATE_LIMIT": true}); len(got) != 0 || states["met"] != 4 || states["not met"] != 1 || states["n/a"] != 1 {
		t.Errorf("good rows: %v, %q", states, got)
	}
	for _, c := range []struct{ row, problem string }{
		{"", "1.1.4 is missing"},
		{"| 1.1.1 | 1 | a | met | so | `TestA` |", "1.1.1 stands twice"},
		{"| 1.1.4 | 1 | a | met | so | `TestA` |", "1.1.4 is of level 2"},
		{"| 1.1.4 | 2 | a | met | so | – |", "1.1.4 is met, with no test, setting or page that shows it"},
		{"| 1.1.4 | 2 | a | met | so | `NO_SUCH_SETTING` |", "1.1.4 is met, with no test, setting or page that shows it"},
		{"| 1.1.4 | 2 | a | n/a |  | – |", "1.1.4 is n/a without a reason"},
		{"| 1.1.4 | 2 | a | partly | so | `TestA` |", `1.1.4 is "partly"`},
		{"| 1.1.4 | 2 |  | met | so | `TestA` |", "1.1.4 does not say what is asked for"},
		{"| 1.1.4 | 2 | a | met |", "1.1.4 has 4 cells"},
		{"| 9.9.9 | 2 | a | met | so | `TestA` |", "9.9.9 is no requirement of levels 1 and 2"},
	} {
		if _, got := checkRows(rows+c.row, levels, map[string]bool{"RATE_LIMIT": true}); !slices.Contains(got, c.problem) {
			t.Errorf("%s: %q, want %q", c.row, got, c.problem)
		}
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
