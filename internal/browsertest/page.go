package browsertest

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	waitTime = 10 * time.Second      // the bound of every wait
	axeTime  = 60 * time.Second      // the bound of axe-core, which looks at each element of a long page
	interval = 20 * time.Millisecond // between two looks at a condition
)

//go:embed page.js
var inPage string

// Page is one tab, used from one goroutine: that of its test.
type Page struct {
	t        testing.TB
	base     *url.URL
	set      settings
	ctx      context.Context
	watch    *watch
	allowed  []string
	patience time.Duration
}

type settings struct {
	width, height int
	scheme        string
	motion        string
	zone          string
	noJavaScript  bool
}

// Option changes what Open opens.
type Option func(*settings)

// Width sets the window's width in CSS pixels, 1280 unless told.
func Width(px int) Option { return func(s *settings) { s.width = px } }

// Dark prefers the dark colour scheme.
func Dark() Option { return func(s *settings) { s.scheme = "dark" } }

// ReducedMotion prefers no animation.
func ReducedMotion() Option { return func(s *settings) { s.motion = "reduce" } }

// Zone is the viewer's time zone by its IANA name, this machine's unless told.
func Zone(name string) Option { return func(s *settings) { s.zone = name } }

// NoJavaScript switches the page's scripts off. Everything here but Clipboard goes on working.
func NoJavaScript() Option { return func(s *settings) { s.noJavaScript = true } }

// Open opens a private window: it shares cookies and storage with no other, and the clipboard with all. It closes with
// the test, which fails if the page had errors that AllowErrors did not name.
func Open(t testing.TB, base string, options ...Option) *Page {
	t.Helper()
	set := settings{width: 1280, height: 900, scheme: "light", motion: "no-preference"}
	for _, option := range options {
		option(&set)
	}
	at, err := url.Parse(base)
	if err != nil {
		t.Fatalf("base address: %v", err)
	}
	parent, err := theBrowser()
	if err != nil {
		t.Fatal(err)
	}
	return open(t, at, set, parent, chromedp.WithNewBrowserContext())
}

// NewTab opens a second tab beside the first: the same cookies and storage.
func (p *Page) NewTab() *Page {
	p.t.Helper()
	return open(p.t, p.base, p.set, p.ctx, chromedp.WithExistingBrowserContext(p.window()))
}

func open(t testing.TB, base *url.URL, set settings, parent context.Context, where chromedp.ContextOption) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(parent, where)
	p := &Page{t: t, base: base, set: set, ctx: ctx, patience: waitTime, watch: &watch{
		waiting: map[network.RequestID]cdp.LoaderID{},
		byID:    map[network.RequestID]*Request{},
	}}
	t.Cleanup(func() {
		t.Helper()
		_ = p.eval("0", nil) // what the page told before this answer has been seen
		for _, e := range p.Errors() {
			t.Errorf("%s had an error: %s", cmp.Or(p.URL(), "the page"), e)
		}
		cancel()
	})
	err := within(waitTime, cancel, func() error {
		if err := chromedp.Do(ctx); err != nil {
			return err
		}
		p.watch.main = cdp.FrameID(chromedp.FromContext(ctx).Target.TargetID)
		p.watch.onDialog = func(accept bool) {
			_, _ = call(p, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: accept})
		}
		return errors.Join(chromedp.Listen(ctx, p.watch.see), p.emulate())
	})
	if err != nil {
		t.Fatalf("opening a page: %v", err)
	}
	return p
}

func (p *Page) emulate() error {
	_, size := call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(p.set.width), Height: int64(p.set.height), DeviceScaleFactor: 1,
	})
	_, media := call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: p.set.scheme},
		{Name: "prefers-reduced-motion", Value: p.set.motion},
	}})
	var zone error
	if p.set.zone != "" {
		_, zone = call(p, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: p.set.zone})
	}
	// Several tabs live at once, and each behaves as the one in front.
	_, focus := call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	// Copying after a click needs no permission from a person, yet not every headless browser knows that.
	return errors.Join(size, media, zone, focus, p.grant("clipboard-write"), p.scripts(!p.set.noJavaScript))
}

func (p *Page) scripts(on bool) error {
	_, err := call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	return err
}

// Goto opens a path of the server under test, or a whole address.
func (p *Page) Goto(path string) {
	p.t.Helper()
	to, err := p.base.Parse(path)
	if err != nil {
		p.fail("the address %q: %v", path, err)
	}
	res, err := call(p, page.Navigate, page.NavigateParams{URL: to.String()})
	if err != nil {
		p.fail("going to %s: %v", to, err)
	}
	if res.ErrorText != "" && !res.IsDownload {
		p.fail("going to %s: %s", to, res.ErrorText)
	}
	p.settle()
}

