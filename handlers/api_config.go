package handlers

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
)

// respondOne answers with what is found.
func respondOne[F, T any](c echo.Context, find func(context.Context, account.Actor, string) (F, error), say func(F) T) error {
	return respondNamed(c, c.Param("id"), find, say)
}

// respondNamed does the same for what is called otherwise than by an id.
func respondNamed[F, T any](c echo.Context, name string, find func(context.Context, account.Actor, string) (F, error), say func(F) T) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	found, err := find(c.Request().Context(), actorOf(c), name)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, say(found))
}

// respondAll answers with a list that is short enough to come whole.
func respondAll[F, T any](c echo.Context, find func(context.Context, account.Actor) ([]F, error), say func(F) T) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	found, err := find(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	items := make([]T, len(found))
	for i, f := range found {
		items[i] = say(f)
	}
	return respond(c, http.StatusOK, map[string][]T{"items": items})
}
