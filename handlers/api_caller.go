package handlers

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/views"
)

// credential is what a caller shows of itself: an API key, or a session token. Both are empty when it shows nothing.
type credential struct{ key, token string }

var (
	errNoCredential = &refusal{status: http.StatusUnauthorized}
	errTwoOfThem    = &refusal{status: http.StatusUnauthorized, message: "Send one credential: several were sent.",
		challenge: `error="invalid_request", error_description="more than one credential"`}
	errCredential = &refusal{status: http.StatusUnauthorized, message: "The Authorization header can't be read. Send Bearer with a key or a token, or Basic with the key's user and pass.",
		challenge: `error="invalid_request", error_description="unreadable credential"`}
	errKeyGone = &refusal{status: http.StatusUnauthorized, message: "The API key is not accepted any more.",
		challenge: `error="invalid_token", error_description="the API key is not accepted any more"`}
	errEnded = &refusal{status: http.StatusUnauthorized, message: "The API key or the session ended before the request was done. Nothing was changed.",
		challenge: `error="invalid_token", error_description="the API key or the session has ended"`}
	errToken = &refusal{status: http.StatusUnauthorized, message: "The session token has expired or was never good. Log in again.",
		challenge: `error="invalid_token", error_description="the session token is not good"`}
)

// credentialHeaders returns the values of X-Api-Key and of Authorization. A blank one, or a scheme without a value, is no
// credential: a program writes it for a variable that has no value.
func credentialHeaders(header http.Header) (keys, authorizations []string) {
	return withoutBlank(header["X-Api-Key"], blank), withoutBlank(header["Authorization"], func(value string) bool {
		scheme, value, _ := strings.Cut(strings.TrimSpace(value), " ")
		return blank(value) && (blank(scheme) || strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "Basic"))
	})
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }

// withoutBlank returns the same slice where none is blank, which nearly always is so.
func withoutBlank(values []string, isBlank func(string) bool) []string {
	if !slices.ContainsFunc(values, isBlank) {
		return values
	}
	return slices.DeleteFunc(slices.Clone(values), isBlank)
}

// presented reads what a request shows: Authorization with Bearer (RFC 6750) or Basic (RFC 7617), or X-Api-Key.
func presented(header http.Header) (credential, error) {
	keys, authorizations := credentialHeaders(header)
	if len(keys)+len(authorizations) > 1 {
		return credential{}, errTwoOfThem
	}
	switch {
	case len(keys) == 1:
		return credential{key: strings.TrimSpace(keys[0])}, nil
	case len(authorizations) == 1:
		return readAuthorization(authorizations[0])
	}
	return credential{}, nil
}

// presentedToGateway is presented for what a gateway passes on. The API behind it may use Authorization for its own
// callers beside X-Api-Key, so a header there that holds no API key is none of ours.
func presentedToGateway(header http.Header) (credential, error) {
	keys, authorizations := credentialHeaders(header)
	if len(keys) != 1 || len(authorizations) != 1 {
		return presented(header)
	}
	if other, err := readAuthorization(authorizations[0]); err == nil && strings.HasPrefix(other.key, keyMark) || holdsKey(authorizations[0]) {
		return credential{}, errTwoOfThem
	}
	return credential{key: strings.TrimSpace(keys[0])}, nil
}

// holdsKey reports whether a key begins somewhere in a text: in a scheme that is not read here, a gateway would pass it on.
func holdsKey(text string) bool {
	return strings.Contains(text, "pk_live_") || strings.Contains(text, "pk_test_")
}

// keyMark begins every API key, and no session token.
const keyMark = "pk_"

func readAuthorization(text string) (credential, error) {
	scheme, value, _ := strings.Cut(text, " ")
	value = strings.TrimSpace(value)
	switch {
	case strings.EqualFold(scheme, "Bearer") && strings.HasPrefix(value, keyMark):
		return credential{key: value}, nil
	case strings.EqualFold(scheme, "Bearer") && value != "":
		return credential{token: value}, nil
	case strings.EqualFold(scheme, "Basic"):
		text, err := base64.StdEncoding.DecodeString(value)
		if user, pass, ok := strings.Cut(string(text), ":"); err == nil && ok && !strings.Contains(pass, "_") { // cut at the last one
			return credential{key: user + "_" + pass}, nil
		}
	}
	return credential{}, errCredential
}

var errAddressNotAllowed = refuse(http.StatusForbidden, "The API key may not be used from this address.")

// refusedKey says why a key was not accepted, and never more than its holder may know.
func refusedKey(code verify.Code, scopes []string) *refusal {
	switch code {
	case verify.InsufficientScope:
		return &refusal{status: http.StatusForbidden, message: "The API key does not hold every scope that this takes.",
			challenge: fmt.Sprintf(`error="insufficient_scope", scope="%s"`, scopeList(scopes))}
	case verify.AddressNotAllowed:
		return errAddressNotAllowed
	case verify.Disabled, verify.Rotated, verify.Expired, verify.Revoked:
		return &refusal{status: http.StatusUnauthorized, message: fmt.Sprintf("The API key is %s.", code),
			challenge: fmt.Sprintf(`error="invalid_token", error_description="the API key is %s"`, code)}
	default:
		return &refusal{status: http.StatusUnauthorized, message: "The API key is not known here. Check that it was copied whole.",
			challenge: `error="invalid_token", error_description="the API key is not known"`}
	}
}

