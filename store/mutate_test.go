package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// bookkeeping names the tables that no audit event tells of, and why.
var bookkeeping = map[string]string{
	"audit_events":       "is the log",
	"audit_heads":        "is the log",
	"cookie_sessions":    "the cookie's data",
	"goose_db_version":   "of the migrations",
	"installation":       "of the whole server",
	"issue_requests":     "how a repeated request is recognised",
	"key_usage":          "counts",
	"key_use":            "counts",
	"organisation_usage": "counts",
	"security_events":    "attempts that changed nothing",
	"setup_links":        "of no organisation yet",
	"sign_in_attempts":   "counts",
	"signing_keys":       "of the whole server",
	"usage_flushes":      "counts",
}

// TestEveryTableIsAuditedOrBookkeeping asks the catalogue, so that a new table can't be forgotten, and then changes a row of
// each audited table without an event.
func TestEveryTableIsAuditedOrBookkeeping(t *testing.T) {
	address := storetest.URL(t)
	s := storetest.Open(t, address)
	org, db := storetest.Organisation(t, s), storetest.DB(t, address)
	insertKey(t, s, org.Owner, nil)
	if _, err := insert(t, s, org.Owner, account.CreateProfile, profile(apikey.Profile{Name: "Strict", Categories: []apikey.Category{{Name: "age", Action: apikey.Flag}}})); err != nil {
		t.Fatal(err)
	}
	space, err := insert(t, s, org.Owner, account.CreateWorkspace, workspace("Payments"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := insert(t, s, org.Owner, account.CreateProcess, process(space.ID, "Checkout")); err != nil {
		t.Fatal(err)
	}
	begin(t, s, org.Admin, apikey.Day)
	invite(t, s, org.Owner)
	if _, err := storetest.Unaudited(t, address).ExecContext(t.Context(), `INSERT INTO email_changes (id, org_id, member_id, email, token_hash, started_by, created_at, expires_at)
		VALUES (gen_random_uuid(), $1, $2, 'new@example.com', sha256('x'), $2, now(), now() + interval '1 day')`, org.ID, org.Admin.MemberID); err != nil {
		t.Fatal(err)
	}
	rows, err := db.QueryContext(t.Context(), `SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY relname`)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var tables []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, table)
	}
	if err := rows.Err(); err != nil || !slices.Contains(tables, "api_keys") {
		t.Fatal(tables, err)
	}
	for _, table := range tables {
		if bookkeeping[table] != "" {
			continue
		}
		for _, statement := range []string{
			`INSERT INTO ` + table + ` SELECT * FROM ` + table + ` LIMIT 1`, // fails with the trigger or with the primary key
			`UPDATE ` + table + ` SET ` + column(table) + ` = ` + column(table),
			`DELETE FROM ` + table,
			`TRUNCATE ` + table + ` CASCADE`,
		} {
			_, err := db.ExecContext(t.Context(), statement)
			if err == nil {
				t.Errorf("%s: committed without an event", statement)
			}
			if strings.HasPrefix(statement, "UPDATE") && (err == nil || !strings.Contains(err.Error(), "has no audit event")) {
				t.Errorf("%s: %v", statement, err)
			}
		}
	}
	if n, err := s.VerifyChain(t.Context(), org.ID); err != nil {
		t.Errorf("the log after %d events: %v", n, err)
	}
}

// unauditedWrites lists what may be done to the tables that are not bookkeeping without firing a trigger that asks for an
// audit event or refuses.
func unauditedWrites(t *testing.T, address string) []string {
	t.Helper()
	var free []string
	err := storetest.DB(t, address).QueryRowContext(t.Context(), `
		SELECT coalesce(array_agg(kind || ' ' || c.relname ORDER BY kind, c.relname), '{}')
		FROM pg_class c CROSS JOIN (VALUES ('INSERT', 4), ('DELETE', 8), ('UPDATE', 16), ('TRUNCATE', 32)) AS written (kind, bit)
		WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace AND c.relname <> ALL ($1) AND NOT EXISTS (
			SELECT FROM pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid
			WHERE g.tgrelid = c.oid AND g.tgenabled IN ('O', 'A') AND g.tgtype::int & bit <> 0 AND (f.proname ~ '^require_.*audit' OR f.proname ~ '^refuse_.*truncate$'))`,
		pq.Array(slices.Collect(maps.Keys(bookkeeping)))).Scan((*pq.StringArray)(&free))
	if err != nil {
		t.Fatal(err)
	}
	return free
}

