package store_test

import (
	"context"
	"crypto/md5"
	"database/sql"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// BenchmarkList reads pages of the API Keys screen, with all the queries that one needs, for an organisation of 1 000
// keys and for one of LIST_KEYS (else 1 000 000) in the same database, in turn, and reports how much longer the large
// one's take. Filling takes minutes.
func BenchmarkList(b *testing.B) {
	n := 1_000_000
	if text := os.Getenv("LIST_KEYS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	url := storetest.URL(b)
	db := storetest.Unaudited(b, url)
	small, large := fill(b, db, "small", 1000), fill(b, db, "large", n)
	for i := range 20 {
		fill(b, db, fmt.Sprint("other", i), 5000)
	}
	if _, err := db.Exec(`VACUUM ANALYZE`); err != nil {
		b.Fatal(err)
	}
	s, err := store.Open(b.Context(), url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	for _, c := range listCases {
		b.Run(c.name, func(b *testing.B) {
			var smalls, larges []time.Duration
			for b.Loop() {
				smalls = append(smalls, timePage(b, s, small, c))
				larges = append(larges, timePage(b, s, large, c))
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(quantile(smalls, 0.5), "µs_small")
			b.ReportMetric(quantile(larges, 0.5), "µs_large")
			b.ReportMetric(quantile(larges, 0.5)/quantile(smalls, 0.5), "ratio")
			b.ReportMetric(quantile(larges, 0.99)/quantile(smalls, 0.99), "ratio_p99")
		})
	}
}

func quantile(times []time.Duration, q float64) float64 {
	slices.Sort(times)
	return float64(times[int(q*float64(len(times)-1))].Microseconds())
}

func timePage(b *testing.B, s *store.Store, org filled, c listCase) time.Duration {
	ctx, filter, at := b.Context(), c.filter, apikey.Position{}
	if c.of != nil {
		filter = c.of(org)
	}
	order, ok := apikey.ParseSort(c.sort)
	if !ok {
		b.Fatalf("no order: %s", c.sort)
	}
	if c.deep {
		at = org.middle[order.By]
		at.Backward = c.backward
	}
	start := time.Now()
	if _, err := s.ListKeys(ctx, org.id, filter, order, at, 25); err != nil {
		b.Error(err)
	}
	for _, query := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := s.Catalogue(ctx, org.id); return err },
		func(ctx context.Context) error { _, err := s.KeyOwners(ctx, org.id); return err },
	} {
		if err := query(ctx); err != nil {
			b.Error(err)
		}
	}
	return time.Since(start)
}

// listCase is a page to read: with a filter that is every organisation's or its own, in an order ("" for the usual
// one), from the start or from the middle.
type listCase struct {
	name           string
	filter         apikey.Filter
	of             func(filled) apikey.Filter
	sort           string
	deep, backward bool
}

// What words and scopes are worth, and whose keys are many, is the fill's to say.
var listCases = slices.Concat([]listCase{
	{name: "everything"},
	{name: "status/enabled", filter: apikey.Filter{Status: apikey.Enabled}},
	{name: "status/disabled", filter: apikey.Filter{Status: apikey.Disabled}},
	{name: "status/rotated", filter: apikey.Filter{Status: apikey.Rotated}},
	{name: "status/expired", filter: apikey.Filter{Status: apikey.Expired}},
	{name: "status/revoked", filter: apikey.Filter{Status: apikey.Revoked}},
	{name: "owner/busy", of: func(o filled) apikey.Filter { return apikey.Filter{OwnerID: o.member(1)} }},
	{name: "owner/one_in_600", of: func(o filled) apikey.Filter { return apikey.Filter{OwnerID: o.member(200)} }},
	{name: "owner/of_3_keys", of: func(o filled) apikey.Filter { return apikey.Filter{OwnerID: o.member(201)} }},
	{name: "environment/live", filter: apikey.Filter{Environment: apikey.Live}},
	{name: "environment/test", filter: apikey.Filter{Environment: apikey.Test}},
	{name: "scope/one_in_2", filter: apikey.Filter{Scope: "read:chat"}},
	{name: "scope/one_in_100", filter: apikey.Filter{Scope: "write:config"}},
	{name: "scope/one_in_1000", filter: apikey.Filter{Scope: "verify:api-keys"}},
	{name: "scope/of_3_keys", filter: apikey.Filter{Scope: "*"}},
	{name: "scope/none", filter: apikey.Filter{Scope: "write:billing"}},
	{name: "profile", of: func(o filled) apikey.Filter { return apikey.Filter{ProfileID: o.idOf("profile", 4)} }},
	{name: "workspace", of: func(o filled) apikey.Filter { return apikey.Filter{WorkspaceID: o.idOf("workspace", 3)} }},
	{name: "process", of: func(o filled) apikey.Filter { return apikey.Filter{ProcessID: o.idOf("process", 5)} }},
	{name: "expires/1", filter: apikey.Filter{ExpiresWithin: 1}},
	{name: "expires/7", filter: apikey.Filter{ExpiresWithin: 7}},
	{name: "expires/30", filter: apikey.Filter{ExpiresWithin: 30}},
	{name: "expires/90", filter: apikey.Filter{ExpiresWithin: 90}},
	{name: "unused/30", filter: apikey.Filter{UnusedFor: 30}},
	{name: "unused/90", filter: apikey.Filter{UnusedFor: 90}},
	{name: "unused/180", filter: apikey.Filter{UnusedFor: 180}},
	{name: "unused/300", filter: apikey.Filter{UnusedFor: 300}},
	{name: "search/one_in_2", filter: apikey.Filter{Search: "service"}},
	{name: "search/one_in_10", filter: apikey.Filter{Search: "billing"}},
	{name: "search/one_in_100", filter: apikey.Filter{Search: "kestrel"}},
	{name: "search/one_in_300", filter: apikey.Filter{Search: "osprey"}},
	{name: "search/one_in_1000", filter: apikey.Filter{Search: "heron"}},
	{name: "search/one_in_10000", filter: apikey.Filter{Search: "bittern"}},
	{name: "search/of_3_keys", filter: apikey.Filter{Search: "capercaillie"}},
	{name: "search/none", filter: apikey.Filter{Search: "xqjzzy"}},
	{name: "search/none,_usual_letters", filter: apikey.Filter{Search: "bilservice"}},
	{name: "search/two_letters", filter: apikey.Filter{Search: "ke"}},
	{name: "search/two_letters,_none", filter: apikey.Filter{Search: "qj"}},
	{name: "search/id", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.key.id} }},
	{name: "search/id's_beginning", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.key.id[:8]} }},
	{name: "search/signature", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.key.signature} }},
	{name: "search/prefix", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.key.prefix} }},
	{name: "search/e-mail_of_all", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.name + ".test"} }},
	{name: "search/e-mail_of_a_tenth", filter: apikey.Filter{Search: "person12"}},
	{name: "search/e-mail,_busy", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.email(1)} }},
	{name: "search/e-mail,_one_in_600", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.email(200)} }},
	{name: "search/e-mail,_no_keys", of: func(o filled) apikey.Filter { return apikey.Filter{Search: o.email(900)} }},
	{name: "both/revoked,_test", filter: apikey.Filter{Status: apikey.Revoked, Environment: apikey.Test}},
	{name: "both/rotated,_rare_scope", filter: apikey.Filter{Status: apikey.Rotated, Scope: "verify:api-keys"}},
	{name: "both/enabled,_no_such_name", filter: apikey.Filter{Status: apikey.Enabled, Search: "xqjzzy"}},
	{name: "both/expired,_expiring", filter: apikey.Filter{Status: apikey.Expired, ExpiresWithin: 30}},
	{name: "both/owner,_no_such_workspace", of: func(o filled) apikey.Filter {
		return apikey.Filter{OwnerID: o.member(202), WorkspaceID: uuid.NewString()}
	}},
	{name: "both/process,_other_workspace", of: func(o filled) apikey.Filter {
		return apikey.Filter{ProcessID: o.idOf("process", 1), WorkspaceID: o.idOf("workspace", 3)}
	}},
	{name: "both/rare_name,_by_name", filter: apikey.Filter{Search: "capercaillie"}, sort: "name"},
	{name: "both/revoked,_by_expiry", filter: apikey.Filter{Status: apikey.Revoked}, sort: "expires"},
	{name: "both/test,_by_use", filter: apikey.Filter{Environment: apikey.Test}, sort: "used"},
}, everyOrder())

