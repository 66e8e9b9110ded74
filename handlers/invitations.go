package handlers

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// invitationsAtOnce is how many invitations the page of members shows, the latest; its search finds the others.
const invitationsAtOnce = 50

func (h *handler) invitations(c echo.Context, search string) (shown []views.Invitation, more bool, err error) {
	found, err := h.keyring.Invitations(c.Request().Context(), actorOf(c), search, invitationsAtOnce+1)
	for i, invitation := range found {
		if i == invitationsAtOnce {
			return shown, true, err
		}
		shown = append(shown, invitationView(invitation))
	}
	return shown, false, err
}

func invitationView(i keyring.Invitation) views.Invitation {
	return views.Invitation{ID: i.ID, Email: i.Email, Role: i.Role, By: i.By, CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt}
}

func (h *handler) invitePage(c echo.Context) error {
	return h.showInviteForm(c, http.StatusOK, h.inviteForm(c))
}

// usedForm is the problem of a form for a link that somebody went back to and changed.
var usedForm = input.Problems{"": "This form has created a link already, with what it said then. Check it, and create another one."}

// showInviteForm gives the form a new token unless it has one of this session.
func (h *handler) showInviteForm(c echo.Context, status int, form views.InviteForm) error {
	session := actorOf(c).SessionID
	if _, ours := h.tokens.requestKey(form.Nonce, session); !ours {
		form.Nonce = h.tokens.issue(session)
	}
	return h.render(c, status, views.Invite(form))
}

func (h *handler) inviteForm(c echo.Context) views.InviteForm {
	return views.InviteForm{Page: h.page(c), Return: returnOr(c, views.MembersPath), Nonce: c.FormValue("nonce"), Email: c.FormValue("email"), Role: c.FormValue("role")}
}

func (h *handler) invite(c echo.Context) error {
	form := h.inviteForm(c)
	requestKey, ours := h.tokens.requestKey(form.Nonce, actorOf(c).SessionID)
	if !ours {
		form.Problems = input.Problems{"": "This form was opened before you signed in, so nothing was done yet. Check it and make the link."}
		return h.showInviteForm(c, http.StatusUnprocessableEntity, form)
	}
	made, token, err := h.keyring.Invite(c.Request().Context(), actorOf(c), keyring.InvitationDraft{Email: form.Email, Role: form.Role, RequestKey: requestKey})
	var repeated *keyring.RepeatedError
	switch {
	case errors.As(err, &repeated) && !repeated.SameBody:
		form.Nonce, form.Problems = "", usedForm
		return h.showInviteForm(c, http.StatusConflict, form)
	case repeated != nil:
		return h.done(c, form.Return, "That link was made and shown once already. If it was not stored, make a new one.")
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		return h.showInviteForm(c, http.StatusUnprocessableEntity, form)
	case err != nil:
		return err
	}
	// The link is committed, and nothing from here on asks the database, lest it be lost.
	return h.draw(c, http.StatusCreated, views.ShowInvitation(views.InvitationOnce{
		Page: h.barePage(c), Return: form.Return, Invitation: invitationView(made), Link: h.joinLink(token),
	}))
}

// joinLink is the whole address that an invited person opens.
func (h *handler) joinLink(token keyring.JoinToken) string {
	return h.baseURL.JoinPath("join", token.Reveal()).String()
}

func (h *handler) withdrawInvitationPage(c echo.Context) error {
	found, err := h.keyring.Invitation(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.WithdrawInvitation(views.Withdrawal{Page: h.page(c), Return: returnOr(c, views.MembersPath), Invitation: invitationView(found)}))
}

func (h *handler) withdrawInvitation(c echo.Context) error {
	gone, err := h.keyring.WithdrawInvitation(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	return h.done(c, returnOr(c, views.MembersPath), fmt.Sprintf("The link for %s no longer works.", gone.Email))
}

// joinForm is the form behind an invitation's link. Whoever uses this browser, it is a page of somebody who is nobody here
// yet.
func (h *handler) joinForm(c echo.Context) (views.JoinForm, error) {
	invitation, err := h.keyring.InvitationFor(c.Request().Context(), c.Param("token"))
	return views.JoinForm{Page: views.Page{Now: h.keyring.Now()}, Path: c.Request().URL.Path, Organisation: invitation.Organisation,
		Email: invitation.Email, Role: invitation.Role, EndsAt: invitation.ExpiresAt, SignedInAs: actorOf(c).Email, Name: c.FormValue("name")}, err
}

func (h *handler) joinPage(c echo.Context) error {
	form, err := h.joinForm(c)
	if err != nil {
		return h.joinFailed(c, err)
	}
	return h.render(c, http.StatusOK, views.JoinPage(form))
}

func (h *handler) join(c echo.Context) error {
	form, err := h.joinForm(c)
	if err != nil {
		return h.joinFailed(c, err)
	}
	session, err := h.keyring.Join(c.Request().Context(), visitor(c), c.Param("token"), form.Name, c.FormValue("password"))
	if form.Problems = input.ProblemsIn(err); form.Problems != nil {
		return h.render(c, http.StatusUnprocessableEntity, views.JoinPage(form))
	}
	if err != nil {
		if errors.Is(err, keyring.ErrHasAccount) {
			return h.render(c, http.StatusConflict, views.AddressTaken(form.Page, form.Email))
		}
		return h.joinFailed(c, err)
	}
	if err := h.carry(c, session); err != nil {
		return err
	}
	return h.done(c, views.HomePath, "Welcome to "+form.Organisation+".")
}

func (h *handler) joinFailed(c echo.Context, err error) error {
	if errors.Is(err, keyring.ErrInvitation) {
		return h.render(c, http.StatusNotFound, views.InvitationOver(views.Page{Now: h.keyring.Now()}))
	}
	return err
}
