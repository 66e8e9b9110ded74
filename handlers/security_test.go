package handlers

import (
	"context"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/static"
	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

func TestBrokenBodyIsNeverA500(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Admin)
	const form = "application/x-www-form-urlencoded"
	for _, path := range []string{views.NewKeyPath, views.BulkPath(apikey.Disable), views.SignInPath, views.SessionsPath, views.PasswordPath} {
		for _, c := range []struct {
			kind, encoding, body string
			status               int
		}{
			{form, "", "name=%zz", 400}, {form, "", "a;b", 400}, {form, "gzip", "name=x", 415},
			{"multipart/form-data", "", "x", 415}, {"multipart/form-data; boundary=x", "", "--x--", 415}, {"text/plain", "", "name=x", 415},
			{"application/json", "", `{"name":"x"}`, 415}, {";", "", "name=x", 415}, {"", "", "name=x", 415}, {form, "", strings.Repeat("x", 70000), 413},
		} {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader(c.body))
			request.RequestURI = ""
			request.Header.Set("Sec-Fetch-Site", "same-origin")
			for name, value := range map[string]string{"Content-Type": c.kind, "Content-Encoding": c.encoding} {
				if value != "" {
					request.Header.Set(name, value)
				}
			}
			response, err := b.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != c.status {
				t.Errorf("%s with %q %q %.20q: %d, want %d", path, c.kind, c.encoding, c.body, response.StatusCode, c.status)
			}
		}
	}
	key := s.issue("x")
	for path, want := range map[string]int{
		views.NewKeyPath + "?a;b": 400, views.BulkPath(apikey.Disable) + "?a;b": 400, views.KeyPath(key.ID) + "?before=2147483648": 200,
		views.KeyPath(strings.ToUpper(key.ID)): 200, views.KeyPath("urn:uuid:" + key.ID): 200,
	} {
		if got := b.get(path); got.status != want {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	for _, id := range []string{"urn:uuid:" + key.ID, "x", "\x00"} {
		if got := b.post(views.BulkPath(apikey.Disable), url.Values{"id": {id}}); got.status >= 500 {
			t.Errorf("id %q: %d", id, got.status)
		}
	}
}

func TestOddBrowserCanSignInAndOut(t *testing.T) {
	s := newSite(t)
	b := s.visitor()
	odd := map[string]string{"User-Agent": "x" + strings.Repeat("é", 200) + "\xff"}
	credentials := url.Values{"email": {s.org.Admin.Email}, "password": {storetest.Password}}
	if got := b.send(http.MethodPost, views.SignInPath, credentials, odd); got.status != http.StatusSeeOther {
		t.Fatal(got.status)
	}
	if got := b.send(http.MethodPost, views.SignOutPath, url.Values{}, odd); got.status != http.StatusSeeOther {
		t.Fatal(got.status)
	}
	if live, err := s.keyring.Sessions(t.Context(), s.org.Admin); err != nil || len(live) != 0 {
		t.Errorf("%d sessions after signing out, %v", len(live), err)
	}
}

func TestVisitorDoesNotChooseTheRequestID(t *testing.T) {
	s := newSite(t)
	if got := s.visitor().send(http.MethodGet, "/sign-in", nil, map[string]string{"X-Request-Id": "mine"}); got.header.Get("X-Request-Id") == "mine" || strings.Contains(s.log.String(), "mine") {
		t.Error("the visitor's id was taken")
	}
}

func TestForwardedAddressIsBelievedFromTrustedProxiesAlone(t *testing.T) {
	h := &handler{log: discard()}
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	request.RemoteAddr = "10.0.0.1:1234"
	request.Header.Set("X-Forwarded-For", "203.0.113.66, 198.51.100.7, 10.0.0.2")
	proxies := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for want, trusted := range map[string][]netip.Prefix{
		"10.0.0.1":     nil,
		"198.51.100.7": proxies("10.0.0.0/8"), // from the right, the first that is no proxy of ours
		"203.0.113.66": proxies("10.0.0.0/8", "198.51.100.0/24"),
	} {
		if got := h.clientAddress(trusted)(request).String(); got != want {
			t.Errorf("trusting %v: %s, want %s", trusted, got, want)
		}
	}
	if got := h.clientAddress(proxies("192.0.2.0/24"))(request).String(); got != "10.0.0.1" {
		t.Errorf("an untrusted peer chose the address %s", got)
	}
}

func TestKeyInAnAddressIsNotCarriedThroughTheSignIn(t *testing.T) {
	s := newSite(t)
	p := apikey.NewPlaintext(apikey.Live)
	for _, text := range []string{p.Reveal(), "Bearer " + p.Reveal(), "MOONLATCH_API_KEY=" + p.Reveal(), p.Prefix() + ":" + p.RevealPass()} {
		query := url.Values{"q": {text}}.Encode()
		if got := s.visitor().get(views.KeysPath + "?" + query); strings.Contains(got.location, p.RevealPass()[:30]) || !strings.Contains(got.location, p.Signature()) {
			t.Errorf("signed out: %s", got.location)
		}
		if got := s.as(s.org.Admin).get(views.KeysPath + "?" + query); got.status != http.StatusSeeOther || got.location != views.KeysPath+"?q="+p.Signature() {
			t.Errorf("signed in: %d %s", got.status, got.location)
		}
	}
}

func TestOfficeIsNotLockedOutByItsOwnSignIns(t *testing.T) {
	s := newSite(t)
	for range 120 {
		if _, err := s.keyring.SignIn(t.Context(), visitorFrom("203.0.113.7"), s.org.Admin.Email, storetest.Password); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHSTSLeavesSubdomainsAloneUnlessAskedFor(t *testing.T) {
	for _, c := range []struct {
		scheme     string
		subdomains bool
		want       string
	}{
		{"http", false, ""}, {"https", false, "max-age=63072000"}, {"https", true, "max-age=63072000; includeSubDomains"},
	} {
		s := newSiteWith(t, func(o *Options) {
			o.BaseURL, o.HSTSSubdomains = &url.URL{Scheme: c.scheme, Host: "keys.example.com"}, c.subdomains
		})
		for _, path := range []string{"/sign-in", "/healthz", "/static/nothing", "/v1/api-keys"} {
			if got := s.visitor().get(path).header.Get("Strict-Transport-Security"); got != c.want {
				t.Errorf("%s over %s, subdomains %t: %q, want %q", path, c.scheme, c.subdomains, got, c.want)
			}
		}
	}
}

// TestEveryAnswerSaysWhatItIs looks at one answer of each kind: no browser guesses its type, reads text in another encoding, runs
// or frames what it was not meant to.
func TestEveryAnswerSaysWhatItIs(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Admin)
	_, key := s.key(s.org.Admin, "read:api-keys")
	for _, c := range []struct{ path, key string }{
		{"/account/api-keys", ""}, {"/nowhere", ""}, {static.Path("app.css"), ""}, {static.Path("app.js"), ""}, {static.Path("mark.svg"), ""}, {static.Root, ""},
		{"/openapi.json", ""}, {jwksPath, ""}, {"/healthz", ""}, {"/docs", ""}, {exportKeysPath, ""}, {"/v1/nowhere", ""}, {"/v1/api-keys", key}, {forwardAuthPath, ""}, {verifyPath, ""},
	} {
		header := map[string]string{}
		if c.key != "" {
			header["Authorization"] = "Bearer " + c.key
		}
		got := b.send(http.MethodGet, c.path, nil, header)
		kind, params, err := mime.ParseMediaType(got.header.Get("Content-Type"))
		if text := strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+xml"); err != nil || text && !strings.EqualFold(params["charset"], "utf-8") {
			t.Errorf("%s: the type is %q", c.path, got.header.Get("Content-Type"))
		}
		if got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: its type may be guessed", c.path)
		}
		for _, directive := range []string{"default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(got.header.Get("Content-Security-Policy"), directive) {
				t.Errorf("%s: the policy lacks %s: %q", c.path, directive, got.header.Get("Content-Security-Policy"))
			}
		}
		if got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may be read by other sites", c.path)
		}
		if asksAboutKeys := c.path == forwardAuthPath || c.path == verifyPath; !asksAboutKeys && got.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
			t.Errorf("%s may be embedded by other sites", c.path)
		}
		if c.path == exportKeysPath && !strings.HasPrefix(got.header.Get("Content-Disposition"), "attachment; filename=moonlatch-") {
			t.Errorf("%s is no attachment: %q", c.path, got.header.Get("Content-Disposition"))
		}
		if strings.Contains(got.body, "<pre>") && c.path == static.Root {
			t.Error("the folder of static files is listed")
		}
	}
}

