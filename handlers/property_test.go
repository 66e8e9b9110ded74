package handlers

import (
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestNoSequenceOfCallsLeavesTheLifeOfAKey lets everybody call everything in any order, while time moves. A model that
// is written from the product's pages "Roles" and "The life of a key", and knows nothing of the code, says beforehand
// what each call must answer and how each key stands after it. `-rapid.checks=1000` tries for longer.
func TestNoSequenceOfCallsLeavesTheLifeOfAKey(t *testing.T) {
	unlessGiven(t, "rapid.checks", "25")
	unlessGiven(t, "rapid.steps", "80")
	s := storetest.New(t)
	clock := &stoppedClock{}
	clock.now.Store(s.Now().UnixMicro())
	s.Now = clock.Now
	here := siteOver(t, s)
	calls := 0
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(r, here, clock)
		r.Repeat(map[string]func(*rapid.T){
			"issue": w.issue, "issue again": w.issueAgain, "edit": w.edit, "rotate": w.rotate, "revoke": w.revoke, "delete": w.delete,
			"get": w.get, "verify": w.verify, "forward-auth": w.forwardAuth, "time passes": w.wait, "suspend or let in": w.suspend,
			"": func(r *rapid.T) {
				if w.steps++; w.steps%5 == 0 {
					w.compare(r)
				}
			},
		})
		w.compare(r)
		w.compareAudit(r)
		calls += w.calls
	})
	t.Logf("%d calls", calls)
}

// unlessGiven sets a flag that the command line does not.
func unlessGiven(t *testing.T, name, value string) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
}

// stoppedClock moves only when it is told to, so that the model knows every time to the microsecond.
type stoppedClock struct{ now atomic.Int64 }

func (c *stoppedClock) Now() time.Time          { return time.UnixMicro(c.now.Load()).UTC() }
func (c *stoppedClock) advance(d time.Duration) { c.now.Add(d.Microseconds()) }

// someone is a member, with what they log in to.
type someone struct {
	account.Actor
	token     string
	until     time.Time // when the token expires
	suspended bool
}

// life is a key as it must be.
type life struct {
	id, plaintext, name, environment string
	scopes                           []string
	from                             string // the one network of its allowlist; "" for every address
	owner                            *someone
	limit                            account.Role // the strongest role that it acts with
	createdBy                        string
	status                           string // active, inactive, rotated, revoked
	created, expires                 time.Time
	rotated, graceEnds, revoked      *time.Time
	replacedBy                       string
	deleted                          bool
}

func (k *life) statusAt(now time.Time) string {
	if (k.status == "active" || k.status == "inactive") && !now.Before(k.expires) {
		return "expired"
	}
	return k.status
}

// code is what verification says of a key that calls from an address and is asked for scopes.
func (k *life) code(now time.Time, address string, scopes ...string) string {
	switch status := k.statusAt(now); {
	case k.deleted:
		return "not_found"
	case status == "inactive":
		return "disabled"
	case status == "rotated" && now.Before(*k.graceEnds):
	case status != "active":
		return status
	}
	switch {
	case !covers(k.scopes, scopes):
		return "insufficient_scope"
	case k.from != "" && k.from != networks[address]:
		return "ip_not_allowed"
	}
	return "valid"
}

// networks are the allowlists of these tests, by the addresses in them. Tests call from the first.
var networks = map[string]string{"127.0.0.1": "127.0.0.0/8", "192.0.2.9": "192.0.2.0/24"}

const year = 365 * 24 * time.Hour // the policy's longest lifetime

func covers(held, wanted []string) bool {
	for _, scope := range wanted {
		if !slices.Contains(held, scope) && !slices.Contains(held, "*") {
			return false
		}
	}
	return true
}

// reachesFurther says whether the plaintext does what it did not before, or for longer. No network of these tests holds another.
func (k *life) reachesFurther(before life) bool {
	return k.status == "active" && before.status != "active" || k.expires.After(before.expires) || before.from != "" && k.from != before.from
}

// describe is all that a key's summary says of it.
func (k *life) describe(now time.Time) string {
	allowlist := []string{}
	if k.from != "" {
		allowlist = append(allowlist, k.from)
	}
	return fmt.Sprint(k.id, k.name, k.scopes, k.environment, allowlist, k.owner.MemberID, !k.owner.suspended, k.createdBy,
		k.statusAt(now), said(&k.created), said(&k.expires), said(k.rotated), said(k.graceEnds), k.replacedBy, said(k.revoked))
}

