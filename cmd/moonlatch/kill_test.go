package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestAKilledServerLosesNothing ends the program in the middle of its work, as kill -9 does, and starts it again: every
// change that it acknowledged is there, with its audit event, and none is half done; of what it counted, it lost the last
// second at most. MOONLATCH_KILLS=50 does it more often.
func TestAKilledServerLosesNothing(t *testing.T) {
	kills := 3
	if text := os.Getenv("MOONLATCH_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), "moonlatch")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	env := append(onDatabase(t), "RATE_LIMIT=1000000")
	createUser(t, env, "Acme", "ada@acme.test", "owner")
	issue := func(name, scope string) string {
		o := moonlatch(t, env, "", "key", "issue", "--organisation", "Acme", "--owner", "ada@acme.test", "--name", name, "--scope", scope).expect(t, exitDone, "pk_live_")
		return strings.TrimSpace(o.stdout)
	}
	w := &witness{T: t, db: storetest.DB(t, strings.TrimPrefix(env[0], "DATABASE_URL="))}
	w.db.SetMaxOpenConns(1) // so that any other connection is the server's
	secret, used := issue("the writers'", "*"), issue("the gateway's", "read:chat")
	var writers []*writer
	for i := range 6 {
		writers = append(writers, &writer{name: fmt.Sprint("writer ", i), secret: secret, keys: map[string]*heldKey{}})
	}
	gate := &gateway{secret: used}
	for range kills {
		killed := w.round(binary, env, writers, gate)
		w.checkUsage(gate, killed)
		w.checkKeys(writers)
		w.checkAudit()
		moonlatch(t, env, "", "audit", "verify").expect(t, exitDone, "the chain holds")
	}
	t.Logf("%d kills: %d changes acknowledged, all there; %d under way, %d of them done; %d events; of %d acknowledged verifications %d not counted, at most %s old",
		kills, w.changes, w.inDoubt, w.done, w.events, gate.acknowledged, gate.lost, gate.oldest.Round(time.Millisecond))
}

// leastChanges are acknowledged before a kill, however busy the machine is.
const leastChanges = 10

// witness compares what was acknowledged with what is there.
type witness struct {
	*testing.T
	db                             *sql.DB
	changes, inDoubt, done, events int
	counted                        int64
}

// round starts the server, lets everybody work, and kills it. It returns when that was.
func (w *witness) round(binary string, env []string, writers []*writer, gate *gateway) time.Time {
	w.Helper()
	var server *exec.Cmd
	var said, log transcript
	var ended chan struct{}
	address := ""
	for began := time.Now(); address == ""; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			w.Fatalf("the server does not start: %s", log.String())
		}
		if ended == nil || isClosed(ended) { // a machine that is busy enough keeps the database from answering; then it is started again
			server, ended = exec.Command(binary, "serve"), make(chan struct{})
			server.Env, server.Stdout, server.Stderr = env, &said, &log
			if err := server.Start(); err != nil {
				w.Fatal(err)
			}
			go func(server *exec.Cmd, ended chan struct{}) { _ = server.Wait(); close(ended) }(server, ended)
			defer func(server *exec.Cmd, ended chan struct{}) { _ = server.Process.Kill(); <-ended }(server, ended)
		}
		if found := listening.FindStringSubmatch(said.String()); found != nil {
			address = "http://" + found[1]
		}
	}
	var working sync.WaitGroup
	acknowledged := func() (n int64) {
		for _, c := range writers {
			n += c.changes.Load()
		}
		return n
	}
	for _, c := range writers {
		c.changes.Store(0)
		working.Go(func() { c.work(w.T, address) })
	}
	working.Go(func() { gate.work(w.T, address) })
	time.Sleep(300*time.Millisecond + rand.N(1500*time.Millisecond))
	for began := time.Now(); acknowledged() < leastChanges; time.Sleep(time.Millisecond) {
		if time.Since(began) > time.Minute {
			w.Fatalf("only %d changes were acknowledged", acknowledged())
		}
	}
	killed := time.Now()
	if err := server.Process.Kill(); err != nil {
		w.Fatal(err)
	}
	<-ended
	working.Wait()
	// What the database was told before may still be done; it is over when the connections are.
	for began := time.Now(); w.number(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			w.Fatal("the killed server's connections do not end")
		}
	}
	if strings.Contains(log.String(), "level=ERROR") {
		w.Errorf("the server logged %s", log.String())
	}
	return killed
}

