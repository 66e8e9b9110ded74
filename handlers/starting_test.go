package handlers

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/static"
)

// TestAServerThatStartsAnswersEveryRoute walks the table: nothing passes before the database is there, and nothing waits for it.
func TestAServerThatStartsAnswersEveryRoute(t *testing.T) {
	said := &logBook{}
	server := httptest.NewServer(Starting(Options{BaseURL: &url.URL{Scheme: "https", Host: "keys.example.com"}, Log: slog.New(slog.NewTextHandler(said, nil))}))
	t.Cleanup(server.Close)
	ask := func(method, path, body string) (*http.Response, string) {
		t.Helper()
		request, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer pk_live_0123456789")
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(text)
	}
	for _, r := range slices.Concat(routes, apiRoutes) {
		method, body := r.method, ""
		if method == every {
			method = get
		}
		if method != get {
			body = "a=b"
		}
		path := strings.NewReplacer(":token", "x", ":id", "x", ":name", "x", "*", "x").Replace(r.path)
		response, text := ask(method, path, body)
		switch {
		case path == "/healthz":
			if response.StatusCode != http.StatusOK {
				t.Errorf("%s: %d", path, response.StatusCode)
			}
			continue
		case response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "":
			t.Errorf("%s %s: %d, Retry-After %q", method, path, response.StatusCode, response.Header.Get("Retry-After"))
		case path == "/readyz":
			if !strings.Contains(text, "starting") {
				t.Errorf("%s says %s", path, text)
			}
		case forPrograms(path):
			if !strings.Contains(text, `"code":"unavailable"`) || !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
				t.Errorf("%s %s says %s", method, path, text)
			}
		case !strings.Contains(text, "Moonlatch is starting") || response.Header.Get("Content-Security-Policy") == "" || response.Header.Get("Strict-Transport-Security") == "":
			t.Errorf("%s %s says %s", method, path, text)
		}
	}
	if response, _ := ask(get, static.Path("app.css"), ""); response.StatusCode != http.StatusOK {
		t.Errorf("the page has no styles: %d", response.StatusCode)
	}
	if said := said.String(); strings.Contains(said, "level=ERROR") || strings.Contains(said, "panic") {
		t.Errorf("the log has errors: %s", said)
	}
}
