package handlers

import (
	"errors"
	"maps"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

func workspace(w keyring.Workspace) Workspace {
	return Workspace{ID: w.ID, Name: w.Name, Archived: w.Archived()}
}

func process(p keyring.Process) Process {
	return Process{ID: p.ID, Name: p.Name, WorkspaceID: p.WorkspaceID, Archived: p.Archived()}
}

func (h *handler) apiListWorkspaces(c echo.Context) error {
	return respondAll(c, h.keyring.Workspaces, workspace)
}

func (h *handler) apiGetWorkspace(c echo.Context) error {
	return respondOne(c, h.keyring.Workspace, workspace)
}

func (h *handler) apiCreateWorkspace(c echo.Context) error {
	request, err := readJSON[CreateWorkspaceRequest](c)
	if err != nil {
		return err
	}
	made, err := h.keyring.CreateWorkspace(c.Request().Context(), actorOf(c), request.Name)
	if err != nil {
		return err
	}
	return respond(c, http.StatusCreated, workspace(made))
}

func (h *handler) apiUpdateWorkspace(c echo.Context) error {
	request, err := readJSON[UpdateWorkspaceRequest](c)
	if err != nil {
		return err
	}
	edit, err := placeEdit(request.Name, request.Archived)
	if err != nil {
		return err
	}
	edited, err := h.keyring.EditWorkspace(c.Request().Context(), actorOf(c), c.Param("id"), edit)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, workspace(edited))
}

func (h *handler) apiDeleteWorkspace(c echo.Context) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	if err := h.keyring.DeleteWorkspace(c.Request().Context(), actorOf(c), c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

func (h *handler) apiListProcesses(c echo.Context) error {
	return respondAll(c, h.keyring.Processes, process)
}

func (h *handler) apiGetProcess(c echo.Context) error {
	return respondOne(c, h.keyring.Process, process)
}

func (h *handler) apiCreateProcess(c echo.Context) error {
	request, err := readJSON[CreateProcessRequest](c)
	if err != nil {
		return err
	}
	made, err := h.keyring.CreateProcess(c.Request().Context(), actorOf(c), request.WorkspaceID, request.Name)
	if errors.As(err, new(keyring.MissingError)) {
		problems := input.Problems{"workspaceId": "Your organisation has no workspace by this id."}
		maps.Copy(problems, input.ProblemsIn(err)) // of the name, which may be wrong as well
		return problems
	}
	if err != nil {
		return err
	}
	return respond(c, http.StatusCreated, process(made))
}

func (h *handler) apiUpdateProcess(c echo.Context) error {
	request, err := readJSON[UpdateProcessRequest](c)
	if err != nil {
		return err
	}
	edit, err := placeEdit(request.Name, request.Archived)
	if err != nil {
		return err
	}
	edited, err := h.keyring.EditProcess(c.Request().Context(), actorOf(c), c.Param("id"), edit)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, process(edited))
}

func (h *handler) apiDeleteProcess(c echo.Context) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	if err := h.keyring.DeleteProcess(c.Request().Context(), actorOf(c), c.Param("id")); err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}

// placeEdit is what a program wants changed of a workspace or a process.
func placeEdit(name *string, archived *bool) (keyring.PlaceEdit, error) {
	edit := keyring.PlaceEdit{Name: name, Archived: archived}
	if edit == (keyring.PlaceEdit{}) {
		return edit, refuse(http.StatusBadRequest, "Send at least one field to change.")
	}
	return edit, nil
}