func TestTraceEchoesNothing(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/", "/sign-in", "/healthz", static.Path("app.css"), "/v1/api-keys", forwardAuthPath} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodTrace, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Secret", "echoed back")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode < 400 || strings.Contains(string(body), "echoed back") {
			t.Errorf("TRACE %s: %d, %v", path, response.StatusCode, err)
		}
	}
}

// TestAnOriginForgesNoLogLine sends what looks like the end of one field and the beginning of another.
func TestAnOriginForgesNoLogLine(t *testing.T) {
	s := newSite(t)
	s.visitor().send(http.MethodPost, views.SignInPath, url.Values{}, map[string]string{"Origin": `https://x" level=ERROR msg="forged`, "Sec-Fetch-Site": "cross-site"})
	logged := s.log.String()
	if !strings.Contains(logged, `origin="https://x\" level=ERROR msg=\"forged"`) || strings.Contains(logged, `msg="forged"`) {
		t.Errorf("the log: %s", logged)
	}
}

// TestCookiesAreAsTightAsTheyCanBe reads both cookies of a sign-in over TLS.
func TestCookiesAreAsTightAsTheyCanBe(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.BaseURL = &url.URL{Scheme: "https", Host: "keys.example.com"} })
	got := s.visitor().post(views.SignInPath, url.Values{"email": {s.org.Admin.Email}, "password": {storetest.Password}})
	set := (&http.Response{Header: got.header}).Cookies()
	if len(set) != 2 {
		t.Fatalf("%d cookies", len(set))
	}
	for _, cookie := range set {
		if !cookie.Secure || !cookie.HttpOnly || cookie.Domain != "" {
			t.Errorf("%s: Secure %t, HttpOnly %t, Domain %q", cookie.Name, cookie.Secure, cookie.HttpOnly, cookie.Domain)
		}
		switch cookie.Name {
		case "__Host-moonlatch":
			if cookie.Path != "/" || cookie.SameSite != http.SameSiteLaxMode || len(cookie.Value) < 43 { // 32 random bytes in base64
				t.Errorf("the session's: Path %s, SameSite %d, %d characters", cookie.Path, cookie.SameSite, len(cookie.Value))
			}
		case "__Secure-moonlatch-device":
			if cookie.Path != views.SignInPath || cookie.SameSite != http.SameSiteStrictMode {
				t.Errorf("the device's: Path %s, SameSite %d", cookie.Path, cookie.SameSite)
			}
		default:
			t.Errorf("a cookie %s", cookie.Name)
		}
	}
}

