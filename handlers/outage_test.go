package handlers

import (
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestDatabaseGoesAwayAndComesBack(t *testing.T) {
	c, address := storetest.Lay(t, storetest.URL(t))
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	here := siteOver(t, s)
	here.org = storetest.Organisation(t, s)
	admin := here.as(here.org.Admin)
	key := here.issue("survivor")
	form := admin.keyForm("made during the outage")
	for name, fault := range map[string]func(){"cut": c.Cut, "silent": c.Silence} {
		if got := admin.get("/account/api-keys"); got.status != http.StatusOK {
			t.Fatalf("before the database is %s: %d", name, got.status)
		}
		fault()
		for what, ask := range map[string]func() answer{
			"list":   func() answer { return admin.get("/account/api-keys") },
			"create": func() answer { return admin.post("/account/api-keys/new", form) },
			"revoke": func() answer { return admin.post("/account/api-keys/"+key.ID+"/revoke", url.Values{}) },
			"sign in": func() answer {
				return here.visitor().post("/sign-in", url.Values{"email": {"a@b.test"}, "password": {"x"}})
			},
			"ready": func() answer { return here.visitor().get("/readyz") },
		} {
			if got := ask(); got.status != http.StatusServiceUnavailable || what != "ready" && got.header.Get("Retry-After") == "" {
				t.Errorf("%s while the database is %s: %d, Retry-After %q", what, name, got.status, got.header.Get("Retry-After"))
			}
		}
		again := admin.get("/account/api-keys?q=x")
		if !strings.Contains(again.body, `href="/account/api-keys?q=x"`) {
			t.Errorf("the page while the database is %s does not lead back to where it was asked for", name)
		}
		lost := admin.post("/account/api-keys/new", form)
		if link := html.UnescapeString(lost.body); !strings.Contains(link, "/account/api-keys/new?") || !strings.Contains(link, "name=made+during+the+outage") || strings.Contains(link, "nonce=") {
			t.Errorf("the page while the database is %s does not lead back to the form as it was typed", name)
		}
		if link := html.UnescapeString(admin.post("/processes/new", url.Values{"name": {"Typed"}}).body); !strings.Contains(link, `href="/processes/new?name=Typed"`) {
			t.Errorf("nor does the form of another page while the database is %s", name)
		}
		if link := html.UnescapeString(here.visitor().post("/sign-in", url.Values{"email": {"typed@b.test"}, "password": {"x"}}).body); strings.Contains(link, "typed@b.test") {
			t.Errorf("what was typed at the door is in an address while the database is %s", name)
		}
		var wg sync.WaitGroup
		for range 50 { // more than there are connections to wait for
			wg.Go(func() {
				if got := admin.get("/account/api-keys"); got.status != http.StatusServiceUnavailable {
					t.Errorf("one of many requests while the database is %s: %d", name, got.status)
				}
			})
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("50 requests at once were answered after %s", took)
		}
		if got := here.visitor().get("/healthz"); got.status != http.StatusOK {
			t.Errorf("the process is called dead while the database is %s: %d", name, got.status)
		}
		c.Mend()
		deadline := time.Now().Add(30 * time.Second)
		for admin.get("/account/api-keys").status != http.StatusOK {
			if time.Now().After(deadline) {
				t.Fatalf("the server did not recover after the database was %s", name)
			}
		}
	}
	if row, err := here.keyring.Key(t.Context(), here.org.Admin, key.ID); err != nil || row.Version != key.Version {
		t.Errorf("a change that was answered with 503 was made: %+v, %v", row.Key, err)
	}
	if got := admin.post("/account/api-keys/new", form); got.status != http.StatusCreated {
		t.Errorf("the form that failed is lost: %d", got.status)
	}
}

// TestEveryRouteAnswersWhileTheDatabaseIsSilent walks the table with more callers at once than there are connections. The
// bound leaves room for a busy machine; the limit itself is requestTimeout.
func TestEveryRouteAnswersWhileTheDatabaseIsSilent(t *testing.T) {
	const bound = 8 * time.Second // a request that waits for its turn twice takes longer
	c, address := storetest.Lay(t, storetest.URL(t))
	s, err := store.Open(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	here := siteOver(t, s)
	here.org = storetest.Organisation(t, s)
	owner, token := here.as(here.org.Owner), here.with(here.token(here.org.Owner))
	_, plaintext := here.key(here.org.Owner, "*")
	key := here.with(plaintext)
	ids := things(t, s, here.keyring, here.org.Owner)
	const withoutDatabase = "/healthz /openapi.json"
	var signing []string
	for _, r := range slices.Concat(routes, apiRoutes) {
		if r.policy == signingIn {
			signing = append(signing, r.method+" "+r.path)
		}
	}

	var calls []func() answer
	var names []string
	add := func(r route, ask func(method, path string) answer) {
		path, known := r.named(ids)
		if !known {
			t.Fatalf("%s %s: the walk knows no such thing", r.method, r.path)
		}
		method := r.method
		if method == every {
			method = get
		}
		calls, names = append(calls, func() answer { return ask(method, path) }), append(names, r.method+" "+r.path)
	}
	byBrowser := func(method, path string) answer {
		if method == post {
			return owner.post(path, url.Values{"email": {"a@b.test"}, "password": {"x"}})
		}
		return owner.get(path)
	}
	byProgram := func(c *client) func(method, path string) answer {
		return func(method, path string) answer {
			var body any
			if method == post || method == patch {
				body = object{"email": "a@b.test", "password": "x"}
			}
			return c.call(method, path, body).answer
		}
	}
	for _, r := range routes {
		add(r, byBrowser)
	}
	for _, r := range apiRoutes {
		add(r, byProgram(key))
		if r.path != forwardAuthPath { // which takes no token
			add(r, byProgram(token))
		}
	}
	all := len(calls)
	// Forty callers of what may take longer once the database answers.
	for i := 0; len(calls) < all+40; i++ {
		if name := names[i%all]; strings.HasSuffix(name, exportSuffix) || slices.ContainsFunc(slices.Concat(routes, apiRoutes), func(r route) bool {
			return r.method+" "+r.path == name && r.policy.timeout > 0
		}) {
			calls, names = append(calls, calls[i%all]), append(names, name)
		}
	}

	c.Silence()
	for deadline := time.Now().Add(20 * time.Second); byProgram(key)(get, forwardAuthPath).status != http.StatusServiceUnavailable; { // until no answer is remembered
		if time.Now().After(deadline) {
			t.Fatal("an answer about a key is remembered for too long")
		}
	}
	for _, wave := range [][2]int{{0, all}, {all, len(calls)}} {
		var wg sync.WaitGroup
		for i := wave[0]; i < wave[1]; i++ {
			wg.Go(func() {
				began := time.Now()
				got := calls[i]()
				took := time.Since(began)
				_, path, _ := strings.Cut(names[i], " ")
				switch {
				case took > bound:
					t.Errorf("%s took %s", names[i], took)
				case slices.Contains(strings.Fields(withoutDatabase), path), path == jwksPath && got.status == http.StatusOK: // the published keys are remembered
					if got.status != http.StatusOK {
						t.Errorf("%s: %d", names[i], got.status)
					}
				case got.status == http.StatusTooManyRequests && slices.Contains(signing, names[i]) && got.header.Get("Retry-After") != "": // its slots are taken by those who wait
				case got.status != http.StatusServiceUnavailable || path != "/readyz" && got.header.Get("Retry-After") == "":
					t.Errorf("%s: %d, Retry-After %q", names[i], got.status, got.header.Get("Retry-After"))
				}
				t.Logf("%6.2f s  %d  %s", took.Seconds(), got.status, names[i])
			})
		}
		wg.Wait()
	}
}

// TestNoReadHasATimeLimitOfItsOwn: only a change of very many rows may take longer, and never a page or a dialog.
func TestNoReadHasATimeLimitOfItsOwn(t *testing.T) {
	longer := 0
	for _, r := range slices.Concat(routes, apiRoutes) {
		if r.policy.timeout == 0 {
			continue
		}
		longer++
		if r.method == get || r.method == every {
			t.Errorf("%s %s may take %s", r.method, r.path, r.policy.timeout)
		}
	}
	if longer == 0 {
		t.Error("no route may take longer than requestTimeout: the walk sees nothing")
	}
}
