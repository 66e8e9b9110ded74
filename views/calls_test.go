package views

import (
	"context"
	"go/format"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// examplesOn are the examples that a page shows, in their order: what a reader copies.
func examplesOn(page string) []string {
	var out []string
	for _, found := range regexp.MustCompile(`(?s)<div class="secret">(?:<pre[^>]*>)?<code[^>]*>(.*?)</code>`).FindAllStringSubmatch(page, -1) {
		out = append(out, html.UnescapeString(found[1]))
	}
	return out
}

// gate answers as the server does when it is asked whether a key is good: it takes the one key, with any of its scopes.
func gate(t *testing.T, key apikey.Plaintext, scopes []string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		presented := r.Header.Get("X-Api-Key")
		if user, pass, basic := r.BasicAuth(); basic {
			presented = user + "_" + pass
		} else if bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
			presented = bearer
		}
		switch asked := r.URL.Query()["scope"]; {
		case r.URL.Path != "/v1/forward-auth":
			http.NotFound(w, r)
		case presented != key.Reveal():
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Join(asked, " ") != strings.Join(scopes, " "):
			w.WriteHeader(http.StatusForbidden)
		default:
			w.Header().Set("X-Key-Scopes", "read:seen")
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// TestExamplesOnAKeysPageAreProgramsThatRun copies them from the page into files and runs them: with the key they are
// told what it holds, with another they are refused.
func TestExamplesOnAKeysPageAreProgramsThatRun(t *testing.T) {
	key := apikey.NewPlaintext(apikey.Live)
	for name, scopes := range map[string][]string{"a scope": {"read:chat"}, "a hostile scope": {`it's "$HOME" & \n?+%41é`}, "all scopes": nil} {
		server := gate(t, key, scopes)
		model := KeyDetail{Page: as(account.Owner), Key: someKey(apikey.Enabled), BaseURL: server.URL}
		model.Key.Scopes = scopes
		if scopes == nil {
			model.Key.Scopes = []string{apikey.All}
		}
		examples := examplesOn(draw(t, KeyPage(model)))
		programs := []struct {
			name, file string
			run        []string
		}{
			{"curl with a Bearer token", "call.sh", []string{"curl", "sh"}},
			{"curl with X-Api-Key", "call.sh", []string{"curl", "sh"}},
			{"curl with user and pass", "call.sh", []string{"curl", "sh"}},
			{"JavaScript", "try-key.mjs", []string{"node"}},
			{"Python", "try_key.py", []string{"python3"}},
			{"Go", "try-key.go", []string{"go", "run"}},
		}
		if len(examples) != len(programs) {
			t.Fatalf("the page has %d examples: %q", len(examples), examples)
		}
		for i, p := range programs {
			t.Run(p.name+", "+name, func(t *testing.T) {
				if _, err := exec.LookPath(p.run[0]); err != nil {
					t.Skipf("this machine has no %s", p.run[0])
				}
				file := filepath.Join(t.TempDir(), p.file)
				if err := os.WriteFile(file, []byte(examples[i]), 0o600); err != nil {
					t.Fatal(err)
				}
				command := append(p.run, file)
				if p.run[0] == "curl" {
					command = append(p.run[1:], file)
				}
				if got, err := runExample(t, key.Reveal(), command); err != nil || !strings.Contains(got, "200") || !strings.Contains(got, "read:seen") {
					t.Errorf("with the key: %v %s", err, got)
				}
				if got, _ := runExample(t, apikey.NewPlaintext(apikey.Live).Reveal(), command); !strings.Contains(got, "401") || strings.Contains(got, "read:seen") {
					t.Errorf("with another key: %s", got)
				}
			})
		}
		if formatted, err := format.Source([]byte(examples[5])); err != nil || string(formatted) != examples[5] {
			t.Errorf("gofmt makes another text of the Go program: %v\n%s", err, formatted)
		}
	}
}

// TestCallThatIsShownOnceRuns does the same with the line that holds the key itself.
func TestCallThatIsShownOnceRuns(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("this machine has no curl")
	}
	key := apikey.NewPlaintext(apikey.Live)
	model := IssuedKey{Page: as(account.Owner), Key: someKey(apikey.Enabled), Plaintext: key}
	model.BaseURL = gate(t, key, model.Key.Scopes[:1]).URL
	lines := examplesOn(draw(t, ShowOnce(model)))
	if got, err := runExample(t, "", []string{"sh", "-c", lines[len(lines)-1]}); err != nil || !strings.Contains(got, "200") || !strings.Contains(got, "read:seen") {
		t.Errorf("%v %s", err, got)
	}
}

// runExample runs a command with the key in its environment, and no proxy in its way; it returns what was printed.
func runExample(t *testing.T, key string, command []string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, command[0], command[1:]...)
	c.Env = append(os.Environ(), keyVariable+"="+key, "NO_PROXY=*", "no_proxy=*")
	printed, err := c.CombinedOutput()
	return string(printed), err
}
