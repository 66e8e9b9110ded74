// Package gateways is the example of docs/gateways.md: middleware for an API that asks Moonlatch itself.
package gateways

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Moonlatch says whether a key is good. Make one for the whole program: its client keeps connections open.
type Moonlatch struct {
	URL    string       // like http://127.0.0.1:8080
	Key    string       // this API's own key, of the scope verify:api-keys; from its environment, never from its source
	Client *http.Client // with a Timeout of 4 s: Moonlatch answers within 3 s, whatever happens to its database
}

// Key is what Moonlatch knows about the key of a request.
type Key struct {
	ID          string   `json:"id"`
	OwnerID     string   `json:"ownerId"`
	OrgID       string   `json:"orgId"`
	Environment string   `json:"environment"`
	Scopes      []string `json:"scopes"`
}

type keyOfRequest struct{}

// KeyOf is the key that a request came with. It is only there behind Require.
func KeyOf(ctx context.Context) Key { return ctx.Value(keyOfRequest{}).(Key) }

// Require lets requests through whose key is good and holds every scope. Whatever goes wrong is a refusal.
func (m Moonlatch) Require(next http.Handler, scopes ...string) http.Handler {
	client := *m.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // keys go to no other place
	m.Client = &client
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := credential(r)
		if shown == "" {
			challenge(w, `Bearer realm="api"`)
			return
		}
		code, key, err := m.verify(r.Context(), shown, addressOf(r), scopes)
		switch {
		case err != nil: // nobody knows whether the key is good, so a 401 would be a lie
			slog.ErrorContext(r.Context(), "an API key could not be checked", "error", err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "API keys cannot be checked right now.", http.StatusServiceUnavailable)
		case code == "valid":
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyOfRequest{}, *key)))
		case slices.Contains([]string{"insufficient_scope", "ip_not_allowed"}, code):
			http.Error(w, "This API key may not do that: "+code, http.StatusForbidden)
		default:
			challenge(w, `Bearer realm="api", error="invalid_token"`)
		}
	})
}

func challenge(w http.ResponseWriter, with string) {
	w.Header().Set("WWW-Authenticate", with)
	http.Error(w, "Send a valid API key.", http.StatusUnauthorized)
}

// RejectAmbiguousPaths answers 400 to a path that programs read differently, so that no handler behind it, and no program that
// it passes the request on to, takes it for another path than the one that was judged. Put it around the whole ServeMux.
func RejectAmbiguousPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !unambiguous(r.URL.EscapedPath()) {
			http.Error(w, "Write the path without empty or dot segments and needless codes.", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

var (
	plain    = regexp.MustCompile(`^/(?:[A-Za-z0-9_~!$&'()*+,=:@./-]|%[0-9A-Fa-f]{2})*$`)
	needless = regexp.MustCompile(`%(?:2[DdEe]|3[0-9]|[46][1-9A-Fa-f]|5[0-9AaFf]|7[0-9AaEe])`) // of letters, digits and -._~
)

// unambiguous reports whether a path can be read in one way alone: it has no empty or dot segment, no ";", backslash or
// control character, and no % code of what could be written plainly or ends a path (%2F, %2E, %23, %25, %3F, %61).
func unambiguous(path string) bool {
	decoded, err := url.PathUnescape(path)
	if err != nil || !plain.MatchString(path) || needless.MatchString(path) || !utf8.ValidString(decoded) ||
		strings.ContainsAny(decoded, `\;%?#`) || strings.ContainsFunc(decoded, unicode.IsControl) ||
		strings.Count(decoded, "/") != strings.Count(path, "/") {
		return false
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		if strings.Trim(segment, ".") == "" && (segment != "" || i < len(segments)-1) { // the last may be empty: /chat/
			return false
		}
	}
	return true
}

// AllowOrigins lets pages of these origins call the API from a browser. It answers their preflights, which carry no key. Put it
// around Require, so that the pages can read refusals too. Any other OPTIONS needs a key.
func AllowOrigins(next http.Handler, origins ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Origin")
		if origin := r.Header.Get("Origin"); slices.Contains(origins, origin) {
			w.Header().Set("Access-Control-Allow-Origin", origin)
			if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
				w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
				w.Header().Set("Access-Control-Allow-Headers", "Authorization, X-Api-Key, Content-Type")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// credential is the key that a request shows: Bearer, X-Api-Key, or Basic with its user and pass.
func credential(r *http.Request) string {
	if key := r.Header.Get("X-Api-Key"); key != "" {
		return key
	}
	if user, pass, ok := r.BasicAuth(); ok {
		return user + "_" + pass
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(key)
	}
	return ""
}

// addressOf is the client's address without its zone, or "" where there is none, as on a Unix socket. Behind a proxy of
// yours, return what that proxy says. A key with an IP allowlist is refused where there is no address.
func addressOf(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return from.Addr().Unmap().WithZone("").String()
}

func (m Moonlatch) verify(ctx context.Context, shown, address string, scopes []string) (string, *Key, error) {
	asked := map[string]any{"key": shown, "scopes": append([]string{}, scopes...)}
	if address != "" {
		asked["ip"] = address
	}
	question, err := json.Marshal(asked)
	if err != nil {
		return "", nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, m.URL+"/v1/api-keys/verify", bytes.NewReader(question))
	if err != nil {
		return "", nil, err
	}
	request.Header.Set("Authorization", "Bearer "+m.Key)
	request.Header.Set("Content-Type", "application/json")
	response, err := m.Client.Do(request)
	if err != nil {
		return "", nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK { // of our own key too, if that is the one that is wrong
		return "", nil, fmt.Errorf("Moonlatch answered %s", response.Status)
	}
	var answer struct {
		Code string `json:"code"`
		Key  *Key   `json:"key"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", nil, err
	}
	if answer.Code == "" || answer.Code == "valid" && answer.Key == nil {
		return "", nil, errors.New("the answer is not Moonlatch's")
	}
	return answer.Code, answer.Key, nil
}
