package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
)

const personColumns = `id, org_id, email, name, role, status`

type personRecord struct {
	ID     string `db:"id"`
	OrgID  string `db:"org_id"`
	Email  string `db:"email"`
	Name   string `db:"name"`
	Role   string `db:"role"`
	Status string `db:"status"`
}

func (r personRecord) person() account.Person {
	return account.Person{ID: r.ID, OrgID: r.OrgID, Email: r.Email, Name: r.Name, Role: account.Role(r.Role), Status: account.Status(r.Status)}
}

func people(records []personRecord) []account.Person {
	out := make([]account.Person, len(records))
	for i, r := range records {
		out[i] = r.person()
	}
	return out
}

// Credentials are what signing in is judged by.
type Credentials struct {
	account.Person
	PasswordHash string
}

// CredentialsByEmail returns the member with the address who was not removed, or ErrNotFound. The address is in the form of input.Email.
func (s *Store) CredentialsByEmail(ctx context.Context, email string) (Credentials, error) {
	var r struct {
		personRecord
		PasswordHash string `db:"password_hash"`
	}
	err := s.db.GetContext(ctx, &r, `SELECT `+personColumns+`, password_hash FROM members
		WHERE email = $1 AND status <> 'removed'`, email)
	return Credentials{r.person(), r.PasswordHash}, tidy(err)
}

// everNamed selects the ids of an organisation's members who have the address, or had it: each address is the subject's name in
// the event that set it.
func everNamed(orgID, email string) string {
	return `(SELECT id FROM members WHERE org_id = ` + orgID + ` AND email = ` + email + ` UNION SELECT subject_id FROM audit_events
		WHERE org_id = ` + orgID + ` AND subject_kind = 'member' AND subject_name = ` + email + `)`
}

// MembersEverNamed returns the members of any organisation and status who have or had the address, by id. The address is in the
// form of input.Email.
func (s *Store) MembersEverNamed(ctx context.Context, email string) ([]account.Person, error) {
	var records []personRecord
	err := s.db.SelectContext(ctx, &records, `SELECT `+personColumns+` FROM members WHERE id IN (
		SELECT named.id FROM organisations o CROSS JOIN LATERAL `+everNamed(`o.id`, `$1`)+` AS named) ORDER BY id`, email)
	return people(records), tidy(err)
}

// MemberByID returns a member of the organisation, whatever their status; ErrNotFound for anybody else.
func (s *Store) MemberByID(ctx context.Context, orgID, id string) (account.Person, error) {
	var r personRecord
	err := s.db.GetContext(ctx, &r, `SELECT `+personColumns+` FROM members WHERE org_id = $1 AND id = $2`, orgID, id)
	return r.person(), tidy(err)
}

// MostCounted bounds how many keys of somebody, in one place or with one profile, are counted for a list: one more says that there are more.
const MostCounted = 1000

// MemberRow is a member with what their list says besides.
type MemberRow struct {
	account.Person
	JoinedAt time.Time
	SeenAt   *time.Time // when they last asked for anything; nil: not as long as sessions are kept, which is a month
	LiveKeys int        // that they own, at most MostCounted + 1
}

type memberRowRecord struct {
	personRecord
	JoinedAt time.Time  `db:"created_at"`
	SeenAt   *time.Time `db:"seen_at"`
	LiveKeys int        `db:"live_keys"`
}

func (r memberRowRecord) row() MemberRow {
	return MemberRow{Person: r.person(), JoinedAt: r.JoinedAt.UTC(), SeenAt: utc(r.SeenAt), LiveKeys: r.LiveKeys}
}

// memberRows adds to members m what their list says besides, as of the time $2.
var memberRows = `SELECT m.id, m.org_id, m.email, m.name, m.role, m.status, m.created_at,
		(SELECT max(s.last_seen_at) FROM sessions s WHERE s.member_id = m.id) AS seen_at,
		(SELECT count(*) FROM (SELECT FROM api_keys k WHERE k.org_id = m.org_id AND k.owner_id = m.id AND ` + liveAt(`$2`) + ` LIMIT $3) AS counted) AS live_keys
	FROM `

// MemberRow returns a member of the organisation with what their list says besides, whatever their status; ErrNotFound
// for anybody else.
func (s *Store) MemberRow(ctx context.Context, orgID, id string) (MemberRow, error) {
	var r memberRowRecord
	err := s.db.GetContext(ctx, &r, memberRows+`members m WHERE m.org_id = $1 AND m.id = $4`, orgID, s.Now(), MostCounted+1, id)
	return r.row(), tidy(err)
}

// MemberPage is a part of the list of members, and the places from which it goes on in both directions; nil where it ends.
type MemberPage = Page[MemberRow]

