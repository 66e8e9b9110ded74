// Package handlers speaks HTTP: it reads requests, calls the use cases and answers people with pages and programs with
// JSON. routes.go and api_routes.go are the table of what there is and who may have it; no rule of the product is
// decided here.
package handlers

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/labstack/echo/v4"
	"github.com/throttled/throttled/v2"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/static"
)

// Options are what the server is made of.
type Options struct {
	Keyring        *keyring.Keyring
	Verifier       *verify.Verifier
	Cookies        scs.CtxStore
	Secrets        [][32]byte // the first seals the tokens of forms, all open them; the same on every replica
	Ready          func(context.Context) error
	Pools          func() []keyring.Pool // the connections to the database, for the metrics
	MetricsApart   bool                  // the metrics are served elsewhere, and not here
	BaseURL        *url.URL              // where people reach the server
	BaseURLUnset   bool                  // nobody configured it: BaseURL is where the server listens
	HSTSSubdomains bool                  // Strict-Transport-Security covers the subdomains of BaseURL's host too
	TrustedProxies []netip.Prefix
	RateLimit      int // requests a minute that each program may send, but for those about keys
	Log            *slog.Logger
}

type handler struct {
	keyring     *keyring.Keyring
	verifier    *verify.Verifier
	programs    keyring.Tokens
	limits      *throttled.GCRARateLimiterCtx // of programs
	signIns     *throttled.GCRARateLimiterCtx // of networks, at the routes for signing in
	signInSlots *slots
	callers     *callers
	routes      map[string]route               // by method and path
	from        func(*http.Request) netip.Addr // the client's address
	ready       func(context.Context) error
	now         func() time.Time
	baseURL     *url.URL
	noBase      bool   // baseURL was not configured
	hsts        string // the Strict-Transport-Security header, sent when secure
	log         *slog.Logger
	sessions    *scs.SessionManager
	tokens      formTokens
	origins     *http.CrossOriginProtection
	doors       doors
	metrics     *metrics
	exports     exports
}

// Server is what answers: everything, and its metrics alone, for whoever serves them apart.
type Server struct {
	http.Handler
	Metrics http.Handler
}

// StartingMetrics answers 503 where the metrics are served alone, until the database is there.
func StartingMetrics() http.Handler {
	return ignoreBodies(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, errStarting.Error(), http.StatusServiceUnavailable)
	}))
}

// metricsAlone serves the metrics and nothing else.
func metricsAlone(metrics http.Handler) http.Handler {
	paths := http.NewServeMux()
	paths.Handle("GET "+metricsPath, metrics)
	return ignoreBodies(paths)
}

// New returns the whole server.
func New(o Options) Server {
	h := &handler{
		keyring: o.Keyring, verifier: o.Verifier, ready: o.Ready, now: o.Keyring.Now, baseURL: o.BaseURL, noBase: o.BaseURLUnset, hsts: strictTransport(o.HSTSSubdomains), log: o.Log,
		programs: o.Keyring.Tokens(o.BaseURL.String()), limits: newLimits(o.RateLimit, o.RateLimit),
		signIns: newLimits(signInsPerMinute, signInBurst), signInSlots: newSlots(signInSlots, signInQueue), callers: newCallers(), routes: routesByName(),
		tokens: formTokens{o.Secrets}, origins: http.NewCrossOriginProtection(),
	}
	// A proxy may rewrite the Host header that the origin is otherwise compared with.
	if err := h.origins.AddTrustedOrigin(o.BaseURL.Scheme + "://" + o.BaseURL.Host); err != nil {
		panic(err) // the configuration lets no other BASE_URL through
	}
	h.keyring.LogTo(o.Log)
	h.sessions = h.newSessions(o.Cookies)
	h.doors = h.makeDoors()
	h.metrics = newMetrics(o.Verifier, o.Pools, o.Keyring.ClockSkew)
	e := h.newEcho(o.TrustedProxies)
	if !o.MetricsApart {
		e.GET(metricsPath, echo.WrapHandler(privateOnly(h.metrics)))
	}
	for _, r := range slices.Concat(routes, apiRoutes) {
		handle := h.enforce(r.policy, func(c echo.Context) error { return r.handle(h, c) })
		switch r.method {
		case every:
			e.RouteNotFound(r.path, handle) // the router's only way to say so
		case get:
			e.HEAD(r.path, handle) // the same answer without its body (RFC 9110, 9.3.2)
			fallthrough
		default:
			e.Add(r.method, r.path, handle)
		}
	}
	return Server{e, metricsAlone(h.metrics)}
}

// newEcho returns the router with what every request passes, and with the static files.
func (h *handler) newEcho(trusted []netip.Prefix) *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	h.from = h.clientAddress(trusted)
	e.IPExtractor = func(r *http.Request) string {
		if address := h.from(r); address.IsValid() {
			return address.String()
		}
		return ""
	}
	e.HTTPErrorHandler = h.fail
	throughDoor := h.throughDoor
	e.Use(func(echo.HandlerFunc) echo.HandlerFunc { return throughDoor }) // echo passes the route, which is in the context too
	e.GET(static.Root+"*", echo.WrapHandler(static.Handler()))
	e.HEAD(static.Root+"*", echo.WrapHandler(static.Handler()))
	e.GET(iconPath, icon)
	return e
}

// clientAddress says where a request comes from: the connection's own address, unless that is a trusted proxy, which
// is believed about whom it forwards for (X-Forwarded-For, read from the right). The zero Addr is nobody's.
func (h *handler) clientAddress(trusted []netip.Prefix) func(*http.Request) netip.Addr {
	trusts := func(address netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(address) })
	}
	var warn sync.Once
	return func(r *http.Request) netip.Addr {
		address := behind(r, trusts)
		if len(trusted) == 0 && r.Header.Get(echo.HeaderXForwardedFor) != "" {
			warn.Do(func() {
				h.log.Warn("X-Forwarded-For is ignored, so that all who come through this address share one limit of sign-ins; if it is a proxy of yours, name it in TRUSTED_PROXIES", "address", address)
			})
		}
		return address
	}
}

// behind walks from the connection to the client, past each proxy that is trusted to have named the one before it. An
// entry that can't be read is nobody's address: no allowlist holds it.
func behind(r *http.Request, trusts func(netip.Addr) bool) netip.Addr {
	at, err := peer(r)
	for _, header := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for err == nil && trusts(at) && header != "" {
			last := strings.LastIndexByte(header, ',')
			at, err = readAddress(strings.TrimSpace(header[last+1:]))
			header = header[:max(last, 0)]
		}
	}
	if err != nil {
		return netip.Addr{}
	}
	return at
}

// peer is where a connection comes from.
func peer(r *http.Request) (netip.Addr, error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return bare(from.Addr()), err
}

// readAddress reads an address, with or without a port: some proxies send one.
func readAddress(text string) (netip.Addr, error) {
	address, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		var port netip.AddrPort
		port, err = netip.ParseAddrPort(text)
		address = port.Addr()
	}
	return bare(address), err
}

// bare is an address in the form that addresses are compared in: a zone means something to the machine that it is on, and
// only there.
func bare(address netip.Addr) netip.Addr { return address.Unmap().WithZone("") }
