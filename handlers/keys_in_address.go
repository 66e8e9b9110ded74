package handlers

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

// withoutKeysInPath returns an address's path, escaped, without whole keys. A second slash at its beginning would name another host.
func withoutKeysInPath(path string) (escaped string, found bool) {
	clean, signature := keyring.WithoutKeys(path)
	return (&url.URL{Path: "/" + strings.TrimLeft(clean, "/")}).EscapedPath(), signature != ""
}

// keepKeysOut leads a browser that asks for an address with a whole API key in it to the same address without: the history of a
// browser and the logs of proxies keep addresses. Where it stood is the signature, which a search finds as well.
func (h *handler) keepKeysOut(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return next(c)
		}
		path, found := withoutKeysInPath(r.URL.Path)
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			if _, signature := keyring.WithoutKeys(strings.ReplaceAll(r.URL.RawQuery, "+", " ")); signature != "" {
				return h.goTo(c, path) // what can't be read is lost with the key
			}
		}
		for name, values := range query {
			if _, signature := keyring.WithoutKeys(name); signature != "" {
				found = true
				query.Del(name)
				continue
			}
			for i, value := range values {
				switch clean, signature := keyring.WithoutKeys(value); {
				case signature == "":
				case name == "q":
					found, values[i] = true, signature
					query.Del("cursor") // of another search
				default:
					found, values[i] = true, clean
				}
			}
		}
		if !found {
			return next(c)
		}
		return h.goTo(c, withQuery(path, query))
	}
}
