package handlers

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

// known are the errors below, by name; those that a handler answers in place have no row of their own.
var known = map[string]struct {
	err     error
	inPlace bool
}{
	"keyring.ErrNotFound":              {keyring.ErrNotFound, false},
	"keyring.ErrForbidden":             {keyring.ErrForbidden, false},
	"keyring.ErrStale":                 {keyring.ErrStale, false},
	"keyring.ErrUnavailable":           {keyring.ErrUnavailable, false},
	"keyring.ErrTaken":                 {keyring.ErrTaken, false},
	"keyring.ErrSetUp":                 {keyring.ErrSetUp, false},
	"keyring.ErrGrantAll":              {keyring.ErrGrantAll, false},
	"keyring.ErrHandOut":               {keyring.ErrHandOut, false},
	"keyring.ErrClockSkew":             {keyring.ErrClockSkew, true}, // isReady
	"keyring.ErrEmailChange":           {keyring.ErrEmailChange, false},
	"keyring.UnknownOrganisationError": {&keyring.UnknownOrganisationError{}, true}, // the operator's alone
	"keyring.ErrUnauthenticated":       {keyring.ErrUnauthenticated, true},          // fail
	"keyring.ErrMoveKeys":              {keyring.ErrMoveKeys, false},
	"keyring.ProfileInUseError":        {&keyring.ProfileInUseError{}, true}, // deleteProfile
	"keyring.ErrEntrust":               {keyring.ErrEntrust, false},
	"keyring.ErrScopeHeld":             {keyring.ErrScopeHeld, false},
	"keyring.ErrScopeAsked":            {keyring.ErrScopeAsked, false},
	"keyring.ErrInUse":                 {keyring.ErrInUse, false},
	"keyring.ErrFull":                  {keyring.ErrFull, false},
	"keyring.ErrReach":                 {keyring.ErrReach, false},
	"keyring.ErrToken":                 {keyring.ErrToken, true}, // session
	"keyring.MissingError":             {keyring.MissingError{Field: "ownerId"}, false},
	"keyring.RepeatedError":            {&keyring.RepeatedError{}, true}, // newKey
	"keyring.LockedError":              {&keyring.LockedError{}, true},   // signIn
	"keyring.ErrCursor":                {keyring.ErrCursor, false},
	"keyring.ErrCredentials":           {keyring.ErrCredentials, true}, // signIn
	"apikey.ErrState":                  {apikey.ErrState, false},
	"apikey.ErrMalformed":              {apikey.ErrMalformed, true}, // who reads a key will tell: no page does
	"keyring.ErrLastOwner":             {keyring.ErrLastOwner, false},
	"keyring.ErrMemberState":           {keyring.ErrMemberState, false},
	"keyring.ErrHasAccount":            {keyring.ErrHasAccount, false},
	"keyring.ErrInvitation":            {keyring.ErrInvitation, false},
}

func TestNoErrorLacksARow(t *testing.T) {
	h := &handler{keyring: keyring.New(storetest.New(t))}
	for _, room := range []string{"keyring", "apikey"} {
		for _, name := range exportedErrors(t, filepath.Join("..", "internal", room)) {
			full := room + "." + name
			entry, ok := known[full]
			if !ok {
				t.Errorf("%s has no row here: say what it means to a person", full)
				continue
			}
			if status := h.refusalOf(fmt.Errorf("somewhere: %w", entry.err)).status; status == http.StatusInternalServerError && full != "apikey.ErrMalformed" && full != "keyring.ErrToken" {
				t.Errorf("%s is answered to programs with %d", full, status)
			}
			status := h.meaning(fmt.Errorf("somewhere: %w", entry.err)).Status
			if !entry.inPlace && (status == http.StatusInternalServerError || status < 400) {
				t.Errorf("%s is answered with %d", full, status)
			}
		}
	}
	if status := h.meaning(errors.New("nobody foresaw this")).Status; status != http.StatusInternalServerError {
		t.Errorf("an error that nobody foresaw is answered with %d", status)
	}
}