// Reload loads the page again, as F5 does: a page that came from a POST posts again.
func (p *Page) Reload() {
	p.t.Helper()
	if _, err := call(p, page.Reload, page.ReloadParams{}); err != nil {
		p.fail("reloading: %v", err)
	}
	p.settle()
}

// Back goes one step back in history, also to a page that the browser kept alive or changed with pushState.
func (p *Page) Back() {
	p.t.Helper()
	history, err := call(p, page.GetNavigationHistory, cdp.Empty{})
	if err == nil && history.CurrentIndex == 0 {
		err = errors.New("this is the first page")
	}
	if err != nil {
		p.fail("going back: %v", err)
	}
	to := history.CurrentIndex - 1
	_, err = call(p, page.NavigateToHistoryEntry, page.NavigateToHistoryEntryParams{EntryID: history.Entries[to].ID})
	if err != nil {
		p.fail("going back: %v", err)
	}
	p.wait("going back", func() string {
		now, err := call(p, page.GetNavigationHistory, cdp.Empty{})
		if err != nil {
			return err.Error()
		}
		if now.CurrentIndex != to {
			return "the page before is not there yet"
		}
		return ""
	})
	p.settle()
}

// URL gives the page's address.
func (p *Page) URL() string {
	var at string
	_ = p.eval("location.href", &at)
	return at
}

// Path gives the page's address within the server: path, query and fragment.
func (p *Page) Path() string {
	at, err := url.Parse(p.URL())
	if err != nil {
		return ""
	}
	at.Scheme, at.Host, at.User = "", "", nil
	return at.String()
}

// Status gives the HTTP status of the last page that was loaded.
func (p *Page) Status() int {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	return p.watch.status
}

// Click presses the mouse on the middle of an element, once that is visible, enabled, still and not covered; then it
// waits until the page has come to rest. What a timer does later needs a WaitFor.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.press(selector, 1)
	p.settle()
}

// DoubleClick clicks twice, with no pause for the page between.
func (p *Page) DoubleClick(selector string) {
	p.t.Helper()
	p.press(selector, 2)
	p.settle()
}

func (p *Page) press(selector string, times int64) {
	p.t.Helper()
	type target struct {
		X, Y    float64
		Problem string
	}
	var at target
	p.wait("clicking on "+selector, func() string {
		before := at
		if err := p.inPage("target", &at, selector); err != nil {
			return err.Error()
		}
		if at.Problem == "" && at != before {
			return "it is moving"
		}
		return at.Problem
	})
	mouse := input.DispatchMouseEventParams{Type: input.DispatchMouseEventTypeMouseMoved, X: at.X, Y: at.Y}
	events := []input.DispatchMouseEventParams{mouse}
	mouse.Button = input.MouseButtonLeft
	for mouse.ClickCount = 1; mouse.ClickCount <= times; mouse.ClickCount++ {
		mouse.Type, mouse.Buttons = input.DispatchMouseEventTypeMousePressed, 1
		events = append(events, mouse)
		mouse.Type, mouse.Buttons = input.DispatchMouseEventTypeMouseReleased, 0
		events = append(events, mouse)
	}
	for _, event := range events {
		if _, err := call(p, input.DispatchMouseEvent, event); err != nil {
			p.fail("clicking on %s: %v", selector, err)
		}
	}
}

// Fill replaces what is in a field by typing; in a date, colour or range field it sets the value.
func (p *Page) Fill(selector, text string) {
	p.t.Helper()
	p.enter("filling "+selector, selector, text)
}

// Select chooses an option of a list by its value, else by its text.
func (p *Page) Select(selector, option string) {
	p.t.Helper()
	p.enter("choosing in "+selector, selector, option)
}

func (p *Page) enter(doing, selector, text string) {
	p.t.Helper()
	p.WaitFor(selector)
	var how string
	err := p.inPage("enter", &how, selector, text)
	switch {
	case err != nil:
	case how == "typed" && text == "":
		err = chromedp.Do(p.ctx, chromedp.KeyEvent(kb.Delete))
	case how == "typed":
		_, err = call(p, input.InsertText, input.InsertTextParams{Text: text})
	case how != "set":
		err = errors.New("it " + how)
	}
	if err != nil {
		p.fail("%s: %v", doing, err)
	}
	p.settle()
}

// Check ticks a checkbox or chooses a radio button, by a click unless it is ticked already.
func (p *Page) Check(selector string) {
	p.t.Helper()
	p.tick(selector, true)
}

// Uncheck clears a checkbox.
func (p *Page) Uncheck(selector string) {
	p.t.Helper()
	p.tick(selector, false)
}

func (p *Page) tick(selector string, want bool) {
	p.t.Helper()
	p.WaitFor(selector)
	if p.Checked(selector) == want {
		return
	}
	p.Click(selector)
	if p.Checked(selector) != want {
		p.fail("a click on %s did not make it checked=%t", selector, want)
	}
}

