package handlers

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

// policyForm is the form as it comes with the stored policy, changed.
func policyForm(changes ...string) url.Values {
	form := url.Values{"version": {"1"}, "longestDays": {"365"}, "defaultDays": {"90"}, "graceSeconds": {"2592000"}, "unusedDays": {""}, "disableUnused": {""}}
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return form
}

func TestKeyPolicyPageSaysWhatEachRoleMayDo(t *testing.T) {
	s := newSite(t)
	s.issue("bare")
	for _, who := range []account.Actor{s.org.Owner, s.org.Admin, s.org.Support} {
		got := s.as(who).get(views.PolicyPath)
		if got.status != 200 || !strings.Contains(got.body, "<dd>365 days</dd>") || !strings.Contains(got.body, "No live key breaks the policy.") ||
			strings.Contains(got.body, views.EditPolicyPath) != (who.Role == account.Owner) {
			t.Errorf("%s: %d\n%s", who.Role, got.status, got.body)
		}
	}
	if got := s.as(s.org.Member).get(views.PolicyPath); got.status != http.StatusForbidden {
		t.Errorf("a member: %d", got.status)
	}
}

func TestAPolicyIsConfirmedInTheSameForm(t *testing.T) {
	s := newSite(t)
	key := s.issue("bare <key>")
	owner := s.as(s.org.Owner)
	for field, bad := range map[string]url.Values{"longest": policyForm("longestDays", "kept <0>"), "default": policyForm("defaultDays", "366"),
		"grace": policyForm("graceSeconds", "-1"), "unused": policyForm("disableUnused", "1")} {
		if got := owner.post(views.EditPolicyPath, bad); got.status != 422 || !strings.Contains(got.body, `id="p-`+field+`-problem"`) || field == "longest" && !strings.Contains(got.body, "kept &lt;0&gt;") {
			t.Errorf("%s: %d", field, got.status)
		}
	}
	strict := policyForm("requireAllowlist", "1", "longestDays", "30", "defaultDays", "30", "unusedDays", "60")
	asked := owner.post(views.EditPolicyPath, strict)
	for _, words := range []string{"1 live key breaks this policy.", "bare &lt;key&gt;", "lives for longer than 30 days; has no IP allowlist", "Save all the same", `name="confirm" value="1"`, `name="longestDays" value="30"`} {
		if !strings.Contains(strings.Join(strings.Fields(asked.body), " "), words) {
			t.Errorf("the question does not say %s", words)
		}
	}
	again := owner.get(views.EditPolicyPath + "?" + strict.Encode())
	if asked.status != 200 || again.status != 200 || !strings.Contains(again.body, `value="30"`) {
		t.Errorf("%d, %d", asked.status, again.status)
	}
	if p, err := s.keyring.Policy(t.Context(), s.org.Owner); err != nil || p.Version != 1 {
		t.Fatalf("it was saved before it was confirmed: %+v, %v", p, err)
	}
	strict.Set("confirm", "1")
	if got := owner.post(views.EditPolicyPath, strict); got.status != 303 || got.location != views.PolicyPath {
		t.Fatalf("%d to %s", got.status, got.location)
	}
	page := owner.get(views.PolicyPath).body
	if !strings.Contains(page, "The key policy is saved.") || !strings.Contains(page, `href="/account/api-keys?breaking=1">1 live key</a>`) {
		t.Error(page)
	}
	for path, words := range map[string]string{
		"/account/api-keys?breaking=1":     "Breaks policy<span class=\"sr-only\">: lives for longer than 30 days; has no IP allowlist",
		"/account/api-keys/" + key.ID:      "it lives for longer than 30 days; it has no IP allowlist.",
		"/account/api-keys/new":            "Your organisation’s keys need one.",
		views.EditPolicyPath:               `name="version" value="2"`,
		"/account/api-keys?status=enabled": "Breaks policy",
	} {
		if body := owner.get(path).body; !strings.Contains(body, words) {
			t.Errorf("%s does not say %s", path, words)
		}
	}
	stale := owner.post(views.EditPolicyPath, policyForm("longestDays", "277"))
	if stale.status != http.StatusConflict || !strings.Contains(stale.body, s.org.Owner.Email+" changed the policy meanwhile") || !strings.Contains(stale.body, `value="277"`) || !strings.Contains(stale.body, `name="version" value="2"`) {
		t.Errorf("a form that is out of date: %d", stale.status)
	}
	// What the policy asks for is said beside the fields, to people and to programs.
	form := owner.keyForm("no list")
	form.Set("expires", "30d")
	if got := owner.post(views.NewKeyPath, form); got.status != 422 || !strings.Contains(got.body, `id="k-allowlist-problem"`) {
		t.Errorf("a key without a list: %d", got.status)
	}
	_, secret, err := s.keyring.IssueKey(t.Context(), s.org.Owner, keyring.KeyDraft{Name: "programs", Scopes: []string{"*"}, IPAllowlist: []string{"127.0.0.0/8", "::1"}})
	if err != nil {
		t.Fatal(err)
	}
	c := s.with(secret.Reveal())
	if got := c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}}).expect(t, "issue", 400, "validation_failed"); got.text("error", "details", "fields", "ipAllowlist") == "" {
		t.Error(got.body)
	}
	made := c.call(post, "/v1/api-keys", object{"name": "x", "scopes": []string{"read:chat"}, "ipAllowlist": []string{"127.0.0.1"}}).expect(t, "issue", 201, "")
	if got := c.call(patch, "/v1/api-keys/"+made.text("id"), object{"ipAllowlist": []string{}}).expect(t, "empty the list", 400, "validation_failed"); got.text("error", "details", "fields", "ipAllowlist") == "" {
		t.Error(got.body)
	}
	s.with(s.token(s.org.Owner)).call(patch, "/v1/api-keys/"+key.ID, object{"name": "still bare", "ipAllowlist": []string{}}).expect(t, "an old key", 200, "")
}

