package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

const (
	// signInsPerMinute is how many requests to routes for signing in a network may send, signInBurst at once. Each replica
	// counts for itself; how many passwords are evaluated is for the keyring's limits, which all replicas share.
	signInsPerMinute = 60
	signInBurst      = 100

	signInSlots = 4               // requests for signing in that are handled at once, and so their share of the connections
	signInQueue = 32              // that wait for one
	signInWait  = 2 * time.Second // for a slot
)

var errBusy = errors.New("too many people are signing in at once")

// limitSignIns protects everybody else from a flood at the routes that anyone may send passwords and one-time links to.
// It comes before the first query of a request: what it refuses has cost neither a query nor a hash.
func (h *handler) limitSignIns(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !h.routes[c.Request().Method+" "+c.Path()].policy.signIn {
			return next(c)
		}
		ctx := c.Request().Context()
		limited, left, err := h.signIns.RateLimitCtx(ctx, keyring.AddressSubject(c.RealIP()), 1)
		if err != nil {
			return err
		}
		if forPrograms(c.Request().URL.Path) {
			sayLimit(c, left) // the program’s own limit takes its place if the request goes on
		}
		if limited {
			h.metrics.signInsRefused.WithLabelValues("network").Inc()
			return h.lockedOut(c, &keyring.LockedError{Until: h.keyring.Now().Add(max(left.RetryAfter, time.Second))})
		}
		if c.Request().Method == http.MethodPost {
			_, _ = receive(c) // so that a slow client takes no slot; the handler reports what is wrong with the body
		}
		waits, cancel := context.WithTimeout(c.Request().Context(), signInWait)
		defer cancel()
		if !h.signInSlots.acquire(waits) {
			h.metrics.signInsRefused.WithLabelValues("busy").Inc()
			return errBusy
		}
		defer h.signInSlots.release()
		return next(c)
	}
}

// lockedOut shows the form of the sign-in page again, which says when to try again. Other routes have the error page.
func (h *handler) lockedOut(c echo.Context, locked *keyring.LockedError) error {
	if c.Path() != views.SignInPath || c.Request().Method != http.MethodPost {
		return locked
	}
	form := views.SignInForm{Page: views.Page{Now: h.keyring.Now()}, Email: c.FormValue("email"), Next: localPath(c.FormValue("next"), ""), LockedUntil: locked.Until}
	sayRetry(c, locked.Until.Sub(form.Now))
	return h.render(c, http.StatusTooManyRequests, views.SignInPage(form))
}

// deviceCookie is the name of the cookie by which a browser that has signed in before is known. It is sent to the sign-in
// page alone.
func (h *handler) deviceCookie() string {
	if h.secure() {
		return "__Secure-moonlatch-device"
	}
	return "moonlatch-device"
}

// knowDevice gives the browser the device cookie of an account that it has just signed in to. Only the sign-in page may: a
// request elsewhere comes without the cookie, and its answer would replace the marks of other accounts.
func (h *handler) knowDevice(c echo.Context, email string) error {
	cookie, err := h.keyring.DeviceCookie(c.Request().Context(), h.devicesOf(c), email)
	if err != nil {
		return err
	}
	c.SetCookie(&http.Cookie{Name: h.deviceCookie(), Value: cookie, Path: views.SignInPath,
		MaxAge: int(keyring.DeviceLifetime.Seconds()), HttpOnly: true, Secure: h.secure(), SameSite: http.SameSiteStrictMode})
	return nil
}

func (h *handler) devicesOf(c echo.Context) string {
	cookie, err := c.Cookie(h.deviceCookie())
	if err != nil {
		return ""
	}
	return cookie.Value
}