// Checked tells whether a checkbox or radio button is ticked.
func (p *Page) Checked(selector string) bool {
	p.t.Helper()
	var checked bool
	p.read(selector, "checked", &checked)
	return checked
}

var keys = map[string]string{
	"Enter": kb.Enter, "Escape": kb.Escape, "Tab": kb.Tab, "Backspace": kb.Backspace, "Delete": kb.Delete,
	"ArrowUp": kb.ArrowUp, "ArrowDown": kb.ArrowDown, "ArrowLeft": kb.ArrowLeft, "ArrowRight": kb.ArrowRight,
	"Home": kb.Home, "End": kb.End, "PageUp": kb.PageUp, "PageDown": kb.PageDown, "Space": " ",
}

// Press presses a key where the focus is: a character or a name such as Enter, Escape, Tab, ArrowDown, Space, with
// Shift+, Control+, Alt+ or Meta+ before it.
func (p *Page) Press(key string) {
	p.t.Helper()
	var modifiers []chromedp.Modifier
	name := key
	for {
		before, after, found := strings.Cut(name, "+")
		if !found || after == "" {
			break
		}
		modifier, known := map[string]chromedp.Modifier{
			"Shift": chromedp.ModifierShift, "Control": chromedp.ModifierCtrl,
			"Alt": chromedp.ModifierAlt, "Meta": chromedp.ModifierMeta,
		}[before]
		if !known {
			p.fail("pressing %s: no modifier %q", key, before)
		}
		modifiers, name = append(modifiers, modifier), after
	}
	code := cmp.Or(keys[name], name)
	if keys[name] == "" && len([]rune(name)) != 1 {
		p.fail("pressing %s: no key %q", key, name)
	}
	ctx, cancel := context.WithTimeout(p.ctx, waitTime)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.KeyEvent(code, chromedp.KeyModifiers(modifiers...))); err != nil {
		p.fail("pressing %s: %v", key, err)
	}
	p.settle()
}

// Text gives the visible text of an element, which it waits for.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	var text string
	p.read(selector, "text", &text)
	return text
}

// Value gives what is in a field, which it waits for.
func (p *Page) Value(selector string) string {
	p.t.Helper()
	var value string
	p.read(selector, "value", &value)
	return value
}

func (p *Page) read(selector, what string, out any) {
	p.t.Helper()
	p.wait("reading "+selector, func() string {
		if n, err := p.count(selector); err != nil || n == 0 {
			return cmp.Or(text(err), "it is not on the page")
		}
		return text(p.inPage(what, out, selector))
	})
}

// HTML gives the whole document as it is now.
func (p *Page) HTML() string {
	p.t.Helper()
	var html string
	p.Eval("document.documentElement.outerHTML", &html)
	return html
}

// Exists tells whether an element, visible or not, is in the document now.
func (p *Page) Exists(selector string) bool {
	p.t.Helper()
	return p.Count(selector) > 0
}

// Count gives how many elements, visible or not, are in the document now.
func (p *Page) Count(selector string) int {
	p.t.Helper()
	n, err := p.count(selector)
	if err != nil {
		p.fail("counting %s: %v", selector, err)
	}
	return n
}

func (p *Page) count(selector string) (n int, err error) {
	err = p.inPage("count", &n, selector)
	return n, err
}

// WaitFor waits until an element is visible.
func (p *Page) WaitFor(selector string) {
	p.t.Helper()
	p.waitVisible(selector, true, "it is not visible")
}

// WaitGone waits until no such element is visible.
func (p *Page) WaitGone(selector string) {
	p.t.Helper()
	p.waitVisible(selector, false, "it is still visible")
}

func (p *Page) waitVisible(selector string, want bool, otherwise string) {
	p.t.Helper()
	p.wait("waiting for "+selector, func() string {
		var visible bool
		err := p.inPage("anyVisible", &visible, selector)
		if err == nil && visible != want {
			return otherwise
		}
		return text(err)
	})
}

// Eval evaluates JavaScript in the page, waits for a promise that it gives, and decodes the value into out, which may
// be nil.
func (p *Page) Eval(js string, out any) {
	p.t.Helper()
	if err := p.eval(js, out); err != nil {
		p.fail("evaluating %.80s: %v", js, err)
	}
}

// settle waits until nothing loads. It asks twice: with its first answer the page has told what the last event set
// off, with the second what came of that.
func (p *Page) settle() {
	p.t.Helper()
	p.wait("waiting for the page to come to rest", func() string {
		for range 2 {
			var calm bool
			if err := p.inPage("calm", &calm); err != nil {
				return err.Error()
			}
			if busy := p.watch.busy(); busy != "" {
				return busy
			}
			if !calm {
				return "the page is not ready"
			}
		}
		return ""
	})
}

