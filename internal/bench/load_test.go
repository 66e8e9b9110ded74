package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// draw writes the next request into a buffer.
type draw func(into []byte) []byte

// inTurn names one after the other.
func inTurn(keys []string) func() string {
	var next atomic.Int64
	return func() string { return keys[int(next.Add(1)-1)%len(keys)] }
}

// forwardAuth asks as a gateway does that passes its caller's key on.
func forwardAuth(key func() string) draw {
	return func(into []byte) []byte {
		return fmt.Appendf(into, "GET /v1/forward-auth?scope=read:chat HTTP/1.1\r\nHost: keys.example.com\r\nUser-Agent: a client/1.0\r\n"+
			"X-Forwarded-For: 203.0.113.7\r\nAuthorization: Bearer %s\r\n\r\n", key())
	}
}

// verification asks as a program does that has a key from its own caller.
func verification(caller string, key func() string) draw {
	return func(into []byte) []byte {
		body := fmt.Sprintf(`{"key":"%s","scopes":["read:chat"],"ip":"203.0.113.7"}`, key())
		return fmt.Appendf(into, "POST /v1/api-keys/verify HTTP/1.1\r\nHost: keys.example.com\r\nUser-Agent: a client/1.0\r\n"+
			"Authorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", caller, len(body), body)
	}
}

// unanswered counts the requests that were put off with 503 and sent again, as when others need the machine for long.
var unanswered atomic.Int64

// load sends so many requests over all connections, each waiting for its answer, and returns how long that took. Each
// answer must be a good one. What else is to be done meanwhile runs beside it.
func load(b *testing.B, p *process, n int, request draw, beside ...func()) time.Duration {
	b.Helper()
	var working sync.WaitGroup
	for _, do := range beside {
		working.Go(do)
	}
	began := time.Now()
	for i := range connections {
		working.Go(func() {
			if err := ask(p.address, n*(i+1)/connections-n*i/connections, request); err != nil {
				b.Error(err)
			}
		})
	}
	working.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return time.Since(began)
}

// warm asks about keys until all are in the server's cache, which may be emptied meanwhile on a machine that is too busy.
func warm(b *testing.B, p *process, keys []string) {
	b.Helper()
	for range 5 {
		if load(b, p, len(keys), forwardAuth(inTurn(keys))); p.cached(b) >= len(keys) {
			return
		}
	}
	b.Fatalf("the cache does not fill: %d of %d", p.cached(b), len(keys))
}

// ask is bytes written and bytes read: an HTTP client would cost as much as what it measures.
func ask(address string, n int, request draw) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)
	var out, body []byte
	asked := 0
	for done := 0; done < n; {
		if done == asked {
			out, asked = request(out[:0]), asked+1
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
		status, err := answers.ReadSlice('\n')
		if err != nil {
			return err
		}
		good, busy := bytes.HasPrefix(status, []byte("HTTP/1.1 200")), bytes.HasPrefix(status, []byte("HTTP/1.1 503"))
		length := 0
		for {
			line, err := answers.ReadSlice('\n')
			if err != nil {
				return err
			}
			if len(line) == 2 {
				break
			}
			if text, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
				if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
					return err
				}
			}
		}
		body = append(body[:0], make([]byte, length)...)
		if _, err := io.ReadFull(answers, body); err != nil {
			return err
		}
		if busy {
			unanswered.Add(1)
			continue
		}
		if !good || bytes.Contains(body, []byte(`"valid":false`)) {
			return fmt.Errorf("an answer is not good: %q", body)
		}
		done++
	}
	return nil
}