func isClosed(ended chan struct{}) bool {
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

func (w *witness) number(query string) (n int64) {
	w.Helper()
	if err := w.db.QueryRowContext(w.Context(), query).Scan(&n); err != nil {
		w.Fatal(err)
	}
	return n
}

// each calls do for each row of texts.
func (w *witness) each(query string, do func(row []string)) {
	w.Helper()
	rows, err := w.db.QueryContext(w.Context(), query)
	if err != nil {
		w.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		w.Fatal(err)
	}
	for rows.Next() {
		row, into := make([]string, len(columns)), make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			w.Fatal(err)
		}
		do(row)
	}
	if err := rows.Err(); err != nil {
		w.Fatal(err)
	}
}

// heldKey is what a writer knows of a key.
type heldKey struct{ name, status, replacedBy string }

// writer changes keys of its own, one after the other, so that at a kill one change at most is in doubt.
type writer struct {
	name, secret string
	keys         map[string]*heldKey // by id
	made         int
	changes      atomic.Int64 // acknowledged since the last kill
	doubt        *change
}

// change is what a writer asks for.
type change struct {
	method, path, body string
	id                 string  // of the key; "" of a new one
	after              heldKey // the key as the change leaves it
	deletes            bool
}

func (c *writer) draw() change {
	c.made++
	name := fmt.Sprintf("%s's %d", c.name, c.made)
	issue := change{method: http.MethodPost, path: "/v1/api-keys", body: fmt.Sprintf(`{"name":%q,"scopes":["read:chat"]}`, name), after: heldKey{name, "enabled", ""}}
	for id, k := range c.keys { // any one
		path := "/v1/api-keys/" + id
		living := k.status == "enabled" || k.status == "disabled"
		switch n := rand.N(7); {
		case n == 0 && living:
			return change{http.MethodPatch, path, fmt.Sprintf(`{"name":%q}`, name), id, heldKey{name, k.status, ""}, false}
		case n == 1 && k.status == "enabled":
			return change{http.MethodPatch, path, `{"status":"inactive"}`, id, heldKey{k.name, "disabled", ""}, false}
		case n == 2 && k.status == "disabled":
			return change{http.MethodPatch, path, `{"status":"active"}`, id, heldKey{k.name, "enabled", ""}, false}
		case n == 3 && living:
			return change{http.MethodPost, path + "/rotate", `{"graceSeconds":3600}`, id, heldKey{k.name, "rotated", "?"}, false}
		case n == 4 && k.status != "revoked":
			return change{http.MethodDelete, path, "", id, heldKey{k.name, "revoked", k.replacedBy}, false}
		case n == 5:
			return change{http.MethodDelete, path + "?permanent=true", "", id, heldKey{}, true}
		}
		break
	}
	return issue
}

// work changes keys until the server is gone.
func (c *writer) work(t *testing.T, address string) {
	c.doubt = nil
	for {
		asked := c.draw()
		c.doubt = &asked
		status, body, err := send(asked.method, address+asked.path, asked.body, c.secret)
		if err != nil {
			return
		}
		c.doubt = nil
		if status/100 != 2 {
			t.Errorf("%s %s is answered with %d %s", asked.method, asked.path, status, body)
			return
		}
		var answer struct {
			ID     string              `json:"id"`
			NewKey struct{ ID string } `json:"newKey"`
		}
		if status != http.StatusNoContent {
			if err := json.Unmarshal(body, &answer); err != nil {
				t.Errorf("%s %s: %v", asked.method, asked.path, err)
				return
			}
		}
		c.apply(asked, answer.ID, answer.NewKey.ID)
		c.changes.Add(1)
	}
}

// apply notes that a change was made: to a new key, or with a successor.
func (c *writer) apply(made change, newID, successor string) {
	switch before := c.keys[made.id]; {
	case made.deletes:
		delete(c.keys, made.id)
	case made.id == "":
		c.keys[newID] = &made.after
	case made.after.status == "rotated":
		c.keys[successor] = &heldKey{before.name, before.status, ""}
		made.after.replacedBy = successor
		fallthrough
	default:
		c.keys[made.id] = &made.after
	}
}

// send makes one request. An error means that nobody knows what became of it.
func send(method, address, body, secret string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, text, err
}

