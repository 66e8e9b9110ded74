package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func workspaceView(w keyring.Workspace, enabled map[string]int) views.Place {
	return views.Place{Kind: views.AWorkspace, ID: w.ID, Name: w.Name, CreatedAt: w.CreatedAt, ArchivedAt: w.ArchivedAt,
		EnabledKeys: min(enabled[w.ID], keyring.MostCounted), ManyKeys: enabled[w.ID] > keyring.MostCounted}
}

func processView(p keyring.Process, enabled map[string]int) views.Place {
	return views.Place{Kind: views.AProcess, ID: p.ID, Name: p.Name, WorkspaceID: p.WorkspaceID, Workspace: p.WorkspaceName,
		CreatedAt: p.CreatedAt, ArchivedAt: p.ArchivedAt, Closed: p.WorkspaceArchivedAt != nil,
		EnabledKeys: min(enabled[p.ID], keyring.MostCounted), ManyKeys: enabled[p.ID] > keyring.MostCounted}
}

// placeHandler handles a request that is about a workspace or a process.
type placeHandler func(h *handler, c echo.Context, place views.Place) error

// ofProcess finds the process that the path names.
func ofProcess(handle placeHandler) func(*handler, echo.Context) error {
	return func(h *handler, c echo.Context) error {
		process, err := h.keyring.Process(c.Request().Context(), actorOf(c), c.Param("id"))
		if err != nil {
			return err
		}
		return handle(h, c, processView(process, nil))
	}
}

// ofWorkspace finds the workspace that the path names.
func ofWorkspace(handle placeHandler) func(*handler, echo.Context) error {
	return func(h *handler, c echo.Context) error {
		workspace, err := h.keyring.Workspace(c.Request().Context(), actorOf(c), c.Param("id"))
		if err != nil {
			return err
		}
		return handle(h, c, workspaceView(workspace, nil))
	}
}

func (h *handler) processesPage(c echo.Context) error {
	search := searched(c.QueryParam("q"))
	archived, known := ticked(c.QueryParam("archived"))
	if !known {
		return errList
	}
	ctx, actor := c.Request().Context(), actorOf(c)
	rooms, err := h.keyring.Rooms(ctx, actor, search, archived)
	if err != nil {
		return err
	}
	enabled, err := h.enabledKeys(c, "")
	if err != nil {
		return err
	}
	model := views.ProcessList{Page: h.page(c), Search: search, Archived: archived}
	for _, room := range rooms {
		shown := views.PlaceRoom{Place: workspaceView(room.Workspace, enabled)}
		for _, process := range room.Processes {
			shown.Processes = append(shown.Processes, processView(process, enabled))
		}
		model.Rooms = append(model.Rooms, shown)
	}
	if len(rooms) == 0 && search == "" {
		all, err := h.keyring.Workspaces(ctx, actor)
		if err != nil {
			return err
		}
		model.NoneYet = len(all) == 0
	}
	return h.render(c, http.StatusOK, views.ProcessesPage(model))
}

// enabledKeys counts the enabled keys of every place, or of one, for whoever may see keys.
func (h *handler) enabledKeys(c echo.Context, id string) (map[string]int, error) {
	if !actorOf(c).May(account.ReadKeys) {
		return nil, nil
	}
	return h.keyring.EnabledKeysIn(c.Request().Context(), actorOf(c), id)
}

// processDetail is the process that the path names, with what its pages say of it.
func (h *handler) processDetail(c echo.Context) (views.ProcessDetail, error) {
	process, err := h.keyring.Process(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return views.ProcessDetail{}, err
	}
	enabled, err := h.enabledKeys(c, process.ID)
	return views.ProcessDetail{Page: h.page(c), Process: processView(process, enabled), BaseURL: h.baseURL.String()}, err
}

// fewKeys is how many keys a process's own page shows.
const fewKeys = 8

func (h *handler) processPage(c echo.Context) error {
	model, err := h.processDetail(c)
	if err != nil {
		return err
	}
	if actorOf(c).May(account.ReadKeys) {
		filter := apikey.Filter{ProcessID: model.Process.ID, Status: apikey.Enabled}
		page, err := h.keyring.Keys(c.Request().Context(), actorOf(c), filter, apikey.Sort{By: apikey.ByUse, Descending: true}, "", fewKeys)
		if err != nil {
			return err
		}
		for _, row := range page.Rows {
			model.Keys = append(model.Keys, keyView(row))
		}
	}
	return h.render(c, http.StatusOK, views.ProcessPage(model))
}

