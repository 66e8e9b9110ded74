package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

// KeyRow is a key together with what people want to read beside it.
type KeyRow struct {
	apikey.Key
	Owner         account.Person
	Creator       account.Person
	WorkspaceName string
	ProcessName   string
	ProfileName   string
	Use           apikey.Use
	IdleSince     time.Time // the latest of its last use, its creation, and when it was last enabled
	sortName      string
}

const keyColumns = `k.id, k.org_id, k.name, k.environment, k.prefix, k.signature, k.scopes, k.status, k.owner_id, k.created_by,
	coalesce(k.workspace_id::text, '') AS workspace_id, coalesce(k.process_id::text, '') AS process_id,
	coalesce(k.profile_id::text, '') AS profile_id, k.ip_allowlist::text[] AS ip_allowlist, k.created_at, k.expires_at,
	k.rotated_at, k.grace_ends_at, coalesce(k.replaced_by::text, '') AS replaced_by, k.revoked_at, k.version, k.role_limit`

type keyRecord struct {
	ID          string         `db:"id"`
	OrgID       string         `db:"org_id"`
	Name        string         `db:"name"`
	Environment string         `db:"environment"`
	Prefix      string         `db:"prefix"`
	Signature   string         `db:"signature"`
	Scopes      pq.StringArray `db:"scopes"`
	Status      string         `db:"status"`
	OwnerID     string         `db:"owner_id"`
	CreatedBy   string         `db:"created_by"`
	WorkspaceID string         `db:"workspace_id"`
	ProcessID   string         `db:"process_id"`
	ProfileID   string         `db:"profile_id"`
	IPAllowlist pq.StringArray `db:"ip_allowlist"`
	CreatedAt   time.Time      `db:"created_at"`
	ExpiresAt   time.Time      `db:"expires_at"`
	RotatedAt   *time.Time     `db:"rotated_at"`
	GraceEndsAt *time.Time     `db:"grace_ends_at"`
	ReplacedBy  string         `db:"replaced_by"`
	RevokedAt   *time.Time     `db:"revoked_at"`
	Version     int            `db:"version"`
	RoleLimit   string         `db:"role_limit"`
}

func (r keyRecord) key() apikey.Key {
	return apikey.Key{
		ID: r.ID, OrgID: r.OrgID, Name: r.Name, Environment: apikey.Environment(r.Environment),
		Prefix: r.Prefix, Signature: r.Signature, Scopes: r.Scopes, Stored: apikey.Status(r.Status),
		OwnerID: r.OwnerID, CreatedBy: r.CreatedBy, WorkspaceID: r.WorkspaceID, ProcessID: r.ProcessID,
		ProfileID: r.ProfileID, IPAllowlist: prefixes(r.IPAllowlist),
		CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), RotatedAt: utc(r.RotatedAt),
		GraceEndsAt: utc(r.GraceEndsAt), ReplacedBy: r.ReplacedBy, RevokedAt: utc(r.RevokedAt), Version: r.Version, RoleLimit: r.RoleLimit,
	}
}

func prefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text)) // a cidr column holds nothing else
	}
	return out
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// The rules of package apikey as SQL says them of a key k, at a time or by a policy that placeholders stand for.

// unendedAt says of a key that it is enabled or disabled, and its end is ahead.
func unendedAt(now string) string {
	return `(k.status IN ('enabled', 'disabled') AND k.ends_at > ` + now + `)`
}

// inGraceAt says of a key that it was rotated and still works.
func inGraceAt(now string) string {
	return `(k.status = 'rotated' AND k.ends_at > ` + now + `)`
}

// liveAt is apikey.Key.LiveAt.
func liveAt(now string) string { return `(` + unendedAt(now) + ` OR ` + inGraceAt(now) + `)` }

// unconfined says of a key that it has no allowlist that counts: the parameter is null or what widest makes of a policy.
func unconfined(widest string) string {
	return `(` + widest + `::int[] IS NOT NULL AND (k.ip_allowlist = '{}' OR EXISTS (SELECT FROM unnest(k.ip_allowlist) AS range
		WHERE masklen(range) < (` + widest + `::int[])[CASE family(range) WHEN 4 THEN 1 ELSE 2 END])))`
}

