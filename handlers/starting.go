package handlers

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/static"
)

// errStarting is the answer to every request until the database is there.
var errStarting = errors.New("the server is starting")

// AnsweredWhileStarting reports whether Starting has the answer to a path: the health checks and the static files.
func AnsweredWhileStarting(path string) bool {
	return path == livePath || path == readyPath || path == iconPath || strings.HasPrefix(path, static.Root)
}

// Starting returns what answers before there is a database: 200 at /healthz, the static files, and 503 everywhere else, in
// the form that the caller expects. Of the options it reads BaseURL, BaseURLUnset, HSTSSubdomains, TrustedProxies and Log.
func Starting(o Options) http.Handler {
	h := &handler{
		ready: func(context.Context) error { return errStarting }, now: time.Now, baseURL: o.BaseURL, noBase: o.BaseURLUnset,
		hsts: strictTransport(o.HSTSSubdomains), log: o.Log,
	}
	h.doors = h.makeDoors()
	h.doors.people, h.doors.programs = h.doors.machines, h.doors.machines // what stands behind theirs asks the database
	e := h.newEcho(o.TrustedProxies)
	for path, answer := range map[string]echo.HandlerFunc{livePath: h.healthy, readyPath: h.isReady} {
		e.GET(path, answer)
		e.HEAD(path, answer)
	}
	e.RouteNotFound("/*", func(echo.Context) error { return errStarting })
	return e
}
