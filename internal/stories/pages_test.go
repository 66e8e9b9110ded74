package stories_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// notPages are GET routes whose answer is no page, by path or by the constant that names it.
var notPages = map[string]bool{
	"livePath": true, "readyPath": true, "jwksPath": true, "/openapi.json": true,
	"exportAuditPath": true, "exportSecurityPath": true, "exportKeyOwnersPath": true, "exportKeysPath": true,
}

// pageRoutes are the paths of the pages in the table of routes.
func pageRoutes(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../handlers/routes.go")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, line := range regexp.MustCompile(`(?m)^\t\{get, ([^,]+), `).FindAllStringSubmatch(string(text), -1) {
		if path := strings.Trim(line[1], `"`); !notPages[path] {
			out = append(out, path)
		}
	}
	if len(out) < 50 {
		t.Fatalf("only %d pages are in the table of routes", len(out))
	}
	return out
}

// TestEveryRouteIsAccessibleAndFits opens each page of the table of routes, wide and narrow, in light and dark. A path with a
// parameter needs an address below.
func TestEveryRouteIsAccessibleAndFits(t *testing.T) {
	s, who := demonstration(t)
	ctx := t.Context()
	one := func(query string) string {
		t.Helper()
		found := s.column(query + ` LIMIT 1`)
		if len(found) == 0 {
			t.Fatalf("the demonstration has nothing for: %s", query)
		}
		return found[0]
	}
	change := func(statement string) {
		t.Helper()
		if _, err := s.db.ExecContext(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	session, err := s.keyring.SignIn(ctx, keyring.Visitor{}, who.Email, who.Password)
	must(err)
	owner, _, err := s.keyring.Actor(ctx, keyring.Visitor{}, session.ID)
	must(err)
	setUp, err := s.keyring.SetupToken(ctx)
	must(err)
	if setUp == "" {
		setUp = "used" // its page says so
	}
	invitation, join, err := s.keyring.Invite(ctx, owner, keyring.InvitationDraft{Email: "guest@herons.example", Role: string(account.Admin)})
	must(err)
	others := s.column(`SELECT id FROM members WHERE status = 'active' AND id <> '` + owner.MemberID + `' ORDER BY email`)
	member, suspended := others[0], others[1]
	change(`UPDATE members SET status = 'suspended' WHERE id = '` + suspended + `'`)
	_, confirm, err := s.keyring.StartEmailChange(ctx, owner, member, keyring.EmailChangeDraft{Email: "next@herons.example"})
	must(err)
	workspace, err := s.keyring.CreateWorkspace(ctx, owner, "Archived place")
	must(err)
	process, err := s.keyring.CreateProcess(ctx, owner, workspace.ID, "Archived process")
	must(err)
	change(`UPDATE workspaces SET archived_at = now() WHERE id = '` + workspace.ID + `'; UPDATE processes SET archived_at = now() WHERE id = '` + process.ID + `'`)
	used := one(`SELECT p.id FROM processes p JOIN api_keys k ON k.process_id = p.id WHERE p.archived_at IS NULL AND k.status = 'enabled'`)
	scope := one(`SELECT name FROM scopes WHERE retired_at IS NULL ORDER BY name`)
	change(`UPDATE scopes SET retired_at = now() WHERE name = (SELECT max(name) FROM scopes)`)
	enabled := s.find(`status = 'enabled' AND ends_at > now()`)
	ids := map[string]string{ // by the path's beginning, the longest first where two fit
		"/setup/:token": setUp, "/join/:token": join.Reveal(), "/confirm-email/:token": confirm.Reveal(),
		"/scopes/:name/": scope, "/scopes/:name/restore": one(`SELECT max(name) FROM scopes`),
		"/key-owners/:id/":             one(`SELECT owner_id FROM api_keys WHERE status = 'enabled' GROUP BY owner_id ORDER BY count(*) DESC`),
		"/account/api-keys/:id":        enabled,
		"/account/api-keys/:id/enable": s.find(`status = 'disabled'`), "/account/api-keys/:id/delete": s.find(`status = 'revoked'`),
		"/members/:id": member, "/members/:id/reinstate": suspended,
		"/invitations/:id/": invitation.ID,
		"/processes/:id":    used, "/processes/:id/restore": process.ID,
		"/workspaces/:id/": one(`SELECT workspace_id FROM processes WHERE id = '` + used + `'`), "/workspaces/:id/restore": workspace.ID,
		"/bias-profiles/:id": one(`SELECT id FROM bias_profiles`),
	}
	queries := map[string]string{
		"/account/api-keys/disable": "?id=" + enabled, "/account/api-keys/revoke": "?id=" + enabled,
	}
	statuses := map[string]int{"/setup/:token": 404} // TestScreensOfTheBeginning opens it before it was used
	address := func(route string) string {
		best := ""
		for beginning := range ids {
			if strings.HasPrefix(route, beginning) && len(beginning) > len(best) {
				best = beginning
			}
		}
		if strings.Contains(route, ":") && best == "" {
			t.Errorf("%s is a new page: give it an address here, so that it is looked at", route)
			return ""
		}
		return regexp.MustCompile(`:[a-z]+`).ReplaceAllLiteralString(route, ids[best]) + queries[route]
	}
	for _, look := range []string{"light-1440", "dark-360"} {
		t.Run(look, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, looks[look]...)
			p.AllowErrors("404")
			s.signIn(p, who.Email, who.Password)
			for _, route := range pageRoutes(t) {
				path := address(route)
				if path == "" {
					continue
				}
				p.Goto(path)
				want := 200
				if other, ok := statuses[route]; ok {
					want = other
				}
				if p.Status() != want {
					t.Errorf("%s: %d, not %d", path, p.Status(), want)
				}
				p.Screenshot(look + "-route-" + strings.NewReplacer("/", "_", ":", "").Replace(route))
				p.Axe()
				p.NoOverflow()
			}
		})
	}
}
