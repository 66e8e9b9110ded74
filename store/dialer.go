package store

import (
	"context"
	"database/sql/driver"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/lib/pq"
)

// withDeadlines makes connections that keep to a time limit. Making one, its session settings included, takes no longer than that,
// however many hosts the address names, and each of them has its share, so that a silent one leaves time for the next. After
// that the limit is for every read and write: lib/pq does not honour a context's deadline when the network goes silent, and a
// few such queries would empty the pool.
func withDeadlines(direct *pq.Connector, settings sessionSettings, limit time.Duration, hosts int) driver.Connector {
	direct.Dialer(dialer{limit, limit / time.Duration(hosts)})
	return deadlineConnector{sessionConnector{direct, settings.statement()}, limit}
}

// hostsOf counts the hosts that a data source names.
func hostsOf(dsn *url.URL) int { return 1 + strings.Count(dsn.Query().Get("host"), ",") }

type deadlineConnector struct {
	sessionConnector
	limit time.Duration
}

// dialled is the key under which a context has where the dialer notes its last connection, a **deadlineConn.
type dialled struct{}

func (c deadlineConnector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	var last *deadlineConn
	conn, err := c.Connector.Connect(context.WithValue(ctx, dialled{}, &last))
	if err != nil {
		if last != nil && last.failed != nil && !unreachable(err) && pq.As(err) == nil {
			err = &lostError{err, last.failed}
		}
		return nil, err
	}
	last.ready, _ = ctx.Deadline()
	if conn, err = c.setUp(ctx, conn); err == nil {
		last.ready = time.Time{}
	}
	return conn, err
}

// lostError is an error of connecting after the network failed. When lib/pq can't write during the handshake, its error does not
// tell by its type.
type lostError struct {
	error
	network error
}

func (e *lostError) Unwrap() []error { return []error{e.error, e.network} }

type dialer struct{ limit, share time.Duration }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// DialContext is what lib/pq calls: once for each host.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.share)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	ready, _ := ctx.Deadline()
	made := &deadlineConn{Conn: conn, limit: d.limit, ready: ready}
	if last, ok := ctx.Value(dialled{}).(**deadlineConn); ok {
		*last = made
	}
	return made, nil
}

// deadlineConn is not for several readers or writers at once, as lib/pq uses it.
type deadlineConn struct {
	net.Conn
	limit time.Duration
	ready time.Time // until when the handshake or the session's settings must be over; zero after them
	// failed is the last error of a read or a write of the handshake, in which one follows the other.
	failed error
}

// SetDeadline is called by lib/pq when the handshake begins, with its own limit, and with none when it is over.
func (c *deadlineConn) SetDeadline(t time.Time) error {
	if t.IsZero() {
		c.ready = t
	}
	return c.Conn.SetDeadline(t)
}

func (c *deadlineConn) deadline() time.Time {
	if at := time.Now().Add(c.limit); c.ready.IsZero() || at.Before(c.ready) {
		return at
	}
	return c.ready
}

func (c *deadlineConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(c.deadline()); err != nil {
		return 0, c.note(err)
	}
	n, err := c.Conn.Read(b)
	return n, c.note(err)
}

func (c *deadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(c.deadline()); err != nil {
		return 0, c.note(err)
	}
	n, err := c.Conn.Write(b)
	return n, c.note(err)
}

func (c *deadlineConn) note(err error) error {
	if err != nil && !c.ready.IsZero() {
		c.failed = err
	}
	return err
}
