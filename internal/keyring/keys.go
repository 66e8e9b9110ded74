package keyring

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// KeyDraft is a key as somebody asks for it, in the words in which it was typed. Empty means the default.
type KeyDraft struct {
	Name        string
	Scopes      []string
	AllScopes   bool // "*" for whoever may grant it, else every scope of the catalogue by name
	Environment string
	WorkspaceID string
	ProcessID   string
	ProfileID   string
	IPAllowlist []string
	Expires     string // as apikey.ParseExpiry reads it
	OwnerID     string // default: the actor
	RequestKey  string `json:"-"` // the same request key again does not issue a second key
}

// IssueKey makes a key. Its plaintext is in the answer and nowhere else. Errors: input.Problems by field (name,
// environment, scopes, ipAllowlist, expiresAt, workspaceId; processId and workspaceId also for what is archived), ErrGrantAll,
// ErrHandOut, a MissingError for a workspace, process, profile or owner that the organisation does not have, *RepeatedError.
func (r *Keyring) IssueKey(ctx context.Context, actor account.Actor, draft KeyDraft) (apikey.Key, apikey.Plaintext, error) {
	if err := allow(actor, account.IssueKey); err != nil {
		return apikey.Key{}, apikey.Plaintext{}, err
	}
	err := errors.Join(reference("workspaceId", &draft.WorkspaceID), reference("processId", &draft.ProcessID),
		reference("biasProfileId", &draft.ProfileID), reference("ownerId", &draft.OwnerID))
	if err != nil {
		return apikey.Key{}, apikey.Plaintext{}, err
	}
	catalogue, err := r.store.Catalogue(ctx, actor.OrgID)
	if err != nil {
		return apikey.Key{}, apikey.Plaintext{}, err
	}
	var issued apikey.Key
	var plaintext apikey.Plaintext
	err = r.store.Mutate(ctx, actor, account.IssueKey, func(tx *store.Tx) ([]audit.Change, error) {
		// What it is judged by stays as it is until the key is there.
		if catalogue.Policy, err = tx.HoldPolicy(); err != nil {
			return nil, err
		}
		key, err := draft.read(actor, catalogue, tx.Now())
		if err != nil {
			return nil, err
		}
		if err := holdScopes(tx, key.Scopes); err != nil {
			return nil, err
		}
		plaintext = apikey.NewPlaintext(key.Environment)
		key = stamp(key, plaintext)
		owner, err := tx.KeyOwner(key.OwnerID)
		if err != nil {
			return nil, err
		}
		key.RoleLimit = roleLimit(actor, owner)
		if err := claim(tx, draft.RequestKey, key.ID, "issue", draft); err != nil {
			return nil, err
		}
		if err := takesKeys(tx, key); err != nil {
			return nil, err
		}
		if issued, err = tx.InsertKey(key, plaintext.Hash()); err != nil {
			return nil, err
		}
		if err := handsOut(tx, issued); err != nil {
			return nil, err
		}
		return []audit.Change{audit.KeyChange(nil, &issued)}, nil
	})
	if err != nil {
		return apikey.Key{}, apikey.Plaintext{}, err
	}
	return issued, plaintext, nil
}

// holdScopes keeps the scopes of a new key grantable until it is there, or says that one of them is not any more.
func holdScopes(tx *store.Tx, scopes []string) error {
	if slices.Contains(scopes, apikey.All) {
		return nil
	}
	held, err := tx.HoldScopes(scopes)
	if err != nil {
		return err
	}
	problems := input.Problems{}
	_, err = apikey.CheckScopes(scopes, held)
	problems.Add("scopes", err)
	return problems.Err()
}

// roleLimit is the strongest role that a new key acts with: its owner's, and no stronger than that of the actor who reads
// the plaintext.
func roleLimit(actor account.Actor, owner account.Person) string {
	if actor.Role == account.Operator {
		return string(owner.Role)
	}
	return string(owner.Role.AtMost(actor.Role))
}

