package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func (h *handler) profilesPage(c echo.Context) error {
	rows, err := h.keyring.ProfileRows(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	model := views.ProfileList{Page: h.page(c)}
	for _, row := range rows {
		model.Profiles = append(model.Profiles, views.Profile{Profile: row.Profile, Keys: min(row.Keys, keyring.MostCounted), Live: row.Live,
			ManyKeys: row.Keys > keyring.MostCounted, ChangedAt: row.ChangedAt, ChangedBy: row.ChangedBy})
	}
	return h.render(c, http.StatusOK, views.ProfilesPage(model))
}

// carriedShown is how many of the keys that carry a profile stand on its page.
const carriedShown = 8

func (h *handler) profilePage(c echo.Context) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	profile, err := h.profile(c)
	if err != nil {
		return err
	}
	model := views.ProfileDetail{Page: h.page(c), Profile: profile}
	if model.Answer, err = verificationSays(profile.Profile); err != nil {
		return err
	}
	past, err := h.keyring.ProfilePast(ctx, actor, profile.ID, 1)
	if err != nil {
		return err
	}
	if len(past) > 0 {
		model.Profile.ChangedAt, model.Profile.ChangedBy = past[0].At, past[0].Email
	}
	keys, err := h.keyring.Keys(ctx, actor, apikey.Filter{ProfileID: profile.ID}, apikey.Newest, "", carriedShown)
	if err != nil {
		return err
	}
	for _, row := range keys.Rows {
		model.Carried = append(model.Carried, keyView(row))
	}
	return h.render(c, http.StatusOK, views.ProfilePage(model))
}

// profile is the bias profile that the path names, with the keys that carry it counted.
func (h *handler) profile(c echo.Context) (views.Profile, error) {
	ctx, actor := c.Request().Context(), actorOf(c)
	profile, err := h.keyring.Profile(ctx, actor, c.Param("id"))
	if err != nil {
		return views.Profile{}, err
	}
	carriers, err := h.keyring.ProfileCarriers(ctx, actor, profile.ID)
	return views.Profile{Profile: profile, Keys: carriers.Keys, Live: carriers.Live}, err
}

// verificationSays is what programs read of a profile, laid out for people: a line for each category.
func verificationSays(p apikey.Profile) (string, error) {
	said := *biasProfile(&p)
	words, err := quoted(said.ID, said.Name, said.Description)
	if err != nil {
		return "", err
	}
	out := fmt.Sprintf("{\n  \"id\": %s,\n  \"name\": %s,\n  \"description\": %s,\n  \"defaultThreshold\": %d,\n  \"categories\": [",
		words[0], words[1], words[2], said.DefaultThreshold)
	for i, c := range said.Categories {
		words, err := quoted(c.Name, c.Action)
		if err != nil {
			return "", err
		}
		if i > 0 {
			out += ","
		}
		out += fmt.Sprintf("\n    {\"name\": %s, \"enabled\": %t, \"threshold\": %d, \"action\": %s}", words[0], c.Enabled, c.Threshold, words[1])
	}
	if len(said.Categories) > 0 {
		out += "\n  "
	}
	return out + "]\n}", nil
}

func quoted(texts ...string) ([]string, error) {
	for i, text := range texts {
		quoted, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		texts[i] = string(quoted)
	}
	return texts, nil
}

// mostRows bounds how many categories a form is read for: more than a profile may have, so that one too many is told.
const mostRows = 2 * apikey.MaxCategories

// readProfileForm reads the form as it was typed; the query of a link can fill it in as well. A row without a name is no
// category.
func readProfileForm(c echo.Context, form *views.ProfileForm) error {
	values, err := c.FormParams()
	if err != nil {
		return err
	}
	form.Name, form.Description, form.DefaultThreshold = values.Get("name"), values.Get("description"), values.Get("defaultThreshold")
	form.Categories = nil
	for i := range mostRows {
		row := "c" + strconv.Itoa(i)
		if strings.TrimSpace(values.Get(row+".name")) == "" {
			continue
		}
		form.Categories = append(form.Categories, views.CategoryForm{Name: values.Get(row + ".name"), Enabled: values.Get(row+".enabled") != "",
			Threshold: values.Get(row + ".threshold"), Action: values.Get(row + ".action")})
	}
	return nil
}

