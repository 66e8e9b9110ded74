package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// membersAtOnce is how many members a page of their list has.
const membersAtOnce = 50

func (h *handler) membersPage(c echo.Context) error {
	state := views.MemberState{Search: searched(c.QueryParam("q")), Role: account.Role(c.QueryParam("role")), Status: c.QueryParam("status")}
	if state.Role != "" && !slices.Contains(account.Roles, state.Role) {
		return errList
	}
	filter := account.MemberFilter{Search: state.Search, Role: state.Role}
	switch status := account.Status(state.Status); status {
	case "":
		filter.Statuses = []account.Status{account.Active, account.Suspended}
	case views.EveryStatus:
	case account.Active, account.Suspended, account.Removed:
		filter.Statuses = []account.Status{status}
	default:
		return errList
	}
	ctx, actor := c.Request().Context(), actorOf(c)
	model := views.MemberList{Page: h.page(c), State: state, Cursor: c.QueryParam("cursor")}
	page, err := h.keyring.Members(ctx, actor, filter, model.Cursor, membersAtOnce)
	if err != nil {
		return err
	}
	model.Older, model.Newer = page.Next, page.Previous
	for _, row := range page.Rows {
		model.Members = append(model.Members, memberView(row))
	}
	if state == (views.MemberState{Search: state.Search}) && model.Cursor == "" {
		if model.Invitations, model.MoreInvited, err = h.invitations(c, state.Search); err != nil {
			return err
		}
	}
	return h.render(c, http.StatusOK, views.MembersPage(model))
}

func memberView(row keyring.MemberRow) views.Member {
	return views.Member{Person: row.Person, JoinedAt: row.JoinedAt, SeenAt: row.SeenAt,
		LiveKeys: min(row.LiveKeys, keyring.MostCounted), ManyKeys: row.LiveKeys > keyring.MostCounted}
}

func (h *handler) memberPage(c echo.Context) error {
	ctx, actor, id := c.Request().Context(), actorOf(c), c.Param("id")
	row, err := h.keyring.Member(ctx, actor, id)
	if err != nil {
		return err
	}
	keys, err := h.keyring.LiveKeysOf(ctx, actor, id)
	if err != nil {
		return err
	}
	model := views.MemberDetail{Page: h.page(c), Member: memberView(row), Keys: views.LiveKeys(keys)}
	if actor.May(account.SignOutMember) {
		sessions, err := h.keyring.MemberSessions(ctx, actor, id)
		if err != nil {
			return err
		}
		model.Sessions = sessionViews(sessions, actor)
	}
	if actor.May(account.StartEmailChange) {
		waiting, err := h.keyring.EmailChangeOf(ctx, actor, id)
		if err != nil && !errors.Is(err, keyring.ErrNotFound) {
			return err
		}
		model.NewEmail, model.NewEmailBy = waiting.Email, waiting.ExpiresAt
	}
	return h.render(c, http.StatusOK, views.MemberPage(model))
}

// memberForm is what every question about a member says: who, what they own, and whether the organisation can do without
// them.
func (h *handler) memberForm(c echo.Context) (views.MemberForm, error) {
	ctx, actor, id := c.Request().Context(), actorOf(c), c.Param("id")
	row, err := h.keyring.Member(ctx, actor, id)
	if err != nil {
		return views.MemberForm{}, err
	}
	form := views.MemberForm{Page: h.page(c), Member: row.Person, Return: returnOr(c, views.MembersPath), Role: c.FormValue("role"),
		KeyChoice: c.FormValue("keys"), HeirID: c.FormValue("keysTo")}
	keys, err := h.keyring.LiveKeysOf(ctx, actor, id)
	if err != nil {
		return form, err
	}
	form.Keys = views.LiveKeys(keys)
	sessions, err := h.keyring.MemberSessions(ctx, actor, id)
	if err != nil {
		return form, err
	}
	form.Sessions = len(sessions)
	if form.LastOwner, err = h.keyring.IsLastOwner(ctx, actor, row.Person); err != nil {
		return form, err
	}
	if form.Links, err = h.keyring.InvitationsBy(ctx, actor, row.ID); err != nil {
		return form, err
	}
	form.EmailChanges, err = h.keyring.EmailChangesBy(ctx, actor, row.ID)
	return form, err
}

// leaverForm adds what can become of a leaver's keys, and which of them are used. Nothing is asked about somebody who is
// suspended or removed already.
func (h *handler) leaverForm(c echo.Context, status account.Status) (views.MemberForm, error) {
	form, err := h.memberForm(c)
	if err == nil && (form.Member.Status == account.Removed || form.Member.Status == status) {
		err = keyring.ErrMemberState
	}
	if err != nil {
		return form, err
	}
	ctx, actor := c.Request().Context(), actorOf(c)
	switch own, err := h.keyring.EmailChangeOf(ctx, actor, form.Member.ID); {
	case err == nil && own.By != form.Member.ID:
		form.EmailChanges++ // else it is counted among those that they started
	case err != nil && !errors.Is(err, keyring.ErrNotFound):
		return form, err
	}
	busiest, err := h.keyring.BusiestKeys(ctx, actor, form.Member.ID)
	if err != nil {
		return form, err
	}
	form.Busiest = usedKeys(busiest)
	policy, err := h.keyring.Policy(ctx, actor)
	if err != nil {
		return form, err
	}
	form.NoneLeft = policy.DisableDeparted
	for _, fate := range keyring.FatesOfKeys(policy) {
		form.KeyChoices = append(form.KeyChoices, string(fate))
	}
	form.Heirs, err = h.keyring.KeyHolders(ctx, actor)
	return form, err
}

