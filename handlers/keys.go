package handlers

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// keysPage lists keys: all of the organisation's, or those of the process in the address.
func (h *handler) keysPage(c echo.Context) error {
	state, err := readListState(c)
	if err != nil {
		return err
	}
	process, err := h.fixedProcess(c)
	if err != nil {
		return err
	}
	state.Process = process.ID
	if process.ID != "" && (state.ProcessID != "" || state.WorkspaceID != "") {
		return errList // the address says both already
	}
	ctx, actor := c.Request().Context(), actorOf(c)
	model := views.KeyList{Page: h.page(c), State: state, Process: process, Cursor: c.QueryParam("cursor"), BaseURL: h.baseURL.String()}
	if err := h.fillListOptions(c, &model); err != nil {
		return err
	}
	filter := state.Filter
	if process.ID != "" {
		filter.ProcessID = process.ID
	}
	page, err := h.keyring.Keys(ctx, actor, filter, state.Sort, model.Cursor, state.Size)
	if err != nil {
		return err
	}
	for _, row := range page.Rows {
		model.Keys = append(model.Keys, keyView(row))
	}
	model.Older, model.Newer = page.Next, page.Previous
	model.NoneYet = len(model.Keys) == 0 && state.Filter == (apikey.Filter{}) && model.Cursor == ""
	return h.render(c, http.StatusOK, views.KeysPage(model))
}