// widest is the widest ranges, of IPv4 and of IPv6, that count as the allowlist which a policy requires; nil where it requires
// none.
func widest(p apikey.Policy) any {
	if !p.RequireAllowlist {
		return nil
	}
	return pq.Array([]int{p.WidestIPv4, p.WidestIPv6})
}

// breaking says of a key that it is not as a policy asks: the longest lifetime in seconds, to its effective end, the widest ranges of an allowlist,
// and whether it requires a workspace.
func breaking(longest, allowlist, workspace string) string {
	return `(k.ends_at - k.created_at > ` + longest + ` * interval '1 second' OR ` + unconfined(allowlist) + ` OR ` +
		workspace + ` AND k.workspace_id IS NULL)`
}

const rowQuery = `SELECT ` + keyColumns + `,
		o.email AS owner_email, o.name AS owner_name, o.role AS owner_role, o.status AS owner_status,
		c.email AS creator_email, c.name AS creator_name, c.role AS creator_role, c.status AS creator_status,
		coalesce((SELECT name FROM workspaces WHERE id = k.workspace_id), '') AS workspace_name,
		coalesce((SELECT name FROM processes WHERE id = k.process_id), '') AS process_name,
		coalesce((SELECT name FROM bias_profiles WHERE id = k.profile_id), '') AS profile_name,
		u.last_used_at, u.address AS use_address, u.user_agent AS use_agent, u.idle_since, lower(k.name) AS sort_name
	FROM api_keys k
	JOIN key_use u ON u.key_id = k.id
	JOIN members o ON o.id = k.owner_id
	JOIN members c ON c.id = k.created_by`

type rowRecord struct {
	keyRecord
	OwnerEmail    string     `db:"owner_email"`
	OwnerName     string     `db:"owner_name"`
	OwnerRole     string     `db:"owner_role"`
	OwnerStatus   string     `db:"owner_status"`
	CreatorEmail  string     `db:"creator_email"`
	CreatorName   string     `db:"creator_name"`
	CreatorRole   string     `db:"creator_role"`
	CreatorStatus string     `db:"creator_status"`
	WorkspaceName string     `db:"workspace_name"`
	ProcessName   string     `db:"process_name"`
	ProfileName   string     `db:"profile_name"`
	LastUsedAt    *time.Time `db:"last_used_at"`
	UseAddress    string     `db:"use_address"`
	UseAgent      string     `db:"use_agent"`
	IdleSince     time.Time  `db:"idle_since"`
	SortName      string     `db:"sort_name"`
}

func (r rowRecord) row() KeyRow {
	return KeyRow{
		Key: r.key(),
		Owner: account.Person{ID: r.OwnerID, OrgID: r.OrgID, Email: r.OwnerEmail, Name: r.OwnerName,
			Role: account.Role(r.OwnerRole), Status: account.Status(r.OwnerStatus)},
		Creator: account.Person{ID: r.CreatedBy, OrgID: r.OrgID, Email: r.CreatorEmail, Name: r.CreatorName,
			Role: account.Role(r.CreatorRole), Status: account.Status(r.CreatorStatus)},
		WorkspaceName: r.WorkspaceName, ProcessName: r.ProcessName, ProfileName: r.ProfileName,
		Use:       apikey.Use{At: utc(r.LastUsedAt), Address: r.UseAddress, UserAgent: r.UseAgent},
		IdleSince: r.IdleSince.UTC(), sortName: r.SortName,
	}
}

func rows(records []rowRecord) []KeyRow {
	out := make([]KeyRow, len(records))
	for i, r := range records {
		out[i] = r.row()
	}
	return out
}

// KeyByID returns one key of the organisation, or ErrNotFound.
func (s *Store) KeyByID(ctx context.Context, orgID, id string) (KeyRow, error) {
	var r rowRecord
	err := s.db.GetContext(ctx, &r, rowQuery+` WHERE k.org_id = $1 AND k.id = $2`, orgID, id)
	return r.row(), tidy(err)
}

