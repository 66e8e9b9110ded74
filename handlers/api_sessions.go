package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
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
