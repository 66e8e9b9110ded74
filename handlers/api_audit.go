package handlers

import (
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
)

func (h *handler) apiListEvents(c echo.Context) error {
	filter, err := readEventFilter(c)
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
		said, err := auditEvent(e)
		if err != nil {
			return err
		}
		answer.Items = append(answer.Items, said)
	}
	return respond(c, http.StatusOK, answer)
}

func readEventFilter(c echo.Context) (audit.Filter, error) {
	if err := knownQuery(c, "action", "actorId", "subjectId", "keyId", "from", "to", "cursor", "limit"); err != nil {
		return audit.Filter{}, err
	}
	filter := audit.Filter{Action: account.Action(c.QueryParam("action"))}
	problems := input.Problems{}
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
	for name, into := range map[string]*time.Time{"from": &filter.From, "to": &filter.To} {
		if text := c.QueryParam(name); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if at = at.UTC(); err != nil || at.Year() < 1 || at.Year() > 9999 {
				problems[name] = "Send a time in RFC 3339, like 2027-01-31T00:00:00Z."
			}
			*into = at
		}
	}
	return filter, problems.Err()
}

func auditEvent(e audit.Event) (AuditEvent, error) {
	out := AuditEvent{
		ID: e.ID, Seq: e.Seq, At: e.At, Action: string(e.Action), Actor: AuditActor{ID: orNull(e.ActorID), Email: e.Email, Role: string(e.Role)},
		SessionID: orNull(e.SessionID), KeyID: orNull(e.KeyID), Address: orNull(e.Address), UserAgent: orNull(e.UserAgent),
		Subject: AuditSubject{Kind: e.Subject.Kind, ID: e.Subject.ID, Name: e.Subject.Name},
	}
	for _, side := range []struct {
		text string
		into *map[string]any
	}{{e.Before, &out.Before}, {e.After, &out.After}} {
		if side.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(side.text), side.into); err != nil {
			return out, err
		}
	}
	return out, nil
}
