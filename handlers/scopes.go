package handlers

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

func scopeView(s keyring.CataloguedScope, holders keyring.Holders) views.CataloguedScope {
	return views.CataloguedScope{Scope: views.Scope{Name: s.Name, Description: s.Description}, Retired: s.Retired,
		Live: holders.Live, Other: holders.Other, Asked: account.AsksFor(s.Name)}
}

func (h *handler) scopesPage(c echo.Context) error {
	ctx, actor := c.Request().Context(), actorOf(c)
	list, err := h.keyring.Scopes(ctx, actor)
	if err != nil {
		return err
	}
	holders, err := h.keyring.ScopeHolders(ctx, actor)
	if err != nil {
		return err
	}
	model := views.ScopeList{Page: h.page(c), All: holders[apikey.All].Live}
	for _, s := range list {
		model.Scopes = append(model.Scopes, scopeView(s, holders[s.Name]))
	}
	return h.render(c, http.StatusOK, views.ScopesPage(model))
}

// scopeName is the name in the path. A path that escapes its colon, as programs do, comes from the router as it was sent.
func scopeName(c echo.Context) string {
	name := c.Param("name")
	if c.Request().URL.RawPath == "" {
		return name
	}
	if plain, err := url.PathUnescape(name); err == nil {
		return plain
	}
	return name
}

// scope is the scope that the path names, with the keys that hold it.
func (h *handler) scope(c echo.Context) (views.CataloguedScope, error) {
	ctx, actor := c.Request().Context(), actorOf(c)
	found, err := h.keyring.Scope(ctx, actor, scopeName(c))
	if err != nil {
		return views.CataloguedScope{}, err
	}
	holders, err := h.keyring.HoldersOf(ctx, actor, found.Name)
	return scopeView(found, holders), err
}

func (h *handler) newScopePage(c echo.Context) error {
	return h.render(c, http.StatusOK, views.CreateScope(h.scopeForm(c)))
}

func (h *handler) scopeForm(c echo.Context) views.ScopeForm {
	return views.ScopeForm{Page: h.page(c), Return: returnOr(c, views.ScopesPath), Name: c.FormValue("name"), Description: c.FormValue("description")}
}

func (h *handler) newScope(c echo.Context) error {
	form, ctx, actor := h.scopeForm(c), c.Request().Context(), actorOf(c)
	made, err := h.keyring.CreateScope(ctx, actor, form.Name, form.Description)
	switch {
	case errors.Is(err, keyring.ErrTaken):
		form.Problems = input.Problems{"name": "This scope is in the catalogue already."}
		if taken, err := h.keyring.Scope(ctx, actor, made.Name); err == nil && taken.Retired {
			form.Name, form.Retired = taken.Name, true
			form.Problems["name"] = "This scope is in the catalogue already, and retired."
		}
		return h.render(c, http.StatusUnprocessableEntity, views.CreateScope(form))
	case errors.Is(err, keyring.ErrFull):
		form.Problems = input.Problems{"": fmt.Sprintf("The catalogue holds %d scopes, which is as many as it can. Delete one that no key holds.", keyring.MaxCatalogue)}
		return h.render(c, h.meaning(err).Status, views.CreateScope(form))
	case input.ProblemsIn(err) != nil:
		form.Problems = input.ProblemsIn(err)
		return h.render(c, http.StatusUnprocessableEntity, views.CreateScope(form))
	case err != nil:
		return err
	}
	return h.done(c, form.Return, fmt.Sprintf("%s is in the catalogue.", made.Name))
}

func (h *handler) editScopePage(c echo.Context) error {
	scope, err := h.scope(c)
	if err != nil {
		return err
	}
	form := h.scopeForm(c)
	if form.Scope = scope; !c.QueryParams().Has("description") { // what was typed before a sign-in came between
		form.Description = scope.Description
	}
	return h.render(c, http.StatusOK, views.EditScope(form))
}

func (h *handler) editScope(c echo.Context) error {
	form := h.scopeForm(c)
	edited, err := h.keyring.EditScope(c.Request().Context(), actorOf(c), scopeName(c), keyring.ScopeEdit{Description: &form.Description})
	if problems := input.ProblemsIn(err); problems != nil {
		form.Problems = problems
		if form.Scope, err = h.scope(c); err != nil {
			return err
		}
		return h.render(c, http.StatusUnprocessableEntity, views.EditScope(form))
	}
	if err != nil {
		return err
	}
	return h.done(c, form.Return, fmt.Sprintf("%s is saved.", edited.Name))
}

func (h *handler) retireScopePage(c echo.Context) error {
	return h.showScope(c, http.StatusOK, views.RetireScope)
}
func (h *handler) restoreScopePage(c echo.Context) error {
	return h.showScope(c, http.StatusOK, views.RestoreScope)
}
func (h *handler) deleteScopePage(c echo.Context) error {
	return h.showScope(c, http.StatusOK, views.DeleteScope)
}

func (h *handler) showScope(c echo.Context, status int, question func(views.ScopeChange) templ.Component) error {
	scope, err := h.scope(c)
	if err != nil {
		return err
	}
	return h.render(c, status, question(views.ScopeChange{Page: h.page(c), Return: returnOr(c, views.ScopesPath), Scope: scope}))
}

func (h *handler) retireScope(c echo.Context) error {
	return h.setScope(c, true, "%s is retired. Keys that hold it keep it.")
}

func (h *handler) restoreScope(c echo.Context) error {
	return h.setScope(c, false, "%s can be granted again.")
}

func (h *handler) setScope(c echo.Context, retired bool, sentence string) error {
	changed, err := h.keyring.EditScope(c.Request().Context(), actorOf(c), scopeName(c), keyring.ScopeEdit{Retired: &retired})
	if err != nil {
		return err
	}
	return h.done(c, returnOr(c, views.ScopesPath), fmt.Sprintf(sentence, changed.Name))
}

func (h *handler) deleteScope(c echo.Context) error {
	name := scopeName(c)
	err := h.keyring.DeleteScope(c.Request().Context(), actorOf(c), name)
	if errors.Is(err, keyring.ErrScopeHeld) || errors.Is(err, keyring.ErrScopeAsked) {
		return h.showScope(c, http.StatusConflict, views.DeleteScope)
	}
	if err != nil {
		return err
	}
	return h.done(c, returnOr(c, views.ScopesPath), fmt.Sprintf("%s is deleted. The audit log keeps what it was.", name))
}
