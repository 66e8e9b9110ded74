package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// MostCounted bounds the keys that are counted of a member, a workspace, a process or a bias profile in a list of them.
const MostCounted = store.MostCounted

// Errors about members.
var (
	// ErrLastOwner says that the organisation would be left without an active owner.
	ErrLastOwner = errors.New("an organisation always keeps one owner")
	// ErrMemberState says that somebody was removed, or is not what they were seen to be, and so can't be changed like this.
	ErrMemberState = errors.New("the member's status does not allow this change")
)

// MemberPage is a part of the list of members.
type MemberPage = Page[MemberRow]

// Members lists the organisation's members by e-mail address. Errors: ErrCursor, and ErrNotFound for another
// organisation's cursor.
func (r *Keyring) Members(ctx context.Context, actor account.Actor, filter account.MemberFilter, cursor string, limit int) (MemberPage, error) {
	if err := allow(actor, account.ReadMembers); err != nil {
		return MemberPage{}, err
	}
	return listed(r.cursors, actor, listID("members", filter), cursor, func(at apikey.Position) (store.Page[MemberRow], error) {
		return r.store.ListMembers(ctx, actor.OrgID, filter, at, limit)
	})
}

// Member returns a member, or ErrNotFound.
func (r *Keyring) Member(ctx context.Context, actor account.Actor, id string) (MemberRow, error) {
	return one(ctx, actor, account.ReadMembers, id, r.store.MemberRow)
}

// MemberSessions lists where a member is signed in.
func (r *Keyring) MemberSessions(ctx context.Context, actor account.Actor, id string) ([]Session, error) {
	return one(ctx, actor, account.SignOutMember, id, r.store.SessionsOf)
}

// KeyOwners lists the members who own keys.
func (r *Keyring) KeyOwners(ctx context.Context, actor account.Actor) ([]account.Person, error) {
	return seen(actor, account.ReadKeys, func() ([]account.Person, error) { return r.store.KeyOwners(ctx, actor.OrgID) })
}

// Person returns a member of the organisation.
func (r *Keyring) Person(ctx context.Context, actor account.Actor, id string) (account.Person, error) {
	return one(ctx, actor, account.ReadKeys, id, r.store.MemberByID)
}

// KeyHolders lists the active members whose role may hold keys: those whom a key can be transferred to.
func (r *Keyring) KeyHolders(ctx context.Context, actor account.Actor) ([]account.Person, error) {
	return seen(actor, account.TransferKey, func() ([]account.Person, error) {
		return r.store.MembersWithRoles(ctx, actor.OrgID, account.RolesFor(account.IssueKey))
	})
}

// Owners lists the organisation's owners, for whoever has to ask one.
func (r *Keyring) Owners(ctx context.Context, actor account.Actor) ([]account.Person, error) {
	return r.store.MembersWithRoles(ctx, actor.OrgID, []account.Role{account.Owner})
}

// LiveKeysOf counts the live keys that a member owns.
func (r *Keyring) LiveKeysOf(ctx context.Context, actor account.Actor, id string) (LiveKeys, error) {
	return one(ctx, actor, account.ReadMembers, id, r.store.LiveKeysOf)
}

// IsLastOwner says whether the organisation would be left without an active owner if the member lost the role or left.
func (r *Keyring) IsLastOwner(ctx context.Context, actor account.Actor, member account.Person) (bool, error) {
	if !leads(member) {
		return false, allow(actor, account.ReadMembers)
	}
	owners, err := seen(actor, account.ReadMembers, func() ([]account.Person, error) {
		return r.store.MembersWithRoles(ctx, actor.OrgID, []account.Role{account.Owner})
	})
	return len(owners) == 1, err
}

// KeysOfLeaver is what becomes of the live keys of somebody who is suspended or removed.
type KeysOfLeaver string

// What can become of them. Whatever is chosen, a key whose status does not allow it stays as it is: a rotated one works
// until its grace period ends, unless it is revoked.
const (
	TransferKeys KeysOfLeaver = "transfer"
	DisableKeys  KeysOfLeaver = "disable"
	RevokeKeys   KeysOfLeaver = "revoke"
	LeaveKeys    KeysOfLeaver = "leave" // they stay, and say that their owner has left
)

