package handlers

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

const (
	livePath  = "/healthz"
	readyPath = "/readyz"
)

// healthy answers as long as the process lives.
func (h *handler) healthy(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// ErrStopping is what Options.Ready returns for a server that was told to stop.
var ErrStopping = errors.New("the server is stopping")

// isReady answers 200 when the database answers and this server's clock is right, so that a load balancer sends requests
// elsewhere when not.
func (h *handler) isReady(c echo.Context) error {
	if err := h.ready(c.Request().Context()); err != nil {
		c.Response().Header().Set("Retry-After", fmt.Sprint(int(retryAfter.Seconds())))
		if errors.Is(err, ErrStopping) || errors.Is(err, errStarting) {
			return c.String(http.StatusServiceUnavailable, err.Error()+"\n")
		}
		h.log.Warn("not ready", "error", err)
		if errors.Is(err, keyring.ErrClockSkew) {
			return c.String(http.StatusServiceUnavailable, err.Error()+"\n")
		}
		return c.String(http.StatusServiceUnavailable, "the database does not answer\n")
	}
	return c.String(http.StatusOK, "ready\n")
}
