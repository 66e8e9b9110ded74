package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// retention is a database with usage, and its store at noon of a day.
type retention struct {
	*testing.T
	address string
	store   *store.Store
	db      *sql.DB
	org     storetest.Org
	keys    []apikey.Key
	noon    time.Time
}

func newRetention(t *testing.T, keys int) *retention {
	t.Helper()
	r := &retention{T: t, address: storetest.URL(t)}
	r.store = storetest.Open(t, r.address)
	r.db = storetest.DB(t, r.address)
	r.noon = time.Now().UTC().Truncate(apikey.Day).Add(12 * time.Hour)
	r.store.Now = func() time.Time { return r.noon }
	r.org = storetest.Organisation(t, r.store)
	r.keys = issueKeys(t, r.store, r.org.Admin, keys)
	return r
}

// day is midnight of so many days ago.
func (r *retention) day(ago int) time.Time { return r.noon.Truncate(apikey.Day).AddDate(0, 0, -ago) }

// fill gives each key requests in every hour of so many days, and the organisation their sum.
func (r *retention) fill(days int) {
	r.Helper()
	for _, statement := range []string{
		`INSERT INTO key_usage (key_id, hour, accepted, refused) SELECT k.id, h, extract(epoch FROM h)::bigint / 3600 % 101, extract(epoch FROM h)::bigint / 3600 % 7
			FROM api_keys k, generate_series($1::timestamptz, $2, '1 hour') AS h`,
		`INSERT INTO organisation_usage (org_id, hour, accepted, refused) SELECT k.org_id, g.hour, sum(g.accepted), sum(g.refused)
			FROM key_usage g JOIN api_keys k ON k.id = g.key_id WHERE g.hour BETWEEN $1 AND $2 GROUP BY 1, 2`,
	} {
		if _, err := r.db.ExecContext(r.Context(), statement, r.day(days), r.noon); err != nil {
			r.Fatal(err)
		}
	}
}

// compact calls until there is nothing left to do: on a slow machine one call may not come to everything.
func (r *retention) compact(days int) {
	r.Helper()
	rows := `SELECT (SELECT count(*) FROM key_usage) + (SELECT count(*) FROM organisation_usage)`
	for before, after := "", r.number(rows); before != after; before, after = after, r.number(rows) {
		if err := r.store.CompactUsage(r.Context(), days); err != nil {
			r.Fatal(err)
		}
	}
}

