package handlers

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"go/ast"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

// happen writes an event of the actor for each change.
func (s *site) happen(who account.Actor, action account.Action, changes ...audit.Change) {
	s.t.Helper()
	err := s.store.Mutate(s.t.Context(), who, action, func(*store.Tx) ([]audit.Change, error) { return changes, nil })
	if err != nil {
		s.t.Fatal(err)
	}
}

func ofMember(who account.Actor, before, after audit.Facts) audit.Change {
	return audit.Change{Subject: audit.Subject{Kind: "member", ID: who.MemberID, Name: who.Email}, Before: before, After: after}
}

func TestAuditLogSaysWhoDidWhatToWhat(t *testing.T) {
	s := newSite(t)
	key := s.issue("Deployment")
	gone := s.issue("Short-lived")
	if err := s.keyring.DeleteKey(t.Context(), s.org.Owner, gone.ID); err != nil {
		t.Fatal(err)
	}
	acting, secret := s.key(s.org.Owner, apikey.All)
	s.with(secret).call(patch, "/v1/api-keys/"+key.ID, object{"status": "inactive"}).expect(t, "disable", 200, "")
	s.happen(s.org.Owner, account.ChangeRole, ofMember(s.org.Support, audit.Facts{"role": "support", "mood": "calm"}, audit.Facts{"role": "admin", "mood": "keen"}))
	s.happen(account.Actor{OrgID: s.org.ID, Email: audit.ByPolicy, Role: account.Operator}, account.RenameSelf, ofMember(s.org.Member, nil, audit.Facts{"by": "itself"}))
	support := s.as(s.org.Support)
	all := support.get("/audit-log")
	for what, c := range map[string]struct{ row, text string }{
		"the role before":        {"Changed the role of", `<bdi>Support</bdi>`},
		"the role after":         {"Changed the role of", `<bdi>Admin</bdi>`},
		"whose role it was":      {"Changed the role of", `href="/members/` + s.org.Support.MemberID + `"><bdi>` + s.org.Support.Email + `</bdi>`},
		"a fact without a label": {"Changed the role of", `mood:`},
		"whoever acted":          {"Changed the role of", `<bdi>` + s.org.Owner.Email + `</bdi>`},
		"a link to the key":      {"Edited the key", `href="/account/api-keys/` + key.ID + `"><bdi>Deployment</bdi>`},
		"the acting key":         {"Edited the key", `href="/account/api-keys/` + acting.ID + `"><bdi>for tests</bdi>`},
		"the deleted key's name": {"Deleted the key", `<bdi class="font-medium">Short-lived</bdi>`},
		"the key policy":         {"Changed their own name", `<bdi>Key policy</bdi>`},
	} {
		if row := eventOf(t, all.body, c.row); !strings.Contains(row, c.text) {
			t.Errorf("%s is missing in %s", what, row)
		}
	}
	if strings.Contains(all.body, `href="/account/api-keys/`+gone.ID+`"`) {
		t.Error("a link leads to a key that is gone")
	}
	today := s.keyring.Now().Format(time.DateOnly)
	tomorrow := s.keyring.Now().Add(24 * time.Hour).Format(time.DateOnly)
	for query, want := range map[string][2]string{ // what the rows have, and what none of them has
		"what=key.edited":                     {"Edited the key", "Deleted the key"},
		"what=key":                            {"Edited the key", "Changed the role"},
		"what=member":                         {"Changed the role", "Edited the key"},
		"what=profile":                        {"", "<tr>"},
		"actor=operator":                      {"Set up the organisation", "Changed the role"},
		"actor=policy":                        {"Changed their own name", "Changed the role"},
		"actor=" + s.org.Admin.MemberID:       {"Created the key", "Deleted the key"},
		"key=" + acting.ID:                    {"Edited the key", "Deleted the key"},
		"subject=" + gone.ID:                  {"Short-lived", "Deployment"},
		"from=" + tomorrow:                    {"", "<tr>"},
		"to=" + today:                         {"Deployment", ""},
		"to=2020-01-01":                       {"", "<tr>"},
		"from=" + tomorrow + "&to=2020-01-01": {"Deployment", ""}, // read as they were meant
		"from=" + today + "&to=" + today + "&what=key.deleted&actor=" + s.org.Owner.MemberID: {"Short-lived", "Edited the key"},
		"subject=" + uuid.NewString(): {"", "<tr>"},
	} {
		got := support.get("/audit-log?" + query)
		rows := strings.Join(tableRow.FindAllString(got.body, -1), "") // filters and chips have the same words
		if got.status != 200 || !strings.Contains(rows, want[0]) || want[1] != "" && strings.Contains(rows, want[1]) {
			t.Errorf("%s: %d, or without %q, or with %q", query, got.status, want[0], want[1])
		}
	}
	support.get("/audit-log?what=profile").holds(t, "a kind of which nothing happened", 200, "Nothing like this happened")
	support.get("/audit-log?subject="+gone.ID).holds(t, "what is gone", 200, "About “Short-lived”")
	other := storetest.Organisation(t, s.store)
	foreign := s.as(other.Owner)
	for _, name := range []string{"actor", "subject", "key"} {
		theirs := strings.ReplaceAll(foreign.get("/audit-log?"+name+"="+key.ID).body, key.ID, "")
		random := uuid.NewString()
		nobodys := strings.ReplaceAll(foreign.get("/audit-log?"+name+"="+random).body, random, "")
		theirs, nobodys = strings.ReplaceAll(theirs, key.ID[28:], ""), strings.ReplaceAll(nobodys, random[28:], "")
		if theirs != nobodys || strings.Contains(theirs, "Deployment") {
			t.Errorf("another organisation's %s differs from nobody's", name)
		}
	}
	for _, bad := range []string{"what=x", "actor=x", "subject=1", "subject=operator", "subject=policy", "key='", "key=operator", "from=yesterday", "to=2026-02-30", "from=0000-01-01", "cursor=x"} {
		if got := support.get("/audit-log?" + bad); got.status != 400 {
			t.Errorf("%s: %d", bad, got.status)
		}
	}
}

