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
	"time"
	"unicode"
	"unicode/utf8"
)

// Moonlatch says whether a key is good. Make one for the whole program: its client keeps connections open.
type Moonlatch struct {
	URL    string       // like http://127.0.0.1:8080
	Key    string       // this API's own key, of the scope verify:api-keys; from its environment, never from its source
	Client *http.Client // with a Timeout of 4 s: Moonlatch answers within 3 s, whatever happens to its database
}

// Key is what Moonlatch answers about the key of a request: VerifiedKey in its API.
type Key struct {
	ID          string       `json:"id"`
	Name        string       `json:"name"`
	OwnerID     string       `json:"ownerId"`
	OwnerActive bool         `json:"ownerActive"` // false when the owner is suspended or removed
	OrgID       string       `json:"orgId"`
	WorkspaceID string       `json:"workspaceId"` // the only workspace that it may be used for; "" for any
	ProcessID   string       `json:"processId"`   // the only process that it may be used for; "" for any
	Environment string       `json:"environment"`
	Scopes      []string     `json:"scopes"`
	BiasProfile *BiasProfile `json:"biasProfile"` // nil when it carries none
	Status      string       `json:"status"`
	ExpiresAt   time.Time    `json:"expiresAt"`
	GraceEndsAt *time.Time   `json:"graceEndsAt"` // nil unless it is rotated
	EndsAt      time.Time    `json:"endsAt"`      // the first of its expiry, the end of its grace period and its revocation
}

// BiasProfile holds the thresholds that the API applies to what it answers, from 0 to 100.
type BiasProfile struct {
	ID               string         `json:"id"`
	Name             string         `json:"name"`
	Description      string         `json:"description"`
	DefaultThreshold int            `json:"defaultThreshold"` // of whatever has no category
	Categories       []BiasCategory `json:"categories"`
}

// BiasCategory is the threshold of one kind of bias.
type BiasCategory struct {
	Name      string `json:"name"`
	Enabled   bool   `json:"enabled"`
	Threshold int    `json:"threshold"`
	Action    string `json:"action"` // flag or block
}

type keyOfRequest struct{}

// KeyOf is the key that a request came with. It is only there behind Require.
func KeyOf(ctx context.Context) Key { return ctx.Value(keyOfRequest{}).(Key) }

// Require lets requests through whose key is good and holds every scope. Whatever goes wrong is a refusal. next does not see
// the key itself, in X-Api-Key or Authorization, nor any X-Key-… header of the client, with underscores or not, nor trailers. It
// sees an Authorization that holds no API key where the key came in X-Api-Key: that is for callers of your own.
func (m Moonlatch) Require(next http.Handler, scopes ...string) http.Handler {
	client := *m.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // keys go to no other place
	m.Client = &client
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, others, err := credential(r.Header)
		switch {
		case err != nil:
			challenge(w, `Bearer realm="api", error="invalid_request"`)
			return
		case shown == "":
			challenge(w, `Bearer realm="api"`)
			return
		case len(shown) > maxKey:
			challenge(w, `Bearer realm="api", error="invalid_token"`)
			return
		}
		code, key, err := m.verify(r.Context(), shown, addressOf(r), scopes)
		switch {
		case err != nil: // nobody knows whether the key is good, so a 401 would be a lie
			slog.ErrorContext(r.Context(), "an API key could not be checked", "error", err)
			w.Header().Set("Retry-After", "1")
			http.Error(w, "API keys cannot be checked right now.", http.StatusServiceUnavailable)
		case code == "valid":
			r = withoutKeyHeaders(r.WithContext(context.WithValue(r.Context(), keyOfRequest{}, *key)))
			r.Header.Del("X-Api-Key")
			r.Header.Del("Authorization")
			if others != "" {
				r.Header.Set("Authorization", others)
			}
			next.ServeHTTP(w, r)
		case slices.Contains([]string{"insufficient_scope", "ip_not_allowed"}, code):
			http.Error(w, "This API key may not do that: "+code, http.StatusForbidden)
		default:
			challenge(w, `Bearer realm="api", error="invalid_token"`)
		}
	})
}