// stamp gives a new key its id and what of its plaintext may be seen.
func stamp(key apikey.Key, plaintext apikey.Plaintext) apikey.Key {
	key.ID = uuid.Must(uuid.NewV7()).String()
	key.Prefix, key.Signature = plaintext.Prefix(), plaintext.Signature()
	return key
}

// read checks a draft against the rules and the organisation's catalogue.
func (d KeyDraft) read(actor account.Actor, catalogue Catalogue, now time.Time) (apikey.Key, error) {
	problems := input.Problems{}
	key := apikey.Key{
		OrgID: actor.OrgID, Stored: apikey.Enabled, OwnerID: d.OwnerID, CreatedBy: actor.MemberID,
		WorkspaceID: d.WorkspaceID, ProcessID: d.ProcessID, ProfileID: d.ProfileID, CreatedAt: now, Version: 1,
	}
	if key.OwnerID == "" {
		key.OwnerID = actor.MemberID
	}
	if key.CreatedBy == "" { // the operator is no member: the key counts as made by its owner
		key.CreatedBy = key.OwnerID
	}
	var err error
	key.Name, err = readName(d.Name)
	problems.Add("name", err)
	key.Environment, err = apikey.ParseEnvironment(d.Environment)
	problems.Add("environment", err)
	key.Scopes, err = d.readScopes(actor, catalogue)
	problems.Add("scopes", err)
	key.IPAllowlist, err = apikey.ParseAllowlist(d.IPAllowlist)
	if err == nil {
		err = catalogue.Policy.CheckAllowlist(key.IPAllowlist, nil)
	}
	problems.Add("ipAllowlist", err)
	problems.Add("workspaceId", catalogue.Policy.CheckWorkspace(key.WorkspaceID, key.ProcessID))
	key.ExpiresAt, err = apikey.ParseExpiry(d.Expires, now, now, catalogue.Policy)
	problems.Add("expiresAt", err)
	if err := problems.Err(); err != nil {
		return apikey.Key{}, err
	}
	if err := grants(actor, key.Scopes); err != nil {
		return apikey.Key{}, err
	}
	return key, nil
}

// grants returns ErrGrantAll or ErrHandOut unless the actor may hand out a key with these scopes.
func grants(actor account.Actor, scopes []string) error {
	switch {
	case actor.MayGrant(scopes):
		return nil
	case actor.KeyID != "":
		return ErrHandOut
	}
	return ErrGrantAll
}

// handsOut returns ErrHandOut when a key acts that would hand out one which reaches further than itself. Nothing
// confines a person so.
func handsOut(tx *store.Tx, key apikey.Key) error {
	judge, err := reach(tx)
	if err != nil {
		return err
	}
	return judge(key)
}

// reach returns what judges so, for whoever asks about many keys.
func reach(tx *store.Tx) (func(apikey.Key) error, error) {
	actor := tx.Actor()
	if actor.KeyID == "" {
		return func(apikey.Key) error { return nil }, nil
	}
	acting, err := tx.ActingKey()
	return func(key apikey.Key) error {
		if key.Within(acting) && actor.MayGrant(key.Scopes) {
			return nil
		}
		return ErrHandOut
	}, err
}

// claim notes that a request makes a key, unless it carries no request key. Two requests are the same when they are of
// one kind and ask for the same.
func claim(tx *store.Tx, requestKey, keyID, kind string, asked any) error {
	if requestKey == "" {
		return nil
	}
	text, err := json.Marshal([]any{kind, asked})
	if err != nil {
		panic(err) // what is asked for is strings, numbers, booleans and lists of strings
	}
	return tx.ClaimRequest(requestKey, sha256.Sum256(text), keyID)
}

