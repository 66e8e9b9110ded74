package handlers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
)

const (
	maxBody  = 64 << 10 // bytes of a request's JSON
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
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
	var known *echo.HTTPError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return nil, known
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "")
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "The body ended before it was complete. Send it again.")
	}
	return body, nil
}

func decode(body []byte, into any) error {
	if tooDeep(body) {
		return refuse(http.StatusBadRequest, fmt.Sprintf("The JSON nests too deep: %d levels at most.", maxDepth))
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

// fieldOf is the field of a request that a place in its JSON belongs to; what a program made up is cut short.
func fieldOf(place jsontext.Pointer) string {
	for token := range place.Tokens() {
		return token[:min(len(token), 100)]
	}
	return ""
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
		return "an array of strings"
	case reflect.Float64:
		return "a number"
	default:
		return "an object"
	}
}
