package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// Errors of requests that never reach a use case.
var (
	errCrossOrigin = errors.New("the form was sent from another site")
	errAddress     = errors.New("the address is broken")
	errForm        = errors.New("the form can't be read")
	errMediaType   = errors.New("the body is no form")
	errList        = errors.New("the address asks for something that the list does not know")
	errExports     = errors.New("as many exports as may be are under way")
)

// meaning is a row: what an error is to people and to programs.
type meaning struct {
	err      error
	status   int
	sentence string // for people; "" for the status's own
	message  string // for programs: the field or rule, and the fix; "" for the status's own
}

// meanings gives every error that can reach a caller its status and its words. The first that matches holds.
var meanings = []meaning{
	{keyring.ErrGrantAll, http.StatusForbidden, "Only an owner may give out a key with the scope *, and rotating gives one out. Ask an owner to do it.", "Only an organisation owner may issue or rotate a key with the scope *."},
	{keyring.ErrHandOut, http.StatusForbidden, "An API key hands out no more than it holds itself: no other scope, workspace, process, environment, bias profile or address, and no longer life for itself.", "An API key can grant only what it holds: its scopes, workspace, process, environment, bias profile and addresses. It can’t extend its own expiry."},
	{keyring.ErrMoveKeys, http.StatusForbidden, "Moving keys to another bias profile changes them, for which an API key needs the scope write:api-keys besides.", "moveTo changes keys: the API key also needs the scope write:api-keys."},
	{keyring.ErrEntrust, http.StatusForbidden, "In its owner’s name this key’s scopes allow what you may not do, and a person who holds it could. Ask an owner of the organisation to do it.", "In that owner’s name the key’s scopes would allow more than the caller may do."},
	{keyring.ErrReach, http.StatusForbidden, "This API key is confined to a workspace, a process, the test environment or a bias profile, and changes nothing beyond.", "This API key is confined to a workspace, process, environment or bias profile, and this is outside of it."},
	{keyring.ErrUnauthenticated, http.StatusUnauthorized, "", ""},
	{keyring.ErrForbidden, http.StatusForbidden, "", ""},
	{keyring.ErrNotFound, http.StatusNotFound, "", ""},
	{keyring.ErrCursor, http.StatusBadRequest, "This link points into another list, or was changed on the way. Start again from the list’s first page.", "This cursor is invalid, or was made for another list or with other filters. Send the last answer’s nextCursor with the same parameters, or leave cursor out."},
	{keyring.ErrStale, http.StatusConflict, "", ""},
	{apikey.ErrState, http.StatusConflict, "", ""},
	{keyring.ErrLastOwner, http.StatusConflict, "An organisation always keeps one owner. Make somebody else an owner first.", "An organisation needs at least one active owner. Make another member an owner first."},
	{keyring.ErrMemberState, http.StatusConflict, "This member has changed meanwhile, or a button was pressed twice. Load the page again to see how they stand.", "The member’s status does not allow this change. Get the member to see it. Members who were removed can’t be changed."},
	{keyring.ErrHasAccount, http.StatusConflict, "This e-mail address has an account already, and can have only one. Sign in with that account, or ask the person who invited you for a link to another address.", "This email address belongs to another account."},
	{keyring.ErrEmailChange, http.StatusNotFound, "This link doesn’t work any more. Ask an owner for a new one.", "The confirmation has expired, was used, or was cancelled."},
	{keyring.ErrInvitation, http.StatusNotFound, "This invitation no longer works. Ask the person who invited you for a new link.", "The invitation has expired, was used, or was cancelled."},
	{keyring.ErrInUse, http.StatusConflict, "Something still refers to it, so it can’t be deleted. Archive it instead, or delete first what belongs to it.", `Other resources refer to this one. Delete them first, or archive it with {"archived": true}.`},
	{keyring.ErrFull, http.StatusConflict, "Your organisation has as many of these as it can. Delete one that is not needed.", "The organisation has reached its limit for this kind of resource. Delete one first."},
	{keyring.ErrTaken, http.StatusConflict, "This name is taken, perhaps in another case. Choose another.", "name is taken. Names are compared without case."},
	{keyring.ErrScopeHeld, http.StatusConflict, "Keys hold this scope, also counting those whose life is over, so it can’t be deleted. Retire it instead.", `Keys hold this scope, including revoked and expired ones. Retire it with {"retired": true} instead.`},
	{keyring.ErrScopeAsked, http.StatusConflict, "Moonlatch’s own API asks for this scope, so it can’t be deleted. Retire it instead.", `Moonlatch’s own API requires this scope. Retire it with {"retired": true} instead.`},
	{keyring.ErrCredentials, http.StatusConflict, "This was done, but you are not signed in: your account was changed just after. Sign in to see it.", ""},
	{keyring.ErrSetUp, http.StatusNotFound, "This link has been used or has expired.", "The set-up has been done, or its secret has expired."},
	{errStarting, http.StatusServiceUnavailable, "Moonlatch is starting and waits for its database. This page works as soon as both are ready.", "The server is starting. Retry after the seconds in Retry-After."},
	{keyring.ErrUnavailable, http.StatusServiceUnavailable, "", ""},
	{keyring.ErrClockSkew, http.StatusServiceUnavailable, "", ""},
	{context.Canceled, http.StatusServiceUnavailable, "", ""}, // the caller has hung up, or sends no more; it may still listen
	{errCrossOrigin, http.StatusForbidden, "This form was sent from another site, so nothing was done. Open the page here and send it again.", "Cross-origin request refused."},
	{errAddress, http.StatusBadRequest, "This address has characters that no address here has. Check the link that you followed.", "The path or the query holds a NUL byte, invalid UTF-8 or a broken percent-encoding."},
	{errForm, http.StatusBadRequest, "This form arrived broken, so nothing was done. Go back and send it again.", "The body can’t be read."},
	{errMediaType, http.StatusUnsupportedMediaType, "This address takes a form as a browser sends it (application/x-www-form-urlencoded), not compressed.", "Send JSON, with Content-Type: application/json."},
	{errList, http.StatusBadRequest, "This address asks for something that the list does not know. Open the list and set the filter again.", "The query has an unknown parameter or value."},
	{errBusy, http.StatusTooManyRequests, "Too many people are signing in right now. Try again in a few seconds.", "Too many sign-ins at once. Retry after the seconds in Retry-After."},
	{errCallerBusy, http.StatusServiceUnavailable, "Too many of your requests are being handled at once. Try again in a few seconds.", "Too many requests of this member's keys or sessions at once. Retry after the seconds in Retry-After."},
	{errExports, http.StatusTooManyRequests, "As many exports as can run at once are under way. Try again when one of them has ended.", "Too many exports at once. Retry after the seconds in Retry-After."},
}