func (d KeyDraft) readScopes(actor account.Actor, catalogue Catalogue) ([]string, error) {
	wanted := d.Scopes
	switch {
	case d.AllScopes && actor.May(account.GrantAll):
		wanted = []string{apikey.All}
	case d.AllScopes:
		wanted = catalogue.ScopeNames()
	}
	return apikey.CheckScopes(wanted, catalogue.ScopeNames())
}

// readLine reads one line of text that is kept and that others read. It refuses a whole API key in it, in every form that
// WithoutKeys finds.
func readLine(text string) (string, error) {
	line, err := input.Line(text)
	return line, cmp.Or(err, refuseKeys(line))
}

// readEmail reads an e-mail address that is kept, as readLine does a text.
func readEmail(text string) (string, error) {
	email, err := input.Email(text)
	return email, cmp.Or(err, refuseKeys(email))
}

func refuseKeys(text string) error {
	if _, signature := WithoutKeys(text); signature != "" {
		return input.Sentence("This is a whole API key, and others can read this text. Take it out.")
	}
	return nil
}

func readName(text string) (string, error) {
	name, err := readLine(text)
	if err != nil {
		return "", err
	}
	return name, apikey.CheckName(name)
}

// KeyEdit is what of a key somebody wants changed; nil leaves a thing as it is.
type KeyEdit struct {
	Version     int // of the key that the edit began with; 0 takes it as it comes
	Name        *string
	Status      *apikey.Status // Enabled or Disabled
	ProfileID   *string        // "" for none
	IPAllowlist *[]string
	Expires     *string
	OwnerID     *string
}

// EditKey changes a key that is enabled or disabled. Errors: input.Problems by field, apikey.ErrState for a key whose
// life is over, ErrStale when somebody else changed it since the version that the edit began with, ErrNotFound, a
// MissingError for a profile or an owner; ErrEntrust, ErrHandOut.
func (r *Keyring) EditKey(ctx context.Context, actor account.Actor, id string, edit KeyEdit) (KeyRow, error) {
	if err := allow(actor, account.EditKey); err != nil {
		return KeyRow{}, err
	}
	edited, err := r.changeKey(ctx, actor, account.EditKey, id, func(tx *store.Tx, key apikey.Key) (apikey.Key, error) {
		if !key.StatusAt(tx.Now()).Allows(apikey.Edit) {
			return key, apikey.ErrState
		}
		policy, err := tx.HoldPolicy()
		if err != nil {
			return key, err
		}
		edited, err := edit.apply(key, policy, tx.Now())
		if err != nil {
			return key, err
		}
		// The same form sent twice finds its work done; any other late form would undo somebody's change.
		if edit.Version != 0 && edit.Version != key.Version && !reflect.DeepEqual(edited, key) {
			return key, ErrStale
		}
		if edited.Stored != key.Stored { // the form does in one step what two entries of the menu do
			if err := allow(actor, actions[towards[edited.Stored]]); err != nil {
				return key, err
			}
		}
		if edit.OwnerID != nil {
			if edited, err = transfer(tx, edited, *edit.OwnerID); err != nil {
				return key, err
			}
		}
		if key.ID == actor.KeyID && edited.ExpiresAt.After(key.ExpiresAt) {
			return key, ErrHandOut
		}
		return edited, handsOut(tx, edited)
	})
	if err != nil {
		return KeyRow{}, err
	}
	return r.store.KeyByID(ctx, actor.OrgID, edited.ID)
}