// FatesOfKeys lists what an organisation lets become of a leaver's keys, its own choice first.
func FatesOfKeys(policy apikey.Policy) []KeysOfLeaver {
	if policy.DisableDeparted {
		return []KeysOfLeaver{DisableKeys, TransferKeys, RevokeKeys}
	}
	return []KeysOfLeaver{LeaveKeys, TransferKeys, DisableKeys, RevokeKeys}
}

// MemberEdit is what of a member somebody wants changed; "" leaves a thing as it is. Keys and Heir are for those who are
// suspended or removed.
type MemberEdit struct {
	Role   account.Role
	Status account.Status
	Keys   KeysOfLeaver // "" for what the organisation chooses
	Heir   string       // with TransferKeys: the id of who the keys shall belong to

	// What somebody saw who decided. Empty, things are taken as they come.
	Was  account.Status
	Live int64 // keys
}

// MemberChange is what came of it.
type MemberChange struct {
	Person   account.Person
	Keys     KeysOfLeaver   // what was done with the live keys; "" where there was nothing to decide
	Heir     account.Person // who has them now
	Changed  int            // so many of them
	Sessions int            // that were ended
	Links    int            // invitations of theirs that worked and are void now

	EmailChanges int // that waited, theirs or started by them, and are cancelled
}

// leaving says whether somebody is to be kept out.
func (e MemberEdit) leaving() bool {
	return e.Status == account.Suspended || e.Status == account.Removed
}

// actions names what the edit does, for permission and for the audit log.
func (e MemberEdit) actions() []account.Action {
	var out []account.Action
	if e.Role != "" {
		out = append(out, account.ChangeRole)
	}
	switch e.Status {
	case account.Active:
		out = append(out, account.ReinstateMember)
	case account.Suspended:
		out = append(out, account.SuspendMember)
	case account.Removed:
		out = append(out, account.RemoveMember)
	}
	return out
}

// check returns input.Problems for what can't be meant, and fills in what the organisation chooses.
func (e *MemberEdit) check(policy apikey.Policy) error {
	problems := input.Problems{}
	if e.Role != "" {
		_, err := ReadRole(string(e.Role))
		problems.Add("role", err)
	}
	if !slices.Contains([]account.Status{"", account.Active, account.Suspended, account.Removed}, e.Status) {
		problems["status"] = "Must be active or suspended."
	}
	if !e.leaving() {
		if e.Keys != "" {
			problems["keys"] = "Leave this field out: it is for somebody who is suspended or removed."
		}
		if e.Heir != "" {
			problems["keysTo"] = "Leave this field out: it is for somebody who is suspended or removed."
		}
		return problems.Err()
	}
	fates := FatesOfKeys(policy)
	if e.Keys == "" {
		e.Keys = fates[0]
	}
	switch {
	case e.Keys == LeaveKeys && policy.DisableDeparted:
		problems["keys"] = "Your key policy disables the keys of suspended and removed members. Choose disable, transfer or revoke."
	case !slices.Contains(fates, e.Keys):
		problems["keys"] = "Must be transfer, disable, revoke or leave."
	case e.Keys == TransferKeys && e.Heir == "":
		problems["keysTo"] = "Choose the new owner of the keys."
	case e.Keys != TransferKeys && e.Heir != "":
		problems["keysTo"] = "Leave this field out: the keys are not transferred."
	}
	if id, err := canonical(e.Heir); err == nil {
		e.Heir = id
	} else if e.Heir != "" {
		problems.Add("keysTo", errHeir)
	}
	return problems.Err()
}

const errHeir = input.Sentence("Choose another active owner or admin of your organisation.")

