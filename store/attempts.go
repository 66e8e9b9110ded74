package store

import (
	"context"
	"errors"
	"time"

	"github.com/lib/pq"
)

// CountAttempt counts an attempt of the subject (an account or an address) in its window before the attempt is
// judged, so that attempts made at once on several replicas are all counted. The window begins with the first
// attempt and is not prolonged by later ones: nobody is locked out for good. It returns how many attempts the window
// has seen, this one included, and when it ends.
func (s *Store) CountAttempt(ctx context.Context, subject string, window time.Duration) (int, time.Time, error) {
	var r struct {
		Attempts int
		EndsAt   time.Time `db:"window_ends_at"`
	}
	now := s.Now()
	err := s.db.GetContext(ctx, &r, `INSERT INTO sign_in_attempts AS a (subject, attempts, window_ends_at) VALUES ($1, 1, $3)
		ON CONFLICT (subject) DO UPDATE SET
			attempts = CASE WHEN a.window_ends_at <= $2 THEN 1 ELSE a.attempts + 1 END,
			window_ends_at = CASE WHEN a.window_ends_at <= $2 THEN $3 ELSE a.window_ends_at END
		RETURNING attempts, window_ends_at`, subject, now, now.Add(window))
	return r.Attempts, r.EndsAt.UTC(), tidy(err)
}

// Attempts is what a subject's window has seen, and when it ends.
type Attempts struct {
	Subject string
	Count   int       `db:"attempts"`
	EndsAt  time.Time `db:"window_ends_at"`
}

// Attempts returns the open windows of these subjects. It writes nothing.
func (s *Store) Attempts(ctx context.Context, subjects []string) (map[string]Attempts, error) {
	var rows []Attempts
	err := s.db.SelectContext(ctx, &rows, `SELECT subject, attempts, window_ends_at FROM sign_in_attempts
		WHERE subject = ANY ($1) AND window_ends_at > $2`, pq.Array(subjects), s.Now())
	out := map[string]Attempts{}
	for _, row := range rows {
		row.EndsAt = row.EndsAt.UTC()
		out[row.Subject] = row
	}
	return out, tidy(err)
}

// ForgetAttempts clears the subjects' counts, after a sign-in that succeeded.
func (s *Store) ForgetAttempts(ctx context.Context, subjects ...string) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM sign_in_attempts WHERE subject = ANY ($1)`, pq.Array(subjects))
	return tidy(err)
}

// ForgetAttemptsAt clears the counts of a subject and of all that begin with it and a space, and those of others.
func (s *Store) ForgetAttemptsAt(ctx context.Context, subject string, others ...string) error {
	_, err := s.db.ExecContext(ctx, `DELETE FROM sign_in_attempts WHERE subject = $1 OR starts_with(subject, $1 || ' ') OR subject = ANY ($2)`, subject, pq.Array(others))
	return tidy(err)
}

// UncountAttempt takes one attempt back, after a sign-in that succeeded.
func (s *Store) UncountAttempt(ctx context.Context, subject string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE sign_in_attempts SET attempts = attempts - 1 WHERE subject = $1 AND attempts > 0`, subject)
	return tidy(err)
}

// Sweep removes what has served its time: cookies, tombstones, attempts, setup links, signing keys whose last token has
// expired, email changes whose link has expired, after 24 hours the requests by which a repeated issue is recognised, after 30
// days the sessions that are over and the invitations that have expired, and after 90 days security events. None of it is written down: it changes nothing that anybody could still do,
// and when a session or an invitation would end stands in the event that began it.
func (s *Store) Sweep(ctx context.Context) error {
	const most = 5000 // rows at a time, so that a backlog does not run into the statement's time limit
	now := s.Now()
	var failed error
	for table, over := range map[string]string{
		"cookie_sessions":  `expires_at <= $1`,
		"sign_in_attempts": `window_ends_at <= $1`,
		"security_events":  `last_at <= least($1::timestamptz, now()) - interval '90 days'`,
		"setup_links":      `expires_at <= $1`,
		"signing_keys":     retired,
		"sessions":         `expires_at <= $1::timestamptz - interval '30 days'`,
		"email_changes":    `expires_at <= least($1::timestamptz, now())`,
		"invitations":      `expires_at <= $1::timestamptz - interval '30 days'`,
		"usage_flushes":    `at <= $1::timestamptz - interval '24 hours'`,
		"issue_requests":   `created_at <= $1::timestamptz - interval '24 hours'`,
	} {
		for {
			result, err := s.db.ExecContext(ctx, `DELETE FROM `+table+` WHERE ctid = ANY (ARRAY(SELECT ctid FROM `+table+` WHERE `+over+` LIMIT $2))`, now, most)
			if err != nil {
				failed = errors.Join(failed, tidy(err)) // the other tables can be swept all the same
				break
			}
			if n, err := result.RowsAffected(); err != nil || n < most {
				break
			}
		}
	}
	return failed
}
