package storetest

import (
	"crypto/md5"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
)

// Crowd is how much an organisation has, for what measures how long a large one's pages take.
type Crowd struct{ Members, Keys, Events int }

// Fill gives an organisation members, keys of the last year, and a log of that year whose chain holds. A million events
// take about two minutes.
func Fill(t testing.TB, db *sql.DB, org Org, crowd Crowd) {
	t.Helper()
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.Exec(statement, args...); err != nil {
			t.Fatalf("%.60s…: %v", statement, err)
		}
	}
	exec(`INSERT INTO members (id, org_id, email, name, role, password_hash, created_at)
		SELECT gen_random_uuid(), $1::uuid, 'person' || i || '@' || $2::text || '.test', 'Person ' || i, (ARRAY['admin', 'support', 'member', 'member'])[1 + i % 4], '', now() - interval '1 year'
		FROM generate_series(1, $3::int) AS i`, org.ID, org.Name, crowd.Members)
	exec(`INSERT INTO workspaces (id, org_id, name, created_at) SELECT gen_random_uuid(), $1, 'Workspace ' || i, now() FROM generate_series(1, 3) AS i`, org.ID)
	exec(`INSERT INTO processes (id, org_id, workspace_id, name, created_at)
		SELECT gen_random_uuid(), $1, w.id, 'Process of ' || w.name || ' ' || i, now() FROM workspaces w, generate_series(1, 10) AS i WHERE w.org_id = $1`, org.ID)
	exec(`INSERT INTO bias_profiles (id, org_id, name, default_threshold, created_at) SELECT gen_random_uuid(), $1, 'Profile ' || i, 50, now() FROM generate_series(1, 5) AS i`, org.ID)
	fillKeys(t, db, org, crowd.Keys)
	fillEvents(t, db, org, crowd.Events)
	exec(`ANALYZE`)
}

