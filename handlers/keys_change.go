package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func (h *handler) disableKeyPage(c echo.Context) error { return h.askChange(c, apikey.Disable) }
func (h *handler) enableKeyPage(c echo.Context) error  { return h.askChange(c, apikey.Enable) }
func (h *handler) revokeKeyPage(c echo.Context) error  { return h.askChange(c, apikey.Revoke) }
func (h *handler) deleteKeyPage(c echo.Context) error  { return h.askChange(c, apikey.Delete) }

func (h *handler) disableKey(c echo.Context) error { return h.changeStatus(c, apikey.Disable) }
func (h *handler) enableKey(c echo.Context) error  { return h.changeStatus(c, apikey.Enable) }
func (h *handler) revokeKey(c echo.Context) error  { return h.changeStatus(c, apikey.Revoke) }

func (h *handler) disableKeysPage(c echo.Context) error { return h.askChanges(c, apikey.Disable) }
func (h *handler) revokeKeysPage(c echo.Context) error  { return h.askChanges(c, apikey.Revoke) }
func (h *handler) disableKeys(c echo.Context) error     { return h.changeStatuses(c, apikey.Disable) }
func (h *handler) revokeKeys(c echo.Context) error      { return h.changeStatuses(c, apikey.Revoke) }

// past is what a change has made of a key, in a sentence.
var past = map[apikey.Change]string{
	apikey.Disable: "disabled",
	apikey.Enable:  "enabled",
	apikey.Revoke:  "revoked",
	apikey.Delete:  "deleted",
}

// askChange asks before a change to one key, and says what will break.
func (h *handler) askChange(c echo.Context, change apikey.Change) error {
	id := c.Param("id")
	keys, err := h.keysInUse(c, []string{id})
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return keyring.ErrNotFound
	}
	if !keys[0].StatusAt(h.keyring.Now()).Allows(change) {
		return h.conflict(c, id, returnPath(c), change)
	}
	return h.render(c, http.StatusOK, views.ConfirmChange(views.Confirmation{Page: h.page(c), Return: returnPath(c), Change: change, Keys: keys}))
}

func (h *handler) changeStatus(c echo.Context, change apikey.Change) error {
	id := c.Param("id")
	key, err := h.keyring.ChangeStatus(c.Request().Context(), actorOf(c), change, id)
	if errors.Is(err, apikey.ErrState) {
		return h.conflict(c, id, returnPath(c), change)
	}
	if err != nil {
		return err
	}
	return h.done(c, returnPath(c), fmt.Sprintf("%s is %s.", named(key), past[change]))
}

func (h *handler) deleteKey(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	if err := h.keyring.DeleteKey(c.Request().Context(), actorOf(c), key.ID); err != nil {
		return err
	}
	back := returnPath(c)
	if strings.HasPrefix(back, views.KeyPath(key.ID)) { // the page that it came from is gone
		back = views.KeysPath
	}
	return h.done(c, back, fmt.Sprintf("%s is deleted. The audit log keeps what it was.", named(key.Key)))
}

// mostAtOnce bounds how many keys one form changes: a whole page of the list.
var mostAtOnce = slices.Max(views.PageSizes)

// chosenKeys are the keys whose ids the list's checkboxes sent.
func chosenKeys(c echo.Context) ([]string, error) {
	values, err := c.FormParams()
	if err != nil {
		return nil, err
	}
	ids := slices.Compact(slices.Sorted(slices.Values(values["id"])))
	if len(ids) > mostAtOnce {
		return nil, errList
	}
	return ids, nil
}

func (h *handler) noneChosen(c echo.Context) error {
	return h.done(c, returnPath(c), "Choose one or more keys first.")
}

// askChanges asks before a change to several keys. Those that it can't change are listed apart.
func (h *handler) askChanges(c echo.Context, change apikey.Change) error {
	ids, err := chosenKeys(c)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return h.noneChosen(c)
	}
	keys, err := h.keysInUse(c, ids)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return keyring.ErrNotFound
	}
	model := views.Confirmation{Page: h.page(c), Return: returnPath(c), Change: change, Several: true}
	for _, key := range keys {
		if key.StatusAt(model.Now).Allows(change) {
			model.Keys = append(model.Keys, key)
		} else {
			model.Unchanged = append(model.Unchanged, key)
		}
	}
	return h.render(c, http.StatusOK, views.ConfirmChange(model))
}

func (h *handler) changeStatuses(c echo.Context, change apikey.Change) error {
	ids, err := chosenKeys(c)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return h.noneChosen(c)
	}
	count, err := h.keyring.ChangeStatuses(c.Request().Context(), actorOf(c), change, ids)
	if err != nil {
		return err
	}
	sentence := fmt.Sprintf("%d keys are %s.", count, past[change])
	if count == 1 {
		sentence = fmt.Sprintf("1 key is %s.", past[change])
	}
	if left := len(ids) - count; left > 0 {
		sentence += fmt.Sprintf(" %d stayed as they were.", left)
	}
	return h.done(c, returnPath(c), sentence)
}

// keysInUse are the keys with these ids, with what would break without them.
func (h *handler) keysInUse(c echo.Context, ids []string) ([]views.Key, error) {
	found, err := h.keyring.KeysInUse(c.Request().Context(), actorOf(c), ids)
	return usedKeys(found), err
}

func usedKeys(keys []keyring.KeyInUse) []views.Key {
	var out []views.Key
	for _, k := range keys {
		key := keyView(k.KeyRow)
		key.Requests24h = k.Requests24h
		out = append(out, key)
	}
	return out
}
