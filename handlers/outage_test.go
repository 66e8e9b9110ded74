package handlers

import (
	"html"
	"net/http"
	"net/url"
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
