package handlers

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// times is how often a test does what a variable can make it do more often.
func times(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, and no number", variable, text)
	}
	return n
}

// replica is a whole server over a database that others serve too.
func replica(t *testing.T, databaseURL string) *site {
	t.Helper()
	s, err := store.Open(t.Context(), databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return siteOver(t, s)
}

// atOnce does two things at the same moment.
func atOnce(one, other func() reply) (first, second reply) {
	start := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { <-start; first = one() })
	both.Go(func() { <-start; second = other() })
	close(start)
	both.Wait()
	return first, second
}

// TestChangesAtOnceLeaveNoForbiddenState sends two changes to one key at the same moment, to two replicas.
// MOONLATCH_RACES=1000 does it more often.
func TestChangesAtOnceLeaveNoForbiddenState(t *testing.T) {
	databaseURL := storetest.URL(t)
	here, there := replica(t, databaseURL), replica(t, databaseURL)
	here.org = storetest.Organisation(t, here.store)
	secret := here.token(here.org.Owner)
	const key = "/v1/api-keys/"
	type race struct {
		one, other func(c *client, id string) reply
		// judge returns what is wrong with the key and its successor, both "" when they are gone, after these answers.
		judge func(one, other, old, next reply) string
	}
	rotate := func(c *client, id string) reply { return c.call(post, key+id+"/rotate", object{"graceSeconds": 60}) }
	rotateOnce := func(c *client, id string) reply {
		c.header.Set("Idempotency-Key", "rotate "+id)
		return rotate(c, id)
	}
	successor := func(turn, next reply) string {
		if turn.status == 201 != (next.status == 200) {
			return "the successor is " + next.body
		}
		return ""
	}
	races := map[string]race{
		"two rotate": {rotate, rotate, func(one, other, old, _ reply) string {
			won, lost := one, other
			if one.status != 201 {
				won, lost = other, one
			}
			if won.status != 201 || lost.status != 409 || lost.text("error", "code") != "state_conflict" || old.text("replacedBy") != won.text("newKey", "id") || old.text("status") != "rotated" {
				return "one must win and the other be told"
			}
			return ""
		}},
		"the same rotation twice": {rotateOnce, rotateOnce, func(one, other, old, _ reply) string {
			won, lost := one, other
			if one.status != 201 {
				won, lost = other, one
			}
			if won.status != 201 || lost.status != 409 || lost.text("error", "code") != "idempotency_conflict" || lost.text("error", "details", "id") != won.text("newKey", "id") ||
				old.text("replacedBy") != won.text("newKey", "id") {
				return "one must win and the other be told which key was made"
			}
			return ""
		}},
		"rotate against revoke": {rotate, func(c *client, id string) reply { return c.call(del, key+id, nil) }, func(turn, revoked, old, next reply) string {
			if revoked.status != 200 || turn.status != 201 && turn.status != 409 || old.text("status") != "revoked" || old.text("replacedBy") != turn.text("newKey", "id") || next.text("status") == "revoked" {
				return "the key must be revoked, and have a successor if it was rotated first"
			}
			return successor(turn, next)
		}},
		"rotate against edit": {rotate, func(c *client, id string) reply {
			return c.call(patch, key+id, object{"name": "edited", "status": "inactive"})
		}, func(turn, edited, old, next reply) string {
			name, status := "for tests", "active" // of a key that was rotated first, and its successor
			if edited.status == 200 {
				name, status = "edited", "inactive"
			}
			if turn.status != 201 || edited.status != 200 && edited.status != 409 || old.text("status") != "rotated" || old.text("name") != name || next.text("name") != name || next.text("status") != status {
				return "the key must be rotated, and its successor be as it was at that moment"
			}
			return successor(turn, next)
		}},
		"rotate against delete": {rotate, func(c *client, id string) reply { return c.call(del, key+id+"?permanent=true", nil) }, func(turn, deleted, old, next reply) string {
			if deleted.status != 204 || turn.status != 201 && turn.status != 404 || old.status != 404 {
				return "the key must be gone"
			}
			return successor(turn, next)
		}},
	}
	turns := times(t, "MOONLATCH_RACES", 100)
	for name, race := range races {
		t.Run(name, func(t *testing.T) {
			outcomes := map[[2]int]int{}
			var all []string // the keys and their successors
			for i := range turns {
				old, plaintext := here.key(here.org.Owner, "read:chat", "write:chat")
				sites := []*site{here, there}
				if i%2 == 1 {
					slices.Reverse(sites)
				}
				one, other := atOnce(func() reply { return race.one(sites[0].with(secret), old.ID) }, func() reply { return race.other(sites[1].with(secret), old.ID) })
				outcomes[[2]int{one.status, other.status}]++
				next := one.text("newKey", "id") + other.text("newKey", "id")
				keyNow := here.with(secret).call(get, key+old.ID, nil)
				nextNow := there.with(secret).call(get, key+cmp.Or(next, "none"), nil)
				if wrong := race.judge(one, other, keyNow, nextNow); wrong != "" {
					t.Fatalf("turn %d: %s\n%d %s\n%d %s\nthe key: %s\nits successor: %s", i, wrong, one.status, one.body, other.status, other.body, keyNow.body, nextNow.body)
				}
				all = append(all, old.ID)
				if next != "" {
					all = append(all, next)
				}
				// What became of the old key is what both replicas' gateways hear, within the promise.
				accepted := keyNow.text("status") == "rotated" && keyNow.text("graceEndsAt") != keyNow.text("rotatedAt")
				for began := time.Now(); i%10 == 0; {
					asked := time.Now()
					near, far := here.with(plaintext).call(get, forwardAuthPath, nil).status, there.with(plaintext).call(get, forwardAuthPath, nil).status
					if (near == 200) == accepted && (far == 200) == accepted {
						break
					}
					if asked.Sub(began) > time.Second {
						t.Fatalf("the key is %s, and the gateways hear %d and %d", keyNow.body, near, far)
					}
				}
			}
			t.Logf("%d turns, answered with %v", turns, outcomes)
			here.audited(t, all)
		})
	}
	t.Run("equal requests", func(t *testing.T) {
		for i := range turns {
			ask := func(s *site) func() reply {
				return func() reply {
					c := s.client("Authorization", "Bearer "+secret, "Idempotency-Key", fmt.Sprint("equal ", i))
					return c.call(post, "/v1/api-keys", object{"name": fmt.Sprint("equal ", i), "scopes": []string{"read:chat"}})
				}
			}
			one, other := atOnce(ask(here), ask(there))
			if one.status != 201 {
				one, other = other, one
			}
			if one.status != 201 || other.status != 409 || other.text("error", "code") != "idempotency_conflict" || other.text("error", "details", "id") != one.text("id") {
				t.Fatalf("turn %d: %d %s\n%d %s", i, one.status, one.body, other.status, other.body)
			}
		}
		made := 0
		for path := "/v1/api-keys?q=equal&limit=100"; path != ""; {
			page := here.with(secret).call(get, path, nil).expect(t, "list", 200, "")
			made += len(page.json["items"].([]any))
			if path = ""; page.text("nextCursor") != "" {
				path = "/v1/api-keys?q=equal&limit=100&cursor=" + page.text("nextCursor")
			}
		}
		if made != turns {
			t.Errorf("%d requests made %d keys", turns, made)
		}
	})
	if _, err := here.store.VerifyChain(t.Context(), here.org.ID); err != nil {
		t.Error(err)
	}
}