// withoutKeyHeaders copies a request without X-Key-… in any spelling that a program behind may read as that, and without
// trailers, which may be headers for it. What a gateway says of a key in these headers, a client can't say here. Nor can it ask
// for another protocol than a WebSocket's (h2c), in which a program behind would hear it unjudged.
func withoutKeyHeaders(r *http.Request) *http.Request {
	out := *r
	out.Header, out.Trailer = r.Header.Clone(), nil
	if upgrades := out.Header["Upgrade"]; len(upgrades) != 1 || !strings.EqualFold(upgrades[0], "websocket") {
		out.Header.Del("Upgrade")
	}
	for name := range out.Header {
		if strings.HasPrefix(strings.ToLower(notAlphanumeric.ReplaceAllString(name, "-")), "x-key-") {
			delete(out.Header, name)
		}
	}
	return &out
}

var notAlphanumeric = regexp.MustCompile(`[^A-Za-z0-9]`)

func challenge(w http.ResponseWriter, with string) {
	w.Header().Set("WWW-Authenticate", with)
	http.Error(w, "Send a valid API key.", http.StatusUnauthorized)
}

// RejectAmbiguousPaths answers 400 to a path that programs read differently, so that no handler behind it, and no program that
// it passes the request on to, takes it for another path than the one that was judged. It also removes the client's X-Key-…
// headers, on open paths too. Put it around the whole ServeMux.
func RejectAmbiguousPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.EscapedPath(); !unambiguous(path) || r.URL.RawPath != "" && r.URL.RawPath != path { // re-encoded by net/url
			http.Error(w, "Write the path without empty or dot segments and needless codes.", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, withoutKeyHeaders(r))
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

// maxKey is longer than any key, in bytes. Moonlatch is not asked about what is longer.
const maxKey = 1 << 10

// holdsKey reports whether a key begins somewhere in a text, in a scheme that is not read here too.
func holdsKey(text string) bool {
	return strings.Contains(text, "pk_live_") || strings.Contains(text, "pk_test_")
}

var errCredential = errors.New("several credentials, or one that can't be read")

// credential returns the key that a request shows, as Moonlatch itself reads it: Bearer, Basic with its user and pass, or
// X-Api-Key. A blank header is none, and several are an error. others is an Authorization beside X-Api-Key that holds no key.
func credential(header http.Header) (key, others string, err error) {
	var keys, authorizations []string
	for _, value := range header["X-Api-Key"] {
		if value = strings.TrimSpace(value); value != "" {
			keys = append(keys, value)
		}
	}
	for _, value := range header["Authorization"] {
		if value = strings.TrimSpace(value); value != "" && !strings.EqualFold(value, "Bearer") && !strings.EqualFold(value, "Basic") {
			authorizations = append(authorizations, value)
		}
	}
	switch {
	case len(keys) == 1 && len(authorizations) == 1:
		if strings.HasPrefix(authorized(authorizations[0]), "pk_") || holdsKey(authorizations[0]) {
			return "", "", errCredential
		}
		return keys[0], authorizations[0], nil
	case len(keys)+len(authorizations) > 1:
		return "", "", errCredential
	case len(keys) == 1:
		return keys[0], "", nil
	case len(authorizations) == 1:
		if key = authorized(authorizations[0]); key == "" {
			return "", "", errCredential
		}
	}
	return key, "", nil
}

// authorized returns the key that an Authorization holds, or "" where it can't be read.
func authorized(authorization string) string {
	scheme, value, _ := strings.Cut(authorization, " ")
	value = strings.TrimSpace(value)
	if strings.EqualFold(scheme, "Bearer") {
		return value
	}
	basic := http.Request{Header: http.Header{"Authorization": {scheme + " " + value}}}
	if user, pass, ok := basic.BasicAuth(); ok && !strings.Contains(pass, "_") {
		return user + "_" + pass
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
	if answer.Code == "" || answer.Code == "valid" && (answer.Key == nil || answer.Key.ID == "") {
		return "", nil, errors.New("the answer is not Moonlatch's")
	}
	return answer.Code, answer.Key, nil
}
