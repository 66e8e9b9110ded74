// Package gateways is the example of docs/gateways.md: middleware for an API that asks Moonlatch itself.
package gateways

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
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
		case code == "valid" && key != nil:
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
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer.Code, answer.Key, err
}