func everyOrder() []listCase {
	var out []listCase
	for _, order := range []string{"created", "-created", "name", "-name", "expires", "-expires", "used", "-used"} {
		out = append(out, listCase{name: "sort/" + order, sort: order},
			listCase{name: "sort/" + order + ",_deep", sort: order, deep: true},
			listCase{name: "sort/" + order + ",_deep,_backward", sort: order, deep: true, backward: true})
	}
	return out
}

// filled is an organisation with many keys. Ids can be told from the name and the number of what they are of.
type filled struct {
	id, name string
	key      struct{ id, signature, prefix string } // one of its keys
	middle   map[apikey.Order]apikey.Position
}

func (o filled) idOf(kind string, n int) string {
	return uuid.UUID(md5.Sum(fmt.Append(nil, o.name, kind, n))).String()
}

func (o filled) member(n int) string { return o.idOf("member", n) }

func (o filled) email(n int) string { return fmt.Sprintf("person%d@%s.test", n, o.name) }

// fill makes an organisation with n keys of the last year.
func fill(b *testing.B, db *sql.DB, name string, n int) filled {
	b.Helper()
	org := filled{name: name, middle: map[apikey.Order]apikey.Position{}}
	org.id = org.idOf("organisation", 0)
	statements := strings.NewReplacer(":org", "'"+org.id+"'", ":name", "'"+name+"'", ":n", strconv.Itoa(n)).Replace(fillStatements)
	if _, err := db.Exec(statements); err != nil {
		b.Fatal(err)
	}
	read := func(query string, args []any, into ...any) {
		b.Helper()
		if err := db.QueryRow(query, args...).Scan(into...); err != nil {
			b.Fatal(err)
		}
	}
	read(`SELECT id, signature, prefix FROM api_keys WHERE org_id = $1 ORDER BY created_at OFFSET $2 LIMIT 1`,
		[]any{org.id, n / 3}, &org.key.id, &org.key.signature, &org.key.prefix)
	for by, column := range map[apikey.Order]string{apikey.ByCreation: "created_at", apikey.ByExpiry: "expires_at",
		apikey.ByUse: "idle_since", apikey.ByName: "lower(name)"} {
		var at apikey.Position
		read(`SELECT id, `+column+`::text FROM api_keys JOIN key_use ON key_id = id WHERE api_keys.org_id = $1
			ORDER BY `+column+`, id OFFSET $2 LIMIT 1`, []any{org.id, n / 2}, &at.ID, &at.Value)
		org.middle[by] = at
	}
	return org
}