func (h *handler) memberRolePage(c echo.Context) error {
	form, err := h.memberForm(c)
	if err != nil {
		return err
	}
	if form.Member.Status == account.Removed {
		return keyring.ErrMemberState
	}
	return h.render(c, http.StatusOK, views.ChangeRole(form))
}

func (h *handler) memberRole(c echo.Context) error {
	form, err := h.memberForm(c)
	if err != nil {
		return err
	}
	role, err := keyring.ReadRole(form.Role)
	if err == nil {
		_, err = h.keyring.ChangeMember(c.Request().Context(), actorOf(c), form.Member.ID, keyring.MemberEdit{Role: role})
	} else {
		err = input.Problems{"role": err.Error()}
	}
	if form.Problems = input.ProblemsIn(err); form.Problems != nil {
		return h.render(c, http.StatusUnprocessableEntity, views.ChangeRole(form))
	}
	if err != nil {
		return err
	}
	back, sentence := form.Return, fmt.Sprintf("%s is %s now.", form.Member.DisplayName(), role.Label())
	if form.Member.ID == actorOf(c).MemberID {
		back, sentence = views.HomePath, fmt.Sprintf("You are %s now.", role.Label()) // the list may be closed to them
	}
	return h.done(c, back, sentence)
}

func (h *handler) suspendMemberPage(c echo.Context) error {
	form, err := h.leaverForm(c, account.Suspended)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.SuspendMember(form))
}

func (h *handler) removeMemberPage(c echo.Context) error {
	form, err := h.leaverForm(c, account.Removed)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.RemoveMember(form))
}

func (h *handler) suspendMember(c echo.Context) error { return h.sendAway(c, account.Suspended) }
func (h *handler) removeMember(c echo.Context) error  { return h.sendAway(c, account.Removed) }

// sendAway suspends or removes somebody, and deals with their keys as the form says.
func (h *handler) sendAway(c echo.Context, status account.Status) error {
	edit := keyring.MemberEdit{Status: status, Keys: keyring.KeysOfLeaver(c.FormValue("keys")), Was: account.Status(c.FormValue("was")), Live: readSeen(c)}
	if edit.Keys == keyring.TransferKeys { // the list of heirs is sent along whatever is chosen
		edit.Heir = c.FormValue("keysTo")
	}
	change, err := h.keyring.ChangeMember(c.Request().Context(), actorOf(c), c.Param("id"), edit)
	problems, answer := input.ProblemsIn(err), http.StatusUnprocessableEntity
	if errors.Is(err, keyring.ErrStale) {
		problems, answer = otherKeys, http.StatusConflict
	}
	if problems != nil {
		form, err := h.leaverForm(c, status)
		if err != nil {
			return err
		}
		form.Problems = problems
		page := views.SuspendMember(form)
		if status == account.Removed {
			page = views.RemoveMember(form)
		}
		return h.render(c, answer, page)
	}
	if err != nil {
		return err
	}
	if change.Person.ID == actorOf(c).MemberID {
		return h.leave(c, map[account.Status]string{account.Suspended: noticeSuspended, account.Removed: noticeRemoved}[status])
	}
	return h.done(c, returnOr(c, views.MembersPath), views.SentAway(views.Departure{Person: change.Person, Keys: string(change.Keys), Changed: change.Changed,
		Heir: change.Heir, Links: change.Links, EmailChanges: change.EmailChanges}))
}

func (h *handler) reinstateMemberPage(c echo.Context) error {
	form, err := h.memberForm(c)
	if err == nil && form.Member.Status != account.Suspended {
		err = keyring.ErrMemberState
	}
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.ReinstateMember(form))
}

func (h *handler) reinstateMember(c echo.Context) error {
	change, err := h.keyring.ChangeMember(c.Request().Context(), actorOf(c), c.Param("id"), keyring.MemberEdit{Status: account.Active})
	if err != nil {
		return err
	}
	return h.done(c, returnOr(c, views.MembersPath), change.Person.DisplayName()+" can sign in again.")
}

func (h *handler) signOutMemberPage(c echo.Context) error {
	form, err := h.memberForm(c)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.SignOutMember(form))
}

func (h *handler) signOutMember(c echo.Context) error {
	row, err := h.keyring.Member(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	if _, err := h.keyring.SignOutMember(c.Request().Context(), actorOf(c), row.ID); err != nil {
		return err
	}
	if row.ID == actorOf(c).MemberID {
		return h.leave(c, noticeEverywhere)
	}
	return h.done(c, returnOr(c, views.MembersPath), row.DisplayName()+" is signed out everywhere.")
}