func (e KeyEdit) apply(key apikey.Key, policy apikey.Policy, now time.Time) (apikey.Key, error) {
	problems := input.Problems{}
	var err error
	if e.Name != nil {
		key.Name, err = readName(*e.Name)
		problems.Add("name", err)
	}
	if e.Status != nil {
		if *e.Status != apikey.Enabled && *e.Status != apikey.Disabled {
			problems.Add("status", input.Sentence("Choose enabled or disabled."))
		}
		key.Stored = *e.Status
	}
	if e.ProfileID != nil {
		key.ProfileID = *e.ProfileID
		if err := reference("biasProfileId", &key.ProfileID); err != nil {
			return key, err
		}
	}
	if e.IPAllowlist != nil {
		before := key.IPAllowlist
		if key.IPAllowlist, err = apikey.ParseAllowlist(*e.IPAllowlist); err == nil {
			err = policy.CheckAllowlist(key.IPAllowlist, &before)
		}
		problems.Add("ipAllowlist", err)
	}
	if e.Expires != nil {
		key.ExpiresAt, err = apikey.ParseExpiry(*e.Expires, now, key.CreatedAt, policy)
		problems.Add("expiresAt", err)
	}
	return key, problems.Err()
}

// TransferKey gives a key to another active member whose role may hold keys; ErrNotFound for anybody else, and
// apikey.ErrState for a key whose life is over, ErrEntrust.
func (r *Keyring) TransferKey(ctx context.Context, actor account.Actor, id, ownerID string) (apikey.Key, error) {
	return r.changeKey(ctx, actor, account.TransferKey, id, func(tx *store.Tx, key apikey.Key) (apikey.Key, error) {
		return transfer(tx, key, ownerID)
	})
}

func transfer(tx *store.Tx, key apikey.Key, ownerID string) (apikey.Key, error) {
	if err := reference("ownerId", &ownerID); err != nil {
		return key, err
	}
	if err := allow(tx.Actor(), account.TransferKey); err != nil {
		return key, err
	}
	if !key.StatusAt(tx.Now()).Allows(apikey.Transfer) {
		return key, apikey.ErrState
	}
	if ownerID == key.OwnerID {
		return key, nil
	}
	owner, err := tx.KeyOwner(ownerID)
	if err != nil {
		return key, err
	}
	if !tx.Actor().MayEntrust(key.Scopes, owner.Role) {
		return key, ErrEntrust
	}
	key.OwnerID = owner.ID
	return key, nil
}

// changeKey locks a key, lets change make another of it, and stores that if it differs. It returns ErrEntrust when the plaintext
// would do more again than the actor may: a key of an owner that leaked is not an admin's to enable.
func (r *Keyring) changeKey(ctx context.Context, actor account.Actor, action account.Action, id string,
	change func(*store.Tx, apikey.Key) (apikey.Key, error)) (apikey.Key, error) {
	id, err := canonical(id)
	if err != nil {
		return apikey.Key{}, err
	}
	var after apikey.Key
	err = r.store.Mutate(ctx, actor, action, func(tx *store.Tx) ([]audit.Change, error) {
		before, err := tx.LockKey(id)
		if err != nil {
			return nil, err
		}
		if after, err = change(tx, before); err != nil || reflect.DeepEqual(before, after) {
			return nil, err
		}
		if reachesFurther(before, after) && !actor.MayEntrust(before.Scopes, account.Role(before.RoleLimit)) {
			return nil, ErrEntrust
		}
		if after, err = tx.UpdateKey(after); err != nil {
			return nil, err
		}
		return []audit.Change{audit.KeyChange(&before, &after)}, nil
	})
	return after, err
}

// reachesFurther says whether a change lets a plaintext do what it could not before, or for longer.
func reachesFurther(before, after apikey.Key) bool {
	if after.ProfileID != "" { // another profile confines as well
		before.ProfileID = after.ProfileID
	}
	return after.Stored == apikey.Enabled && before.Stored != apikey.Enabled || after.ExpiresAt.After(before.ExpiresAt) || !after.Within(before)
}

// actions names the simple changes of status for the audit log.
var actions = map[apikey.Change]account.Action{
	apikey.Disable: account.DisableKey,
	apikey.Enable:  account.EnableKey,
	apikey.Revoke:  account.RevokeKey,
}

