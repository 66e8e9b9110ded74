package handlers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// bodied is an operation of the contract that takes a body.
type bodied struct {
	method, path string
	fields       openapi3.Schemas
	anonymous    bool
}

func (b bodied) String() string { return b.method + " " + b.path }

// bodiedOperations lists them, by the addresses of the things that ids names.
func bodiedOperations(t *testing.T, ids map[string]string) (out []bodied) {
	t.Helper()
	for _, r := range apiRoutes {
		path, known := r.named(ids)
		if !known {
			t.Fatalf("%s %s: the walk knows no such thing", r.method, r.path)
		}
		template, _ := templateOf(openAPIDocument(), path)
		if operation := openAPIDocument().Paths.Find(template).GetOperation(r.method); operation != nil && operation.RequestBody != nil {
			schema := operation.RequestBody.Value.Content["application/json"].Schema.Value
			out = append(out, bodied{r.method, path, schema.Properties, r.policy.kind != program})
		}
	}
	if len(out) < 15 {
		t.Fatalf("only %d operations take a body", len(out))
	}
	return out
}

// samples are a JSON value of each kind that the contract knows.
var samples = map[string]string{"null": "null", "string": `"x"`, "number": "1", "boolean": "true", "array": "[]", "object": "{}"}

// wrongFor lists values that a schema does not allow: one of each other kind, and lists with an entry that theirs does not.
func wrongFor(schema *openapi3.Schema) (out []string) {
	for _, kind := range slices.Sorted(maps.Keys(samples)) {
		if !schema.Type.Includes(kind) {
			out = append(out, samples[kind])
		}
	}
	if schema.Type.Includes("number") {
		out = append(out, "1e400", "-1e400", "0.5", "-1")
	}
	if schema.Items == nil {
		return out
	}
	items := schema.Items.Value
	for _, wrong := range append(wrongFor(items), "[null]", "[[]]", "[{}]") {
		out = append(out, "["+wrong+"]")
	}
	if items.Type.Is("string") {
		out = append(out, `[""]`, `["x",null]`)
	}
	return out
}

// TestNoCallTakesAValueOfAnotherKind sends each field of each body, and each field of the objects in its lists, with values of
// every kind that the contract does not give it.
func TestNoCallTakesAValueOfAnotherKind(t *testing.T) {
	s := newSite(t)
	token := s.token(s.org.Owner)
	asked := 0
	for _, operation := range bodiedOperations(t, things(t, s.store, s.keyring, s.org.Owner)) {
		refused := func(field, body string) {
			t.Helper()
			asked++
			got := s.asOperation(operation, token, "", body)
			if got.status != 400 || got.text("error", "code") != "validation_failed" || got.text("error", "details", "fields", field) == "" {
				t.Errorf("%s with %s: %d %.300s", operation, body, got.status, got.body)
			}
		}
		for name, property := range operation.fields {
			for _, wrong := range wrongFor(property.Value) {
				refused(name, fmt.Sprintf(`{%q:%s}`, name, wrong))
			}
			if property.Value.Items == nil {
				continue
			}
			for within, property := range property.Value.Items.Value.Properties {
				for _, wrong := range wrongFor(property.Value) {
					refused(fmt.Sprintf("%s[0].%s", name, within), fmt.Sprintf(`{%q:[{%q:%s}]}`, name, within, wrong))
				}
			}
		}
	}
	if asked < 200 {
		t.Errorf("only %d questions were asked", asked)
	}
	_, all := s.key(s.org.Owner, apikey.All)
	for _, entries := range []string{"[null]", `[""]`, "[[]]", "[{}]", "[1]", `["read:chat",null]`} {
		got := s.with(all).call(post, verifyPath, fmt.Sprintf(`{"key":%q,"scopes":%s}`, all, entries))
		if got.status != 400 || got.text("error", "details", "fields", "scopes") == "" {
			t.Errorf("verify with the scopes %s: %d %s", entries, got.status, got.body)
		}
	}
}

// asOperation sends a body as the owner, or without a credential where the operation takes none; once more while there were too many log-ins.
func (s *site) asOperation(operation bodied, token, query, body string, header ...string) reply {
	if !operation.anonymous {
		header = append(header, "Authorization", "Bearer "+token)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if got := s.client(header...).call(operation.method, operation.path+query, body); got.status != 429 || time.Now().After(deadline) {
			return got
		}
	}
}

