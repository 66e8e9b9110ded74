package handlers

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func (h *handler) setUpPage(c echo.Context) error {
	if err := h.keyring.CheckSetupToken(c.Request().Context(), c.Param("token")); err != nil {
		return h.setUpFailed(c, err)
	}
	return h.render(c, http.StatusOK, views.SetUpPage(views.SetUpForm{Page: h.page(c), Path: c.Request().URL.Path}))
}

func (h *handler) setUp(c echo.Context) error {
	form := views.SetUpForm{Page: h.page(c), Path: c.Request().URL.Path,
		Organisation: c.FormValue("organisation"), Name: c.FormValue("name"), Email: c.FormValue("email")}
	session, err := h.keyring.SetUp(c.Request().Context(), visitor(c), c.Param("token"), keyring.SetUpDraft{
		Organisation: form.Organisation, Name: form.Name, Email: form.Email, Password: c.FormValue("password"),
	})
	if form.Problems = input.ProblemsIn(err); form.Problems != nil {
		return h.render(c, http.StatusUnprocessableEntity, views.SetUpPage(form))
	}
	if err != nil {
		return h.setUpFailed(c, err)
	}
	if err := h.carry(c, session); err != nil {
		return err
	}
	return h.done(c, views.KeysPath, "Your organisation is ready.")
}

func (h *handler) setUpFailed(c echo.Context, err error) error {
	if errors.Is(err, keyring.ErrSetUp) {
		return h.render(c, http.StatusNotFound, views.SetUpExpiredPage(h.page(c)))
	}
	return err
}
