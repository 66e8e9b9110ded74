// Package static holds the built CSS, JavaScript, font, mark and icons, and serves them under addresses that change with
// their content, so that a browser may keep them for good.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed all:dist
var dist embed.FS

// Root is where Handler expects to be mounted.
const Root = "/static/"

var built = load()

// build is what is served: the files by name, and one hash over all of them. They share it so that the stylesheet
// can name the font by a relative address.
type build struct {
	files map[string][]byte
	hash  string
}

func load() build {
	b := build{files: map[string][]byte{}}
	sum := sha256.New()
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(name, "dist/")
		b.files[name] = content
		sum.Write([]byte(name + "\x00" + strconv.Itoa(len(content)) + "\x00"))
		sum.Write(content)
		return nil
	})
	if err != nil {
		panic(err) // the files are inside this binary
	}
	b.hash = hex.EncodeToString(sum.Sum(nil))[:12]
	return b
}

// Path is the address of a file: /static/<hash of the build>/app.css.
func Path(name string) string { return Root + built.hash + "/" + name }

// Handler serves the files below Root. An address of this build may be kept for a year. One of another build gets
// this build's file, not to be kept: while replicas are being replaced, a page of one may ask the other.
func Handler() http.Handler { return http.HandlerFunc(built.serve) }

// encodings are those that the build has prepared, the smaller first.
var encodings = []struct{ name, suffix string }{{"br", ".br"}, {"gzip", ".gz"}}

func (b build) serve(w http.ResponseWriter, r *http.Request) {
	hash, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Root), "/")
	content, found := b.files[name]
	if !found || isVariant(name) {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if hash != b.hash {
		h.Set("Cache-Control", "no-cache")
	}
	h.Set("ETag", `"`+b.hash+`"`)
	for _, encoding := range encodings {
		packed, prepared := b.files[name+encoding.suffix]
		if !prepared {
			continue
		}
		h.Set("Vary", "Accept-Encoding")
		if accepts(r.Header.Values("Accept-Encoding"), encoding.name) {
			h.Set("Content-Encoding", encoding.name)
			h.Set("ETag", `"`+b.hash+encoding.suffix+`"`)
			content = packed
			break
		}
	}
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(content)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(content) // the client may have gone
	}
}

func isVariant(name string) bool {
	return strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz")
}

func contentType(name string) string {
	switch path.Ext(name) {
	case ".woff2":
		return "font/woff2"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// accepts reads Accept-Encoding (RFC 9110, 12.5.3): a name counts unless its weight is 0.
func accepts(headers []string, encoding string) bool {
	for _, part := range strings.Split(strings.Join(headers, ","), ",") {
		name, params, _ := strings.Cut(part, ";")
		if !strings.EqualFold(strings.TrimSpace(name), encoding) {
			continue
		}
		weight, given := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		q, err := strconv.ParseFloat(weight, 64)
		return !given || (err == nil && q > 0)
	}
	return false
}
