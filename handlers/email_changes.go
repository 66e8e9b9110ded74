package handlers

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// emailForm is the form with which an owner starts the change of a member's address.
func (h *handler) emailForm(c echo.Context) (views.EmailForm, error) {
	row, err := h.keyring.Member(c.Request().Context(), actorOf(c), c.Param("id"))
	if err == nil && row.Status != account.Active {
		err = keyring.ErrMemberState
	}
	return views.EmailForm{Page: h.page(c), Return: returnOr(c, views.MemberPath(row.ID)), Nonce: c.FormValue("nonce"), Member: row.Person, Email: c.FormValue("email")}, err
}

func (h *handler) showEmailForm(c echo.Context, status int, form views.EmailForm) error {
	session := actorOf(c).SessionID
	if _, ours := h.tokens.requestKey(form.Nonce, session); !ours {
		form.Nonce = h.tokens.issue(session)
	}
	return h.render(c, status, views.ChangeEmail(form))
}

func (h *handler) emailPage(c echo.Context) error {
	form, err := h.emailForm(c)
	if err != nil {
		return err
	}
	return h.showEmailForm(c, http.StatusOK, form)
}

func (h *handler) startEmailChange(c echo.Context) error {
	form, err := h.emailForm(c)
	if err != nil {
		return err
	}
	requestKey, ours := h.tokens.requestKey(form.Nonce, actorOf(c).SessionID)
	if !ours {
		form.Problems = input.Problems{"": "This form was opened before you signed in, so nothing was done yet. Check it and create the link."}
		return h.showEmailForm(c, http.StatusUnprocessableEntity, form)
	}
	made, token, err := h.keyring.StartEmailChange(c.Request().Context(), actorOf(c), form.Member.ID, keyring.EmailChangeDraft{Email: form.Email, RequestKey: requestKey})
	var repeated *keyring.RepeatedError
	switch {
	case errors.As(err, &repeated) && !repeated.SameBody:
		form.Nonce, form.Problems = "", usedForm
		return h.showEmailForm(c, http.StatusConflict, form)
	case repeated != nil:
		return h.done(c, form.Return, "That link was created and shown already. If it wasn’t saved, create a new one.")
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		return h.showEmailForm(c, http.StatusUnprocessableEntity, form)
	case err != nil:
		return err
	}
	return h.draw(c, http.StatusCreated, views.ShowEmailLink(views.EmailLinkOnce{ // asks the database nothing, so that the link is not lost
		Page: h.barePage(c), Return: form.Return, Member: form.Member, Email: made.Email, ExpiresAt: made.ExpiresAt, Link: h.baseURL.JoinPath("confirm-email", token.Reveal()).String(),
	}))
}

func (h *handler) cancelEmailPage(c echo.Context) error {
	waiting, err := h.keyring.EmailChangeOf(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.CancelEmailChange(views.EmailForm{Page: h.page(c), Return: returnOr(c, views.MemberPath(waiting.Member.ID)), Member: waiting.Member, Email: waiting.Email}))
}

func (h *handler) cancelEmailChange(c echo.Context) error {
	if err := h.keyring.CancelEmailChange(c.Request().Context(), actorOf(c), c.Param("id")); err != nil {
		return err
	}
	return h.done(c, returnOr(c, views.MemberPath(c.Param("id"))), "Email change cancelled.")
}

// confirmEmailForm is the form behind a link that confirms an address. Who uses this browser does not matter.
func (h *handler) confirmEmailForm(c echo.Context) (views.ConfirmEmailForm, error) {
	waiting, err := h.keyring.EmailChangeFor(c.Request().Context(), c.Param("token"))
	return views.ConfirmEmailForm{Page: views.Page{Now: h.keyring.Now()}, Path: c.Request().URL.Path, Organisation: waiting.Organisation,
		Before: waiting.Member.Email, Email: waiting.Email, EndsAt: waiting.ExpiresAt}, err
}

func (h *handler) confirmEmailPage(c echo.Context) error {
	form, err := h.confirmEmailForm(c)
	if err != nil {
		return h.confirmEmailFailed(c, err)
	}
	return h.render(c, http.StatusOK, views.ConfirmEmailPage(form))
}

func (h *handler) confirmEmail(c echo.Context) error {
	form, err := h.confirmEmailForm(c)
	if err != nil {
		return h.confirmEmailFailed(c, err)
	}
	session, err := h.keyring.ConfirmEmail(c.Request().Context(), visitor(c), c.Param("token"), c.FormValue("password"))
	var locked *keyring.LockedError
	switch {
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		return h.render(c, http.StatusUnprocessableEntity, views.ConfirmEmailPage(form))
	case errors.As(err, &locked):
		form.LockedUntil = locked.Until
		sayRetry(c, locked.Until.Sub(form.Now))
		return h.render(c, http.StatusTooManyRequests, views.ConfirmEmailPage(form))
	case errors.Is(err, keyring.ErrHasAccount):
		return h.render(c, http.StatusConflict, views.NewEmailTaken(form.Page, form.Email))
	case err != nil:
		return h.confirmEmailFailed(c, err)
	}
	if err := h.carry(c, session); err != nil {
		return err
	}
	return h.done(c, views.AccountPath, "Email changed. You’re signed out everywhere else.")
}

func (h *handler) confirmEmailFailed(c echo.Context, err error) error {
	if errors.Is(err, keyring.ErrEmailChange) {
		return h.render(c, http.StatusNotFound, views.EmailLinkOver(views.Page{Now: h.keyring.Now()}))
	}
	return err
}