// retryAfter is how long a person or a program should wait when the database does not answer.
const retryAfter = 5 * time.Second

// fail answers a request that came to nothing, with a page that says what to do next. It is echo's error handler.
func (h *handler) fail(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	if forPrograms(c.Request().URL.Path) {
		h.failProgram(c, err)
		return
	}
	if errors.Is(err, keyring.ErrUnauthenticated) { // since the request began; nothing was done
		if err = h.askToSignIn(c); err == nil {
			return
		}
	}
	h.recordRefusal(c, err)
	failure := h.meaning(err)
	if failure.Status >= 500 {
		h.logFailure(c, err)
		if forMembers(c) {
			failure.Back = asTyped(c.Request()) // to try again, with what was typed
		}
	}
	switch failure.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusConflict:
		if forMembers(c) {
			failure.Back = startOver(c, failure.Status)
		}
	}
	if failure.Status == http.StatusServiceUnavailable {
		failure.RetryAt = h.now().Add(retryAfter)
		c.Response().Header().Set("Retry-After", fmt.Sprint(int(retryAfter.Seconds())))
	}
	if failure.Status == http.StatusTooManyRequests {
		wait := retryAfter
		if locked, ok := errors.AsType[*keyring.LockedError](err); ok {
			wait = locked.Until.Sub(h.keyring.Now())
		}
		sayRetry(c, wait)
	}
	if crossOrigin, ok := errors.AsType[*crossOriginError](err); ok {
		failure.Title, failure.Sentence = "This form came from another address", crossOrigin.sentence()
	}
	failure.Page = h.barePage(c)
	failure.RequestID = requestID(c)
	var forbidden forbiddenError
	if errors.As(err, &forbidden) {
		failure.Roles = account.RolesFor(forbidden.action)
		failure.Ask, _ = h.keyring.Owners(c.Request().Context(), actorOf(c)) // the page says it without names too
	}
	if failure.Status != http.StatusServiceUnavailable { // the cookie is in the same database, which would be waited for once more
		if err := h.saveCookie(c); err != nil { // the page matters more
			h.log.Error("cookie not saved", "error", err, "request", requestID(c))
		}
	}
	if err := h.draw(c, failure.Status, views.ErrorPage(failure)); err != nil {
		h.log.Error("error page failed", "error", err, "request", requestID(c))
	}
}

