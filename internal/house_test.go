// Package internal_test holds the house to its plan: who may import whom, and where secrets may be revealed.
package internal_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/moonlatch/moonlatch/"

// house says which of our own packages each package may import. Data runs one way: what is lower knows nothing of
// what is above.
var house = map[string][]string{
	"cmd/moonlatch":    {"handlers", "internal/apikey", "internal/audit", "internal/demo", "internal/input", "internal/jobs", "internal/keyring", "internal/licences", "internal/pgembed", "internal/verify", "store"},
	"handlers":         {"internal/account", "internal/apikey", "internal/audit", "internal/input", "internal/keyring", "internal/verify", "static", "views"},
	"views":            {"internal/account", "internal/apikey", "internal/audit", "internal/input", "static", "views/ui"},
	"views/ui":         {"static"},
	"static":           {},
	"internal/demo":    {"internal/account", "internal/apikey", "internal/audit", "internal/keyring", "store"},
	"internal/jobs":    {},
	"internal/keyring": {"internal/account", "internal/apikey", "internal/audit", "internal/input", "store"},
	"internal/verify":  {"internal/account", "internal/apikey", "store"},
	"store":            {"internal/account", "internal/apikey", "internal/audit", "internal/input", "migrations"},
	"store/storetest":  {"internal/account", "internal/audit", "internal/pgembed", "migrations", "store"},
	"migrations":       {},
	"internal/audit":   {"internal/account", "internal/apikey"},
	"internal/account": {"internal/apikey"},
	"internal/apikey":  {},
	"internal/input":   {},
	"internal/pgembed": {},

	"internal/licences":        {},
	"internal/licences/gather": {"internal/licences"}, // make licences runs it

	"internal/browsertest": {},
	"internal/guidetest":   {},

	"docs/gateways": {}, // an example, for programs of others
}

// only says which packages alone may import a library.
var only = map[string][]string{
	"github.com/labstack/echo":   {"handlers"},
	"database/sql":               {"store", "store/storetest"},
	"github.com/jmoiron/sqlx":    {"store"},
	"github.com/lib/pq":          {"store", "store/storetest"},
	"github.com/alexedwards/scs": {"handlers"},
	"github.com/a-h/templ":       {"handlers", "views", "views/ui"},
}

// pure packages import the standard library alone, and nothing of it that reaches outside the process.
var (
	pure    = []string{"internal/apikey", "internal/account", "internal/audit"}
	outside = []string{"os", "os/exec", "io/fs", "net", "net/http", "database/sql"}
)

// source is a parsed file of ours that is no test.
type source struct {
	room string // its folder
	name string
	*ast.File
}

func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	root := ".."
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "node_modules" || name == "data" || len(name) > 2 && name[0] == '.') {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		out = append(out, source{path.Dir(relative), relative, parsed})
		return nil
	})
	if err != nil || len(out) < 30 {
		t.Fatalf("%d files read, %v", len(out), err)
	}
	return out
}

func TestDataRunsOneWay(t *testing.T) {
	for _, file := range sources(t) {
		mayImport, planned := house[file.room]
		if !planned {
			t.Errorf("%s: the plan of the house has no room %q", file.name, file.room)
			continue
		}
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if ours, ok := strings.CutPrefix(imported, module); ok && !slices.Contains(mayImport, ours) {
				t.Errorf("%s must not import %s", file.name, ours)
			}
			for library, rooms := range only {
				if (imported == library || strings.HasPrefix(imported, library+"/")) && !slices.Contains(rooms, file.room) {
					t.Errorf("%s must not know %s", file.name, library)
				}
			}
			first, _, _ := strings.Cut(imported, "/")
			foreign := strings.Contains(first, ".") && !strings.HasPrefix(imported, module)
			if slices.Contains(pure, file.room) && (foreign || slices.Contains(outside, imported)) {
				t.Errorf("%s is pure and must not import %s", file.name, imported)
			}
		}
	}
}

