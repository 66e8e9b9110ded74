package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lib/pq"
)

// sessionSettings are the run-time parameters of a connection. They are set once it is there: a pooler refuses most of them
// as startup parameters.
type sessionSettings map[string]string

// statement returns one statement that sets all of them, in one round trip.
func (s sessionSettings) statement() string {
	var calls []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		calls = append(calls, fmt.Sprintf("set_config(%s, %s, false)", pq.QuoteLiteral(name), pq.QuoteLiteral(s[name])))
	}
	return "SELECT " + strings.Join(calls, ", ")
}

// sessionConnector executes a statement on each new connection.
type sessionConnector struct {
	driver.Connector
	statement string
}

// Connect opens a connection that has its settings.
func (c sessionConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return c.setUp(ctx, conn)
}

// setUp executes the statement, or closes the connection.
func (c sessionConnector) setUp(ctx context.Context, conn driver.Conn) (driver.Conn, error) {
	_, err := conn.(driver.ExecerContext).ExecContext(ctx, c.statement, nil) // lib/pq's connections are one
	if answer := (*pq.Error)(nil); errors.As(err, &answer) && slices.Contains([]string{"22", "42", "55"}, string(answer.Code.Class())) {
		err = &setUpFault{"PostgreSQL refuses a parameter of DATABASE_URL: correct it or take it out", err}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}
