package handlers

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// fixedProcess is the process whose keys a page is about, when its address names one; else the zero Place.
func (h *handler) fixedProcess(c echo.Context) (views.Place, error) {
	if c.Param("id") == "" {
		return views.Place{}, nil
	}
	process, err := h.keyring.KeyProcess(c.Request().Context(), actorOf(c), c.Param("id"))
	return processView(process, nil), err
}

// readKeyForm reads the form as it was typed; the query of a link can fill it in as well. A process in the address is
// no choice.
func (h *handler) readKeyForm(c echo.Context) (views.KeyForm, error) {
	process, err := h.fixedProcess(c)
	if err != nil {
		return views.KeyForm{}, err
	}
	values, err := c.FormParams()
	if err != nil {
		return views.KeyForm{}, err
	}
	home := views.KeysPath
	if process.ID != "" {
		home = views.ProcessKeysPath(process.ID)
		values = maps.Clone(values)
		values.Set("processId", process.ID)
		values.Del("workspaceId")
	}
	return views.KeyForm{
		Process: process, Return: returnOr(c, home), Nonce: values.Get("nonce"), Name: values.Get("name"),
		Expires: values.Get("expires"), ExpiresDate: values.Get("expiresDate"), Zone: values.Get("zone"),
		AllScopes: values.Get("allScopes") != "", ScopeNames: values["scopes"], Environment: values.Get("environment"),
		WorkspaceID: values.Get("workspaceId"), ProcessID: values.Get("processId"), ProfileID: values.Get("biasProfileId"),
		IPAllowlist: values.Get("ipAllowlist"),
	}, nil
}

func keyDraft(form views.KeyForm) keyring.KeyDraft {
	expires := form.Expires
	if expires == "date" {
		expires = onDay(form.ExpiresDate, form.Zone)
		if form.ExpiresDate == "" {
			expires = "?" // a date was promised: the policy's default would not be what was asked for
		}
	}
	return keyring.KeyDraft{
		Name: form.Name, Scopes: form.ScopeNames, AllScopes: form.AllScopes, Environment: form.Environment,
		WorkspaceID: form.WorkspaceID, ProcessID: form.ProcessID, ProfileID: form.ProfileID,
		IPAllowlist: lines(form.IPAllowlist), Expires: expires,
	}
}

// onDay is a day as apikey.ParseExpiry reads it.
func onDay(date, zone string) string { return strings.TrimSpace(date + " " + zone) }

// lines splits what stands on lines of its own, or between commas.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' })
}

// fillKeyForm fills in what can be chosen, and a new token unless the form has one of this session.
func (h *handler) fillKeyForm(c echo.Context, form *views.KeyForm) error {
	catalogue, err := h.keyring.Catalogue(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	form.Page, form.Policy = h.page(c), catalogue.Policy
	for _, s := range catalogue.Scopes {
		form.Catalogue = append(form.Catalogue, views.Scope{Name: s.Name, Description: s.Description})
	}
	form.Workspaces = choices(takingKeys(catalogue.Workspaces), nil)
	form.Processes = choices(takingKeys(catalogue.Processes), catalogue.Workspaces)
	form.Profiles = choices(catalogue.Profiles, nil)
	session := actorOf(c).SessionID
	if _, ours := h.tokens.requestKey(form.Nonce, session); !ours {
		form.Nonce = h.tokens.issue(session)
	}
	return nil
}

func (h *handler) newKeyPage(c echo.Context) error {
	form, err := h.readKeyForm(c)
	if err != nil {
		return err
	}
	if form.Process.Archived() {
		form.Problems = input.Problems{"": errArchived.Error()}
		return h.showKeyForm(c, http.StatusConflict, form)
	}
	return h.showKeyForm(c, http.StatusOK, form)
}

// errOldForm is beside the form as a whole, when it was shown to an earlier session.
const errOldForm input.Sentence = "This form was opened before you signed in, so nothing was created yet. Check it and create the key again."

// errArchived is beside the form as a whole, when its process can't be chosen.
const errArchived input.Sentence = "This process is archived and takes no new keys."

func (h *handler) newKey(c echo.Context) error {
	form, err := h.readKeyForm(c)
	if err != nil {
		return err
	}
	draft := keyDraft(form)
	requestKey, ours := h.tokens.requestKey(form.Nonce, actorOf(c).SessionID)
	if !ours {
		return h.refuseKeyForm(c, form, input.Problems{"": errOldForm.Error()})
	}
	draft.RequestKey = requestKey
	key, plaintext, err := h.keyring.IssueKey(c.Request().Context(), actorOf(c), draft)
	var repeated *keyring.RepeatedError
	switch {
	case errors.As(err, &repeated):
		return h.alreadyCreated(c, form, repeated)
	case errors.Is(err, keyring.ErrGrantAll):
		return h.refuseKeyForm(c, form, input.Problems{"scopes": "Only an owner may grant the scope *. Choose scopes by name."})
	case input.ProblemsIn(err) != nil:
		return h.refuseKeyForm(c, form, input.ProblemsIn(err))
	case errors.Is(err, keyring.ErrNotFound):
		form.Problems = input.Problems{"": "The workspace, process or bias profile that was chosen is not there. Choose again."}
		return h.showKeyForm(c, h.meaning(err).Status, form)
	case err != nil:
		return err
	}
	return h.showOnce(c, views.IssuedKey{Return: form.Return, Key: views.Key{Key: key}, Plaintext: plaintext})
}

// showOnce answers with the page that holds a plaintext: the only one that ever does. The key is committed by now, so
// nothing on this way asks the database for more, lest the plaintext be lost.
func (h *handler) showOnce(c echo.Context, model views.IssuedKey) error {
	model.Page, model.BaseURL = h.barePage(c), h.baseURL.String()
	return h.draw(c, http.StatusCreated, views.ShowOnce(model))
}

func (h *handler) refuseKeyForm(c echo.Context, form views.KeyForm, problems input.Problems) error {
	form.Problems = problems
	if _, archived := problems["processId"]; archived && form.Process.ID != "" {
		form.Problems = input.Problems{"": errArchived.Error()}
	}
	return h.showKeyForm(c, http.StatusUnprocessableEntity, form)
}

func (h *handler) showKeyForm(c echo.Context, status int, form views.KeyForm) error {
	if err := h.fillKeyForm(c, &form); err != nil {
		return err
	}
	return h.render(c, status, views.CreateKey(form))
}

// alreadyCreated answers a form that was sent twice.
func (h *handler) alreadyCreated(c echo.Context, form views.KeyForm, repeated *keyring.RepeatedError) error {
	row, err := h.keyring.Key(c.Request().Context(), actorOf(c), repeated.KeyID)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusConflict, views.AlreadyCreated(views.CreatedBefore{Page: h.page(c), Return: form.Return, Key: keyView(row)}))
}