func said(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// caller is who calls: a member with a session, or one of the keys.
type caller struct {
	*someone // the key's owner, when a key calls
	key      *life
}

// verb is a kind of call, with what it takes.
type verb struct {
	roles []account.Role
	scope string
}

var (
	see    = verb{[]account.Role{account.Owner, account.Admin, account.Support}, "read:api-keys"}
	change = verb{[]account.Role{account.Owner, account.Admin}, "write:api-keys"}
	ask    = verb{[]account.Role{account.Owner, account.Admin, account.Support}, "verify:api-keys"}
)

// refused is the status with which a caller is turned away whatever they ask for; 0 when they are not.
func (c caller) refused(now time.Time, what verb) int {
	if c.key == nil && c.suspended {
		return http.StatusUnauthorized
	}
	if c.key != nil {
		switch c.key.code(now, "127.0.0.1") {
		case "valid":
		case "ip_not_allowed":
			return http.StatusForbidden
		default:
			return http.StatusUnauthorized
		}
	}
	if c.suspended || !slices.Contains(what.roles, c.role()) || c.key != nil && !covers(c.key.scopes, []string{what.scope}) {
		return http.StatusForbidden
	}
	return 0
}

// role is the one that the caller acts with.
func (c caller) role() account.Role {
	if c.key != nil {
		return c.Role.AtMost(c.key.limit)
	}
	return c.Role
}

// mayHandOut says whether the caller may make, or keep, a key like this one.
func (c caller) mayHandOut(k life) bool {
	if slices.Contains(k.scopes, "*") && c.role() != account.Owner {
		return false
	}
	if c.key == nil {
		return true
	}
	return covers(c.key.scopes, k.scopes) && (c.key.environment == "live" || k.environment == "test") && (c.key.from == "" || k.from == c.key.from)
}

// mayReach is mayHandOut for a change that shows nobody a plaintext: a person may change a key that holds everything.
func (c caller) mayReach(k life) bool { return c.key == nil || c.mayHandOut(k) }

// happened is an event that the audit log must have.
type happened struct{ action, subject, actor, key string }

// request is one that carried an Idempotency-Key.
type request struct {
	by     caller
	key    string
	body   object
	at     time.Time
	issued string
}

// world is an organisation and what the model knows of it.
type world struct {
	site    *site
	clock   *stoppedClock
	org     storetest.Org
	members []*someone // owner, admin, support, member
	foreign *someone
	keys    []*life // deleted ones too
	asked   []request
	events  []happened
	steps   int
	calls   int
}

func newWorld(r *rapid.T, s *site, clock *stoppedClock) *world {
	w := &world{site: s, clock: clock, org: storetest.Organisation(s.t, s.store)}
	for _, a := range []account.Actor{w.org.Owner, w.org.Admin, w.org.Support, w.org.Member} {
		w.members = append(w.members, &someone{Actor: a})
	}
	w.foreign = &someone{Actor: storetest.Organisation(s.t, s.store).Owner}
	for _, c := range []caller{w.owner(), {someone: w.members[1]}} { // everything needs keys to begin with
		k := &life{name: "first", owner: c.someone, limit: c.role(), createdBy: c.MemberID, status: "active", created: w.now(), expires: w.now().Add(90 * 24 * time.Hour),
			environment: "live", scopes: []string{"read:chat", "write:api-keys"}}
		got := w.call(r, c, post, "/v1/api-keys", object{"name": k.name, "scopes": k.scopes})
		w.expect(r, got, 201, nil)
		w.wrote(c, "key.issued", w.born(r, k, got.text("id"), got.text("plaintextKey")))
	}
	return w
}

func (w *world) now() time.Time { return w.clock.Now() }

func (w *world) owner() caller { return caller{someone: w.members[0]} }

// logIn returns a session token. It asks the use case, for the route is limited to what people do.
func (w *world) logIn(r *rapid.T, who account.Actor) string {
	token, err := w.site.keyring.Tokens("http://localhost").LogIn(w.site.t.Context(), keyring.Visitor{Address: "192.0.2.1"}, who.Email, storetest.Password)
	if err != nil {
		r.Fatal(err)
	}
	return token.Reveal()
}

// call sends a request as a caller, and holds the answer to what no answer may do: show a plaintext again.
func (w *world) call(r *rapid.T, c caller, method, path string, body any, header ...string) reply {
	credential := ""
	if c.key != nil {
		credential = c.key.plaintext
	} else {
		if !c.suspended && !w.now().Before(c.until) {
			c.token, c.until = w.logIn(r, c.Actor), w.now().Add(15*time.Minute)
		}
		credential = c.token
	}
	client := w.site.with(credential)
	for i := 0; i < len(header); i += 2 {
		client.header.Set(header[i], header[i+1])
	}
	got := client.call(method, path, body)
	w.calls++
	r.Logf("%s %s %v by %s %v: %d %s", method, path, body, c.Role, c.key != nil, got.status, got.text("error", "message"))
	everything := got.body + fmt.Sprint(got.header)
	for _, k := range w.keys {
		if strings.Contains(everything, k.plaintext[len(k.plaintext)-38:]) {
			r.Fatalf("%s %s shows the plaintext of a key again: %s", method, path, everything)
		}
	}
	return got
}

// expect holds an answer to what the model says: success, or one of the reasons against it.
func (w *world) expect(r *rapid.T, got reply, success int, reasons []int) bool {
	if len(reasons) == 0 && got.status == success {
		return true
	}
	if !slices.Contains(reasons, got.status) {
		r.Fatalf("answered with %d %s, where the product says %v, or %d without any", got.status, got.body, reasons, success)
	}
	return false
}

func (w *world) wrote(c caller, action string, k *life) {
	e := happened{action: action, subject: k.id, actor: c.MemberID}
	if c.key != nil {
		e.key = c.key.id
	}
	w.events = append(w.events, e)
}

// settle waits until verification has heard of a change, which takes a second at most.
func (w *world) settle(r *rapid.T, k *life) {
	began := time.Now()
	for {
		asked := time.Now()
		got := w.call(r, w.owner(), post, verifyPath, object{"key": k.plaintext, "ip": "127.0.0.1"})
		want := k.code(w.now(), "127.0.0.1")
		if got.status == 200 && got.text("code") == want && (k.deleted || got.text("key", "ownerActive") == fmt.Sprint(!k.owner.suspended)) {
			return
		}
		if asked.Sub(began) > time.Second {
			r.Fatalf("a second after the change verification says %s, not %s", got.body, want)
		}
	}
}

func (w *world) anybody(r *rapid.T) caller {
	who := rapid.SampledFrom([]string{"owner", "owner", "owner", "key", "key", "key", "key", "admin", "admin", "admin", "support", "member", "foreign"}).Draw(r, "caller")
	switch who {
	case "foreign":
		return caller{someone: w.foreign}
	case "key":
		k := w.target(r)
		return caller{k.owner, k}
	}
	for _, m := range w.members {
		if string(m.Role) == who && (!m.suspended || m.token != "") { // who is kept out can't log in
			return caller{someone: m}
		}
	}
	return w.owner()
}

// target is the key that a call is about: mostly one of the newest that there are.
func (w *world) target(r *rapid.T) *life {
	some := w.keys
	if rapid.IntRange(0, 4).Draw(r, "any key") < 4 {
		some = slices.DeleteFunc(slices.Clone(w.keys), func(k *life) bool { return k.deleted || k.status == "revoked" })
		some = some[max(0, len(some)-4):]
	}
	if len(some) == 0 {
		some = w.keys
	}
	return rapid.SampledFrom(some).Draw(r, "key")
}

// about calls for one key. It returns the reasons against it that the caller and the id are; when the caller is of another
// organisation, the answer must be the one to an id that is nobody's.
func (w *world) about(r *rapid.T, c caller, what verb, method, path string, k *life, body any) (reply, []int) {
	got := w.call(r, c, method, fmt.Sprintf(path, k.id), body)
	if c.someone == w.foreign {
		if random := w.call(r, c, method, fmt.Sprintf(path, uuid.NewString()), body); got.status != random.status || got.body != random.body {
			r.Fatalf("another organisation's id answers %d %s, a random one %d %s", got.status, got.body, random.status, random.body)
		}
	}
	switch status := c.refused(w.now(), what); {
	case status != 0:
		return got, []int{status}
	case k.deleted || c.someone == w.foreign:
		return got, []int{http.StatusNotFound}
	}
	return got, nil
}

// turnedAway says that nothing else about the call matters.
func turnedAway(reasons []int) bool { return len(reasons) > 0 && reasons[0] != http.StatusNotFound }

var someScopes = []string{"read:chat", "write:chat", "read:api-keys", "write:api-keys", "write:api-keys", "verify:api-keys", "*"}

func (w *world) issue(r *rapid.T) {
	c, now := w.anybody(r), w.now()
	if c.someone == w.foreign { // what they issue is not this organisation's affair
		c = w.owner()
	}
	k := &life{name: rapid.SampledFrom([]string{"a", "b"}).Draw(r, "name"), owner: c.someone, limit: c.role(), createdBy: c.MemberID, status: "active", created: now, expires: now.Add(90 * 24 * time.Hour),
		environment: rapid.SampledFrom([]string{"live", "live", "test"}).Draw(r, "environment"), from: w.drawNetwork(r)}
	k.scopes = slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(rapid.SampledFrom(someScopes), 0, 3).Draw(r, "scopes"))))
	body := object{"name": k.name, "scopes": k.scopes, "environment": k.environment, "ipAllowlist": allowlist(k.from)}
	var reasons []int
	if len(k.scopes) == 0 {
		reasons = append(reasons, 400)
	}
	if slices.Contains(k.scopes, "*") { // which stands for the others
		k.scopes = []string{"*"}
	}
	var header []string
	if rapid.Bool().Draw(r, "idempotent") {
		header = []string{"Idempotency-Key", fmt.Sprint("request ", len(w.asked))}
	} else if expires := rapid.SampledFrom([]time.Duration{0, -time.Hour, time.Second, time.Hour, 30 * 24 * time.Hour, year, year + time.Microsecond}).Draw(r, "lifetime"); expires != 0 {
		k.expires = now.Add(expires)
		body["expiresAt"] = said(&k.expires)
		if expires < 0 || expires > year {
			reasons = append(reasons, 400)
		}
	}
	if !c.mayHandOut(*k) {
		reasons = append(reasons, 403)
	}
	if status := c.refused(now, change); status != 0 {
		reasons = []int{status}
	}
	got := w.call(r, c, post, "/v1/api-keys", body, header...)
	if !w.expect(r, got, 201, reasons) {
		return
	}
	w.wrote(c, "key.issued", w.born(r, k, got.text("id"), got.text("plaintextKey")))
	if header != nil {
		w.asked = append(w.asked, request{c, header[1], body, now, k.id})
	}
}

