package handlers

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// maxSearch bounds what is searched for, in characters: longer than any name, e-mail address or id.
const maxSearch = 200

// statusWords are the words of programs for where a key stands; people read others.
var statusWords = map[apikey.Status]string{
	apikey.Enabled: "active", apikey.Disabled: "inactive", apikey.Rotated: "rotated", apikey.Revoked: "revoked", apikey.Expired: "expired",
}

// readStatus is the status that a program's word stands for; ok is false for any other word.
func readStatus(word string) (apikey.Status, bool) {
	for status, own := range statusWords {
		if own == word {
			return status, true
		}
	}
	return "", false
}

// summary is what programs may know of a key.
func (h *handler) summary(row keyring.KeyRow) APIKey {
	k := row.Key
	out := APIKey{
		ID: k.ID, Prefix: k.Prefix, Signature: k.Signature, Name: k.Name, Scopes: k.Scopes, Environment: string(k.Environment),
		OrgID: k.OrgID, WorkspaceID: orNull(k.WorkspaceID), ProcessID: orNull(k.ProcessID), BiasProfileID: orNull(k.ProfileID),
		IPAllowlist: []string{}, CreatedBy: k.CreatedBy, OwnerID: k.OwnerID, OwnerActive: row.Owner.Status == account.Active,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, LastUsedAt: row.Use.At, RotatedAt: k.RotatedAt, GraceEndsAt: k.GraceEndsAt,
		ReplacedBy: orNull(k.ReplacedBy), RevokedAt: k.RevokedAt, EndsAt: k.EndsAt(), RoleLimit: k.RoleLimit, Status: statusWords[k.StatusAt(h.keyring.Now())],
	}
	for _, p := range k.IPAllowlist {
		out.IPAllowlist = append(out.IPAllowlist, p.String())
	}
	return out
}