func (h *handler) configurationPage(c echo.Context) error {
	model, err := h.processDetail(c)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.ConfigurationPage(model))
}

// placeForm is the form about a place as it was typed.
func placeForm(c echo.Context, place views.Place) views.PlaceForm {
	return views.PlaceForm{Return: returnOr(c, views.ProcessesPath), Place: place, Name: c.FormValue("name"), WorkspaceID: c.FormValue("workspaceId")}
}

func (h *handler) showPlaceForm(c echo.Context, status int, form views.PlaceForm) error {
	form.Page = h.page(c)
	if form.Place.Kind == views.AProcess && form.Place.ID == "" {
		workspaces, err := h.keyring.Workspaces(c.Request().Context(), actorOf(c))
		if err != nil {
			return err
		}
		for _, w := range workspaces {
			if !w.Archived() {
				form.Workspaces = append(form.Workspaces, views.Option{Value: w.ID, Label: w.Name})
			}
		}
	}
	return h.render(c, status, views.EditPlace(form))
}

// refusePlaceForm shows a form again with what kept it from being done, or returns an error that is none of the form's.
func (h *handler) refusePlaceForm(c echo.Context, form views.PlaceForm, err error) error {
	status := http.StatusUnprocessableEntity
	const gone = "This workspace is not there any more. Choose again."
	switch {
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		if errors.As(err, new(keyring.MissingError)) {
			form.Problems["workspaceId"] = gone
		}
	case errors.Is(err, keyring.ErrTaken) && form.Place.Kind == views.AProcess:
		form.Problems = input.Problems{"name": "The workspace has a process of this name already, perhaps in another case. Choose another."}
	case errors.Is(err, keyring.ErrTaken):
		form.Problems = input.Problems{"name": "There is a workspace of this name already, perhaps in another case. Choose another."}
	case errors.Is(err, keyring.ErrFull):
		status, form.Problems = h.meaning(err).Status, input.Problems{"": h.meaning(err).Sentence}
	case errors.As(err, new(keyring.MissingError)):
		status, form.Problems = h.meaning(err).Status, input.Problems{"workspaceId": gone}
	default:
		return err
	}
	return h.showPlaceForm(c, status, form)
}

func (h *handler) newWorkspacePage(c echo.Context) error {
	return h.showPlaceForm(c, http.StatusOK, placeForm(c, views.Place{Kind: views.AWorkspace}))
}

func (h *handler) newWorkspace(c echo.Context) error {
	form := placeForm(c, views.Place{Kind: views.AWorkspace})
	made, err := h.keyring.CreateWorkspace(c.Request().Context(), actorOf(c), form.Name)
	if err != nil {
		return h.refusePlaceForm(c, form, err)
	}
	return h.done(c, form.Return, fmt.Sprintf("The workspace “%s” is there. Make processes in it, or choose it for a key.", made.Name))
}

func (h *handler) newProcessPage(c echo.Context) error {
	return h.showPlaceForm(c, http.StatusOK, placeForm(c, views.Place{Kind: views.AProcess}))
}

func (h *handler) newProcess(c echo.Context) error {
	form := placeForm(c, views.Place{Kind: views.AProcess})
	made, err := h.keyring.CreateProcess(c.Request().Context(), actorOf(c), form.WorkspaceID, form.Name)
	if err != nil {
		return h.refusePlaceForm(c, form, err)
	}
	return h.done(c, views.ProcessPath(made.ID), fmt.Sprintf("The process “%s” is there. Its keys are under Configuration.", made.Name))
}

// editPlace renames, archives or restores a place.
func (h *handler) editPlace(c echo.Context, place views.Place, edit keyring.PlaceEdit) error {
	var err error
	if place.Kind == views.AProcess {
		_, err = h.keyring.EditProcess(c.Request().Context(), actorOf(c), place.ID, edit)
	} else {
		_, err = h.keyring.EditWorkspace(c.Request().Context(), actorOf(c), place.ID, edit)
	}
	return err
}