// KeysByID returns those of the ids that are keys of the organisation, newest first.
func (s *Store) KeysByID(ctx context.Context, orgID string, ids []string) ([]KeyRow, error) {
	var records []rowRecord
	err := s.db.SelectContext(ctx, &records, rowQuery+` WHERE k.org_id = $1 AND k.id = ANY($2::uuid[])
		ORDER BY k.created_at DESC, k.id DESC`, orgID, pq.Array(ids))
	return rows(records), tidy(err)
}

// sortColumns says by which column an order sorts and by which id it parts equals, both of one table and so of one
// index; what the cursor's text is cast to; and how a row tells it.
var sortColumns = map[apikey.Order]struct {
	column, id, cast string
	value            func(KeyRow) string
}{
	apikey.ByCreation: {"k.created_at", "k.id", "timestamptz", func(r KeyRow) string { return instant(r.CreatedAt) }},
	apikey.ByExpiry:   {"k.ends_at", "k.id", "timestamptz", func(r KeyRow) string { return instant(r.EndsAt()) }},
	apikey.ByUse:      {"u.idle_since", "u.key_id", "timestamptz", func(r KeyRow) string { return instant(r.IdleSince) }},
	apikey.ByName:     {"lower(k.name)", "k.id", "text", func(r KeyRow) string { return r.sortName }},
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Page is a part of a list, and the places from which it goes on in both directions; nil where it ends.
type Page[T any] struct {
	Rows           []T
	Next, Previous *apikey.Position
}

// KeyPage is a part of a list of keys.
type KeyPage = Page[KeyRow]

// ListKeys returns a page of the organisation's keys. An empty field of the filter switches its line off: the values
// are known when the statement is planned, so that an unused line costs nothing.
//
// The statement finds the page's ids in the indexes first, and reads whole rows of those only. What a search finds by
// name, by owner and by identifier it finds apart, each in its own index and at most a page of it: of one long OR
// PostgreSQL can't tell how much it matches, and reads a million keys where none does. The owners are looked up
// beforehand for the same reason.
func (s *Store) ListKeys(ctx context.Context, orgID string, f apikey.Filter, sort apikey.Sort, at apikey.Position, limit int) (KeyPage, error) {
	by := sortColumns[sort.By]
	descending := sort.Descending != at.Backward
	compare, direction := ">", "ASC"
	if descending {
		compare, direction = "<", "DESC"
	}
	order := ` ORDER BY place ` + direction + `, id ` + direction + ` LIMIT $18`
	pattern := "%" + escapeLike(f.Search) + "%"
	var owners, departed someOwners
	var err error
	if f.Search != "" {
		if owners, err = s.ownersWhere(ctx, orgID, ownerLike(`$2`), pattern); err != nil {
			return KeyPage{}, err
		}
	}
	if f.Orphaned {
		if departed, err = s.ownersWhere(ctx, orgID, notActive); err != nil {
			return KeyPage{}, err
		}
	}
	// Scalar parameters are cast, so that an empty one can be compared with nothing. A key is never idle since before
	// its creation, which spares the younger ones a look at their use; without a line about use, its table drops out,
	// and with one, the column that is not null makes the outer join an inner one, which can begin with that table.
	found := func(search string) string {
		return `(SELECT ` + by.id + ` AS id, ` + by.column + ` AS place
		FROM api_keys k LEFT JOIN key_use u ON u.org_id = k.org_id AND u.key_id = k.id
		WHERE k.org_id = $1 AND ` + by.column + ` IS NOT NULL
		AND ($2 IN ('', 'expired') OR k.status = $2)
		AND ($2 NOT IN ('enabled', 'disabled') OR k.ends_at > $3::timestamptz)
		AND ($2 <> 'expired' OR k.status IN ('enabled', 'disabled') AND k.ends_at <= $3::timestamptz)
		AND ($4 = '' OR k.owner_id = nullif($4, '')::uuid)
		AND ($5 = '' OR k.environment = $5)
		AND ($6 = '' OR k.scopes @> ARRAY[$6::text])
		AND ($7 = '' OR k.profile_id = nullif($7, '')::uuid)
		AND ($8 = '' OR k.workspace_id = nullif($8, '')::uuid)
		AND ($9 = '' OR k.process_id = nullif($9, '')::uuid)
		AND ($10::timestamptz IS NULL OR ` + liveAt(`$3::timestamptz`) + ` AND k.ends_at <= $10::timestamptz)
		AND ($11::timestamptz IS NULL OR u.idle_since <= $11::timestamptz AND k.created_at <= $11::timestamptz)
		AND ` + departed.own(`$20`, notActive) + `
		AND (NOT $21 OR ` + liveAt(`$3::timestamptz`) + `)
		AND (NOT $22 OR ` + breaking(`$23`, `$24`, `$25`) + `)
		AND (` + search + `)
		AND ($16 = '' OR (` + by.column + `, ` + by.id + `) ` + compare + ` (nullif($17, '')::` + by.cast + `, nullif($16, '')::uuid))` + order + `)`
	}
	query := rowQuery + ` JOIN (` +
		found(`$12 = '' OR k.name ILIKE $13`) + ` UNION ` +
		found(`$12 <> '' AND `+owners.own(`$19`, ownerLike(`$13`))) + ` UNION ` +
		found(`$12 <> '' AND (k.signature = $12 OR k.prefix = $12 OR k.id BETWEEN $14::uuid AND $15::uuid)`) + order + `) AS found ON found.id = k.id
		ORDER BY found.place ` + direction + `, k.id ` + direction
	low, high := idRange(f.Search)
	var policy apikey.Policy
	if f.BreaksPolicy {
		if policy, err = s.Policy(ctx, orgID); err != nil {
			return KeyPage{}, err
		}
	}
	now := s.Now()
	var records []rowRecord
	err = s.db.SelectContext(ctx, &records, query,
		orgID, f.Status, now, f.OwnerID, f.Environment, f.Scope, f.ProfileID, f.WorkspaceID, f.ProcessID,
		after(now, f.ExpiresWithin), after(now, -f.UnusedFor), f.Search, pattern, low, high,
		at.ID, at.Value, limit+1, pq.Array(owners.ids), pq.Array(departed.ids),
		f.Live || f.Orphaned || f.BreaksPolicy, f.BreaksPolicy, policy.LongestLifetime.Seconds(), widest(policy), policy.RequireWorkspace)
	if err != nil {
		return KeyPage{}, tidy(err)
	}
	return pageOf(rows(records), at, limit, by.value), nil
}

// Conditions on a member m whose keys are looked for.
const notActive = `m.status <> 'active'`

func ownerLike(pattern string) string {
	return `(m.email ILIKE ` + pattern + ` OR m.name ILIKE ` + pattern + `)`
}

const (
	// fewOwners bounds how many owners of keys a list looks at one by one.
	fewOwners = 50
	// mostOwners bounds how many ids of owners a list asks for.
	mostOwners = 500
	// newestKeys are as many as tell whether a list finds a page of keys soon.
	newestKeys = 100
)

// someOwners are the owners of keys for whom a condition holds: their ids or, where there are too many of them, whether
// each key's owner is one of them is asked for each key. The zero value is every owner.
type someOwners struct {
	ids  []string
	many bool
}

// own says of a key k that one of them owns it. The parameter ids holds theirs; the condition is the one that found them.
func (o someOwners) own(ids, condition string) string {
	if o.many {
		return `(` + ids + `::uuid[] IS NULL AND k.owner_id IN (SELECT m.id FROM members m WHERE m.org_id = $1 AND ` + condition + `))`
	}
	return `(` + ids + `::uuid[] IS NULL OR k.owner_id = ANY (` + ids + `::uuid[]))`
}

// ownersWhere finds the owners of an organisation's keys for whom a condition on a member m holds; its parameters begin at $2.
// It goes from owner to owner first: an organisation with many members may have few who own keys. If more do and a tenth of the
// newest keys are theirs, a list has its page after few keys, and their ids would take longer. Otherwise it looks for them among
// the members.
func (s *Store) ownersWhere(ctx context.Context, orgID, condition string, args ...any) (someOwners, error) {
	args = append([]any{orgID}, args...)
	var owners struct {
		IDs  pq.StringArray `db:"ids"`
		Seen int            `db:"seen"`
	}
	err := s.db.GetContext(ctx, &owners, `WITH RECURSIVE `+ownerIDs+`
		SELECT coalesce(array_agg(m.id::text) FILTER (WHERE `+condition+`), '{}') AS ids, count(*) AS seen
		FROM (SELECT owner_id FROM owners WHERE owner_id IS NOT NULL LIMIT `+strconv.Itoa(fewOwners+1)+`) AS o
		CROSS JOIN LATERAL (SELECT * FROM members WHERE id = o.owner_id OFFSET 0) AS m`, args...) // OFFSET keeps the join from reading all members
	if err != nil || owners.Seen <= fewOwners {
		return someOwners{ids: owners.IDs}, tidy(err)
	}
	var theirs int
	err = s.db.GetContext(ctx, &theirs, `SELECT count(*) FROM (SELECT owner_id FROM api_keys WHERE org_id = $1
		ORDER BY created_at DESC, id DESC LIMIT `+strconv.Itoa(newestKeys)+`) AS k JOIN members m ON m.id = k.owner_id WHERE `+condition, args...)
	if err != nil || theirs >= newestKeys/10 {
		return someOwners{many: true}, tidy(err)
	}
	ids := []string{}
	err = s.db.SelectContext(ctx, &ids, `SELECT m.id FROM members m WHERE m.org_id = $1 AND `+condition+`
		AND EXISTS (SELECT FROM api_keys k WHERE k.org_id = $1 AND k.owner_id = m.id) LIMIT `+strconv.Itoa(mostOwners+1), args...)
	if err != nil || len(ids) <= mostOwners {
		return someOwners{ids: ids}, tidy(err)
	}
	return someOwners{many: true}, nil
}

// pageOf makes a page of the keys that were found.
func pageOf(found []KeyRow, at apikey.Position, limit int, value func(KeyRow) string) KeyPage {
	var page KeyPage
	page.Rows, page.Next, page.Previous = cut(found, at, limit, func(r KeyRow) apikey.Position { return apikey.Position{Value: value(r), ID: r.ID} })
	return page
}

// cut takes off the one row too many that tells whether a list goes on, turns a page read backward around, and says from
// where the list goes on in both directions.
func cut[T any](found []T, at apikey.Position, limit int, place func(T) apikey.Position) (rows []T, next, previous *apikey.Position) {
	more := len(found) > limit
	found = found[:min(len(found), limit)]
	if at.Backward {
		slices.Reverse(found)
	}
	if len(found) == 0 {
		return found, nil, nil
	}
	if more || at.Backward {
		last := place(found[len(found)-1])
		next = &last
	}
	if (more && at.Backward) || (!at.Backward && at.ID != "") {
		first := place(found[0])
		first.Backward = true
		previous = &first
	}
	return found, next, previous
}

// after is the time so many days from now; nil for 0, which switches the line off.
func after(now time.Time, days int) *time.Time {
	if days == 0 {
		return nil
	}
	t := now.Add(time.Duration(days) * apikey.Day)
	return &t
}

// escapeLike makes text stand for itself in a LIKE pattern.
func escapeLike(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

// idRange is the range of ids that begin with the text, when it could be the beginning of an id: 8 characters or
// more, so that a word like "added" is searched as a word. Otherwise a range that holds no id of ours.
func idRange(text string) (low, high string) {
	digits := strings.ToLower(strings.ReplaceAll(text, "-", ""))
	if len(digits) < 8 || len(digits) > 32 || strings.Trim(digits, "0123456789abcdef") != "" {
		return uuid.Nil.String(), uuid.Nil.String()
	}
	missing := 32 - len(digits)
	return uuid.MustParse(digits + strings.Repeat("0", missing)).String(), uuid.MustParse(digits + strings.Repeat("f", missing)).String()
}

// maxLineage bounds how many keys of one line of rotations are shown in each direction.
const maxLineage = 20

// KeyLineage returns the key's line of rotations, oldest first: those it replaced, itself, and those that replaced it.
func (s *Store) KeyLineage(ctx context.Context, orgID, id string) ([]apikey.Key, error) {
	var records []keyRecord
	err := s.db.SelectContext(ctx, &records, `WITH RECURSIVE
		older AS (
			SELECT id, 0 AS step FROM api_keys WHERE org_id = $1 AND id = $2
			UNION ALL SELECT k.id, step + 1 FROM api_keys k JOIN older ON k.replaced_by = older.id WHERE k.org_id = $1 AND step < $3),
		newer AS (
			SELECT replaced_by AS id, 1 AS step FROM api_keys WHERE org_id = $1 AND id = $2
			UNION ALL SELECT k.replaced_by, step + 1 FROM api_keys k JOIN newer ON k.id = newer.id WHERE k.org_id = $1 AND step < $3)
		SELECT `+keyColumns+` FROM api_keys k
		WHERE k.org_id = $1 AND k.id IN (SELECT id FROM older UNION SELECT id FROM newer) ORDER BY k.created_at, k.id`, orgID, id, maxLineage)
	keys := make([]apikey.Key, len(records))
	for i, r := range records {
		keys[i] = r.key()
	}
	return keys, tidy(err)
}

// LockKey returns a key of the organisation and holds its row until the transaction ends, so that of two changes
// to one key the second sees what the first did. Usage that is counted meanwhile does not wait.
func (tx *Tx) LockKey(id string) (apikey.Key, error) {
	var r keyRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+keyColumns+` FROM api_keys k WHERE k.org_id = $1 AND k.id = $2 FOR NO KEY UPDATE`, tx.actor.OrgID, id)
	if err != nil {
		return r.key(), tidy(err)
	}
	return r.key(), tx.ownKey(r.key())
}

// Key returns a key of the actor's organisation without holding its row.
func (tx *Tx) Key(id string) (apikey.Key, error) {
	var r keyRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+keyColumns+` FROM api_keys k WHERE k.org_id = $1 AND k.id = $2`, tx.actor.OrgID, id)
	return r.key(), tidy(err)
}

