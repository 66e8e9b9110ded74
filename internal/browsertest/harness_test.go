package browsertest

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) { Main(m) }

const strict = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// pages is a small site with what the console has: forms, dialogs, swaps, copying, and some mistakes to be found.
var pages = map[string]string{
	"/":         `<h1>Home</h1><p id="scripts">off</p><p id="media"></p><a href="/form">Form</a> <a href="/late">Late</a> <a href="/export">Export</a><form method="post" action="/key"><button>Reveal</button></form>`,
	"/late":     `<h1>Late</h1><a href="#below">Below</a><p id="below">Below</p>`,
	"/alt":      `<h1>No alt</h1><img src="/dot.svg" width="40" height="40">`,
	"/wide":     `<h1>Wide</h1><div class="table"><div class="inner">scrolls by itself</div></div><div id="long" class="wide">too wide</div>`,
	"/inline":   `<h1>Inline</h1><script>document.title = "ran"</script>`,
	"/broken":   `<h1>Broken</h1><script src="/broken.js"></script><script src="/nowhere.js"></script>`,
	"/copy":     `<h1>Copy</h1><p><code id="key">ml_live_8Jd2</code> <button id="copy">Copy</button> <span id="copied" hidden>Copied</span></p>`,
	"/dialog":   `<h1>Dialog</h1><p><button id="open">Open</button> <button id="under">Under</button></p><dialog aria-label="Sure?"><button id="close">Close</button></dialog>`,
	"/swap":     `<h1>Swap</h1><p><button id="fetch">Fetch</button> <button id="refused">Refused</button> <button id="confirm">Confirm</button></p><p id="result"></p>`,
	"/storage":  `<h1>Storage</h1>`,
	"/disabled": `<h1>Disabled</h1><button disabled>Never</button>`,
	"/form": `<h1>Form</h1><form method="post" action="/sent">
<label>Name <input name="name" value="old"></label> <label>Until <input type="date" name="until"></label>
<label>Note <textarea name="note"></textarea></label>
<label>Role <select name="role"><option value="m">Member</option><option value="a">Admin</option></select></label>
<label><input type="checkbox" name="agree" value="yes"> Agree</label>
<label><input type="radio" name="life" value="short" checked> Short</label> <label><input type="radio" name="life" value="long"> Long</label>
<button>Send</button></form>`,
}

const script = `
addEventListener("DOMContentLoaded", () => {
  const $ = (id) => document.getElementById(id);
  const on = (id, does) => $(id)?.addEventListener("click", does);
  if ($("scripts")) $("scripts").textContent = "on";
  if ($("media")) $("media").textContent = [innerWidth, matchMedia("(prefers-color-scheme: dark)").matches, matchMedia("(prefers-reduced-motion: reduce)").matches].join(" ");
  on("copy", async () => { await navigator.clipboard.writeText($("key").textContent); $("copied").hidden = false; });
  on("open", () => document.querySelector("dialog").showModal());
  on("close", () => document.querySelector("dialog").close());
  on("fetch", async () => { $("result").innerHTML = await (await fetch("/slow")).text(); });
  on("refused", () => fetch("/teapot"));
  on("confirm", () => confirm("Sure?"));
  addEventListener("pageshow", (e) => { if (e.persisted) document.body.dataset.kept = "yes"; });
});`

const style = `.wide { width: 900px } .table { overflow-x: auto; width: 100% } .inner { width: 2000px }`

