package browsertest

import (
	"cmp"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/cdproto/cachestorage"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/indexeddb"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/storage"
)

// Axe fails the test for every violation that axe-core finds on the page as it is now: WCAG 2.2 A and AA, and its
// best practices. What axe cannot decide is left out.
func (p *Page) Axe() {
	p.t.Helper()
	violations, err := p.axe()
	if err != nil {
		p.fail("running axe-core: %v", err)
	}
	if len(violations) > 0 {
		p.t.Errorf("axe-core on %s (%s, %d px):\n%s", p.Path(), p.set.scheme, p.set.width, strings.Join(violations, "\n"))
	}
}

func (p *Page) axe() ([]string, error) {
	here, err := sourceFolder()
	if err != nil {
		return nil, err
	}
	source, err := os.ReadFile(filepath.Join(here, "node_modules/axe-core/axe.min.js"))
	if err != nil {
		return nil, fmt.Errorf("run npm ci in internal/browsertest: %w", err)
	}
	if p.set.noJavaScript { // axe needs timers; the page's own scripts had their chance and don't come back
		if err := p.scripts(true); err != nil {
			return nil, err
		}
		defer func() { _ = p.scripts(false) }()
	}
	// A world of its own: the page can't see axe, and its Content-Security-Policy doesn't hold there.
	world, err := call(p, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: p.watch.main, WorldName: "axe"})
	if err != nil {
		return nil, err
	}
	if err := p.evalIn(world.ExecutionContextID, axeTime, string(source), nil); err != nil {
		return nil, err
	}
	var violations []struct {
		ID, Impact, Help string
		Nodes            []struct {
			Target         []any
			FailureSummary string
		}
	}
	// What still moves, like a dialog that opens, has other colours than it will have.
	err = p.evalIn(world.ExecutionContextID, axeTime, `Promise.all(document.getAnimations()
		.filter((a) => Number.isFinite(a.effect.getComputedTiming().endTime)).map((a) => a.finished.catch(() => {}))
	).then(() => axe.run(document, {
		resultTypes: ["violations"],
		runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
	})).then(({ violations }) => violations)`, &violations)
	var lines []string
	for _, v := range violations {
		for _, node := range v.Nodes {
			lines = append(lines, fmt.Sprintf("  %s (%s) at %v: %s\n      %s", v.ID, v.Impact, node.Target, v.Help,
				strings.ReplaceAll(node.FailureSummary, "\n", "\n      ")))
		}
	}
	return lines, err
}

// NoOverflow fails the test if the page is wider than its window, naming what sticks out.
func (p *Page) NoOverflow() {
	p.t.Helper()
	var wide []string
	if err := p.inPage("overflowing", &wide); err != nil {
		p.fail("measuring the page: %v", err)
	}
	if len(wide) > 0 {
		p.t.Errorf("%s overflows: %s", p.Path(), strings.Join(wide, "\n  "))
	}
}

// Clipboard gives the text on the clipboard. All pages of a test binary share it. It needs JavaScript.
func (p *Page) Clipboard() string {
	p.t.Helper()
	if err := p.grant("clipboard-read"); err != nil {
		p.fail("reading the clipboard: %v", err)
	}
	var copied string
	p.Eval("navigator.clipboard.readText()", &copied)
	return copied
}

// Stored is what a window keeps about the pages it saw.
type Stored struct {
	Local, Session    map[string]string // localStorage, sessionStorage
	State             string            // history.state, as JSON
	Databases, Caches []string          // names in IndexedDB and Cache Storage
	Cookies           []string          // name=value, also those that scripts can't read
	History           []string          // address and title of every entry
}

// String gives all of it as one text, to look for what must not be there.
func (s Stored) String() string {
	return fmt.Sprintf("%q", []any{s.Local, s.Session, s.State, s.Databases, s.Caches, s.Cookies, s.History})
}

// Storage gives what the window keeps for the page's origin, and its history.
func (p *Page) Storage() Stored {
	p.t.Helper()
	stored, err := p.storage()
	if err != nil {
		p.fail("reading the storage: %v", err)
	}
	return stored
}

func (p *Page) storage() (stored Stored, err error) {
	if err := p.inPage("stored", &stored); err != nil {
		return stored, err
	}
	at, err := url.Parse(p.URL())
	if err != nil {
		return stored, err
	}
	if at.Host != "" {
		origin := at.Scheme + "://" + at.Host
		databases, err := call(p, indexeddb.RequestDatabaseNames, indexeddb.RequestDatabaseNamesParams{SecurityOrigin: origin})
		if err != nil {
			return stored, err
		}
		stored.Databases = databases.DatabaseNames
		caches, err := call(p, cachestorage.RequestCacheNames, cachestorage.RequestCacheNamesParams{SecurityOrigin: origin})
		if err != nil {
			return stored, err
		}
		for _, cache := range caches.Caches {
			stored.Caches = append(stored.Caches, cache.CacheName)
		}
	}
	cookies, err := callBrowser(p, storage.GetCookies, storage.GetCookiesParams{BrowserContextID: p.window()})
	if err != nil {
		return stored, err
	}
	for _, cookie := range cookies.Cookies {
		stored.Cookies = append(stored.Cookies, cookie.Name+"="+cookie.Value)
	}
	history, err := call(p, page.GetNavigationHistory, cdp.Empty{})
	for _, entry := range history.Entries {
		stored.History = append(stored.History, entry.URL+" "+entry.Title)
	}
	return stored, err
}

// Screenshot takes a picture of the whole page into the folder that MOONLATCH_SHOTS names; without it, none.
func (p *Page) Screenshot(name string) {
	p.t.Helper()
	p.shootWhereAsked(name, true)
}

// ScreenshotWindow is the same of what the window shows.
func (p *Page) ScreenshotWindow(name string) {
	p.t.Helper()
	p.shootWhereAsked(name, false)
}

func (p *Page) shootWhereAsked(name string, whole bool) {
	p.t.Helper()
	folder := os.Getenv("MOONLATCH_SHOTS")
	if folder == "" {
		return
	}
	if _, err := p.shoot(folder, name, whole); err != nil {
		p.t.Errorf("screenshot %s: %v", name, err)
	}
}

func (p *Page) shoot(folder, name string, whole bool) (string, error) {
	picture, err := call(p, page.CaptureScreenshot, page.CaptureScreenshotParams{CaptureBeyondViewport: &whole})
	if err != nil {
		return "", err
	}
	path := filepath.Join(folder, strings.NewReplacer("/", "-", " ", "-").Replace(cmp.Or(name, "page"))+".png")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, picture.Data, 0o644)
}
