package handlers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
)

const (
	maxBody  = 64 << 10 // bytes of a request's body
	maxDepth = 8        // of arrays and objects in it; no request of ours nests more than two
)

var noStore = []string{"no-store"}

// respond answers a program. Nobody on the way may keep the answer.
func respond(c echo.Context, status int, answer any) error {
	body, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	c.Response().Header()["Cache-Control"] = noStore
	return c.JSONBlob(status, body)
}

// readJSON reads a request's body, and takes nothing that the document does not name: no other content type, no
// unknown or repeated field, nothing after the value, no broken Unicode (RFC 7493). The error is a *refusal, or
// input.Problems for a field of the wrong type.
func readJSON[T any](c echo.Context) (request T, err error) {
	if err := knownQuery(c); err != nil {
		return request, err
	}
	body, err := readBody(c)
	if err != nil {
		return request, err
	}
	return request, decode(body, &request)
}

// readBody returns the JSON of a request as it came.
func readBody(c echo.Context) ([]byte, error) {
	r := c.Request()
	if kind := r.Header.Get(echo.HeaderContentType); kind != echo.MIMEApplicationJSON {
		media, parameters, err := mime.ParseMediaType(kind)
		charset := parameters["charset"]
		if err != nil || media != echo.MIMEApplicationJSON || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return nil, refuse(http.StatusUnsupportedMediaType, "Send JSON, with Content-Type: application/json.")
		}
	}
	if r.Header.Get(echo.HeaderContentEncoding) != "" {
		return nil, refuse(http.StatusUnsupportedMediaType, "Send the body as it is, not compressed.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody)) // the gateways' door has not read it yet
	switch {
	case tooLarge(err):
		return nil, refuse(http.StatusRequestEntityTooLarge, "")
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "The body ended before it was complete. Send it again.")
	}
	return body, nil
}

// receive takes a request's body in before the clock of its questions to the database starts: a slow client is no
// outage. What is wrong with the body is told to whoever reads it.
func receive(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if r := c.Request(); r.ContentLength != 0 {
			body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
			if err == nil {
				r.ContentLength = int64(len(body)) // which a chunked one did not say
			}
			r.Body = io.NopCloser(&received{*bytes.NewReader(body), err})
		}
		return next(c)
	}
}

// received is what came of a body, and what ended it.
type received struct {
	bytes.Reader
	err error // nil at its end
}

func (r *received) Read(into []byte) (int, error) {
	n, err := r.Reader.Read(into)
	if errors.Is(err, io.EOF) && r.err != nil {
		err = r.err
	}
	return n, err
}

func tooLarge(err error) bool {
	var limit *http.MaxBytesError
	return errors.As(err, &limit)
}

func decode(body []byte, into any) error {
	if tooDeep(body) {
		return refuse(http.StatusBadRequest, fmt.Sprintf("The JSON nests too deep: %d levels at most.", maxDepth))
	}
	if bytes.Contains(body, []byte("null")) {
		if err := refuseNulls(body, into); err != nil {
			return err
		}
	}
	err := json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	var syntactic *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jsontext.ErrDuplicateName):
		errors.As(err, &syntactic)
		return input.Problems{fieldOf(syntactic.JSONPointer): "This field is there more than once."}
	case errors.As(err, &semantic) && errors.Is(err, json.ErrUnknownName):
		return input.Problems{fieldOf(semantic.JSONPointer): "There is no such field."}
	case errors.As(err, &semantic) && fieldOf(semantic.JSONPointer) == "":
		return refuse(http.StatusBadRequest, "Send one JSON object.")
	case errors.As(err, &semantic):
		return input.Problems{fieldOf(semantic.JSONPointer): "Send " + kindOf(semantic.GoType) + "."}
	}
	return refuse(http.StatusBadRequest, "The body is not valid JSON.")
}

// refuseNulls refuses null where a field does not take it. A program that has no value for graceSeconds or for a
// restriction shall hear of it.
func refuseNulls(body []byte, into any) error {
	var sent map[string]jsontext.Value
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil // what is no object at all, decode will tell
	}
	if sent == nil {
		return refuse(http.StatusBadRequest, "Send one JSON object.")
	}
	problems := input.Problems{}
	for name, value := range sent {
		if value.Kind() == 'n' && !slices.Contains(takesNull[reflect.TypeOf(into).Elem()], name) {
			problems[clip(name)] = "Send a value, or leave the field out."
		}
		var inside []map[string]jsontext.Value
		if value.Kind() != '[' || json.Unmarshal(value, &inside) != nil {
			continue // of other lists than those of objects, decode will tell
		}
		for i, entry := range inside {
			for member, value := range entry {
				if value.Kind() == 'n' {
					problems[fmt.Sprintf("%s[%d].%s", clip(name), i, clip(member))] = "Send a value, or leave the field out."
				}
			}
		}
	}
	return problems.Err()
}

// takesNull names the fields of requests that may be null.
var takesNull = map[reflect.Type][]string{reflect.TypeFor[UpdateAPIKeyRequest](): {"biasProfileId"}}

// tooDeep looks at the nesting before anything is made of the text.
func tooDeep(body []byte) bool {
	if bytes.Count(body, []byte{'['})+bytes.Count(body, []byte{'{'}) <= maxDepth {
		return false // also what is no JSON at all: decode will tell
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(body))
	for {
		if _, err := decoder.ReadToken(); err != nil {
			return false
		}
		if decoder.StackDepth() > maxDepth {
			return true
		}
	}
}

// fieldOf is the field of a request that a place in its JSON belongs to: scopes, or categories[2].name of a list of objects.
// What a program made up is cut short.
func fieldOf(place jsontext.Pointer) string {
	parts := slices.Collect(place.Tokens())
	switch {
	case len(parts) == 0:
		return ""
	case len(parts) < 3:
		return clip(parts[0])
	}
	return fmt.Sprintf("%s[%s].%s", clip(parts[0]), clip(parts[1]), clip(parts[2]))
}

// clip shortens what somebody made up, in whole characters.
func clip(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), 100)], "")
}

// kindOf says what a field takes.
func kindOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return "an array of objects"
		}
		return "an array of strings"
	case reflect.Float64:
		return "a number"
	default:
		return "an object"
	}
}