// ActingKey returns the key that acts, by which others are judged. Mutate refuses to commit if it is confined to less
// by then.
func (tx *Tx) ActingKey() (apikey.Key, error) {
	key, err := tx.Key(tx.actor.KeyID)
	if err != nil {
		return key, unauthenticated(err)
	}
	tx.acting = &key
	return key, nil
}

// InsertKey stores a new key of the actor's organisation under its hash, and returns it as it was stored: with the
// workspace that its process belongs to.
func (tx *Tx) InsertKey(k apikey.Key, hash [32]byte) (apikey.Key, error) {
	var r keyRecord
	err := tx.db.GetContext(tx.ctx, &r, `INSERT INTO api_keys AS k (id, org_id, name, environment, prefix, hash, signature, scopes, status,
			owner_id, created_by, workspace_id, process_id, profile_id, ip_allowlist, created_at, expires_at, role_limit)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
			coalesce(nullif($12, '')::uuid, (SELECT workspace_id FROM processes WHERE org_id = $2 AND id = nullif($13, '')::uuid)),
			nullif($13, '')::uuid, nullif($14, '')::uuid, $15::cidr[], $16, $17, $18)
		RETURNING `+keyColumns,
		k.ID, tx.actor.OrgID, k.Name, k.Environment, k.Prefix, hash[:], k.Signature, pq.Array(k.Scopes), k.Stored,
		k.OwnerID, k.CreatedBy, k.WorkspaceID, k.ProcessID, k.ProfileID, pq.Array(texts(k.IPAllowlist)), k.CreatedAt, k.ExpiresAt, k.RoleLimit)
	if err != nil {
		return apikey.Key{}, tidy(err)
	}
	_, err = tx.db.ExecContext(tx.ctx, `INSERT INTO key_use (key_id, org_id, idle_since) VALUES ($1, $2, $3)`, k.ID, tx.actor.OrgID, k.CreatedAt)
	return r.key(), tidy(err)
}