// ChangeMember changes a member's role or status; whoever is suspended or removed is signed out everywhere, in the same
// step, and their live keys are dealt with. Who was removed stays so, and removing them again does nothing. Errors:
// input.Problems (role, status, keys, keysTo), ErrLastOwner, ErrMemberState for somebody who was removed or is not what they
// were, ErrStale for other keys than were seen, ErrNotFound, ErrEntrust, and ErrForbidden also for an actor who has just lost
// the role.
func (r *Keyring) ChangeMember(ctx context.Context, actor account.Actor, id string, asked MemberEdit) (MemberChange, error) {
	actions := asked.actions()
	if len(actions) == 0 {
		actions = []account.Action{account.ChangeRole}
	}
	for _, action := range actions {
		if err := allow(actor, action); err != nil {
			return MemberChange{}, err
		}
	}
	id, err := canonical(id)
	if err != nil {
		return MemberChange{}, err
	}
	var done MemberChange
	err = r.store.Mutate(ctx, actor, actions[len(actions)-1], func(tx *store.Tx) (happened []audit.Change, err error) {
		done = MemberChange{}
		policy, err := tx.HoldPolicy() // it decides about the keys, and so does not change before they do
		if err != nil {
			return nil, err
		}
		edit := asked
		if err := edit.check(policy); err != nil {
			return nil, err
		}
		before, owners, err := lockMember(tx, id)
		if err != nil {
			return nil, err
		}
		if edit.Was != "" && before.Status != edit.Was && before.Status != account.Removed {
			return nil, ErrMemberState
		}
		after := before
		if edit.Role != "" {
			after.Role = edit.Role
		}
		if edit.Status != "" {
			after.Status = edit.Status
		}
		if before.Status == account.Removed {
			if done.Person = before; after != before || edit.Role != "" {
				err = ErrMemberState
			}
			return nil, err
		}
		if leads(before) && !leads(after) {
			if len(owners) == 1 {
				return nil, ErrLastOwner
			}
			if happened, err = withdrawAll(tx, before, &done); err != nil {
				return nil, err
			}
		}
		if after != before {
			if err := tx.UpdateMember(after); err != nil {
				return nil, err
			}
			happened = append(memberChanges(before, after), happened...)
		}
		if after.Status == account.Removed {
			void, err := withdrawOwn(tx, after)
			if err != nil {
				return nil, err
			}
			happened = append(happened, void...)
		}
		done.Person = after
		if !edit.leaving() {
			return happened, nil
		}
		own, err := tx.DeleteEmailChangesOf(after.ID) // reinstated, they would have its link back
		if err != nil {
			return nil, err
		}
		done.EmailChanges += pending(tx, own)
		ended, err := endAllSessions(tx, after.ID, after.Email)
		if err != nil {
			return nil, err
		}
		done.Sessions = len(ended)
		changed, err := keysOfLeaver(tx, after.ID, edit, &done)
		return slices.Concat(happened, emailChangesCancelled(own), ended, changed), err
	})
	return done, err
}

// leads says whether somebody counts as the owner whom an organisation always keeps.
func leads(p account.Person) bool { return p.Role == account.Owner && p.Status == account.Active }

// lockMember holds a member, and active owners as store.Tx.LockMember does. The actor's role was read before; one who has
// lost it since comes too late.
func lockMember(tx *store.Tx, id string) (account.Person, []string, error) {
	member, owners, err := tx.LockMember(id)
	if actor := tx.Actor(); err == nil && actor.Role != account.Operator && !slices.Contains(owners, actor.MemberID) {
		err = ErrForbidden
	}
	return member, owners, err
}

// memberChanges is an event for the role and one for the status, as far as they changed.
func memberChanges(before, after account.Person) []audit.Change {
	subject := memberSubject(after)
	var out []audit.Change
	if before.Role != after.Role {
		out = append(out, audit.Change{Action: account.ChangeRole, Subject: subject, Before: audit.Facts{"role": before.Role}, After: audit.Facts{"role": after.Role}})
	}
	if before.Status != after.Status {
		out = append(out, audit.Change{Action: MemberEdit{Status: after.Status}.actions()[0], Subject: subject,
			Before: audit.Facts{"status": before.Status}, After: audit.Facts{"status": after.Status}})
	}
	return out
}

func memberSubject(p account.Person) audit.Subject {
	return audit.Subject{Kind: "member", ID: p.ID, Name: p.Email}
}