func site(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	file := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, body)
		}
	}
	show := func(w http.ResponseWriter, status int, path, body string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", strict)
		w.WriteHeader(status)
		fmt.Fprintf(w, `<!doctype html><html lang="en"><head><title>Test %s</title><link rel="icon" href="/dot.svg">
<link rel="stylesheet" href="/style.css"><script src="/script.js"></script></head><body><main>%s</main></body></html>`, path, body)
	}
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		body, known := pages[r.URL.Path]
		if !known {
			show(w, http.StatusNotFound, "not found", "<h1>Not found</h1>")
			return
		}
		if r.URL.Path == "/late" {
			time.Sleep(300 * time.Millisecond) // a slow server
		}
		http.SetCookie(w, &http.Cookie{Name: "visit", Value: "cookie-secret", HttpOnly: true, Path: "/"})
		show(w, http.StatusOK, r.URL.Path, body)
	})
	mux.HandleFunc("POST /sent", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		show(w, http.StatusUnprocessableEntity, "sent", fmt.Sprintf("<h1>Sent</h1><pre>%s</pre>", html.EscapeString(r.PostForm.Encode())))
	})
	mux.HandleFunc("POST /key", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/copy", http.StatusSeeOther) })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(300 * time.Millisecond)
		fmt.Fprint(w, `<b class="fresh">fresh  row</b>`)
	})
	mux.HandleFunc("GET /export", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Disposition", `attachment; filename="keys.csv"`)
		fmt.Fprint(w, "a,b\n")
	})
	mux.HandleFunc("GET /teapot", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.Handle("GET /script.js", file("text/javascript", script))
	mux.Handle("GET /broken.js", file("text/javascript", `console.error("wrote", 7); throw new Error("thrown");`))
	mux.Handle("GET /style.css", file("text/css", style))
	mux.Handle("GET /dot.svg", file("image/svg+xml", `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"><rect width="1" height="1"/></svg>`))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// verdict is a testing.TB that takes down how a test would have ended.
type verdict struct {
	testing.TB
	said     []string
	cleanups []func()
}

func (v *verdict) Helper()                        {}
func (v *verdict) Cleanup(f func())               { v.cleanups = append(v.cleanups, f) }
func (v *verdict) Errorf(format string, a ...any) { v.said = append(v.said, fmt.Sprintf(format, a...)) }
func (v *verdict) Fatalf(format string, a ...any) { v.Errorf(format, a...); panic(v) }
func (v *verdict) Fatal(a ...any)                 { v.Errorf("%s", fmt.Sprint(a...)); panic(v) }

// verdictOn runs a test with little patience, closes its page, and gives what the test would have failed with.
func verdictOn(t *testing.T, base string, test func(*Page), options ...Option) string {
	t.Helper()
	v := &verdict{TB: t}
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(v) {
				panic(r)
			}
		}()
		page := Open(v, base, options...)
		page.patience = 600 * time.Millisecond
		test(page)
	}()
	for _, f := range slices.Backward(v.cleanups) {
		f()
	}
	return strings.Join(v.said, "\n")
}

