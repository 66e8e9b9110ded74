package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// policy says who may use a route, and how long it may take.
type policy struct {
	kind    policyKind
	action  account.Action // of a member or a program: what they must be allowed; "" for anybody who is signed in
	signIn  bool           // its requests fall under the limits for signing in
	timeout time.Duration  // of the change, once its caller is known; 0: what is left of requestTimeout
}

// within gives a change of very many rows its own time limit. A read never gets one.
func (p policy) within(timeout time.Duration) policy {
	p.timeout = timeout
	return p
}

type policyKind int

const (
	machine policyKind = iota // no person: a probe
	open                      // anybody
	member                    // whoever is signed in, if their role allows the action
	program                   // a session token, if its member's role allows the action; a key, if its scopes do so too
)

var (
	probe     = policy{kind: machine}
	signingIn = policy{kind: open, signIn: true} // takes a password or a one-time link from anyone: see limitSignIns
	public    = policy{kind: open}
	signedIn  = policy{kind: member}
)

func may(action account.Action) policy    { return policy{kind: member, action: action} }
func bearer(action account.Action) policy { return policy{kind: program, action: action} }

// forbiddenError says which action a role does not allow, for the page that says which role it takes.
type forbiddenError struct{ action account.Action }

func (e forbiddenError) Error() string   { return "the role does not allow " + string(e.action) }
func (e forbiddenError) Is(t error) bool { return t == keyring.ErrForbidden }

// enforce lets a request through to a route only as its policy says.
func (h *handler) enforce(p policy, next echo.HandlerFunc) echo.HandlerFunc {
	if p.timeout > 0 {
		change := next
		next = func(c echo.Context) error {
			defer extend(c, p.timeout)()
			return change(c)
		}
	}
	return func(c echo.Context) error {
		switch p.kind {
		case machine, open:
			return next(c)
		case program:
			return h.enforceProgram(c, p.action, next)
		case member:
		}
		actor := actorOf(c)
		if actor.MemberID == "" {
			return h.askToSignIn(c)
		}
		if p.action != "" && !actor.May(p.action) {
			return forbiddenError{p.action}
		}
		return h.inTurn(c, next)
	}
}

const (
	sessionKey = "session" // in the cookie's data: the session's id
	flashKey   = "flash"   // in the cookie's data: what to say once on the next page
	viewerKey  = "viewer"  // in echo's context
)

// identify finds out who asks. Nobody is no error: the route's policy decides.
func (h *handler) identify(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx := c.Request().Context()
		id := h.sessions.GetString(ctx, sessionKey)
		if id == "" {
			return next(c)
		}
		actor, organisation, err := h.keyring.Actor(ctx, visitor(c), id)
		switch {
		case errors.Is(err, keyring.ErrNotFound): // ended, here or elsewhere
			if err := h.sessions.Destroy(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			c.Set(viewerKey, views.Viewer{Actor: actor, Organisation: organisation})
		}
		return next(c)
	}
}

func viewerOf(c echo.Context) views.Viewer {
	viewer, _ := c.Get(viewerKey).(views.Viewer)
	return viewer
}

func actorOf(c echo.Context) account.Actor { return viewerOf(c).Actor }

// visitor is where the request comes from.
func visitor(c echo.Context) keyring.Visitor {
	return keyring.Visitor{Address: c.RealIP(), UserAgent: userAgent(c.Request())}
}

// userAgent is what a client says of itself, cut to a length that a log can bear, without keys and without what turns or
// hides the text beside it: it is stored and shown.
func userAgent(r *http.Request) string {
	said, _ := keyring.WithoutKeys(r.UserAgent()) // before characters go that may hide one
	agent := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf) {
			return -1
		}
		return r
	}, said)
	return strings.ToValidUTF8(agent[:min(len(agent), 300)], "")
}

// maxDraft bounds how much of a form is carried through a sign-in, in bytes of the address.
const maxDraft = 4 << 10

// askToSignIn sends a visitor to the sign-in page, which leads back here.
func (h *handler) askToSignIn(c echo.Context) error {
	query, next := url.Values{}, asTyped(c.Request())
	if next != views.HomePath {
		query.Set("next", next)
	}
	if c.Request().Method == http.MethodPost {
		notice := noticeEnded
		if next == c.Request().URL.Path {
			notice = noticeEndedBare
		}
		query.Set("notice", notice)
	}
	return h.goTo(c, withQuery(views.SignInPath, query))
}

// asTyped is the address that leads to the same page again. A form that was sent goes along: its path shows the same
// form, filled with the query. A key that stands in it does not, and no field for a password.
func asTyped(request *http.Request) string {
	typed := request.URL.Query()
	if request.Method == http.MethodPost {
		_ = request.ParseForm() // nobody may have done so yet; what can't be read is lost with the form
		typed = request.PostForm
		typed.Del("nonce")
	}
	for name, values := range typed {
		if _, signature := keyring.WithoutKeys(name); signature != "" || strings.HasSuffix(strings.ToLower(name), "password") {
			typed.Del(name)
		}
		for i := range values {
			values[i], _ = keyring.WithoutKeys(values[i])
		}
	}
	path, _ := withoutKeysInPath(request.URL.Path)
	if with := withQuery(path, typed); len(with) <= maxDraft {
		return with
	}
	return path
}

func withQuery(path string, query url.Values) string {
	if len(query) == 0 {
		return path
	}
	return path + "?" + query.Encode()
}

// refuseCrossOrigin refuses a change that another site asks a browser for. net/http's protection lets a request
// through that says nothing of its origin, as programs do; with a session's cookie it came from a browser that should
// have said so.
func (h *handler) refuseCrossOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		request := c.Request()
		_, noCookie := request.Cookie(h.sessions.Cookie.Name)
		silent := request.Header.Get("Sec-Fetch-Site") == "" && request.Header.Get("Origin") == ""
		if h.origins.Check(request) != nil || request.Method == http.MethodPost && silent && noCookie == nil {
			return h.crossOrigin(c)
		}
		return next(c)
	}
}

// crossOriginError says what the browser told of a refused request's origin. It is errCrossOrigin.
type crossOriginError struct{ origin, expected string }

func (e *crossOriginError) Error() string        { return errCrossOrigin.Error() }
func (e *crossOriginError) Is(target error) bool { return target == errCrossOrigin }

// sentence tells people where the form came from. A wrong BASE_URL, or a proxy that changes the Host header, looks the same.
func (e *crossOriginError) sentence() string {
	from := "Your browser didn’t say which address this form came from"
	if e.origin != "" && e.origin != "null" {
		from = "This form came from " + e.origin
	}
	return from + ", and this server is reached at " + e.expected + ". Nothing was done. Open " + e.expected +
		" and send the form there. If that isn’t the address you use, your administrator needs to change BASE_URL."
}

// crossOrigin logs a refused request with what an operator compares: Origin, Host and BASE_URL.
func (h *handler) crossOrigin(c echo.Context) error {
	request := c.Request()
	clipped := func(text string) string {
		text, _ = keyring.WithoutKeys(text)
		return strings.ToValidUTF8(text[:min(len(text), 200)], "")
	}
	e := &crossOriginError{clipped(request.Header.Get("Origin")), h.baseURL.String()}
	h.log.Warn("cross-origin request refused: Origin is neither BASE_URL nor the Host", "origin", e.origin, "host", clipped(request.Host),
		"base_url", e.expected, "sec_fetch_site", clipped(request.Header.Get("Sec-Fetch-Site")), "route", c.Path(), "address", c.RealIP(), "request", requestID(c))
	return e
}
