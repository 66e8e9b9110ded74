package storetest

import (
	"bytes"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"
)

// Cable is the connection between a server and its database: it can be cut, it can go silent, and an answer can get lost on it.
type Cable struct {
	listener         net.Listener
	network, address string

	mu          sync.Mutex
	wires       []*wire
	cut, silent bool
	only        []byte // faults are those of connections that have said this; nil: of all
	lose        []byte // whoever says this next gets no answer any more
}

// wire is one connection through the cable.
type wire struct {
	near, far      net.Conn
	chosen, silent bool // guarded by the cable's mu
}

func (w *wire) close() {
	_ = w.near.Close()
	_ = w.far.Close()
}

// Lay puts a cable before a database and returns the address to use instead.
func Lay(t testing.TB, databaseURL string) (*Cable, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cable{network: "tcp", address: u.Host}
	q := u.Query()
	if folder := q.Get("host"); folder != "" { // a socket
		port := q.Get("port")
		if port == "" {
			port = "5432"
		}
		c.network, c.address = "unix", filepath.Join(folder, ".s.PGSQL."+port)
	}
	if c.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.listener.Close()
		c.Only("")
		c.Cut()
	})
	go c.serve()
	q.Del("host")
	q.Del("port")
	u.Host, u.RawQuery = c.listener.Addr().String(), q.Encode()
	return c, u.String()
}

// Cut ends every connection, and every new one at once.
func (c *Cable) Cut() { c.set(true, false) }

// Silence lets nothing through any more, and tells nobody: as when a network drops packets.
func (c *Cable) Silence() { c.set(false, true) }

// Mend lets everything through again. Connections that were silent are ended.
func (c *Cable) Mend() { c.set(false, false) }

// Only makes the faults those of connections that say a text from now on, as their application_name at the beginning; "" for all.
func (c *Cable) Only(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.only = []byte(text)
}

// LoseAnswer lets the next message that holds the text through, and makes its connection silent, so that its sender
// can't know what became of it.
func (c *Cable) LoseAnswer(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lose = []byte(text)
}

func (c *Cable) set(cut, silent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.wires {
		if c.faulty(w) && (cut || c.silent && !silent) {
			w.close()
		}
	}
	c.cut, c.silent = cut, silent
}

// faulty says whether the cable's faults are this connection's. The caller holds the lock.
func (c *Cable) faulty(w *wire) bool { return len(c.only) == 0 || w.chosen }

func (c *Cable) serve() {
	for {
		near, err := c.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial(c.network, c.address)
		if err != nil {
			_ = near.Close()
			continue
		}
		w := &wire{near: near, far: far}
		c.mu.Lock()
		c.wires = append(c.wires, w)
		if c.cut && c.faulty(w) {
			w.close()
		}
		c.mu.Unlock()
		go c.carry(w, w.far, w.near, true)
		go c.carry(w, w.near, w.far, false)
	}
}

func (c *Cable) carry(w *wire, to, from net.Conn, out bool) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		c.mu.Lock()
		if out && len(c.only) > 0 && bytes.Contains(buffer[:n], c.only) {
			w.chosen = true
		}
		cut := c.cut && c.faulty(w)
		silent := w.silent || c.silent && c.faulty(w)
		if out && len(c.lose) > 0 && bytes.Contains(buffer[:n], c.lose) {
			w.silent, c.lose = true, nil
		}
		c.mu.Unlock()
		switch {
		case cut:
			w.close()
			return
		case silent && err != nil:
			return
		case silent: // what was sent is lost, and nobody is told
			continue
		case err != nil:
			w.close()
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			w.close()
			return
		}
	}
}
