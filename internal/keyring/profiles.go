package keyring

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// ProfileRow is a bias profile with what people want to read beside it.
type ProfileRow = store.ProfileRow

// Carriers counts the keys that carry something.
type Carriers = store.Carriers

// ProfileInUseError says how many keys carry a bias profile that was to be deleted, and that nobody said what shall become
// of them.
type ProfileInUseError struct{ Carriers }

func (e *ProfileInUseError) Error() string {
	return fmt.Sprintf("%d keys carry the bias profile, %d of them live", e.Keys, e.Live)
}

// ProfileDraft is a bias profile as somebody asks for it, in the words in which it was typed. Empty means the default:
// apikey.DefaultThreshold.
type ProfileDraft struct {
	Name, Description, DefaultThreshold string
	Categories                          []CategoryDraft
}

// CategoryDraft is one of its categories. An empty threshold is the profile's default, an empty action apikey.Flag.
type CategoryDraft struct {
	Name              string
	Enabled           bool
	Threshold, Action string
}

// ProfileEdit is what of a bias profile somebody wants changed; nil leaves a thing as it is.
type ProfileEdit struct {
	Version                             int // of the profile that the edit began with; 0 takes it as it comes
	Name, Description, DefaultThreshold *string
	Categories                          *[]CategoryDraft // all of them
}

// Profiles lists the organisation's bias profiles.
func (r *Keyring) Profiles(ctx context.Context, actor account.Actor) ([]apikey.Profile, error) {
	return seen(actor, account.ReadConfig, func() ([]apikey.Profile, error) { return r.store.Profiles(ctx, actor.OrgID) })
}

// ProfileRows lists the same with the keys that carry each, and its last change.
func (r *Keyring) ProfileRows(ctx context.Context, actor account.Actor) ([]ProfileRow, error) {
	return seen(actor, account.ReadConfig, func() ([]ProfileRow, error) { return r.store.ProfileRows(ctx, actor.OrgID) })
}

// Profile returns a bias profile, or ErrNotFound.
func (r *Keyring) Profile(ctx context.Context, actor account.Actor, id string) (apikey.Profile, error) {
	return one(ctx, actor, account.ReadConfig, id, r.store.ProfileByID)
}

// ProfileCarriers counts the keys that carry a bias profile.
func (r *Keyring) ProfileCarriers(ctx context.Context, actor account.Actor, id string) (Carriers, error) {
	return one(ctx, actor, account.ReadConfig, id, r.store.CarriersOfProfile)
}

// ProfilePast returns the latest events of a bias profile, newest first.
func (r *Keyring) ProfilePast(ctx context.Context, actor account.Actor, id string, limit int) ([]audit.Event, error) {
	return one(ctx, actor, account.ReadAudit, id, func(ctx context.Context, orgID, id string) ([]audit.Event, error) {
		return r.store.Events(ctx, orgID, audit.Filter{SubjectID: id}, store.Span{}, limit)
	})
}

// CreateProfile makes a bias profile. Errors: input.Problems by field (name, description, defaultThreshold, categories,
// categories[i].name, .threshold and .action), ErrTaken, ErrFull, ErrReach.
func (r *Keyring) CreateProfile(ctx context.Context, actor account.Actor, draft ProfileDraft) (made apikey.Profile, err error) {
	if err := allow(actor, account.CreateProfile); err != nil {
		return made, err
	}
	if draft.DefaultThreshold == "" {
		draft.DefaultThreshold = fmt.Sprint(apikey.DefaultThreshold)
	}
	edit := ProfileEdit{Name: &draft.Name, Description: &draft.Description, DefaultThreshold: &draft.DefaultThreshold, Categories: &draft.Categories}
	profile, err := edit.apply(apikey.Profile{})
	if err != nil {
		return made, err
	}
	err = r.store.Mutate(ctx, actor, account.CreateProfile, func(tx *store.Tx) ([]audit.Change, error) {
		if err := unconfined(tx); err != nil {
			return nil, err
		}
		if made, err = tx.InsertProfile(profile); err != nil {
			return nil, err
		}
		return []audit.Change{audit.ProfileChange(nil, &made)}, nil
	})
	return made, err
}

// EditProfile changes a bias profile. Errors: those of CreateProfile, ErrNotFound, and ErrStale when somebody else changed
// it since the version that the edit began with.
func (r *Keyring) EditProfile(ctx context.Context, actor account.Actor, id string, edit ProfileEdit) (after apikey.Profile, err error) {
	if err := allow(actor, account.EditProfile); err != nil {
		return after, err
	}
	if id, err = canonical(id); err != nil {
		return after, err
	}
	err = r.store.Mutate(ctx, actor, account.EditProfile, func(tx *store.Tx) ([]audit.Change, error) {
		before, err := tx.LockProfile(id)
		if err != nil {
			return nil, err
		}
		if err := unconfined(tx); err != nil {
			return nil, err
		}
		if after, err = edit.apply(before); err != nil {
			return nil, err
		}
		if reflect.DeepEqual(before, after) { // also the same form sent twice, which finds its work done
			return nil, nil
		}
		if edit.Version != 0 && edit.Version != before.Version {
			return nil, ErrStale
		}
		if after, err = tx.UpdateProfile(after); err != nil {
			return nil, err
		}
		return []audit.Change{audit.ProfileChange(&before, &after)}, nil
	})
	return after, err
}

