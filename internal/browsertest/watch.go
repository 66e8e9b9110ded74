package browsertest

import (
	"fmt"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// Request is one request of a page and what came back.
type Request struct {
	Method, URL string
	Kind        string // Document, Script, Stylesheet, Fetch, …
	Status      int    // 0 while no answer came
	Bytes       int    // head and body as received, compressed; 0 from a cache
	Cached      bool   // answered by the browser's own cache
}

// Traffic is what a page asked for, in order; each step of a redirect counts.
type Traffic []Request

// Count gives the requests that reached the network.
func (all Traffic) Count() int {
	n := 0
	for _, r := range all {
		if !r.Cached {
			n++
		}
	}
	return n
}

// Bytes gives the bytes received, as transferred.
func (all Traffic) Bytes() int {
	n := 0
	for _, r := range all {
		n += r.Bytes
	}
	return n
}

// watch is what the browser tells about a page while it lives. The browser's reader calls see; tests read the rest.
type watch struct {
	mu         sync.Mutex
	main       cdp.FrameID
	navigating bool
	waiting    map[network.RequestID]cdp.LoaderID // documents and fetches without their end
	requests   []*Request
	byID       map[network.RequestID]*Request
	status     int // of the last document
	errors     []string
	onDialog   func(accept bool)
}

func (w *watch) see(event any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case *page.EventFrameRequestedNavigation:
		w.navigating = w.navigating || e.FrameID == w.main && e.Disposition == page.ClientNavigationDispositionCurrentTab
	case *page.EventFrameStartedLoading:
		w.navigating = w.navigating || e.FrameID == w.main
	case *page.EventFrameStoppedLoading:
		w.navigating = w.navigating && e.FrameID != w.main
	case *page.EventFrameNavigated:
		if e.Frame.ID == w.main { // the end of what the page before had under way may never be told
			for id, loader := range w.waiting {
				if loader != e.Frame.LoaderID {
					delete(w.waiting, id)
				}
			}
		}
	case *page.EventJavascriptDialogOpening:
		leaving := e.Type == page.DialogTypeBeforeunload
		if !leaving {
			w.complain("browser dialog (%s): %s", e.Type, e.Message)
		}
		go w.onDialog(leaving)

	case *network.EventRequestWillBeSent:
		if e.RedirectResponse != nil {
			w.answered(e.RequestID, e.RedirectResponse)
			w.received(e.RequestID, e.RedirectResponse.EncodedDataLength)
		}
		r := &Request{Method: e.Request.Method, URL: e.Request.URL, Kind: string(e.Type)}
		w.requests = append(w.requests, r)
		w.byID[e.RequestID] = r
		if e.Type == network.ResourceTypeDocument || e.Type == network.ResourceTypeXHR || e.Type == network.ResourceTypeFetch {
			w.waiting[e.RequestID] = e.LoaderID
		}
	case *network.EventRequestServedFromCache:
		if r := w.byID[e.RequestID]; r != nil {
			r.Cached = true
		}
	case *network.EventResponseReceived:
		w.answered(e.RequestID, e.Response)
	case *network.EventLoadingFinished:
		w.received(e.RequestID, e.EncodedDataLength)
		delete(w.waiting, e.RequestID)
	case *network.EventLoadingFailed:
		delete(w.waiting, e.RequestID)
		// A load that is broken off (a navigation away, a download) is no failure, unless a policy broke it off.
		aborted := e.Canceled || e.ErrorText == "net::ERR_ABORTED"
		if r := w.byID[e.RequestID]; r != nil && (!aborted || e.BlockedReason != "") {
			w.complain("%s %s: %s %s", r.Method, r.URL, e.ErrorText, e.BlockedReason)
		}

	case *runtime.EventExceptionThrown:
		d := e.ExceptionDetails
		text := d.Text
		if d.Exception != nil {
			text += " " + d.Exception.Description
		}
		w.complain("exception: %s (%s:%d)", text, d.URL, d.LineNumber+1)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeAssert {
			w.complain("console.%s: %s", e.Type, printed(e.Args))
		}
	case *log.EventEntryAdded:
		// What the log says about the network was told above, with its method and status.
		if e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			w.complain("%s: %s", e.Entry.Source, e.Entry.Text)
		}
	}
}

// answered takes down a response. The status of a page, and 422 for a form with problems, are answers that a test
// looks at; any other refusal is an error of the page that asked for it, and a 5xx always is.
func (w *watch) answered(id network.RequestID, response *network.Response) {
	r := w.byID[id]
	if r == nil {
		return
	}
	r.Status = int(response.Status)
	r.Cached = r.Cached || response.FromDiskCache || response.FromPrefetchCache
	document := r.Kind == string(network.ResourceTypeDocument)
	if document {
		w.status = r.Status
	}
	if r.Status >= 500 || r.Status >= 400 && r.Status != 422 && !document {
		w.complain("%s %s: %d", r.Method, r.URL, r.Status)
	}
}

func (w *watch) received(id network.RequestID, bytes float64) {
	if r := w.byID[id]; r != nil && !r.Cached {
		r.Bytes = int(bytes)
	}
}

func (w *watch) complain(format string, args ...any) {
	w.errors = append(w.errors, strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// busy says what the page is still waiting for, or "".
func (w *watch) busy() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.navigating {
		return "a page is loading"
	}
	for id := range w.waiting {
		return fmt.Sprintf("%s %s is not answered", w.byID[id].Method, w.byID[id].URL)
	}
	return ""
}

func printed(args []*runtime.RemoteObject) string {
	var words []string
	for _, arg := range args {
		if arg.Description != "" {
			words = append(words, arg.Description)
		} else {
			words = append(words, strings.Trim(string(arg.Value), `"`))
		}
	}
	return strings.Join(words, " ")
}