var tableRow = regexp.MustCompile(`(?s)<tr>.*?</tr>`)

// eventOf is the one row of the log that has a text.
func eventOf(t *testing.T, page, text string) string {
	t.Helper()
	rows := slices.DeleteFunc(tableRow.FindAllString(page, -1), func(row string) bool { return !strings.Contains(row, text) })
	if len(rows) != 1 {
		t.Fatalf("%d rows have %q", len(rows), text)
	}
	return rows[0]
}

// TestEveryFactIsToldInWords reads the code: each fact that it writes down has a label, and no label is left over.
func TestEveryFactIsToldInWords(t *testing.T) {
	written := map[string]bool{}
	for _, room := range []string{"audit", "keyring", "demo"} {
		for _, fact := range factsOf(t, filepath.Join("..", "internal", room)) {
			written[fact] = true
		}
	}
	for _, fact := range factLabels {
		if !written[fact.name] {
			t.Errorf("%s has a label, and nothing writes it down", fact.name)
		}
		delete(written, fact.name)
	}
	for fact := range written {
		t.Errorf("%s is written down and has no label", fact)
	}
}

// factsOf lists the names of the facts that a package writes down: those in audit.Facts{…}, and those that are put into a
// change's facts afterwards. A name that is not there to be read fails the test; only categories have such.
func factsOf(t *testing.T, folder string) (names []string) {
	t.Helper()
	add := func(name ast.Expr) {
		switch name := name.(type) {
		case *ast.BasicLit:
			text, err := strconv.Unquote(name.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, text)
		case *ast.BinaryExpr:
			if prefix, is := name.X.(*ast.Ident); !is || prefix.Name != "CategoryFact" {
				t.Errorf("%s: the name of a fact can't be read", folder)
			}
		default:
			t.Errorf("%s: the name of a fact can't be read", folder)
		}
	}
	called := func(e ast.Expr, known ...string) bool {
		if selected, is := e.(*ast.SelectorExpr); is {
			e = selected.Sel
		}
		name, is := e.(*ast.Ident)
		return is && slices.Contains(known, name.Name)
	}
	for _, file := range parsed(t, folder) {
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				for _, fact := range n.Elts {
					if pair, is := fact.(*ast.KeyValueExpr); is && called(n.Type, "Facts") {
						add(pair.Key)
					}
				}
			case *ast.AssignStmt:
				for _, left := range n.Lhs {
					if place, is := left.(*ast.IndexExpr); is && called(place.X, "Before", "After", "facts") {
						add(place.Index)
					}
				}
			}
			return true
		})
	}
	return names
}