// rolesUpwards are account.Roles as an SQL array, the weakest first.
var rolesUpwards = func() string {
	var quoted []string
	for _, role := range slices.Backward(account.Roles) {
		quoted = append(quoted, pq.QuoteLiteral(string(role)))
	}
	return `ARRAY[` + strings.Join(quoted, `, `) + `]`
}()

// limitFor is the role limit of a key k for an owner: that of before or, where the owner changes, the weaker of it and the
// role of the owner before, who is no more than a member once suspended or removed. Who knows the plaintext could do no more.
func limitFor(ownerID string) string {
	return `CASE WHEN k.owner_id = ` + ownerID + ` THEN k.role_limit ELSE (` + rolesUpwards + `)[least(array_position(` + rolesUpwards + `, k.role_limit),
			array_position(` + rolesUpwards + `, (SELECT CASE WHEN status = 'active' THEN role ELSE (` + rolesUpwards + `)[1] END FROM members WHERE id = k.owner_id)))] END`
}

// UpdateKey stores what of a key may change, and counts its version up. A key that comes to be enabled begins to be idle
// anew: what was disabled because nobody used it is not disabled for that again within the hour.
func (tx *Tx) UpdateKey(k apikey.Key) (apikey.Key, error) {
	var r keyRecord
	err := tx.db.GetContext(tx.ctx, &r, `WITH woken AS (
			UPDATE key_use u SET idle_since = greatest(u.idle_since, $13) FROM api_keys was
			WHERE was.org_id = $1 AND was.id = $2 AND was.status = 'disabled' AND $4 = 'enabled' AND u.key_id = was.id)
		UPDATE api_keys AS k SET name = $3, status = $4, owner_id = $5, profile_id = nullif($6, '')::uuid,
			ip_allowlist = $7::cidr[], expires_at = $8, rotated_at = $9, grace_ends_at = $10, replaced_by = nullif($11, '')::uuid,
			revoked_at = $12, version = version + 1, role_limit = `+limitFor(`$5`)+`
		WHERE k.org_id = $1 AND k.id = $2 RETURNING `+keyColumns,
		tx.actor.OrgID, k.ID, k.Name, k.Stored, k.OwnerID, k.ProfileID, pq.Array(texts(k.IPAllowlist)), k.ExpiresAt,
		k.RotatedAt, k.GraceEndsAt, k.ReplacedBy, k.RevokedAt, tx.now)
	return r.key(), tidy(err)
}

