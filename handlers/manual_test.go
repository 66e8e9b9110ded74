package handlers

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const manual = "../docs/api.md"

// example is a fenced block of the manual: a program that is run, or the JSON of the answer that the shell's one gets.
type example struct {
	section, language, text string
	line                    int
}

// interpreters run the examples; the file's name follows. TypeScript without types is JavaScript.
var interpreters = map[string]struct {
	file string
	run  []string
	need []string
}{
	"sh":     {"example.sh", []string{"sh", "-eu"}, []string{"sh", "curl", "sed"}},
	"ts":     {"example.mjs", []string{"node"}, []string{"node"}},
	"python": {"example.py", []string{"python3"}, []string{"python3"}},
}

func examplesIn(t *testing.T, file string) []example {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []example
	section, inside := "", false
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```") && inside:
			inside = false
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			inside = true
			out = append(out, example{section: section, language: strings.TrimPrefix(strings.TrimSpace(line), "```"), line: i + 1})
		case inside:
			out[len(out)-1].text += line + "\n"
		case strings.HasPrefix(line, "#"):
			section = strings.TrimLeft(line, "# ")
		}
	}
	return out
}

// run is one run of a program: what it printed, and whether it ended well.
type run struct {
	printed string
	ok      bool
}

// runProgram runs a program with variables in its environment, and no proxy in its way.
func runProgram(t *testing.T, language, text string, variables map[string]string) run {
	t.Helper()
	with := interpreters[language]
	for _, program := range with.need {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("this machine has no %s", program)
		}
	}
	file := filepath.Join(t.TempDir(), with.file)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, with.run[0], append(with.run[1:], file)...)
	command.Dir = filepath.Dir(file) // what it stores stays there
	command.Env = append(os.Environ(), "NO_PROXY=*", "no_proxy=*")
	for name, value := range variables {
		command.Env = append(command.Env, name+"="+value)
	}
	printed, err := command.CombinedOutput()
	return run{string(printed), err == nil}
}

// newManualSite is a server whose own address is its BASE_URL, as tokens say it. The first request after exhausted is
// set comes when its caller's limit is used up.
func newManualSite(t *testing.T, perMinute int) (s *site, exhausted *atomic.Bool) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	exhausted = &atomic.Bool{}
	s = newSiteWith(t, func(o *Options) {
		o.BaseURL = &url.URL{Scheme: "http", Host: server.Listener.Addr().String()}
		o.RateLimit = perMinute
		inside := New(*o)
		server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for limited := !exhausted.CompareAndSwap(true, false); !limited; {
				other := httptest.NewRequest(get, "/v1/nothing", nil)
				other.Header, other.RemoteAddr = r.Header, r.RemoteAddr
				answer := httptest.NewRecorder()
				inside.ServeHTTP(answer, other)
				limited = answer.Code == http.StatusTooManyRequests
			}
			inside.ServeHTTP(w, r)
		})
	})
	server.Start()
	t.Cleanup(server.Close)
	s.Server = server
	return s, exhausted
}

// try is an example that is run, as often as a check likes, with a key of its own.
type try struct {
	*testing.T
	site     *site
	language string
	tired    *atomic.Bool // set, it makes the site answer the next request with 429
	with     func(variables map[string]string) run
	key      apikey.Key // that the example calls with
	secret   string
}

// row is a key as the database knows it now.
func (e try) row(id string) keyring.KeyRow {
	e.Helper()
	row, err := e.site.keyring.Key(e.Context(), e.site.org.Owner, id)
	if err != nil {
		e.Fatal(err)
	}
	return row
}

// judge is what the server says of a plaintext.
func (e try) judge(plaintext string) verify.Verdict {
	e.Helper()
	verdict, err := verify.New(e.site.store, nil).Verify(e.Context(), plaintext, verify.Question{})
	if err != nil {
		e.Fatal(err)
	}
	return verdict
}

// good runs the example and fails unless it ended well.
func (e try) good(variables map[string]string) string {
	e.Helper()
	got := e.with(variables)
	if !got.ok {
		e.Fatalf("it failed: %s", got.printed)
	}
	return got.printed
}

// bad runs the example and fails if it ended well.
func (e try) bad(variables map[string]string) string {
	e.Helper()
	got := e.with(variables)
	if got.ok {
		e.Fatalf("it did not fail: %s", got.printed)
	}
	return got.printed
}

