package handlers

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"golang.org/x/text/unicode/norm"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

const (
	exportAuditPath       = views.AuditExportPath
	exportKeysPath        = views.KeysExportPath
	exportKeyOwnersPath   = views.KeyOwnersExportPath
	apiExportAuditPath    = "/v1/audit-events/export"
	exportSecurityPath    = views.SecurityExportPath
	apiExportSecurityPath = "/v1/security-events/export"
	exportSuffix          = "/export" // of them all

	exportTimeout   = time.Hour        // of a whole export, once its first batch is there
	exportStalls    = 30 * time.Second // until the next chunk must have gone out: at exportPace a system's own buffers take 20 s to make room
	exportChunk     = 32 << 10         // bytes
	exportPatience  = 30 * time.Second // of waiting for whoever reads, after which they must keep the pace
	exportPace      = 64 << 10         // bytes for each second of waiting, on the average: who reads more slowly keeps a place from others
	exportsOfOne    = 2                // of an organisation at once
	exportsTogether = 4                // of a server at once: they read as fast as they are read, and everybody else reads too
)

// exports counts those under way on this server.
type exports struct {
	mu  sync.Mutex
	of  map[string]int
	all int
}

// begin returns errExports when as many as may be are under way.
func (e *exports) begin(orgID string) (end func(), err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.all >= exportsTogether || e.of[orgID] >= exportsOfOne {
		return nil, errExports
	}
	if e.of == nil {
		e.of = map[string]int{}
	}
	e.all++
	e.of[orgID]++
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.all--
		if e.of[orgID]--; e.of[orgID] == 0 {
			delete(e.of, orgID)
		}
	}, nil
}

// sheet writes rows in one format. End writes the last line, by which a reader knows that nothing is missing.
type sheet[T any] interface {
	row(T) error
	end(rows int64) error
}

// format is how an export is written.
type format[T any] struct {
	media, extension string
	open             func(*bufio.Writer) (sheet[T], error)
}

// cutShort marks, in echo's context, an answer that ended too early: throughDoor breaks the connection off.
const cutShort = "cut short"

// stream sends an export batch by batch, so that it takes the same memory however long it is. What fails before the first
// byte is an error like any other. What fails later ends the connection without the end of the answer, and without the
// last line of the file: nobody can take a part for the whole.
func stream[T any](h *handler, c echo.Context, what string, f format[T], next keyring.Batches[T]) error {
	end, err := h.exports.begin(actorOf(c).OrgID)
	if err != nil {
		return err
	}
	defer end()
	batch, err := readBatch(c, next)
	if err != nil {
		return err
	}
	if err := h.saveCookie(c); err != nil {
		return err
	}
	defer extend(c, exportTimeout)() // the first batch was read in time, so the database answers
	header := c.Response().Header()
	header.Set(echo.HeaderContentType, f.media)
	header.Set(echo.HeaderContentDisposition, mime.FormatMediaType("attachment", map[string]string{"filename": what + "-" + h.keyring.Now().Format(time.DateOnly) + "." + f.extension}))
	header.Set("Cache-Control", "no-store")
	if c.Request().Method == http.MethodHead {
		return c.NoContent(http.StatusOK)
	}
	out := bufio.NewWriterSize(&steady{to: c.Response(), control: http.NewResponseController(c.Response()), stall: exportStalls, now: time.Now}, exportChunk)
	if err := write(c, out, f, batch, next); err != nil {
		c.Set(cutShort, true)
		level, gone := slog.LevelError, goneError{}
		if errors.As(err, &gone) || errors.Is(err, keyring.ErrUnauthenticated) || errors.Is(err, keyring.ErrForbidden) || errors.Is(err, keyring.ErrStale) {
			// the reader has hung up, stalled or is too slow, or may not read it any more
			level = slog.LevelInfo
		}
		h.log.Log(c.Request().Context(), level, "export cut short", "error", err, "route", c.Path(), "request", requestID(c))
	}
	return nil
}

