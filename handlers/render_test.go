package handlers

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/views"
)

func TestFragmentIsTheSamePartOfTheSamePage(t *testing.T) {
	s := newSite(t)
	s.issue("shown")
	admin := s.as(s.org.Admin)
	htmx := func(target string) map[string]string {
		return map[string]string{"HX-Request": "true", "HX-Target": target}
	}
	whole := admin.get(views.KeysPath)
	part := admin.send(http.MethodGet, views.KeysPath, nil, htmx("section#keys"))
	if part.status != http.StatusOK || strings.Contains(part.body, "<html") || !strings.HasPrefix(strings.TrimSpace(part.body), `<section id="keys"`) || !strings.Contains(whole.body, strings.TrimSpace(part.body)[:200]) {
		t.Errorf("the list's fragment: %d %.100q", part.status, part.body)
	}
	for _, target := range []string{"body", "div#other", "keys", ""} {
		if got := admin.send(http.MethodGet, views.KeysPath, nil, htmx(target)); !strings.Contains(got.body, "<html") {
			t.Errorf("target %q gets a part of a page", target)
		}
	}
	gone := admin.send(http.MethodGet, views.KeysPath+"?workspace="+uuid.NewString(), nil, htmx("section#keys"))
	if gone.status != http.StatusNotFound || gone.header.Get("HX-Retarget") != "#dialog" || !strings.Contains(gone.body, `id="dialog"`) || strings.Contains(gone.body, "<html") {
		t.Errorf("an error in place of the list: %d, to %q", gone.status, gone.header.Get("HX-Retarget"))
	}
	if away := s.visitor().send(http.MethodGet, views.KeysPath, nil, htmx("section#keys")); away.status != http.StatusOK || !strings.HasPrefix(away.header.Get("HX-Redirect"), views.SignInPath) || away.body != "" {
		t.Errorf("somebody who is signed out: %d to %q", away.status, away.header.Get("HX-Redirect"))
	}
}

func TestEveryPageKeepsItsPromisesToTheBrowser(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Admin)
	for _, path := range []string{"/sign-in", views.KeysPath, views.AccountPath, "/nowhere", "/setup/x"} {
		got := b.get(path)
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"} {
			if path == "/sign-in" && name == "Cache-Control" && got.status == http.StatusSeeOther {
				continue
			}
			if value := got.header.Get(name); value != want {
				t.Errorf("%s: %s is %q", path, name, value)
			}
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		for _, inline := range []string{" style=", " onclick=", " onload=", "<style", "hx-on", "javascript:"} {
			if strings.Contains(got.body, inline) {
				t.Errorf("%s holds %q", path, inline)
			}
		}
	}
}

func TestBrowsersFindTheMarkByItsUsualName(t *testing.T) {
	b := newSite(t).visitor()
	if got := b.get("/favicon.ico"); got.status != http.StatusFound || b.get(got.location).header.Get("Content-Type") != "image/svg+xml; charset=utf-8" {
		t.Errorf("%d %s", got.status, got.location)
	}
}

// What was refused for what it asked has a way on that is not refused again.
func TestRefusalLeadsBackToThePage(t *testing.T) {
	s := newSite(t)
	admin := s.as(s.org.Admin)
	here := map[string]string{"HX-Request": "true", "HX-Target": "section#keys", "HX-Current-URL": "http://127.0.0.1/members?q=x"}
	again := func(path string) string { return `href="` + path + `">Open the page again` }
	for _, c := range []struct {
		path   string
		header map[string]string
		leads  string
	}{
		{views.KeysPath + "?sort=x", nil, again(views.KeysPath)},
		{views.KeysPath + "?owner=x", nil, again(views.KeysPath)},
		{views.KeysPath + "?sort=x", here, again(views.MembersPath)},
		{views.KeyPath("x") + "/edit", here, again(views.MembersPath)},
		{views.KeyPath("x") + "/edit?return=/", nil, ""},
		{views.KeyPath("x"), nil, ""},
		{"/nowhere?x=1", nil, ""},
	} {
		got := admin.send(http.MethodGet, c.path, nil, c.header)
		if !strings.Contains(got.body, c.leads) || c.leads == "" && strings.Contains(got.body, "Open the page again") || !strings.Contains(got.body, "data-close") {
			t.Errorf("%s: %d %s", c.path, got.status, got.body)
		}
	}
}
