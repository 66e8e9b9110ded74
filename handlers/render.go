package handlers

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/static"
	"github.com/moonlatch/moonlatch/views"
)

// render answers with a page, or with the one fragment of it that htmx asks for: a fragment's name is its DOM id and
// its htmx target. A page without that fragment (an error) is shown in the dialog. Only this file asks whether htmx
// called.
func (h *handler) render(c echo.Context, status int, page templ.Component) error {
	if err := h.saveCookie(c); err != nil {
		return err
	}
	return h.draw(c, status, page)
}

func (h *handler) draw(c echo.Context, status int, page templ.Component) error {
	var body bytes.Buffer
	// What the database took too long for is still answered with a page, and templ would not draw one in a context that
	// has ended.
	ctx, header := context.WithoutCancel(c.Request().Context()), c.Response().Header()
	if name := wantedFragment(c.Request()); name != "" {
		if err := templ.RenderFragments(ctx, &body, page, name); err != nil {
			return err
		}
		if body.Len() == 0 {
			header.Set("HX-Retarget", "#dialog")
			header.Set("HX-Reswap", "outerHTML")
			if err := templ.RenderFragments(ctx, &body, page, "dialog"); err != nil {
				return err
			}
		}
	} else if err := page.Render(ctx, &body); err != nil {
		return err
	}
	header.Set("Cache-Control", "no-store")
	header.Add("Vary", "HX-Request, HX-Target")
	return c.HTMLBlob(status, body.Bytes())
}

// fragments are the parts of pages that can be asked for alone: the list of keys, any other list, what a dialog shows.
var fragments = []string{"keys", "list", "dialog"}

// wantedFragment is the id in htmx's target, which it sends as tag#id; "" for a whole page.
func wantedFragment(r *http.Request) string {
	if r.Header.Get("HX-Request") != "true" || r.Header.Get("HX-History-Restore-Request") != "" {
		return ""
	}
	_, id, _ := strings.Cut(r.Header.Get("HX-Target"), "#")
	if !slices.Contains(fragments, id) {
		return ""
	}
	return id
}

// startOver is where somebody goes on whose request was refused for what it asked: the page that they are on, without its
// query. "" when that would be refused again.
func startOver(c echo.Context, status int) string {
	request := c.Request()
	if here, err := url.Parse(request.Header.Get("HX-Current-URL")); err == nil && here.Path != "" {
		path, _ := withoutKeysInPath(here.Path)
		return path
	}
	same := request.Method == http.MethodGet && request.URL.RawQuery == ""
	gone := status == http.StatusNotFound && (request.Method == http.MethodPost || strings.Contains(c.Path(), ":"))
	if same || gone {
		return ""
	}
	path, _ := withoutKeysInPath(request.URL.Path)
	return path
}

// goTo sends the browser to another page: htmx is told to leave this one, where a redirect would be swapped in.
func (h *handler) goTo(c echo.Context, path string) error {
	if err := h.saveCookie(c); err != nil {
		return err
	}
	c.Response().Header().Set("Cache-Control", "no-store")
	if c.Request().Header.Get("HX-Request") == "true" {
		c.Response().Header().Set("HX-Redirect", path)
		return c.NoContent(http.StatusOK)
	}
	return c.Redirect(http.StatusSeeOther, path)
}

// done ends a change that worked: back to where it was asked for, where the sentence is said once.
func (h *handler) done(c echo.Context, path, sentence string) error {
	h.sessions.Put(c.Request().Context(), flashKey, sentence)
	return h.goTo(c, path)
}

// barePage is page without what asks the cookie's data: for an answer that must not be lost.
func (h *handler) barePage(c echo.Context) views.Page {
	page := views.Page{Viewer: viewerOf(c), Now: h.now()}
	if h.noBase {
		page.UnsetBase, page.OtherHost = h.baseURL.String(), !strings.EqualFold(c.Request().Host, h.baseURL.Host)
	}
	return page
}

// page is what every page carries.
func (h *handler) page(c echo.Context) views.Page {
	page := h.barePage(c)
	if wantedFragment(c.Request()) == "" {
		page.Flash = h.sessions.PopString(c.Request().Context(), flashKey)
	}
	return page
}

// localPath lets through only a path of our own; anything else becomes fallback.
func localPath(text, fallback string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(text, "/") || strings.HasPrefix(text, "//") ||
		strings.ContainsAny(text, "\\\r\n\t") || !plain(text) {
		return fallback
	}
	if _, signature := keyring.WithoutKeys(text); signature != "" {
		return fallback // it would stand in an address
	}
	return text
}

// icon leads to the mark. Browsers ask for it by this name beside what is no page and names none, like /openapi.json.
func icon(c echo.Context) error {
	return c.Redirect(http.StatusFound, static.Path("mark.svg"))
}