// rows reads what a query finds, as text.
func (r *retention) rows(query string, args ...any) []string {
	r.Helper()
	found, err := r.db.QueryContext(r.Context(), query, args...)
	if err != nil {
		r.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	out := []string{}
	for found.Next() {
		var row string
		if err := found.Scan(&row); err != nil {
			r.Fatal(err)
		}
		out = append(out, row)
	}
	if err := found.Err(); err != nil {
		r.Fatal(err)
	}
	return out
}

func (r *retention) number(query string, args ...any) string {
	r.Helper()
	return r.rows(query, args...)[0]
}

// sums are the requests of each key and of the organisation on each day from a time.
func (r *retention) sums(from time.Time) []string {
	r.Helper()
	return r.rows(`SELECT concat_ws(' ', id, date_trunc('day', hour, 'UTC'), sum(accepted), sum(refused))
		FROM (SELECT key_id AS id, * FROM key_usage UNION ALL SELECT org_id, * FROM organisation_usage) AS g
		WHERE hour >= $1 GROUP BY id, date_trunc('day', hour, 'UTC') ORDER BY 1`, from)
}

// screens is what pages and programs are told of usage.
func (r *retention) screens() []any {
	r.Helper()
	var out []any
	say := func(what any, err error) {
		if err != nil {
			r.Fatal(err)
		}
		out = append(out, what)
	}
	say(r.store.OrganisationUsage(r.Context(), r.org.ID, 90))
	say(r.store.LiveKeysOf(r.Context(), r.org.ID, r.org.Admin.MemberID))
	for _, key := range r.keys {
		say(r.store.KeyUsage(r.Context(), r.org.ID, key.ID, 90))
		say(r.store.RequestsSince(r.Context(), r.org.ID, []string{key.ID}, r.noon.Add(-apikey.Day)))
		out = append(out, use(r.T, r.store, key))
	}
	return out
}

func TestUsageIsKeptByTheHourThenByTheDayAndThenRemoved(t *testing.T) {
	for _, days := range []int{100, 365} {
		t.Run(fmt.Sprint(days), func(t *testing.T) {
			r := newRetention(t, 2)
			r.fill(400)
			if _, err := r.db.ExecContext(t.Context(), `UPDATE key_use SET last_used_at = $2, idle_since = $2, address = '203.0.113.9' WHERE key_id = $1`, r.keys[0].ID, r.day(390)); err != nil {
				t.Fatal(err)
			}
			before, sums := r.screens(), r.sums(r.day(days))
			r.compact(days)
			if after := r.sums(r.day(0).AddDate(-5, 0, 0)); !reflect.DeepEqual(after, sums) {
				t.Errorf("%d sums by day became %d others", len(sums), len(after))
			}
			if after := r.screens(); !reflect.DeepEqual(after, before) {
				t.Errorf("screens show %v instead of %v", after, before)
			}
			for _, table := range []string{"key_usage", "organisation_usage"} {
				subjects := map[string]int{"key_usage": 2, "organisation_usage": 1}[table]
				folded, hourly := days-store.HourlyUsageDays, store.HourlyUsageDays*24+13
				if got := r.number(`SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE hour >= $1)) FROM `+table, r.day(store.HourlyUsageDays)); got != fmt.Sprint(subjects*(folded+hourly), subjects*hourly) {
					t.Errorf("%s has %s rows, not %d of days and %d of hours", table, got, subjects*folded, subjects*hourly)
				}
			}
			// Nothing is written once it is done.
			versions := `SELECT concat_ws(' ', key_id, hour, xmin) FROM key_usage UNION ALL SELECT concat_ws(' ', org_id, hour, xmin) FROM organisation_usage ORDER BY 1`
			written := r.rows(versions)
			r.compact(days)
			if got := r.rows(versions); !reflect.DeepEqual(got, written) {
				t.Error("a second call wrote something")
			}
			page, err := r.store.ListKeys(t.Context(), r.org.ID, apikey.Filter{UnusedFor: 90}, apikey.Newest, apikey.Position{}, 10)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range page.Rows {
				if row.ID == r.keys[0].ID {
					t.Error("a key of today is unused for 90 days") // its creation counts
				}
			}
			// A day later one day more is folded, and one removed.
			r.noon = r.noon.Add(apikey.Day)
			r.compact(days)
			if got, want := r.number(`SELECT concat_ws(' ', min(hour) = $1, count(*) FILTER (WHERE hour < $2)) FROM key_usage`, r.day(days), r.day(store.HourlyUsageDays)), fmt.Sprint("t ", 2*(days-store.HourlyUsageDays)); got != want {
				t.Errorf("a day later: %s, not %s", got, want)
			}
		})
	}
}

// A replica that was cut off for long writes down what it counted before.
func TestLateCountsBecomePartOfTheirDay(t *testing.T) {
	r := newRetention(t, 1)
	r.fill(120)
	r.compact(100)
	want := r.sums(r.day(99))
	late := func(at time.Time) store.UsageCount {
		return store.UsageCount{KeyID: r.keys[0].ID, Hour: at, Accepted: 1000, Refused: 10, LastUsedAt: at}
	}
	for range 2 {
		addUsage(t, r.store, late(r.day(30)), late(r.day(30).Add(13*time.Hour)), late(r.day(30).Add(23*time.Hour)), late(r.day(101).Add(time.Hour)))
	}
	between := r.sums(r.day(99))
	usage := func() apikey.DayUsage {
		days, err := r.store.KeyUsage(t.Context(), r.org.ID, r.keys[0].ID, 31)
		if err != nil {
			t.Fatal(err)
		}
		return days[0]
	}
	day := usage()
	r.compact(100)
	if after := r.sums(r.day(99)); !reflect.DeepEqual(after, between) || reflect.DeepEqual(after, want) || usage() != day {
		t.Errorf("the day was %v and is %v", day, usage())
	}
	if got := r.number(`SELECT concat_ws(' ', min(hour) = $1, count(*) FILTER (WHERE hour >= $2 AND hour < $3)) FROM key_usage`, r.day(100), r.day(30), r.day(29)); got != "t 1" {
		t.Errorf("what was late is left: %s", got)
	}
	base := r.number(`SELECT concat_ws(' ', accepted, refused) FROM organisation_usage WHERE hour = $1`, r.day(30))
	if got := r.number(`SELECT concat_ws(' ', accepted, refused) FROM key_usage WHERE hour = $1`, r.day(30)); got != base || day.Accepted < 6000 || day.Refused < 60 {
		t.Errorf("the key's day has %s, the organisation's %s, and %v was shown", got, base, day)
	}
}

// Two replicas compact while others add to the same days, to their first hour too, in different orders.
func TestReplicasCompactWhileOthersAddToOldDays(t *testing.T) {
	r := newRetention(t, 8)
	r.fill(40)
	other := storetest.Open(t, r.address)
	other.Now = r.store.Now
	was := r.number(`SELECT sum(accepted) FROM key_usage`)
	const flushers, each = 3, 12
	var counts [flushers][]store.UsageCount
	for i := range counts {
		for n, key := range r.keys {
			if i == 2 {
				key = r.keys[len(r.keys)-1-n]
			}
			for _, hour := range []int{0, 1, 5, 23} {
				for _, ago := range []int{39, 20, 8} {
					counts[i] = append(counts[i], store.UsageCount{KeyID: key.ID, Hour: r.day(ago).Add(time.Duration(hour) * time.Hour), Accepted: 1})
				}
			}
		}
	}
	done := make(chan struct{})
	var flushing, compacting sync.WaitGroup
	for _, some := range counts {
		flushing.Go(func() {
			batch := store.UsageBatch{Replica: uuid.NewString(), Counts: some}
			for range each {
				batch.Number++
				if err := r.store.AddUsage(r.Context(), batch); err != nil {
					t.Errorf("adding: %v", err)
					return
				}
			}
		})
	}
	for _, s := range []*store.Store{r.store, other} {
		compacting.Go(func() {
			for {
				if err := s.CompactUsage(r.Context(), 100); err != nil {
					t.Errorf("compacting: %v", err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	flushing.Wait()
	close(done)
	compacting.Wait()
	r.compact(100)
	added := flushers * each * len(counts[0])
	for _, table := range []string{"key_usage", "organisation_usage"} {
		if got := r.number(`SELECT sum(accepted) - $1::bigint FROM `+table, was); got != fmt.Sprint(added) {
			t.Errorf("%s: %d were added, %s were counted", table, added, got)
		}
		if got := r.number(`SELECT count(*) FROM `+table+` WHERE hour < $1 AND hour <> date_trunc('day', hour, 'UTC')`, r.day(store.HourlyUsageDays)); got != "0" {
			t.Errorf("%s: %s hours are not folded", table, got)
		}
	}
}

// What a flush or a deletion holds is left for the next call, and all else is done; the flush waits for nothing either.
func TestCompactingWaitsForNoFlushAndNoDeletion(t *testing.T) {
	r := newRetention(t, 4)
	r.fill(30)
	ctx := t.Context()
	hold := func(statement string, args ...any) (release func(commit bool)) {
		t.Helper()
		tx, err := storetest.Unaudited(t, r.address).BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, statement, args...); err != nil {
			t.Fatal(err)
		}
		return func(commit bool) {
			t.Helper()
			end := tx.Rollback
			if commit {
				end = tx.Commit
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := r.db.ExecContext(ctx, `DELETE FROM key_usage WHERE key_id = $1 AND hour = date_trunc('day', hour, 'UTC')`, r.keys[2].ID); err != nil {
		t.Fatal(err)
	}
	sums, refused := r.sums(r.day(30)), r.number(`SELECT sum(refused) FROM key_usage`)
	hour := hold(`UPDATE key_usage SET refused = refused + 5 WHERE key_id = $1 AND hour = $2`, r.keys[0].ID, r.day(20).Add(5*time.Hour))
	first := hold(`UPDATE key_usage SET refused = refused + 5 WHERE key_id = $1 AND hour = $2`, r.keys[1].ID, r.day(20))
	deleted := hold(`SELECT FROM api_keys WHERE id = $1 FOR UPDATE`, r.keys[2].ID)
	r.compact(100)
	left := `SELECT concat_ws(' ', count(*) FILTER (WHERE key_id = $1), count(*) FILTER (WHERE key_id = $2), count(*) FILTER (WHERE key_id = $3), count(*) FILTER (WHERE key_id = $4))
		FROM key_usage WHERE hour < $5 AND hour <> date_trunc('day', hour, 'UTC')`
	args := []any{r.keys[0].ID, r.keys[1].ID, r.keys[2].ID, r.keys[3].ID, r.day(store.HourlyUsageDays)}
	if got, want := r.number(left, args...), fmt.Sprint("1 23 ", 23*23, " 0"); got != want {
		t.Errorf("left are %s hours, not %s", got, want)
	}
	if after := r.sums(r.day(30)); !reflect.DeepEqual(after, sums) {
		t.Error("sums by day have changed")
	}
	hour(true)
	first(true)
	deleted(false)
	r.compact(100)
	if got := r.number(left, args...); got != "0 0 0 0" {
		t.Errorf("%s hours are left afterwards", got)
	}
	if got := r.number(`SELECT sum(refused) - 10 FROM key_usage`); got != refused {
		t.Errorf("%s were refused, and before what was added meanwhile %s", got, refused)
	}

	// A key that is deleted while its hours are folded takes them along.
	r.noon = r.noon.AddDate(0, 0, 20)
	var both sync.WaitGroup
	both.Go(func() { r.compact(100) })
	ring := keyring.New(r.store)
	for _, key := range r.keys {
		if err := ring.DeleteKey(context.WithoutCancel(ctx), r.org.Admin, key.ID); err != nil {
			t.Error(err)
		}
	}
	both.Wait()
	if got := r.number(`SELECT count(*) FROM key_usage`); got != "0" {
		t.Errorf("%s rows are left of deleted keys", got)
	}
}