// fillListOptions fills in what the list can be filtered by, and returns ErrNotFound for a filter by something that
// the organisation does not have.
func (h *handler) fillListOptions(c echo.Context, model *views.KeyList) error {
	catalogue, err := h.keyring.Catalogue(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	owners, err := h.keyring.KeyOwners(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	if id := model.State.OwnerID; id != "" && !slices.ContainsFunc(owners, func(p account.Person) bool { return p.ID == id }) {
		person, err := h.keyring.Person(c.Request().Context(), actorOf(c), id) // who owns no key any more, or is one of very many
		if err != nil {
			return err
		}
		owners = append(owners, person)
	}
	for _, p := range owners {
		model.Owners = append(model.Owners, views.Option{Value: p.ID, Label: p.Email})
	}
	model.Scopes = append(model.Scopes, views.Option{Value: apikey.All, Label: "* (every scope)"})
	for _, name := range append(catalogue.ScopeNames(), catalogue.Retired...) {
		model.Scopes = append(model.Scopes, views.Option{Value: name, Label: name})
	}
	model.Policy = catalogue.Policy
	model.Workspaces = choices(catalogue.Workspaces, nil)
	model.Processes = choices(catalogue.Processes, catalogue.Workspaces)
	model.Profiles = choices(catalogue.Profiles, nil)
	f := model.State.Filter
	for _, chosen := range []struct {
		value   string
		options []views.Option
	}{{f.OwnerID, model.Owners}, {f.Scope, model.Scopes}, {f.WorkspaceID, model.Workspaces}, {f.ProcessID, model.Processes}, {f.ProfileID, model.Profiles}} {
		if chosen.value != "" && !slices.ContainsFunc(chosen.options, func(o views.Option) bool { return o.Value == chosen.value }) {
			return keyring.ErrNotFound
		}
	}
	return nil
}

func choices(list, parents []keyring.Choice) []views.Option {
	var out []views.Option
	for _, choice := range list {
		option := views.Option{Value: choice.ID, Label: choice.Name}
		if choice.Archived {
			option.Label += " (archived)"
		}
		for _, parent := range parents {
			if parent.ID == choice.Parent {
				option.Group = parent.Name
			}
		}
		out = append(out, option)
	}
	return out
}

// takingKeys are those of the choices that take new keys.
func takingKeys(list []keyring.Choice) []keyring.Choice {
	return slices.DeleteFunc(slices.Clone(list), func(choice keyring.Choice) bool { return choice.Archived })
}

// listNames are what the list's address may say beside its place in the list.
var listNames = []string{"q", "status", "owner", "environment", "scope", "profile", "workspace", "process", "expires", "unused", "live", "orphaned", "breaking", "sort", "size"}

// readListState reads the list's address; errList for what no link of ours says.
func readListState(c echo.Context) (views.ListState, error) {
	state := views.ListState{Filter: apikey.Filter{
		Status: apikey.Status(c.QueryParam("status")), OwnerID: c.QueryParam("owner"),
		Environment: apikey.Environment(c.QueryParam("environment")), Scope: c.QueryParam("scope"),
		ProfileID: c.QueryParam("profile"), WorkspaceID: c.QueryParam("workspace"), ProcessID: c.QueryParam("process"),
	}}
	state.Search = searched(c.QueryParam("q"))
	var known, sizeKnown, expiresKnown, unusedKnown bool
	state.Sort, known = apikey.ParseSort(c.QueryParam("sort"))
	state.Size, sizeKnown = smallNumber(c.QueryParam("size"), 100)
	state.ExpiresWithin, expiresKnown = smallNumber(c.QueryParam("expires"), 3650)
	state.UnusedFor, unusedKnown = smallNumber(c.QueryParam("unused"), 3650)
	if state.Size == 0 {
		state.Size = views.PageSizes[0]
	}
	var liveKnown, orphanedKnown, breakingKnown bool
	state.Live, liveKnown = ticked(c.QueryParam("live"))
	state.Orphaned, orphanedKnown = ticked(c.QueryParam("orphaned"))
	state.BreaksPolicy, breakingKnown = ticked(c.QueryParam("breaking"))
	if !liveKnown || !orphanedKnown || !breakingKnown || !known || !sizeKnown || !expiresKnown || !unusedKnown ||
		!slices.Contains(views.PageSizes, state.Size) ||
		state.Status != "" && !slices.Contains(apikey.Statuses, state.Status) ||
		state.Environment != "" && !slices.Contains(apikey.Environments, state.Environment) {
		return state, errList
	}
	return state, nil
}

// ticked reads a box: "1", or nothing.
func ticked(text string) (on, ok bool) { return text == "1", text == "" || text == "1" }

// smallNumber reads a number from 1 to most; "" is 0.
func smallNumber(text string, most int) (int, bool) {
	if text == "" {
		return 0, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 1 && n <= most
}

func keyView(row keyring.KeyRow) views.Key {
	return views.Key{Key: row.Key, Owner: row.Owner, Creator: row.Creator, Workspace: row.WorkspaceName,
		Process: row.ProcessName, Profile: row.ProfileName, Use: row.Use, IdleSince: row.IdleSince}
}

// key is the key that the path names.
func (h *handler) key(c echo.Context) (views.Key, error) {
	row, err := h.keyring.Key(c.Request().Context(), actorOf(c), c.Param("id"))
	return keyView(row), err
}

func (h *handler) keyPage(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	days, daysKnown := smallNumber(c.QueryParam("days"), 90)
	before, beforeKnown := smallNumber(c.QueryParam("before"), 1<<53)
	if days == 0 {
		days = 30
	}
	if !daysKnown || !beforeKnown {
		return errList
	}
	past, err := h.keyring.KeyHistory(c.Request().Context(), actorOf(c), key.ID, days, int64(before))
	if err != nil {
		return err
	}
	model := views.KeyDetail{Page: h.page(c), Key: key, Policy: past.Policy, Days: days, Usage: past.Usage, BaseURL: h.baseURL.String()}
	for _, k := range past.Line {
		model.Line = append(model.Line, views.Key{Key: k})
	}
	for _, event := range past.Trail {
		model.Trail = append(model.Trail, eventView(event, past.Names))
	}
	if past.TrailGoes > 0 {
		model.Older = strconv.FormatInt(past.TrailGoes, 10)
	}
	return h.render(c, http.StatusOK, views.KeyPage(model))
}

// conflict answers a change that came too late, with the key as it is now.
func (h *handler) conflict(c echo.Context, id, back string, tried apikey.Change) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	row, err := h.keyring.Key(ctx, actor, id)
	if err != nil {
		return err
	}
	model := views.KeyConflict{Page: h.page(c), Return: back, Tried: tried, Key: keyView(row)}
	past, err := h.keyring.KeyHistory(ctx, actor, id, 1, 0)
	if err != nil {
		return err
	}
	if len(past.Trail) > 0 {
		latest := eventView(past.Trail[0], past.Names)
		model.Latest = &latest
	}
	return h.render(c, http.StatusConflict, views.ConflictPage(model))
}

// returnPath is where the viewer came from, as the dialog's form or link says.
func returnPath(c echo.Context) string { return returnOr(c, views.KeysPath) }

// returnOr is the same with another place for who came from nowhere.
func returnOr(c echo.Context, home string) string { return localPath(c.FormValue("return"), home) }

// named is a key's name in a sentence.
func named(key apikey.Key) string { return "“" + key.Name + "”" }
