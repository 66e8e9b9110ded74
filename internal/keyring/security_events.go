package keyring

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
)

// LogTo sets where security events are logged. It is called before anything else uses the keyring.
func (r *Keyring) LogTo(log *slog.Logger) { r.log = log }

const (
	securityBacklog = 500              // different events that wait to be stored; of more, the log counts each kind and organisation
	securityTimeout = 10 * time.Second // of storing what waits
)

// securityEvents are the events that wait to be stored. What repeats meanwhile is one of them.
type securityEvents struct {
	mu      sync.Mutex
	waiting []audit.SecurityEvent
	dropped map[droppedEvents]int // that found no room, and how many
	written chan struct{}         // closed when none waits any more; nil while nothing is written
}

// droppedEvents are told apart by no more than this, so that a flood makes few lines of the log.
type droppedEvents struct{ kind, orgID string }

// RecordSecurityEvent has a failed attempt logged and stored for the organisation. It waits for nothing, so that the time of
// an answer does not reveal which accounts exist; what can't be stored is in the log all the same, and what finds no room is counted there.
func (r *Keyring) RecordSecurityEvent(e audit.SecurityEvent) {
	now := r.Now()
	e.Address = networkOf(e.Address)
	w := &r.security
	w.mu.Lock()
	defer w.mu.Unlock()
	repeated := slices.IndexFunc(w.waiting, func(o audit.SecurityEvent) bool {
		o.FirstAt, o.LastAt, o.Count = e.FirstAt, e.LastAt, e.Count
		return o == e
	})
	if repeated >= 0 {
		w.waiting[repeated].Count++
		w.waiting[repeated].LastAt = now
		return
	}
	if len(w.waiting) >= securityBacklog {
		if w.dropped == nil {
			w.dropped = map[droppedEvents]int{}
		}
		w.dropped[droppedEvents{e.Kind, e.OrgID}]++
		return
	}
	e.FirstAt, e.LastAt, e.Count = now, now, 1
	w.waiting = append(w.waiting, e)
	if w.written == nil {
		w.written = make(chan struct{})
		go r.storeSecurityEvents()
	}
}

// storeSecurityEvents ends when none waits any more.
func (r *Keyring) storeSecurityEvents() {
	w := &r.security
	for {
		w.mu.Lock()
		events, dropped := w.waiting, w.dropped
		w.waiting, w.dropped = nil, nil
		if len(events) == 0 {
			close(w.written)
			w.written = nil
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		for _, e := range events {
			r.log.Warn("security event", "kind", e.Kind, "organisation", e.OrgID, "member", e.MemberID, "key", e.KeyID, "address", e.Address, "detail", e.Detail, "count", e.Count)
		}
		for of, count := range dropped {
			r.log.Error("security events not stored: too many at once", "kind", of.kind, "organisation", of.orgID, "events", count)
		}
		ctx, cancel := context.WithTimeout(context.Background(), securityTimeout)
		for i, e := range events {
			if err := r.store.RecordSecurityEvent(ctx, e); err != nil {
				r.log.Error("security events not stored", "events", len(events)-i, "error", err)
				break
			}
		}
		cancel()
	}
}

// FlushSecurityEvents waits until the events recorded before are stored, or given up.
func (r *Keyring) FlushSecurityEvents(ctx context.Context) error {
	r.security.mu.Lock()
	written := r.security.written
	r.security.mu.Unlock()
	if written == nil {
		return nil
	}
	select {
	case <-written:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SecurityEventPage is a part of the security events, and the cursor of the older part; "" at the end.
type SecurityEventPage struct {
	Events []audit.SecurityEvent
	Names  map[string]Named // of the members and keys in them
	Next   string
}

// SecurityEvents lists the attempts that came to nothing by the last of each, newest first. Errors: ErrCursor, and ErrNotFound
// for another organisation's cursor.
func (r *Keyring) SecurityEvents(ctx context.Context, actor account.Actor, filter audit.SecurityFilter, cursor string, limit int) (SecurityEventPage, error) {
	if err := allow(actor, account.ReadAudit); err != nil {
		return SecurityEventPage{}, err
	}
	list := listID("security events", filter)
	at, err := r.cursors.open(actor.OrgID, list, cursor)
	if err != nil {
		return SecurityEventPage{}, err
	}
	events, err := r.store.SecurityEvents(ctx, actor.OrgID, filter, at, limit+1)
	if err != nil {
		return SecurityEventPage{}, err
	}
	var page SecurityEventPage
	if len(events) > limit {
		events = events[:limit]
		last := events[limit-1]
		page.Next = r.cursors.seal(actor.OrgID, list, &apikey.Position{Value: last.LastAt.Format(time.RFC3339Nano), ID: last.ID})
	}
	page.Events = events
	page.Names, err = r.securityNames(ctx, actor, events)
	return page, err
}

func (r *Keyring) securityNames(ctx context.Context, actor account.Actor, events []audit.SecurityEvent) (map[string]Named, error) {
	var ids []string
	for _, e := range events {
		for _, id := range []string{e.MemberID, e.KeyID} {
			if id != "" {
				ids = append(ids, id)
			}
		}
	}
	return r.store.Names(ctx, actor.OrgID, ids)
}

// NamedSecurityEvent is a security event with its member's e-mail address.
type NamedSecurityEvent struct {
	audit.SecurityEvent
	Email string
}

// ExportSecurityEvents reads the security events by their first attempt, newest first.
func (r *Keyring) ExportSecurityEvents(_ context.Context, actor account.Actor, filter audit.SecurityFilter) (Batches[NamedSecurityEvent], error) {
	if err := allow(actor, account.ReadAudit); err != nil {
		return nil, err
	}
	var after apikey.Position
	ended := false
	return func(ctx context.Context) ([]NamedSecurityEvent, error) {
		if ended {
			return nil, nil
		}
		events, err := r.store.SecurityEventsByFirst(ctx, actor.OrgID, filter, after, exportBatch)
		if err != nil {
			return nil, err
		}
		names, err := r.securityNames(ctx, actor, events)
		out := make([]NamedSecurityEvent, len(events))
		for i, e := range events {
			out[i] = NamedSecurityEvent{e, names[e.MemberID].Email}
			after = apikey.Position{Value: e.FirstAt.Format(time.RFC3339Nano), ID: e.ID}
		}
		ended = len(events) < exportBatch
		return out, err
	}, nil
}
