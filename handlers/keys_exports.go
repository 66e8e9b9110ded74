package handlers

import (
	"bufio"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

// exportKeys sends the list of keys as CSV, narrowed as the page is. What is shown once is in no list.
func (h *handler) exportKeys(c echo.Context) error {
	state, err := readListState(c)
	if err == nil && len(queryProblems(c, listNames)) > 0 { // a slip of a filter's name would export everything
		err = errList
	}
	if err != nil {
		return err
	}
	next, err := h.keyring.ExportKeys(c.Request().Context(), actorOf(c), state.Filter)
	if err != nil {
		return err
	}
	now := h.keyring.Now()
	open := func(out *bufio.Writer) (sheet[keyring.KeyRow], error) {
		return openCSV(out, keyColumns, func(k keyring.KeyRow) []string { return keyCells(k, now) })
	}
	return stream(h, c, "moonlatch-keys-"+fileName(viewerOf(c).Organisation), format[keyring.KeyRow]{csvMedia, "csv", open}, next)
}

// keyColumns are those of the export, in the order of keyCells.
var keyColumns = []string{"id", "name", "prefix", "signature", "status", "environment", "owner", "ownerStatus", "createdBy", "scopes", "workspace", "process",
	"biasProfile", "ipAllowlist", "createdAt", "lastUsedAt", "expiresAt", "rotatedAt", "graceEndsAt", "replacedBy", "revokedAt", "endsAt", "roleLimit"}

func keyCells(k keyring.KeyRow, now time.Time) []string {
	end := k.EndsAt()
	at := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	var allowed []string
	for _, p := range k.IPAllowlist {
		allowed = append(allowed, p.String())
	}
	return []string{k.ID, k.Name, k.Prefix, k.Signature, k.StatusAt(now).Label(), string(k.Environment), k.Owner.Email, string(k.Owner.Status), k.Creator.Email,
		strings.Join(k.Scopes, " "), k.WorkspaceName, k.ProcessName, k.ProfileName, strings.Join(allowed, " "),
		at(&k.CreatedAt), at(k.Use.At), at(&k.ExpiresAt), at(k.RotatedAt), at(k.GraceEndsAt), k.ReplacedBy, at(k.RevokedAt), at(&end), k.RoleLimit}
}

// exportKeyOwners sends the list of key owners as CSV, narrowed as the page is.
func (h *handler) exportKeyOwners(c echo.Context) error {
	state, err := readKeyOwnerState(c)
	if err == nil && len(queryProblems(c, []string{"q", "left", "sort"})) > 0 {
		err = errList
	}
	if err != nil {
		return err
	}
	next, err := h.keyring.ExportKeyOwners(c.Request().Context(), actorOf(c), keyring.OwnerFilter(state))
	if err != nil {
		return err
	}
	open := func(out *bufio.Writer) (sheet[keyring.OwnerRow], error) {
		return openCSV(out, keyOwnerColumns, keyOwnerCells)
	}
	return stream(h, c, "moonlatch-key-owners-"+fileName(viewerOf(c).Organisation), format[keyring.OwnerRow]{csvMedia, "csv", open}, next)
}

// keyOwnerColumns are those of the export, in the order of keyOwnerCells.
var keyOwnerColumns = []string{"id", "email", "name", "role", "status", "enabled", "expiringWithin30Days", "unusedFor90Days", "live", "lastUsedAt"}

func keyOwnerCells(o keyring.OwnerRow) []string {
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	used := ""
	if o.LastUse != nil {
		used = o.LastUse.Format(time.RFC3339)
	}
	return []string{o.ID, o.Email, o.Name, string(o.Role), string(o.Status), count(o.Enabled), count(o.Expiring), count(o.Unused), count(o.Live), used}
}
