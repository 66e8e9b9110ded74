package handlers

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// refusal is an error that says itself how a program is answered.
type refusal struct {
	status     int
	code       string // "" for the status's own
	message    string // "" for the status's own
	details    *ErrorDetails
	challenge  string // what WWW-Authenticate says beside the realm, in the words of RFC 6750, 3
	retryAfter time.Duration
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s %s", r.status, r.code, r.message) }

func refuse(status int, message string) *refusal { return &refusal{status: status, message: message} }

// answers says for each status what programs read: the code, and what to do where the error does not say it better.
var answers = map[int]struct{ code, message string }{
	http.StatusBadRequest:            {"validation_failed", "The request can't be read as it is. The documentation at /docs says what it takes."},
	http.StatusUnauthorized:          {"unauthorized", "Send an API key or a session token: Authorization: Bearer, X-Api-Key, or HTTP Basic with the key's user and pass."},
	http.StatusForbidden:             {"forbidden", "This caller may not do that."},
	http.StatusNotFound:              {"not_found", "There is nothing by this address or id in your organisation."},
	http.StatusMethodNotAllowed:      {"method_not_allowed", "This address does not take this method; the Allow header names those that it takes."},
	http.StatusConflict:              {"state_conflict", "The key's status does not allow this any more. Get the key to see where it stands."},
	http.StatusRequestEntityTooLarge: {"payload_too_large", "The body is larger than 64 KiB."},
	http.StatusUnsupportedMediaType:  {"unsupported_media_type", "Send JSON, with Content-Type: application/json."},
	http.StatusTooManyRequests:       {"rate_limited", "Too many requests. Wait as long as Retry-After says."},
	http.StatusInternalServerError:   {"internal_error", "Something went wrong here. It is written down under the request id in X-Request-Id."},
	http.StatusServiceUnavailable:    {"unavailable", "The database does not answer right now. Try again shortly."},
}

// failProgram answers a program whose request came to nothing.
func (h *handler) failProgram(c echo.Context, err error) {
	h.recordRefusal(c, err)
	r := h.refusalOf(err)
	if r.status >= 500 {
		if requestID(c) == "" { // the gateways' door gives none
			c.Response().Header().Set(echo.HeaderXRequestID, rand.Text())
		}
		if !forGateways(c.Request().URL.Path) || r.status != http.StatusServiceUnavailable { // an outage is logged once, and measured
			h.logFailure(c, err)
		}
	}
	answer, known := answers[r.status]
	if !known { // what the HTTP library itself refuses
		answer = answers[http.StatusBadRequest]
	}
	said := Error{ErrorBody{Code: cmp.Or(r.code, answer.code), Message: cmp.Or(r.message, answer.message), Details: r.details}}
	header := c.Response().Header()
	if r.retryAfter > 0 {
		seconds := int(math.Ceil(r.retryAfter.Seconds()))
		header.Set("Retry-After", fmt.Sprint(seconds))
		if r.status == http.StatusTooManyRequests {
			said.Error.Details = &ErrorDetails{RetryAfter: &seconds}
		}
	}
	if r.status == http.StatusUnauthorized || r.challenge != "" {
		header.Add(echo.HeaderWWWAuthenticate, strings.Join(slices.DeleteFunc([]string{`Bearer realm="Moonlatch"`, r.challenge}, func(s string) bool { return s == "" }), ", "))
	}
	if r.status == http.StatusUnauthorized {
		header.Add(echo.HeaderWWWAuthenticate, `Basic realm="Moonlatch", charset="UTF-8"`)
	}
	if err := respond(c, r.status, said); err != nil {
		h.log.Error("an error could not be answered", "error", err, "request", requestID(c))
		_ = c.JSONBlob(http.StatusInternalServerError, []byte(`{"error":{"code":"internal_error","message":"Something went wrong here."}}`)) // but never with a 200
	}
}

// refusalOf says what an error means to a program. The table of meanings is the same as for people.
func (h *handler) refusalOf(err error) *refusal {
	var (
		known     *refusal
		problems  = input.ProblemsIn(err)
		missing   keyring.MissingError
		repeated  *keyring.RepeatedError
		inUse     *keyring.ProfileInUseError
		locked    *keyring.LockedError
		forbidden forbiddenError
	)
	switch {
	case errors.As(err, &known):
		return known
	case problems != nil:
		return &refusal{status: http.StatusBadRequest, message: "Some fields can't be accepted; details.fields says why.", details: &ErrorDetails{Fields: inProgramWords(problems)}}
	case errors.As(err, &missing):
		return h.refusalOf(input.Problems{missing.Field: "Your organisation has nothing by this id that a key can refer to."})
	case errors.As(err, &repeated):
		return repetition(repeated)
	case errors.As(err, &inUse):
		return &refusal{status: http.StatusConflict, details: &ErrorDetails{Keys: &inUse.Keys},
			message: "Keys carry this bias profile; details.keys says how many. Say with moveTo which profile they carry instead, or none."}
	case errors.As(err, &locked):
		return &refusal{status: http.StatusTooManyRequests, message: "Too many attempts to log in. Wait as long as Retry-After says.",
			retryAfter: max(time.Second, locked.Until.Sub(h.keyring.Now()))}
	case errors.As(err, &forbidden):
		return lacking(forbidden.action)
	case errors.Is(err, keyring.ErrCursor):
		return h.refusalOf(input.Problems{"cursor": meaningOf(err).message})
	case errors.Is(err, keyring.ErrUnauthenticated):
		return errEnded
	case errors.Is(err, keyring.ErrCredentials):
		return &refusal{status: http.StatusUnauthorized, message: "Wrong email or password."}
	}
	m := meaningOf(err)
	r := refuse(m.status, m.message)
	if r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests {
		r.retryAfter = retryAfter
	}
	return r
}

func repetition(r *keyring.RepeatedError) *refusal {
	message := "This Idempotency-Key was used for another request. Draw a new one for each request."
	if r.SameBody {
		message = "This request was made before and issued the key in details.id. Its plaintext was returned once; rotate the key if that answer was lost."
	}
	return &refusal{status: http.StatusConflict, code: "idempotency_conflict", message: message, details: &ErrorDetails{ID: &r.KeyID}}
}

// lacking says what an action takes.
func lacking(action account.Action) *refusal {
	var roles []string
	for _, role := range account.RolesFor(action) {
		roles = append(roles, string(role))
	}
	r := refuse(http.StatusForbidden, fmt.Sprintf("This takes the role %s.", strings.Join(roles, " or ")))
	if scope := account.ScopeFor(action); scope != "" {
		r.message = fmt.Sprintf("This takes the role %s and, of an API key, the scope %s besides; an API key acts with its owner's present role.", strings.Join(roles, " or "), scope)
		r.challenge = fmt.Sprintf(`error="insufficient_scope", scope=%q`, scope)
	} else {
		r.message += " An API key can't do it."
	}
	return r
}

// noValue is what is wrong with an empty string: of a program it is a variable without a value.
const noValue = "This is empty. Send a value, or leave it out."

// knownQuery refuses a query that asks for something that the call does not know, for one thing twice, or for nothing: the
// answer would be to another question.
func knownQuery(c echo.Context, known ...string) error {
	if _, err := url.ParseQuery(c.Request().URL.RawQuery); err != nil {
		return errAddress // what can't be read would be left out; nobody else looks at the questions of gateways
	}
	problems := queryProblems(c, known)
	for name, values := range c.QueryParams() {
		if slices.Contains(known, name) && len(values) == 1 && values[0] == "" {
			problems[name] = noValue
		}
	}
	return problems.Err()
}

// queryProblems says which parameters a call does not know, or has twice. A page's form also sends what is empty.
func queryProblems(c echo.Context, known []string) input.Problems {
	problems := input.Problems{}
	for name, values := range c.QueryParams() {
		switch {
		case !slices.Contains(known, name):
			problems[clip(name)] = "There is no such parameter."
		case len(values) > 1:
			problems[clip(name)] = "Send this parameter once."
		}
	}
	return problems
}