var (
	plaintextForm = regexp.MustCompile(`pk_(?:live|test)_\w{51}`)
	idForm        = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// plaintextIn is the plaintext that was printed.
func (e try) plaintextIn(printed string) string {
	e.Helper()
	found := plaintextForm.FindString(printed)
	if found == "" {
		e.Fatalf("no plaintext was printed: %s", printed)
	}
	return found
}

// keyIn is the key whose id was printed, maybe among ids of other things.
func (e try) keyIn(printed string) keyring.KeyRow {
	e.Helper()
	for _, id := range idForm.FindAllString(printed, -1) {
		if row, err := e.site.keyring.Key(e.Context(), e.site.org.Owner, id); err == nil {
			return row
		}
	}
	e.Fatalf("no key's id was printed: %s", printed)
	return keyring.KeyRow{}
}

// lesson is what a section's examples are called with, which languages it has, and what must have happened. It returns
// what was printed of which the section's JSON is an example.
type lesson struct {
	scopes    []string
	languages []string
	holds     func(e try) (printed string)
}

var (
	every3  = []string{"sh", "ts", "python"}
	manager = []string{"write:api-keys", "read:chat", "write:chat"}
)

var lessons = map[string]lesson{
	"Authenticate": {[]string{"read:config"}, []string{"sh"}, func(e try) string {
		if printed := e.good(nil); strings.Count(printed, `"name":"read:chat"`) != 3 {
			e.Errorf("three calls printed %s", printed)
		}
		if printed := e.bad(map[string]string{"MOONLATCH_API_KEY": apikey.NewPlaintext(apikey.Live).Reveal()}); !strings.Contains(printed, `"code":"unauthorized"`) {
			e.Errorf("with nobody's key: %s", printed)
		}
		return ""
	}},
	"Errors": {manager, every3, func(e try) string {
		began := time.Now()
		e.tired.Store(true)
		printed := e.good(map[string]string{"KEY_NAME": e.language})
		if made := e.keyIn(printed); made.Name != e.language || time.Since(began) < time.Second {
			e.Errorf("after %s there is a key %q: %s", time.Since(began), made.Name, printed)
		}
		_, another := e.site.key(e.site.org.Admin, manager...)
		printed = e.bad(map[string]string{"KEY_NAME": "", "MOONLATCH_API_KEY": another})
		if !strings.Contains(printed, "validation_failed") || !strings.Contains(printed, "Send a name") {
			e.Errorf("without a name: %s", printed)
		}
		return printed
	}},
	"Issue a key": {manager, every3, func(e try) string {
		printed := e.good(nil)
		plaintext := e.plaintextIn(printed)
		verdict := e.judge(plaintext)
		if verdict.Key == nil || !strings.Contains(printed, verdict.Key.ID) {
			e.Fatalf("the key that was issued is %+v", verdict)
		}
		row := e.row(verdict.Key.ID)
		if row.Name != "Production API" || !slices.Equal(row.Scopes, []string{"read:chat", "write:chat"}) || len(row.IPAllowlist) != 1 ||
			row.IPAllowlist[0].String() != "203.0.113.0/24" || row.Environment != apikey.Live || row.OwnerID != e.key.OwnerID || row.Lifetime() != 90*apikey.Day {
			e.Errorf("the key that was issued is %+v", row)
		}
		if printed := e.bad(map[string]string{"MOONLATCH_API_KEY": plaintext}); !strings.Contains(printed, "403") && !strings.Contains(printed, "forbidden") {
			e.Errorf("with a key that may not: %s", printed)
		}
		return printed
	}},
	"Rotate a key": {manager, every3, func(e try) string {
		old, plaintext := e.site.key(e.site.org.Admin, "read:chat", "write:chat")
		variables := map[string]string{"KEY_ID": old.ID}
		printed := e.good(variables)
		row := e.row(old.ID)
		if row.Stored != apikey.Rotated || row.GraceEndsAt.Sub(*row.RotatedAt) != 24*time.Hour || row.ReplacedBy == "" || !strings.Contains(printed, "86400") {
			e.Fatalf("the old key is %+v, and printed was %s", row, printed)
		}
		next := e.judge(e.plaintextIn(printed))
		if next.Key == nil || next.Key.ID != row.ReplacedBy || next.Code != verify.Valid || !slices.Equal(next.Key.Scopes, old.Scopes) || !strings.Contains(printed, next.Key.ID) {
			e.Errorf("the successor is %+v", next)
		}
		if verdict := e.judge(plaintext); verdict.Code != verify.Valid {
			e.Errorf("within its grace the old key is %s", verdict.Code)
		}
		if printed := e.bad(variables); !strings.Contains(printed, "409") && !strings.Contains(printed, "state_conflict") {
			e.Errorf("rotating it again: %s", printed)
		}
		return printed
	}},
	"List keys": {[]string{"read:api-keys"}, every3, func(e try) string {
		printed := e.good(nil)
		missing := 0
		for cursor := ""; ; {
			page, err := e.site.keyring.Keys(e.Context(), e.site.org.Owner, apikey.Filter{}, apikey.Newest, cursor, 100)
			if err != nil {
				e.Fatal(err)
			}
			for _, row := range page.Rows {
				active := row.StatusAt(time.Now()) == apikey.Enabled
				if n := strings.Count(printed, row.ID); active && n == 0 {
					missing++
				} else if !active && n > 0 {
					e.Errorf("a key that is not active is listed: %s", row.ID)
				}
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if onePage := e.language == "sh"; onePage != (missing > 0) || onePage && strings.Count(printed, `"prefix"`) != 100 {
			e.Errorf("%d active keys are missing in %.2000s", missing, printed)
		}
		return ""
	}},
	"Verify a key": {[]string{"verify:api-keys"}, every3, func(e try) string {
		key, plaintext, err := e.site.keyring.IssueKey(e.Context(), e.site.org.Admin, keyring.KeyDraft{Name: "client", Scopes: []string{"read:chat"}, IPAllowlist: []string{"203.0.113.0/24"}})
		if err != nil {
			e.Fatal(err)
		}
		variables := map[string]string{"CLIENT_KEY": plaintext.Reveal(), "CLIENT_ADDRESS": "203.0.113.7"}
		good := e.good(variables)
		if !regexp.MustCompile(`\bvalid\b`).MatchString(good) || !strings.Contains(good, key.ID) {
			e.Errorf("of a good key it says %s", good)
		}
		for name, c := range map[string]struct{ variable, value, code string }{
			"another address": {"CLIENT_ADDRESS", "192.0.2.7", "ip_not_allowed"},
			"nobody's key":    {"CLIENT_KEY", apikey.NewPlaintext(apikey.Live).Reveal(), "not_found"},
		} {
			other := maps.Clone(variables)
			other[c.variable] = c.value
			got := e.with(other)
			if shell := e.language == "sh"; !strings.Contains(got.printed, c.code) || got.ok != shell {
				e.Errorf("%s: %v", name, got)
			}
		}
		return good
	}},
	"Let a gateway ask": {nil, every3, func(e try) string {
		key, plaintext := e.site.key(e.site.org.Admin, "read:chat", "write:chat")
		if printed := e.good(map[string]string{"CLIENT_KEY": plaintext}); !strings.Contains(printed, key.ID) || !strings.Contains(printed, "read:chat write:chat") {
			e.Errorf("of a good key it says %s", printed)
		}
		_, narrow := e.site.key(e.site.org.Admin, "write:chat")
		if printed := e.bad(map[string]string{"CLIENT_KEY": narrow}); strings.Contains(printed, "write:chat\n") || !strings.Contains(printed, "403") && !strings.Contains(printed, "forbidden") {
			e.Errorf("of a key without the scope it says %s", printed)
		}
		return ""
	}},
	"Export the audit log": {[]string{"read:audit"}, []string{"sh", "python"}, func(e try) string {
		for _, name := range []string{"<b>&amp; “twice”</b>", "\u2028 and \u007f", `back\slash "quoted"`} { // each is written in another way somewhere
			if _, _, err := e.site.keyring.IssueKey(e.Context(), e.site.org.Admin, keyring.KeyDraft{Name: name, Scopes: []string{"read:chat"}}); err != nil && input.ProblemsIn(err) == nil {
				e.Fatal(err)
			}
		}
		printed := e.good(nil)
		held, err := e.site.store.WalkChain(e.Context(), e.site.org.ID, func(int64, int64) {})
		if err != nil || !strings.Contains(printed, hex.EncodeToString(held.Hash)) || !strings.Contains(printed, fmt.Sprint(held.Events)) {
			e.Errorf("the log has %d events, %v, and printed was %s", held.Events, err, printed)
		}
		_, another := e.site.key(e.site.org.Admin, "read:chat")
		e.bad(map[string]string{"MOONLATCH_API_KEY": another})
		if e.language == "sh" {
			return printed[strings.LastIndex(printed, "{"):]
		}
		whole := e.site.with(e.secret).call(get, "/v1/audit-events/export", nil).body
		for what, changed := range map[string]string{
			"a name was altered":    strings.Replace(whole, `"name":"listed 7"`, `"name":"listed 8"`, 1),
			"an event was removed":  regexp.MustCompile(`(?m)^.*"listed 7".*\n`).ReplaceAllString(whole, ""),
			"the last line is gone": strings.TrimRight(whole, "\n")[:strings.LastIndex(strings.TrimRight(whole, "\n"), "\n")+1],
			"it ends in a line":     whole[:len(whole)/2],
		} {
			forged := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, changed) }))
			if printed := e.bad(map[string]string{"MOONLATCH_URL": forged.URL}); changed == whole {
				e.Errorf("%s: nothing was changed, and printed was %s", what, printed)
			}
			forged.Close()
		}
		return ""
	}},
	"Log in": {nil, every3, func(e try) string {
		who := e.site.org.Support
		variables := map[string]string{"MOONLATCH_EMAIL": who.Email, "MOONLATCH_PASSWORD": storetest.Password}
		if printed := e.good(variables); !strings.Contains(printed, "read:chat") {
			e.Errorf("it printed %s", printed)
		}
		sessions, err := e.site.keyring.Sessions(e.Context(), who)
		if err != nil || len(sessions) != 0 {
			e.Errorf("%d sessions are left, %v", len(sessions), err)
		}
		events := e.site.with(e.site.token(e.site.org.Owner)).call(get, "/v1/audit-events?limit=2&actorId="+who.MemberID, nil)
		if !strings.Contains(events.body, `"session.ended"`) || !strings.Contains(events.body, `"session.started"`) {
			e.Errorf("the audit log says %s", events.body)
		}
		variables["MOONLATCH_PASSWORD"] = "not the password"
		if printed := e.bad(variables); !strings.Contains(printed, "401") && !strings.Contains(printed, "unauthorized") {
			e.Errorf("with a wrong password: %s", printed)
		}
		return ""
	}},
}

