package handlers

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func (h *handler) accountPage(c echo.Context) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	membership, err := h.keyring.Membership(ctx, actor)
	if err != nil {
		return err
	}
	sessions, err := h.keyring.Sessions(ctx, actor)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.AccountPage(views.Account{Page: h.page(c), Since: membership.Since, Sessions: sessionViews(sessions, actor)}))
}

func (h *handler) renamePage(c echo.Context) error {
	name := actorOf(c).Name
	if values := c.QueryParams(); values.Has("name") { // what was typed before a session ended
		name = values.Get("name")
	}
	return h.render(c, http.StatusOK, views.ChangeName(views.NameForm{Page: h.page(c), Return: accountReturn(c), Name: name}))
}

func (h *handler) rename(c echo.Context) error {
	name := c.FormValue("name")
	err := h.keyring.RenameSelf(c.Request().Context(), actorOf(c), name)
	if problems := input.ProblemsIn(err); problems != nil {
		return h.render(c, http.StatusUnprocessableEntity, views.ChangeName(views.NameForm{Page: h.page(c), Return: accountReturn(c), Name: name, Problems: problems}))
	}
	if err != nil {
		return err
	}
	return h.done(c, accountReturn(c), "Your name is saved.")
}

func (h *handler) passwordPage(c echo.Context) error {
	return h.render(c, http.StatusOK, views.ChangePassword(views.PasswordForm{Page: h.page(c), Return: accountReturn(c)}))
}

func (h *handler) changePassword(c echo.Context) error {
	ctx := c.Request().Context()
	ended, err := h.keyring.ChangePassword(ctx, actorOf(c), c.FormValue("currentPassword"), c.FormValue("newPassword"))
	form := views.PasswordForm{Page: h.page(c), Return: accountReturn(c), Problems: input.ProblemsIn(err)}
	var locked *keyring.LockedError
	switch {
	case form.Problems != nil:
		return h.render(c, http.StatusUnprocessableEntity, views.ChangePassword(form))
	case errors.As(err, &locked):
		form.LockedUntil = locked.Until
		sayRetry(c, locked.Until.Sub(form.Now))
		return h.render(c, http.StatusTooManyRequests, views.ChangePassword(form))
	case err != nil:
		return err
	}
	if err := h.sessions.RenewToken(ctx); err != nil { // whoever copied the cookie is out too
		return err
	}
	sentence := "Your password is changed."
	if ended > 0 {
		sentence += " " + counted(ended, "One other session has ended.", "%d other sessions have ended.")
	}
	return h.done(c, accountReturn(c), sentence)
}

func accountReturn(c echo.Context) string { return returnOr(c, views.AccountPath) }

// counted picks the words for a number; many may have a %d for it.
func counted(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return strings.ReplaceAll(many, "%d", strconv.Itoa(n))
}