const fillStatements = `
BEGIN;
SET LOCAL session_replication_role = replica; -- neither an event for each key nor foreign keys are looked at
INSERT INTO organisations (id, name, created_at) VALUES (:org, :name, now());
INSERT INTO key_policies (org_id) VALUES (:org);
INSERT INTO scopes (org_id, name) SELECT :org, scope FROM unnest(ARRAY['read:personas', 'write:personas', 'read:chat', 'write:chat',
	'read:marketplace', 'write:marketplace', 'read:billing', 'read:audit', 'read:webhooks', 'write:webhooks', 'read:config', 'write:config',
	'read:api-keys', 'write:api-keys', 'verify:api-keys']) AS scope;
INSERT INTO members (id, org_id, email, role, password_hash, created_at)
	SELECT md5(:name || 'member' || i)::uuid, :org, 'person' || i || '@' || :name || '.test', 'member', '', now() FROM generate_series(1, 1000) AS i;
INSERT INTO workspaces (id, org_id, name, created_at)
	SELECT md5(:name || 'workspace' || i)::uuid, :org, 'Workspace ' || i, now() FROM generate_series(1, 3) AS i;
INSERT INTO processes (id, org_id, workspace_id, name, created_at)
	SELECT md5(:name || 'process' || i)::uuid, :org, md5(:name || 'workspace' || 1 + i % 2)::uuid, 'Process ' || i, now() FROM generate_series(1, 5) AS i;
INSERT INTO bias_profiles (id, org_id, name, default_threshold, created_at)
	SELECT md5(:name || 'profile' || i)::uuid, :org, 'Profile ' || i, 50, now() FROM generate_series(1, 4) AS i;
SELECT setseed(0.5);
INSERT INTO api_keys (id, org_id, name, environment, prefix, hash, signature, scopes, status, owner_id, created_by, workspace_id, process_id,
		profile_id, created_at, expires_at, rotated_at, grace_ends_at, revoked_at)
	SELECT (lpad(to_hex((extract(epoch FROM created) * 1000)::bigint), 12, '0') || '7' || left(m, 3) || '8' || substr(m, 4, 15))::uuid, :org,
		words, environment, 'pk_' || environment || '_' || left(m, 12), sha256(m::bytea), substr(encode(decode(m, 'hex'), 'base64'), 10, 6),
		scopes, status, md5(:name || 'member' || owner)::uuid, md5(:name || 'member' || owner)::uuid,
		CASE WHEN in_process THEN md5(:name || 'workspace' || 1 + process % 2)::uuid
			WHEN workspace <= 3 THEN md5(:name || 'workspace' || workspace)::uuid END,
		CASE WHEN in_process THEN md5(:name || 'process' || process)::uuid END,
		CASE WHEN profile <= 4 THEN md5(:name || 'profile' || profile)::uuid END, created, created + life,
		CASE WHEN status = 'rotated' THEN created + life / 3 END, CASE WHEN status = 'rotated' THEN created + life / 2 END,
		CASE WHEN status = 'revoked' THEN created + life / 3 END
	FROM (SELECT md5(:name || ' ' || i) AS m, now() - interval '365 days' * (1 - i::float8 / :n) - interval '1 minute' AS created,
			CASE WHEN r < 0.1 THEN 30 WHEN r < 0.6 THEN 90 WHEN r < 0.8 THEN 180 ELSE 365 END * interval '1 day' AS life,
			CASE WHEN random() < 0.8 THEN 'live' ELSE 'test' END AS environment,
			CASE WHEN s < 0.85 THEN 'enabled' WHEN s < 0.9 THEN 'disabled' WHEN s < 0.95 THEN 'rotated' ELSE 'revoked' END AS status,
			CASE WHEN i % (:n / 3) = 5 THEN 201 WHEN i = :n / 2 THEN 202 ELSE 1 + floor(200 * random() ^ 3)::int END AS owner,
			1 + floor(random() * 6)::int AS workspace, random() < 0.4 AS in_process, 1 + floor(random() * 5)::int AS process,
			1 + floor(random() * 8)::int AS profile,
			array_remove(ARRAY[CASE WHEN random() < 0.5 THEN 'read:chat' END, CASE WHEN random() < 0.3 THEN 'read:personas' END,
				CASE WHEN random() < 0.07 THEN 'read:audit' END, CASE WHEN random() < 0.01 THEN 'write:config' END,
				CASE WHEN random() < 0.001 THEN 'verify:api-keys' END, CASE WHEN i % (:n / 3) = 6 THEN '*' END,
				(ARRAY['read:marketplace', 'write:chat', 'read:webhooks', 'read:billing'])[1 + floor(random() * 4)::int]], NULL) AS scopes,
			concat_ws(' ', CASE WHEN random() < 0.1 THEN 'Billing' ELSE (ARRAY['Checkout', 'Mobile', 'Partner', 'Nightly', 'Analytics', 'Payment',
					'Search', 'Support', 'Staging'])[1 + floor(random() * 9)::int] END,
				CASE WHEN random() < 0.5 THEN 'service' ELSE (ARRAY['worker', 'export', 'import', 'feed', 'robot', 'backend'])[1 + floor(random() * 6)::int] END,
				CASE WHEN random() < 0.01 THEN 'Kestrel' END, CASE WHEN random() < 0.0033 THEN 'Osprey' END, CASE WHEN random() < 0.001 THEN 'Heron' END,
				CASE WHEN random() < 0.0001 THEN 'Bittern' END, CASE WHEN i % (:n / 3) = 7 THEN 'Capercaillie' END, i) AS words
		FROM (SELECT i, random() AS r, random() AS s FROM generate_series(1, :n) AS i) AS i) AS k;
INSERT INTO key_use (key_id, org_id, idle_since, last_used_at)
	SELECT id, org_id, coalesce(used, created_at), used
	FROM (SELECT id, org_id, created_at, CASE WHEN random() < 0.01 THEN NULL
		WHEN random() < 0.5 THEN greatest(created_at, now() - interval '1 day' * random())
		ELSE created_at + (now() - created_at) * random() END AS used FROM api_keys WHERE org_id = :org) AS k;
COMMIT`