// TestManualsExamplesAreProgramsThatRun runs every block of docs/api.md and looks at what it did.
func TestManualsExamplesAreProgramsThatRun(t *testing.T) {
	t.Parallel()
	s, _ := newManualSite(t, 100_000)
	slow, tired := newManualSite(t, 60)
	for i := range 130 { // more than a page of them are active
		key := s.issue(fmt.Sprint("listed ", i))
		if i%10 == 0 {
			if _, err := s.keyring.ChangeStatus(t.Context(), s.org.Owner, apikey.Disable, key.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	found, shown := map[string][]string{}, map[string]string{}
	for _, x := range examplesIn(t, manual) {
		if x.language == "json" || clientSections[x.section] != "" { // TestGeneratedClientsCallTheServer runs these
			continue
		}
		lesson, known := lessons[x.section]
		if _, runs := interpreters[x.language]; !known || !runs {
			t.Errorf("%s:%d: nobody runs this block of %q under %q", manual, x.line, x.language, x.section)
			continue
		}
		found[x.section] = append(found[x.section], x.language)
		t.Run(x.section+", "+x.language, func(t *testing.T) {
			e := try{T: t, site: s, language: x.language}
			if x.section == "Errors" {
				e.site, e.tired = slow, tired
			}
			if lesson.scopes != nil {
				var err error
				var plaintext apikey.Plaintext
				e.key, plaintext, err = e.site.keyring.IssueKey(t.Context(), e.site.org.Admin, keyring.KeyDraft{Name: "for the example", Scopes: lesson.scopes})
				if err != nil {
					t.Fatal(err)
				}
				e.secret = plaintext.Reveal()
			}
			e.with = func(variables map[string]string) run {
				all := map[string]string{"MOONLATCH_URL": e.site.URL, "MOONLATCH_API_KEY": e.secret}
				maps.Copy(all, variables)
				return runProgram(t, x.language, x.text, all)
			}
			if printed := lesson.holds(e); x.language == "sh" {
				shown[x.section] = printed
			}
		})
	}
	for section, lesson := range lessons {
		if !slices.Equal(found[section], lesson.languages) {
			t.Errorf("%q has examples in %q, and should have them in %q", section, found[section], lesson.languages)
		}
	}
	for _, x := range examplesIn(t, manual) {
		if x.language == "json" {
			t.Run(x.section+", answer", func(t *testing.T) { isLike(t, x, shown[x.section]) })
		}
	}
}

// isLike fails unless what the shell's example printed has the fields of the answer on the page.
func isLike(t *testing.T, x example, printed string) {
	if printed == "" {
		t.Skip("the shell's example did not run")
	}
	var page, got any
	if err := json.Unmarshal([]byte(x.text), &page); err != nil {
		t.Fatalf("line %d: %v", x.line, err)
	}
	if err := json.NewDecoder(strings.NewReader(printed[strings.IndexByte(printed, '{'):])).Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, printed)
	}
	if a, b := shape(page), shape(got); a != b {
		t.Errorf("the page has\n%s\nand the server answers\n%s", a, b)
	}
}

// shape is JSON with the kinds of values instead of the values.
func shape(value any) string {
	switch v := value.(type) {
	case map[string]any:
		var out strings.Builder
		for _, name := range slices.Sorted(maps.Keys(v)) {
			fmt.Fprintf(&out, "%s:%s ", name, shape(v[name]))
		}
		return "{ " + out.String() + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[" + shape(v[0]) + "]"
	case nil:
		return "null"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// TestManualNamesEveryCode holds the manual's tables of codes and scopes against those that the server goes by.
func TestManualNamesEveryCode(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	rows := []string{"| 409 | `idempotency_conflict` | "}
	for status, answer := range answers {
		rows = append(rows, fmt.Sprintf("| %d | `%s` | ", status, answer.code))
	}
	for _, action := range account.Actions() {
		if scope := account.ScopeFor(action); scope != "" && scope != apikey.All {
			rows = append(rows, "| `"+scope+"` | ")
		}
	}
	for _, row := range rows {
		if !strings.Contains(string(text), "\n"+row) {
			t.Errorf("the manual has no row %q", row)
		}
	}
	_, verdicts, _ := strings.Cut(string(text), "\n## Verify a key\n")
	for _, code := range verify.Codes {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + string(code) + "`").MatchString(verdicts) {
			t.Errorf("the manual does not say what %s means", code)
		}
	}
}

// TestManualsTypeScriptCompiles asks the compiler, in its strict mode, about what Node has run as JavaScript.
func TestManualsTypeScriptCompiles(t *testing.T) {
	t.Parallel()
	compiler := "../internal/contract/node_modules/typescript/bin/tsc"
	if _, err := os.Stat(compiler); err != nil {
		t.Fatal("TypeScript is not installed: make internal/contract/node_modules/.installed")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("this machine has no node")
	}
	dir := t.TempDir()
	node := "declare const process: {env: Record<string, string | undefined>, exit(code: number): never}\n"
	arguments := []string{compiler, "--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleDetection", "force",
		"--lib", "es2022,dom,dom.iterable", filepath.Join(dir, "node.d.ts")}
	if err := os.WriteFile(filepath.Join(dir, "node.d.ts"), []byte(node), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, x := range examplesIn(t, manual) {
		if x.language != "ts" || clientSections[x.section] != "" { // TestGeneratedClientsCallTheServer compiles those, with what they import
			continue
		}
		file := filepath.Join(dir, fmt.Sprintf("line-%d.ts", x.line))
		if err := os.WriteFile(file, []byte(x.text), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, file)
	}
	if said, err := exec.CommandContext(t.Context(), "node", arguments...).CombinedOutput(); err != nil || len(bytes.TrimSpace(said)) > 0 {
		t.Errorf("%v %s", err, said)
	}
}

// The cURL examples of the products that Moonlatch takes after, to the letter.
const (
	theirIssue = `curl -X POST https://api.moonborn.co/v1/api-keys \
  -H "Authorization: Bearer $MOONBORN_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
      "name": "<string>",
      "scopes": [
        "*"
      ]
    }'
`
	theirRotate = `curl -X POST https://api.moonborn.co/v1/api-keys/<id>/rotate \
-H "Authorization: Bearer $MOONBORN_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"graceSeconds": 0
}'
`
)

// Their tables of fields. What ends in "?" may be missing.
var (
	theirIssued = map[string]string{"id": "string", "prefix": "string", "plaintextKey": "string", "scopes": "strings", "createdAt": "string", "expiresAt": "string"}
	theirError  = map[string]string{"error": "object", "error.code": "string", "error.message": "string", "error.details": "object?"}
	theirTurn   = map[string]string{"oldKeyId": "string", "newKey": "object", "newKey.id": "string", "newKey.prefix": "string", "newKey.plaintextKey": "string",
		"newKey.scopes": "strings", "newKey.createdAt": "string", "newKey.expiresAt": "string", "graceSeconds": "number"}
)

// has fails unless JSON has the fields of a table.
func has(t *testing.T, what string, answer map[string]any, table map[string]string) {
	t.Helper()
	for field, kind := range table {
		var value any = answer
		for name := range strings.SplitSeq(field, ".") {
			object, _ := value.(map[string]any)
			value = object[name]
		}
		kind, optional := strings.CutSuffix(kind, "?")
		if value == nil && optional {
			continue
		}
		if want := map[string]string{"string": "string", "number": "float64", "strings": "[string]"}[kind]; want != "" && shape(value) != want || want == "" && !strings.HasPrefix(shape(value), "{") {
			t.Errorf("%s: %s is %v, and not of the kind %s", what, field, value, kind)
		}
	}
}

// TestCallsOfTheSourcesWork runs them with nothing replaced but the host and the key, and holds the answers against
// the sources' tables.
func TestCallsOfTheSourcesWork(t *testing.T) {
	t.Parallel()
	s, _ := newManualSite(t, 100_000)
	call := func(text, id, secret string) (status int, answer map[string]any) {
		t.Helper()
		text = strings.NewReplacer("https://api.moonborn.co", s.URL, "<id>", id).Replace(text)
		got := runProgram(t, "sh", strings.TrimSuffix(text, "\n")+` -sS -w '\n%{http_code}'`, map[string]string{"MOONBORN_API_KEY": secret})
		body, code, _ := strings.Cut(got.printed, "\n")
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatalf("%v in %s", err, got.printed)
		}
		_, _ = fmt.Sscan(code, &status)
		return status, answer
	}
	_, owners := s.key(s.org.Owner, apikey.All)
	_, admins := s.key(s.org.Admin, "write:api-keys")

	status, issued := call(theirIssue, "", owners)
	has(t, "issue", issued, theirIssued)
	id := fmt.Sprint(issued["id"])
	row, err := s.keyring.Key(t.Context(), s.org.Owner, id)
	if err != nil || status != http.StatusCreated || row.Name != "<string>" || !slices.Equal(row.Scopes, []string{apikey.All}) || row.Environment != apikey.Live {
		t.Errorf("%d %v: %+v %v", status, issued, row, err)
	}
	status, turn := call(theirRotate, id, owners)
	has(t, "rotate", turn, theirTurn)
	if row, err := s.keyring.Key(t.Context(), s.org.Owner, id); err != nil || status != http.StatusCreated || turn["oldKeyId"] != id || turn["graceSeconds"] != 0.0 ||
		row.AcceptedAt(time.Now()) || row.Stored != apikey.Rotated {
		t.Errorf("%d %v: %+v %v", status, turn, row, err)
	}
	theirs := s.issueFor(account.Owner)
	for _, c := range []struct {
		what, text, id, secret string
		status                 int
		code                   string
	}{
		{"issue: an unknown scope", strings.Replace(theirIssue, `"*"`, `"read:nothing"`, 1), "", owners, 400, "validation_failed"},
		{"issue: nobody", theirIssue, "", "pk_nobody", 401, "unauthorized"},
		{"issue: * by an admin", theirIssue, "", admins, 403, "forbidden"},
		{"rotate: no grace", strings.Replace(theirRotate, ": 0", ": -1", 1), theirs, owners, 400, "validation_failed"},
		{"rotate: nobody", theirRotate, theirs, "pk_nobody", 401, "unauthorized"},
		{"rotate: more than the caller holds", theirRotate, theirs, admins, 403, "forbidden"},
		{"rotate: no key", theirRotate, s.org.ID, owners, 404, "not_found"},
		{"rotate: again", theirRotate, id, owners, 409, "state_conflict"},
	} {
		status, answer := call(c.text, c.id, c.secret)
		has(t, c.what, answer, theirError)
		if refusal, _ := answer["error"].(map[string]any); status != c.status || refusal["code"] != c.code {
			t.Errorf("%s: %d %v", c.what, status, answer)
		}
	}
}

// issueFor makes a key of a member with the role, and returns its id.
func (s *site) issueFor(role account.Role) string {
	who := map[account.Role]account.Actor{account.Owner: s.org.Owner, account.Admin: s.org.Admin}[role]
	key, _ := s.key(who, "read:chat")
	return key.ID
}
