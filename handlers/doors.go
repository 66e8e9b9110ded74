package handlers

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/moonlatch/moonlatch/static"
)

// Everybody comes in by one of four doors, and behind each stands what its callers need and no more. People have a
// cookie; programs show a credential with every request; gateways ask so often that nothing stands there that their
// question does not take; machines fetch files and probe.
func (h *handler) makeDoors() doors {
	first := []echo.MiddlewareFunc{
		limitTime,
		ownRequestID,
		middleware.RequestID(),
	}
	after := []echo.MiddlewareFunc{
		middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: h.logPanic}),
		h.secureHeaders,
		middleware.GzipWithConfig(middleware.GzipConfig{Skipper: notWorthCompressing, MinLength: 1024}),
	}
	everywhere := slices.Concat(first, []echo.MiddlewareFunc{h.logRequests(slog.LevelInfo)}, after)
	return doors{
		machines: toTheRoute(slices.Concat(first, []echo.MiddlewareFunc{h.logRequests(slog.LevelDebug)}, after, []echo.MiddlewareFunc{refuseBrokenText})),
		people: toTheRoute(slices.Concat([]echo.MiddlewareFunc{h.receiveForm}, everywhere, []echo.MiddlewareFunc{
			h.limitSignIns, // before the first query
			h.loadCookie,   // before what refuses, so that a refusal has the viewer's page around it
			h.keepKeysOut,
			h.identify,
			h.refuseCrossOrigin,
			refuseBrokenText,
			readForm,
		})),
		programs: toTheRoute(slices.Concat(everywhere, []echo.MiddlewareFunc{h.limitSignIns, h.recognise, refuseBrokenText})),
		gateways: toTheRoute([]echo.MiddlewareFunc{
			middleware.RecoverWithConfig(middleware.RecoverConfig{LogErrorFunc: h.logPanic}),
		}),
	}
}

type doors struct{ people, programs, gateways, machines echo.HandlerFunc }

// toTheRoute leads through what stands behind a door to the route that was asked for. It is made once, not for each request.
func toTheRoute(through []echo.MiddlewareFunc) echo.HandlerFunc {
	inside := func(c echo.Context) error { return c.Handler()(c) }
	for _, middleware := range slices.Backward(through) {
		inside = middleware(inside)
	}
	return inside
}

// throughDoor leads a request through its door to its route. The path alone decides, so that what is no route at all is
// answered behind the door where it knocked.
func (h *handler) throughDoor(c echo.Context) error {
	began := time.Now()
	enter := h.doors.people
	switch path := c.Request().URL.Path; {
	case forGateways(path):
		enter = h.doors.gateways
	case path == metricsPath || path == iconPath || strings.HasPrefix(path, static.Root) || slices.ContainsFunc(routes, func(r route) bool { return r.policy.kind == machine && r.path == path }):
		enter = h.doors.machines
	case forPrograms(path):
		enter = h.doors.programs
	}
	closeUnlessReceived(c.Response().Header(), c.Request())
	if err := enter(c); err != nil {
		c.Error(err) // answered here, so that what became of the request can be measured
	}
	if h.metrics != nil { // there are none before the database is there
		h.metrics.measure(c, began)
	}
	if c.Get(cutShort) != nil {
		panic(http.ErrAbortHandler) // net/http closes the connection without the end of the answer, and says nothing
	}
	return nil
}

const (
	apiRoot         = "/v1"
	verifyPath      = apiRoot + "/api-keys/verify"
	forwardAuthPath = apiRoot + "/forward-auth"
	jwksPath        = "/.well-known/jwks.json"
	iconPath        = "/favicon.ico"
)

// forGateways says whether keys are asked about at this path.
func forGateways(path string) bool { return path == forwardAuthPath || path == verifyPath }

// forPrograms says whether programs alone come to this path: it answers in JSON, and no cookie counts.
func forPrograms(path string) bool {
	return path == apiRoot || strings.HasPrefix(path, apiRoot+"/") || path == jwksPath
}