// orNull is nil for what is missing.
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// orEmpty is "" for what a program left out.
func orEmpty(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func (h *handler) apiIssueKey(c echo.Context) error {
	return h.issueKey(c, func(*keyring.KeyDraft) error { return nil })
}

// apiIssueProcessKey issues a key for the process in the address.
func (h *handler) apiIssueProcessKey(c echo.Context) error {
	process, err := h.keyring.KeyProcess(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	return h.issueKey(c, func(draft *keyring.KeyDraft) error {
		if asked, err := input.ID(draft.ProcessID); draft.ProcessID != "" && (err != nil || asked != process.ID) {
			return input.Problems{"processId": "The address names another process. Leave this field out."}
		}
		draft.ProcessID = process.ID
		return nil
	})
}

func (h *handler) issueKey(c echo.Context, settle func(*keyring.KeyDraft) error) error {
	requestKey, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	request, err := readJSON[IssueAPIKeyRequest](c)
	if err != nil {
		return err
	}
	draft := keyring.KeyDraft{
		Name: request.Name, Scopes: request.Scopes, Environment: orEmpty(request.Environment),
		WorkspaceID: orEmpty(request.WorkspaceID), ProcessID: orEmpty(request.ProcessID), ProfileID: orEmpty(request.BiasProfileID),
		IPAllowlist: request.IPAllowlist, Expires: orEmpty(request.ExpiresAt), RequestKey: requestKey,
	}
	if err := onlyForPrograms(request.ExpiresAt, request.IPAllowlist); err != nil {
		return err
	}
	if err := settle(&draft); err != nil {
		return err
	}
	key, plaintext, err := h.keyring.IssueKey(c.Request().Context(), actorOf(c), draft)
	if err != nil {
		return err
	}
	// The key is committed: nothing from here on asks the database, lest the plaintext be lost.
	made := h.summary(keyring.KeyRow{Key: key, Owner: account.Person{Status: account.Active}})
	return respond(c, http.StatusCreated, IssuedAPIKey{APIKey: made, PlaintextKey: plaintext.Reveal()})
}

// idempotencyKey is what a program calls its request, so that sending it again does not issue a second key.
func idempotencyKey(c echo.Context) (string, error) {
	values := c.Request().Header["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	switch _, signature := keyring.WithoutKeys(values[0]); {
	case signature != "": // it would be stored
		return "", input.Problems{"Idempotency-Key": "This is a whole API key. Draw a random name for the request instead."}
	case len(values) == 1 && values[0] != "" && plain(values[0]) && utf8.RuneCountInString(values[0]) <= 255:
		return values[0], nil
	}
	return "", input.Problems{"Idempotency-Key": "Send one Idempotency-Key of 1 to 255 characters."}
}

// onlyForPrograms refuses what only people may send: a lifetime in words, for which the document knows times alone, and
// blank lines in an allowlist. Of a program such an entry is a variable without a value, and an allowlist of nothing
// would let everybody in.
func onlyForPrograms(expiresAt *string, allowlist []string) error {
	problems := input.Problems{}
	if expiresAt != nil {
		_, err := input.Instant(*expiresAt)
		problems.Add("expiresAt", err)
	}
	if slices.ContainsFunc(allowlist, func(entry string) bool { return strings.TrimSpace(entry) == "" }) {
		problems["ipAllowlist"] = "An entry is blank. Send addresses or ranges, or [] to accept the key from everywhere."
	}
	return problems.Err()
}

func (h *handler) apiListKeys(c echo.Context) error { return h.listKeys(c, "") }

// apiListProcessKeys lists the keys of the process in the address.
func (h *handler) apiListProcessKeys(c echo.Context) error {
	process, err := h.keyring.KeyProcess(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	return h.listKeys(c, process.ID)
}

func (h *handler) listKeys(c echo.Context, processID string) error {
	filter, err := readKeyFilter(c, processID)
	if err != nil {
		return err
	}
	limit, err := readCount(c, "limit", 20, 100)
	if err != nil {
		return err
	}
	page, err := h.keyring.Keys(c.Request().Context(), actorOf(c), filter, apikey.Newest, c.QueryParam("cursor"), limit)
	if err != nil {
		return err
	}
	answer := APIKeyPage{Items: []APIKey{}, NextCursor: orNull(page.Next)}
	for _, row := range page.Rows {
		answer.Items = append(answer.Items, h.summary(row))
	}
	return respond(c, http.StatusOK, answer)
}

func readKeyFilter(c echo.Context, processID string) (apikey.Filter, error) {
	known := []string{"status", "workspaceId", "ownerId", "environment", "biasProfileId", "q", "cursor", "limit"}
	search, err := readSearch(c)
	if err != nil {
		return apikey.Filter{}, err
	}
	filter := apikey.Filter{ProcessID: processID, Search: search}
	ids := map[string]*string{"workspaceId": &filter.WorkspaceID, "ownerId": &filter.OwnerID, "biasProfileId": &filter.ProfileID}
	if processID == "" {
		known, ids["processId"] = append(known, "processId"), &filter.ProcessID
	}
	if err := knownQuery(c, known...); err != nil {
		return filter, err
	}
	problems := input.Problems{}
	for name, into := range ids {
		if text := c.QueryParam(name); text != "" {
			id, err := input.ID(text)
			problems.Add(name, err)
			*into = id
		}
	}
	if word := c.QueryParam("status"); word != "" {
		status, ok := readStatus(word)
		if !ok {
			problems["status"] = "Send active, inactive, rotated, revoked or expired."
		}
		filter.Status = status
	}
	if word := apikey.Environment(c.QueryParam("environment")); word != "" {
		if !slices.Contains(apikey.Environments, word) {
			problems["environment"] = "Send live or test."
		}
		filter.Environment = word
	}
	return filter, problems.Err()
}

// readSearch reads what a program looks for as a page does, and refuses what is too long to be found, or blank.
func readSearch(c echo.Context) (string, error) {
	text := c.QueryParam("q")
	search := searched(text)
	switch {
	case utf8.RuneCountInString(text) > maxSearch:
		return "", input.Problems{"q": "Search for at most 200 characters."}
	case text != "" && search == "":
		return "", input.Problems{"q": noValue}
	}
	return search, nil
}

// searched is what somebody looks for, for pages and programs alike. A key that is written as it is displayed is looked for
// by its prefix or signature, and a text that holds a whole key by that key's signature.
func searched(text string) string {
	if _, signature := keyring.WithoutKeys(text); signature != "" {
		return signature
	}
	return apikey.Unmask(input.Search(text))
}

// readCount reads a number of 1 to most; otherwise is what a program means that sends none.
func readCount(c echo.Context, name string, otherwise, most int) (int, error) {
	text := c.QueryParam(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, input.Problems{name: "Send a whole number from 1 to " + strconv.Itoa(most) + "."}
	}
	return n, nil
}

func (h *handler) apiGetKey(c echo.Context) error {
	if err := knownQuery(c); err != nil {
		return err
	}
	row, err := h.keyring.Key(c.Request().Context(), actorOf(c), c.Param("id"))
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, h.summary(row))
}

func (h *handler) apiUpdateKey(c echo.Context) error {
	request, err := readJSON[UpdateAPIKeyRequest](c)
	if err != nil {
		return err
	}
	if err := onlyForPrograms(request.ExpiresAt, request.IPAllowlist); err != nil {
		return err
	}
	edit := keyring.KeyEdit{Name: request.Name, Expires: request.ExpiresAt, OwnerID: request.OwnerID}
	if request.IPAllowlist != nil {
		edit.IPAllowlist = &request.IPAllowlist
	}
	if request.BiasProfileID.Sent {
		profileID := orEmpty(request.BiasProfileID.Value)
		edit.ProfileID = &profileID
	}
	if request.Status != nil {
		status, ok := readStatus(*request.Status)
		if !ok || status != apikey.Enabled && status != apikey.Disabled {
			return input.Problems{"status": "Send active or inactive. Rotating and revoking are calls of their own."}
		}
		edit.Status = &status
	}
	if edit == (keyring.KeyEdit{}) {
		return refuse(http.StatusBadRequest, "Send at least one field to change.")
	}
	row, err := h.keyring.EditKey(c.Request().Context(), actorOf(c), c.Param("id"), edit)
	if err != nil {
		return err
	}
	return respond(c, http.StatusOK, h.summary(row))
}

func (h *handler) apiRotateKey(c echo.Context) error {
	requestKey, err := idempotencyKey(c)
	if err != nil {
		return err
	}
	if err := knownQuery(c); err != nil {
		return err
	}
	var request RotateAPIKeyRequest
	if c.Request().ContentLength < 0 {
		_, _ = receive(c) // says how long a chunked body is
	}
	if c.Request().ContentLength != 0 { // without a body there is no grace period
		if request, err = readJSON[RotateAPIKeyRequest](c); err != nil {
			return err
		}
	}
	seconds := 0.0
	if request.GraceSeconds != nil {
		seconds = *request.GraceSeconds
	}
	if seconds < 0 || seconds > apikey.LongestGrace.Seconds() || seconds != math.Trunc(seconds) {
		return input.Problems{"graceSeconds": fmt.Sprintf("Send whole seconds, from 0 to %.0f.", apikey.LongestGrace.Seconds())}
	}
	grace := time.Duration(seconds) * time.Second
	rotation, err := h.keyring.RotateKey(c.Request().Context(), actorOf(c), c.Param("id"), grace, requestKey)
	if err != nil {
		return err
	}
	next, granted := rotation.New, rotation.Old.GraceEndsAt.Sub(*rotation.Old.RotatedAt)
	return respond(c, http.StatusCreated, RotatedAPIKey{OldKeyID: rotation.Old.ID, GraceSeconds: math.Floor(granted.Seconds()), NewKey: NewAPIKey{
		ID: next.ID, Prefix: next.Prefix, PlaintextKey: rotation.Plaintext.Reveal(), Scopes: next.Scopes, CreatedAt: next.CreatedAt, ExpiresAt: next.ExpiresAt,
	}})
}

func (h *handler) apiRevokeKey(c echo.Context) error {
	if err := knownQuery(c, "permanent"); err != nil {
		return err
	}
	switch c.QueryParam("permanent") {
	case "", "false":
		key, err := h.keyring.ChangeStatus(c.Request().Context(), actorOf(c), apikey.Revoke, c.Param("id"))
		if err != nil {
			return err
		}
		return respond(c, http.StatusOK, RevokedAPIKey{ID: key.ID, RevokedAt: *key.RevokedAt})
	case "true":
		if err := h.keyring.DeleteKey(c.Request().Context(), actorOf(c), c.Param("id")); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	}
	return input.Problems{"permanent": "Send true or false."}
}

func (h *handler) apiKeyUsage(c echo.Context) error {
	if err := knownQuery(c, "days"); err != nil {
		return err
	}
	days, err := readCount(c, "days", 30, apikey.MostUsageDays)
	if err != nil {
		return err
	}
	usage, err := h.keyring.KeyUsage(c.Request().Context(), actorOf(c), c.Param("id"), days)
	if err != nil {
		return err
	}
	answer := APIKeyUsage{Items: []UsageDay{}}
	for _, day := range usage {
		answer.Items = append(answer.Items, UsageDay{Date: day.Day.Format(time.DateOnly), Accepted: day.Accepted, Refused: day.Refused})
	}
	return respond(c, http.StatusOK, answer)
}
