package views

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/moonlatch/moonlatch/internal/apikey"
)

// keyVariable is the environment variable from which the examples read the key.
const keyVariable = "MOONLATCH_API_KEY"

// language is a way to call that a reader chooses, with its examples.
type language struct {
	Name  string
	Calls []call
}

// slug is the language in an attribute.
func (l language) slug() string { return strings.ToLower(l.Name) }

// call is an example: a line for the shell, or a whole program and the command that runs it.
type call struct{ Label, Run, Text string }

// languages are the examples that read the key from the environment.
func languages(tryURL string) []language {
	return []language{
		{"curl", []call{
			{Label: "As a Bearer token", Text: curlBearer(tryURL, "$"+keyVariable)},
			{Label: "In the X-Api-Key header", Text: curlHeader(tryURL)},
			{Label: "As user:pass, parted at the key’s last underscore", Text: curlBasic(tryURL)},
		}},
		{"JavaScript", []call{{"With fetch", "node try-key.mjs", javaScript(tryURL)}}},
		{"Python", []call{{"With the standard library", "python3 try_key.py", python(tryURL)}}},
		{"Go", []call{{"With net/http", "go run try-key.go", goProgram(tryURL)}}},
	}
}

// tryURL is what the examples call: the server's own answer to whether a key is good, and holds the scope if one is
// given.
func tryURL(base, scope string) string {
	if scope == "" {
		return base + "/v1/forward-auth"
	}
	return base + "/v1/forward-auth?scope=" + strings.ReplaceAll(url.QueryEscape(scope), "%3A", ":") // a colon may stand in a query
}

// scopeToTry is a scope that the key holds by name; "" when it holds them all.
func scopeToTry(k apikey.Key) string {
	if len(k.Scopes) == 0 || slices.Contains(k.Scopes, apikey.All) {
		return ""
	}
	return k.Scopes[0]
}

// curlBearer is a call with the key, or with the variable that holds it. Double quotes are safe around either.
func curlBearer(tryURL, key string) string {
	return "curl -i " + shellQuoted(tryURL) + " \\\n  -H \"Authorization: Bearer " + key + "\""
}

func curlHeader(tryURL string) string {
	return "curl -i " + shellQuoted(tryURL) + " \\\n  -H \"X-Api-Key: $" + keyVariable + "\""
}

// curlBasic parts the key at its last underscore.
func curlBasic(tryURL string) string {
	return "curl -i " + shellQuoted(tryURL) + " \\\n  -u \"${" + keyVariable + "%_*}:${" + keyVariable + "##*_}\""
}

// curlIssue issues a key for a process.
func curlIssue(base, processID string) string {
	return "curl -i " + shellQuoted(base+"/v1/processes/"+processID+"/api-keys") + " \\\n  -H \"Authorization: Bearer $" + keyVariable + "\" \\\n" +
		"  -H \"Content-Type: application/json\" \\\n  -d '{\"name\": \"From a program\", \"scopes\": [\"read:chat\"]}'"
}

// shellQuoted keeps the shell from reading an address: zsh takes a bare "?" for a pattern.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// An address quoted as in Go is a string of JavaScript and of Python too: all three know \" and \\.

func javaScript(tryURL string) string {
	return fmt.Sprintf(`const url = %q
const answer = await fetch(url, {
  headers: { Authorization: "Bearer " + process.env.%s },
})
if (!answer.ok) throw new Error("Refused: " + answer.status)
console.log(answer.status, answer.headers.get("X-Key-Scopes"))
`, tryURL, keyVariable)
}

func python(tryURL string) string {
	return fmt.Sprintf(`import os
import urllib.request

url = %q
request = urllib.request.Request(url)
request.add_header("Authorization", "Bearer " + os.environ[%q])
with urllib.request.urlopen(request) as answer:  # raises HTTPError when refused
    print(answer.status, answer.headers["X-Key-Scopes"])
`, tryURL, keyVariable)
}

func goProgram(tryURL string) string {
	return fmt.Sprintf(`package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

const url = %q

func main() {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv(%q))
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		log.Fatal("Refused: ", answer.Status)
	}
	fmt.Println(answer.StatusCode, answer.Header.Get("X-Key-Scopes"))
}
`, tryURL, keyVariable)
}
