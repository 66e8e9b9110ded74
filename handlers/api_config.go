package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

func (h *handler) apiListProfiles(c echo.Context) error {
	found, err := h.keyring.Profiles(c.Request().Context(), actorOf(c))
	return respondAll(c, found, err, func(p apikey.Profile) BiasProfile { return *biasProfile(&p) })
}

func (h *handler) apiGetProfile(c echo.Context) error {
	found, err := h.keyring.Profile(c.Request().Context(), actorOf(c), c.Param("id"))
	return respondOne(c, found, err, func(p apikey.Profile) BiasProfile { return *biasProfile(&p) })
}

func (h *handler) apiListScopes(c echo.Context) error {
	found, err := h.keyring.Scopes(c.Request().Context(), actorOf(c))
	return respondAll(c, found, err, func(s keyring.CataloguedScope) Scope {
		return Scope{Name: s.Name, Description: s.Description, Retired: s.Retired}
	})
}

func (h *handler) apiListWorkspaces(c echo.Context) error {
	found, err := h.keyring.Workspaces(c.Request().Context(), actorOf(c))
	return respondAll(c, found, err, workspace)
}

func (h *handler) apiGetWorkspace(c echo.Context) error {
	found, err := h.keyring.Workspace(c.Request().Context(), actorOf(c), c.Param("id"))
	return respondOne(c, found, err, workspace)
}

func workspace(w keyring.Choice) Workspace { return Workspace{ID: w.ID, Name: w.Name} }

func (h *handler) apiListProcesses(c echo.Context) error {
	found, err := h.keyring.Processes(c.Request().Context(), actorOf(c))
	return respondAll(c, found, err, process)
}

func (h *handler) apiGetProcess(c echo.Context) error {
	found, err := h.keyring.Process(c.Request().Context(), actorOf(c), c.Param("id"))
	return respondOne(c, found, err, process)
}

func process(p keyring.Choice) Process { return Process{ID: p.ID, Name: p.Name, WorkspaceID: p.Parent} }

func (h *handler) apiListMembers(c echo.Context) error {
	found, err := h.keyring.Members(c.Request().Context(), actorOf(c))
	return respondAll(c, found, err, person)
}

func (h *handler) apiGetMember(c echo.Context) error {
	found, err := h.keyring.Member(c.Request().Context(), actorOf(c), c.Param("id"))
	return respondOne(c, found, err, person)
}

func person(p account.Person) Member {
	return Member{ID: p.ID, Email: p.Email, Name: p.Name, Role: string(p.Role), Status: string(p.Status)}
}

func respondOne[F, T any](c echo.Context, found F, err error, say func(F) T) error {
	if err != nil {
		return err
	}
	if err := knownQuery(c); err != nil {
		return err
	}
	return respond(c, http.StatusOK, say(found))
}

// respondAll answers with a list that is short enough to come whole.
func respondAll[F, T any](c echo.Context, found []F, err error, say func(F) T) error {
	if err != nil {
		return err
	}
	if err := knownQuery(c); err != nil {
		return err
	}
	items := make([]T, len(found))
	for i, f := range found {
		items[i] = say(f)
	}
	return respond(c, http.StatusOK, map[string][]T{"items": items})
}