// TestAFormHasItsStatusFromTheTable sends each form that shows one of these errors itself, beside what was typed.
func TestAFormHasItsStatusFromTheTable(t *testing.T) {
	address := storetest.URL(t)
	db, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s := siteOver(t, db)
	s.org = storetest.Organisation(t, db)
	workspace, _ := s.place("Payments", "Checkout")
	strict := s.profile("Strict")
	key, _ := s.carrying(strict.ID)
	filling := storetest.Unaudited(t, address)
	for _, statement := range []string{
		`INSERT INTO workspaces (id, org_id, name, created_at) SELECT gen_random_uuid(), $1, 'w' || n, now() FROM generate_series(1, 500) AS n WHERE $2 <> ''`,
		`INSERT INTO processes (id, org_id, workspace_id, name, created_at) SELECT gen_random_uuid(), $1, $2::uuid, 'p' || n, now() FROM generate_series(1, 500) AS n`,
		`INSERT INTO bias_profiles (id, org_id, name, default_threshold, created_at) SELECT gen_random_uuid(), $1, 'b' || n, 50, now() FROM generate_series(1, 500) AS n WHERE $2 <> ''`,
		`INSERT INTO scopes (org_id, name) SELECT $1, 'read:s' || n FROM generate_series(1, 500) AS n WHERE $2 <> ''`,
	} {
		if _, err := filling.Exec(statement, s.org.ID, workspace.ID); err != nil {
			t.Fatal(err)
		}
	}
	owner, nobody := s.as(s.org.Owner), uuid.NewString()
	newKey := owner.keyForm("typed")
	newKey.Set("biasProfileId", nobody)
	for path, c := range map[string]struct {
		form url.Values
		err  error
		says string
	}{
		"/workspaces/new":    {url.Values{"name": {"typed"}}, keyring.ErrFull, `value="typed"`},
		"/processes/new":     {url.Values{"name": {"typed"}, "workspaceId": {workspace.ID}}, keyring.ErrFull, `value="typed"`},
		"/bias-profiles/new": {url.Values{"name": {"typed"}, "defaultThreshold": {"50"}}, keyring.ErrFull, `value="typed"`},
		"/scopes/new":        {url.Values{"name": {"read:typed"}}, keyring.ErrFull, `value="read:typed"`},
		"/bias-profiles/" + strict.ID + "/delete":   {url.Values{"moveTo": {nobody}}, keyring.MissingError{}, `id="p-move-problem"`},
		"/account/api-keys/new":                     {newKey, keyring.MissingError{}, `value="typed"`},
		"/account/api-keys/" + key.ID + "/edit":     {url.Values{"version": {"1"}, "name": {"typed"}, "status": {"enabled"}, "expiresDate": {views.ExpiryDate(key.ExpiresAt, "")}, "biasProfileId": {nobody}}, keyring.MissingError{}, `value="typed"`},
		"/account/api-keys/" + key.ID + "/transfer": {url.Values{"ownerId": {nobody}}, keyring.MissingError{}, "Nobody here may own keys"},
		"/key-owners/" + key.OwnerID + "/transfer":  {url.Values{"ownerId": {nobody}}, keyring.MissingError{}, "Nobody here may own keys"},
	} {
		owner.post(path, c.form).holds(t, path, (&handler{}).meaning(c.err).Status, c.says)
	}
}

// exportedErrors lists the variables of a package whose names begin with Err, and its types whose names end so.
func exportedErrors(t *testing.T, folder string) []string {
	t.Helper()
	var names []string
	for _, file := range parsed(t, folder) {
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Err") {
				names = append(names, spec.Names[0].Name)
			}
			if spec, ok := n.(*ast.TypeSpec); ok && strings.HasSuffix(spec.Name.Name, "Error") {
				names = append(names, spec.Name.Name)
			}
			return true
		})
	}
	if len(names) == 0 {
		t.Fatalf("%s has no errors", folder)
	}
	return names
}

// parsed are the files of a package that are no tests.
func parsed(t *testing.T, folder string) (out []*ast.File) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(folder, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, parsed)
	}
	return out
}

func TestProbesAndFilesAreLoggedAtDebugUnlessTheyFail(t *testing.T) {
	var log logBook
	ready := error(nil)
	s := newSiteWith(t, func(o *Options) {
		o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		o.Ready = func(context.Context) error { return ready }
	})
	v := s.visitor()
	level := func(path string, status int) string {
		t.Helper()
		before := len(log.String())
		if got := v.get(path); got.status != status {
			t.Errorf("%s: %d, want %d", path, got.status, status)
		}
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) { // the line may come after the answer
			for line := range strings.Lines(log.String()[before:]) {
				if strings.Contains(line, "msg=request ") {
					_, rest, _ := strings.Cut(line, "level=")
					level, _, _ := strings.Cut(rest, " ")
					return level
				}
			}
		}
		return "nothing"
	}
	file := regexp.MustCompile(`/static/[^"]+`).FindString(v.get("/sign-in").body)
	for path, status := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/favicon.ico": 302, file: 200} {
		if got := level(path, status); got != "DEBUG" {
			t.Errorf("%s is logged at %s", path, got)
		}
	}
	ready = errors.New("no")
	for path, status := range map[string]int{"/readyz": 503, "/static/missing": 404, "/sign-in": 200, "/v1/api-keys": 401} {
		if got := level(path, status); got != "INFO" {
			t.Errorf("%s is logged at %s", path, got)
		}
	}
}
