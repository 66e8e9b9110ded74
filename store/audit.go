package store

import (
	"context"
	"database/sql"
	"math"
	"time"

	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
)

const eventColumns = `org_id, seq, id, at, action, actor_id, actor_email, actor_role, session_id, key_id, address, user_agent,
	subject_kind, subject_id, subject_name, before, after, prev_hash, hash`

type eventRow struct {
	OrgID       string    `db:"org_id"`
	Seq         int64     `db:"seq"`
	ID          string    `db:"id"`
	At          time.Time `db:"at"`
	Action      string    `db:"action"`
	ActorID     string    `db:"actor_id"`
	Email       string    `db:"actor_email"`
	Role        string    `db:"actor_role"`
	SessionID   string    `db:"session_id"`
	KeyID       string    `db:"key_id"`
	Address     string    `db:"address"`
	UserAgent   string    `db:"user_agent"`
	SubjectKind string    `db:"subject_kind"`
	SubjectID   string    `db:"subject_id"`
	SubjectName string    `db:"subject_name"`
	Before      string    `db:"before"`
	After       string    `db:"after"`
	PrevHash    []byte    `db:"prev_hash"`
	Hash        []byte    `db:"hash"`
}

func (r eventRow) event() audit.Event {
	return audit.Event{
		OrgID: r.OrgID, Seq: r.Seq, ID: r.ID, At: r.At.UTC(), Action: account.Action(r.Action),
		ActorID: r.ActorID, Email: r.Email, Role: account.Role(r.Role), SessionID: r.SessionID, KeyID: r.KeyID,
		Address: r.Address, UserAgent: r.UserAgent,
		Subject: audit.Subject{Kind: r.SubjectKind, ID: r.SubjectID, Name: r.SubjectName},
		Before:  r.Before, After: r.After, PrevHash: r.PrevHash, Hash: r.Hash,
	}
}

func (tx *Tx) insertEvents(events []audit.Event) error {
	rows := make([]eventRow, len(events))
	for i, e := range events {
		rows[i] = eventRow{
			OrgID: e.OrgID, Seq: e.Seq, ID: e.ID, At: e.At, Action: string(e.Action),
			ActorID: e.ActorID, Email: e.Email, Role: string(e.Role), SessionID: e.SessionID, KeyID: e.KeyID,
			Address: e.Address, UserAgent: e.UserAgent,
			SubjectKind: e.Subject.Kind, SubjectID: e.Subject.ID, SubjectName: e.Subject.Name,
			Before: e.Before, After: e.After, PrevHash: e.PrevHash, Hash: e.Hash,
		}
	}
	result, err := tx.db.NamedExecContext(tx.ctx, `INSERT INTO audit_events (`+eventColumns+`) VALUES (
		:org_id, :seq, :id, :at, :action, :actor_id, :actor_email, :actor_role, :session_id, :key_id, :address, :user_agent,
		:subject_kind, :subject_id, :subject_name, :before, :after, :prev_hash, :hash)`, rows)
	return rowsAffected(len(events), result, err)
}

// Span is a stretch of an organisation's log, from the event after one number to the one before another; 0 for an end
// that is open.
type Span struct{ After, Before int64 }

// within narrows a span to what another one holds.
func (s Span) within(other Span) Span {
	s.After = max(s.After, other.After)
	if s.Before == 0 || other.Before != 0 && other.Before < s.Before {
		s.Before = other.Before
	}
	return s
}

// Events returns what happened in an organisation, newest first, at most limit events of the span. An empty field of the
// filter switches its line off.
func (s *Store) Events(ctx context.Context, orgID string, f audit.Filter, span Span, limit int) ([]audit.Event, error) {
	return s.events(ctx, orgID, f, span, "DESC", limit)
}

// EventsInOrder returns the same, oldest first.
func (s *Store) EventsInOrder(ctx context.Context, orgID string, f audit.Filter, span Span, limit int) ([]audit.Event, error) {
	return s.events(ctx, orgID, f, span, "ASC", limit)
}

func (s *Store) events(ctx context.Context, orgID string, f audit.Filter, span Span, direction string, limit int) ([]audit.Event, error) {
	bounds, err := s.spanOf(ctx, orgID, f.From, f.To)
	if err != nil {
		return nil, err
	}
	span = span.within(bounds)
	var rows []eventRow
	err = s.db.SelectContext(ctx, &rows, `SELECT `+eventColumns+` FROM audit_events
		WHERE org_id = $1 AND seq > $2 AND ($3::bigint = 0 OR seq < $3::bigint)
		AND ($4 = '' OR action = $4) AND ($5 = '' OR actor_id = $5) AND ($6 = '' OR actor_id = '' AND actor_email = $6)
		AND ($7 = '' OR subject_kind = $7) AND ($8 = '' OR subject_id = nullif($8, '')::uuid) AND ($9 = '' OR key_id = $9)
		AND ($10::timestamptz IS NULL OR at >= $10::timestamptz) AND ($11::timestamptz IS NULL OR at < $11::timestamptz)
		ORDER BY seq `+direction+` LIMIT $12`,
		orgID, span.After, span.Before, f.Action, f.ActorID, f.ActorName, f.SubjectKind, f.SubjectID, f.KeyID, set(f.From), set(f.To), limit)
	if err != nil {
		return nil, tidy(err)
	}
	events := make([]audit.Event, len(rows))
	for i, r := range rows {
		events[i] = r.event()
	}
	return events, nil
}