// TestEveryCallRefusesTheSameJSON sends each operation, at each of its fields, what JSON parsers differ on: the answers are the same everywhere.
func TestEveryCallRefusesTheSameJSON(t *testing.T) {
	s := newSite(t)
	token := s.token(s.org.Owner)
	const notJSON = "The body is not valid JSON."
	for _, operation := range bodiedOperations(t, things(t, s.store, s.keyring, s.org.Owner)) {
		for name, property := range operation.fields {
			value := ""
			for _, kind := range []string{"string", "number", "boolean", "array"} {
				if property.Value.Type.Includes(kind) {
					value = samples[kind]
				}
			}
			good := fmt.Sprintf("%q:%s", name, value)
			deep := func(open, within, end string) string {
				return fmt.Sprintf("{%q:%s%s%s}", name, strings.Repeat(open, maxDepth), within, strings.Repeat(end, maxDepth))
			}
			for body, want := range map[string]string{
				"{" + good + "}x":                    notJSON,
				"{" + good + "}{}":                   notJSON,
				"{" + good + "}\x00":                 notJSON,
				"{" + good:                           notJSON,
				"{" + good + ",}":                    notJSON,
				"{/**/" + good + "}":                 notJSON,
				"{" + good + ",'x':1}":               notJSON,
				fmt.Sprintf(`{%q:NaN}`, name):        notJSON,
				fmt.Sprintf(`{%q:-}`, name):          notJSON,
				fmt.Sprintf(`{%q:+1}`, name):         notJSON,
				fmt.Sprintf(`{%q:"\ud800"}`, name):   notJSON,
				fmt.Sprintf("{%q:\"a\nb\"}", name):   notJSON,
				fmt.Sprintf("{%q:\"a\x00b\"}", name): notJSON,
				fmt.Sprintf("{%q:\"a\xffb\"}", name): "The body is not valid UTF-8.",
				"\ufeff{" + good + "}":               "The body begins with a byte order mark. Send UTF-8 without one.",
				"[{" + good + "}]":                   "Send one JSON object.",
				"null":                               "Send one JSON object.",
				deep("[", "", "]"):                   "The JSON nests too deep: 8 levels at most.",
				deep(`{"a":`, "1", "}"):              "The JSON nests too deep: 8 levels at most.",
				"{" + good + ":" + deep("[", "", ""): notJSON,
				"{" + good + "," + good + "}":        name + ": This field is there more than once.",
				"{" + good + `,"nmae":1}`:            "nmae: There is no such field.",
				"{" + good + `,"__proto__":1}`:       "__proto__: There is no such field.",
				fmt.Sprintf(`{"%s":%s}`, strings.ToUpper(name[:1])+name[1:], value): strings.ToUpper(name[:1]) + name[1:] + ": There is no such field.",
			} {
				got := s.asOperation(operation, token, "", body)
				said, field := got.text("error", "message"), ""
				if f, sentence, found := strings.Cut(want, ": There"); found {
					field, said = f, f+": "+got.text("error", "details", "fields", f)
					want = f + ": There" + sentence
				} else if f, _, found := strings.Cut(want, ": This"); found {
					field, said = f, f+": "+got.text("error", "details", "fields", f)
				}
				if got.status != 400 || got.text("error", "code") != "validation_failed" || said != want {
					t.Errorf("%s with %.60q: %d %.300s, not %s %s", operation, body, got.status, got.body, field, want)
				}
			}
		}
		for query, want := range map[string]string{"?x=1": "There is no such parameter.", "?Key=1": "There is no such parameter.", "?a=1;b=2": "", "?%zz": "", "?a=%": ""} {
			got := s.asOperation(operation, token, query, "{}")
			if want == "" && got.text("error", "message") != meaningOf(errAddress).message || want != "" && !strings.Contains(got.body, want) || got.status != 400 {
				t.Errorf("%s%s: %d %.300s", operation, query, got.status, got.body)
			}
		}
		for _, kind := range []string{"application/json; charset=latin1", "application/json; charset=utf-16", "application/json, text/plain", "text/json", "application/json; charset", ""} {
			if got := s.asOperation(operation, token, "", "{}", "Content-Type", kind); got.status != 415 || got.text("error", "code") != "unsupported_media_type" {
				t.Errorf("%s as %q: %d %.300s", operation, kind, got.status, got.body)
			}
		}
		if got := s.asOperation(operation, token, "", "\ufeff", "Content-Type", `application/json;charset="UTF-8"`); got.status != 400 {
			t.Errorf("%s in UTF-8: %d %.300s", operation, got.status, got.body)
		}
	}
}

// TestEveryCallRefusesTextThatCannotBeStored sends NUL, which no column of PostgreSQL takes, and very long text in each text of each body.
func TestEveryCallRefusesTextThatCannotBeStored(t *testing.T) {
	s := newSite(t)
	token := s.token(s.org.Owner)
	for _, operation := range bodiedOperations(t, things(t, s.store, s.keyring, s.org.Owner)) {
		for name, property := range operation.fields {
			if !property.Value.Type.Includes("string") {
				continue
			}
			for _, text := range []string{`"a\u0000b"`, `"\u0000"`, `"` + strings.Repeat("a", 30000) + `"`} {
				got := s.asOperation(operation, token, "", fmt.Sprintf(`{%q:%s}`, name, text))
				if operation.anonymous { // it tells nobody what is wrong with an address or a password
					got = s.asOperation(operation, token, "", fmt.Sprintf(`{"email":%s,"password":%[1]s}`, text))
					if got.status != 401 {
						t.Errorf("%s with %.20s: %d %.300s", operation, text, got.status, got.body)
					}
					continue
				}
				if operation.path == verifyPath && name == "key" && got.text("code") == "malformed" {
					continue // the question is answered: this is no key
				}
				if got.status != 400 || got.text("error", "details", "fields", name) == "" {
					t.Errorf("%s with %s: %.20s: %d %.300s", operation, name, text, got.status, got.body)
				}
			}
		}
	}
}
