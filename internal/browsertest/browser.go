// Package browsertest drives the console in a real Chromium, the way a person does: real mouse and key events,
// with JavaScript or without it.
//
//	func TestMain(m *testing.M) { browsertest.Main(m) }
//
//	page := browsertest.Open(t, server.URL, browsertest.Width(360), browsertest.Dark())
//	page.Goto("/login")
//	page.Fill("#email", "ada@example.org")
//	page.Click(`button:text("Sign in")`)
//	page.WaitFor("h1")
//	page.Axe()
//
// A selector is CSS; it may end in :text("…"), which keeps the elements whose visible text contains the words.
// Where several elements match, the first visible one is meant. Every wait is bounded, and a test fails at its end
// if the page wrote errors to the console, broke its Content-Security-Policy or had a request fail.
package browsertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// startTime bounds the start of the browser, which on a busy machine takes some seconds.
const startTime = 60 * time.Second

// Main runs the tests of a package and closes the browser that they shared. Call it from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	Stop()
	os.Exit(code)
}

var shared struct {
	sync.Mutex
	ctx  context.Context
	path string // of its executable
	err  error
}

// theBrowser gives the one browser of this test binary, started at the first call.
func theBrowser() (context.Context, error) {
	shared.Lock()
	defer shared.Unlock()
	if shared.ctx == nil && shared.err == nil {
		shared.ctx, shared.err = startAny()
	}
	return shared.ctx, shared.err
}

// Stop closes the browser that a package's tests shared.
func Stop() {
	shared.Lock()
	defer shared.Unlock()
	if shared.ctx == nil {
		return
	}
	ctx, cancel := context.WithTimeout(shared.ctx, waitTime)
	defer cancel()
	_ = chromedp.Cancel(ctx) // the tests have their verdict; a browser that won't close dies with this process
	shared.ctx = nil
}

// executable is a browser and what it needs to run.
type executable struct {
	path string
	env  []string
}

// startAny starts the first browser that works: the one named by MOONLATCH_BROWSER (a path, or "bundled"), else an
// installed one, else the bundled one.
func startAny() (context.Context, error) {
	named := os.Getenv("MOONLATCH_BROWSER")
	var problems []error
	if named == "" {
		for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
			"/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"} {
			path, err := exec.LookPath(name)
			if err != nil {
				continue
			}
			ctx, err := start(executable{path: path})
			if err == nil {
				return ctx, nil
			}
			problems = append(problems, err)
		}
	} else if named != "bundled" {
		return start(executable{path: named})
	}
	found, err := bundled()
	if err == nil {
		var ctx context.Context
		if ctx, err = start(found); err == nil {
			return ctx, nil
		}
	}
	return nil, fmt.Errorf("no browser to test with; install Chromium, name one in MOONLATCH_BROWSER, "+
		"or run npm ci in internal/browsertest: %w", errors.Join(append(problems, err)...))
}

// bundled unpacks, once, the Chromium that npm installed here.
func bundled() (executable, error) {
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return executable{}, fmt.Errorf("the bundled Chromium is for linux/amd64, not %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	here, err := sourceFolder()
	if err != nil {
		return executable{}, err
	}
	manifest, err := os.ReadFile(filepath.Join(here, "node_modules/@sparticuz/chromium/package.json"))
	if err != nil {
		return executable{}, err
	}
	var pkg struct{ Version string }
	if err := json.Unmarshal(manifest, &pkg); err != nil {
		return executable{}, err
	}
	folder := filepath.Join(here, "node_modules/.cache/chromium-"+pkg.Version)
	if _, err := os.Stat(folder); err != nil {
		unpack := exec.Command("node", "unpack.mjs", folder)
		unpack.Dir = here
		if out, err := unpack.CombinedOutput(); err != nil {
			return executable{}, fmt.Errorf("unpacking Chromium: %w\n%s", err, out)
		}
	}
	return executable{
		path: filepath.Join(folder, "chromium"),
		env: []string{
			"LD_LIBRARY_PATH=" + filepath.Join(folder, "al2023/lib"),
			"FONTCONFIG_PATH=" + filepath.Join(folder, "fonts"),
		},
	}, nil
}

// sourceFolder finds this package's folder from the folder of whichever package is being tested.
func sourceFolder() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "internal", "browsertest"), nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("browser tests run inside the checkout: no go.mod above the working folder")
		}
		dir = up
	}
}

// start tries with Chromium's sandbox, where that can work, and then without: the pages are our own.
func start(browser executable) (context.Context, error) {
	var problem error
	if os.Getuid() != 0 {
		ctx, err := launch(browser, true)
		if err == nil {
			return ctx, nil
		}
		problem = err
	}
	ctx, err := launch(browser, false)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", browser.path, errors.Join(problem, err))
	}
	return ctx, nil
}

func launch(browser executable, sandbox bool) (context.Context, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(browser.path),
		chromedp.Env(browser.env...),
		chromedp.Flag("no-sandbox", !sandbox),
		chromedp.Flag("headless", "new"),
		chromedp.DisableGPU,
		chromedp.Flag("font-render-hinting", "none"),
		// Nothing leaves this machine: no service of the browser's own, and no name but the loopback resolves.
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-domain-reliability", true),
		chromedp.Flag("no-pings", true),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE [::1]"),
	)
	shared.path = browser.path
	ctx, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(ctx)
	if err := within(startTime, cancel, func() error { return chromedp.Do(ctx) }); err != nil {
		cancel()
		return nil, err
	}
	return ctx, nil
}

// within gives do a bound by cancelling its context. A timeout of the context itself would end the browser with it:
// chromedp binds the life of what it starts to the context of the first call.
func within(limit time.Duration, cancel func(), do func() error) error {
	timer := time.AfterFunc(limit, cancel)
	defer timer.Stop()
	err := do()
	if err != nil && strings.Contains(err.Error(), context.Canceled.Error()) {
		return fmt.Errorf("not ready within %s: %w", limit, err)
	}
	return err
}