// wait looks until problem has none, and fails with the last one when the patience is over.
func (p *Page) wait(doing string, problem func() string) {
	p.t.Helper()
	for end := time.Now().Add(p.patience); ; time.Sleep(interval) {
		why := problem()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			p.fail("%s: %s, for %s", doing, why, p.patience)
		}
	}
}

// fail ends the test with what the page shows.
func (p *Page) fail(format string, args ...any) {
	p.t.Helper()
	var title string
	_ = p.eval("document.title", &title)
	shot, err := p.shoot(cmp.Or(os.Getenv("MOONLATCH_SHOTS"), filepath.Join(os.TempDir(), "moonlatch-shots")), "failed "+p.t.Name(), true)
	if err != nil {
		shot = "none: " + err.Error()
	}
	p.t.Fatalf("%s\n  page: %s %q\n  errors: %q\n  screenshot: %s", fmt.Sprintf(format, args...), p.URL(), title, p.Errors(), shot)
}

// Errors gives, each once, what went wrong on the pages so far and was not allowed: console errors, exceptions, breaches of the
// Content-Security-Policy, failed requests, answers of 5xx, answers of 4xx to anything but a page or (422) a form,
// browser dialogs.
func (p *Page) Errors() []string {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	var errs []string
	for _, e := range p.watch.errors {
		if !slices.Contains(errs, e) && !slices.ContainsFunc(p.allowed, func(part string) bool { return strings.Contains(e, part) }) {
			errs = append(errs, e)
		}
	}
	return errs
}

// AllowErrors names parts of errors that this test expects.
func (p *Page) AllowErrors(parts ...string) { p.allowed = append(p.allowed, parts...) }

// Requests gives what the page asked for since it was opened or ForgetRequests was called. Some browsers fetch the
// icon too (its Kind is Other), at a time of their own.
func (p *Page) Requests() Traffic {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	var all Traffic
	for _, r := range p.watch.requests {
		all = append(all, *r)
	}
	return all
}

// ForgetRequests begins to count anew.
func (p *Page) ForgetRequests() {
	p.watch.mu.Lock()
	defer p.watch.mu.Unlock()
	p.watch.requests = nil
}

// call sends a command of the DevTools protocol, with a bound.
func call[P, R any](p *Page, command cdp.Command[P, R], params P) (R, error) {
	ctx, cancel := context.WithTimeout(p.ctx, waitTime)
	defer cancel()
	return chromedp.Call(ctx, command, params)
}

// callBrowser sends a command that concerns the whole browser or one window of it.
func callBrowser[P, R any](p *Page, command cdp.Command[P, R], params P) (R, error) {
	ctx, cancel := context.WithTimeout(p.ctx, waitTime)
	defer cancel()
	return chromedp.CallBrowser(ctx, command, params)
}

// grant permits this window something that a browser may ask a person about.
func (p *Page) grant(permission string) error {
	_, err := callBrowser(p, browser.SetPermission, browser.SetPermissionParams{
		Permission:       &browser.PermissionDescriptor{Name: permission},
		Setting:          browser.PermissionSettingGranted,
		BrowserContextID: p.window(),
	})
	return err
}

// window is what keeps the page's cookies, storage and permissions apart from those of others.
func (p *Page) window() cdp.BrowserContextID { return chromedp.FromContext(p.ctx).BrowserContextID }

// inPage calls a function of page.js.
func (p *Page) inPage(function string, out any, args ...string) error {
	list, err := json.Marshal(append([]string{}, args...))
	if err != nil {
		return err
	}
	return p.eval(fmt.Sprintf("%s.%s(...%s)", strings.TrimSpace(inPage), function, list), out)
}

func (p *Page) eval(js string, out any) error {
	return p.evalIn(0, waitTime, js, out)
}

// evalIn evaluates in an execution context, 0 being the page's own, and waits no longer than limit.
func (p *Page) evalIn(world runtime.ExecutionContextID, limit time.Duration, js string, out any) error {
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	res, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{
		Expression: js, ContextID: world, ReturnByValue: new(true), AwaitPromise: new(true), UserGesture: new(true),
	})
	switch {
	case err != nil:
		return err
	case res.ExceptionDetails != nil && res.ExceptionDetails.Exception != nil:
		return errors.New(res.ExceptionDetails.Exception.Description)
	case res.ExceptionDetails != nil:
		return errors.New(res.ExceptionDetails.Text)
	case out == nil:
		return nil
	case len(res.Result.Value) == 0:
		return fmt.Errorf("it gave %s", res.Result.Type)
	}
	return json.Unmarshal(res.Result.Value, out)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