// audited replays the audit log's events of keys and finds each key that is there as the last of them says, and no other:
// no change without its event, no event without its change.
func (s *site) audited(t *testing.T, ids []string) {
	t.Helper()
	for _, id := range ids {
		events, err := s.store.Events(t.Context(), s.org.ID, audit.Filter{SubjectID: id}, store.Span{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		row, err := s.store.KeyByID(t.Context(), s.org.ID, id)
		there := err == nil
		if len(events) == 0 || (events[0].After != "") != there {
			t.Fatalf("the key %s is there: %t, and the log says %+v", id, there, events)
		}
		if there && row.Version != len(events) { // each change counts the version up by one
			t.Errorf("the key %s changed %d times, and the log has %d events", id, row.Version-1, len(events))
		}
	}
}

// TestNoReplicaAcceptsARevokedKey cuts the connection over which one replica hears the news, or all of them, and revokes
// a key through the other.
func TestNoReplicaAcceptsARevokedKey(t *testing.T) {
	for name, only := range map[string]string{"the news are cut": "moonlatch news", "everything is cut": ""} {
		t.Run(name, func(t *testing.T) {
			databaseURL := storetest.URL(t)
			cable, address := storetest.Lay(t, databaseURL)
			cable.Only(only)
			near, far := replica(t, databaseURL), replica(t, address)
			near.org = storetest.Organisation(t, near.store)
			key, plaintext := near.key(near.org.Admin, "read:chat")
			_, gateway := near.key(near.org.Admin, "verify:api-keys")
			token := near.token(near.org.Owner)
			ask := func(s *site) map[string]bool {
				forward := s.with(plaintext).call(get, forwardAuthPath, nil)
				verdict := s.with(gateway).call(post, verifyPath, object{"key": plaintext})
				for what, got := range map[string]reply{"forward-auth": forward, "verify": verdict} {
					if got.status == http.StatusServiceUnavailable && got.header.Get("Retry-After") != "" && s == far {
						continue
					}
					if got.status != 200 && (what == "verify" || got.status != 401) {
						t.Errorf("%s is answered with %d %s", what, got.status, got.body)
					}
				}
				return map[string]bool{"forward-auth": forward.status == 200, "verify": verdict.text("valid") == "true"}
			}
			for _, s := range []*site{near, far} {
				for range 3 { // by then the caches know both keys
					if got := ask(s); !got["forward-auth"] || !got["verify"] {
						t.Fatalf("the key is not accepted before: %v", got)
					}
				}
			}
			cable.Cut()
			near.with(token).call(del, "/v1/api-keys/"+key.ID, nil).expect(t, "revoke", 200, "")
			acknowledged := time.Now()
			var asking sync.WaitGroup
			for place, s := range map[string]*site{"near": near, "far": far} {
				asking.Go(func() {
					last := map[string]time.Duration{}
					asked := 0
					for ; time.Since(acknowledged) < 1500*time.Millisecond; asked++ {
						sent := time.Since(acknowledged)
						for what, accepted := range ask(s) {
							if accepted {
								last[what] = sent
							}
						}
					}
					t.Logf("%s: asked %d times; last accepted %v after the revocation", place, asked, last)
					for what, late := range last {
						if late > time.Second {
							t.Errorf("%s: %s accepted the key %s after its revocation", place, what, late)
						}
					}
				})
			}
			asking.Wait()
		})
	}
}
