package keyring

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// Named is something of the organisation that an id in the audit log stands for.
type Named = store.Named

// EventPage is a part of the audit log, and the cursor of the older part; "" where the log begins.
type EventPage struct {
	Events []audit.Event
	Next   string
}

// Events lists what happened in the organisation, newest first. Errors: ErrCursor, and ErrNotFound for another
// organisation's cursor.
func (r *Keyring) Events(ctx context.Context, actor account.Actor, filter audit.Filter, cursor string, limit int) (EventPage, error) {
	if err := allow(actor, account.ReadAudit); err != nil {
		return EventPage{}, err
	}
	list := listID("events", filter)
	at, err := r.cursors.open(actor.OrgID, list, cursor)
	if err != nil {
		return EventPage{}, err
	}
	var before int64
	if at.ID != "" {
		if before, err = strconv.ParseInt(at.ID, 10, 64); err != nil {
			return EventPage{}, ErrCursor
		}
	}
	events, err := r.store.Events(ctx, actor.OrgID, filter, store.Span{Before: before}, limit+1)
	if err != nil || len(events) <= limit {
		return EventPage{Events: events}, err
	}
	events = events[:limit]
	last := strconv.FormatInt(events[limit-1].Seq, 10)
	return EventPage{Events: events, Next: r.cursors.seal(actor.OrgID, list, &apikey.Position{ID: last})}, nil
}

// EventNames says what the ids in events, and others beside them, stand for: whose they were, to what, and in the facts.
func (r *Keyring) EventNames(ctx context.Context, actor account.Actor, events []audit.Event, others ...string) (map[string]Named, error) {
	if err := allow(actor, account.ReadAudit); err != nil {
		return nil, err
	}
	return r.names(ctx, actor, events, others...)
}

func (r *Keyring) names(ctx context.Context, actor account.Actor, events []audit.Event, others ...string) (map[string]Named, error) {
	ids := map[string]bool{}
	add := func(text string) {
		if id, err := input.ID(text); err == nil {
			ids[id] = true
		}
	}
	for _, text := range others {
		add(text)
	}
	for _, e := range events {
		add(e.ActorID)
		add(e.KeyID)
		add(e.Subject.ID)
		for _, side := range []string{e.Before, e.After} {
			var facts audit.Facts
			_ = json.Unmarshal([]byte(side), &facts) // an event that was tampered with may hold anything
			for _, fact := range facts {
				if text, ok := fact.(string); ok {
					add(text)
				}
			}
		}
	}
	asked := make([]string, 0, len(ids))
	for id := range ids {
		asked = append(asked, id)
	}
	return r.store.Names(ctx, actor.OrgID, asked)
}

// Actors lists the members who can have done something, by e-mail, at most 500.
func (r *Keyring) Actors(ctx context.Context, actor account.Actor) ([]account.Person, error) {
	return seen(actor, account.ReadAudit, func() ([]account.Person, error) { return r.store.Actors(ctx, actor.OrgID) })
}

// ExportEvents reads what happened in the organisation, oldest first and up to the newest event of this moment.
func (r *Keyring) ExportEvents(ctx context.Context, actor account.Actor, filter audit.Filter) (Batches[audit.Event], error) {
	if err := allow(actor, account.ReadAudit); err != nil {
		return nil, err
	}
	last, err := r.store.Head(ctx, actor.OrgID)
	if err != nil {
		return nil, err
	}
	span := store.Span{Before: last + 1}
	return judged(r, actor, func(ctx context.Context) ([]audit.Event, error) {
		events, err := r.store.EventsInOrder(ctx, actor.OrgID, filter, span, exportBatch)
		if len(events) > 0 {
			span.After = events[len(events)-1].Seq
		}
		return events, err
	}), nil
}

// LogCheck is how far a check of the audit log's chain has come, and what came of it.
type LogCheck struct {
	Done         bool
	Checked, All int64              // events; All is 0 before it is known
	Broken       *audit.BrokenError // the first event that does not hold; nil when all do
	Last         store.Walked       // up to the last event that holds
	At           time.Time          // when it was done
}

// checks are the walks along the chains that are under way here, or were a moment ago: one for each organisation.
type checks struct {
	mu    sync.Mutex
	of    map[string]*check
	turns chan struct{} // each reads the log as fast as the database gives it
}

type check struct {
	mu   sync.Mutex
	is   LogCheck
	err  error
	done chan struct{}
}

const (
	checksAtOnce = 2
	checkTakes   = 30 * time.Minute // at most
	checkHolds   = 20 * time.Second // how long a result is told to whoever asks
	checkFails   = 5 * time.Second  // how long one that could not be had is
	checkAnswer  = time.Second      // how long an answer waits for the result
)

func newChecks() *checks {
	return &checks{of: map[string]*check{}, turns: make(chan struct{}, checksAtOnce)}
}

// CheckLog walks the organisation's audit log and says whether its chain holds. A long log takes longer than an answer
// can wait: asked again, it tells how far the same walk has come, and for a moment afterwards its result. On each server
// one walk is under way for an organisation at a time. Another server that is asked begins its own and tells of that one,
// so a result is always that of a whole walk, and only the progress may seem to go back.
func (r *Keyring) CheckLog(ctx context.Context, actor account.Actor) (LogCheck, error) {
	if err := allow(actor, account.ReadAudit); err != nil {
		return LogCheck{}, err
	}
	c := r.checkOf(context.WithoutCancel(ctx), actor.OrgID)
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-time.After(checkAnswer):
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.is, c.err
}

// checkOf is the walk that is under way, or a new one.
func (r *Keyring) checkOf(ctx context.Context, orgID string) *check {
	r.checks.mu.Lock()
	defer r.checks.mu.Unlock()
	for id, c := range r.checks.of {
		if c.over(r.store.Now()) {
			delete(r.checks.of, id)
		}
	}
	c := r.checks.of[orgID]
	if c == nil {
		c = &check{done: make(chan struct{})}
		r.checks.of[orgID] = c
		go func() {
			defer close(c.done)
			r.checks.turns <- struct{}{}
			defer func() { <-r.checks.turns }()
			ctx, cancel := context.WithTimeout(ctx, checkTakes)
			defer cancel()
			c.walk(ctx, r.store, orgID)
		}()
	}
	return c
}

// over says whether a result has been told for long enough.
func (c *check) over(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := now.Sub(c.is.At).Abs()
	return c.err != nil && since > checkFails || c.is.Done && since > checkHolds
}

func (c *check) walk(ctx context.Context, s *store.Store, orgID string) {
	last, err := s.WalkChain(ctx, orgID, func(checked, all int64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.is.Checked, c.is.All = checked, all
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	var broken *audit.BrokenError
	if errors.As(err, &broken) {
		err = nil
	}
	c.is.Broken, c.is.Last, c.is.At, c.is.Done = broken, last, s.Now(), err == nil
	c.err = err
}
