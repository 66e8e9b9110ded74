package handlers

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/views"
)

// home is the first page: the overview or, for whoever may see no keys, their own account.
func (h *handler) home(c echo.Context) error {
	actor := actorOf(c)
	if !actor.May(account.ReadKeys) {
		return h.goTo(c, views.AccountPath)
	}
	o, err := h.keyring.Overview(c.Request().Context(), actor)
	if err != nil {
		return err
	}
	model := views.Overview{
		Page: h.page(c), ByStatus: o.ByStatus, InGrace: o.InGrace, Expiring: o.Expiring, Unused: o.Unused, Orphaned: o.Orphaned, Breaking: o.Breaking,
		Usage: o.Usage, NoneYet: o.Keys() == 0, BaseURL: h.baseURL.String(),
	}
	for _, row := range o.Soon {
		model.Soon = append(model.Soon, keyView(row))
	}
	return h.render(c, http.StatusOK, views.OverviewPage(model))
}