// born is a key that was just made.
func (w *world) born(r *rapid.T, k *life, id, plaintext string) *life {
	if id == "" || len(plaintext) != 59 || slices.ContainsFunc(w.keys, func(other *life) bool { return other.id == id || other.plaintext == plaintext }) {
		r.Fatalf("the new key has the id %q and a plaintext of %d characters, or those of another", id, len(plaintext))
	}
	k.id, k.plaintext = id, plaintext
	w.keys = append(w.keys, k)
	w.settle(r, k)
	return k
}

func (w *world) drawNetwork(r *rapid.T) string {
	return rapid.SampledFrom([]string{"", "", "127.0.0.0/8", "192.0.2.0/24"}).Draw(r, "network")
}

func allowlist(network string) []string {
	if network == "" {
		return []string{}
	}
	return []string{network}
}

// issueAgain sends a request again that carried an Idempotency-Key, as it was or with another body.
func (w *world) issueAgain(r *rapid.T) {
	fresh := slices.DeleteFunc(slices.Clone(w.asked), func(q request) bool { return w.now().Sub(q.at) >= 24*time.Hour }) // others may be forgotten
	if len(fresh) == 0 {
		w.issue(r)
		return
	}
	first := rapid.SampledFrom(fresh).Draw(r, "request")
	reasons := []int{409}
	if status := first.by.refused(w.now(), change); status != 0 {
		reasons = []int{status}
	}
	body := object{}
	for name, value := range first.body {
		body[name] = value
	}
	if rapid.Bool().Draw(r, "with another body") {
		body["name"] = "another"
	}
	got := w.call(r, first.by, post, "/v1/api-keys", body, "Idempotency-Key", first.key)
	w.expect(r, got, 201, reasons)
	if got.status == 409 && (got.text("error", "code") != "idempotency_conflict" || got.text("error", "details", "id") != first.issued) {
		r.Fatalf("the repetition is answered with %s", got.body)
	}
}

