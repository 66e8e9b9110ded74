package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestKeysOfAnOrganisationAndOfAProcess follows the guides of the product's sources word for word: an admin makes a key for
// the organisation in its settings, and one for a process in its Configuration, stores each, and removes it.
func TestKeysOfAnOrganisationAndOfAProcess(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			org := storetest.Organisation(t, s.store)
			p := s.visit(org.Admin, way.options...)
			check := func(name string) {
				t.Helper()
				p.Screenshot("story-" + strings.ReplaceAll(t.Name(), "/", "-") + "-" + name)
				p.Axe()
				p.NoOverflow()
			}
			navigate := func(entry string) {
				t.Helper()
				if way.narrow {
					p.Click(`button:text("Menu")`)
					p.Click(`#menu-top a:text("` + entry + `")`)
				} else {
					p.Click(`.side a:text("` + entry + `")`)
				}
				p.WaitFor(`h1:text("` + entry + `")`)
			}
			// make fills in the modal, and returns the key that is shown once.
			make := func(name string) string {
				t.Helper()
				p.WaitFor("#k-name")
				check(name + " modal")
				p.Fill("input[name=name]", name)
				p.Check("input[name=scopes][value='read:chat']")
				p.Check("input[name=expires][value='180d']")
				p.Click(`#dialog button:text("Create")`)
				p.WaitFor("#secret-key")
				check(name + " shown once")
				plaintext := p.Text("#secret-key")
				if _, err := apikey.Parse(plaintext); err != nil {
					t.Errorf("the key that is shown is none: %v", err)
				}
				p.Click(`a:text("I have stored it")`)
				p.WaitFor(`th:text("` + name + `")`)
				return plaintext
			}
			remove := func(name string) {
				t.Helper()
				p.Click(`button[aria-label="Actions for ` + name + `"]`)
				p.Click(`[popover] a:text("Delete")`)
				p.WaitFor(`h1:text("Delete this key?")`)
				p.Click("#dialog button[type=submit]")
				p.WaitFor(`[role=status]:text("is deleted")`)
			}

			navigate("API Keys")
			p.Click(`a:text("Create new API key")`)
			make("Of the organisation")
			remove("Of the organisation")
			if p.Path() != "/account/api-keys" {
				t.Errorf("after removing a key of the organisation one is at %s", p.URL())
			}

			navigate("Processes")
			check("nothing yet")
			p.Click(`a:text("Make the first workspace")`)
			p.WaitFor("#p-name")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#p-name-problem")
			p.Fill("input[name=name]", "Payments")
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`h2:text("Payments")`)
			p.Click(`main a:text("New process")`)
			p.WaitFor("#p-name")
			p.Fill("input[name=name]", "Checkout")
			p.Select("select[name=workspaceId]", "Payments")
			check("new process")
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`h1:text("Checkout")`)

			navigate("Processes")
			p.Click(`main a:text("Checkout")`)
			p.WaitFor(`h1:text("Checkout")`)
			check("process")
			p.Click(`a:text("Configuration")`)
			p.WaitFor(`h1:text("General")`)
			check("general")
			p.Click(`.configuration nav a:text("API keys")`)
			p.WaitFor(`h1:text("API keys")`)
			check("no key")
			tab := p.Path()
			p.Click(`main a:text("Generate new key")`)
			plaintext := make("Of the process")
			if p.Path() != tab {
				t.Errorf("after storing the process's key one is at %s", p.URL())
			}
			check("one key")
			var owner string
			if err := s.db.QueryRow(`SELECT p.name FROM api_keys k JOIN processes p ON p.id = k.process_id WHERE k.signature = $1`, apikeySignature(plaintext)).Scan(&owner); err != nil || owner != "Checkout" {
				t.Errorf("the key belongs to %q, %v", owner, err)
			}
			p.Fill("input[name=q]", "nothing like this")
			p.Press("Enter")
			p.WaitFor(`h2:text("No key matches")`)
			p.Click(`a:text("Clear search and filters")`)
			p.WaitFor(`th:text("Of the process")`)
			if p.Path() != tab || strings.Contains(p.URL(), "?") {
				t.Errorf("the search leads to %s", p.URL())
			}
			remove("Of the process")
			if p.Path() != tab {
				t.Errorf("after removing the process's key one is at %s", p.URL())
			}

			p.Click(`.configuration nav a:text("General")`)
			p.Click(`main a:text("Archive")`)
			p.WaitFor(`h1:text("Archive this process?")`)
			check("archive")
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("“Checkout” is archived")`)
			p.Goto(tab)
			if p.Exists(`a:text("Generate new key")`) || !p.Exists(`main :text("takes no new keys")`) {
				t.Error("an archived process offers to make a key")
			}
			navigate("Processes")
			if p.Exists(`main a:text("Checkout")`) {
				t.Error("an archived process stands among those in use")
			}
			p.Click(`main a:text("Archived")`)
			p.WaitFor(`main a:text("Checkout")`)
			check("archived")
			p.Click(`button[aria-label="Actions for Checkout"]`)
			p.Click(`[popover] a:text("Delete")`)
			p.WaitFor(`h1:text("Delete this process?")`)
			p.Click("#dialog button[type=submit]")
			p.WaitFor(`[role=status]:text("“Checkout” is deleted")`)
		})
	}
}

// TestSupportSeesProcessesAndMembersDoNot looks at the screens as those do who may not change them.
func TestSupportSeesProcessesAndMembersDoNot(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	workspace, err := s.keyring.CreateWorkspace(t.Context(), org.Admin, "Payments")
	if err != nil {
		t.Fatal(err)
	}
	process, err := s.keyring.CreateProcess(t.Context(), org.Admin, workspace.ID, "Checkout")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "seen", Scopes: []string{"read:chat"}, ProcessID: process.ID}); err != nil {
		t.Fatal(err)
	}
	support, member := s.visit(org.Support), s.visit(org.Member)
	member.AllowErrors("403")
	for _, path := range []string{"/processes", "/processes/" + process.ID, "/processes/" + process.ID + "/configuration", "/processes/" + process.ID + "/configuration/api-keys"} {
		support.Goto(path)
		if support.Status() != 200 || !strings.Contains(support.Text("main"), "Checkout") {
			t.Errorf("%s: support reads %d", path, support.Status())
		}
		support.Axe()
		for _, button := range []string{"New process", "New workspace", "Generate new key", "Rename", "Archive", "Delete"} {
			if support.Exists(`main .btn:text("`+button+`")`) || support.Exists(`main [popover] a:text("`+button+`")`) {
				t.Errorf("%s: support sees %s", path, button)
			}
		}
		member.Goto(path)
		if member.Status() != 403 || !strings.Contains(member.Text("main"), org.Owner.Email) {
			t.Errorf("%s: a member reads %d", path, member.Status())
		}
	}
	if member.Exists(`nav a:text("Processes")`) {
		t.Error("a member is led to the processes")
	}
}

// TestScreensOfProcessesAreAccessibleAndFit opens each in light and dark, wide and narrow.
func TestScreensOfProcessesAreAccessibleAndFit(t *testing.T) {
	s, owner := demonstration(t)
	id := func(query string) string { return s.column(query)[0] }
	checkout, closed := id(`SELECT id::text FROM processes WHERE name = 'Checkout'`), id(`SELECT id::text FROM processes WHERE archived_at IS NOT NULL`)
	storefront, archived := id(`SELECT id::text FROM workspaces WHERE name = 'Storefront'`), id(`SELECT id::text FROM workspaces WHERE archived_at IS NOT NULL`)
	screens := []struct{ name, path string }{
		{"processes", "/processes"}, {"processes-archived", "/processes?archived=1"}, {"processes-nothing-found", "/processes?q=nothing+like+this"},
		{"process", "/processes/" + checkout}, {"process-archived", "/processes/" + closed},
		{"configuration", "/processes/" + checkout + "/configuration"}, {"configuration-archived", "/processes/" + closed + "/configuration"},
		{"process-keys", "/processes/" + checkout + "/configuration/api-keys"}, {"process-keys-archived", "/processes/" + closed + "/configuration/api-keys"},
		{"process-new-key", "/processes/" + checkout + "/configuration/api-keys/new"},
		{"process-new", "/processes/new"}, {"workspace-new", "/workspaces/new"},
		{"process-rename", "/processes/" + checkout + "/rename"}, {"process-archive", "/processes/" + checkout + "/archive"},
		{"process-restore", "/processes/" + closed + "/restore"}, {"process-delete-barred", "/processes/" + checkout + "/delete"},
		{"process-delete", "/processes/" + closed + "/delete"},
		{"workspace-archive", "/workspaces/" + storefront + "/archive"}, {"workspace-restore", "/workspaces/" + archived + "/restore"},
		{"workspace-delete-barred", "/workspaces/" + storefront + "/delete"}, {"workspace-delete", "/workspaces/" + archived + "/delete"},
	}
	for look, options := range looks {
		t.Run(look, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, options...)
			s.signIn(p, owner.Email, owner.Password)
			check := func(name string) {
				t.Helper()
				p.Screenshot(look + "-" + name)
				p.Axe()
				p.NoOverflow()
			}
			for _, screen := range screens {
				p.Goto(screen.path)
				if p.Status() != 200 {
					t.Errorf("%s: %d", screen.path, p.Status())
				}
				check(screen.name)
			}
			p.Goto("/processes")
			p.Click(`button[aria-label="Actions for Checkout"]`)
			check("processes-menu-open")
			p.Press("Escape")
			p.Click(`main a:text("New process")`)
			p.WaitFor("dialog[open] #p-name")
			p.Click("#dialog button[type=submit]")
			p.WaitFor("#p-workspace-problem")
			check("process-new-with-mistakes")
		})
	}
}
