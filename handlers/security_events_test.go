package handlers

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

// attempted records failed sign-ins of a member from so many addresses, one after the other.
func (s *site) attempted(org storetest.Org, member string, addresses int) {
	s.t.Helper()
	for n := range addresses {
		s.keyring.RecordSecurityEvent(audit.SecurityEvent{OrgID: org.ID, Kind: audit.SignInFailed, MemberID: member, Address: fmt.Sprintf("198.51.100.%d", n+1)})
	}
	s.flushed()
}

// atNoon stops the clock of the store at noon of today (UTC), so that attempts fall into one hour and one day.
func (s *site) atNoon() {
	noon := s.store.Now().Truncate(24 * time.Hour).Add(12 * time.Hour)
	s.store.Now = func() time.Time { return noon }
}

func (s *site) flushed() {
	s.t.Helper()
	if err := s.keyring.FlushSecurityEvents(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// stored lists the organisation's security events, newest first.
func (s *site) stored() []audit.SecurityEvent {
	s.t.Helper()
	s.flushed()
	events, err := s.store.SecurityEvents(s.t.Context(), s.org.ID, audit.SecurityFilter{}, apikey.Position{}, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	return events
}

func TestEachRefusalIsRecordedOnce(t *testing.T) {
	s := newSite(t)
	s.atNoon()
	member, support := s.as(s.org.Member), s.token(s.org.Support)
	acting, secret := s.key(s.org.Admin, "read:chat")
	key := s.issue("Deployment")
	confined, elsewhere := s.key(s.org.Owner, "read:api-keys", "verify:api-keys")
	if _, err := s.keyring.EditKey(t.Context(), s.org.Owner, confined.ID, keyring.KeyEdit{IPAllowlist: &[]string{"203.0.113.9"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what   string
		do     func() int
		kind   string
		of     string
		key    string
		detail string
	}{
		{"a page", func() int { return member.get("/audit-log").status }, audit.PermissionRefused, s.org.Member.MemberID, "", "audit.read"},
		{"a form", func() int { return member.post("/account/api-keys/new", url.Values{"name": {"x"}}).status }, audit.PermissionRefused, s.org.Member.MemberID, "", "key.issued"},
		{"an API call by a token", func() int { return s.with(support).call(del, "/v1/api-keys/"+key.ID, nil).status }, audit.PermissionRefused, s.org.Support.MemberID, "", "key.revoked"},
		{"an API call by a key", func() int { return s.with(secret).call(get, "/v1/audit-events", nil).status }, audit.PermissionRefused, s.org.Admin.MemberID, acting.ID, "audit.read"},
		{"a key that asks about keys", func() int { return s.with(secret).call(post, verifyPath, object{"key": "x"}).status }, audit.PermissionRefused, s.org.Admin.MemberID, acting.ID, "key.verified"},
		{"more than the caller holds", func() int {
			return s.with(s.token(s.org.Admin)).call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"*"}}).status
		}, audit.PermissionRefused, s.org.Admin.MemberID, "", "key.granted_all"},
		{"a key from an address that it may not be used from", func() int { return s.with(elsewhere).call(get, "/v1/api-keys", nil).status }, audit.PermissionRefused, s.org.Owner.MemberID, confined.ID, "key.read"},
		{"a gateway's key from there", func() int { return s.with(elsewhere).call(post, verifyPath, object{"key": "x"}).status }, audit.PermissionRefused, s.org.Owner.MemberID, confined.ID, "key.verified"},
		{"another site's form", func() int {
			return member.send(http.MethodPost, "/account/name", url.Values{"name": {"x"}}, map[string]string{"Sec-Fetch-Site": "cross-site"}).status
		}, audit.OriginRefused, s.org.Member.MemberID, "", ""},
	} {
		before := len(s.stored())
		if status := c.do(); status != http.StatusForbidden {
			t.Errorf("%s: %d", c.what, status)
		}
		got := s.stored()
		if len(got) != before+1 {
			t.Errorf("%s made %d events", c.what, len(got)-before)
			continue
		}
		if e := got[0]; e.Kind != c.kind || e.MemberID != c.of || e.KeyID != c.key || e.Detail != c.detail || e.Count != 1 || e.Address != "127.0.0.1" {
			t.Errorf("%s is %+v", c.what, e)
		}
	}
	before := len(s.stored())
	s.client().call(get, "/v1/api-keys", nil).expect(t, "nobody", 401, "unauthorized")
	member.get("/nothing-here").holds(t, "no page", 404, "")
	s.visitor().get("/audit-log")
	if got := s.stored(); len(got) != before {
		t.Errorf("what nobody was refused is recorded: %+v", got[0])
	}
	member.get("/audit-log")
	if got := s.stored(); len(got) != before {
		t.Errorf("a repeated refusal has a row of its own: %+v", got[0])
	}
}

// TestAFloodOfRefusalsIsCountedTogether: neither the log nor the database has something to do for each of them.
func TestAFloodOfRefusalsIsCountedTogether(t *testing.T) {
	s := newSite(t)
	s.atNoon()
	member := s.as(s.org.Member)
	_, secret := s.key(s.org.Admin, "read:chat")
	caller := s.with(secret)
	began := time.Now()
	const calls = 200
	for range calls {
		caller.call(post, verifyPath, object{"key": "x"}).expect(t, "a key that may not verify", 403, "forbidden")
		member.get("/audit-log").holds(t, "a page", 403, "")
	}
	events := s.stored()
	batches := 2 + int(time.Since(began)/(2*time.Second)) // one in 2 s, and that which was flushed
	if lines := strings.Count(s.log.String(), `msg="security event"`); lines > 2*batches {
		t.Errorf("%d refusals of two kinds made %d lines in %s", 2*calls, lines, time.Since(began))
	}
	if len(events) != 2 || events[0].Count != calls || events[1].Count != calls {
		t.Errorf("%+v", events)
	}
}

func TestFailedSignInsByPageAndAPIAreRecordedOnceEach(t *testing.T) {
	s := newSite(t)
	s.atNoon()
	s.visitor().post(views.SignInPath, url.Values{"email": {s.org.Admin.Email}, "password": {"wrong horse battery"}})
	if got := s.stored(); len(got) != 1 || got[0].Kind != audit.SignInFailed || got[0].Count != 1 {
		t.Errorf("by the page: %+v", got)
	}
	s.client().call(post, "/v1/auth/login", object{"email": s.org.Admin.Email, "password": "wrong horse battery"}).expect(t, "login", 401, "unauthorized")
	if got := s.stored(); len(got) != 1 || got[0].Count != 2 {
		t.Errorf("by the API: %+v", got)
	}
}

func TestSecurityEventsAreTheOrganisationsOwn(t *testing.T) {
	s := newSite(t)
	other := storetest.Organisation(t, s.store)
	s.attempted(s.org, s.org.Admin.MemberID, 30)
	ours, theirs := s.with(s.token(s.org.Support)), s.with(s.token(other.Owner))
	first := ours.call(get, "/v1/security-events?limit=5", nil).expect(t, "support", 200, "")
	for path, what := range map[string]string{
		"/v1/security-events": "the list", "/v1/security-events/export": "the export", "/v1/security-events/export?format=csv": "the CSV",
		"/v1/security-events?memberId=" + s.org.Admin.MemberID: "our member",
	} {
		if got := theirs.call(get, path, nil).expect(t, what, 200, ""); strings.Contains(got.body, s.org.Admin.MemberID) || strings.Contains(got.body, "198.51.100") {
			t.Errorf("another organisation's %s has %s", what, got.body)
		}
	}
	theirs.call(get, "/v1/security-events?limit=5&cursor="+url.QueryEscape(first.text("nextCursor")), nil).expect(t, "our cursor", 404, "not_found")
	foreign := s.as(other.Owner)
	foreign.get(views.SecurityPath).holds(t, "another organisation's page", 200, "No security events")
	if got := foreign.get(views.SecurityPath + "?member=" + s.org.Admin.MemberID); strings.Contains(got.body, "198.51.100") || strings.Contains(got.body, s.org.Admin.Email) {
		t.Error("another organisation sees our member")
	}
	if got := foreign.get(views.SecurityExportPath + "?format=csv"); strings.Contains(got.body, "198.51.100") {
		t.Error("another organisation exports our events")
	}
	if got := s.as(s.org.Support).get(views.SecurityPath); got.status != 200 || !strings.Contains(got.body, "198.51.100.30") || !strings.Contains(got.body, s.org.Admin.Email) {
		t.Errorf("support: %d", got.status)
	}
	member, token := s.as(s.org.Member), s.with(s.token(s.org.Member))
	for _, path := range []string{views.SecurityPath, views.SecurityExportPath + "?format=csv"} {
		if got := member.get(path); got.status != 403 {
			t.Errorf("a member gets %s: %d", path, got.status)
		}
	}
	for _, path := range []string{"/v1/security-events", "/v1/security-events/export"} {
		token.call(get, path, nil).expect(t, path, 403, "forbidden")
	}
}

func TestSecurityEventsAreFilteredAndReadPageByPage(t *testing.T) {
	s := newSite(t)
	s.atNoon()
	s.attempted(s.org, s.org.Admin.MemberID, 60)
	s.attempted(s.org, s.org.Support.MemberID, 1)
	s.keyring.RecordSecurityEvent(audit.SecurityEvent{OrgID: s.org.ID, Kind: audit.SignInLocked, MemberID: s.org.Support.MemberID, Address: "203.0.113.5"})
	s.flushed()
	c := s.with(s.token(s.org.Owner))
	now := s.keyring.Now()
	past, future := now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)
	for query, want := range map[string]int{
		"": 62, "kind=sign_in.failed": 61, "kind=sign_in.locked": 1, "kind=password.failed": 0,
		"memberId=" + s.org.Support.MemberID: 2, "memberId=" + s.org.Support.MemberID + "&kind=sign_in.locked": 1, "memberId=" + uuid.NewString(): 0,
		"from=" + past: 62, "from=" + future: 0, "to=" + past: 0, "from=" + past + "&to=" + future: 62,
	} {
		seen, cursor := map[string]bool{}, ""
		for {
			got := c.call(get, "/v1/security-events?limit=20&"+query+cursor, nil).expect(t, query, 200, "")
			items, _ := got.json["items"].([]any)
			for _, item := range items {
				seen[item.(object)["id"].(string)] = true
			}
			if got.text("nextCursor") == "" {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(got.text("nextCursor"))
		}
		if len(seen) != want {
			t.Errorf("%q has %d events, not %d", query, len(seen), want)
		}
		if lines := strings.Count(c.call(get, "/v1/security-events/export?"+query, nil).body, "\n"); lines != want+1 {
			t.Errorf("the export of %q has %d lines for %d events", query, lines, want)
		}
	}
	for _, bad := range []string{"kind=x", "memberId=x", "from=yesterday", "to=2026-01-01", "limit=0", "limit=101", "cursor=x", "member=x", "unknown=1"} {
		if got := c.call(get, "/v1/security-events?"+bad, nil); got.status != 400 {
			t.Errorf("%s: %d", bad, got.status)
		}
	}
	owner := s.as(s.org.Owner)
	pages, rows := 0, 0
	for path := views.SecurityPath + "?kind=sign_in.failed"; path != ""; pages++ {
		page := owner.get(path)
		rows += strings.Count(page.body, `data-label="Source"`)
		_, link, more := strings.Cut(page.body, `rel="next" href="`)
		if path = ""; more {
			link, _, _ = strings.Cut(link, `"`)
			path = strings.ReplaceAll(link, "&amp;", "&")
		}
	}
	if rows != 61 || pages < 2 {
		t.Errorf("%d rows on %d pages", rows, pages)
	}
	today := now.Format(time.DateOnly)
	for query, want := range map[string]string{
		"member=" + s.org.Support.MemberID + "&kind=sign_in.locked": "203.0.113.5", "from=" + today + "&to=" + today: "203.0.113.5",
		"from=2020-01-01&to=2020-01-02": "No matching events", "member=" + uuid.NewString(): "No matching events",
	} {
		owner.get(views.SecurityPath+"?"+query).holds(t, query, 200, want)
	}
	for _, kind := range audit.SecurityKinds { // each can be chosen, has words, and can be dropped again
		got := owner.get(views.SecurityPath + "?kind=" + kind)
		if got.status != 200 || !strings.Contains(got.body, `<option value="`+kind+`" selected>`) || !strings.Contains(got.body, `class="chip"`) || strings.Contains(got.body, ">"+kind+"<") {
			t.Errorf("%s: %d", kind, got.status)
		}
	}
	for _, bad := range []string{"kind=x", "member=x", "from=yesterday", "cursor=x"} {
		if got := owner.get(views.SecurityPath + "?" + bad); got.status != 400 {
			t.Errorf("%s: %d", bad, got.status)
		}
	}
}

func TestSecurityEventsAreExported(t *testing.T) {
	s := newSite(t)
	s.atNoon()
	acting, _ := s.key(s.org.Admin, "read:chat")
	s.keyring.RecordSecurityEvent(audit.SecurityEvent{OrgID: s.org.ID, Kind: audit.PermissionRefused, MemberID: s.org.Admin.MemberID, KeyID: acting.ID, Address: "203.0.113.5", Detail: "=1+1"})
	s.attempted(s.org, s.org.Support.MemberID, 1)
	s.attempted(s.org, s.org.Support.MemberID, 1)
	c := s.with(s.token(s.org.Owner))
	for what, got := range map[string]answer{
		"the page": s.as(s.org.Owner).get(views.SecurityExportPath + "?format=csv"), "the API": c.call(get, "/v1/security-events/export?format=csv", nil).answer,
	} {
		rows := rowsOf(t, got)
		if len(rows) != 2 || rows[0]["kind"] != audit.SignInFailed || rows[0]["count"] != "2" || rows[0]["memberEmail"] != s.org.Support.Email ||
			rows[1]["keyId"] != acting.ID || rows[1]["detail"] != "'=1+1" || rows[1]["address"] != "203.0.113.5" {
			t.Errorf("by %s: %v", what, rows)
		}
	}
	lines := strings.Split(strings.TrimSpace(c.call(get, "/v1/security-events/export", nil).expect(t, "JSON Lines", 200, "").body), "\n")
	var event SecurityEvent
	var end SecurityExportEnd
	if len(lines) != 3 || json.Unmarshal([]byte(lines[0]), &event) != nil || json.Unmarshal([]byte(lines[2]), &end) != nil {
		t.Fatalf("%q", lines)
	}
	if event.Kind != audit.SignInFailed || event.MemberID != s.org.Support.MemberID || event.Count != 2 || event.KeyID != nil || !end.End || end.Events != 2 {
		t.Errorf("%q", lines)
	}
	if got := s.as(s.org.Owner).get(views.SecurityExportPath + "?format=xml"); got.status != 400 {
		t.Errorf("another format: %d", got.status)
	}
	c.call(get, "/v1/security-events/export?format=xml", nil).expect(t, "another format", 400, "validation_failed")
}

// TestExportsOfPagesTakeTheSameQueries: a page's form also sends the fields that are empty, and a slip of a filter's name must
// not export everything.
func TestExportsOfPagesTakeTheSameQueries(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	for _, export := range []struct{ path, format, filter string }{
		{exportKeysPath, "?", "q"}, {exportKeyOwnersPath, "?", "q"}, {exportAuditPath, "?format=csv&", "actor"}, {exportSecurityPath, "?format=csv&", "member"},
	} {
		for query, want := range map[string]int{"": 200, export.filter + "=": 200, export.filter + "s=": 400, export.filter + "=&" + export.filter + "=": 400} {
			if got := owner.get(export.path + export.format + query); got.status != want {
				t.Errorf("%s with %q: %d, not %d", export.path, query, got.status, want)
			}
		}
	}
}