func (e ProfileEdit) apply(p apikey.Profile) (apikey.Profile, error) {
	problems := input.Problems{}
	line := func(field string, text *string, into *string, check func(string) error) {
		if text == nil {
			return
		}
		clean, err := readLine(*text)
		if err == nil {
			err = check(clean)
		}
		problems.Add(field, err)
		*into = clean
	}
	line("name", e.Name, &p.Name, apikey.CheckProfileName)
	line("description", e.Description, &p.Description, apikey.CheckDescription)
	if e.DefaultThreshold != nil {
		threshold, err := apikey.ParseThreshold(*e.DefaultThreshold)
		problems.Add("defaultThreshold", err)
		p.DefaultThreshold = threshold
	}
	if e.Categories != nil {
		problems.Add("categories", apikey.CheckCategories(len(*e.Categories)))
		p.Categories = []apikey.Category{}
		for i, draft := range *e.Categories {
			c := apikey.Category{Enabled: draft.Enabled, Threshold: p.DefaultThreshold}
			at := fmt.Sprintf("categories[%d].", i)
			line(at+"name", &draft.Name, &c.Name, apikey.CheckCategoryName)
			if c.Name != "" && slices.ContainsFunc(p.Categories, func(o apikey.Category) bool { return apikey.SameCategory(o.Name, c.Name) }) {
				problems.Add(at+"name", apikey.TwiceCategory(c.Name))
			}
			var err error
			if draft.Threshold != "" {
				c.Threshold, err = apikey.ParseThreshold(draft.Threshold)
				problems.Add(at+"threshold", err)
			}
			c.Action, err = apikey.ParseCategoryAction(draft.Action)
			problems.Add(at+"action", err)
			p.Categories = append(p.Categories, c)
		}
		slices.SortFunc(p.Categories, func(a, b apikey.Category) int { return strings.Compare(a.Name, b.Name) }) // as they are stored
	}
	return p, problems.Err()
}

// ReleaseKeys, in the place of another profile's id, takes the profile away from the keys that carry it.
const ReleaseKeys = "none"

// DeleteProfile deletes a bias profile and returns how many keys were moved. moveTo says what the keys that carry it, of
// whatever status, carry from that moment on: another profile's id, ReleaseKeys, or "" when there is none. Each of them is
// changed and written down as EditKey does. Errors: ErrNotFound; *ProfileInUseError; MissingError for moveTo; input.Problems
// (moveTo) for the profile itself; ErrReach, ErrMoveKeys, ErrHandOut.
func (r *Keyring) DeleteProfile(ctx context.Context, actor account.Actor, id, moveTo string) (moved int, err error) {
	if err := allow(actor, account.DeleteProfile); err != nil {
		return 0, err
	}
	if id, err = canonical(id); err != nil {
		return 0, err
	}
	target := moveTo
	if target == ReleaseKeys {
		target = ""
	}
	if err := reference("moveTo", &target); err != nil {
		return 0, err
	}
	if target == id {
		return 0, input.Problems{"moveTo": "This is the profile that is to be deleted. Choose another, or none."}
	}
	err = r.store.Mutate(ctx, actor, account.DeleteProfile, func(tx *store.Tx) ([]audit.Change, error) {
		moved = 0
		if err := unconfined(tx); err != nil {
			return nil, err
		}
		if moveTo != "" {
			if err := holdCarriers(tx, id); err != nil {
				return nil, err
			}
		}
		profile, err := lockBoth(tx, id, target)
		if err != nil {
			return nil, err
		}
		var changes []audit.Change
		if moveTo == "" {
			carriers, err := tx.CarriersOfProfile(id)
			if err != nil {
				return nil, err
			}
			if carriers.Keys > 0 {
				return nil, &ProfileInUseError{carriers}
			}
		} else {
			judge, err := reach(tx)
			if err != nil {
				return nil, err
			}
			changes, err = changeMany(tx, account.EditKey, store.KeysOf{ProfileID: id}, func(key apikey.Key) (apikey.Key, error) {
				if !actor.May(account.EditKey) {
					return key, ErrMoveKeys
				}
				key.ProfileID = target
				return key, judge(key)
			})
			if err != nil {
				return nil, err
			}
			moved = len(changes)
		}
		return append(changes, audit.ProfileChange(&profile, nil)), tx.DeleteProfile(id)
	})
	return moved, err
}

// holdCarriers locks the keys that carry a profile before it is locked itself: whoever changes or rotates a key holds that
// first, and needs its profile afterwards. Keys that are given the profile in between are met later.
func holdCarriers(tx *store.Tx, id string) error {
	for last := ""; ; {
		keys, err := tx.LockKeys(store.KeysOf{ProfileID: id}, last)
		if err != nil || len(keys) == 0 {
			return err
		}
		last = keys[len(keys)-1].ID
	}
}

// lockBoth holds the profile that goes and keeps the one that takes its keys, if there is one, in one order for everybody:
// of two that are deleted towards each other at the same moment neither waits for the other crosswise.
func lockBoth(tx *store.Tx, id, target string) (profile apikey.Profile, err error) {
	ids := slices.DeleteFunc([]string{id, target}, func(id string) bool { return id == "" })
	slices.Sort(ids)
	for _, each := range ids {
		if each == id {
			profile, err = tx.LockProfile(id)
		} else {
			_, err = tx.KeepProfile(target)
			err = missing(err, "moveTo")
		}
		if err != nil {
			return profile, err
		}
	}
	return profile, nil
}
