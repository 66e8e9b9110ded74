package handlers

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func (h *handler) keyPolicyPage(c echo.Context) error {
	policy, err := h.keyring.Policy(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	breach, err := h.keyring.Breach(c.Request().Context(), actorOf(c), policy)
	if err != nil {
		return err
	}
	return h.render(c, http.StatusOK, views.PolicyPage(views.PolicyView{Page: h.page(c), Policy: policy, Broken: breach.Broken, Unused: breach.Unused}))
}

func (h *handler) editKeyPolicyPage(c echo.Context) error {
	policy, err := h.keyring.Policy(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	form := views.FillPolicyForm(policy)
	if c.QueryParam("version") != "" { // what was typed before
		form = readPolicyForm(c)
	}
	return h.showPolicyForm(c, http.StatusOK, form)
}

func readPolicyForm(c echo.Context) views.PolicyForm {
	return views.PolicyForm{
		Version: readVersion(c), LongestDays: c.FormValue("longestDays"), DefaultDays: c.FormValue("defaultDays"), GraceSeconds: c.FormValue("graceSeconds"),
		UnusedDays: c.FormValue("unusedDays"), WidestIPv4: c.FormValue("widestIPv4"), WidestIPv6: c.FormValue("widestIPv6"), RequireAllowlist: c.FormValue("requireAllowlist") != "", RequireWorkspace: c.FormValue("requireWorkspace") != "",
		DisableUnused: c.FormValue("disableUnused") != "", DisableDeparted: c.FormValue("disableDeparted") != "",
	}
}

func (h *handler) showPolicyForm(c echo.Context, status int, form views.PolicyForm) error {
	form.Page, form.Return = h.page(c), returnOr(c, views.PolicyPath)
	return h.render(c, status, views.EditPolicy(form))
}

func (h *handler) editKeyPolicy(c echo.Context) error {
	form := readPolicyForm(c)
	next, asked, err := h.keyring.ChangePolicy(c.Request().Context(), actorOf(c), keyring.PolicyDraft{
		Version: form.Version, LongestDays: form.LongestDays, DefaultDays: form.DefaultDays, GraceSeconds: form.GraceSeconds, UnusedDays: form.UnusedDays,
		WidestIPv4: form.WidestIPv4, WidestIPv6: form.WidestIPv6,
		RequireAllowlist: form.RequireAllowlist, RequireWorkspace: form.RequireWorkspace, DisableUnused: form.DisableUnused,
		DisableDeparted: form.DisableDeparted, Confirmed: c.FormValue("confirm") != "",
	})
	switch {
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		return h.showPolicyForm(c, http.StatusUnprocessableEntity, form)
	case errors.Is(err, keyring.ErrStale):
		return h.stalePolicy(c, form)
	case err != nil:
		return err
	case asked.Concerns():
		form.Page, form.Return = h.page(c), returnOr(c, views.PolicyPath)
		model := views.PolicyConfirmation{PolicyForm: form, Policy: next, Broken: asked.Broken, BrokenAnew: asked.BrokenAnew,
			Unused: asked.Unused, UnusedAnew: asked.UnusedAnew}
		for _, row := range asked.Breaking {
			model.Breaking = append(model.Breaking, keyView(row))
		}
		for _, row := range asked.Disabled {
			model.Disabled = append(model.Disabled, keyView(row))
		}
		return h.render(c, http.StatusOK, views.ConfirmPolicy(model))
	}
	return h.done(c, returnOr(c, views.PolicyPath), "The key policy is saved.")
}

// mostMissed is how many changes a late form is told of, the latest.
const mostMissed = 5

// stalePolicy answers a form that somebody else was faster than: with what they did, and the form as it was typed, which
// would now replace that.
func (h *handler) stalePolicy(c echo.Context, form views.PolicyForm) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	policy, err := h.keyring.Policy(ctx, actor)
	if err != nil {
		return err
	}
	missed := min(max(1, policy.Version-form.Version), mostMissed) // each change counts the version up
	past, err := h.keyring.Events(ctx, actor, audit.Filter{Action: account.ChangePolicy}, "", missed)
	if err != nil {
		return err
	}
	form.Version, form.Problems = policy.Version, meanwhile("the policy", past.Events, nil)
	return h.showPolicyForm(c, http.StatusConflict, form)
}
