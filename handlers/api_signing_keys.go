package handlers

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

// jwks are the public keys of session tokens. Whoever keeps the answer for as long as it says knows every key that
// signs meanwhile.
func (h *handler) jwks(c echo.Context) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	found, err := h.keyring.JWKS(c.Request().Context())
	if err != nil {
		return err
	}
	body, err := json.Marshal(found)
	if err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", fmt.Sprintf("public, max-age=%d", int(keyring.JWKSMaxAge.Seconds())))
	return c.JSONBlob(http.StatusOK, body)
}