// fillKeys makes keys with their use, each in one of the states, of members who are more and less busy. Nothing of it is
// written down: the events are made apart.
func fillKeys(t testing.TB, db *sql.DB, org Org, n int) {
	t.Helper()
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		`SET LOCAL session_replication_role = replica`,
		fmt.Sprintf(`INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, workspace_id, process_id, profile_id,
				created_at, expires_at, rotated_at, grace_ends_at, revoked_at)
			SELECT gen_random_uuid(), '%[1]s', 'Service ' || i, CASE WHEN i %% 5 = 0 THEN 'test' ELSE 'live' END, 'pk_live_' || left(m, 12), sha256(m::bytea), right(m, 6),
				ARRAY[(ARRAY['read:chat', 'write:chat', 'read:billing'])[1 + i %% 3]], status, owner, owner, workspace, process, profile, created, created + life,
				CASE WHEN status = 'rotated' THEN created + life / 3 END, CASE WHEN status = 'rotated' THEN created + life / 2 END, CASE WHEN status = 'revoked' THEN created + life / 3 END
			FROM (SELECT i, md5('%[1]s' || i) AS m, now() - interval '1 year' * (1 - i::float8 / %[2]d) - interval '1 minute' AS created,
					(ARRAY[30, 90, 90, 180, 365])[1 + i %% 5] * interval '1 day' AS life,
					(ARRAY['enabled', 'enabled', 'enabled', 'enabled', 'enabled', 'enabled', 'disabled', 'rotated', 'revoked'])[1 + i %% 9] AS status,
					members[1 + floor(cardinality(members) * random() ^ 3)::int] AS owner,
					CASE WHEN i %% 3 = 0 THEN workspaces[1 + i %% cardinality(workspaces)] END AS workspace,
					CASE WHEN i %% 3 = 0 THEN processes[1 + i %% cardinality(processes)] END AS process,
					CASE WHEN i %% 4 = 0 THEN profiles[1 + i %% cardinality(profiles)] END AS profile
				FROM generate_series(1, %[2]d) AS i,
					(SELECT array_agg(id ORDER BY email) AS members FROM members WHERE org_id = '%[1]s' AND role IN ('owner', 'admin')) AS m,
					(SELECT array_agg(workspace_id ORDER BY id) AS workspaces, array_agg(id ORDER BY id) AS processes FROM processes WHERE org_id = '%[1]s') AS p,
					(SELECT array_agg(id ORDER BY id) AS profiles FROM bias_profiles WHERE org_id = '%[1]s') AS b) AS k`, org.ID, n),
		fmt.Sprintf(`INSERT INTO key_use (key_id, org_id, idle_since, last_used_at)
			SELECT id, org_id, created_at + (now() - created_at) * random(), created_at + (now() - created_at) * random() FROM api_keys WHERE org_id = '%s'
			AND NOT EXISTS (SELECT FROM key_use WHERE key_id = id)`, org.ID),
	} {
		if _, err := tx.Exec(statement); err != nil {
			t.Fatalf("%.60s…: %v", statement, err)
		}
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// fillEvents goes on with an organisation's log: sign-ins, changes to keys by people and by keys, a few other things.
func fillEvents(t testing.TB, db *sql.DB, org Org, n int) {
	t.Helper()
	var head struct {
		seq  int64
		hash []byte
	}
	if err := db.QueryRow(`SELECT seq, hash FROM audit_heads WHERE org_id = $1`, org.ID).Scan(&head.seq, &head.hash); err != nil {
		t.Fatal(err)
	}
	members, keys := column(t, db, `SELECT id || ' ' || email FROM members WHERE org_id = $1 ORDER BY email`, org.ID), column(t, db, `SELECT id FROM api_keys WHERE org_id = $1 ORDER BY id LIMIT 20000`, org.ID)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, uint64(n)))
	start := time.Now().UTC().Truncate(time.Microsecond).AddDate(-1, 0, 0)
	step := time.Until(start.AddDate(1, 0, 0)) + 365*24*time.Hour
	step /= time.Duration(n + 1)
	// A function of its own: what is copied is there once the statement is closed.
	func() {
		copied, err := tx.Prepare(`COPY audit_events (org_id, seq, id, at, action, actor_id, actor_email, actor_role, session_id, key_id, address,
			user_agent, subject_kind, subject_id, subject_name, before, after, prev_hash, hash) FROM STDIN`)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := copied.Close(); err != nil {
				t.Error(err)
			}
		}()
		for i := range n {
			who := members[int(float64(len(members))*pow3(random.Float64()))]
			actor := account.Actor{OrgID: org.ID, MemberID: who[:36], Email: who[37:], Role: account.Admin, SessionID: uuid.UUID(md5.Sum(fmt.Append(nil, "session", i/5))).String(),
				Address: fmt.Sprintf("203.0.113.%d", i%200), UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}
			key := keys[random.IntN(len(keys))]
			change := audit.Change{Subject: audit.Subject{Kind: "key", ID: key, Name: "Service"}}
			action := account.EditKey
			switch kind := random.IntN(1000); {
			case kind < 500:
				action, change = account.SignIn, audit.Change{Subject: audit.Subject{Kind: "session", ID: actor.SessionID, Name: actor.Email}, After: audit.Facts{"for": "browser"}}
			case kind < 650:
				action, change.After = account.IssueKey, audit.Facts{"name": "Service", "environment": "live", "scopes": []string{"read:chat"}, "status": "enabled", "ownerId": actor.MemberID}
			case kind < 750:
				action, change.Before, change.After = account.RevokeKey, audit.Facts{"status": "enabled"}, audit.Facts{"status": "revoked"}
			case kind < 800: // by itself
				actor = account.Actor{OrgID: org.ID, Email: audit.ByPolicy, Role: account.Operator}
				action, change.Before, change.After = account.DisableKey, audit.Facts{"status": "enabled"}, audit.Facts{"status": "disabled"}
			case kind < 900: // through one of ten keys
				actor.SessionID, actor.KeyID = "", keys[i%min(10, len(keys))]
				change.Before, change.After = audit.Facts{"name": "Old"}, audit.Facts{"name": "Service"}
			case kind == 999:
				action, change = account.RenameSelf, audit.Change{Subject: audit.Subject{Kind: "member", ID: actor.MemberID, Name: actor.Email}, Before: audit.Facts{"name": "a"}, After: audit.Facts{"name": "b"}}
			default:
				change.Before, change.After = audit.Facts{"ipAllowlist": []string{}}, audit.Facts{"ipAllowlist": []string{"192.0.2.0/24"}}
			}
			at := start.Add(time.Duration(i)*step - time.Duration(random.IntN(2000))*time.Millisecond).Truncate(time.Microsecond)
			e := audit.NewEvent(uuid.Must(uuid.NewV7()).String(), at, actor, action, change).Follow(head.seq, head.hash)
			head.seq, head.hash = e.Seq, e.Hash
			if _, err := copied.Exec(e.OrgID, e.Seq, e.ID, e.At, string(e.Action), e.ActorID, e.Email, string(e.Role), e.SessionID, e.KeyID, e.Address, e.UserAgent,
				e.Subject.Kind, e.Subject.ID, e.Subject.Name, e.Before, e.After, e.PrevHash, e.Hash); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := copied.Exec(); err != nil {
			t.Fatal(err)
		}
	}()
	if _, err := tx.Exec(`UPDATE audit_heads SET seq = $2, hash = $3, latest = now(), late = '3 seconds' WHERE org_id = $1`, org.ID, head.seq, head.hash); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// pow3 makes the first of many by far the busiest.
func pow3(x float64) float64 { return x * x * x }

func column(t testing.TB, db *sql.DB, query string, args ...any) []string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var out []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}
