package store_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestWhatPassesIsUnavailable tells what the database can't do at this time from a mistake in the program.
func TestWhatPassesIsUnavailable(t *testing.T) {
	answer := func(severity, code string) error { return &pq.Error{Severity: severity, Code: pqerror.Code(code)} }
	for _, code := range []string{
		"08000", "08003", "08006", "08P01", "40000", "40001", "40002", "40003", "40P01", "53000", "53100", "53200", "53300", "53400",
		"57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05", "58000", "58030", "25006", "25P03", "25P04", "55P03",
		"28000", "28P01", "3D000",
	} {
		for _, severity := range []string{"ERROR", "FATAL"} {
			if err := store.Tidy(fmt.Errorf("asking: %w", answer(severity, code))); !errors.Is(err, store.ErrUnavailable) || pq.As(err, pqerror.Code(code)) == nil {
				t.Errorf("%s %s: %v", severity, code, err)
			}
		}
	}
	for _, err := range []error{
		answer("FATAL", "55000"), driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, context.DeadlineExceeded,
		&net.OpError{Op: "read", Err: errors.New("connection reset by peer")},
	} {
		if err := store.Tidy(fmt.Errorf("asking: %w", err)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	for _, code := range []string{
		"", "0", "0A000", "21000", "22001", "22003", "22021", "22P05", "23502", "23503", "23505", "23514", "23P01", "25001", "25P01", "25P02", "26000", "34000", "3F000",
		"42501", "42601", "42703", "42883", "42P01", "42P05", "54000", "54001", "55000", "P0001", "XX000", "XX001",
	} {
		if err := store.Tidy(answer("ERROR", code)); errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrNotFound) || err == nil {
			t.Errorf("a mistake in the program, %s: %v", code, err)
		}
	}
	for _, err := range []error{sql.ErrTxDone, pq.ErrInFailedTransaction, errors.New("sql: Scan error")} {
		if err := store.Tidy(err); errors.Is(err, store.ErrUnavailable) {
			t.Errorf("a mistake in the program: %v", err)
		}
	}
	if err := store.Tidy(context.Canceled); !errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the caller has hung up: %v", err)
	}
}

// TestATimeThatEndsBeforeTheCommitIsUnavailable lets database/sql roll back first.
func TestATimeThatEndsBeforeTheCommitIsUnavailable(t *testing.T) {
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	change := func(ctx context.Context, meanwhile func()) error {
		return s.Mutate(ctx, org.Owner, account.RenameSelf, func(*store.Tx) ([]audit.Change, error) {
			meanwhile()
			return nil, nil
		})
	}
	ended := func(ctx context.Context) func() {
		return func() {
			<-ctx.Done()
			for deadline := time.Now().Add(time.Minute); s.Pools()[0].InUse > 0 && time.Now().Before(deadline); { // rolled back
				time.Sleep(time.Millisecond)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := change(ctx, ended(ctx)); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the time was over: %v", err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	if err := change(ctx, func() { hangUp(); ended(ctx)() }); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller has hung up: %v", err)
	}
}
