package keyring

import (
	"context"
	"strconv"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
)

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
	events, err := r.store.Events(ctx, actor.OrgID, filter, before, limit+1)
	if err != nil || len(events) <= limit {
		return EventPage{Events: events}, err
	}
	events = events[:limit]
	last := strconv.FormatInt(events[limit-1].Seq, 10)
	return EventPage{Events: events, Next: r.cursors.seal(actor.OrgID, list, &apikey.Position{ID: last})}, nil
}
