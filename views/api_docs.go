package views

import (
	"context"
	"io"
	"strings"

	"github.com/a-h/templ"
)

// APIDocs is the contract of the HTTP API, as people read it.
type APIDocs struct {
	Page
	BaseURL               string // of this server, without a slash at its end
	Title, Summary, Intro string
	Ways                  []APIWay
	Codes                 []APIChoice // of errors; each text begins with its status
	ErrorExample          string
	Headers               []APIField // that many answers carry
	Tags                  []APITag
}

// APIWay is a way to authenticate. Its kind is "http bearer", "http basic" or "apiKey".
type APIWay struct{ Kind, Text string }

// APITag is a group of operations.
type APITag struct {
	Name, Text string
	Operations []APIOperation
}

// APIOperation is what one method of one address does. Its texts have `code` and paragraphs, as all texts here.
type APIOperation struct {
	ID, Method, Path, Summary, Text string
	Scope                           string // that a key needs; empty for none
	InPath, InQuery, InHeader       []APIField
	BodyText                        string
	Body                            []APIField
	Answers                         []APIAnswer
	Errors                          []APIError
	Call                            APICall
}

// APIField is a field, a parameter or a header. Fields are those of the object that it is, or of the objects in it.
type APIField struct {
	Name, Type, Text string
	Required         bool
	Notes            []string // default and bounds
	Choices          []APIChoice
	Fields           []APIField
}

// APIChoice is one value of several; the text may be empty.
type APIChoice struct{ Value, Text string }

// APIAnswer is an answer to a request that was good.
type APIAnswer struct {
	Status, Text string
	Common       []string   // names of headers that are among APIDocs.Headers
	Headers      []APIField // others
	Type         string     // the media type; empty for no body
	Body         []APIField
	Examples     []APIExample
}

// APIExample is an example of an answer.
type APIExample struct{ Label, Text string }

// APIError is an answer to a request that was refused or failed.
type APIError struct {
	Status, Text string
	Headers      []string // beside those that every answer has
}

// APICall is what an example of a request is made of.
type APICall struct {
	Method, Path, Body  string
	Headers             []string
	Public, SessionOnly bool // no credential, or none but a session's token
}

// tokenVariable is the environment variable from which an example reads a session's token.
const tokenVariable = "MOONLATCH_TOKEN"

func (c APICall) curl(base string) string {
	lines := []string{"curl " + shellQuoted(base+c.Path)}
	switch {
	case c.Method == "HEAD":
		lines = append(lines, "--head")
	case c.Method == "POST" && c.Body == "", c.Method == "PATCH", c.Method == "DELETE":
		lines = append(lines, "-X "+c.Method)
	}
	switch {
	case c.SessionOnly:
		lines = append(lines, `-H "Authorization: Bearer $`+tokenVariable+`"`)
	case !c.Public:
		lines = append(lines, `-H "Authorization: Bearer $`+keyVariable+`"`)
	}
	for _, header := range c.Headers {
		lines = append(lines, "-H "+shellQuoted(header))
	}
	if c.Body != "" {
		lines = append(lines, "-H 'Content-Type: application/json'", "-d "+shellQuoted(c.Body))
	}
	return strings.Join(lines, " \\\n  ")
}

// title and call are how a way to authenticate is shown.
func (w APIWay) title() string {
	switch w.Kind {
	case "http bearer":
		return "Bearer token"
	case "http basic":
		return "HTTP Basic"
	}
	return "X-Api-Key header"
}

func (w APIWay) call(base string) string {
	switch w.Kind {
	case "http bearer":
		return curlBearer(tryURL(base, ""), "$"+keyVariable)
	case "http basic":
		return curlBasic(tryURL(base, ""))
	}
	return curlHeader(tryURL(base, ""))
}

// status is what the text of an error's code begins with.
func (c APIChoice) status() (status, text string) {
	status, text, _ = strings.Cut(c.Text, ": ")
	return status, text
}

func (t APITag) anchor() string {
	return "tag-" + strings.ReplaceAll(strings.ToLower(t.Name), " ", "-")
}

// paragraphs are parted by an empty line.
func paragraphs(text string) []string {
	return strings.Split(strings.TrimSpace(text), "\n\n")
}

// oneOf names the values of which one may be sent or will be answered.
func oneOf(choices []APIChoice) string {
	var names []string
	for _, c := range choices {
		names = append(names, "`"+c.Value+"`")
	}
	return "One of " + strings.Join(names, ", ") + "."
}

// inline is a text with its `code`. A template would put spaces around it.
func inline(text string) templ.Component {
	return templ.ComponentFunc(func(_ context.Context, out io.Writer) error {
		for i, part := range strings.Split(text, "`") {
			if i%2 == 1 {
				part = "<code>" + templ.EscapeString(part) + "</code>"
			} else {
				part = templ.EscapeString(strings.ReplaceAll(part, "'", "’"))
			}
			if _, err := io.WriteString(out, part); err != nil {
				return err
			}
		}
		return nil
	})
}

// fieldsShown is how many fields are shown without being asked for.
const fieldsShown = 9

func countFields(fields []APIField) int {
	n := len(fields)
	for _, f := range fields {
		n += countFields(f.Fields)
	}
	return n
}
