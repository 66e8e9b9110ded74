package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

func scope(s keyring.CataloguedScope) Scope {
	return Scope{Name: s.Name, Description: s.Description, Retired: s.Retired}
}

func (h *handler) apiListScopes(c echo.Context) error {
	return respondAll(c, h.keyring.Scopes, scope)
}

func (h *handler) apiGetScope(c echo.Context) error {
	return respondNamed(c, scopeName(c), h.keyring.Scope, scope)
}

func (h *handler) apiCreateScope(c echo.Context) error {
	request, err := readJSON[CreateScopeRequest](c)
	if err != nil {
		return err
	}
	made, err := h.keyring.CreateScope(c.Request().Context(), actorOf(c), request.Name, orEmpty(request.Description))
	if err != nil {
		return err
	}
	return respond(c, http.StatusCreated, scope(made))
}

func (h *handler) apiUpdateScope(c echo.Context) error {
	request, err := readJSON[UpdateScopeRequest](c)
	if err != nil {
		return err
	}
	edit := keyring.ScopeEdit{Description: request.Description, Retired: request.Retired}
	if edit == (keyring.ScopeEdit{}) {
		return refuse(http.StatusBadRequest, "Send at least one field to change.")
	}
	changed, err := h.keyring.EditScope(c.Request().Context(), actorOf(c), scopeName(c), edit)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, scope(changed))
}

func (h *handler) apiDeleteScope(c echo.Context) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	if err := h.keyring.DeleteScope(c.Request().Context(), actorOf(c), scopeName(c)); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