// scopeList is scopes as RFC 6750, 3 writes them; what a scope can't hold is left out.
func scopeList(scopes []string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, strings.Join(scopes, " "))
}

// question is what a key is asked about every request that it comes with.
func (h *handler) question(r *http.Request) verify.Question {
	return verify.Question{Address: h.from(r), UserAgent: userAgent(r)}
}

// calling is who calls, found out before anything else is done; the route's policy decides what an error means.
type calling struct {
	actor account.Actor
	err   error
}

const callingKey = "calling" // in echo's context

// recognise finds out which program calls, and holds it to its limit of requests.
func (h *handler) recognise(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		var who calling
		who.actor, who.err = h.caller(c)
		c.Set(callingKey, who)
		if err := h.limit(c, who); err != nil {
			return err
		}
		return next(c)
	}
}

// caller is who calls as the database knows them at this moment.
func (h *handler) caller(c echo.Context) (account.Actor, error) {
	ctx := c.Request().Context()
	shown, err := presented(c.Request().Header)
	switch {
	case err != nil:
		return account.Actor{}, err
	case shown.key != "":
		key, err := h.ownKey(c, shown.key)
		if err != nil {
			return account.Actor{}, err
		}
		actor, err := h.keyring.KeyActor(ctx, visitor(c), key.OrgID, key.ID)
		if errors.Is(err, keyring.ErrNotFound) { // it died since it was verified
			err = errKeyGone
		}
		return actor, err
	case shown.token != "":
		return h.session(ctx, c, shown.token)
	}
	return account.Actor{}, errNoCredential
}

// gatewayCaller is who asks about a key. It is asked as often as its gateway is, so what is known of its own key
// comes from where that of the other does.
func (h *handler) gatewayCaller(c echo.Context) (account.Actor, error) {
	shown, err := presented(c.Request().Header)
	switch {
	case err != nil:
		return account.Actor{}, err
	case shown.key != "":
		key, err := h.ownKey(c, shown.key)
		if err != nil {
			return account.Actor{}, err
		}
		actor := account.Actor{OrgID: key.OrgID, MemberID: key.OwnerID, KeyID: key.ID, Scopes: key.Scopes}
		if key.OwnerActive {
			actor.Role = key.ActsAs
		}
		return actor, nil
	case shown.token != "":
		ctx, cancel := context.WithTimeout(c.Request().Context(), requestTimeout)
		defer cancel()
		return h.session(ctx, c, shown.token)
	}
	return account.Actor{}, errNoCredential
}

// ownKey is goodKey for the key of a caller. One that was refused for its address is a security event of its organisation.
func (h *handler) ownKey(c echo.Context, plaintext string) (*verify.Key, error) {
	key, err := h.goodKey(c.Request().Context(), plaintext, h.question(c.Request()))
	if key != nil && errors.Is(err, errAddressNotAllowed) {
		h.keyring.RecordSecurityEvent(audit.SecurityEvent{OrgID: key.OrgID, Kind: audit.PermissionRefused, MemberID: key.OwnerID, KeyID: key.ID,
			Address: c.RealIP(), Detail: string(h.routes[c.Request().Method+" "+c.Path()].policy.action)})
	}
	return key, err
}

func (h *handler) goodKey(ctx context.Context, plaintext string, q verify.Question) (*verify.Key, error) {
	verdict, err := h.verifier.Verify(ctx, plaintext, q)
	if err == nil && verdict.Code != verify.Valid {
		err = refusedKey(verdict.Code, q.Scopes)
	}
	return verdict.Key, err
}

func (h *handler) session(ctx context.Context, c echo.Context, token string) (account.Actor, error) {
	actor, err := h.programs.Actor(ctx, visitor(c), token)
	if errors.Is(err, keyring.ErrToken) {
		err = errToken
	}
	return actor, err
}

// enforceProgram lets a program through to a route if it may take the action.
func (h *handler) enforceProgram(c echo.Context, action account.Action, next echo.HandlerFunc) error {
	who, found := c.Get(callingKey).(calling)
	if !found { // it came in by the gateways' door
		who.actor, who.err = h.gatewayCaller(c)
	}
	if who.err != nil {
		return who.err
	}
	c.Set(viewerKey, views.Viewer{Actor: who.actor})
	if !who.actor.May(action) {
		return forbiddenError{action}
	}
	if !found { // a question about a key never waits
		return next(c)
	}
	if r := c.Request(); r.Method == http.MethodDelete && r.ContentLength != 0 { // what it says would be passed over
		return refuse(http.StatusBadRequest, "A DELETE takes no body. Send what it needs in the query.")
	}
	return h.inTurn(c, next)
}
