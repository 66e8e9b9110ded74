package handlers

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// readKeyOwnerState reads the list's address; errList for what no link of ours says.
func readKeyOwnerState(c echo.Context) (views.KeyOwnerState, error) {
	var state views.KeyOwnerState
	var known bool
	state.Search = searched(c.QueryParam("q"))
	state.Left, known = ticked(c.QueryParam("left"))
	sort := c.QueryParam("sort")
	state.ByName = sort == "name"
	if !known || sort != "" && !state.ByName {
		return state, errList
	}
	return state, nil
}

func (h *handler) keyOwnersPage(c echo.Context) error {
	state, err := readKeyOwnerState(c)
	if err != nil {
		return err
	}
	model := views.KeyOwnerList{Page: h.page(c), State: state, Cursor: c.QueryParam("cursor")}
	page, err := h.keyring.KeyOwnerFigures(c.Request().Context(), actorOf(c), keyring.OwnerFilter(state), model.Cursor, views.PageSizes[0])
	if err != nil {
		return err
	}
	for _, o := range page.Rows {
		model.Owners = append(model.Owners, views.KeyOwner{Person: o.Person, Enabled: o.Enabled, Expiring: o.Expiring, Unused: o.Unused, Live: o.Live, LastUse: o.LastUse})
	}
	model.Older, model.Newer = page.Next, page.Previous
	return h.render(c, http.StatusOK, views.KeyOwnersPage(model))
}

// ownedKeys is the dialog about all of a member's live keys.
func (h *handler) ownedKeys(c echo.Context) (views.OwnedKeys, error) {
	owned, err := h.keyring.OwnedKeys(c.Request().Context(), actorOf(c), c.Param("id"))
	model := views.OwnedKeys{
		Page: h.page(c), Return: returnOr(c, views.KeyOwnersPath), Owner: owned.Owner,
		Enabled: owned.Enabled, Disabled: owned.Disabled, InGrace: owned.InGrace, Requests: owned.Requests24h,
	}
	model.Busiest = usedKeys(owned.Busiest)
	return model, err
}

// otherKeys is said when somebody decided about other keys than there are now.
var otherKeys = input.Problems{"": "Their keys have changed meanwhile, so nothing was done. This is how they stand now."}

// readSeen reads how many live keys a form was about; 0 when it does not say.
func readSeen(c echo.Context) int64 {
	seen, err := strconv.ParseInt(c.FormValue("live"), 10, 64)
	if err != nil {
		return 0
	}
	return seen
}

func (h *handler) revokeAllPage(c echo.Context) error {
	model, err := h.ownedKeys(c)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.RevokeAllKeys(model))
}

func (h *handler) revokeAll(c echo.Context) error {
	change, err := h.keyring.RevokeAllKeys(c.Request().Context(), actorOf(c), c.Param("id"), readSeen(c))
	if errors.Is(err, keyring.ErrStale) {
		model, err := h.ownedKeys(c)
		if err != nil {
			return err
		}
		model.Problems = otherKeys
		return h.render(c, http.StatusConflict, views.RevokeAllKeys(model))
	}
	if err != nil {
		return err
	}
	sentence := change.From.DisplayName() + " owns no live key any more."
	if change.Changed > 0 {
		sentence = counted(change.Changed, "1 key", "%d keys") + " of " + change.From.DisplayName() + counted(change.Changed, " is", " are") + " revoked."
	}
	return h.done(c, returnOr(c, views.KeyOwnersPath), sentence)
}

func (h *handler) transferAllPage(c echo.Context) error {
	return h.showTransferAll(c, http.StatusOK, nil)
}

func (h *handler) showTransferAll(c echo.Context, status int, problems input.Problems) error {
	model, err := h.ownedKeys(c)
	if err != nil {
		return err
	}
	if model.People, err = h.keyring.KeyHolders(c.Request().Context(), actorOf(c)); err != nil {
		return err
	}
	model.OwnerID, model.Problems = c.FormValue("ownerId"), problems
	return h.render(c, status, views.TransferAllKeys(model))
}

func (h *handler) transferAll(c echo.Context) error {
	owner := c.FormValue("ownerId")
	if owner == "" {
		return h.showTransferAll(c, http.StatusUnprocessableEntity, input.Problems{"ownerId": "Choose who the keys shall belong to."})
	}
	change, err := h.keyring.TransferAllKeys(c.Request().Context(), actorOf(c), c.Param("id"), owner)
	var nobody keyring.MissingError
	switch {
	case input.ProblemsIn(err) != nil:
		return h.showTransferAll(c, http.StatusUnprocessableEntity, input.ProblemsIn(err))
	case errors.As(err, &nobody):
		return h.showTransferAll(c, h.meaning(err).Status, input.Problems{"ownerId": "Nobody here may own keys by this name any more. Choose somebody else."})
	case err != nil:
		return err
	}
	from, to := change.From.DisplayName(), change.To.DisplayName()
	sentence := "No key of " + from + " was transferred."
	if change.Changed > 0 {
		sentence = counted(change.Changed, "1 key", "%d keys") + " of " + from + counted(change.Changed, " belongs", " belong") + " to " + to + " now."
	}
	if change.Status > 0 {
		sentence += counted(change.Status, " 1 stayed: it is rotated, and ends with its grace period.", " %d stayed: they are rotated, and end with their grace periods.")
	}
	if change.Entrust > 0 {
		sentence += counted(change.Entrust, " 1 stayed: its", " %d stayed: their") + " scopes would allow in the name of " + to + " what you may not do."
	}
	return h.done(c, returnOr(c, views.KeyOwnersPath), sentence)
}
