// Package handlers speaks HTTP: it reads requests, calls the use cases and answers with pages. routes.go is the
// table of what there is and who may have it; no rule of the product is decided here.
package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/static"
)

// Options are what the server is made of.
type Options struct {
	Keyring        *keyring.Keyring
	Cookies        scs.CtxStore
	Secret         [32]byte // seals the tokens of forms, the same on every replica
	Ready          func(context.Context) error
	BaseURL        *url.URL // where people reach the server
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
}

type handler struct {
	keyring  *keyring.Keyring
	ready    func(context.Context) error
	baseURL  *url.URL
	log      *slog.Logger
	sessions *scs.SessionManager
	tokens   formTokens
	origins  *http.CrossOriginProtection
	doors    doors
}

// New returns the whole server.
func New(o Options) http.Handler {
	h := &handler{
		keyring: o.Keyring, ready: o.Ready, baseURL: o.BaseURL, log: o.Log,
		tokens: formTokens{o.Secret}, origins: http.NewCrossOriginProtection(),
	}
	// A proxy may rewrite the Host header that the origin is otherwise compared with.
	if err := h.origins.AddTrustedOrigin(o.BaseURL.Scheme + "://" + o.BaseURL.Host); err != nil {
		panic(err) // the configuration lets no other BASE_URL through
	}
	h.sessions = h.newSessions(o.Cookies)
	h.doors = h.makeDoors()
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.IPExtractor = h.clientAddress(o.TrustedProxies)
	e.HTTPErrorHandler = h.fail
	e.Use(h.throughDoor)
	e.GET(static.Root+"*", echo.WrapHandler(static.Handler()))
	e.HEAD(static.Root+"*", echo.WrapHandler(static.Handler()))
	for _, r := range routes {
		handle := func(c echo.Context) error { return r.handle(h, c) }
		e.Add(r.method, r.path, handle, h.enforce(r.policy))
		if r.method == get {
			e.HEAD(r.path, handle, h.enforce(r.policy)) // the same answer without its body (RFC 9110, 9.3.2)
		}
	}
	return e
}

// clientAddress says where a request comes from: the connection's own address, unless that is a trusted proxy, which
// is believed about whom it forwards for (X-Forwarded-For, read from the right).
func (h *handler) clientAddress(trusted []netip.Prefix) echo.IPExtractor {
	if len(trusted) == 0 {
		direct := echo.ExtractIPDirect()
		var warn sync.Once
		return func(r *http.Request) string {
			if r.Header.Get(echo.HeaderXForwardedFor) != "" {
				warn.Do(func() {
					h.log.Warn("X-Forwarded-For is ignored, so that all who come through this address share one limit of sign-ins; if it is a proxy of yours, name it in TRUSTED_PROXIES", "address", direct(r))
				})
			}
			return direct(r)
		}
	}
	options := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range trusted {
		options = append(options, echo.TrustIPRange(ipNet(p)))
	}
	return echo.ExtractIPFromXFFHeader(options...)
}