// TestALatePolicyFormIsToldWhatItWouldReplace: of every change since it was shown, the latest last, and of none before.
func TestALatePolicyFormIsToldWhatItWouldReplace(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	for _, change := range []url.Values{policyForm("unusedDays", "120"), policyForm("unusedDays", "300", "version", "2"), policyForm("unusedDays", "300", "graceSeconds", "604800", "disableDeparted", "1", "version", "3")} {
		if got := owner.post(views.EditPolicyPath, change); got.status != 303 {
			t.Fatal(got.status)
		}
	}
	late := policyForm("longestDays", "60", "defaultDays", "60", "unusedDays", "120", "version", "2")
	got := owner.post(views.EditPolicyPath, late)
	who := s.org.Owner.Email
	got.holds(t, "a late form", 409, `value="60"`, `value="120"`, `name="version" value="4"`,
		who+" changed the policy meanwhile. Unused after: “120 days” became “300 days”. "+
			who+" changed the policy meanwhile. Longest grace period: “30 days” became “7 days”. Keys of who has left are disabled: “No” became “Yes”. Saving replaces that.")
	if strings.Contains(got.body, "Never") {
		t.Error("it is told of what it knew")
	}
	late.Set("version", "x")
	owner.post(views.EditPolicyPath, late).holds(t, "a form of no version", 409, "Unused after: “Never” became “120 days”.", "Saving replaces that.")
}

