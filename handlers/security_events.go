package handlers

import (
	"bufio"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// recordRefusal records that a known caller was refused something: an action, or a form of another site.
func (h *handler) recordRefusal(c echo.Context, err error) {
	actor := actorOf(c)
	if actor.OrgID == "" {
		return
	}
	event := audit.SecurityEvent{OrgID: actor.OrgID, Kind: audit.PermissionRefused, MemberID: actor.MemberID, KeyID: actor.KeyID, Address: c.RealIP()}
	switch {
	case errors.Is(err, keyring.ErrGrantAll):
		event.Detail = string(account.GrantAll)
	case errors.Is(err, keyring.ErrForbidden):
		event.Detail = string(h.routes[c.Request().Method+" "+c.Path()].policy.action)
	case errors.Is(err, errCrossOrigin):
		event.Kind = audit.OriginRefused
	default:
		return
	}
	h.keyring.RecordSecurityEvent(event)
}

func (h *handler) securityEventsPage(c echo.Context) error {
	state, filter, err := readSecurityState(c)
	if err != nil {
		return err
	}
	ctx, who := c.Request().Context(), actorOf(c)
	model := views.SecurityLog{Page: h.page(c), State: state, Cursor: c.QueryParam("cursor")}
	page, err := h.keyring.SecurityEvents(ctx, who, filter, model.Cursor, auditRows)
	if err != nil {
		return err
	}
	model.Older = page.Next
	for _, e := range page.Events {
		model.Events = append(model.Events, views.SecurityEvent{ID: e.ID, Kind: e.Kind, MemberID: e.MemberID, Who: page.Names[e.MemberID].Email, WhoName: page.Names[e.MemberID].Name, KeyID: e.KeyID,
			KeyName: page.Names[e.KeyID].Name, Address: e.Address, Detail: e.Detail, Count: e.Count, FirstAt: e.FirstAt, LastAt: e.LastAt})
	}
	actors, err := h.keyring.Actors(ctx, who)
	if err != nil {
		return err
	}
	for _, p := range actors {
		model.Members = append(model.Members, views.Option{Value: p.ID, Label: p.Email})
	}
	if known := func(o views.Option) bool { return o.Value == filter.MemberID }; filter.MemberID != "" && !slices.ContainsFunc(model.Members, known) {
		model.Members = append(model.Members, views.Option{Value: filter.MemberID, Label: "A member who isn’t listed"})
	}
	return h.render(c, http.StatusOK, views.SecurityEventsPage(model))
}

// readSecurityState reads the list's address; errList for what no link of ours has.
func readSecurityState(c echo.Context) (views.SecurityState, audit.SecurityFilter, error) {
	state := views.SecurityState{Kind: c.QueryParam("kind"), Member: c.QueryParam("member"), From: c.QueryParam("from"), To: c.QueryParam("to")}
	filter := audit.SecurityFilter{Kind: state.Kind}
	if state.Kind != "" && !slices.Contains(audit.SecurityKinds, state.Kind) {
		return state, filter, errList
	}
	if state.Member != "" {
		id, err := input.ID(state.Member)
		if err != nil {
			return state, filter, errList
		}
		state.Member, filter.MemberID = id, id
	}
	var known bool
	if filter.From, filter.To, known = readDays(&state.From, &state.To); !known {
		return state, filter, errList
	}
	return state, filter, nil
}

func (h *handler) exportSecurityEvents(c echo.Context) error {
	_, filter, err := readSecurityState(c)
	if err != nil {
		return err
	}
	format, known := securityFormats[c.QueryParam("format")]
	if !known || len(queryProblems(c, []string{"kind", "member", "from", "to", "format"})) > 0 { // a slip of a filter's name would export everything
		return errList
	}
	return h.streamSecurityEvents(c, filter, format, "moonlatch-security-events-"+fileName(viewerOf(c).Organisation))
}

func (h *handler) streamSecurityEvents(c echo.Context, filter audit.SecurityFilter, f format[keyring.NamedSecurityEvent], file string) error {
	next, err := h.keyring.ExportSecurityEvents(c.Request().Context(), actorOf(c), filter)
	if err != nil {
		return err
	}
	return stream(h, c, file, f, next)
}

var securityFormats = map[string]format[keyring.NamedSecurityEvent]{
	"csv":   {csvMedia, "csv", openSecurityCSV},
	"jsonl": {"application/jsonl", "jsonl", openSecurityJSON},
}

var securityColumns = []string{"id", "kind", "memberId", "memberEmail", "keyId", "address", "detail", "count", "firstAt", "lastAt"}

func openSecurityCSV(out *bufio.Writer) (sheet[keyring.NamedSecurityEvent], error) {
	return openCSV(out, securityColumns, func(e keyring.NamedSecurityEvent) []string {
		return []string{e.ID, e.Kind, e.MemberID, e.Email, e.KeyID, e.Address, e.Detail, strconv.Itoa(e.Count), e.FirstAt.Format(time.RFC3339Nano), e.LastAt.Format(time.RFC3339Nano)}
	})
}

type securityLines struct{ jsonLines }

func openSecurityJSON(out *bufio.Writer) (sheet[keyring.NamedSecurityEvent], error) {
	return &securityLines{jsonLines{out: out}}, nil
}

func (s *securityLines) row(e keyring.NamedSecurityEvent) error {
	return s.line(securityEvent(e.SecurityEvent, e.Email))
}

func (s *securityLines) end(rows int64) error {
	return s.line(SecurityExportEnd{End: true, Events: rows})
}

func securityEvent(e audit.SecurityEvent, email string) SecurityEvent {
	return SecurityEvent{ID: e.ID, Kind: e.Kind, MemberID: e.MemberID, MemberEmail: orNull(email), KeyID: orNull(e.KeyID), Address: orNull(e.Address),
		Detail: orNull(e.Detail), Count: e.Count, FirstAt: e.FirstAt, LastAt: e.LastAt}
}

func (h *handler) apiListSecurityEvents(c echo.Context) error {
	filter, err := readSecurityFilter(c, "cursor", "limit")
	if err != nil {
		return err
	}
	limit, err := readCount(c, "limit", 20, 100)
	if err != nil {
		return err
	}
	page, err := h.keyring.SecurityEvents(c.Request().Context(), actorOf(c), filter, c.QueryParam("cursor"), limit)
	if err != nil {
		return err
	}
	answer := SecurityEventPage{Items: []SecurityEvent{}, NextCursor: orNull(page.Next)}
	for _, e := range page.Events {
		answer.Items = append(answer.Items, securityEvent(e, page.Names[e.MemberID].Email))
	}
	return respond(c, http.StatusOK, answer)
}

func (h *handler) apiExportSecurityEvents(c echo.Context) error {
	filter, err := readSecurityFilter(c, "format")
	format, err := readFormat(c, securityFormats, err)
	if err != nil {
		return err
	}
	return h.streamSecurityEvents(c, filter, format, "moonlatch-security-events")
}

// readSecurityFilter reads what narrows the security events; more names the parameters that a call takes besides.
func readSecurityFilter(c echo.Context, more ...string) (audit.SecurityFilter, error) {
	if err := knownQuery(c, append(more, "kind", "memberId", "from", "to")...); err != nil {
		return audit.SecurityFilter{}, err
	}
	filter, problems := audit.SecurityFilter{Kind: c.QueryParam("kind")}, input.Problems{}
	if filter.Kind != "" && !slices.Contains(audit.SecurityKinds, filter.Kind) {
		problems["kind"] = "There is no such kind. Send one of " + strings.Join(audit.SecurityKinds, ", ") + "."
	}
	if text := c.QueryParam("memberId"); text != "" {
		id, err := input.ID(text)
		problems.Add("memberId", err)
		filter.MemberID = id
	}
	readPeriod(c, &filter.From, &filter.To, problems)
	return filter, problems.Err()
}
