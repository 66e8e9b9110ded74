package handlers

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

func biasProfile(p *apikey.Profile) *BiasProfile {
	if p == nil {
		return nil
	}
	out := &BiasProfile{ID: p.ID, Name: p.Name, Description: p.Description, DefaultThreshold: p.DefaultThreshold, Categories: []BiasCategory{}}
	for _, c := range p.Categories {
		out.Categories = append(out.Categories, BiasCategory{Name: c.Name, Enabled: c.Enabled, Threshold: c.Threshold, Action: string(c.Action)})
	}
	return out
}

func (h *handler) apiListProfiles(c echo.Context) error {
	return respondAll(c, h.keyring.Profiles, func(p apikey.Profile) BiasProfile { return *biasProfile(&p) })
}

func (h *handler) apiGetProfile(c echo.Context) error {
	return respondOne(c, h.keyring.Profile, func(p apikey.Profile) BiasProfile { return *biasProfile(&p) })
}

func (h *handler) apiCreateProfile(c echo.Context) error {
	request, err := readJSON[CreateBiasProfileRequest](c)
	if err != nil {
		return err
	}
	made, err := h.keyring.CreateProfile(c.Request().Context(), actorOf(c), keyring.ProfileDraft{
		Name: request.Name, Description: orEmpty(request.Description), DefaultThreshold: orEmpty(asText(request.DefaultThreshold)),
		Categories: categoryDrafts(request.Categories),
	})
	if err != nil {
		return err
	}
	return respond(c, http.StatusCreated, biasProfile(&made))
}

func (h *handler) apiUpdateProfile(c echo.Context) error {
	request, err := readJSON[UpdateBiasProfileRequest](c)
	if err != nil {
		return err
	}
	edit := keyring.ProfileEdit{Name: request.Name, Description: request.Description, DefaultThreshold: asText(request.DefaultThreshold)}
	if request.Categories != nil {
		categories := categoryDrafts(request.Categories)
		edit.Categories = &categories
	}
	if edit == (keyring.ProfileEdit{}) {
		return refuse(http.StatusBadRequest, "Send at least one field to change.")
	}
	changed, err := h.keyring.EditProfile(c.Request().Context(), actorOf(c), c.Param("id"), edit)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, biasProfile(&changed))
}

func categoryDrafts(sent []BiasCategoryRequest) []keyring.CategoryDraft {
	out := make([]keyring.CategoryDraft, len(sent))
	for i, c := range sent {
		out[i] = keyring.CategoryDraft{Name: c.Name, Enabled: c.Enabled == nil || *c.Enabled, Threshold: orEmpty(asText(c.Threshold)), Action: orEmpty(c.Action)}
	}
	return out
}

// asText is a number as somebody would type it; nil for one that was not sent. The parser of what is typed judges both.
func asText(number *float64) *string {
	if number == nil {
		return nil
	}
	text := strconv.FormatFloat(*number+0, 'f', -1, 64) // + 0, for JSON knows a negative zero
	return &text
}

func (h *handler) apiDeleteProfile(c echo.Context) error {
	if err := knownQuery(c, "moveTo"); err != nil {
		return err
	}
	_, err := h.keyring.DeleteProfile(c.Request().Context(), actorOf(c), c.Param("id"), c.QueryParam("moveTo"))
	if err != nil {
		return err
	}
	return c.NoContent(http.StatusNoContent)
}