func wantFailure(t *testing.T, base string, test func(*Page), parts ...string) {
	t.Helper()
	said := verdictOn(t, base, test)
	for _, part := range parts {
		if !strings.Contains(said, part) {
			t.Errorf("the verdict lacks %q:\n%s", part, said)
		}
	}
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestOptionsReachThePage(t *testing.T) {
	base := site(t)
	for _, c := range []struct {
		options []Option
		scripts string
		media   string
	}{
		{nil, "on", "1280 false false"},
		{[]Option{Width(360), Dark(), ReducedMotion()}, "on", "360 true true"},
		{[]Option{NoJavaScript()}, "off", ""},
	} {
		page := Open(t, base, c.options...)
		page.Goto("/")
		equal(t, "scripts", page.Text("#scripts"), c.scripts)
		equal(t, "media", page.Text("#media"), c.media)
	}
}

func TestFormIsFilledAndSentWithAndWithoutScripts(t *testing.T) {
	base := site(t)
	for _, options := range [][]Option{nil, {NoJavaScript()}} {
		page := Open(t, base, options...)
		page.Goto("/")
		page.Click(`a:text("Form")`)
		equal(t, "path", page.Path(), "/form")
		page.Fill("[name=name]", "Ada Ünë")
		page.Fill("[name=until]", "2031-02-03")
		page.Fill("textarea", "x")
		page.Fill("textarea", "")
		page.Select("[name=role]", "Admin")
		page.Check("[name=agree]")
		page.Check("[name=agree]")
		page.Check("[value=long]")
		equal(t, "value", page.Value("[name=role]"), "a")
		page.Fill("[name=name]", "Ada Ünë")
		page.Press("Enter")
		sent := "agree=yes&life=long&name=Ada+%C3%9Cn%C3%AB&note=&role=a&until=2031-02-03"
		equal(t, "sent by Enter", page.Text("pre"), sent)
		equal(t, "status", page.Status(), 422)

		page.Back()
		page.Uncheck("[name=agree]")
		page.Fill("[name=name]", "Bo")
		page.Press("Shift+Tab")
		page.Click("button")
		equal(t, "sent by button", page.Text("pre"), "life=long&name=Bo&note=&role=a&until=2031-02-03")
	}
}

func TestClickWaitsForThePageItOpens(t *testing.T) {
	base := site(t)
	for _, options := range [][]Option{nil, {NoJavaScript()}} {
		page := Open(t, base, options...)
		page.Goto("/")
		page.Click(`a:text("Late")`)
		equal(t, "heading", page.Text("h1"), "Late")
		page.Click(`a:text("Below")`)
		equal(t, "path", page.Path(), "/late#below")
		page.Back()
		equal(t, "path", page.Path(), "/late")
		page.Back()
		equal(t, "heading", page.Text("h1"), "Home")
		page.Reload()
		page.Click(`a:text("Export")`) // a download stays on the page
		equal(t, "heading", page.Text("h1"), "Home")
		page.Click("button")
		equal(t, "path after POST and redirect", page.Path(), "/copy")
		page.Goto("/nowhere")
		equal(t, "status", page.Status(), 404)
	}
}

func TestBackFindsThePageThatTheBrowserKeptAlive(t *testing.T) {
	page := Open(t, site(t))
	page.Goto("/")
	page.Eval(`document.querySelector("h1").textContent = "Changed"`, nil)
	page.Click(`a:text("Form")`)
	page.Back()
	if page.Text("h1") == "Home" && strings.Contains(shared.path, "node_modules") {
		t.Skip("the bundled browser keeps no page alive")
	}
	equal(t, "heading", page.Text("h1"), "Changed")
	equal(t, "kept", page.Exists("body[data-kept]"), true)
}

func TestClickWaitsForTheSwap(t *testing.T) {
	page := Open(t, site(t))
	page.Goto("/swap")
	page.Click("#fetch")
	equal(t, "text", page.Text("#result .fresh"), "fresh row")
	equal(t, "count", page.Count(`p:text("fresh row")`), 1)
}

func TestDialogCoversThePage(t *testing.T) {
	base := site(t)
	page := Open(t, base)
	page.Goto("/dialog")
	page.WaitGone("dialog")
	page.Click("#open")
	page.WaitFor("dialog")
	page.Press("Escape")
	page.WaitGone("dialog")
	page.DoubleClick("#open")
	page.Click("#close")
	equal(t, "dialog still in the document", page.Exists("dialog"), true)

	wantFailure(t, base, func(page *Page) {
		page.Goto("/dialog")
		page.Click("#open")
		page.Click("#under")
	}, "clicking on #under: it is covered by")
}

func TestWaitsAreBoundedAndTellWhatThePageShows(t *testing.T) {
	base := site(t)
	shots := t.TempDir()
	t.Setenv("MOONLATCH_SHOTS", shots)
	for doing, test := range map[string]func(*Page){
		"waiting for #never: it is not visible":              func(p *Page) { p.WaitFor("#never") },
		"waiting for h1: it is still visible":                func(p *Page) { p.WaitGone("h1") },
		"clicking on #never: it is not on the page":          func(p *Page) { p.Click("#never") },
		"clicking on button: it is disabled":                 func(p *Page) { p.Click("button") },
		"filling h1: it does not take the focus":             func(p *Page) { p.Fill("h1", "x") },
		"reading #never: it is not on the page":              func(p *Page) { _ = p.Text("#never") },
		"pressing Hyper+x: no modifier":                      func(p *Page) { p.Press("Hyper+x") },
		"pressing Entr: no key":                              func(p *Page) { p.Press("Entr") },
		"evaluating absent: ReferenceError":                  func(p *Page) { p.Eval("absent", nil) },
		"counting <: SyntaxError":                            func(p *Page) { _ = p.Exists("<") },
		"going to http://elsewhere.example/: net::ERR_NAME_": func(p *Page) { p.Goto("http://elsewhere.example/") },
	} {
		wantFailure(t, base, func(page *Page) {
			page.AllowErrors("net::ERR_NAME")
			page.Goto("/disabled")
			page.patience = 100 * time.Millisecond
			test(page)
		}, doing, "page: ", "screenshot: ")
	}
	wantFailure(t, base, func(p *Page) { p.Goto("/form"); p.Select("select", "Owner") }, `has no option "Owner"`)
	wantFailure(t, base, func(p *Page) { p.Back() }, "this is the first page")
	if files, _ := filepath.Glob(filepath.Join(shots, "*.png")); len(files) == 0 {
		t.Error("no screenshot of the failures")
	}
}

func TestErrorsOfThePageFailTheTest(t *testing.T) {
	base := site(t)
	for path, parts := range map[string][]string{
		"/inline": {"Content Security Policy"},
		"/broken": {"console.error: wrote 7", "exception: Uncaught Error: thrown", "GET " + base + "/nowhere.js: 404"},
	} {
		wantFailure(t, base, func(page *Page) { page.Goto(path) }, parts...)
	}
	wantFailure(t, base, func(page *Page) { page.Goto("/swap"); page.Click("#refused") }, "/teapot: 418")
	wantFailure(t, base, func(page *Page) { page.Goto("/swap"); page.Click("#confirm") }, "browser dialog (confirm): Sure?")
	equal(t, "allowed", verdictOn(t, base, func(page *Page) {
		page.AllowErrors("Content Security Policy")
		page.Goto("/inline")
	}), "")
}

func TestAxeFindsWhatIsWrong(t *testing.T) {
	base := site(t)
	for _, options := range [][]Option{nil, {NoJavaScript()}} {
		said := verdictOn(t, base, func(page *Page) { page.Goto("/alt"); page.Axe() }, options...)
		if !strings.Contains(said, "image-alt (critical) at [img]") || strings.Count(said, " at [") != 1 {
			t.Errorf("axe said: %s", said)
		}
		page := Open(t, base, options...)
		page.Goto("/form")
		page.Axe()
		equal(t, "the page sees axe", evaluate[bool](page, `"axe" in window`), false)
		page.Goto("/")
		equal(t, "scripts", page.Text("#scripts") == "on", options == nil)
	}
}

func evaluate[T any](page *Page, js string) (value T) {
	page.Eval(js, &value)
	return value
}

func TestNoOverflowNamesWhatSticksOut(t *testing.T) {
	base := site(t)
	said := verdictOn(t, base, func(page *Page) { page.Goto("/wide"); page.NoOverflow() }, Width(360))
	if !strings.Contains(said, "div#long.wide ends at") || strings.Contains(said, "inner") {
		t.Errorf("said: %s", said)
	}
	equal(t, "in a wide window", verdictOn(t, base, func(page *Page) { page.Goto("/wide"); page.NoOverflow() }), "")
}

func TestCopyPutsTheKeyOnTheClipboard(t *testing.T) {
	page := Open(t, site(t))
	page.Goto("/copy")
	page.Click("#copy")
	page.WaitFor("#copied")
	equal(t, "clipboard", page.Clipboard(), "ml_live_8Jd2")
}

func TestStorageFindsASecretWhereverItIs(t *testing.T) {
	base := site(t)
	for secret, keep := range map[string]string{
		"local-secret":    `localStorage.setItem("a", "local-secret")`,
		"session-secret":  `sessionStorage.setItem("a", "session-secret")`,
		"state-secret":    `history.replaceState({ key: "state-secret" }, "")`,
		"history-secret":  `history.pushState(null, "", "?history-secret")`,
		"title-secret":    `document.title = "title-secret"`,
		"cookie-secret":   ``,
		"script-cookie":   `document.cookie = "b=script-cookie"`,
		"database-secret": `new Promise((done) => indexedDB.open("database-secret").onsuccess = () => done(0))`,
		"cache-secret":    `caches.open("cache-secret").then(() => 0)`,
	} {
		page := Open(t, base)
		page.Goto("/storage")
		page.Eval(keep, nil)
		if kept := page.Storage().String(); !strings.Contains(kept, secret) {
			t.Errorf("%s is not in %s", secret, kept)
		}
	}
	Open(t, base).Storage() // a blank page has none
}

func TestWindowsShareNothingAndTabsShareTheirWindow(t *testing.T) {
	base := site(t)
	first := Open(t, base)
	first.Goto("/storage")
	first.Eval(`localStorage.setItem("a", "mine")`, nil)
	tab, other := first.NewTab(), Open(t, base)
	tab.Goto("/storage")
	other.Goto("/storage")
	equal(t, "tab", tab.Storage().Local["a"], "mine")
	equal(t, "other window", other.Storage().Local["a"], "")
	first.Goto("/form")
	first.Fill("[name=name]", "both") // a tab behind another goes on working
	equal(t, "value", first.Value("[name=name]"), "both")
}

func TestRequestsAreCounted(t *testing.T) {
	page := Open(t, site(t))
	requests := func() Traffic { // but for the icon, which the browser fetches when it likes, if at all
		return slices.DeleteFunc(page.Requests(), func(r Request) bool { return r.Kind == "Other" })
	}
	page.Goto("/")
	all := requests()
	equal(t, "requests", all.Count(), 3) // page, style, script
	if all.Bytes() < len(script)+len(style) || all.Bytes() > len(script)+len(style)+3000 {
		t.Errorf("bytes: %d of %+v", all.Bytes(), all)
	}
	page.ForgetRequests()
	equal(t, "forgotten", requests().Count(), 0)
	page.Click("button")
	all = requests()
	equal(t, "redirect", all[0].Status, 303)
	equal(t, "page", all[1].Status, 200)
}

func TestScreenshotIsTakenWhereAsked(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "shots")
	t.Setenv("MOONLATCH_SHOTS", folder)
	page := Open(t, site(t), Dark(), Width(360))
	page.Goto("/form")
	page.Screenshot("form dark")
	if picture, err := os.ReadFile(filepath.Join(folder, "form-dark.png")); err != nil || len(picture) < 1000 {
		t.Errorf("%d bytes, %v", len(picture), err)
	}
}

func TestPagesWorkSideBySide(t *testing.T) {
	base := site(t)
	var all sync.WaitGroup
	for i := range 4 {
		page := Open(t, base)
		all.Go(func() {
			page.Goto("/form")
			page.Fill("[name=name]", fmt.Sprint(i))
			page.Click("button")
			if !strings.Contains(page.Text("pre"), fmt.Sprintf("name=%d&", i)) {
				t.Errorf("page %d shows %s", i, page.Text("pre"))
			}
		})
	}
	all.Wait()
}