// DeleteKey removes a key's row, with its usage.
func (tx *Tx) DeleteKey(id string) error {
	result, err := tx.db.ExecContext(tx.ctx, `DELETE FROM api_keys WHERE org_id = $1 AND id = $2`, tx.actor.OrgID, id)
	return oneRow(result, err)
}

// rowsAffected returns an error unless a statement changed so many rows: a trigger or a rule can drop some silently.
func rowsAffected(want int, result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n != int64(want) {
		err = fmt.Errorf("%d of %d rows were written", n, want)
	}
	return err
}

func oneRow(result sql.Result, err error) error {
	if err != nil {
		return tidy(err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return ErrNotFound
}

func texts(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return out
}

// ClaimRequest notes that a request makes the key, or returns a *RepeatedError when the same actor made it before: the
// same member or, where a key acts, the same key.
func (tx *Tx) ClaimRequest(requestKey string, bodyHash [32]byte, keyID string) error {
	var first struct {
		KeyID string `db:"key_id"`
		Same  bool   `db:"same"`
	}
	// The no-op update makes the second of two simultaneous requests wait for the first.
	err := tx.db.GetContext(tx.ctx, &first, `INSERT INTO issue_requests AS r (org_id, actor_id, request_key, body_hash, key_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT ON CONSTRAINT issue_requests_repeated DO UPDATE SET request_key = r.request_key
		RETURNING key_id, body_hash = $4 AS same`,
		tx.actor.OrgID, cmp.Or(tx.actor.KeyID, tx.actor.MemberID), requestKey, bodyHash[:], keyID, tx.now)
	if err != nil {
		return tidy(err)
	}
	if first.KeyID != keyID {
		return &RepeatedError{KeyID: first.KeyID, SameBody: first.Same}
	}
	return nil
}
