package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
)

// Tx is a transaction in which one actor changes one organisation. Only Mutate makes one.
type Tx struct {
	db     *conn // for this package alone
	ctx    context.Context
	actor  account.Actor
	now    time.Time
	clock  func() time.Time
	own    own         // rows of the actor that are locked
	acting *apikey.Key // by which fn judged what a key may hand out or change; nil where it did not ask
}

// Now is the one time of everything that happens in the transaction, in UTC and whole microseconds.
func (tx *Tx) Now() time.Time { return tx.now }

// Actor is who makes the change.
func (tx *Tx) Actor() account.Actor { return tx.actor }

const mutateTries = 3

// Mutate is the one way to change an organisation. It asks whether the actor may take the action, opens the
// transaction, runs fn, which returns what happened, judges the actor again with the chain's head locked, writes an audit
// event for each of those changes, and commits. fn is run again after a deadlock or a serialization failure, so it sets
// what it leaves outside each time.
//
// Errors, beside those of fn: ErrForbidden; ErrUnauthenticated when the actor's session, key or membership has ended;
// ErrUnavailable, also when an event can't be written; and errUnrecorded when fn wrote something and returned no change.
func (s *Store) Mutate(ctx context.Context, actor account.Actor, action account.Action, fn func(*Tx) ([]audit.Change, error)) error {
	if !actor.May(action) {
		return ErrForbidden
	}
	for try := 1; ; try++ {
		err := s.mutateOnce(ctx, actor, action, fn)
		if try == mutateTries || !entangled(err) {
			return tidy(err)
		}
		select {
		case <-ctx.Done():
			return tidy(ctx.Err())
		case <-time.After(rand.N(20 * time.Millisecond << try)):
		}
	}
}

func (s *Store) mutateOnce(ctx context.Context, actor account.Actor, action account.Action, fn func(*Tx) ([]audit.Change, error)) error {
	inner, end, err := s.db.begin(ctx, nil)
	if err != nil {
		return err
	}
	defer end()
	defer func() { _ = inner.Rollback() }() // does nothing after a commit
	tx := &Tx{db: &conn{tx: inner}, ctx: ctx, actor: actor, now: s.Now(), clock: s.Now}
	changes, err := fn(tx)
	if err != nil {
		return err
	}
	if err := tx.record(action, changes); err != nil {
		return err
	}
	err = commit(ctx, inner)
	if refusal := (*pq.Error)(nil); errors.As(err, &refusal) { // the triggers that look for the event are all that runs so late
		err = unwritable(err)
	}
	return err
}

// errUnrecorded is a mistake in the program: a function of Mutate wrote something and returned no change.
var errUnrecorded = errors.New("the transaction wrote something and recorded no change")

// entangled is true for a deadlock (40P01) and a serialisation failure (40001).
func entangled(err error) bool {
	var pqErr *pq.Error
	return errors.As(err, &pqErr) && (pqErr.Code == "40P01" || pqErr.Code == "40001")
}

// room returns ErrFull when the organisation has as many rows in a table as it may have. Of two that would be the last, one
// waits for the other; what only refers to the organisation does not.
func (tx *Tx) room(table string, most int) error {
	if _, err := tx.db.ExecContext(tx.ctx, `SELECT FROM organisations WHERE id = $1 FOR NO KEY UPDATE`, tx.actor.OrgID); err != nil {
		return tidy(err)
	}
	var n int
	if err := tx.db.GetContext(tx.ctx, &n, `SELECT count(*) FROM `+table+` WHERE org_id = $1`, tx.actor.OrgID); err != nil {
		return tidy(err)
	}
	if n >= most {
		return ErrFull
	}
	return nil
}

// atOnce is how many rows one statement writes: a small fraction of the store's time limit.
const atOnce = 500

// record judges the actor and appends the changes to the organisation's chain. The head is the last row that a
// transaction locks, so that two changes never wait for each other in opposite order.
func (tx *Tx) record(action account.Action, changes []audit.Change) error {
	if len(changes) == 0 {
		if tx.db.wrote {
			return errUnrecorded
		}
		return nil
	}
	var head chainHead
	orgID := tx.actor.OrgID
	if err := tx.db.GetContext(tx.ctx, &head, `SELECT seq, hash FROM audit_heads WHERE org_id = $1 FOR UPDATE`, orgID); err != nil {
		return unwritable(err)
	}
	if err := tx.judgeActor(); err != nil {
		return err
	}
	events := make([]audit.Event, len(changes))
	for i, change := range changes {
		if id, err := uuid.Parse(change.Subject.ID); err != nil || id.String() != change.Subject.ID {
			return fmt.Errorf("%q is not an id as it is stored: its event's hash would not hold", change.Subject.ID)
		}
		events[i] = audit.NewEvent(uuid.Must(uuid.NewV7()).String(), tx.now, tx.actor, action, change).Follow(head.Seq, head.Hash)
		if !tx.actor.May(events[i].Action) {
			return ErrForbidden
		}
		head.Seq, head.Hash = events[i].Seq, events[i].Hash
	}
	for chunk := range slices.Chunk(events, atOnce) {
		if err := tx.insertEvents(chunk); err != nil {
			return unwritable(err)
		}
	}
	result, err := tx.db.ExecContext(tx.ctx, `UPDATE audit_heads SET seq = $2, hash = $3,
		late = greatest(late, latest - $4::timestamptz), latest = greatest(latest, $4::timestamptz) WHERE org_id = $1`, orgID, head.Seq, head.Hash, tx.now)
	if err := rowsAffected(1, result, err); err != nil {
		return unwritable(err)
	}
	return nil
}

// unwritable is ErrUnavailable with the reason why an event can't be written: without its event nothing is done.
func unwritable(err error) error {
	return fmt.Errorf("writing the audit events: %w: %w", ErrUnavailable, err)
}