func (w *world) edit(r *rapid.T) {
	c, k, now := w.anybody(r), w.target(r), w.now()
	after, body := *k, object{}
	var reasons []int
	if rapid.IntRange(0, 4).Draw(r, "rename") == 0 {
		after.name = rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "", "a\x00b", strings.Repeat("x", 101)}).Draw(r, "name")
		body["name"] = after.name
		if len(after.name) != 1 {
			reasons = append(reasons, 400)
		}
	}
	if rapid.Bool().Draw(r, "set the status") {
		after.status = rapid.SampledFrom([]string{"active", "active", "active", "inactive", "inactive", "inactive", "revoked"}).Draw(r, "status")
		body["status"] = after.status
		if after.status == "revoked" {
			reasons = append(reasons, 400)
		}
	}
	if rapid.IntRange(0, 4).Draw(r, "set the network") == 0 {
		after.from = w.drawNetwork(r)
		body["ipAllowlist"] = allowlist(after.from)
	}
	if rapid.IntRange(0, 4).Draw(r, "set the expiry") == 0 {
		after.expires = rapid.SampledFrom([]time.Time{now, now.Add(time.Hour), now.Add(30 * 24 * time.Hour), k.created.Add(year), k.created.Add(year + time.Microsecond)}).Draw(r, "expiry")
		body["expiresAt"] = said(&after.expires)
		if !after.expires.After(now) || after.expires.After(k.created.Add(year)) {
			reasons = append(reasons, 400)
		}
		if c.key == k && after.expires.After(k.expires) { // nobody but people makes a key live longer than it was given
			reasons = append(reasons, 403)
		}
	}
	if rapid.IntRange(0, 4).Draw(r, "transfer") == 0 {
		to := rapid.SampledFrom(append([]*someone{w.foreign, w.foreign}, w.members...)).Draw(r, "to")
		body["ownerId"] = to.MemberID
		if to != k.owner {
			if to == w.foreign || to.suspended || !slices.Contains(change.roles, to.Role) {
				reasons = append(reasons, 400)
			}
			// In an owner's name a key with "*" may do what the caller may not.
			if slices.Contains(k.scopes, "*") && to.Role == account.Owner && c.role() != account.Owner {
				reasons = append(reasons, 403)
			}
			after.owner, after.limit = to, k.limit.AtMost(to.Role)
		}
	}
	// Only an owner may enable, widen or extend such a key that acts as an owner.
	if slices.Contains(k.scopes, "*") && k.limit == account.Owner && c.role() != account.Owner && after.reachesFurther(*k) {
		reasons = append(reasons, 403)
	}
	if len(body) == 0 {
		reasons = append(reasons, 400)
	}
	if status := k.statusAt(now); status != "active" && status != "inactive" {
		reasons = append(reasons, 409)
	}
	if !c.mayReach(after) {
		reasons = append(reasons, 403)
	}
	got, first := w.about(r, c, change, patch, "/v1/api-keys/%s", k, body)
	if turnedAway(first) {
		reasons = nil
	} else if first != nil { // another's id says nothing of the key, but the request can be wrong in itself
		reasons = slices.DeleteFunc(reasons, func(status int) bool { return status != 400 })
	}
	if !w.expect(r, got, 200, append(first, reasons...)) {
		return
	}
	if after.describe(now) != k.describe(now) {
		*k = after
		w.wrote(c, "key.edited", k)
	}
	if got.text("status") != k.status || got.text("id") != k.id {
		r.Fatalf("the edited key is %s", got.body)
	}
	w.settle(r, k)
}

