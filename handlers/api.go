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
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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
	header := c.Response().Header()
	header["Cache-Control"], header["X-Content-Type-Options"], header["Content-Security-Policy"] = noStore, noSniffing, noContent
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
	body, err := receive(c)
	switch {
	case tooLarge(err):
		return nil, refuse(http.StatusRequestEntityTooLarge, "")
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "The body ended before it was complete. Send it again.")
	}
	return body, nil
}

var closeConnection = []string{"close"}

// closeUnlessReceived makes net/http close the connection of a request that has a body after its answer, unless the body has
// been received by then. Otherwise net/http would wait for that body before it answers.
func closeUnlessReceived(header http.Header, r *http.Request) {
	if r.ContentLength != 0 && len(header["Connection"]) == 0 { // else the connection closes in any case
		header["Connection"] = closeConnection
	}
}

// stayOpen takes back what closeUnlessReceived did, and leaves what others said of the connection: a server that stops closes each.
func stayOpen(header http.Header) {
	if said := header["Connection"]; len(said) > 0 && &said[0] == &closeConnection[0] {
		delete(header, "Connection")
	}
}

// ignoreBodies answers requests by a handler that reads no body, without waiting for the one that a request declares.
func ignoreBodies(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		closeUnlessReceived(w.Header(), r)
		next.ServeHTTP(w, r)
	})
}

// receive reads a request's body, of maxBody bytes at most, while the request's time limit stands still: a slow client is no
// outage. It returns the same on every call. Nothing else reads a body from the connection, and what is refused before is
// answered without it.
func receive(c echo.Context) ([]byte, error) {
	r := c.Request()
	if body, ok := r.Body.(*receivedBody); ok {
		return body.all, body.err
	}
	body := &receivedBody{}
	if r.ContentLength > maxBody {
		body.err = &http.MaxBytesError{Limit: maxBody}
	} else {
		began := time.Now()
		body.all, body.err = io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, maxBody))
		if deadline, limited := r.Context().Deadline(); limited {
			extend(c, deadline.Sub(began)) // until the client's own context ends, at the end of the request
			r = c.Request()
		}
	}
	if body.err == nil {
		stayOpen(c.Response().Header())
		r.ContentLength = int64(len(body.all)) // which a chunked one did not say
	}
	body.Reader.Reset(body.all)
	r.Body = body
	return body.all, body.err
}

// receivedBody is a body that receive has read, and the error that ended it; nil at its end.
type receivedBody struct {
	bytes.Reader
	all []byte
	err error
}

func (b *receivedBody) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into)
	if errors.Is(err, io.EOF) && b.err != nil {
		err = b.err
	}
	return n, err
}

func (b *receivedBody) Close() error { return nil }

func tooLarge(err error) bool {
	var limit *http.MaxBytesError
	return errors.As(err, &limit)
}

func decode(body []byte, into any) error {
	if tooDeep(body) {
		return refuse(http.StatusBadRequest, fmt.Sprintf("The JSON nests too deep: %d levels at most.", maxDepth))
	}
	if bytes.Contains(body, []byte("null")) || bytes.Contains(body, []byte(`""`)) {
		if err := refuseNothing(body, into); err != nil {
			return err
		}
	}
	switch { // json would say only that neither is valid
	case bytes.HasPrefix(body, []byte("\ufeff")):
		return refuse(http.StatusBadRequest, "The body begins with a byte order mark. Send UTF-8 without one.")
	case !utf8.Valid(body):
		return refuse(http.StatusBadRequest, "The body is not valid UTF-8.")
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
	case errors.As(err, &semantic) && errors.Is(err, strconv.ErrRange):
		return input.Problems{fieldOf(semantic.JSONPointer): "This number is out of range."}
	case errors.As(err, &semantic):
		return input.Problems{fieldOf(semantic.JSONPointer): "Send " + kindOf(semantic.GoType) + "."}
	}
	return refuse(http.StatusBadRequest, "The body is not valid JSON.")
}

// refuseNothing refuses an empty string, which of a program is a variable without a value, and null where it does not mean
// that a field was left out.
func refuseNothing(body []byte, into any) error {
	var sent map[string]jsontext.Value
	if err := json.Unmarshal(body, &sent); err != nil {
		return nil // what is no object at all, decode will tell
	}
	if sent == nil {
		return refuse(http.StatusBadRequest, "Send one JSON object.")
	}
	problems := input.Problems{}
	refuseEmpty(problems, "", sent, fieldsOf(reflect.TypeOf(into).Elem()))
	return problems.Err()
}

// refuseEmpty looks at the fields of one object, and of the objects and strings in its lists.
func refuseEmpty(problems input.Problems, within string, sent map[string]jsontext.Value, fields map[string]field) {
	for name, value := range sent {
		known, path := fields[name], within+clip(name)
		switch value.Kind() {
		case 'n':
			if !known.null {
				problems[path] = "null is no value here. Send one, or leave the field out where it is optional."
			}
		case '"':
			if string(value) == `""` && known.optional && !known.empty {
				problems[path] = noValue
			}
		case '[':
			var entries []jsontext.Value
			if json.Unmarshal(value, &entries) != nil {
				continue // decode will tell
			}
			for i, entry := range entries {
				inside := fmt.Sprintf("%s[%d]", path, i)
				var object map[string]jsontext.Value
				switch {
				case string(entry) == `""`:
					problems[path] = "An entry is empty."
				case entry.Kind() == 'n': // no list of ours has entries that may be null; without this they would be empty texts
					problems[path] = "An entry is null."
				case entry.Kind() == '{' && json.Unmarshal(entry, &object) == nil:
					members := fieldsOf(known.entry)
					for member, of := range members { // null is for what an answer says with null, and no answer does so within a list
						of.null = false
						members[member] = of
					}
					refuseEmpty(problems, inside+".", object, members)
				}
			}
		default:
		}
	}
}

// field says what a field of a request takes besides a value.
type field struct {
	optional bool         // one that is not has a rule of its own, which an empty string breaks
	null     bool         // which means that it was left out or, in a change, that what it names goes
	empty    bool         // a text that may be taken away
	entry    reflect.Type // of its list
}

// changes are the requests that change something, where leaving a field out and null are not the same.
var changes = []reflect.Type{reflect.TypeFor[UpdateAPIKeyRequest](), reflect.TypeFor[UpdateBiasProfileRequest](), reflect.TypeFor[UpdateMemberRequest](),
	reflect.TypeFor[UpdateProcessRequest](), reflect.TypeFor[UpdateScopeRequest](), reflect.TypeFor[UpdateWorkspaceRequest]()}

// fieldsOf reads a request's type: what is optional may be null, except in a change, where only what is made for it may.
func fieldsOf(t reflect.Type) map[string]field {
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	out := map[string]field{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		known := field{optional: options != "", null: options != "" && !slices.Contains(changes, t), empty: name == "description"}
		if _, made := reflect.New(f.Type).Interface().(json.UnmarshalerFrom); made {
			known.null = true
		}
		if f.Type.Kind() == reflect.Slice {
			known.entry = f.Type.Elem()
		}
		out[name] = known
	}
	return out
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