// TestEveryAuditedTableHasATriggerForEachKindOfWrite asks the catalogue, since statements also fail for other reasons, like a
// key that refers to the row. Then it takes each kind of write from a trigger, and looks whether that is found.
func TestEveryAuditedTableHasATriggerForEachKindOfWrite(t *testing.T) {
	address := storetest.URL(t)
	storetest.Open(t, address)
	if free := unauditedWrites(t, address); len(free) > 0 {
		t.Errorf("without a trigger: %q", free)
	}
	for table, c := range map[string]struct{ change, found string }{
		"scopes": {`DROP TRIGGER scopes_are_audited ON scopes; CREATE CONSTRAINT TRIGGER scopes_are_audited AFTER UPDATE OR DELETE ON scopes
			DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_audit_event('org_id', 'scope', 'name')`, "INSERT scopes"},
		"invitations": {`DROP TRIGGER invitation_deletions_are_audited ON invitations`, "DELETE invitations"},
		"workspaces":  {`ALTER TABLE workspaces DISABLE TRIGGER workspaces_are_audited`, "DELETE workspaces,INSERT workspaces,UPDATE workspaces"},
		"members":     {`DROP TRIGGER members_are_not_truncated ON members`, "TRUNCATE members"},
		"forgotten":   {`CREATE TABLE forgotten (id uuid PRIMARY KEY)`, "DELETE forgotten,INSERT forgotten,TRUNCATE forgotten,UPDATE forgotten"},
	} {
		if _, err := storetest.Unaudited(t, address).ExecContext(t.Context(), c.change); err != nil {
			t.Fatal(table, err)
		}
		found := slices.DeleteFunc(unauditedWrites(t, address), func(write string) bool { return !strings.HasSuffix(write, " "+table) })
		if got := strings.Join(found, ","); got != c.found {
			t.Errorf("%s: found %q, not %q", table, got, c.found)
		}
	}
}

// column names one column of a table whose change is audited.
func column(table string) string {
	switch table {
	case "scopes", "bias_profile_categories":
		return "name"
	case "key_policies":
		return "version"
	}
	return "id"
}

