package handlers

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
)

// pageWords are the words of pages, which a program has no use for.
var pageWords = regexp.MustCompile(`(?i)\b(?:pages?|buttons?|links?|forms?|click\w*|press(?:ed)?|tick(?:ed|s)?|box(?:es)?|choos\w+|chosen?|select(?:ed)?|enter(?:ed)?|type it|typed|screens?|dialogs?|menus?|rows?|tabs?|above|below|sign(?:ed)? in|go back|(?:re)?load|start again)\b`)

// pageWordsIn returns the page words of a message, without what it quotes.
func pageWordsIn(message string) []string {
	return pageWords.FindAllString(regexp.MustCompile(`"[^"]*"|“[^”]*”`).ReplaceAllString(message, ""), -1)
}

// errorWords returns the page words of an error of /v1. Every answer that any test of this package gets is held against it
// (conforming).
func errorWords(body []byte) (found []string) {
	var answer Error
	if json.Unmarshal(body, &answer) != nil {
		return nil // conforms reports what is no error at all
	}
	found = pageWordsIn(answer.Error.Message)
	if answer.Error.Details != nil {
		for _, sentence := range answer.Error.Details.Fields {
			found = append(found, pageWordsIn(sentence)...)
		}
	}
	return found
}

// TestProgramsReadNoWordsOfPages holds all messages for programs against the words of pages: the table of errors, the answers
// by status, and, as programs read them, the sentences about fields in the packages that check them.
func TestProgramsReadNoWordsOfPages(t *testing.T) {
	for _, m := range meanings {
		if found := pageWordsIn(m.message); len(found) > 0 {
			t.Errorf("%q says %q to programs", m.message, found)
		}
	}
	for status, answer := range answers {
		if found := pageWordsIn(answer.message); len(found) > 0 {
			t.Errorf("%d: %q says %q to programs", status, answer.message, found)
		}
	}
	for said, file := range programSentences(t) {
		if found := pageWordsIn(said); len(found) > 0 {
			t.Errorf("%s: %q says %q to programs", file, said, found)
		}
	}
}

// programSentences returns the sentences about fields, as programs read them, with the file that each is in.
func programSentences(t *testing.T) map[string]string {
	t.Helper()
	said := map[string]string{}
	for _, pattern := range []string{"../internal/input/*.go", "../internal/apikey/*.go", "../internal/account/*.go", "../internal/keyring/*.go", "api*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || slices.Contains(forPeopleAlone, filepath.Base(file)) {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(node ast.Node) bool {
				literal, ok := node.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(literal.Value)
				if err == nil && regexp.MustCompile(`^[A-Z“"%].*[.?]$`).MatchString(text) {
					said[inProgramWords(input.Problems{"": text})[""]] = file
				}
				return true
			})
		}
	}
	if len(said) < 100 {
		t.Errorf("only %d sentences were read", len(said))
	}
	return said
}

// TestErrorExamplesAreWhatTheAPISends compares each example of an error in openapi.yaml with the errors of the code: its
// status, its code, and its sentences.
func TestErrorExamplesAreWhatTheAPISends(t *testing.T) {
	said := programSentences(t)
	sends := func(status int, message string) bool {
		for _, m := range meanings {
			if m.message == message {
				return m.status == status
			}
		}
		for s, answer := range answers {
			if answer.message == message {
				return s == status
			}
		}
		for _, action := range account.Actions() {
			if lacking(action).message == message {
				return status == http.StatusForbidden
			}
		}
		return said[message] != ""
	}
	examples := 0
	for path, item := range openAPIDocument().Paths.Map() {
		for method, operation := range item.Operations() {
			for of, response := range operation.Responses.Map() {
				status, err := strconv.Atoi(of)
				content := response.Value.Content.Get("application/json")
				if err != nil || content == nil || content.Schema.Ref != "#/components/schemas/Error" {
					continue
				}
				text, err := json.Marshal(content.Example)
				if err != nil {
					t.Fatal(err)
				}
				var example Error
				if err := json.Unmarshal(text, &example); err != nil || example.Error.Message == "" || len(content.Examples) > 0 {
					t.Errorf("%s %s %d: an error has one example, not %s (%v)", method, path, status, text, err)
					continue
				}
				examples++
				e := example.Error
				if e.Code != answers[status].code && !(status == http.StatusConflict && e.Code == "idempotency_conflict") || !sends(status, e.Message) {
					t.Errorf("%s %s %d: the API does not send %q with %q", method, path, status, e.Code, e.Message)
				}
				if e.Details == nil {
					continue
				}
				for field, sentence := range e.Details.Fields {
					if said[sentence] == "" {
						t.Errorf("%s %s %d: of the field %s the API does not say %q", method, path, status, field, sentence)
					}
				}
			}
		}
	}
	if examples < 200 {
		t.Errorf("only %d examples were read", examples)
	}
}

// forPeopleAlone are the files with the rules of what only pages and the command line change.
var forPeopleAlone = []string{"account.go", "email_changes.go", "passwords.go", "policy.go", "setup.go"}

// TestProgramsSendWherePeopleChoose reads sentences as programs get them.
func TestProgramsSendWherePeopleChoose(t *testing.T) {
	got := inProgramWords(input.Problems{
		"name":   "Enter a name, so that people can tell this key from others.",
		"scopes": `The scope "Choose one, or select \"Enter\"" is not in the catalogue. Choose another, or enter “Type it”.`,
	})
	want := input.Problems{
		"name":   "Send a name, so that people can tell this key from others.",
		"scopes": `The scope "Choose one, or select \"Enter\"" is not in the catalogue. Send another, or send “Type it”.`,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestABrokenCursorIsAFieldOfTheRequest asks each list to read on where it can't.
func TestABrokenCursorIsAFieldOfTheRequest(t *testing.T) {
	s := newSite(t)
	owner := s.with(s.token(s.org.Owner))
	for range 3 {
		s.issue("listed")
	}
	other := owner.call(get, "/v1/api-keys?limit=1", nil).expect(t, "a page", 200, "").text("nextCursor")
	lists := 0
	for path, item := range openAPIDocument().Paths.Map() {
		if item.Get == nil || !slices.ContainsFunc(item.Get.Parameters, func(p *openapi3.ParameterRef) bool { return p.Value.Name == "cursor" }) {
			continue
		}
		if strings.Contains(path, "{id}") {
			ids := things(t, s.store, s.keyring, s.org.Owner)
			path = strings.ReplaceAll(path, "{id}", ids["processes"])
		}
		for _, cursor := range []string{"AAAA", "x", other} {
			asked := path + "?cursor=" + cursor
			if path == "/v1/api-keys" && cursor == other {
				asked += "&status=active"
			}
			got := owner.call(get, asked, nil).expect(t, asked, 400, "validation_failed")
			if got.text("error", "details", "fields", "cursor") == "" {
				t.Errorf("%s: %s", asked, got.body)
			}
		}
		lists++
	}
	if lists < 4 {
		t.Errorf("only %d lists were asked", lists)
	}
}