// towards is the change that makes a key enabled or disabled.
var towards = map[apikey.Status]apikey.Change{apikey.Enabled: apikey.Enable, apikey.Disabled: apikey.Disable}

// ChangeStatus disables, enables or revokes a key; apikey.ErrState when its status does not allow that, ErrEntrust, ErrHandOut.
func (r *Keyring) ChangeStatus(ctx context.Context, actor account.Actor, change apikey.Change, id string) (apikey.Key, error) {
	return r.changeKey(ctx, actor, actions[change], id, func(tx *store.Tx, key apikey.Key) (apikey.Key, error) {
		if !key.StatusAt(tx.Now()).Allows(change) {
			return key, apikey.ErrState
		}
		after := changed(key, change, tx.Now())
		if change == apikey.Enable {
			return after, handsOut(tx, after)
		}
		return after, nil
	})
}

func changed(key apikey.Key, change apikey.Change, now time.Time) apikey.Key {
	switch change {
	case apikey.Disable:
		key.Stored = apikey.Disabled
	case apikey.Enable:
		key.Stored = apikey.Enabled
	case apikey.Revoke:
		key.Stored, key.RevokedAt = apikey.Revoked, &now
	default:
	}
	return key
}

// ChangeStatuses disables or revokes several keys in one transaction, and leaves those alone whose status does not
// allow it or which are gone. It returns how many it changed.
func (r *Keyring) ChangeStatuses(ctx context.Context, actor account.Actor, change apikey.Change, ids []string) (int, error) {
	ids, err := canonicalList(ids)
	if err != nil {
		return 0, err
	}
	count := 0
	err = r.store.Mutate(ctx, actor, actions[change], func(tx *store.Tx) ([]audit.Change, error) {
		happened, err := changeMany(tx, actions[change], store.KeysOf{IDs: ids}, func(key apikey.Key) (apikey.Key, error) {
			if !key.StatusAt(tx.Now()).Allows(change) {
				return key, nil
			}
			return changed(key, change, tx.Now()), nil
		})
		count = len(happened)
		return happened, err
	})
	return count, err
}

// Rotation is a key's hand-over to its successor.
type Rotation struct {
	Old, New  apikey.Key
	Plaintext apikey.Plaintext // of the new key
}

// RotateKey makes a key's successor and lets the old key be accepted beside it for the grace period. The same request
// key again does not rotate again. Errors: input.Problems (graceSeconds), apikey.ErrState when the key's life is over,
// also when another rotation came first; ErrGrantAll, ErrEntrust, ErrHandOut, ErrNotFound, *RepeatedError.
func (r *Keyring) RotateKey(ctx context.Context, actor account.Actor, id string, grace time.Duration, requestKey string) (Rotation, error) {
	if err := allow(actor, account.RotateKey); err != nil {
		return Rotation{}, err
	}
	id, err := canonical(id)
	if err != nil {
		return Rotation{}, err
	}
	var out Rotation
	err = r.store.Mutate(ctx, actor, account.RotateKey, func(tx *store.Tx) ([]audit.Change, error) {
		policy, err := tx.HoldPolicy()
		if err != nil {
			return nil, err
		}
		problems := input.Problems{}
		problems.Add("graceSeconds", policy.CheckGrace(grace))
		if err := problems.Err(); err != nil {
			return nil, err
		}
		old, owner, err := lockKeyAndOwner(tx, id)
		if err != nil {
			return nil, err
		}
		out = Rotation{Plaintext: apikey.NewPlaintext(old.Environment)}
		next := stamp(old.Successor(tx.Now(), policy.LongestLifetime), out.Plaintext)
		if err := claim(tx, requestKey, next.ID, "rotate", []any{id, grace}); err != nil { // before the status: a repetition finds it rotated
			return nil, err
		}
		if !old.StatusAt(tx.Now()).Allows(apikey.Rotate) {
			return nil, apikey.ErrState
		}
		if err := errors.Join(grants(actor, old.Scopes), handsOut(tx, next)); err != nil {
			return nil, err
		}
		if !actor.MayEntrust(old.Scopes, owner.Role.AtMost(account.Role(old.RoleLimit))) { // the plaintext acts in the owner's name
			return nil, ErrEntrust
		}
		if actor.MemberID != "" {
			next.CreatedBy = actor.MemberID
		}
		next.RoleLimit = roleLimit(actor, owner)
		if out.New, err = tx.InsertKey(next, out.Plaintext.Hash()); err != nil {
			return nil, err
		}
		now, graceEnd := tx.Now(), old.GraceEnd(tx.Now(), grace)
		rotated := old
		rotated.Stored, rotated.RotatedAt, rotated.GraceEndsAt, rotated.ReplacedBy = apikey.Rotated, &now, &graceEnd, next.ID
		if out.Old, err = tx.UpdateKey(rotated); err != nil {
			return nil, err
		}
		return []audit.Change{audit.KeyChange(&old, &out.Old), audit.KeyChange(nil, &out.New)}, nil
	})
	if err != nil {
		return Rotation{}, err
	}
	return out, nil
}