// editForm is the form as the key's stored state fills it.
func editForm(key views.Key) views.KeyEdit {
	return views.KeyEdit{
		Key: key, Version: key.Version, Name: key.Name, Status: string(key.Stored), ProfileID: key.ProfileID,
		IPAllowlist: views.AllowlistText(key.Key), ExpiresDate: views.ExpiryDate(key.ExpiresAt, ""),
	}
}

func (h *handler) showEditForm(c echo.Context, status int, form views.KeyEdit) error {
	catalogue, err := h.keyring.Catalogue(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	form.Page, form.Return, form.Policy = h.page(c), returnPath(c), catalogue.Policy
	form.Profiles = choices(catalogue.Profiles, nil)
	return h.render(c, status, views.EditKey(form))
}

func (h *handler) editKeyPage(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	if !key.StatusAt(h.keyring.Now()).Allows(apikey.Edit) {
		return h.conflict(c, key.ID, returnPath(c), apikey.Edit)
	}
	form := editForm(key)
	if c.QueryParam("version") != "" { // what was typed before a sign-in came between
		readEditForm(c, &form)
	}
	return h.showEditForm(c, http.StatusOK, form)
}

// readVersion is the version that a form began with. One that does not say is out of date: nothing has the version -1.
func readVersion(c echo.Context) int {
	if version, err := strconv.Atoi(c.FormValue("version")); err == nil && version > 0 {
		return version
	}
	return -1
}

func readEditForm(c echo.Context, form *views.KeyEdit) {
	form.Version = readVersion(c)
	form.Name, form.Status, form.ProfileID = c.FormValue("name"), c.FormValue("status"), c.FormValue("biasProfileId")
	form.IPAllowlist, form.ExpiresDate, form.Zone = c.FormValue("ipAllowlist"), c.FormValue("expiresDate"), c.FormValue("zone")
}

func (h *handler) editKey(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	form := editForm(key)
	readEditForm(c, &form)
	status, allowlist := apikey.Status(form.Status), lines(form.IPAllowlist)
	edit := keyring.KeyEdit{Version: form.Version, Name: &form.Name, Status: &status, ProfileID: &form.ProfileID, IPAllowlist: &allowlist}
	if form.ExpiresDate != views.ExpiryDate(key.ExpiresAt, form.Zone) { // an unchanged date leaves the moment as it is
		expires := onDay(form.ExpiresDate, form.Zone)
		edit.Expires = &expires
		if form.ExpiresDate == "" {
			form.Problems = input.Problems{"expiresAt": "Choose the day on which the key ends."}
			return h.showEditForm(c, http.StatusUnprocessableEntity, form)
		}
	}
	edited, err := h.keyring.EditKey(c.Request().Context(), actorOf(c), key.ID, edit)
	switch {
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		return h.showEditForm(c, http.StatusUnprocessableEntity, form)
	case errors.Is(err, keyring.ErrNotFound):
		form.Problems = input.Problems{"biasProfileId": "This bias profile is not there any more. Choose again."}
		return h.showEditForm(c, h.meaning(err).Status, form)
	case errors.Is(err, apikey.ErrState):
		return h.conflict(c, key.ID, returnPath(c), apikey.Edit)
	case errors.Is(err, keyring.ErrStale):
		return h.staleEdit(c, form)
	case err != nil:
		return err
	}
	return h.done(c, returnPath(c), fmt.Sprintf("%s is saved.", named(edited.Key)))
}

// staleEdit answers an edit of a key that somebody else changed meanwhile: with the fresh key, who changed what, and
// the form as it was typed, which now would replace that.
func (h *handler) staleEdit(c echo.Context, form views.KeyEdit) error {
	fresh, err := h.key(c)
	if err != nil {
		return err
	}
	past, err := h.keyring.KeyHistory(c.Request().Context(), actorOf(c), fresh.ID, 1, 0)
	if err != nil {
		return err
	}
	form.Key, form.Version, form.Problems = fresh, fresh.Version, meanwhile("this key", past.Trail[:min(1, len(past.Trail))], past.Names)
	return h.showEditForm(c, http.StatusConflict, form)
}

func (h *handler) rotateKeyPage(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	if !key.StatusAt(h.keyring.Now()).Allows(apikey.Rotate) {
		return h.conflict(c, key.ID, returnPath(c), apikey.Rotate)
	}
	switch actor := actorOf(c); {
	case !actor.MayGrant(key.Scopes):
		return keyring.ErrGrantAll
	case !actor.MayEntrust(key.Scopes, key.Owner.Role.AtMost(account.Role(key.RoleLimit))):
		return keyring.ErrEntrust
	}
	return h.showRotateForm(c, http.StatusOK, key.ID, nil)
}

func (h *handler) showRotateForm(c echo.Context, status int, id string, problems input.Problems) error {
	keys, err := h.keysInUse(c, []string{id})
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return keyring.ErrNotFound
	}
	catalogue, err := h.keyring.Catalogue(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	return h.render(c, status, views.RotateKey(views.KeyRotation{
		Page: h.page(c), Return: returnPath(c), Key: keys[0], GraceSeconds: c.FormValue("graceSeconds"), Problems: problems, Policy: catalogue.Policy,
	}))
}

func (h *handler) rotateKey(c echo.Context) error {
	id := c.Param("id")
	rotation, err := h.keyring.RotateKey(c.Request().Context(), actorOf(c), id, readGrace(c.FormValue("graceSeconds")), "")
	switch {
	case input.ProblemsIn(err) != nil:
		return h.showRotateForm(c, http.StatusUnprocessableEntity, id, input.ProblemsIn(err))
	case errors.Is(err, apikey.ErrState):
		return h.conflict(c, id, returnPath(c), apikey.Rotate)
	case err != nil:
		return err
	}
	return h.showOnce(c, views.IssuedKey{
		Return: returnPath(c), Key: views.Key{Key: rotation.New}, Plaintext: rotation.Plaintext, Old: &views.Key{Key: rotation.Old},
	})
}

// readGrace reads seconds; what is no number of seconds becomes one that no policy allows.
func readGrace(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return -1
	}
	return time.Duration(seconds) * time.Second
}