// fillProfileForm fills a form with a profile's stored state.
func fillProfileForm(form *views.ProfileForm, p apikey.Profile) {
	form.Version, form.Name, form.Description, form.DefaultThreshold = p.Version, p.Name, p.Description, strconv.Itoa(p.DefaultThreshold)
	for _, c := range p.ByCustom() {
		form.Categories = append(form.Categories, views.CategoryForm{Name: c.Name, Enabled: c.Enabled, Threshold: strconv.Itoa(c.Threshold), Action: string(c.Action)})
	}
}

// blankProfile is what a form begins with: every common category, at the default threshold, flagged.
func blankProfile() apikey.Profile {
	p := apikey.Profile{DefaultThreshold: apikey.DefaultThreshold}
	for _, name := range apikey.Categories {
		p.Categories = append(p.Categories, apikey.Category{Name: name, Enabled: true, Threshold: apikey.DefaultThreshold, Action: apikey.Flag})
	}
	return p
}

func categoriesOf(form views.ProfileForm) []keyring.CategoryDraft {
	out := make([]keyring.CategoryDraft, len(form.Categories))
	for i, c := range form.Categories {
		out[i] = keyring.CategoryDraft{Name: c.Name, Enabled: c.Enabled, Threshold: strings.TrimSpace(c.Threshold), Action: c.Action}
	}
	return out
}

func (h *handler) newProfilePage(c echo.Context) error {
	form := views.ProfileForm{}
	query := c.QueryParams()
	switch {
	case query.Has("name"): // what was typed before a sign-in came between
		if err := readProfileForm(c, &form); err != nil {
			return err
		}
	case query.Has("from"):
		from, err := h.keyring.Profile(c.Request().Context(), actorOf(c), query.Get("from"))
		if err != nil {
			return err
		}
		fillProfileForm(&form, from)
		form.Name = "Copy of " + from.Name
	default:
		fillProfileForm(&form, blankProfile())
	}
	return h.showProfileForm(c, http.StatusOK, form)
}

func (h *handler) showProfileForm(c echo.Context, status int, form views.ProfileForm) error {
	form.Page, form.Return = h.page(c), returnOr(c, views.ProfilesPath)
	return h.render(c, status, views.ProfileFormPage(form))
}

func (h *handler) newProfile(c echo.Context) error {
	form := views.ProfileForm{}
	if err := readProfileForm(c, &form); err != nil {
		return err
	}
	if form.DefaultThreshold == "" { // programs may leave it out; whoever clears the field is asked
		form.DefaultThreshold = " "
	}
	made, err := h.keyring.CreateProfile(c.Request().Context(), actorOf(c), keyring.ProfileDraft{Name: form.Name, Description: form.Description,
		DefaultThreshold: form.DefaultThreshold, Categories: categoriesOf(form)})
	if err != nil {
		return h.refuseProfileForm(c, form, err)
	}
	return h.done(c, views.ProfilePath(made.ID), fmt.Sprintf("“%s” is created. Choose it when you create or edit a key.", made.Name))
}

// refuseProfileForm shows a form again with what kept it from being done, or returns an error that is none of the form's.
func (h *handler) refuseProfileForm(c echo.Context, form views.ProfileForm, err error) error {
	status := http.StatusUnprocessableEntity
	switch {
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
	case errors.Is(err, keyring.ErrTaken):
		form.Problems = input.Problems{"name": "Another profile has this name, perhaps in another case. Choose a different one."}
	case errors.Is(err, keyring.ErrFull):
		status = h.meaning(err).Status
		form.Problems = input.Problems{"": fmt.Sprintf("Your organisation has %d bias profiles, and can’t have more. Delete one that no key needs.", apikey.MaxProfiles)}
	default:
		return err
	}
	return h.showProfileForm(c, status, form)
}

