package keyring

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
)

// LogTo sets where security events are logged. It is called before the keyring serves requests.
func (r *Keyring) LogTo(log *slog.Logger) { r.log = log }

const (
	securityInterval = 2 * time.Second  // for which events wait for their repeats
	securityRows     = 1000             // of a batch that have an address, and as many that have none
	securityTimeout  = 30 * time.Second // of storing a batch
)

// securityEvents collects events, so that repeats of an interval take one line of the log and one statement together.
type securityEvents struct {
	mu      sync.Mutex
	waiting *securityBatch // nil when no event waits
	taken   *securityBatch // the last that is logged and stored; nil when it is
	storing chan struct{}  // is full while a batch is stored, and the next one grows
}

func newSecurityEvents() securityEvents { return securityEvents{storing: make(chan struct{}, 1)} }

// RecordSecurityEvent has a failed attempt logged and stored for the organisation. It waits for nothing, so that the time of
// an answer does not reveal which accounts exist; what can't be stored is in the log all the same, and what finds no room is counted there.
func (r *Keyring) RecordSecurityEvent(e audit.SecurityEvent) {
	e.Address = networkOf(e.Address)
	now := r.Now()
	w := &r.security
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = newSecurityBatch()
		go r.storeSecurityEvents(w.waiting)
	}
	w.waiting.add(e, now)
}

// storeSecurityEvents logs and stores a batch when its interval is over and the one before it is stored. A flush has it logged
// at once, for the server may stop before both are stored.
func (r *Keyring) storeSecurityEvents(b *securityBatch) {
	w := &r.security
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.taken == b {
			w.taken = nil
		}
		close(b.stored)
	}()
	alone := false
	select {
	case <-b.due:
	case <-time.After(securityInterval):
		select {
		case <-b.due:
		case w.storing <- struct{}{}:
			alone = true
		}
	}
	w.mu.Lock()
	w.waiting, w.taken = nil, b
	w.mu.Unlock()
	for _, e := range b.events {
		r.log.Warn("security event", "kind", e.Kind, "organisation", e.OrgID, "member", e.MemberID, "key", e.KeyID, "address", e.Address, "detail", e.Detail, "count", e.Count)
	}
	for of, count := range b.dropped {
		r.log.Error("security events not stored: too many at once", "kind", of.kind, "organisation", of.orgID, "events", count)
	}
	if !alone {
		w.storing <- struct{}{}
	}
	defer func() { <-w.storing }()
	ctx, cancel := context.WithTimeout(context.Background(), securityTimeout)
	defer cancel()
	failed, problem := 0, error(nil)
	for i, e := range b.events {
		if err := r.store.RecordSecurityEvent(ctx, *e); err != nil {
			failed, problem = failed+1, err
			if errors.Is(err, ErrUnavailable) { // not of this one alone
				failed += len(b.events) - i - 1
				break
			}
		}
	}
	if failed > 0 {
		r.log.Error("security events not stored", "events", failed, "error", problem)
	}
}

// FlushSecurityEvents has the events recorded before stored at once, and waits until they are, or are given up.
func (r *Keyring) FlushSecurityEvents(ctx context.Context) error {
	w := &r.security
	w.mu.Lock()
	b := w.taken
	if w.waiting != nil { // it is stored after the one that was taken
		b = w.waiting
		b.flush()
	}
	w.mu.Unlock()
	if b == nil {
		return nil
	}
	select {
	case <-b.stored:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// securityBatch is the events of an interval. What repeats in it is one of them.
type securityBatch struct {
	events  []*audit.SecurityEvent                       // by the first attempt
	known   map[audit.SecurityEvent]*audit.SecurityEvent // by what tells them apart
	rows    map[securityShare]int                        // how many events have taken each share
	dropped map[droppedEvents]int                        // that found no room, and how many
	due     chan struct{}                                // closed to store them before the interval is over
	flush   func()                                       // closes due
	stored  chan struct{}                                // closed when they are stored, or given up
}

// droppedEvents are told apart by no more than this, so that a flood makes few lines of the log.
type droppedEvents struct{ kind, orgID string }

func newSecurityBatch() *securityBatch {
	b := &securityBatch{known: map[audit.SecurityEvent]*audit.SecurityEvent{}, rows: map[securityShare]int{}, dropped: map[droppedEvents]int{},
		due: make(chan struct{}), stored: make(chan struct{})}
	b.flush = sync.OnceFunc(func() { close(b.due) })
	return b
}

// add counts an attempt: as it is, where its shares are used up without its address, then by kind and member alone.
func (b *securityBatch) add(e audit.SecurityEvent, now time.Time) {
	e.FirstAt, e.LastAt, e.Count = time.Time{}, time.Time{}, 0
	bare := e
	bare.Address = ""
	coarse := bare
	coarse.KeyID, coarse.Detail = "", ""
	for _, e := range []audit.SecurityEvent{e, bare, coarse} {
		if known := b.known[e]; known != nil {
			known.Count++
			known.LastAt = now
			return
		}
		if shares := sharesOf(e); b.fits(e, shares) {
			for _, share := range shares {
				b.rows[share]++
			}
			row := e
			row.FirstAt, row.LastAt, row.Count = now, now, 1
			b.known[e] = &row
			b.events = append(b.events, &row)
			return
		}
	}
	b.dropped[droppedEvents{e.Kind, e.OrgID}]++
}

// securityShare is what the events of a batch have in common that are counted together.
type securityShare struct {
	of     shareOf
	bare   bool                // without an address
	common audit.SecurityEvent // with the fields that they have in common
}

type shareOf int

const (
	ofAll         shareOf = iota
	ofAnyNetwork          // in all organisations
	ofKind                // in an organisation
	ofKindNetwork         // in these
	ofMember              // in these
	ofDetail              // and key, of the member
	shareKinds
)

// sharesOf returns the shares that an event takes a row of, by shareOf.
func sharesOf(e audit.SecurityEvent) (shares [shareKinds]securityShare) {
	kind := audit.SecurityEvent{OrgID: e.OrgID, Kind: e.Kind}
	network, member := kind, kind
	network.Address, member.MemberID = e.Address, e.MemberID
	detail := member
	detail.KeyID, detail.Detail = e.KeyID, e.Detail
	for of, common := range [...]audit.SecurityEvent{ofAll: {}, ofAnyNetwork: {Address: e.Address}, ofKind: kind, ofKindNetwork: network, ofMember: member, ofDetail: detail} {
		shares[of] = securityShare{shareOf(of), e.Address == "", common}
	}
	return shares
}

// fits says whether there is room for another row. A network takes at most half of those that are free, and so does a kind in an
// organisation; of the kind's half as much as of the rows of an hour (store.RecordSecurityEvent): a network at most half, and a member,
// and of the member's half a key and detail.
func (b *securityBatch) fits(e audit.SecurityEvent, shares [shareKinds]securityShare) bool {
	rows := func(of shareOf) int { return b.rows[shares[of]] }
	free := securityRows - rows(ofAll)
	kind := 2 * rows(ofKind)
	if e.Address != "" && (2*rows(ofAnyNetwork) >= free || 4*rows(ofKindNetwork)+kind >= free) {
		return false
	}
	if e.Address == "" && e.KeyID == "" && e.Detail == "" { // by kind and member alone
		return kind < free
	}
	return 8*rows(ofDetail)+4*rows(ofMember)+kind < free
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
	return judged(r, actor, func(ctx context.Context) ([]NamedSecurityEvent, error) {
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
	}), nil
}
