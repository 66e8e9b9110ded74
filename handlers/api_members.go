package handlers

import (
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
)

func (h *handler) apiListMembers(c echo.Context) error {
	return respondAll(c, h.keyring.Members, person)
}

func (h *handler) apiGetMember(c echo.Context) error {
	return respondOne(c, h.keyring.Member, person)
}

func person(p account.Person) Member {
	return Member{ID: p.ID, Email: p.Email, Name: p.Name, Role: string(p.Role), Status: string(p.Status)}
}