// lockKeyAndOwner holds the owner of a key and then the key. That is the order of whoever deals with all keys of somebody, whom
// a successor would escape otherwise.
func lockKeyAndOwner(tx *store.Tx, id string) (apikey.Key, account.Person, error) {
	key, err := tx.Key(id)
	if err != nil {
		return key, account.Person{}, err
	}
	owner, err := tx.HoldKeyOwner(key.OwnerID)
	if err != nil {
		return key, owner, err
	}
	key, err = tx.LockKey(id)
	if err == nil && key.OwnerID != owner.ID { // it was transferred meanwhile
		owner, err = tx.HoldKeyOwner(key.OwnerID)
	}
	return key, owner, err
}

// DeleteKey removes a key's row. The audit log keeps what it was.
func (r *Keyring) DeleteKey(ctx context.Context, actor account.Actor, id string) error {
	id, err := canonical(id)
	if err != nil {
		return err
	}
	return r.store.Mutate(ctx, actor, account.DeleteKey, func(tx *store.Tx) ([]audit.Change, error) {
		key, err := tx.LockKey(id)
		if err != nil {
			return nil, err
		}
		return []audit.Change{audit.KeyChange(&key, nil)}, tx.DeleteKey(id)
	})
}

// Key returns one key.
func (r *Keyring) Key(ctx context.Context, actor account.Actor, id string) (KeyRow, error) {
	return one(ctx, actor, account.ReadKeys, id, r.store.KeyByID)
}

// KeyPage is a part of the list of keys.
type KeyPage = Page[KeyRow]

// Keys lists keys. Errors: ErrCursor, and ErrNotFound for another organisation's cursor.
func (r *Keyring) Keys(ctx context.Context, actor account.Actor, filter apikey.Filter, sort apikey.Sort, cursor string, limit int) (KeyPage, error) {
	if err := allow(actor, account.ReadKeys); err != nil {
		return KeyPage{}, err
	}
	return listed(r.cursors, actor, listID("keys", filter, sort), cursor, func(at apikey.Position) (store.Page[KeyRow], error) {
		return r.store.ListKeys(ctx, actor.OrgID, filter, sort, at, limit)
	})
}

// KeyActor returns for whom a key acts: its owner, as the database knows them at this moment. One who is not active has
// no role, and so the key no power. ErrNotFound when the key is not accepted any more.
func (r *Keyring) KeyActor(ctx context.Context, from Visitor, orgID, keyID string) (account.Actor, error) {
	actor, err := r.store.KeyActor(ctx, orgID, keyID)
	actor.Address, actor.UserAgent = from.Address, from.UserAgent
	return actor, err
}

