package handlers

import (
	"cmp"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
)

func (h *handler) apiListEvents(c echo.Context) error {
	filter, err := readEventFilter(c, "cursor", "limit")
	if err != nil {
		return err
	}
	limit, err := readCount(c, "limit", 20, 100)
	if err != nil {
		return err
	}
	page, err := h.keyring.Events(c.Request().Context(), actorOf(c), filter, c.QueryParam("cursor"), limit)
	if err != nil {
		return err
	}
	answer := AuditEventPage{Items: []AuditEvent{}, NextCursor: orNull(page.Next)}
	for _, e := range page.Events {
		answer.Items = append(answer.Items, auditEvent(e))
	}
	return respond(c, http.StatusOK, answer)
}

func (h *handler) apiExportEvents(c echo.Context) error {
	filter, err := readEventFilter(c, "format")
	format, err := readFormat(c, eventFormats, err)
	if err != nil {
		return err
	}
	return h.exportEvents(c, filter, format, "moonlatch-audit")
}

// readEventFilter reads what narrows the log; more names the parameters that a call takes besides.
func readEventFilter(c echo.Context, more ...string) (audit.Filter, error) {
	if err := knownQuery(c, append(more, "action", "actor", "actorId", "subjectKind", "subjectId", "keyId", "from", "to")...); err != nil {
		return audit.Filter{}, err
	}
	filter := audit.Filter{Action: account.Action(c.QueryParam("action")), ActorName: nobodies[c.QueryParam("actor")], SubjectKind: c.QueryParam("subjectKind")}
	problems := input.Problems{}
	if c.QueryParam("actor") != "" && filter.ActorName == "" {
		problems["actor"] = "Send operator or policy; what a member did is found by actorId."
	}
	if filter.SubjectKind != "" && !slices.Contains(audit.Kinds, filter.SubjectKind) {
		problems["subjectKind"] = "There is no such kind. Send one of " + strings.Join(audit.Kinds, ", ") + "."
	}
	if filter.Action != "" && !slices.Contains(account.Actions(), filter.Action) {
		problems["action"] = "There is no such action. They look like key.issued."
	}
	for name, into := range map[string]*string{"actorId": &filter.ActorID, "subjectId": &filter.SubjectID, "keyId": &filter.KeyID} {
		if text := c.QueryParam(name); text != "" {
			id, err := input.ID(text)
			problems.Add(name, err)
			*into = id
		}
	}
	readPeriod(c, &filter.From, &filter.To, problems)
	return filter, problems.Err()
}

// readPeriod reads the times from and to of a filter, each zero for none.
func readPeriod(c echo.Context, from, to *time.Time, problems input.Problems) {
	for name, into := range map[string]*time.Time{"from": from, "to": to} {
		if text := c.QueryParam(name); text != "" {
			at, err := input.Instant(text)
			if at = at.UTC(); err == nil && (at.Year() < 1 || at.Year() > 9999) {
				err = input.Sentence("Send a time between the years 1 and 9999.")
			}
			problems.Add(name, err)
			*into = at
		}
	}
}

// readFormat reads the format of an export, JSON Lines where none is named. Its problem joins those of the export's filter.
func readFormat[T any](c echo.Context, formats map[string]format[T], filtered error) (format[T], error) {
	f, known := formats[cmp.Or(c.QueryParam("format"), "jsonl")]
	if known {
		return f, filtered
	}
	problems := input.ProblemsIn(filtered)
	if problems == nil {
		problems = input.Problems{}
	}
	problems["format"] = "Send csv or jsonl."
	return f, problems
}

func auditEvent(e audit.Event) AuditEvent {
	return AuditEvent{
		ID: e.ID, Seq: e.Seq, OrgID: e.OrgID, At: e.At, Action: string(e.Action), Actor: AuditActor{ID: orNull(e.ActorID), Email: e.Email, Role: string(e.Role)},
		SessionID: orNull(e.SessionID), KeyID: orNull(e.KeyID), Address: orNull(e.Address), UserAgent: orNull(e.UserAgent),
		Subject: AuditSubject{Kind: e.Subject.Kind, ID: e.Subject.ID, Name: e.Subject.Name},
		Before:  jsontext.Value(cmp.Or(e.Before, "null")), After: jsontext.Value(cmp.Or(e.After, "null")), PrevHash: hex.EncodeToString(e.PrevHash), Hash: hex.EncodeToString(e.Hash),
	}
}
