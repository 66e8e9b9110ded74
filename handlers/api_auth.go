package handlers

import (
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

func (h *handler) apiLogIn(c echo.Context) error {
	request, err := readJSON[LogInRequest](c)
	if err != nil {
		return err
	}
	problems := input.Problems{}
	if request.Email == "" {
		problems["email"] = "Send the e-mail address of the account."
	}
	if request.Password == "" {
		problems["password"] = "Send the account's password."
	}
	if err := problems.Err(); err != nil {
		return err
	}
	token, err := h.programs.LogIn(c.Request().Context(), visitor(c), request.Email, request.Password)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, SessionToken{Token: token.Reveal(), TokenType: "Bearer", ExpiresAt: token.ExpiresAt})
}

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

func (h *handler) apiLogOut(c echo.Context) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	actor := actorOf(c)
	if err := h.keyring.EndSession(c.Request().Context(), actor, actor.SessionID); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
