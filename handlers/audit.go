package handlers

import (
	"bufio"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// auditRows is how many events a page of the log has.
const auditRows = 50

func (h *handler) auditPage(c echo.Context) error {
	state, filter, err := readAuditState(c)
	if err != nil {
		return err
	}
	ctx, who := c.Request().Context(), actorOf(c)
	model := views.AuditLog{Page: h.page(c), State: state, Cursor: c.QueryParam("cursor")}
	page, err := h.keyring.Events(ctx, who, filter, model.Cursor, auditRows)
	if err != nil {
		return err
	}
	model.Older = page.Next
	names, err := h.keyring.EventNames(ctx, who, page.Events, filter.ActorID, filter.SubjectID, filter.KeyID)
	if err != nil {
		return err
	}
	for _, e := range page.Events {
		model.Events = append(model.Events, eventView(e, names))
	}
	model.SubjectName, model.KeyName = nameOf(names[filter.SubjectID]), nameOf(names[filter.KeyID])
	if model.SubjectName == "" && filter.SubjectID != "" && len(page.Events) > 0 {
		model.SubjectName = page.Events[0].Subject.Name // it is gone, and the log still knows what it was called
	}
	actors, err := h.keyring.Actors(ctx, who)
	if err != nil {
		return err
	}
	for _, p := range actors {
		model.Actors = append(model.Actors, views.Option{Value: p.ID, Label: p.Email})
	}
	if known := func(o views.Option) bool { return o.Value == filter.ActorID }; filter.ActorID != "" && !slices.ContainsFunc(model.Actors, known) {
		model.Actors = append(model.Actors, views.Option{Value: filter.ActorID, Label: cmp.Or(names[filter.ActorID].Email, "somebody who is not here")})
	}
	return h.render(c, http.StatusOK, views.AuditPage(model))
}

// nobodies are those who act and are no members, by what the address calls them.
var nobodies = map[string]string{views.ActorOperator: audit.ByOperator, views.ActorPolicy: audit.ByPolicy}

// readAuditState reads the log's address; errList for what no link of ours says. An id of another organisation finds
// nothing, as one that nobody has.
func readAuditState(c echo.Context) (views.AuditState, audit.Filter, error) {
	state := views.AuditState{What: c.QueryParam("what"), Actor: c.QueryParam("actor"), Subject: c.QueryParam("subject"),
		Key: c.QueryParam("key"), From: c.QueryParam("from"), To: c.QueryParam("to")}
	var filter audit.Filter
	switch {
	case slices.Contains(audit.Kinds, state.What):
		filter.SubjectKind = state.What
	case state.What == "" || slices.Contains(account.Actions(), account.Action(state.What)):
		filter.Action = account.Action(state.What)
	default:
		return state, filter, errList
	}
	filter.ActorName = nobodies[state.Actor]
	for text, into := range map[*string]*string{&state.Actor: &filter.ActorID, &state.Subject: &filter.SubjectID, &state.Key: &filter.KeyID} {
		if *text == "" || text == &state.Actor && filter.ActorName != "" {
			continue
		}
		id, err := input.ID(*text)
		if err != nil {
			return state, filter, errList
		}
		*text, *into = id, id
	}
	var known bool
	if filter.From, filter.To, known = readDays(&state.From, &state.To); !known {
		return state, filter, errList
	}
	return state, filter, nil
}

// readDays reads the days of a filter: from the beginning of the first to the end of the last, each zero for none. Days in the
// wrong order change places.
func readDays(first, last *string) (from, to time.Time, known bool) {
	if *last != "" && *first > *last {
		*first, *last = *last, *first
	}
	from, fromKnown := readDay(*first)
	to, toKnown := readDay(*last)
	if !to.IsZero() {
		to = to.AddDate(0, 0, 1) // the day itself is in
	}
	return from, to, fromKnown && toKnown
}

// readDay reads a day in UTC; "" is none.
func readDay(text string) (time.Time, bool) {
	if text == "" {
		return time.Time{}, true
	}
	day, err := time.Parse(time.DateOnly, text)
	return day, err == nil && day.Year() >= 1970 && day.Year() < 9999
}

func (h *handler) exportAudit(c echo.Context) error {
	_, filter, err := readAuditState(c)
	if err != nil {
		return err
	}
	format, known := eventFormats[c.QueryParam("format")]
	if !known || len(queryProblems(c, []string{"what", "actor", "subject", "key", "from", "to", "format"})) > 0 { // a slip of a filter's name would export everything
		return errList
	}
	return h.exportEvents(c, filter, format, "moonlatch-audit-"+fileName(viewerOf(c).Organisation))
}

func (h *handler) exportEvents(c echo.Context, filter audit.Filter, f format[audit.Event], file string) error {
	next, err := h.keyring.ExportEvents(c.Request().Context(), actorOf(c), filter)
	if err != nil {
		return err
	}
	return stream(h, c, file, f, next)
}

// eventFormats are the formats in which the log can be had, by what the address calls them.
var eventFormats = map[string]format[audit.Event]{
	"csv":   {csvMedia, "csv", openEventsCSV},
	"jsonl": {"application/jsonl", "jsonl", openEventsJSON},
}

// eventColumns are those of the CSV, in the order of eventCells.
var eventColumns = []string{"seq", "id", "orgId", "at", "action", "actorId", "actorEmail", "actorRole", "sessionId", "keyId", "address", "userAgent",
	"subjectKind", "subjectId", "subjectName", "before", "after", "prevHash", "hash"}

func openEventsCSV(out *bufio.Writer) (sheet[audit.Event], error) {
	hash := ""
	s, err := openCSV(out, eventColumns, func(e audit.Event) []string {
		hash = hex.EncodeToString(e.Hash)
		return []string{strconv.FormatInt(e.Seq, 10), e.ID, e.OrgID, e.At.Format(time.RFC3339Nano), string(e.Action), e.ActorID, e.Email, string(e.Role),
			e.SessionID, e.KeyID, e.Address, e.UserAgent, e.Subject.Kind, e.Subject.ID, e.Subject.Name, e.Before, e.After, hex.EncodeToString(e.PrevHash), hash}
	})
	if err != nil {
		return nil, err
	}
	s.sign = func(last []string) { last[len(last)-1] = hash }
	return s, nil
}

// jsonLines is an event a line, as the API has it, and a last line that says how many there were.
type jsonLines struct {
	out  *bufio.Writer
	last audit.Event
}

func openEventsJSON(out *bufio.Writer) (sheet[audit.Event], error) { return &jsonLines{out: out}, nil }

func (s *jsonLines) row(e audit.Event) error {
	s.last = e
	return s.line(auditEvent(e))
}

func (s *jsonLines) end(rows int64) error {
	return s.line(AuditExportEnd{End: true, Events: rows, LastSeq: s.last.Seq, Hash: hex.EncodeToString(s.last.Hash)})
}

func (s *jsonLines) line(value any) error {
	if err := jsonv2.MarshalWrite(s.out, value); err != nil {
		return err
	}
	return s.out.WriteByte('\n')
}

func (h *handler) checkAudit(c echo.Context) error {
	found, err := h.keyring.CheckLog(c.Request().Context(), actorOf(c))
	if err != nil {
		return err
	}
	model := views.AuditCheck{Page: h.page(c), Return: returnOr(c, views.AuditPath), Done: found.Done, Checked: found.Checked, All: found.All,
		Hash: hex.EncodeToString(found.Last.Hash), LastAt: found.Last.At, At: found.At}
	if found.Done {
		model.Checked = found.Last.Events
	}
	if found.Broken != nil {
		model.BrokenAt, model.Reason = found.Broken.Seq, found.Broken.Reason
	}
	return h.render(c, http.StatusOK, views.AuditCheckPage(model))
}

// eventView puts an event into plain values. Names say what the ids in it stand for.
func eventView(e audit.Event, names map[string]keyring.Named) views.Event {
	_, here := names[e.Subject.ID]
	return views.Event{
		Seq: e.Seq, At: e.At, Action: e.Action, ActorID: e.ActorID, Who: e.Email, WhoName: names[e.ActorID].Name, Role: e.Role,
		Address: e.Address, UserAgent: e.UserAgent, SessionID: e.SessionID, KeyID: e.KeyID, KeyName: names[e.KeyID].Name,
		SubjectKind: e.Subject.Kind, SubjectID: e.Subject.ID, Subject: e.Subject.Name, SubjectHere: here, Made: e.Before == "", Gone: e.After == "", Changes: fieldChanges(e, names),
	}
}

// meanwhile is the problem of a form that came too late: who changed what since it was first shown, by the events of that,
// newest first. Saving the form again would replace it.
func meanwhile(thing string, past []audit.Event, names map[string]keyring.Named) input.Problems {
	said := ""
	for _, event := range slices.Backward(past) {
		e := eventView(event, names)
		said += e.Who + " changed " + thing + " meanwhile. "
		for _, change := range e.Changes {
			said += fmt.Sprintf("%s: “%s” became “%s”. ", change.Field, cmp.Or(change.Before.Text, "nothing"), cmp.Or(change.After.Text, "nothing"))
		}
	}
	return input.Problems{"": cmp.Or(said, "Somebody changed "+thing+" meanwhile. ") + "Saving replaces that."}
}

// nameOf is what people call something by: of a member, the e-mail address.
func nameOf(n keyring.Named) string { return cmp.Or(n.Email, n.Name) }

// factLabels are the facts of events in the order and in the words in which people read them. A fact that is not among
// them, since a newer or an older version wrote it, comes last, under its own name.
var factLabels = []struct{ name, label string }{
	{"name", "Name"}, {"email", "E-mail"}, {"role", "Role"}, {"status", "Status"}, {"description", "Description"},
	{"environment", "Environment"}, {"prefix", "Prefix"}, {"signature", "Signature"},
	{"scopes", "Scopes"}, {"ownerId", "Owner"}, {"roleLimit", "Acts at most as"}, {"workspaceId", "Workspace"}, {"processId", "Process"},
	{"biasProfileId", "Bias profile"}, {"ipAllowlist", "IP allowlist"}, {"for", "Signed in with"}, {"expiresAt", "Expires"}, {"rotatedAt", "Rotated"},
	{"graceEndsAt", "Grace period ends"}, {"replacedBy", "Replaced by"}, {"revokedAt", "Revoked"}, {"archivedAt", "Archived"}, {"endedAt", "Ended"}, {"retired", "Retired"},
	{"sessionsEnded", "Sessions ended"}, {"password", "Password"}, {"invitedBy", "Invited by"}, {"defaultThreshold", "Default threshold"},
	{"longestLifetimeDays", "Longest lifetime"}, {"defaultLifetimeDays", "Default lifetime"}, {"longestGraceSeconds", "Longest grace period"},
	{"requireAllowlist", "IP allowlist required"}, {"widestIPv4", "Widest IPv4 range (prefix length)"}, {"widestIPv6", "Widest IPv6 range (prefix length)"}, {"requireWorkspace", "Workspace required"}, {"unusedDays", "Unused after"},
	{"disableUnused", "Unused keys are disabled"}, {"disableDeparted", "Keys of who has left are disabled"},
}

func fieldChanges(e audit.Event, names map[string]keyring.Named) []views.FieldChange {
	var before, after map[string]any
	// What is stored was encoded from such a map; an event that was tampered with simply shows no facts here.
	_ = json.Unmarshal([]byte(e.Before), &before)
	_ = json.Unmarshal([]byte(e.After), &after)
	told := maps.Clone(before)
	if told == nil {
		told = map[string]any{}
	}
	maps.Copy(told, after)
	var out []views.FieldChange
	shown := func(name string, fact any) views.Fact {
		return views.Fact{Text: factText(e.Subject.Kind, name, fact, names), At: momentOf(name, fact)}
	}
	add := func(name, label string) {
		if _, is := told[name]; is {
			out = append(out, views.FieldChange{Field: label, Before: shown(name, before[name]), After: shown(name, after[name])})
			delete(told, name)
		}
	}
	for _, fact := range factLabels {
		add(fact.name, fact.label)
	}
	for _, name := range slices.Sorted(maps.Keys(told)) {
		label := name
		if category, is := strings.CutPrefix(name, audit.CategoryFact); is {
			label = "Category " + category
		}
		add(name, label)
	}
	return out
}

// moments are the facts that are times, and references those that are ids. Any other text is somebody's own, and is shown
// as it is, whatever it looks like.
var (
	moments    = []string{"expiresAt", "rotatedAt", "graceEndsAt", "revokedAt", "archivedAt", "endedAt"}
	references = []string{"ownerId", "workspaceId", "processId", "biasProfileId", "replacedBy"}
)

// momentOf is the time that a fact is; zero for any other fact.
func momentOf(name string, fact any) time.Time {
	text, _ := fact.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || !slices.Contains(moments, name) {
		return time.Time{}
	}
	return at
}

// factText puts a fact of a kind of subjects into the words in which people read it.
func factText(kind, name string, fact any, names map[string]keyring.Named) string {
	switch fact := fact.(type) {
	case nil:
		return ""
	case bool:
		if fact {
			return "Yes"
		}
		return "No"
	case []any:
		var parts []string
		for _, part := range fact {
			parts = append(parts, factText(kind, "", part, names))
		}
		return strings.Join(parts, ", ")
	case map[string]any:
		var parts []string
		for _, key := range slices.Sorted(maps.Keys(fact)) {
			parts = append(parts, key+" "+factText(kind, key, fact[key], names))
		}
		return strings.Join(parts, ", ")
	case string:
		switch {
		case name == "status" && kind == "key":
			return apikey.Status(fact).Label()
		case name == "role":
			return account.Role(fact).Label()
		}
		if at := momentOf(name, fact); !at.IsZero() {
			return at.UTC().Format("2 January 2006, 15:04:05 UTC")
		}
		if slices.Contains(references, name) {
			return cmp.Or(nameOf(names[fact]), fact)
		}
		return fact
	case float64:
		return cmp.Or(views.LengthWords(name, int64(fact)), strconv.FormatFloat(fact, 'f', -1, 64))
	default:
		return fmt.Sprint(fact)
	}
}
