package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/demo"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// The operator's commands, and a server beside them, on a folder in which there is nothing yet.
func TestCommandsNeedNoServerAndWorkBesideOne(t *testing.T) {
	t.Parallel()
	env := onFolder(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	moonlatch(t, env, "", "migrate").expect(t, exitDone, "applied: 0")
	s := serve(t, env)
	if strings.Contains(s.stdout.String(), "/setup/") {
		t.Error("it offers to set up what is set up")
	}
	createUser(t, env, "Acme", "ben@acme.test", "admin")
	moonlatch(t, env, "", "audit", "verify").expect(t, exitDone, "Acme: 3 events, the chain holds.\n")
	moonlatch(t, env, "", "serve").expect(t, exitFailed, "in use")
	if code := s.wait(t); code != exitDone {
		t.Errorf("exit %d: %s", code, s.stderr.String())
	}
}

func TestAnIssuedKeyIsAllThatIsPrinted(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	o := moonlatch(t, env, "", "key", "issue", "--organisation", "Acme", "--owner", "ADA@acme.test", "--name", "CI", "--scope", "read:chat", "--scope", "write:chat",
		"--environment", "test", "--expires-in", "30d").expect(t, exitDone, "pk_test_")
	text, ok := strings.CutSuffix(o.stdout, "\n")
	plaintext, err := apikey.Parse(text)
	if !ok || err != nil || o.stderr != "" {
		t.Fatalf("%q %q: %v", o.stdout, o.stderr, err)
	}
	s := open(t, env)
	org, err := s.OrganisationByName(t.Context(), "Acme")
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.ListKeys(t.Context(), org.ID, apikey.Filter{Search: plaintext.Signature()}, apikey.Newest, apikey.Position{}, 10)
	if err != nil || len(page.Rows) != 1 {
		t.Fatalf("%v, %v", page.Rows, err)
	}
	key := page.Rows[0]
	if key.Name != "CI" || key.Owner.Email != "ada@acme.test" || key.Lifetime() != 30*apikey.Day || strings.Join(key.Scopes, " ") != "read:chat write:chat" {
		t.Errorf("%+v", key)
	}
	moonlatch(t, env, "", "key", "issue", "--organisation", "Acme", "--owner", "ada@acme.test", "--name", "all", "--scope", "*").expect(t, exitDone, "pk_live_")
	moonlatch(t, env, "", "audit", "verify", "--organisation", "Acme").expect(t, exitDone, "Acme: 4 events")
}

func TestAKeyThatIsIssuedOnTheServerFollowsThePolicy(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	db := storetest.Unaudited(t, strings.TrimPrefix(env[0], "DATABASE_URL="))
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO workspaces (id, org_id, name, created_at) SELECT gen_random_uuid(), id, 'Support desk', now() FROM organisations;
		UPDATE key_policies SET require_allowlist = true, require_workspace = true, longest_lifetime_days = 30, default_lifetime_days = 30`)
	if err != nil {
		t.Fatal(err)
	}
	issue := []string{"key", "issue", "--organisation", "Acme", "--owner", "ada@acme.test", "--name", "CI", "--scope", "read:chat"}
	refused := moonlatch(t, env, "", issue...).expect(t, exitUsage, "--allow: Your organisation’s keys need an IP allowlist")
	if !strings.Contains(refused.stderr, "--workspace: Your organisation’s keys belong to a workspace") {
		t.Error(refused.stderr)
	}
	issue = append(issue, "--workspace", "support DESK", "--allow", "192.0.2.1", "--allow", "198.51.100.0/24")
	moonlatch(t, env, "", append(issue, "--expires-in", "31d")...).expect(t, exitUsage, "at most 30 days")
	moonlatch(t, env, "", issue...).expect(t, exitDone, "pk_live_")
	if _, err := db.ExecContext(t.Context(), `INSERT INTO workspaces (id, org_id, name, created_at) SELECT gen_random_uuid(), id, 'support desk', now() FROM organisations`); err != nil {
		t.Fatal(err)
	}
	moonlatch(t, env, "", issue...).expect(t, exitFailed, "2 workspaces are called \"support DESK\"")
	issue[slices.Index(issue, "support DESK")] = "support desk"
	moonlatch(t, env, "", issue...).expect(t, exitDone, "pk_live_")
	var held string
	if err := db.QueryRowContext(t.Context(), `SELECT string_agg(w.name, ', ' ORDER BY k.created_at) FROM api_keys k JOIN workspaces w ON w.id = k.workspace_id`).Scan(&held); err != nil || held != "Support desk, support desk" {
		t.Error(held, err)
	}
	issue[slices.Index(issue, "support desk")] = "nowhere"
	moonlatch(t, env, "", issue...).expect(t, exitFailed, "no workspace \"nowhere\"")
}

func open(t *testing.T, env []string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), strings.TrimPrefix(env[0], "DATABASE_URL="))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestWhatAnOperatorTypesIsCheckedAsAnybodysInput(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	createUser(t, env, "Acme", "sam@acme.test", "support")
	createUser(t, env, "Other", "eve@other.test", "owner", "--new-organisation")
	key := func(flag, value string) []string {
		args := []string{"key", "issue", flag, value}
		for _, other := range [][2]string{{"--organisation", "Acme"}, {"--owner", "ada@acme.test"}, {"--name", "CI"}, {"--scope", "read:chat"}} {
			if other[0] != flag {
				args = append(args, other[:]...)
			}
		}
		return args
	}
	user := func(email, role string) []string {
		return []string{"user", "create", "--organisation", "Acme", "--email", email, "--role", role, "--password-stdin"}
	}
	for _, c := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		says  string
	}{
		{"a role that there is not", password, user("b@acme.test", "king"), exitUsage, "--role: "},
		{"no address", password, user("b", "admin"), exitUsage, "--email: "},
		{"a short password", "short\n", user("b@acme.test", "admin"), exitUsage, "the password: "},
		{"an address that is taken", password, user("ada@acme.test", "admin"), exitFailed, "has an account already"},
		{"a new organisation without an owner", password, []string{"user", "create", "--organisation", "New", "--email", "b@new.test", "--role", "admin", "--password-stdin", "--new-organisation"}, exitUsage, "--role: "},
		{"a scope that there is not", "", key("--scope", "read:everything"), exitUsage, "--scope: "},
		{"an environment that there is not", "", key("--environment", "staging"), exitUsage, "--environment: "},
		{"a lifetime in seconds", "", key("--expires-in", "1s"), exitUsage, "--expires-in: Write a number of days, like 90d, or a date as year-month-day, like 2027-01-31."},
		{"a lifetime past the policy", "", key("--expires-in", "400d"), exitUsage, "--expires-in: "},
		{"an empty workspace", "", key("--workspace", ""), exitUsage, "--workspace is empty"},
		{"an organisation that there is not", "", key("--organisation", "Nowhere"), exitFailed, "Nowhere"},
		{"another organisation's member", "", key("--owner", "eve@other.test"), exitFailed, "eve@other.test"},
		{"a member who may not own keys", "", key("--owner", "sam@acme.test"), exitFailed, "can't own keys"},
		{"the log of an organisation that there is not", "", []string{"audit", "verify", "--organisation", "Nowhere"}, exitUsage, "Nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) { moonlatch(t, env, c.stdin, c.args...).expect(t, c.code, c.says) })
	}
}

func TestAPasswordIsOneLineOfStandardInput(t *testing.T) {
	env := onDatabase(t)
	for email, stdin := range map[string]string{
		"unix@acme.test": password + "\n", "dos@acme.test": password + "\r\n", "bare@acme.test": password, "more@acme.test": password + "\nand more\n",
	} {
		moonlatch(t, env, stdin, "user", "create", "--organisation", "Acme", "--email", email, "--role", "owner", "--name", "Ada", "--password-stdin").
			expect(t, exitDone, email)
		if _, err := keyring.New(open(t, env)).SignIn(t.Context(), keyring.Visitor{}, email, password); err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
	var stderr strings.Builder
	code := run(t.Context(), strings.Fields("moonlatch user create --organisation A --email a@a.test --role owner --password-stdin"),
		io.MultiReader(), io.Discard, &stderr, env)
	if code != exitUsage || !strings.Contains(stderr.String(), "no password") {
		t.Errorf("exit %d, %q", code, stderr.String())
	}
}

func TestALostPasswordIsSetAnew(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	ring := keyring.New(open(t, env))
	session, err := ring.SignIn(t.Context(), keyring.Visitor{}, "ada@acme.test", password)
	if err != nil {
		t.Fatal(err)
	}
	const fresh = "nine loud geese swim"
	set := func(email string) []string { return []string{"user", "password", "--email", email, "--password-stdin"} }
	moonlatch(t, env, "short\n", set("ada@acme.test")...).expect(t, exitUsage, "the password: ")
	moonlatch(t, env, fresh+"\n", set("nobody@acme.test")...).expect(t, exitFailed, "has no account")
	moonlatch(t, env, fresh+"\n", set("ADA@acme.test")...).expect(t, exitDone, "signed out everywhere")
	if _, _, err := ring.Actor(t.Context(), keyring.Visitor{}, session.ID); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("the old session lives: %v", err)
	}
	if _, err := ring.SignIn(t.Context(), keyring.Visitor{}, "ada@acme.test", password); !errors.Is(err, keyring.ErrCredentials) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := ring.SignIn(t.Context(), keyring.Visitor{}, "ada@acme.test", fresh); err != nil {
		t.Errorf("the new password: %v", err)
	}
	moonlatch(t, env, "", "audit", "verify").expect(t, exitDone, "holds")
}

func TestAnAlteredAuditEventIsNamed(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	createUser(t, env, "Acme", "ben@acme.test", "admin")
	createUser(t, env, "Sound", "eve@sound.test", "owner", "--new-organisation")
	db := storetest.DB(t, strings.TrimPrefix(env[0], "DATABASE_URL="))
	if _, err := db.Exec(`SET session_replication_role = replica; UPDATE audit_events SET after = replace(after, 'admin', 'owner') WHERE seq = 3`); err != nil {
		t.Fatal(err)
	}
	o := moonlatch(t, env, "", "audit", "verify")
	if o.code != exitFailed || o.stdout != "Sound: 2 events, the chain holds.\n" || o.stderr != "moonlatch: Acme: the audit log is broken at event 3: its content was altered\n" {
		t.Errorf("exit %d, %q, %q", o.code, o.stdout, o.stderr)
	}
}

func TestDemoPrintsItsAccountsOnce(t *testing.T) {
	env := onDatabase(t)
	o := moonlatch(t, env, "", "demo").expect(t, exitDone, demo.Organisation)
	for _, role := range []string{"owner ", "admin ", "support ", "member "} {
		if !strings.Contains(o.stdout, "│  "+role) {
			t.Errorf("there is no account of the role %s", role)
		}
	}
	moonlatch(t, env, "", "demo").expect(t, exitFailed, "has an organisation already")
}

func TestASecondOrganisationHasToBeAskedFor(t *testing.T) {
	env := onDatabase(t)
	create := func(organisation, email, role string, more ...string) outcome {
		return moonlatch(t, env, password+"\n", append([]string{"user", "create", "--organisation", organisation, "--email", email, "--role", role, "--password-stdin"}, more...)...)
	}
	create("Second Org", "ada@second.test", "owner").expect(t, exitDone, "owner of Second Org.\n")
	create("second  org", "ben@second.test", "admin").expect(t, exitDone, "admin of Second Org.\n")
	create("Secnd Org", "cy@second.test", "owner").expect(t, exitUsage, "There is no organisation “Secnd Org”. There is “Second Org”. To create it, add --new-organisation.")
	create("SECOND ORG", "cy@second.test", "owner", "--new-organisation").expect(t, exitUsage, "“Second Org” exists already")
	create("Third", "cy@third.test", "admin", "--new-organisation").expect(t, exitUsage, "is its owner")
	create("Third", "cy@third.test", "owner", "--new-organisation").expect(t, exitDone, "owner of Third.\n")
	moonlatch(t, env, "", "key", "issue", "--organisation", "second ORG", "--owner", "ada@second.test", "--name", "CI", "--scope", "read:chat").expect(t, exitDone, "pk_live_")
	moonlatch(t, env, "", "key", "issue", "--organisation", "Fourth", "--owner", "ada@second.test", "--name", "CI", "--scope", "read:chat").
		expect(t, exitFailed, "There is no organisation “Fourth”. There is “Second Org”, “Third”.")
	moonlatch(t, env, "", "audit", "verify", "--organisation", "Fourth").expect(t, exitUsage, "“Second Org”, “Third”")
	found, err := open(t, env).Organisations(t.Context())
	if err != nil || len(found) != 2 {
		t.Errorf("there are %v, %v", found, err)
	}
}

func TestOperatorRevokesALeakedKey(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	createUser(t, env, "Other", "eve@other.test", "owner", "--new-organisation")
	issue := func(name string) apikey.Plaintext {
		t.Helper()
		stdout := moonlatch(t, env, "", "key", "issue", "--organisation", "Acme", "--owner", "ada@acme.test", "--name", name, "--scope", "read:chat").expect(t, exitDone, "").stdout
		p, err := apikey.Parse(strings.TrimSpace(stdout))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	db := open(t, env)
	known := func(p apikey.Plaintext) store.KnownKey {
		t.Helper()
		key, err := db.KeyByHash(t.Context(), p.Hash())
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for name, c := range map[string]func(apikey.Plaintext) (stdin string, flags []string){
		"whole":  func(p apikey.Plaintext) (string, []string) { return p.Reveal() + "\n", []string{"--key-stdin"} },
		"id":     func(p apikey.Plaintext) (string, []string) { return "", []string{"--id", known(p).ID} },
		"prefix": func(p apikey.Plaintext) (string, []string) { return "", []string{"--prefix", p.Prefix()} },
		"masked": func(p apikey.Plaintext) (string, []string) {
			return "", []string{"--prefix", p.Prefix() + "_••••" + p.Signature()}
		},
		"signature": func(p apikey.Plaintext) (string, []string) {
			return "", []string{"--signature", p.Signature(), "--organisation", "acme"}
		},
	} {
		p := issue("by " + name)
		stdin, flags := c(p)
		args := append([]string{"key", "revoke"}, flags...)
		moonlatch(t, env, stdin, args...).expect(t, exitDone, "Revoked the key “by "+name+"”")
		if key := known(p); key.Stored != apikey.Revoked {
			t.Errorf("by %s: the key is %s", name, key.Stored)
		}
		moonlatch(t, env, stdin, args...).expect(t, exitFailed, "is revoked already")
		events, err := keyring.New(db).Events(t.Context(), keyring.Operator(known(p).OrgID), audit.Filter{SubjectID: known(p).ID}, "", 10)
		if err != nil || len(events.Events) != 2 || events.Events[0].Action != "key.revoked" || events.Events[0].Email != audit.ByOperator {
			t.Errorf("by %s: the log has %v, %v", name, events.Events, err)
		}
	}
	kept := issue("kept")
	for says, args := range map[string][]string{
		"there is no such key": {"--id", "00000000-0000-4000-8000-000000000000"}, "no such": {"--id", "x"}, "no such key": {"--signature", kept.Signature(), "--organisation", "Other"},
	} {
		moonlatch(t, env, "", append([]string{"key", "revoke"}, args...)...).expect(t, exitFailed, says)
	}
	moonlatch(t, env, "", "key", "revoke").expect(t, exitUsage, "say which key")
	for _, flag := range []string{"--id", "--prefix", "--signature"} { // of a variable that is not set
		moonlatch(t, env, "", "key", "revoke", flag, "").expect(t, exitUsage, flag+" is empty")
	}
	moonlatch(t, env, "", "key", "revoke", "--prefix", kept.Prefix()+"_••••"+issue("other").Signature()).expect(t, exitFailed, "no such key") // of two keys
	moonlatch(t, env, "", "key", "revoke", "--prefix", kept.Reveal()).expect(t, exitUsage, "give it to --key-stdin")
	moonlatch(t, env, "", "key", "revoke", "--prefix", kept.Prefix(), "--organisation", "").expect(t, exitUsage, "--organisation is empty")
	moonlatch(t, env, "", "audit", "verify", "--organisation", "").expect(t, exitUsage, "--organisation is empty")
	moonlatch(t, env, "pk_live_x\n", "key", "revoke", "--key-stdin").expect(t, exitUsage, "no whole key")
	moonlatch(t, env, "", "key", "revoke", "--key-stdin").expect(t, exitUsage, "standard input has no key")
	if key := known(kept); key.Stored != apikey.Enabled {
		t.Errorf("another key is %s", key.Stored)
	}
}

func TestAnOperatorChangesAnAddress(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	createUser(t, env, "Acme", "ben@acme.test", "admin")
	change := func(from, to string) outcome {
		return moonlatch(t, env, "", "user", "email", "--email", from, "--new", to)
	}
	change("nobody@acme.test", "new@acme.test").expect(t, exitFailed, "has no account")
	change("ben@acme.test", "ADA@acme.test").expect(t, exitFailed, "has an account already")
	change("ben@acme.test", "new").expect(t, exitUsage, "--new: ")
	change("ben@acme.test", "BEN@acme.test").expect(t, exitUsage, "--new: ")
	change("BEN@acme.test", "New@acme.test").expect(t, exitDone, "new@acme.test signs in")
	ring := keyring.New(open(t, env))
	if _, err := ring.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, "new@acme.test", password); err != nil {
		t.Errorf("with the new address: %v", err)
	}
	if _, err := ring.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, "ben@acme.test", password); !errors.Is(err, keyring.ErrCredentials) {
		t.Errorf("with the earlier one: %v", err)
	}
	moonlatch(t, env, "", "audit", "verify").expect(t, exitDone, "holds")
}

func TestAnOperatorErasesAMember(t *testing.T) {
	env := onDatabase(t)
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	createUser(t, env, "Acme", "first@acme.test", "admin")
	moonlatch(t, env, "", "user", "email", "--email", "first@acme.test", "--new", "ben@acme.test").expect(t, exitDone, "ben@acme.test")
	erase := func(email string) outcome { return moonlatch(t, env, "", "user", "erase", "--email", email) }
	erase("nobody@acme.test").expect(t, exitFailed, "nobody who was removed")
	erase("ben").expect(t, exitUsage, "--email: ")
	for _, email := range []string{"ben@acme.test", "first@acme.test"} {
		erase(email).expect(t, exitFailed, "that of the account ben@acme.test; remove the member first")
	}
	s := open(t, env)
	ring := keyring.New(s)
	ben, err := s.CredentialsByEmail(t.Context(), "ben@acme.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ring.ChangeMember(t.Context(), keyring.Operator(ben.OrgID), ben.ID, keyring.MemberEdit{Status: account.Removed}); err != nil {
		t.Fatal(err)
	}
	erase("first@acme.test").expect(t, exitDone, "@erased.invalid from now on")
	head := func() int64 {
		t.Helper()
		seq, err := s.Head(t.Context(), ben.OrgID)
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	before := head()
	for _, email := range []string{"BEN@acme.test", "first@acme.test"} {
		erase(email).expect(t, exitDone, "Nothing is left to erase")
	}
	if after := head(); after != before {
		t.Errorf("erasing again wrote %d events", after-before)
	}
	createUser(t, env, "Acme", "ben@acme.test", "admin") // someone who comes back
	erase("ben@acme.test").expect(t, exitDone, "Not erased: the account ben@acme.test")
	moonlatch(t, env, "", "audit", "verify").expect(t, exitDone, "holds")
}
