package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/lib/pq"
)

// What a call to the store may come back with, beside nil and errors nobody foresaw.
var (
	ErrNotFound  = errors.New("not found in this organisation")
	ErrForbidden = errors.New("the actor's role does not allow this")
	// ErrUnauthenticated says that the actor's session, key or membership has ended since they were authenticated.
	ErrUnauthenticated = errors.New("the session, the key or the membership has ended")
	ErrStale           = errors.New("changed by somebody else in the meantime")
	ErrUnavailable     = errors.New("the database does not answer")
	ErrTaken           = errors.New("the name is taken")
	ErrSetUp           = errors.New("the installation is already set up, or the link is used up")
	ErrInUse           = errors.New("something still refers to it")
	ErrFull            = errors.New("the organisation has as many of these as it can have")
)

// RepeatedError says that a request was made before, and which key it made then.
type RepeatedError struct {
	KeyID    string
	SameBody bool
}

func (e *RepeatedError) Error() string {
	return "the same request was made before and issued the key " + e.KeyID
}

// MissingError is the ErrNotFound of something that a key refers to.
type MissingError struct {
	Field string // that named it: ownerId, workspaceId, processId, biasProfileId
}

func (e MissingError) Error() string        { return e.Field + " names nothing in this organisation" }
func (e MissingError) Is(target error) bool { return target == ErrNotFound }

// constraints gives meaning to the refusals of named constraints.
var constraints = map[string]error{
	"api_keys_owner_fkey":            MissingError{"ownerId"},
	"api_keys_workspace_fkey":        MissingError{"workspaceId"},
	"api_keys_process_fkey":          MissingError{"processId"},
	"api_keys_process_has_workspace": MissingError{"processId"}, // a process that does not exist has no workspace to fill in
	"api_keys_profile_fkey":          MissingError{"biasProfileId"},
	"members_email_taken":            ErrTaken,
	"organisations_name_taken":       ErrTaken,
	"workspaces_name_taken":          ErrTaken,
	"processes_name_taken":           ErrTaken,
	"bias_profiles_name_taken":       ErrTaken,
	"scopes_pkey":                    ErrTaken,
	"organisations_name_alike":       ErrTaken,
	"workspaces_name_alike":          ErrTaken,
	"processes_name_alike":           ErrTaken,
	"bias_profiles_name_alike":       ErrTaken,
	// PostgreSQL's own name for the constraint by which a process lies in a workspace of its organisation.
	"processes_org_id_workspace_id_fkey": ErrNotFound,
}

// tidy turns the driver's errors into the store's.
func tidy(err error) error {
	if err == nil {
		return nil
	}
	var pqErr *pq.Error
	switch {
	case errors.Is(err, ErrUnavailable): // it has its meaning already
		return err
	case isSetUpFault(err):
		return err
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &pqErr):
		return tidyAnswer(pqErr, err)
	case unreachable(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

func isSetUpFault(err error) bool {
	_, ok := errors.AsType[*setUpFault](err)
	return ok
}

// tidyAnswer judges an error that the database itself sent.
func tidyAnswer(answer *pq.Error, err error) error {
	if meaning, ok := constraints[answer.Constraint]; ok {
		return meaning
	}
	switch code := string(answer.Code); {
	case code == "22P02": // no UUID at all: as unknown as any other
		return ErrNotFound
	case code == "25006":
		return fmt.Errorf("%w to what writes, for it is read-only, by its settings or as a standby that was not promoted yet: %w", ErrUnavailable, err)
	case slices.Contains(passingClasses, code[:min(2, len(code))]), slices.Contains(passing, code),
		code == "55000" && answer.Fatal(): // takes no connections at this time
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// passingClasses and passing are the classes of SQLSTATE, and single ones, that tell of the database's state and not of what it was
// asked: later, or once the operator has acted, the same call succeeds.
var (
	passingClasses = []string{
		"08", // the connection failed
		"28", // the account is refused, as after a change of its password; explain has a sentence for it at the start
		"40", // rolled back, as for a deadlock that is there after the retries
		"53", // out of connections, memory or disk
		"57", // cancelled by a time limit or the operator, shutting down, starting
		"58", // the machine failed
	}
	passing = []string{
		"25P03", "25P04", // a transaction that was idle, or took, too long
		"3D000", // the database is away, as while it is restored
		"55P03", // a lock is held for too long
	}
)

func unreachable(err error) bool {
	var netErr net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr)
}