// checkKeys finds every key as it was acknowledged. A change in doubt was made wholly or not at all.
func (w *witness) checkKeys(writers []*writer) {
	w.Helper()
	there := map[string]heldKey{}
	w.each(`SELECT id, name, status, coalesce(replaced_by::text, '') FROM api_keys WHERE name LIKE 'writer %'`, func(row []string) {
		there[row[0]] = heldKey{row[1], row[2], row[3]}
	})
	for _, c := range writers {
		w.changes += int(c.changes.Load())
		if c.doubt != nil {
			w.inDoubt++
			if d := *c.doubt; c.wasMade(d, there) {
				w.done++
				newID := ""
				for id, k := range there {
					if d.id == "" && k.name == d.after.name {
						newID = id
					}
				}
				c.apply(d, newID, there[d.id].replacedBy)
			}
		}
		for id, k := range c.keys {
			if there[id] != *k {
				w.Errorf("the key %s was acknowledged as %+v and is %+v", id, *k, there[id])
			}
			delete(there, id)
		}
	}
	for id, k := range there {
		w.Errorf("nobody asked for the key %s %+v", id, k)
	}
}

// wasMade says whether the change in doubt was made.
func (c *writer) wasMade(d change, there map[string]heldKey) bool {
	now, exists := there[d.id]
	switch {
	case d.deletes:
		return !exists
	case d.id == "":
		for _, k := range there {
			if k.name == d.after.name {
				return true
			}
		}
		return false
	}
	return now != *c.keys[d.id]
}

// checkAudit replays the audit log: it must end in the keys that are there, with as many events as each has versions.
func (w *witness) checkAudit() {
	w.Helper()
	type told struct {
		facts  map[string]any
		events int
	}
	keys := map[string]*told{}
	w.events = 0
	w.each(`SELECT subject_id, before, after FROM audit_events WHERE subject_kind = 'key' ORDER BY seq`, func(row []string) {
		w.events++
		k := keys[row[0]]
		if (k == nil) != (row[1] == "") {
			w.Errorf("the event of %s does not follow: %v", row[0], row)
			return
		}
		if k == nil {
			k = &told{facts: map[string]any{}}
			keys[row[0]] = k
		}
		k.events++
		if row[2] == "" {
			delete(keys, row[0])
			return
		}
		if err := json.Unmarshal([]byte(row[2]), &k.facts); err != nil {
			w.Fatal(err)
		}
	})
	rows := 0
	w.each(`SELECT id, name, status, coalesce(replaced_by::text, ''), version::text FROM api_keys`, func(row []string) {
		rows++
		k := keys[row[0]]
		if k == nil {
			w.Errorf("the key %v has no events", row)
			return
		}
		replacedBy, _ := k.facts["replacedBy"].(string)
		if k.facts["name"] != row[1] || k.facts["status"] != row[2] || replacedBy != row[3] || fmt.Sprint(k.events) != row[4] {
			w.Errorf("the log tells %+v of the key %v", k, row)
		}
	})
	if rows != len(keys) {
		w.Errorf("the log tells of %d keys, and there are %d", len(keys), rows)
	}
}

// gateway presents one key, and knows when each was answered.
type gateway struct {
	secret             string
	sent               int64
	answered           []time.Time // since the last kill
	acknowledged, lost int64
	oldest             time.Duration // how long before its kill a verification was made that is not counted
}

func (g *gateway) work(t *testing.T, address string) {
	g.sent, g.answered = 0, nil
	for {
		g.sent++
		status, body, err := send(http.MethodGet, address+"/v1/forward-auth", "", g.secret)
		if err != nil {
			return
		}
		if status != http.StatusOK {
			t.Errorf("forward-auth is answered with %d %s", status, body)
			return
		}
		g.answered = append(g.answered, time.Now())
		time.Sleep(time.Millisecond)
	}
}

// lossWindow is the second for which a killed server may have counted in memory, and what a busy machine adds to it.
const lossWindow = 3 * time.Second

// checkUsage finds no verification counted twice, and at most the last ones not at all.
func (w *witness) checkUsage(g *gateway, killed time.Time) {
	w.Helper()
	total := w.number(`SELECT coalesce(sum(accepted), 0) FROM key_usage JOIN api_keys ON id = key_id WHERE name = 'the gateway''s'`)
	counted := total - w.counted
	w.counted = total
	answered := int64(len(g.answered))
	if counted > g.sent {
		w.Errorf("%d verifications were counted, and %d were sent", counted, g.sent)
	}
	g.acknowledged += answered
	if counted >= answered {
		return
	}
	g.lost += answered - counted
	age := killed.Sub(g.answered[counted]) // the first that is not counted
	g.oldest = max(g.oldest, age)
	if age > lossWindow {
		w.Errorf("a verification was lost that was made %s before the kill", age)
	}
}