// forMembers says whether the route is for whoever is signed in. The forms of others hold passwords and one-time links.
func forMembers(c echo.Context) bool {
	return slices.ContainsFunc(routes, func(r route) bool { return r.path == c.Path() && r.policy.kind == member })
}

func (h *handler) meaning(err error) views.Failure {
	m := meaningOf(err)
	return views.Failure{Status: m.status, Sentence: m.sentence}
}

// meaningOf finds an error's row; of what has none, the status alone is known.
func meaningOf(err error) meaning {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return m
		}
	}
	if _, ok := errors.AsType[*keyring.LockedError](err); ok {
		return meaning{status: http.StatusTooManyRequests, sentence: "Too many attempts from your network. Wait a little, then try again."}
	}
	if refused, ok := errors.AsType[*echo.HTTPError](err); ok { // the router and the body limit speak this way
		return meaning{status: refused.Code}
	}
	return meaning{status: http.StatusInternalServerError}
}

func (h *handler) logFailure(c echo.Context, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, errStarting) || errors.Is(err, errCallerBusy) {
		return // nothing failed here
	}
	h.log.Error("request failed", "error", err, "route", c.Path(), "request", requestID(c))
}

func requestID(c echo.Context) string { return c.Response().Header().Get(echo.HeaderXRequestID) }

func (h *handler) logPanic(c echo.Context, err error, stack []byte) error {
	h.log.Error("panic", "error", err, "route", c.Path(), "request", requestID(c), "stack", string(stack))
	return err
}

// logRequests writes one line a request: at the level if its status is 2xx or 3xx, else at info. The route's pattern stands for the path, since a path can hold a one-time
// token and a query what somebody pasted.
func (h *handler) logRequests(success slog.Level) echo.MiddlewareFunc {
	return middleware.RequestLoggerWithConfig(middleware.RequestLoggerConfig{
		HandleError: true,
		LogMethod:   true, LogRoutePath: true, LogStatus: true, LogLatency: true, LogRemoteIP: true, LogRequestID: true,
		LogValuesFunc: func(c echo.Context, v middleware.RequestLoggerValues) error {
			level := success
			if v.Status >= http.StatusBadRequest {
				level = slog.LevelInfo
			}
			h.log.LogAttrs(c.Request().Context(), level, "request",
				slog.String("method", v.Method[:min(len(v.Method), 20)]), slog.String("route", v.RoutePath), slog.Int("status", v.Status),
				slog.Duration("took", v.Latency), slog.String("address", v.RemoteIP), slog.String("request", v.RequestID))
			return nil
		},
	})
}