func write[T any](c echo.Context, out *bufio.Writer, f format[T], batch []T, next keyring.Batches[T]) error {
	to, err := f.open(out)
	if err != nil {
		return err
	}
	var rows int64
	for len(batch) > 0 {
		for _, row := range batch {
			if err := to.row(row); err != nil {
				return err
			}
		}
		rows += int64(len(batch))
		if batch, err = readBatch(c, next); err != nil {
			return err
		}
	}
	if err := to.end(rows); err != nil {
		return err
	}
	return out.Flush()
}

// readBatch gives the database no longer for a batch than for any other answer.
func readBatch[T any](c echo.Context, next keyring.Batches[T]) ([]T, error) {
	ctx, cancel := context.WithTimeout(c.Request().Context(), requestTimeout)
	defer cancel()
	batch, err := next(ctx)
	if err != nil && c.Request().Context().Err() != nil {
		err = goneError{c.Request().Context().Err()}
	}
	return batch, err
}

// goneError says that nobody reads any more.
type goneError struct{ error }

func (e goneError) Unwrap() error { return e.error }

// errPace is somebody who reads, and too slowly.
var errPace = errors.New("whoever reads the export is too slow")

// steady gives each chunk its time to go out, instead of one time to the whole, and asks for a least pace. What the database
// takes between the chunks is not counted against whoever reads them.
type steady struct {
	to      io.Writer
	control *http.ResponseController
	stall   time.Duration // until a chunk must have gone out
	now     func() time.Time
	sent    int64         // bytes
	waited  time.Duration // for them to go out
}

func (s *steady) Write(chunk []byte) (int, error) {
	if err := s.control.SetWriteDeadline(time.Now().Add(s.stall)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, goneError{err}
	}
	began := s.now()
	n, err := s.to.Write(chunk)
	s.sent += int64(n)
	s.waited += s.now().Sub(began)
	if err == nil && s.waited > exportPatience && float64(s.sent) < s.waited.Seconds()*exportPace {
		err = errPace
	}
	if err != nil {
		err = goneError{err}
	}
	return n, err
}

// csvSheet is RFC 4180: a row a line, the first with the columns' names, and a last one that says how many there were.
type csvSheet[T any] struct {
	*csv.Writer
	columns int
	cells   func(T) []string
	sign    func(last []string) // adds to the last line; nil for nothing
}

const csvMedia = "text/csv; charset=utf-8; header=present"

// csvEnd begins the last line. No cell of another line's first column does: they are numbers or ids.
const csvEnd = "# end"

func openCSV[T any](out io.Writer, columns []string, cells func(T) []string) (*csvSheet[T], error) {
	s := &csvSheet[T]{Writer: csv.NewWriter(out), columns: len(columns), cells: cells}
	s.UseCRLF = true
	return s, s.Write(columns)
}

func (s *csvSheet[T]) row(row T) error {
	cells := s.cells(row)
	for i, cell := range cells {
		cells[i] = defuse(cell)
	}
	return s.Write(cells)
}

func (s *csvSheet[T]) end(rows int64) error {
	cells := make([]string, s.columns)
	cells[0], cells[1] = csvEnd, strconv.FormatInt(rows, 10)
	if s.sign != nil {
		s.sign(cells)
	}
	if err := s.Write(cells); err != nil {
		return err
	}
	s.Flush()
	return s.Error()
}

// defuse puts an apostrophe before what a spreadsheet might take for a formula: what starts with one of these signs in
// whatever width or size Unicode has them, be it after blanks, marks or characters that can't be seen.
func defuse(cell string) string {
	start := strings.TrimLeftFunc(cell, func(r rune) bool {
		return r != '\t' && r != '\r' && r != '\n' && (unicode.IsSpace(r) || unicode.In(r, unicode.C, unicode.M))
	})
	first, _ := utf8.DecodeRuneInString(start)
	if start != "" && strings.ContainsAny(norm.NFKC.String(string(first)), "=+-@\t\r\n\u2212") {
		return "'" + cell
	}
	return cell
}

// fileName is a name in the letters that every file system takes.
func fileName(text string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, text)
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	if name = strings.Trim(name[:min(len(name), 40)], "-"); name == "" {
		return "organisation"
	}
	return name
}