// KeyUsage returns a key's requests by day (UTC) for so many days up to today, oldest first; ErrNotFound for a key that
// the organisation does not have.
func (r *Keyring) KeyUsage(ctx context.Context, actor account.Actor, id string, days int) ([]apikey.DayUsage, error) {
	row, err := r.Key(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	return r.store.KeyUsage(ctx, actor.OrgID, row.ID, days)
}

// KeyProcess returns the process that keys are issued for or listed, or ErrNotFound. Whoever may do either may know
// that it is there.
func (r *Keyring) KeyProcess(ctx context.Context, actor account.Actor, id string) (Process, error) {
	if !actor.May(account.ReadKeys) && !actor.May(account.IssueKey) {
		return Process{}, ErrForbidden
	}
	id, err := canonical(id)
	if err != nil {
		return Process{}, err
	}
	return r.store.ProcessByID(ctx, actor.OrgID, id)
}

// KeyInUse is a key and what depends on it: how many requests it served in the last 24 hours.
type KeyInUse struct {
	KeyRow
	Requests24h int64
}

// KeysInUse returns those of the ids that are keys of the organisation, with what would break without them.
func (r *Keyring) KeysInUse(ctx context.Context, actor account.Actor, ids []string) ([]KeyInUse, error) {
	if err := allow(actor, account.ReadKeys); err != nil {
		return nil, err
	}
	ids, err := canonicalList(ids)
	if err != nil {
		return nil, err
	}
	rows, err := r.store.KeysByID(ctx, actor.OrgID, ids)
	if err != nil {
		return nil, err
	}
	requests, err := r.store.RequestsSince(ctx, actor.OrgID, ids, r.store.Now().Add(-apikey.Day))
	if err != nil {
		return nil, err
	}
	out := make([]KeyInUse, len(rows))
	for i, row := range rows {
		out[i] = KeyInUse{row, requests[row.ID]}
	}
	return out, nil
}

// KeyHistory is what is known of a key's past.
type KeyHistory struct {
	Usage     []apikey.DayUsage // by day, oldest first
	Line      []apikey.Key      // its line of rotations, oldest first, itself among them
	Trail     []audit.Event     // newest first
	TrailGoes int64             // on before this number; 0 when this is all
	Policy    apikey.Policy     // by which the key is judged now
	Names     map[string]Named  // what ids in the trail stand for
}

const trailPage = 20

// KeyHistory reads a key's usage of so many days, its line of rotations, and its audit trail: the newest events, or
// those before the event with the given number.
func (r *Keyring) KeyHistory(ctx context.Context, actor account.Actor, id string, days int, before int64) (KeyHistory, error) {
	var h KeyHistory
	if err := errors.Join(allow(actor, account.ReadKeys), allow(actor, account.ReadAudit)); err != nil {
		return h, err
	}
	id, err := canonical(id)
	if err != nil {
		return h, err
	}
	if h.Usage, err = r.store.KeyUsage(ctx, actor.OrgID, id, days); err != nil {
		return h, err
	}
	if h.Line, err = r.store.KeyLineage(ctx, actor.OrgID, id); err != nil {
		return h, err
	}
	if h.Trail, err = r.store.Events(ctx, actor.OrgID, audit.Filter{SubjectID: id}, store.Span{Before: before}, trailPage+1); err != nil {
		return h, err
	}
	if len(h.Trail) > trailPage {
		h.Trail = h.Trail[:trailPage]
		h.TrailGoes = h.Trail[trailPage-1].Seq
	}
	if h.Policy, err = r.store.Policy(ctx, actor.OrgID); err != nil {
		return h, err
	}
	h.Names, err = r.names(ctx, actor, h.Trail)
	return h, err
}

// Catalogue returns what a key can be given.
func (r *Keyring) Catalogue(ctx context.Context, actor account.Actor) (Catalogue, error) {
	return seen(actor, account.ReadKeys, func() (Catalogue, error) { return r.store.Catalogue(ctx, actor.OrgID) })
}