// TestAQuestionNamesWhatItWillDisableFirst: 21 keys that nobody uses are older than 21 that come to break a rule, and another
// breaks it already. What is not named can be found.
func TestAQuestionNamesWhatItWillDisableFirst(t *testing.T) {
	s := newSite(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	issue := func(ago time.Duration, expires, name string, list ...string) {
		t.Helper()
		s.store.Now = func() time.Time { return now.Add(-ago) }
		if _, _, err := s.keyring.IssueKey(t.Context(), s.org.Admin, keyring.KeyDraft{Name: name, Expires: expires, Scopes: []string{"read:chat"}, IPAllowlist: list}); err != nil {
			t.Fatal(err)
		}
	}
	issue(3*apikey.Day, "365d", "broken already", "192.0.2.1")
	for i := range 21 {
		issue(2*apikey.Day-time.Duration(i)*time.Minute, "30d", "idle "+strconv.Itoa(i), "192.0.2.1")
	}
	s.store.Now = func() time.Time { return now }
	owner := s.as(s.org.Owner)
	today := policyForm("longestDays", "90", "confirm", "1", "unusedDays", "3", "disableUnused", "1")
	if got := owner.post(views.EditPolicyPath, today); got.status != 303 {
		t.Fatal(got.status)
	}
	for i := range 21 {
		issue(0, "30d", "bare "+strconv.Itoa(i))
	}
	s.store.Now = func() time.Time { return now }
	strict := policyForm("longestDays", "90", "requireAllowlist", "1", "unusedDays", "1", "disableUnused", "1", "version", "2")
	got := owner.post(views.EditPolicyPath, strict)
	said := strings.Join(strings.Fields(got.body), " ")
	at := 0
	for _, words := range []string{
		"22 enabled keys will be disabled within about an hour:</strong> unused for 1 day or longer. Today’s policy disables 1 of them as well.",
		"22 live keys break this policy.</strong> 21 of them break a rule that is new or stricter; 1 breaks today’s policy in the same way.",
		"22 keys that will be disabled</h2>", "<bdi>broken already</bdi>", "<bdi>idle 0</bdi>", "<bdi>idle 18</bdi>", `And 2 more. <a class="link" href="/account/api-keys?status=enabled&amp;unused=1">See them all</a>`,
		"21 keys that break a rule that is new or stricter</h2>", "<bdi>bare 20</bdi>", "<bdi>bare 1</bdi>", "And 1 more. The list of keys has them all once this is saved.",
	} {
		next := strings.Index(said[at:], words)
		if next < 0 {
			t.Fatalf("%q is missing, or out of its place: %d %s", words, got.status, said)
		}
		at += next
	}
	if n := strings.Count(said, "<bdi>idle "); n != 19 || strings.Count(said, "<bdi>bare ") != 20 || strings.Count(said, "<bdi>broken already</bdi>") != 1 {
		t.Errorf("%d idle keys are named", n)
	}
	list := owner.get("/account/api-keys?status=enabled&unused=1").body
	if rows := strings.Count(list, `<th scope="row"`); rows != 22 || strings.Contains(list, "bare ") {
		t.Errorf("the link finds %d keys", rows)
	}
}

func TestUnusedKeysAreFlagged(t *testing.T) {
	s := newSite(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	s.store.Now = func() time.Time { return now.Add(-75 * apikey.Day) }
	key := s.issue("idle")
	s.store.Now = func() time.Time { return now }
	owner := s.as(s.org.Owner)
	shows := func(path, words string, want bool) {
		t.Helper()
		if body := strings.Join(strings.Fields(owner.get(path).body), " "); strings.Contains(body, words) != want {
			t.Errorf("%s says %q: %v", path, words, !want)
		}
	}
	shows("/account/api-keys", "Unused for 75 days", false)
	if got := owner.post(views.EditPolicyPath, policyForm("unusedDays", "70")); got.status != 303 {
		t.Fatal(got.status)
	}
	shows("/account/api-keys", "Unused for 75 days", true)
	shows("/account/api-keys/"+key.ID, "Unused for 75 days", true)
	shows("/account/api-keys/"+key.ID, "disables it within about an hour", false)
	shows(views.PolicyPath, `href="/account/api-keys?status=enabled&amp;unused=70">1 enabled key</a> has been unused for 70 days or longer.`, true)
	disable := policyForm("unusedDays", "70", "disableUnused", "1", "version", "2")
	if got := owner.post(views.EditPolicyPath, disable); got.status != 200 || !strings.Contains(got.body, "1 key that will be disabled") || !strings.Contains(got.body, "unused for 75 days</span>") || !strings.Contains(strings.Join(strings.Fields(got.body), " "), "1 enabled key will be disabled within about an hour") {
		t.Errorf("%d %s", got.status, got.body)
	}
	disable.Set("confirm", "1")
	if got := owner.post(views.EditPolicyPath, disable); got.status != 303 {
		t.Fatal(got.status)
	}
	shows("/account/api-keys/"+key.ID, "disables it within about an hour", true)
	if err := s.keyring.DisableUnused(t.Context()); err != nil {
		t.Fatal(err)
	}
	shows("/account/api-keys", "Unused for 75 days", false) // disabled, it is no trouble any more
	shows("/account/api-keys/"+key.ID, "key policy", true)  // its trail says who did it
}
