package handlers

import (
	"cmp"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/verify"
)

// apiVerify judges a key for whoever has it from their own caller.
func (h *handler) apiVerify(c echo.Context) error {
	request, err := readJSON[VerifyAPIKeyRequest](c)
	if err != nil {
		return err
	}
	asked := verify.Question{OrgID: actorOf(c).OrgID, Scopes: request.Scopes}
	problems := input.Problems{}
	if request.Key == "" {
		problems["key"] = "Send the API key that is asked about."
	}
	if len(asked.Scopes) > apikey.MaxScopes {
		problems["scopes"] = "Ask for at most 200 scopes."
	}
	if request.IP != nil {
		if asked.Address, err = netip.ParseAddr(*request.IP); err != nil || asked.Address.Zone() != "" {
			problems["ip"] = "Send one IP address, like 203.0.113.7."
		}
	}
	if err := problems.Err(); err != nil {
		return err
	}
	verdict, err := h.verifier.Verify(c.Request().Context(), request.Key, asked)
	if err != nil {
		return err
	}
	answer := Verification{Valid: verdict.Code == verify.Valid, Code: string(verdict.Code)}
	if verdict.Key != nil {
		answer.Key = verifiedKey(verdict.Key)
	}
	return respond(c, http.StatusOK, answer)
}

func verifiedKey(k *verify.Key) *VerifiedKey {
	return &VerifiedKey{
		ID: k.ID, Name: k.Name, OwnerID: k.OwnerID, OwnerActive: k.OwnerActive, OrgID: k.OrgID,
		WorkspaceID: orNull(k.WorkspaceID), ProcessID: orNull(k.ProcessID), Environment: string(k.Environment), Scopes: k.Scopes,
		BiasProfile: biasProfile(k.Profile), ExpiresAt: k.ExpiresAt, Status: statusWords[k.Status], GraceEndsAt: k.GraceEndsAt,
		EndsAt: k.EndsAt,
	}
}

// forwardAuth judges the credential of a gateway's own caller, as the gateway passes it on.
func (h *handler) forwardAuth(c echo.Context) error {
	shown, err := presentedToGateway(c.Request().Header)
	if err != nil {
		return err
	}
	if shown.key == "" && shown.token == "" {
		return errNoCredential
	}
	asked := h.question(c.Request())
	if asked.Scopes, asked.OrgID, err = narrowing(c.Request().URL.RawQuery); err != nil {
		return err
	}
	key, err := h.goodKey(c.Request().Context(), cmp.Or(shown.key, shown.token), asked)
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header["Cache-Control"] = noStore
	values := []string{key.ID, key.OwnerID, key.OrgID, key.WorkspaceID, key.ProcessID, string(key.Environment), strings.Join(key.Scopes, " "), profileID(key)}
	for i, name := range keyHeaders { // empty ones too: some gateways make text of their own out of a missing header
		header[name] = values[i : i+1 : i+1]
	}
	c.Response().WriteHeader(http.StatusOK)
	return nil
}

// keyHeaders name what a gateway learns of a key, in the form that net/http keeps names in.
var keyHeaders = [...]string{"X-Key-Id", "X-Key-Owner", "X-Key-Org", "X-Key-Workspace", "X-Key-Process", "X-Key-Environment", "X-Key-Scopes", "X-Key-Bias-Profile"}

func profileID(k *verify.Key) string {
	if k.Profile == nil {
		return ""
	}
	return k.Profile.ID
}

// narrowing reads what a gateway asks of a key: scopes, all of which it must hold, and the organisation that it must be
// of. Any other parameter is refused, for it may be a slip of these. Envoy appends the address that its client asked for,
// whose query follows the parameter "original": there, others are the client's, and these can ask for more, never for less.
func narrowing(query string) (scopes []string, orgID string, err error) {
	for appended := false; query != ""; {
		var pair string
		if pair, query, _ = strings.Cut(query, "&"); pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, badName := url.QueryUnescape(name)
		if appended = appended || name == "original"; appended && name != "scope" && name != "org" {
			continue
		}
		value, badValue := url.QueryUnescape(value)
		switch {
		case badName != nil || badValue != nil:
			return nil, "", errAddress
		case name != "scope" && name != "org":
			return nil, "", input.Problems{clip(name): "There is no such parameter. Send scope, once for each scope, or org."}
		case value == "":
			return nil, "", input.Problems{name: noValue}
		case name == "scope":
			scopes = append(scopes, value)
			continue
		}
		id, err := input.ID(value)
		if err != nil || orgID != "" && orgID != id {
			return nil, "", input.Problems{"org": "Send one organisation's id."}
		}
		orgID = id
	}
	return scopes, orgID, nil
}