// spanOf returns a span that holds every event of a range of times, and little more, so that a range costs no look at
// what is younger or older. Events are numbered as they are committed, which is nearly the order of their times; the head
// knows by how much at most an event is older than one before it (late). An event that is more than that older than the
// range comes before all of it, one that is more than that younger comes after. The minute more is for an older version
// of the program that writes beside this one during an upgrade, and tells the head nothing.
func (s *Store) spanOf(ctx context.Context, orgID string, from, to time.Time) (Span, error) {
	var span Span
	if from.IsZero() && to.IsZero() {
		return span, nil
	}
	err := s.db.GetContext(ctx, &span, `SELECT
		coalesce((SELECT seq FROM audit_events e WHERE e.org_id = $1 AND e.at < $2::timestamptz - late - interval '1 minute' ORDER BY e.at DESC LIMIT 1), 0) AS after,
		coalesce((SELECT seq FROM audit_events e WHERE e.org_id = $1 AND e.at > $3::timestamptz + late + interval '1 minute' ORDER BY e.at LIMIT 1), 0) AS before
		FROM audit_heads WHERE org_id = $1`, orgID, set(from), set(to))
	return span, tidy(err)
}

// Head returns the number of an organisation's newest event.
func (s *Store) Head(ctx context.Context, orgID string) (int64, error) {
	var seq int64
	err := s.db.GetContext(ctx, &seq, `SELECT seq FROM audit_heads WHERE org_id = $1`, orgID)
	return seq, tidy(err)
}

// Named is something of an organisation that an id in its log stands for.
type Named struct {
	Kind  string // as an audit.Subject has it
	Name  string // a member's may be empty
	Email string // of a member
}

// Names says what ids stand for: members, keys, workspaces, processes and bias profiles of the organisation. What was
// deleted is not among them.
func (s *Store) Names(ctx context.Context, orgID string, ids []string) (map[string]Named, error) {
	names := map[string]Named{}
	if len(ids) == 0 {
		return names, nil
	}
	var rows []struct{ ID, Kind, Name, Email string }
	err := s.db.SelectContext(ctx, &rows, `WITH asked AS (SELECT unnest($2::uuid[]) AS id)
		SELECT id, 'member' AS kind, name, email FROM members WHERE org_id = $1 AND id IN (SELECT id FROM asked)
		UNION ALL SELECT id, 'key', name, '' FROM api_keys WHERE org_id = $1 AND id IN (SELECT id FROM asked)
		UNION ALL SELECT id, 'workspace', name, '' FROM workspaces WHERE org_id = $1 AND id IN (SELECT id FROM asked)
		UNION ALL SELECT id, 'process', name, '' FROM processes WHERE org_id = $1 AND id IN (SELECT id FROM asked)
		UNION ALL SELECT id, 'profile', name, '' FROM bias_profiles WHERE org_id = $1 AND id IN (SELECT id FROM asked)`, orgID, pq.Array(ids))
	for _, r := range rows {
		names[r.ID] = Named{Kind: r.Kind, Name: r.Name, Email: r.Email}
	}
	return names, tidy(err)
}

// Actors lists the members who can have done something, whatever became of them, by e-mail, at most 500.
func (s *Store) Actors(ctx context.Context, orgID string) ([]account.Person, error) {
	var records []personRecord
	err := s.db.SelectContext(ctx, &records, `SELECT `+personColumns+` FROM members WHERE org_id = $1 ORDER BY email LIMIT 500`, orgID)
	return people(records), tidy(err)
}

// set is nil for a time that nobody set.
func set(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Walked is what a walk along an organisation's chain found.
type Walked struct {
	Events int64
	At     time.Time // of the last one
	Hash   []byte    // of the last one
}

// VerifyChain walks an organisation's audit log and returns how many events hold, and an *audit.BrokenError that names the
// first one which does not.
func (s *Store) VerifyChain(ctx context.Context, orgID string) (int64, error) {
	held, err := s.WalkChain(ctx, orgID, func(int64, int64) {})
	return held.Events, err
}

// WalkChain does the same in batches, in constant memory and on one snapshot. Told hears, after each batch, how many
// events hold so far and how many there are.
func (s *Store) WalkChain(ctx context.Context, orgID string, told func(checked, all int64)) (Walked, error) {
	tx, end, err := s.db.begin(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return Walked{}, tidy(err)
	}
	defer end()
	defer func() { _ = tx.Rollback() }()
	var head chainHead
	if err := tx.GetContext(ctx, &head, `SELECT seq, hash FROM audit_heads WHERE org_id = $1`, orgID); err != nil {
		return Walked{}, tidy(err)
	}
	var chain audit.Chain
	walked := Walked{Hash: audit.Genesis}
	for after := int64(math.MinInt64); ; {
		var rows []eventRow
		err := tx.SelectContext(ctx, &rows, `SELECT `+eventColumns+` FROM audit_events
			WHERE org_id = $1 AND seq > $2 ORDER BY seq LIMIT 500`, orgID, after)
		if err != nil {
			return walked, tidy(err)
		}
		if len(rows) == 0 {
			return walked, chain.End(head.Seq, head.Hash)
		}
		for _, r := range rows {
			if err := chain.Check(r.event()); err != nil {
				return walked, err
			}
			after = r.Seq
			walked = Walked{Events: chain.Len(), At: r.At.UTC(), Hash: r.Hash}
		}
		told(walked.Events, head.Seq)
	}
}

// chainHead is where an organisation's chain ends.
type chainHead struct {
	Seq  int64
	Hash []byte
}