func (w *world) rotate(r *rapid.T) {
	c, k, now := w.anybody(r), w.target(r), w.now()
	grace := rapid.SampledFrom([]time.Duration{0, time.Second, time.Hour, time.Hour, 30 * 24 * time.Hour, 30 * 24 * time.Hour, 30*24*time.Hour + time.Second, -time.Second}).Draw(r, "grace")
	var reasons []int
	if grace < 0 || grace > 30*24*time.Hour {
		reasons = append(reasons, 400)
	}
	if status := k.statusAt(now); status != "active" && status != "inactive" {
		reasons = append(reasons, 409)
	}
	if !c.mayHandOut(*k) {
		reasons = append(reasons, 403)
	}
	got, first := w.about(r, c, change, post, "/v1/api-keys/%s/rotate", k, object{"graceSeconds": grace.Seconds()})
	if turnedAway(first) {
		reasons = nil
	} else if first != nil {
		reasons = slices.DeleteFunc(reasons, func(status int) bool { return status != 400 })
	}
	if !w.expect(r, got, 201, append(first, reasons...)) {
		return
	}
	next := *k
	next.created, next.expires, next.createdBy = now, now.Add(min(k.expires.Sub(k.created), year)), c.MemberID
	next.limit = k.owner.Role.AtMost(c.role())
	end := now.Add(grace)
	if end.After(k.expires) {
		end = k.expires
	}
	if k.status == "inactive" {
		end = now
	}
	k.status, k.rotated, k.graceEnds = "rotated", &now, &end
	w.wrote(c, "key.rotated", k)
	if seconds := fmt.Sprint(float64(end.Sub(now) / time.Second)); got.text("oldKeyId") != k.id || got.text("graceSeconds") != seconds {
		r.Fatalf("the rotation is %s, with a grace of %s", got.body, seconds)
	}
	k.replacedBy = got.text("newKey", "id")
	w.wrote(c, "key.rotated", w.born(r, &next, k.replacedBy, got.text("newKey", "plaintextKey")))
	w.settle(r, k)
}

