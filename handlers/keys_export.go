package handlers

import (
	"bufio"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

// exportKeys sends the list of keys as CSV, narrowed as the page is. What is shown once is in no list.
func (h *handler) exportKeys(c echo.Context) error {
	state, err := readListState(c)
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
	"biasProfile", "ipAllowlist", "createdAt", "lastUsedAt", "expiresAt", "rotatedAt", "graceEndsAt", "replacedBy", "revokedAt"}

func keyCells(k keyring.KeyRow, now time.Time) []string {
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
		at(&k.CreatedAt), at(k.Use.At), at(&k.ExpiresAt), at(k.RotatedAt), at(k.GraceEndsAt), k.ReplacedBy, at(k.RevokedAt)}
}
