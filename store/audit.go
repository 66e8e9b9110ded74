package store

import (
	"context"
	"database/sql"
	"math"
	"time"

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
	_, err := tx.db.NamedExecContext(tx.ctx, `INSERT INTO audit_events (`+eventColumns+`) VALUES (
		:org_id, :seq, :id, :at, :action, :actor_id, :actor_email, :actor_role, :session_id, :key_id, :address, :user_agent,
		:subject_kind, :subject_id, :subject_name, :before, :after, :prev_hash, :hash)`, rows)
	return err
}

// Events returns what happened in an organisation, newest first, at most limit events; those before the event with the
// number before, or from the newest on when it is 0. An empty field of the filter switches its line off.
func (s *Store) Events(ctx context.Context, orgID string, f audit.Filter, before int64, limit int) ([]audit.Event, error) {
	var rows []eventRow
	err := s.db.SelectContext(ctx, &rows, `SELECT `+eventColumns+` FROM audit_events
		WHERE org_id = $1 AND ($2::bigint = 0 OR seq < $2::bigint)
		AND ($3 = '' OR action = $3) AND ($4 = '' OR actor_id = $4) AND ($5 = '' OR subject_id = nullif($5, '')::uuid) AND ($6 = '' OR key_id = $6)
		AND ($7::timestamptz IS NULL OR at >= $7::timestamptz) AND ($8::timestamptz IS NULL OR at < $8::timestamptz)
		ORDER BY seq DESC LIMIT $9`,
		orgID, before, f.Action, f.ActorID, f.SubjectID, f.KeyID, set(f.From), set(f.To), limit)
	if err != nil {
		return nil, tidy(err)
	}
	events := make([]audit.Event, len(rows))
	for i, r := range rows {
		events[i] = r.event()
	}
	return events, nil
}

// set is nil for a time that nobody set.
func set(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// VerifyChain walks an organisation's audit log in batches, in constant memory and on one snapshot. It returns how
// many events hold, and an *audit.BrokenError that names the first one which does not.
func (s *Store) VerifyChain(ctx context.Context, orgID string) (int64, error) {
	tx, err := s.db.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return 0, tidy(err)
	}
	defer func() { _ = tx.Rollback() }()
	var chain audit.Chain
	for after := int64(math.MinInt64); ; {
		var rows []eventRow
		err := tx.SelectContext(ctx, &rows, `SELECT `+eventColumns+` FROM audit_events
			WHERE org_id = $1 AND seq > $2 ORDER BY seq LIMIT 500`, orgID, after)
		if err != nil {
			return chain.Len(), tidy(err)
		}
		if len(rows) == 0 {
			break
		}
		for _, r := range rows {
			if err := chain.Check(r.event()); err != nil {
				return chain.Len(), err
			}
			after = r.Seq
		}
	}
	var head chainHead
	if err := tx.GetContext(ctx, &head, `SELECT seq, hash FROM audit_heads WHERE org_id = $1`, orgID); err != nil {
		return chain.Len(), tidy(err)
	}
	return chain.Len(), chain.End(head.Seq, head.Hash)
}

// chainHead is where an organisation's chain ends.
type chainHead struct {
	Seq  int64
	Hash []byte
}
