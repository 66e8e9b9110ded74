package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestKeysPageShowsHowToCallWithIt chooses each language, by pointer and by keyboard, and copies an example.
func TestKeysPageShowsHowToCallWithIt(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	key, plaintext, err := s.keyring.IssueKey(t.Context(), org.Admin, keyring.KeyDraft{Name: "Nightly export", Scopes: []string{"read:chat", "read:personas"}})
	if err != nil {
		t.Fatal(err)
	}
	languages := map[string]string{"curl": "X-Api-Key: $MOONLATCH_API_KEY", "javascript": "await fetch(", "python": "import urllib.request", "go": "package main"}
	shown := func(p *browsertest.Page) (text string) {
		p.Eval(`document.querySelector(".calls").innerText`, &text)
		return text
	}
	look := func(p *browsertest.Page, name string) {
		t.Helper()
		p.Eval(`document.querySelector("#calls").scrollIntoView()`, nil)
		p.Screenshot("calls-" + name)
		p.Axe()
		p.NoOverflow()
	}
	for name, options := range looks {
		for scripts, option := range map[string][]browsertest.Option{"": nil, "-without-javascript": {browsertest.NoJavaScript()}} {
			t.Run(name+scripts, func(t *testing.T) {
				p := s.visit(org.Support, append(option, options...)...)
				p.Goto("/account/api-keys/" + key.ID)
				for chosen := range languages {
					p.Click("label:has([value=" + chosen + "])")
					text := shown(p)
					for language, words := range languages {
						if strings.Contains(text, words) != (language == chosen) {
							t.Errorf("%s is chosen, and of %s one sees: %s", chosen, language, text)
						}
					}
					if !strings.Contains(text, s.URL+"/v1/forward-auth?scope=read:chat") {
						t.Errorf("%s does not call this server: %s", chosen, text)
					}
					look(p, name+scripts+"-"+chosen)
				}
				if strings.Contains(p.HTML(), plaintext.RevealPass()) {
					t.Error("the plaintext is on the page")
				}
			})
		}
	}
	p := s.visit(org.Admin)
	p.Goto("/account/api-keys/" + key.ID)
	p.Eval(`document.querySelector("input[name=language]").focus()`, nil)
	p.Press("ArrowRight")
	p.Press("ArrowRight")
	if !p.Checked("input[name=language][value=python]") {
		t.Error("the arrow keys do not choose")
	}
	p.Click(".in-python [data-copy]")
	p.WaitFor("[data-copied]")
	if got := p.Clipboard(); !strings.HasPrefix(got, "import os\n") || !strings.HasSuffix(got, "\n") || strings.Contains(got, plaintext.RevealPass()) {
		t.Errorf("copied was %q", got)
	}
}

// TestTrailSaysWhichKeyActed follows a change that a program made to the key through which it was made.
func TestTrailSaysWhichKeyActed(t *testing.T) {
	s := open(t)
	org := storetest.Organisation(t, s.store)
	acting, _, err := s.keyring.IssueKey(t.Context(), org.Owner, keyring.KeyDraft{Name: "CI", AllScopes: true})
	if err != nil {
		t.Fatal(err)
	}
	program := org.Owner
	program.SessionID, program.KeyID, program.Scopes = "", acting.ID, acting.Scopes
	key, _, err := s.keyring.IssueKey(t.Context(), program, keyring.KeyDraft{Name: "Made by a program", Scopes: []string{"read:chat"}})
	if err != nil {
		t.Fatal(err)
	}
	name := "CI runner"
	if _, err := s.keyring.EditKey(t.Context(), program, acting.ID, keyring.KeyEdit{Name: &name}); err != nil {
		t.Fatal(err)
	}
	p := s.visit(org.Support, browsertest.Width(360))
	p.Goto("/account/api-keys/" + key.ID)
	p.WaitFor(`section:text("` + org.Owner.Email + `, through the key “CI runner”, created the key")`)
	p.Eval(`document.querySelector("#trail").scrollIntoView()`, nil)
	p.Screenshot("trail-through-a-key")
	p.Axe()
	p.NoOverflow()
	p.Click(`ol a:text("CI runner")`)
	p.WaitFor(`section:text("` + org.Owner.Email + `, through this key, edited the key")`)

	if err := s.keyring.DeleteKey(t.Context(), org.Owner, acting.ID); err != nil {
		t.Fatal(err)
	}
	p.Goto("/account/api-keys/" + key.ID)
	p.WaitFor(`section:text("` + org.Owner.Email + `, through the deleted key ` + acting.ID[len(acting.ID)-8:] + `, created the key")`)
}