// keysOfLeaver does with somebody's live keys what was chosen.
func keysOfLeaver(tx *store.Tx, ownerID string, edit MemberEdit, done *MemberChange) ([]audit.Change, error) {
	done.Keys = edit.Keys
	step, action := apikey.Transfer, account.TransferKey
	switch edit.Keys {
	case LeaveKeys:
		return nil, nil
	case TransferKeys:
		heir, err := tx.KeyOwner(edit.Heir)
		if errors.Is(err, ErrNotFound) {
			err = input.Problems{"keysTo": errHeir.Error()}
		}
		if err != nil {
			return nil, err
		}
		done.Heir = heir
	case DisableKeys:
		step, action = apikey.Disable, account.DisableKey
	case RevokeKeys:
		step, action = apikey.Revoke, account.RevokeKey
	}
	var live int64
	changes, err := changeMany(tx, action, store.KeysOf{OwnerID: ownerID, Live: true}, func(key apikey.Key) (apikey.Key, error) {
		live++
		if !key.StatusAt(tx.Now()).Allows(step) {
			return key, nil
		}
		if step != apikey.Transfer {
			return changed(key, step, tx.Now()), nil
		}
		if !tx.Actor().MayEntrust(key.Scopes, done.Heir.Role) {
			return key, ErrEntrust
		}
		key.OwnerID = done.Heir.ID
		return key, nil
	})
	if err == nil && edit.Live != 0 && live != edit.Live {
		err = ErrStale
	}
	done.Changed = len(changes)
	return changes, err
}

// SignOutMember ends every session of a member, and returns how many there were.
func (r *Keyring) SignOutMember(ctx context.Context, actor account.Actor, id string) (int, error) {
	if err := allow(actor, account.SignOutMember); err != nil {
		return 0, err
	}
	id, err := canonical(id)
	if err != nil {
		return 0, err
	}
	count := 0
	err = r.store.Mutate(ctx, actor, account.SignOutMember, func(tx *store.Tx) ([]audit.Change, error) {
		member, _, err := lockMember(tx, id)
		if err != nil {
			return nil, err
		}
		ended, err := endAllSessions(tx, member.ID, member.Email)
		if count = len(ended); err != nil || count == 0 {
			return nil, err
		}
		told := audit.Change{Subject: memberSubject(member), After: audit.Facts{"sessionsEnded": count}}
		return append([]audit.Change{told}, ended...), nil
	})
	return count, err
}

// Erasure is what came of erasing the members who have or had an address.
type Erasure struct {
	Erased []string // the addresses that stand in for those who were erased now
	Kept   []string // the addresses of the accounts that were not removed
}

// Erase removes what is known of the removed members who have or had an address, but for the audit log, which is never changed:
// their name and addresses, invitations to these, and their sessions. What was erased before stays as it is, without an event. It
// is the operator's. Errors: input.Problems (email), ErrNotFound when no member has or had the address, ErrMemberState, with
// Erasure.Kept, when none of those was removed.
func (r *Keyring) Erase(ctx context.Context, email string) (Erasure, error) {
	email, err := input.Email(email)
	if err != nil {
		return Erasure{}, input.Problems{"email": err.Error()}
	}
	found, err := r.store.MembersEverNamed(ctx, email)
	if err == nil && len(found) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Erasure{}, err
	}
	var done Erasure
	for _, member := range found {
		if member.Status != account.Removed {
			done.Kept = append(done.Kept, member.Email)
			continue
		}
		member.Email = "erased-" + member.ID[24:] + "@erased.invalid"
		err := r.store.Mutate(ctx, Operator(member.OrgID), account.EraseMember, func(tx *store.Tx) ([]audit.Change, error) {
			erased, err := tx.EraseMember(member.ID, member.Email)
			if err == nil && erased.Nothing() {
				err = ErrNotFound
			}
			changes := []audit.Change{{Subject: memberSubject(member)}}
			for _, id := range erased.OpenSessions {
				changes = append(changes, sessionEnded(tx, id, member.Email))
			}
			for _, i := range erased.Invitations { // the event does not repeat the address
				changes = append(changes, audit.Change{Action: account.WithdrawInvite, Subject: audit.Subject{Kind: "invitation", ID: i.ID, Name: member.Email}})
			}
			return changes, err
		})
		switch {
		case err == nil:
			done.Erased = append(done.Erased, member.Email)
		case !errors.Is(err, ErrNotFound): // else they were erased before
			return done, err
		}
	}
	if len(done.Kept) == len(found) {
		err = ErrMemberState
	}
	return done, err
}

// ReadRole reads a role of a member as programs and forms write it.
func ReadRole(text string) (account.Role, error) {
	if role := account.Role(text); slices.Contains(account.Roles, role) {
		return role, nil
	}
	var words []string
	for _, role := range account.Roles {
		words = append(words, string(role))
	}
	return "", input.Sentence(fmt.Sprintf("Must be one of the roles %s.", strings.Join(words, ", ")))
}
