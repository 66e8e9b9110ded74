package handlers

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

func (h *handler) apiListMembers(c echo.Context) error {
	filter, err := readMemberFilter(c)
	if err != nil {
		return err
	}
	limit, err := readCount(c, "limit", 20, 100)
	if err != nil {
		return err
	}
	page, err := h.keyring.Members(c.Request().Context(), actorOf(c), filter, c.QueryParam("cursor"), limit)
	if err != nil {
		return err
	}
	answer := MemberPage{Items: []Member{}, NextCursor: orNull(page.Next)}
	for _, row := range page.Rows {
		answer.Items = append(answer.Items, person(row))
	}
	return respond(c, http.StatusOK, answer)
}

func readMemberFilter(c echo.Context) (account.MemberFilter, error) {
	search, err := readSearch(c)
	if err != nil {
		return account.MemberFilter{}, err
	}
	filter := account.MemberFilter{Search: search, Role: account.Role(c.QueryParam("role"))}
	if err := knownQuery(c, "q", "role", "status", "cursor", "limit"); err != nil {
		return filter, err
	}
	problems := input.Problems{}
	if filter.Role != "" {
		_, err := keyring.ReadRole(string(filter.Role))
		problems.Add("role", err)
	}
	if status := account.Status(c.QueryParam("status")); status != "" {
		if !slices.Contains([]account.Status{account.Active, account.Suspended, account.Removed}, status) {
			problems["status"] = "Send active, suspended or removed."
		}
		filter.Statuses = []account.Status{status}
	}
	return filter, problems.Err()
}

func (h *handler) apiGetMember(c echo.Context) error {
	return respondOne(c, h.keyring.Member, person)
}

func person(row keyring.MemberRow) Member {
	return Member{ID: row.ID, Email: row.Email, Name: row.Name, Role: string(row.Role), Status: string(row.Status),
		JoinedAt: row.JoinedAt, LastSeenAt: row.SeenAt, LiveKeys: min(row.LiveKeys, keyring.MostCounted)}
}

// apiInviteMember makes a member as far as another can: the person accepts, and chooses a name and a password.
func (h *handler) apiInviteMember(c echo.Context) error {
	request, err := readJSON[InviteMemberRequest](c)
	if err != nil {
		return err
	}
	made, token, err := h.keyring.Invite(c.Request().Context(), actorOf(c), keyring.InvitationDraft{Email: request.Email, Role: request.Role})
	if err != nil {
		return err
	}
	return respond(c, http.StatusCreated, InvitedMember{Invitation: Invitation{
		ID: made.ID, Email: made.Email, Role: string(made.Role), ExpiresAt: made.ExpiresAt, URL: h.joinLink(token),
	}})
}

func (h *handler) apiUpdateMember(c echo.Context) error {
	request, err := readJSON[UpdateMemberRequest](c)
	if err != nil {
		return err
	}
	problems := input.Problems{}
	edit := keyring.MemberEdit{Keys: keyring.KeysOfLeaver(orEmpty(request.Keys)), Heir: orEmpty(request.KeysTo)}
	if request.Role != nil {
		edit.Role, err = keyring.ReadRole(*request.Role)
		problems.Add("role", err)
	}
	if request.Status != nil {
		edit.Status = account.Status(*request.Status)
		if edit.Status != account.Active && edit.Status != account.Suspended {
			problems["status"] = "Send active or suspended. Removing is a call of its own."
		}
	}
	if err := problems.Err(); err != nil {
		return err
	}
	if edit == (keyring.MemberEdit{}) {
		return refuse(http.StatusBadRequest, "Send at least one field to change.")
	}
	return h.changeMember(c, edit)
}

func (h *handler) apiRemoveMember(c echo.Context) error {
	if err := knownQuery(c, "keys", "keysTo"); err != nil {
		return err
	}
	return h.changeMember(c, keyring.MemberEdit{Status: account.Removed, Keys: keyring.KeysOfLeaver(c.QueryParam("keys")), Heir: c.QueryParam("keysTo")})
}

func (h *handler) changeMember(c echo.Context, edit keyring.MemberEdit) error {
	change, err := h.keyring.ChangeMember(c.Request().Context(), actorOf(c), c.Param("id"), edit)
	if err != nil {
		return err
	}
	row, err := h.keyring.Member(c.Request().Context(), actorOf(c), change.Person.ID)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, person(row))
}