func (h *handler) transferKeyPage(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	if !key.StatusAt(h.keyring.Now()).Allows(apikey.Transfer) {
		return h.conflict(c, key.ID, returnPath(c), apikey.Transfer)
	}
	return h.showTransferForm(c, http.StatusOK, key, nil)
}

func (h *handler) showTransferForm(c echo.Context, status int, key views.Key, problems input.Problems) error {
	people, err := h.keyring.KeyHolders(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	return h.render(c, status, views.TransferKey(views.KeyTransfer{
		Page: h.page(c), Return: returnPath(c), Key: key, OwnerID: c.FormValue("ownerId"), People: people, Problems: problems,
	}))
}

func (h *handler) transferKey(c echo.Context) error {
	key, err := h.key(c)
	if err != nil {
		return err
	}
	owner := c.FormValue("ownerId")
	if owner == "" {
		return h.showTransferForm(c, http.StatusUnprocessableEntity, key, input.Problems{"ownerId": "Choose who the key shall belong to."})
	}
	_, err = h.keyring.TransferKey(c.Request().Context(), actorOf(c), key.ID, owner)
	switch {
	case errors.Is(err, apikey.ErrState):
		return h.conflict(c, key.ID, returnPath(c), apikey.Transfer)
	case errors.Is(err, keyring.ErrNotFound):
		return h.showTransferForm(c, h.meaning(err).Status, key, input.Problems{"ownerId": "Nobody here may own keys by this name any more. Choose somebody else."})
	case err != nil:
		return err
	}
	row, err := h.keyring.Key(c.Request().Context(), actorOf(c), key.ID)
	if err != nil {
		return err
	}
	return h.done(c, returnPath(c), fmt.Sprintf("%s belongs to %s now.", named(row.Key), row.Owner.Email))
}