// TestEveryPageLeadsToSignOut opens each page of the table of routes that has an address of its own.
func TestEveryPageLeadsToSignOut(t *testing.T) {
	s := newSite(t)
	owner := s.as(s.org.Owner)
	pages := 0
	for _, r := range routes {
		if r.method != get || r.policy.kind != member || strings.Contains(r.path, ":") {
			continue
		}
		got := owner.get(r.path)
		if got.status != http.StatusOK || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			continue
		}
		if pages++; !strings.Contains(got.body, `action="`+views.SignOutPath+`"`) {
			t.Errorf("%s has no way to sign out", r.path)
		}
	}
	if pages < 15 {
		t.Errorf("%d pages were opened", pages)
	}
}

// TestAnUnexpectedErrorIsLoggedAndNotShown panics where nothing should.
func TestAnUnexpectedErrorIsLoggedAndNotShown(t *testing.T) {
	s := newSiteWith(t, func(o *Options) { o.Ready = func(context.Context) error { panic("SELECT secret FROM installation") } })
	got := s.visitor().get("/readyz")
	id := got.header.Get("X-Request-Id")
	if got.status != http.StatusInternalServerError || strings.Contains(got.body, "secret") || strings.Contains(got.body, "goroutine") || id == "" {
		t.Errorf("%d, request %q: %s", got.status, id, got.body)
	}
	if logged := s.log.String(); !strings.Contains(logged, "SELECT secret FROM installation") || !strings.Contains(logged, id) {
		t.Errorf("the log: %s", logged)
	}
}