func (h *handler) renamePlacePage(c echo.Context, place views.Place) error {
	form := placeForm(c, place)
	if form.Name == "" {
		form.Name = place.Name
	}
	return h.showPlaceForm(c, http.StatusOK, form)
}

func (h *handler) renamePlace(c echo.Context, place views.Place) error {
	form := placeForm(c, place)
	if err := h.editPlace(c, place, keyring.PlaceEdit{Name: &form.Name}); err != nil {
		return h.refusePlaceForm(c, form, err)
	}
	return h.done(c, form.Return, fmt.Sprintf("The %s “%s” has its new name.", place.Kind, place.Name))
}

func (h *handler) archivePlacePage(c echo.Context, place views.Place) error {
	return h.confirmPlace(c, http.StatusOK, place, views.ArchivePlace)
}

func (h *handler) restorePlacePage(c echo.Context, place views.Place) error {
	return h.confirmPlace(c, http.StatusOK, place, views.RestorePlace)
}

func (h *handler) deletePlacePage(c echo.Context, place views.Place) error {
	return h.confirmPlace(c, http.StatusOK, place, views.DeletePlace)
}

// confirmPlace asks before a change, and says what it does or what it is barred by.
func (h *handler) confirmPlace(c echo.Context, status int, place views.Place, change views.PlaceChange) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	enabled, err := h.enabledKeys(c, place.ID)
	if err != nil {
		return err
	}
	place.EnabledKeys, place.ManyKeys = min(enabled[place.ID], keyring.MostCounted), enabled[place.ID] > keyring.MostCounted
	model := views.PlaceConfirmation{Page: h.page(c), Return: returnOr(c, views.ProcessesPath), Change: change, Place: place}
	if change == views.DeletePlace {
		filter := apikey.Filter{ProcessID: place.ID}
		if place.Kind == views.AWorkspace {
			filter = apikey.Filter{WorkspaceID: place.ID}
			processes, err := h.keyring.Processes(ctx, actor)
			if err != nil {
				return err
			}
			for _, process := range processes {
				if process.WorkspaceID == place.ID {
					model.InUse = model.InUse || !process.Archived()
					model.HasProcesses = true
				}
			}
		}
		keys, err := h.keyring.Keys(ctx, actor, filter, apikey.Newest, "", 1)
		if err != nil {
			return err
		}
		model.HasKeys = len(keys.Rows) > 0
	}
	return h.render(c, status, views.ConfirmPlace(model))
}

func (h *handler) archivePlace(c echo.Context, place views.Place) error {
	archived := true
	if err := h.editPlace(c, place, keyring.PlaceEdit{Archived: &archived}); err != nil {
		return err
	}
	sentence := fmt.Sprintf("“%s” is archived and takes no new keys.", place.Name)
	if enabled, err := h.enabledKeys(c, place.ID); err != nil {
		return err
	} else if enabled[place.ID] > 0 {
		sentence += " The keys that it has go on working."
	}
	return h.done(c, returnOr(c, views.ProcessesPath), sentence)
}

func (h *handler) restorePlace(c echo.Context, place views.Place) error {
	archived := false
	err := h.editPlace(c, place, keyring.PlaceEdit{Archived: &archived})
	if input.ProblemsIn(err) != nil { // its workspace is archived
		return h.confirmPlace(c, http.StatusConflict, place, views.RestorePlace)
	}
	if err != nil {
		return err
	}
	return h.done(c, returnOr(c, views.ProcessesPath), fmt.Sprintf("“%s” is restored and takes new keys.", place.Name))
}

func (h *handler) deletePlace(c echo.Context, place views.Place) error {
	var err error
	if place.Kind == views.AProcess {
		err = h.keyring.DeleteProcess(c.Request().Context(), actorOf(c), place.ID)
	} else {
		err = h.keyring.DeleteWorkspace(c.Request().Context(), actorOf(c), place.ID)
	}
	if errors.Is(err, keyring.ErrInUse) {
		return h.confirmPlace(c, http.StatusConflict, place, views.DeletePlace)
	}
	if err != nil {
		return err
	}
	back := returnOr(c, views.ProcessesPath)
	if strings.HasPrefix(back, views.ProcessPath(place.ID)) { // the page that it came from is gone
		back = views.ProcessesPath
	}
	return h.done(c, back, fmt.Sprintf("“%s” is deleted. The audit log keeps what it was.", place.Name))
}