func invite(t *testing.T, s *store.Store, by account.Actor) {
	t.Helper()
	err := s.Mutate(t.Context(), by, account.InviteMember, func(tx *store.Tx) ([]audit.Change, error) {
		made, _, err := tx.InsertInvitation(store.Invitation{Email: "new@example.com", Role: account.Admin, ExpiresAt: tx.Now().Add(apikey.Day)}, [32]byte{1})
		return []audit.Change{{Subject: audit.Subject{Kind: "invitation", ID: made.ID}}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnUnrecordedWriteIsRefused writes by one method of a Tx after the other, and returns no change.
func TestAnUnrecordedWriteIsRefused(t *testing.T) {
	s, org, db := ledger(t)
	begin(t, s, org.Admin, apikey.Day)
	invite(t, s, org.Owner)
	count := func() (n string) {
		t.Helper()
		err := db.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM members WHERE role = 'support') || ' ' || (SELECT count(*) FROM workspaces) || ' ' ||
			(SELECT count(*) FROM bias_profiles) || ' ' || (SELECT count(*) FROM invitations) || ' ' || (SELECT count(*) FROM api_keys WHERE name = 'key') || ' ' ||
			(SELECT count(*) FROM sessions WHERE ended_at IS NULL) || ' ' || (SELECT count(*) FROM scopes) || ' ' || (SELECT sum(version) FROM key_policies)`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := count()
	for name, write := range map[string]func(*store.Tx) error{
		"UpdateMember": func(tx *store.Tx) error {
			return tx.UpdateMember(account.Person{ID: org.Member.MemberID, Role: account.Support, Status: account.Active})
		},
		"InsertMember": func(tx *store.Tx) error {
			_, err := tx.InsertMember(account.Person{Email: "x@example.com", Role: account.Support}, "hash")
			return err
		},
		"InsertWorkspace": func(tx *store.Tx) error { _, err := tx.InsertWorkspace("x"); return err },
		"InsertProfile":   func(tx *store.Tx) error { _, err := tx.InsertProfile(apikey.Profile{Name: "x"}); return err },
		"InsertScope":     func(tx *store.Tx) error { return tx.InsertScope(store.Scope{Name: "read:x"}) },
		"InsertSession":   func(tx *store.Tx) error { _, err := tx.InsertSession(store.BrowserSession, apikey.Day); return err },
		"EndAllSessions":  func(tx *store.Tx) error { _, err := tx.EndAllSessions(org.Admin.MemberID); return err },
		"DeleteInvitationsBy": func(tx *store.Tx) error {
			_, err := tx.DeleteInvitationsBy(org.Owner.MemberID)
			return err
		},
		"UpdateKeys": func(tx *store.Tx) error {
			keys, err := tx.LockKeys(store.KeysOf{}, "")
			if err == nil {
				err = tx.UpdateKeys(keys)
			}
			return err
		},
		"UpdatePolicy": func(tx *store.Tx) error {
			policy, err := tx.LockPolicy()
			if err == nil {
				err = tx.UpdatePolicy(policy)
			}
			return err
		},
	} {
		err := s.Mutate(t.Context(), org.Owner, account.RenameSelf, func(tx *store.Tx) ([]audit.Change, error) { return nil, write(tx) })
		if err == nil || !strings.Contains(err.Error(), "recorded no change") {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := s.Mutate(t.Context(), org.Owner, account.RenameSelf, func(tx *store.Tx) ([]audit.Change, error) {
		_, err := tx.LockKeys(store.KeysOf{}, "")
		return nil, err
	})
	if err != nil {
		t.Errorf("a transaction that only read and locked: %v", err)
	}
	if after := count(); after != before {
		t.Errorf("%s before, %s after", before, after)
	}
}

// TestNothingIsDoneWhenTheLogCannotBeWritten breaks the log in several ways.
func TestNothingIsDoneWhenTheLogCannotBeWritten(t *testing.T) {
	for name, broken := range map[string]string{
		"events are dropped silently": `CREATE FUNCTION drop_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER drops BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION drop_event()`,
		"every second event is dropped": `CREATE FUNCTION drop_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.seq % 2 = 0 THEN NEW END; END';
			CREATE TRIGGER drops BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION drop_event()`,
		"events are refused": `CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
			CREATE TRIGGER refuses BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION refuse_event()`,
		"a rule discards events": `CREATE RULE discards AS ON INSERT TO audit_events DO INSTEAD NOTHING`,
		"the table is renamed":   `ALTER TABLE audit_events RENAME TO moved`,
		"a column is missing":    `ALTER TABLE audit_events DROP COLUMN user_agent`,
		"the head is gone":       `DELETE FROM audit_heads`,
		"the head is not moved": `CREATE FUNCTION keep_head() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER keeps BEFORE UPDATE ON audit_heads FOR EACH ROW EXECUTE FUNCTION keep_head()`,
		"events are refused at the commit": `CREATE FUNCTION refuse_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no'' USING ERRCODE = ''invalid_text_representation''; END';
			CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_event()`,
		"events can't be read":              `REVOKE SELECT ON audit_events FROM ` + server,
		"events are of another transaction": `ALTER TABLE audit_events ALTER COLUMN tx SET DEFAULT '1'`,
		"events are about somebody else": `CREATE FUNCTION move_event() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.subject_id := gen_random_uuid(); RETURN NEW; END';
			CREATE TRIGGER moves BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION move_event()`,
		"the next number is taken": `ALTER TABLE audit_events DISABLE TRIGGER USER; UPDATE audit_events SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM audit_events)`,
	} {
		t.Run(name, func(t *testing.T) {
			s, org, db := ledger(t)
			if _, err := db.ExecContext(t.Context(), broken); err != nil {
				t.Fatal(err)
			}
			err := s.Mutate(t.Context(), org.Owner, account.ChangeRole, func(tx *store.Tx) ([]audit.Change, error) {
				err := tx.UpdateMember(account.Person{ID: org.Member.MemberID, Role: account.Support, Status: account.Active})
				changes := make([]audit.Change, 3)
				for i := range changes {
					changes[i] = audit.Change{Subject: audit.Subject{Kind: "member", ID: org.Member.MemberID, Name: fmt.Sprint(i)}}
				}
				return changes, err
			})
			if !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("%v, want ErrUnavailable", err)
			}
			var role string
			if err := db.QueryRowContext(context.Background(), `SELECT role FROM members WHERE id = $1`, org.Member.MemberID).Scan(&role); err != nil || role != "member" {
				t.Errorf("the role is %s, %v", role, err)
			}
		})
	}
}