// ListMembers returns a page of the organisation's members by e-mail address. An empty field of the filter switches its
// line off.
func (s *Store) ListMembers(ctx context.Context, orgID string, f account.MemberFilter, at apikey.Position, limit int) (MemberPage, error) {
	compare, direction := ">", "ASC"
	if at.Backward {
		compare, direction = "<", "DESC"
	}
	order := ` ORDER BY m.email ` + direction + `, m.id ` + direction
	var records []memberRowRecord
	err := s.db.SelectContext(ctx, &records, memberRows+`(SELECT * FROM members m WHERE m.org_id = $1
			AND ($4 = '' OR m.role = $4) AND ($5::text[] IS NULL OR m.status = ANY ($5::text[]))
			AND ($6 = '' OR m.email ILIKE $7 OR m.name ILIKE $7)
			AND ($8 = '' OR (m.email, m.id) `+compare+` ($9, nullif($8, '')::uuid))`+order+` LIMIT $10) AS m`+order,
		orgID, s.Now(), MostCounted+1, f.Role, pq.Array(f.Statuses), f.Search, "%"+escapeLike(f.Search)+"%", at.ID, at.Value, limit+1)
	if err != nil {
		return MemberPage{}, tidy(err)
	}
	rows := make([]MemberRow, len(records))
	for i, r := range records {
		rows[i] = r.row()
	}
	var page MemberPage
	page.Rows, page.Next, page.Previous = cut(rows, at, limit, func(r MemberRow) apikey.Position { return apikey.Position{Value: r.Email, ID: r.ID} })
	return page, nil
}

// LiveKeys is how many live keys somebody owns, by how they stand, and how much they are used.
type LiveKeys struct {
	Enabled     int64
	Disabled    int64
	InGrace     int64 `db:"in_grace"` // rotated, and still accepted
	Requests24h int64 `db:"requests"` // with all of them, in the last 24 hours
}

// LiveKeysOf counts a member's live keys, all of them.
func (s *Store) LiveKeysOf(ctx context.Context, orgID, memberID string) (LiveKeys, error) {
	var out LiveKeys
	now := s.Now()
	err := s.db.GetContext(ctx, &out, `SELECT count(*) FILTER (WHERE k.status = 'enabled') AS enabled, count(*) FILTER (WHERE k.status = 'disabled') AS disabled,
			count(*) FILTER (WHERE k.status = 'rotated') AS in_grace, coalesce(sum(g.requests), 0)::bigint AS requests
		FROM api_keys k LEFT JOIN LATERAL (SELECT sum(g.accepted + g.refused) AS requests FROM key_usage g
			WHERE g.key_id = k.id AND g.hour >= date_trunc('hour', $4::timestamptz)) AS g ON true
		WHERE k.org_id = $1 AND k.owner_id = $3 AND `+liveAt(`$2`), orgID, now, memberID, now.Add(-apikey.Day))
	return out, tidy(err)
}

// MembersWithRoles lists the organisation's active members in these roles, by e-mail, at most 500.
func (s *Store) MembersWithRoles(ctx context.Context, orgID string, roles []account.Role) ([]account.Person, error) {
	var records []personRecord
	err := s.db.SelectContext(ctx, &records, `SELECT `+personColumns+` FROM members
		WHERE org_id = $1 AND role = ANY($2) AND status = 'active' ORDER BY email LIMIT 500`, orgID, pq.Array(roles))
	return people(records), tidy(err)
}

// KeyOwners lists the members who own keys, by e-mail, at most 500.
func (s *Store) KeyOwners(ctx context.Context, orgID string) ([]account.Person, error) {
	var records []personRecord
	err := s.db.SelectContext(ctx, &records, `WITH RECURSIVE `+ownerIDs+`
		SELECT `+personColumns+` FROM members WHERE org_id = $1 AND id IN (SELECT owner_id FROM owners) ORDER BY email LIMIT 500`, orgID)
	return people(records), tidy(err)
}

// KeyOwner returns a member of the actor's organisation who may own keys: active, and in a role that may issue them.
// They stay so until the transaction ends. A MissingError for anybody else.
func (tx *Tx) KeyOwner(id string) (account.Person, error) {
	var r personRecord
	err := tx.db.GetContext(tx.ctx, &r, `SELECT `+personColumns+` FROM members
		WHERE org_id = $1 AND id = $2 AND status = 'active' AND role = ANY($3) FOR SHARE`,
		tx.actor.OrgID, id, pq.Array(account.RolesFor(account.IssueKey)))
	if err = tidy(err); errors.Is(err, ErrNotFound) {
		err = MissingError{"ownerId"}
		if id == tx.actor.MemberID { // who may do no more than others see
			err = cmp.Or(tx.judgeActor(), err)
		}
	}
	return r.person(), err
}

// HoldCredentials returns ErrNotFound unless the actor is an active member with this password's hash, and lets neither
// change until the transaction ends: a session that begins can't slip past the end of all of them. The actor acts in the
// role that they have now, which may be another than when the password was compared.
func (tx *Tx) HoldCredentials(passwordHash string) error {
	err := tx.db.GetContext(tx.ctx, &tx.actor.Role, `SELECT role FROM members
		WHERE org_id = $1 AND id = $2 AND status = 'active' AND password_hash = $3 FOR SHARE`, tx.actor.OrgID, tx.actor.MemberID, passwordHash)
	return tidy(err)
}

// InsertMember makes an active member of the actor's organisation, under an id of their own unless they have one; ErrTaken
// when the address has an account already.
func (tx *Tx) InsertMember(p account.Person, passwordHash string) (account.Person, error) {
	p.ID, p.OrgID, p.Status = cmp.Or(p.ID, uuid.Must(uuid.NewV7()).String()), tx.actor.OrgID, account.Active
	_, err := tx.db.ExecContext(tx.ctx, `INSERT INTO members (id, org_id, email, name, role, status, password_hash, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, p.ID, p.OrgID, p.Email, p.Name, p.Role, p.Status, passwordHash, tx.now)
	return p, tidy(err)
}
