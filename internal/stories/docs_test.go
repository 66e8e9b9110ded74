package stories_test

import (
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
)

// TestAnybodyCanReadTheDocumentation opens the page of the HTTP API as somebody does who never signs in.
func TestAnybodyCanReadTheDocumentation(t *testing.T) {
	s := open(t)
	for look, options := range looks {
		t.Run(look, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, options...)
			p.Goto("/docs")
			for _, want := range []string{"curl '" + s.URL + "/v1/api-keys'", "$MOONLATCH_API_KEY", "insufficient_scope", "X-RateLimit-Remaining"} {
				if !strings.Contains(p.HTML(), want) {
					t.Errorf("%q is not on the page", want)
				}
			}
			p.Screenshot(look + "-docs")
			p.NoOverflow()
			p.Eval(`document.querySelectorAll("details").forEach((more) => (more.open = true))`, nil)
			p.Screenshot(look + "-docs-unfolded")
			p.Axe()
			p.NoOverflow()
		})
	}
}

// TestContentsLeadToEveryPlace follows what the table of contents and the page's own links promise, without a script.
func TestContentsLeadToEveryPlace(t *testing.T) {
	s := open(t)
	p := browsertest.Open(t, s.URL, browsertest.Width(360), browsertest.NoJavaScript())
	p.Goto("/docs")
	var lost []string
	p.Eval(`[...document.querySelectorAll('a[href^="#"]')].map((a) => a.hash).filter((hash) => !document.getElementById(hash.slice(1)))`, &lost)
	if len(lost) > 0 {
		t.Errorf("links that lead nowhere: %q", lost)
	}
	p.Click(".docs-contents > summary")
	p.Click(`.docs-contents a[href="#rotateApiKey"]`)
	var top float64
	p.Eval(`document.getElementById("rotateApiKey").getBoundingClientRect().top`, &top)
	if top < 0 || top > 300 {
		t.Errorf("the heading stands %v px from the top after its link was followed", top)
	}
	p.Goto("/openapi.json")
	if p.Status() != 200 {
		t.Errorf("the document itself: %d", p.Status())
	}
}
