package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func (h *handler) newSessions(cookies scs.CtxStore) *scs.SessionManager {
	m := scs.New()
	m.Store = cookies
	m.Lifetime = keyring.SessionLifetime // the idle limit is the session's, in the database
	m.Cookie.Name = "moonlatch"
	m.Cookie.HttpOnly = true
	m.Cookie.SameSite = http.SameSiteLaxMode
	if h.secure() {
		m.Cookie.Name = "__Host-moonlatch"
		m.Cookie.Secure = true
	}
	return m
}

const cookieLoaded = "cookie" // in echo's context

// loadCookie brings the data behind the cookie into the request's context. It does what scs's own middleware does, but
// an error ends in a page of ours.
func (h *handler) loadCookie(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		token := ""
		if cookie, err := c.Request().Cookie(h.sessions.Cookie.Name); err == nil {
			token = cookie.Value
		}
		ctx, err := h.sessions.Load(c.Request().Context(), token)
		if err != nil {
			return err
		}
		c.SetRequest(c.Request().WithContext(ctx))
		c.Set(cookieLoaded, true)
		c.Response().Header().Add("Vary", "Cookie")
		return next(c)
	}
}

// saveCookie stores what a request changed of the data behind the cookie. It comes before the first byte of an answer.
func (h *handler) saveCookie(c echo.Context) error {
	if c.Get(cookieLoaded) == nil {
		return nil
	}
	ctx := c.Request().Context()
	switch h.sessions.Status(ctx) {
	case scs.Modified:
		token, expiry, err := h.sessions.Commit(ctx)
		if err != nil {
			return err
		}
		h.sessions.WriteSessionCookie(ctx, c.Response(), token, expiry)
	case scs.Destroyed:
		h.sessions.WriteSessionCookie(ctx, c.Response(), "", time.Time{})
	case scs.Unmodified:
	}
	c.Set(cookieLoaded, nil)
	return nil
}

// Notices that the sign-in page can be asked to show.
const (
	noticeOut        = "signed-out"
	noticeEverywhere = "signed-out-everywhere"
	noticeEnded      = "ended"
	noticeEndedBare  = "ended-here"
	noticeSuspended  = "suspended"
	noticeRemoved    = "removed"
)

var notices = map[string]string{
	noticeOut:        "You are signed out.",
	noticeEverywhere: "You are signed out everywhere.",
	noticeSuspended:  "Your account is suspended, and you are signed out. An owner can reinstate you.",
	noticeRemoved:    "Your account is removed, and you are signed out.",
	noticeEnded:      "Your session has ended. Sign in, and what you typed will be waiting.",
	noticeEndedBare:  "Your session has ended. Sign in to go on.",
}

func (h *handler) signInPage(c echo.Context) error {
	next := localPath(c.QueryParam("next"), "")
	if actorOf(c).MemberID != "" {
		return h.goTo(c, localPath(next, views.HomePath))
	}
	return h.render(c, http.StatusOK, views.SignInPage(views.SignInForm{Page: h.page(c), Next: next, Notice: notices[c.QueryParam("notice")]}))
}

func (h *handler) signIn(c echo.Context) error {
	form := views.SignInForm{Page: h.page(c), Email: c.FormValue("email"), Next: localPath(c.FormValue("next"), "")}
	from := visitor(c)
	from.Devices = h.devicesOf(c)
	session, err := h.keyring.SignIn(c.Request().Context(), from, form.Email, c.FormValue("password"))
	var locked *keyring.LockedError
	switch {
	case errors.As(err, &locked):
		return h.lockedOut(c, locked)
	case errors.Is(err, keyring.ErrCredentials):
		form.Problems = input.Problems{"": "The e-mail or the password is wrong."}
		return h.render(c, http.StatusUnprocessableEntity, views.SignInPage(form))
	case err != nil:
		return err
	}
	if err := h.knowDevice(c, session.Email); err != nil {
		return err
	}
	if err := h.carry(c, session); err != nil {
		return err
	}
	return h.goTo(c, localPath(form.Next, views.HomePath))
}

func sayRetry(c echo.Context, after time.Duration) {
	c.Response().Header().Set("Retry-After", fmt.Sprint(int(after.Seconds())+1))
}

// carry puts a new session into the browser's cookie, under a new token, and ends the one that was there.
func (h *handler) carry(c echo.Context, session keyring.Session) error {
	ctx := c.Request().Context()
	if before := actorOf(c); before.SessionID != "" {
		if err := h.keyring.EndSession(ctx, before, before.SessionID); err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
	}
	if err := h.sessions.RenewToken(ctx); err != nil {
		return err
	}
	h.sessions.Put(ctx, sessionKey, session.ID)
	return nil
}

func (h *handler) signOut(c echo.Context) error {
	ctx := c.Request().Context()
	if actor := actorOf(c); actor.SessionID != "" {
		if err := h.keyring.EndSession(ctx, actor, actor.SessionID); err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
	}
	return h.leave(c, noticeOut)
}

// leave forgets the cookie and shows the door.
func (h *handler) leave(c echo.Context, notice string) error {
	if err := h.sessions.Destroy(c.Request().Context()); err != nil {
		return err
	}
	return h.goTo(c, withQuery(views.SignInPath, url.Values{"notice": {notice}}))
}

// sessionsPage is where a form leads back to when its session had ended.
func (h *handler) sessionsPage(c echo.Context) error { return h.goTo(c, views.AccountPath) }

func sessionViews(sessions []keyring.Session, actor account.Actor) []views.Session {
	var out []views.Session
	for _, s := range sessions {
		out = append(out, views.Session{
			ID: s.ID, Address: s.Address, UserAgent: s.UserAgent, StartedAt: s.CreatedAt, LastSeenAt: s.LastSeenAt,
			ExpiresAt: s.ExpiresAt, Program: s.Kind == keyring.ProgramSession, Current: s.ID == actor.SessionID,
		})
	}
	return out
}

func (h *handler) endSessions(c echo.Context) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	if c.FormValue("everywhere") != "" {
		if err := h.keyring.EndAllSessions(ctx, actor); err != nil {
			return err
		}
		return h.leave(c, noticeEverywhere)
	}
	id := c.FormValue("end")
	if err := h.keyring.EndSession(ctx, actor, id); err != nil {
		return err
	}
	if id == actor.SessionID {
		return h.leave(c, noticeOut)
	}
	return h.done(c, views.AccountPath, "That session is ended.")
}
