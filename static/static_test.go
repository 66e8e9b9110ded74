package static

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func get(t *testing.T, target, acceptEncoding string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if acceptEncoding != "" {
		r.Header.Set("Accept-Encoding", acceptEncoding)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func TestFilesAreServedForGoodUnderTheirHash(t *testing.T) {
	for name, contentType := range map[string]string{
		"app.css": "text/css", "app.js": "text/javascript", "mark.svg": "image/svg+xml", "figtree.woff2": "font/woff2",
	} {
		res := get(t, Path(name), "")
		if res.StatusCode != 200 || !strings.HasPrefix(res.Header.Get("Content-Type"), contentType) {
			t.Errorf("%s: %d %s", name, res.StatusCode, res.Header.Get("Content-Type"))
		}
		if cc := res.Header.Get("Cache-Control"); !strings.Contains(cc, "immutable") {
			t.Errorf("%s: Cache-Control %q", name, cc)
		}
		if res.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: encoded though nobody asked for it", name)
		}
	}
}

func TestTheSmallestAcceptedEncodingIsSent(t *testing.T) {
	if _, ok := built.files["app.css.br"]; !ok {
		t.Skip("a development build has no compressed files")
	}
	for header, want := range map[string]string{
		"gzip, deflate, br": "br", "gzip": "gzip", "br;q=0, gzip;q=0.5": "gzip", "identity": "", "br ; q=1.0": "br", "gzip;q=0": "",
	} {
		res := get(t, Path("app.css"), header)
		if got := res.Header.Get("Content-Encoding"); got != want {
			t.Errorf("Accept-Encoding %q: got %q, want %q", header, got, want)
		}
		if res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: no Vary", header)
		}
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	for _, target := range []string{"/static/", "/static/app.css", Path("nothing.css"), Path("app.css.br"), Path("../static.go"), Path("")} {
		if res := get(t, target, "br"); res.StatusCode != 404 {
			t.Errorf("%s: %d", target, res.StatusCode)
		}
	}
}

func TestAnotherBuildsAddressIsAnsweredButNotKept(t *testing.T) {
	res := get(t, "/static/000000000000/app.css", "")
	if res.StatusCode != 200 || res.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%d, Cache-Control %q", res.StatusCode, res.Header.Get("Cache-Control"))
	}
}

func TestAKnownFileIsNotSentAgain(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, Path("app.js"), nil)
	r.Header.Set("If-None-Match", get(t, Path("app.js"), "").Header.Get("ETag"))
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	if w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
}
