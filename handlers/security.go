package handlers

import (
	"context"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
)

// contentPolicy lets a page load from this server alone, run no inline script and carry no inline style, send its
// forms nowhere else, and stand in nobody's frame.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"

// What the gateways' answers carry, whose door sets no headers: a gateway may pass a refusal on to a browser. They have no
// Strict-Transport-Security, which that browser would take to be of the gateway's own host.
var (
	noSniffing = []string{"nosniff"}
	noContent  = []string{"default-src 'none'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'"}
)

func (h *handler) secureHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		header := c.Response().Header()
		header.Set("Content-Security-Policy", contentPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin") // "no-referrer" would make browsers hide the Origin of our own forms
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		if h.secure() {
			header.Set("Strict-Transport-Security", h.hsts)
		}
		return next(c)
	}
}

// strictTransport is the Strict-Transport-Security header: two years for this host, for its subdomains only if asked for,
// since they may have services without TLS that are not ours.
func strictTransport(subdomains bool) string {
	const host = "max-age=63072000"
	if subdomains {
		return host + "; includeSubDomains"
	}
	return host
}

// secure is true when people reach the server over TLS.
func (h *handler) secure() bool { return h.baseURL.Scheme == "https" }

// refuseBrokenText answers an address with a NUL byte or with broken UTF-8, which no link of ours has and no database
// column takes. What is typed into a form is judged field by field instead.
func refuseBrokenText(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		address := c.Request().URL
		query, err := url.ParseQuery(address.RawQuery)
		if err != nil || !plain(address.Path) {
			return errAddress
		}
		for name, values := range query {
			if !plain(name) || slices.ContainsFunc(values, func(v string) bool { return !plain(v) }) {
				return errAddress
			}
		}
		return next(c)
	}
}

// receiveForm receives what a page's form sends, before the request's time limit starts. Any other body is ignored: a page
// that takes none, or that doesn't exist, answers without it.
func (h *handler) receiveForm(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if _, known := h.routes[r.Method+" "+c.Path()]; known && r.Method == http.MethodPost {
			_, _ = receive(c) // readForm reports what is wrong with it
		} else {
			r.Body, r.ContentLength = http.NoBody, 0
		}
		return next(c)
	}
}

// readForm reads the body of a form once and for all; what is no form is refused here. A form's fields come from the body alone, so
// that none can be sent in an address.
func readForm(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		request := c.Request()
		if request.Method != http.MethodPost {
			return next(c)
		}
		if request.ContentLength == 0 {
			request.PostForm = url.Values{}
			request.Form = request.PostForm
			return next(c)
		}
		kind, _, err := mime.ParseMediaType(request.Header.Get(echo.HeaderContentType))
		if err != nil || kind != echo.MIMEApplicationForm || request.Header.Get(echo.HeaderContentEncoding) != "" {
			return errMediaType
		}
		if err := request.ParseForm(); err != nil {
			if tooLarge(err) {
				return echo.ErrStatusRequestEntityTooLarge
			}
			return errForm
		}
		request.Form = request.PostForm
		return next(c)
	}
}

const (
	// requestTimeout bounds all that a request asks of the database, the waits for a connection included. Then the answer
	// is 503, within 3 s of the request or of the start that it waited for.
	requestTimeout = 2500 * time.Millisecond

	// manyRowsTimeout bounds a change of very many rows: the 10,000 keys of one member or bias profile.
	manyRowsTimeout = 12 * time.Second
)

const clientContext = "client" // in echo's context: the request's context without a time limit

// limitTime gives every request the requestTimeout.
func limitTime(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Set(clientContext, c.Request().Context())
		ctx, cancel := context.WithTimeout(c.Request().Context(), requestTimeout)
		defer cancel()
		c.SetRequest(c.Request().WithContext(ctx))
		return next(c)
	}
}

// extend gives a request more time from now on, until stop is called or the client is gone. Each statement stays within the
// store's own limit, so that a database that does not answer is noticed as soon as before.
func extend(c echo.Context, timeout time.Duration) (stop func()) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request().Context()), timeout)
	client, known := c.Get(clientContext).(context.Context)
	if !known {
		client = c.Request().Context()
	}
	unlink := context.AfterFunc(client, cancel)
	c.SetRequest(c.Request().WithContext(ctx))
	return func() {
		unlink()
		cancel()
	}
}

// ownRequestID lets no visitor choose the id that their request has in the log.
func ownRequestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Request().Header.Del(echo.HeaderXRequestID)
		return next(c)
	}
}

func plain(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// notWorthCompressing leaves alone what is small or compressed already, an export, which is never in memory as a whole and
// may be long under way, and every answer to a form: one of them holds
// a plaintext beside what was typed, and compression would let the one be guessed by the other (BREACH).
func notWorthCompressing(c echo.Context) bool {
	return strings.HasSuffix(c.Path(), exportSuffix) || c.Request().Method != http.MethodGet || strings.HasPrefix(c.Request().URL.Path, "/static/")
}