// TestTextOfPeopleIsShownAsItIs names keys like a time and like a member's id, which the log words where they are facts.
func TestTextOfPeopleIsShownAsItIs(t *testing.T) {
	s := newSite(t)
	const moment = "2026-01-01T00:00:00Z"
	s.issue(moment)
	s.issue(s.org.Support.MemberID)
	page := s.as(s.org.Owner).get("/audit-log?what=key.issued").body
	for _, text := range []string{"<bdi>" + moment + "</bdi>", "<bdi>" + s.org.Support.MemberID + "</bdi>", "<bdi>" + s.org.Admin.Email + "</bdi>"} {
		if !strings.Contains(page[strings.Index(page, "Name:"):], text) {
			t.Errorf("%s is missing", text)
		}
	}
	for _, text := range []string{"1 January 2026", "<bdi>" + s.org.Support.Email + "</bdi>"} {
		if strings.Contains(page, text) {
			t.Errorf("%s is there", text)
		}
	}
	names := map[string]keyring.Named{s.org.Admin.MemberID: {Email: "admin@example.com"}}
	for name, want := range map[string]string{"expiresAt": "1 January 2026, 00:00:00 UTC", "name": moment, "description": moment} {
		if got := factText("key", name, moment, names); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	for name, want := range map[string]string{"ownerId": "admin@example.com", "name": s.org.Admin.MemberID, "invitedBy": s.org.Admin.MemberID} {
		if got := factText("key", name, s.org.Admin.MemberID, names); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
}

// TestDetailsReadLikeTheRestOfThePage: lengths of time have their unit, moments are in the viewer's zone, and what is gone
// is told as what it was. Exports say what is stored.
func TestDetailsReadLikeTheRestOfThePage(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	details := func(what string) string {
		t.Helper()
		got := owner.get("/audit-log?what=" + what)
		_, list, _ := strings.Cut(got.body, "Details</summary>")
		list, _, _ = strings.Cut(list, "</details>")
		return strings.Join(strings.Fields(list), " ")
	}
	if got := owner.post(views.EditPolicyPath, policyForm("graceSeconds", "604800", "defaultDays", "1", "unusedDays", "120")); got.status != 303 {
		t.Fatal(got.status)
	}
	const became = `</bdi> <span class="muted" aria-hidden="true">→</span><span class="sr-only">became</span> <bdi>`
	for _, words := range []string{"Default lifetime:</span> <bdi>90 days" + became + "1 day<", "Longest grace period:</span> <bdi>30 days" + became + "7 days<", "Unused after:</span> <bdi>Never" + became + "120 days<"} {
		if got := details("policy"); !strings.Contains(got, words) {
			t.Errorf("%s is not in %s", words, got)
		}
	}
	if rows := rowsOf(t, owner.get("/audit-log/export?format=csv&what=policy")); rows[0]["before"] != `{"defaultLifetimeDays":90,"longestGraceSeconds":2592000,"unusedDays":0}` {
		t.Errorf("the export says %s", rows[0]["before"])
	}
	key := s.issue("Short-lived")
	if err := s.keyring.DeleteKey(t.Context(), s.org.Owner, key.ID); err != nil {
		t.Fatal(err)
	}
	expires := `Expires:</span> <time datetime="` + key.ExpiresAt.Format(time.RFC3339) + `" data-local>`
	made, gone := details("key.issued"), details("key.deleted")
	for _, words := range []string{"Status:</span> <bdi>Enabled</bdi></li>", expires} {
		if !strings.Contains(made, words) || !strings.Contains(gone, words) {
			t.Errorf("%s is not in\n%s\nand\n%s", words, made, gone)
		}
	}
	if strings.Contains(made+gone, "became") || strings.Contains(made+gone, "None") || strings.Contains(made, "What it was") || !strings.Contains(gone, "What it was:") {
		t.Errorf("%s\n%s", made, gone)
	}
}

func TestAuditLogIsReadPageByPage(t *testing.T) {
	s := newSite(t)
	s.happen(s.org.Owner, account.RenameSelf, slices.Repeat([]audit.Change{ofMember(s.org.Owner, nil, audit.Facts{"name": "x"})}, 120)...)
	b := s.as(s.org.Owner)
	seen, path := 0, "/audit-log?what=member.renamed"
	for path != "" {
		page := b.get(path)
		seen += strings.Count(page.body, ">Details</summary>")
		_, link, more := strings.Cut(page.body, `rel="next" href="`)
		if path = ""; more {
			link, _, _ = strings.Cut(link, `"`)
			path = strings.ReplaceAll(link, "&amp;", "&")
		}
	}
	if seen != 120 {
		t.Errorf("%d events were shown", seen)
	}
}

// formulas are what a spreadsheet takes for one, and what it does not.
var formulas = map[string]bool{
	"=1+1": true, "+1": true, "-1": true, "@SUM(A1)": true, "\tx": true, "\rx": true, "  =1": true, "\u00a0=1": true, "\u3000＝1": true,
	"＝1": true, "＋1": true, "－1": true, "＠x": true, "\u200b=1": true, "\ufeff=1": true, " \t=1": true, "\n=1": true, "\x00=1": true,
	"": false, "plain": false, "1=1": false, "a@b.example": false, "’=1": false, "日本": false, "'=1": false,
}

func TestCellsThatLookLikeFormulasAreDefused(t *testing.T) {
	for _, sly := range []string{"\ufe66cmd", "\ufe62 1", "\ufe63 1", "\ufe6bx", "\u22121", "\ufe0f=1", " \u200b＝1"} {
		if defuse(sly) != "'"+sly {
			t.Errorf("%q becomes %q", sly, defuse(sly))
		}
	}
	for cell, is := range formulas {
		if want := map[bool]string{true: "'" + cell, false: cell}[is]; defuse(cell) != want {
			t.Errorf("%q becomes %q", cell, defuse(cell))
		}
	}
}

// rowsOf reads a CSV that must be whole, and returns its rows by column, without the last line.
func rowsOf(t *testing.T, got answer) []map[string]string {
	t.Helper()
	all, err := csv.NewReader(strings.NewReader(got.body)).ReadAll()
	if err != nil || got.status != 200 || len(all) < 2 || !strings.HasPrefix(got.header.Get("Content-Type"), "text/csv; charset=utf-8") ||
		!strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment; filename=moonlatch-") || got.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v %v", got.status, err, got.header)
	}
	if last := all[len(all)-1]; last[0] != "# end" || last[1] != fmt.Sprint(len(all)-2) {
		t.Errorf("the last line is %q", last)
	}
	if !strings.HasSuffix(got.body, "\r\n") || strings.HasPrefix(got.body, "\ufeff") {
		t.Error("lines end in CRLF, and there is no byte-order mark")
	}
	var rows []map[string]string
	for _, cells := range all[1 : len(all)-1] {
		row := map[string]string{}
		for i, name := range all[0] {
			row[name] = cells[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func TestExportsAreDefusedAndWhole(t *testing.T) {
	s := newSite(t)
	who := s.org.Owner
	for cell := range formulas {
		if strings.Contains(cell, "\x00") {
			continue // no column holds it
		}
		who.Email, who.UserAgent = cell, cell
		change := ofMember(who, nil, audit.Facts{"name": cell})
		change.Subject.Name = cell
		s.happen(who, account.RenameSelf, change)
	}
	support := s.as(s.org.Support)
	rows := rowsOf(t, support.get("/audit-log/export?format=csv&what=member.renamed"))
	if len(rows) != len(formulas)-1 {
		t.Fatalf("%d events", len(rows))
	}
	for _, row := range rows {
		for _, column := range []string{"actorEmail", "userAgent", "subjectName"} {
			if cell := strings.ReplaceAll(row[column], "\r\n", "\n"); cell != defuse(cell) {
				t.Errorf("%s is %q", column, cell)
			}
		}
	}
	if got := support.get("/audit-log/export?format=csv&what=profile.deleted"); len(rowsOf(t, got)) != 0 {
		t.Error("an export of nothing has rows")
	}
	lines := support.get("/audit-log/export?format=jsonl&what=key.revoked")
	if lines.body != `{"end":true,"events":0,"hash":"","lastSeq":0}`+"\n" || lines.header.Get("Content-Encoding") != "" {
		t.Errorf("an export of nothing: %s", lines.body)
	}
	if _, _, err := s.keyring.IssueKey(t.Context(), s.org.Admin, keyring.KeyDraft{Name: "=cmd|' /C calc'!A0", Scopes: []string{"read:chat"}, IPAllowlist: []string{"192.0.2.0/24"}}); err != nil {
		t.Fatal(err)
	}
	s.issue("Quiet")
	keys := rowsOf(t, support.get("/account/api-keys/export?q=calc"))
	if len(keys) != 1 || keys[0]["name"] != "'=cmd|' /C calc'!A0" || keys[0]["owner"] != s.org.Admin.Email || keys[0]["status"] != "Enabled" || keys[0]["ipAllowlist"] != "192.0.2.0/24" {
		t.Errorf("the keys: %v", keys)
	}
	owners := rowsOf(t, support.get("/key-owners/export"))
	if len(owners) != 1 || owners[0]["email"] != s.org.Admin.Email || owners[0]["enabled"] != "2" || owners[0]["live"] != "2" || len(rowsOf(t, support.get("/key-owners/export?left=1"))) != 0 {
		t.Errorf("the key owners: %v", owners)
	}
	if head := support.send(http.MethodHead, "/audit-log/export?format=csv", nil, nil); head.status != 200 || head.body != "" || head.header.Get("Content-Disposition") == "" {
		t.Errorf("HEAD: %d %v", head.status, head.header)
	}
	for _, bad := range []string{"/audit-log/export", "/audit-log/export?format=xml", "/audit-log/export?format=csv&what=x", "/account/api-keys/export?status=x", "/key-owners/export?left=x",
		"/account/api-keys/export?format=jsonl", "/key-owners/export?format=csv"} { // those two lists come in one format
		if got := support.get(bad); got.status != 400 {
			t.Errorf("%s: %d", bad, got.status)
		}
	}
	_, secret := s.key(s.org.Owner, "read:audit")
	c := s.with(secret)
	if got := rowsOf(t, c.call(get, "/v1/audit-events/export?format=csv&actor=operator", nil).answer); len(got) != 5 || got[0]["action"] != "organisation.created" {
		t.Errorf("what the operator did: %v", got)
	}
	for _, bad := range []string{"format=xml", "actor=me", "subjectKind=thing", "cursor=x", "limit=1"} {
		c.call(get, "/v1/audit-events/export?"+bad, nil).expect(t, bad, 400, "validation_failed")
	}
	if got := c.call(get, "/v1/audit-events?subjectKind=organisation&actor=operator", nil).expect(t, "list", 200, ""); !strings.Contains(got.body, "organisation.created") || strings.Contains(got.body, "key.issued") {
		t.Errorf("the list: %s", got.body)
	}
}

// TestAnExportThatFailsHalfWayIsNoWholeOne lets the database die after the first batches.
func TestAnExportThatFailsHalfWayIsNoWholeOne(t *testing.T) {
	cable, address := storetest.Lay(t, storetest.URL(t))
	db, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := siteOver(t, db)
	s.org = storetest.Organisation(t, db)
	_, secret := s.key(s.org.Owner, "read:audit")
	long := ofMember(s.org.Owner, nil, audit.Facts{"name": strings.Repeat("long ", 500)})
	for range 16 { // some 24 MB, more than the sockets between hold
		s.happen(s.org.Owner, account.RenameSelf, slices.Repeat([]audit.Change{long}, 600)...)
	}
	for _, format := range []string{"csv", "jsonl"} {
		request, err := http.NewRequestWithContext(t.Context(), get, s.URL+"/v1/audit-events/export?format="+format, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != 200 {
			t.Fatal(err, response.StatusCode)
		}
		if _, err := io.CopyN(io.Discard, response.Body, 1<<20); err != nil {
			t.Fatal(err)
		}
		cable.Cut()
		rest, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil || strings.Contains(string(rest[max(0, len(rest)-200):]), "end") {
			t.Errorf("%s: it ended well after %d bytes more: %s", format, len(rest), rest[max(0, len(rest)-200):])
		}
		cable.Mend()
		deadline := time.Now().Add(30 * time.Second)
		for s.visitor().get("/readyz").status != 200 {
			if time.Now().After(deadline) {
				t.Fatal("the server did not recover")
			}
		}
	}
	if log := s.log.String(); strings.Count(log, "export cut short") != 2 {
		t.Errorf("the log does not say so: %s", log)
	}
}

// TestAnExportIsNotCutByTheServersTimeLimit serves with a limit that has passed before the first byte.
func TestAnExportIsNotCutByTheServersTimeLimit(t *testing.T) {
	s := newSite(t)
	server := httptest.NewUnstartedServer(s.Config.Handler)
	server.Config.WriteTimeout = time.Nanosecond
	server.Start()
	t.Cleanup(server.Close)
	_, secret := s.key(s.org.Owner, "read:audit")
	s.happen(s.org.Owner, account.RenameSelf, slices.Repeat([]audit.Change{ofMember(s.org.Owner, nil, nil)}, 900)...)
	request, err := http.NewRequestWithContext(t.Context(), get, server.URL+"/v1/audit-events/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(body), `{"end":true,"events":906,`) {
		t.Errorf("%v after %d bytes", err, len(body))
	}
}

// TestWhoReadsNothingIsDropped writes to somebody who has stopped reading.
func TestWhoReadsNothingIsDropped(t *testing.T) {
	failed := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		out := &steady{to: w, control: http.NewResponseController(w), stall: 50 * time.Millisecond, now: time.Now}
		for {
			if _, err := out.Write(make([]byte, exportChunk)); err != nil {
				failed <- err
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var gone goneError
	if err := <-failed; !errors.As(err, &gone) {
		t.Error(err)
	}
}

// slowly takes its time, by a clock of its own, for whatever is written to it.
type slowly struct {
	now  time.Time
	each time.Duration
}

func (s *slowly) Write(chunk []byte) (int, error) {
	s.now = s.now.Add(s.each)
	return len(chunk), nil
}

func TestWhoReadsTooSlowlyIsDropped(t *testing.T) {
	const apace = exportChunk * time.Second / exportPace // for a chunk
	for _, c := range []struct {
		reading, between time.Duration // for a chunk, and until the next
		want             int           // chunks, of 1000
	}{
		{apace, 0, 1000},
		{0, time.Minute, 1000}, // it is the database that takes its time
		{apace + time.Millisecond, 0, int(exportPatience / (apace + time.Millisecond))},
		{14 * time.Second, 0, 2},
	} {
		reader := &slowly{now: time.Now(), each: c.reading}
		out := &steady{to: reader, control: http.NewResponseController(httptest.NewRecorder()), stall: exportStalls, now: func() time.Time { return reader.now }}
		sent, err := 0, error(nil)
		for sent < 1000 {
			if _, err = out.Write(make([]byte, exportChunk)); err != nil {
				break
			}
			sent++
			reader.now = reader.now.Add(c.between)
		}
		var gone goneError
		if sent != c.want || (err == nil) != (c.want == 1000) || err != nil && (!errors.As(err, &gone) || !errors.Is(err, errPace)) {
			t.Errorf("%s for a chunk: %d went out, %v", c.reading, sent, err)
		}
	}
}

func TestFewExportsRunAtOnce(t *testing.T) {
	var e exports
	var ends []func()
	for _, c := range []struct {
		org string
		ok  bool
	}{{"a", true}, {"a", true}, {"a", false}, {"b", true}, {"c", true}, {"c", false}, {"d", false}} {
		end, err := e.begin(c.org)
		if (err == nil) != c.ok {
			t.Errorf("of %s: %v", c.org, err)
		}
		if err == nil {
			ends = append(ends, end)
		}
	}
	for _, end := range ends {
		end()
	}
	if e.all != 0 || len(e.of) != 0 {
		t.Errorf("%d are counted that have ended", e.all)
	}
}

// TestAnExportBeyondTheLimitIsToldToWait keeps two of an organisation waiting for their reader.
func TestAnExportBeyondTheLimitIsToldToWait(t *testing.T) {
	s := newSite(t)
	long := ofMember(s.org.Owner, nil, audit.Facts{"name": strings.Repeat("long ", 500)})
	for range 16 {
		s.happen(s.org.Owner, account.RenameSelf, slices.Repeat([]audit.Change{long}, 600)...)
	}
	_, secret := s.key(s.org.Owner, "read:audit")
	ctx, cancel := context.WithCancel(t.Context())
	for range exportsOfOne {
		request, err := http.NewRequestWithContext(ctx, get, s.URL+"/v1/audit-events/export", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+secret)
		response, err := http.DefaultClient.Do(request)
		if err != nil || response.StatusCode != 200 {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
	}
	s.with(secret).call(get, "/v1/audit-events/export", nil).expect(t, "the third", 429, "rate_limited")
	page := s.as(s.org.Owner).get("/audit-log/export?format=csv")
	if page.status != 429 || !strings.Contains(page.body, "As many exports as can run at once") || page.header.Get("Retry-After") == "" {
		t.Errorf("the page of the third: %d %v", page.status, page.header)
	}
	cancel()
	deadline := time.Now().Add(30 * time.Second)
	for s.as(s.org.Owner).get("/audit-log/export?format=csv&what=key").status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("what was given up is counted still")
		}
	}
}

func TestCheckOfTheLogIsShown(t *testing.T) {
	address := storetest.URL(t)
	db, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := siteOver(t, db)
	s.org = storetest.Organisation(t, db)
	s.issue("watched")
	support := s.as(s.org.Support)
	if got := support.get("/audit-log/check?return=" + url.QueryEscape("/audit-log?what=key")); got.status != 200 || !strings.Contains(got.body, "7 events hold") ||
		!strings.Contains(got.body, `href="/audit-log?what=key"`) {
		t.Errorf("the untouched log: %d %s", got.status, got.body)
	}
	tx, err := storetest.DB(t, address).Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`SET LOCAL session_replication_role = replica`, `UPDATE audit_events SET actor_email = 'somebody@else.example' WHERE seq = 6`} {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	now := db.Now()
	db.Now = func() time.Time { return now.Add(time.Minute) }
	if got := support.get("/audit-log/check"); !strings.Contains(got.body, "Event 6 does not hold: its content was altered.") || !strings.Contains(got.body, "The 5 events before it hold.") {
		t.Errorf("the log that was tampered with: %s", got.body)
	}
}