func TestPurePackagesHaveNoClock(t *testing.T) {
	for _, file := range sources(t) {
		if !slices.Contains(pure, file.room) {
			continue
		}
		ast.Inspect(file.File, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok && slices.Contains([]string{"Now", "Since", "Until"}, call.Sel.Name) {
				if pkg, ok := call.X.(*ast.Ident); ok && pkg.Name == "time" {
					t.Errorf("%s asks for the time; time is passed in", file.name)
				}
			}
			return true
		})
	}
}

// TestPlaintextIsRevealedInFewPlaces lists every file that may look inside a plaintext.
func TestPlaintextIsRevealedInFewPlaces(t *testing.T) {
	allowed := []string{
		"internal/apikey/plaintext.go", // where it is defined
		"cmd/moonlatch/key.go",         // prints a key that was just issued, once
		"views/keys_once_templ.go",     // the show-once dialog
		"handlers/api_keys.go",         // the answers that issue and rotate
		"handlers/api_sessions.go",     // the answer to a login, with its token
		"handlers/invitations.go",      // the link of an invitation
		"handlers/email_changes.go",    // the link that confirms an address
	}
	for _, file := range sources(t) {
		if slices.Contains(allowed, file.name) {
			continue
		}
		ast.Inspect(file.File, func(n ast.Node) bool {
			if call, ok := n.(*ast.SelectorExpr); ok && (call.Sel.Name == "Reveal" || call.Sel.Name == "RevealPass") {
				t.Errorf("%s reveals a plaintext", file.name)
			}
			return true
		})
	}
}

// shipped are the sources of the binary.
func shipped(t *testing.T) (out []source) {
	t.Helper()
	for _, file := range sources(t) {
		if !slices.Contains([]string{"store/storetest", "internal/browsertest", "internal/licences/gather", "docs/gateways"}, file.room) {
			out = append(out, file)
		}
	}
	return out
}

// TestServerConnectsToItsDatabaseAlone names the files that may open a connection: nothing that somebody types leads the
// server to an address, and nothing that it knows goes elsewhere.
func TestServerConnectsToItsDatabaseAlone(t *testing.T) {
	may := map[string]string{
		"store/dialer.go":             "PostgreSQL",
		"internal/pgembed/pgembed.go": "its own PostgreSQL",
	}
	clients := map[string][]string{
		"http": {"Get", "Head", "Post", "PostForm", "Client", "DefaultClient", "Transport", "DefaultTransport"},
		"net":  {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialUnix", "Dialer"},
		"tls":  {"Dial", "DialWithDialer", "Dialer"},
		"smtp": {"Dial", "SendMail", "NewClient"},
	}
	found := map[string]bool{}
	for _, file := range shipped(t) {
		ast.Inspect(file.File, func(n ast.Node) bool {
			if use, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := use.X.(*ast.Ident); ok && slices.Contains(clients[pkg.Name], use.Sel.Name) {
					if found[file.name] = true; may[file.name] == "" {
						t.Errorf("%s connects to something: %s.%s", file.name, pkg.Name, use.Sel.Name)
					}
				}
			}
			return true
		})
	}
	for name := range may {
		if !found[name] {
			t.Errorf("%s connects to nothing any more", name)
		}
	}
}

// TestDangerousPackagesStayOut lists what the binary does without, and who alone may use the rest.
func TestDangerousPackagesStayOut(t *testing.T) {
	const nobody = ""
	rooms := map[string]string{
		"os/exec": "internal/pgembed", "syscall": "internal/pgembed cmd/moonlatch", "golang.org/x/sys/unix": "internal/pgembed",
		"unsafe": nobody, "plugin": nobody, "encoding/gob": nobody, "encoding/xml": nobody, "text/template": nobody, "html/template": nobody,
		"net/http/pprof": nobody, "expvar": nobody, "net/rpc": nobody, "C": nobody,
		"crypto/md5": nobody, "crypto/sha1": nobody, "crypto/des": nobody, "crypto/rc4": nobody, "crypto/dsa": nobody, "crypto/rsa": nobody,
		"math/rand": nobody, "math/rand/v2": "store internal/jobs internal/demo", // pauses, and the demonstration's traffic
	}
	for _, file := range shipped(t) {
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if allowed, known := rooms[imported]; known && !slices.Contains(strings.Fields(allowed), file.room) {
				t.Errorf("%s must not import %s", file.name, imported)
			}
		}
	}
}