func (w *world) revoke(r *rapid.T) {
	c, k, now := w.anybody(r), w.target(r), w.now()
	got, reasons := w.about(r, c, change, del, "/v1/api-keys/%s", k, nil)
	if status := k.statusAt(now); reasons == nil && (status == "revoked" || status == "expired") {
		reasons = []int{409}
	}
	if w.expect(r, got, 200, reasons) {
		k.status, k.revoked = "revoked", &now
		w.wrote(c, "key.revoked", k)
		w.settle(r, k)
	}
}

func (w *world) delete(r *rapid.T) {
	c, k := w.anybody(r), w.target(r)
	got, reasons := w.about(r, c, change, del, "/v1/api-keys/%s?permanent=true", k, nil)
	if w.expect(r, got, 204, reasons) {
		k.deleted = true
		w.wrote(c, "key.deleted", k)
		w.settle(r, k)
	}
}

func (w *world) get(r *rapid.T) {
	c, k := w.anybody(r), w.target(r)
	got, reasons := w.about(r, c, see, get, "/v1/api-keys/%s", k, nil)
	if w.expect(r, got, 200, reasons) && summarised(got.json) != k.describe(w.now()) {
		r.Fatalf("the key is\n%s, and must be\n%s", summarised(got.json), k.describe(w.now()))
	}
}

func (w *world) verify(r *rapid.T) {
	c, k := w.anybody(r), w.target(r)
	address := rapid.SampledFrom([]string{"127.0.0.1", "192.0.2.9", "203.0.113.1"}).Draw(r, "address")
	scopes := rapid.SliceOfN(rapid.SampledFrom(someScopes[:4]), 0, 2).Draw(r, "scopes")
	got := w.call(r, c, post, verifyPath, object{"key": k.plaintext, "scopes": scopes, "ip": address})
	var reasons []int
	if status := c.refused(w.now(), ask); status != 0 {
		reasons = []int{status}
	}
	if !w.expect(r, got, 200, reasons) {
		return
	}
	want := k.code(w.now(), address, scopes...)
	if c.someone == w.foreign {
		want = "not_found"
	}
	if got.text("code") != want || got.text("valid") != fmt.Sprint(want == "valid") || (got.json["key"] == nil) != (want == "not_found") {
		r.Fatalf("verification says %s, not %s", got.body, want)
	}
}

func (w *world) forwardAuth(r *rapid.T) {
	k := w.target(r)
	scopes := rapid.SliceOfN(rapid.SampledFrom(someScopes[:4]), 0, 2).Draw(r, "scopes")
	query := ""
	for _, scope := range scopes {
		query += "scope=" + scope + "&"
	}
	got := w.call(r, caller{k.owner, k}, get, forwardAuthPath+"?"+query, nil)
	want := http.StatusUnauthorized
	switch k.code(w.now(), "127.0.0.1", scopes...) {
	case "valid":
		want = http.StatusOK
	case "insufficient_scope", "ip_not_allowed":
		want = http.StatusForbidden
	}
	if got.status != want || (got.header.Get("X-Key-Id") == k.id) != (want == 200) || want == 200 && got.header.Get("X-Key-Scopes") != strings.Join(k.scopes, " ") {
		r.Fatalf("the gateway is answered with %d %v", got.status, got.header)
	}
}