func (h *handler) editProfilePage(c echo.Context) error {
	profile, err := h.keyring.Profile(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	form := views.ProfileForm{ID: profile.ID}
	fillProfileForm(&form, profile)
	if c.QueryParam("version") != "" { // what was typed before a sign-in came between
		form.Version = readVersion(c)
		if err := readProfileForm(c, &form); err != nil {
			return err
		}
	}
	return h.showProfileForm(c, http.StatusOK, form)
}

func (h *handler) editProfile(c echo.Context) error {
	profile, err := h.keyring.Profile(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	form := views.ProfileForm{ID: profile.ID, Version: readVersion(c)}
	if err := readProfileForm(c, &form); err != nil {
		return err
	}
	categories := categoriesOf(form)
	edited, err := h.keyring.EditProfile(c.Request().Context(), actorOf(c), profile.ID, keyring.ProfileEdit{Version: form.Version,
		Name: &form.Name, Description: &form.Description, DefaultThreshold: &form.DefaultThreshold, Categories: &categories})
	if errors.Is(err, keyring.ErrStale) {
		return h.staleProfile(c, form)
	}
	if err != nil {
		return h.refuseProfileForm(c, form, err)
	}
	return h.done(c, returnOr(c, views.ProfilePath(edited.ID)), fmt.Sprintf("“%s” is saved.", edited.Name))
}

// staleProfile answers an edit of a profile that somebody else changed meanwhile: with who changed what, and the form as it
// was typed, which now would replace that.
func (h *handler) staleProfile(c echo.Context, form views.ProfileForm) error {
	fresh, err := h.keyring.Profile(c.Request().Context(), actorOf(c), form.ID)
	if err != nil {
		return err
	}
	past, err := h.keyring.ProfilePast(c.Request().Context(), actorOf(c), form.ID, 1)
	if err != nil {
		return err
	}
	form.Version, form.Problems = fresh.Version, meanwhile("this profile", past, nil)
	return h.showProfileForm(c, http.StatusConflict, form)
}

func (h *handler) deleteProfilePage(c echo.Context) error {
	return h.askToDeleteProfile(c, http.StatusOK, nil)
}

func (h *handler) askToDeleteProfile(c echo.Context, status int, problems input.Problems) error {
	profile, err := h.profile(c)
	if err != nil {
		return err
	}
	model := views.ProfileDeletion{Page: h.page(c), Return: returnOr(c, views.ProfilesPath), Profile: profile, MoveTo: c.FormValue("moveTo"), Problems: problems}
	profiles, err := h.keyring.Profiles(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	for _, other := range profiles {
		if other.ID != profile.ID {
			model.Others = append(model.Others, views.Option{Value: other.ID, Label: other.Name})
		}
	}
	return h.render(c, status, views.DeleteProfile(model))
}

func (h *handler) deleteProfile(c echo.Context) error {
	profile, err := h.keyring.Profile(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	moved, err := h.keyring.DeleteProfile(c.Request().Context(), actorOf(c), profile.ID, c.FormValue("moveTo"))
	var inUse *keyring.ProfileInUseError
	var missing keyring.MissingError
	switch {
	case errors.As(err, &inUse) && !c.Request().PostForm.Has("moveTo"): // the form did not know of any
		return h.askToDeleteProfile(c, http.StatusConflict, input.Problems{"moveTo": "Keys carry this profile now. Choose what they carry instead."})
	case errors.As(err, &inUse):
		return h.askToDeleteProfile(c, http.StatusUnprocessableEntity, input.Problems{"moveTo": "Choose what the keys carry instead, or “No bias profile”."})
	case errors.As(err, &missing):
		return h.askToDeleteProfile(c, h.meaning(err).Status, input.Problems{"moveTo": "This profile is not there any more. Choose again."})
	case input.ProblemsIn(err) != nil:
		return h.askToDeleteProfile(c, http.StatusUnprocessableEntity, input.ProblemsIn(err))
	case err != nil:
		return err
	}
	sentence := fmt.Sprintf("“%s” is deleted.", profile.Name)
	switch {
	case moved == 1:
		sentence += " 1 key was moved."
	case moved > 1:
		sentence += fmt.Sprintf(" %d keys were moved.", moved)
	}
	back := returnOr(c, views.ProfilesPath)
	if at, err := url.Parse(back); err != nil || strings.HasPrefix(at.Path, views.ProfilePath(profile.ID)) { // the page that it came from is gone
		back = views.ProfilesPath
	}
	return h.done(c, back, sentence)
}