func (w *world) wait(r *rapid.T) {
	day := 24 * time.Hour
	w.clock.advance(rapid.SampledFrom([]time.Duration{time.Microsecond, time.Second, time.Second, time.Minute, time.Minute, time.Hour, time.Hour, day, 29 * day, 100 * day}).Draw(r, "time"))
}

// suspend keeps the admin out, or lets them in again. Their keys live on, and have no power here meanwhile.
func (w *world) suspend(r *rapid.T) {
	admin := w.members[1]
	if !admin.suspended && rapid.Bool().Draw(r, "let them be") {
		return
	}
	admin.suspended = !admin.suspended
	status := account.Active
	if admin.suspended {
		status, admin.until = account.Suspended, w.now() // their session is ended too
	}
	_, err := w.site.keyring.ChangeMember(w.site.t.Context(), w.org.Owner, admin.MemberID, keyring.MemberEdit{Status: status})
	if err != nil {
		r.Fatal(err)
	}
	for _, k := range w.keys {
		if k.owner == admin && !k.deleted {
			w.settle(r, k)
		}
	}
}

// compare holds every key to the model, and to what holds for all keys whatever the model says.
func (w *world) compare(r *rapid.T) {
	found := map[string]string{}
	for path := "/v1/api-keys?limit=100"; path != ""; {
		page := w.call(r, w.owner(), get, path, nil)
		if page.status != 200 {
			r.Fatalf("the list is %d %s", page.status, page.body)
		}
		for _, item := range page.json["items"].([]any) {
			k := item.(map[string]any)
			found[k["id"].(string)] = summarised(k)
			created, expires, grace := moment(k["createdAt"]), moment(k["expiresAt"]), moment(k["graceEndsAt"])
			if expires.Sub(created) > year || grace.After(expires) {
				r.Fatalf("the key lives too long: %v", k)
			}
		}
		path = ""
		if next := page.text("nextCursor"); next != "" {
			path = "/v1/api-keys?limit=100&cursor=" + next
		}
	}
	successors := map[string]bool{}
	for _, k := range w.keys {
		if successors[k.replacedBy] && k.replacedBy != "" {
			r.Fatalf("two keys have the successor %s", k.replacedBy)
		}
		successors[k.replacedBy] = true
		if k.deleted {
			continue
		}
		if got, want := found[k.id], k.describe(w.now()); got != want {
			r.Fatalf("a key is\n%s, and must be\n%s", got, want)
		}
		delete(found, k.id)
	}
	if len(found) > 0 {
		r.Fatalf("there are keys that nobody made, or that were deleted: %v", found)
	}
}

func moment(value any) time.Time {
	text, _ := value.(string)
	at, _ := time.Parse(time.RFC3339, text) // what is no time fails where it is compared
	return at
}

// summarised is describe for a key as a program reads it.
func summarised(k map[string]any) string {
	text := func(name string) string {
		if k[name] == nil {
			return ""
		}
		return fmt.Sprint(k[name])
	}
	return fmt.Sprint(text("id"), text("name"), k["scopes"], text("environment"), k["ipAllowlist"], text("ownerId"), k["ownerActive"], text("createdBy"),
		text("status"), text("createdAt"), text("expiresAt"), text("rotatedAt"), text("graceEndsAt"), text("replacedBy"), text("revokedAt"))
}

// compareAudit finds each change in the audit log once, in order, and nothing else about a key; and that the chain holds.
func (w *world) compareAudit(r *rapid.T) {
	var found []happened
	for before := int64(0); ; {
		events, err := w.site.store.Events(w.site.t.Context(), w.org.ID, audit.Filter{}, store.Span{Before: before}, 500)
		if err != nil {
			r.Fatal(err)
		}
		for _, e := range events {
			if e.Subject.Kind == "key" {
				found = append(found, happened{string(e.Action), e.Subject.ID, e.ActorID, e.KeyID})
			}
			before = e.Seq
		}
		if len(events) == 0 {
			break
		}
	}
	slices.Reverse(found)
	if !slices.Equal(found, w.events) {
		r.Fatalf("the audit log has\n%v, and this happened:\n%v", found, w.events)
	}
	if _, err := w.site.store.VerifyChain(w.site.t.Context(), w.org.ID); err != nil {
		r.Fatal(err)
	}
}
