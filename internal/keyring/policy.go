package keyring

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// Breach is what a policy means for the live keys that there are.
type Breach = store.Breach

// Policy returns what the organisation asks of its keys.
func (r *Keyring) Policy(ctx context.Context, actor account.Actor) (apikey.Policy, error) {
	return seen(actor, account.ReadConfig, func() (apikey.Policy, error) { return r.store.Policy(ctx, actor.OrgID) })
}

// Breach counts the live keys that break the policy, and the enabled ones that have been idle for longer than it lets them.
func (r *Keyring) Breach(ctx context.Context, actor account.Actor, policy apikey.Policy) (Breach, error) {
	return seen(actor, account.ReadConfig, func() (Breach, error) { return r.store.Breach(ctx, actor.OrgID, policy, policy, 0) })
}

// PolicyDraft is a policy as somebody asks for it, in the words in which it was typed.
type PolicyDraft struct {
	Version          int // of the policy that the draft began with
	LongestDays      string
	DefaultDays      string
	GraceSeconds     string
	UnusedDays       string // "" or "0" for never
	WidestIPv4       string // prefix lengths; "" for those that a policy begins with
	WidestIPv6       string
	RequireAllowlist bool
	RequireWorkspace bool
	DisableUnused    bool
	DisableDeparted  bool
	Confirmed        bool // also when live keys come to break it
}

// shownBreaches is how many keys of a kind are named before a policy is saved: of those that it will disable, and of those
// that come to break it.
const shownBreaches = 20

// ChangePolicy changes what the organisation asks of its keys, and changes no key. If live keys come to break it, or to be
// disabled by themselves, nothing is saved until the draft is confirmed: asked, which then Concerns some, is what has to be
// confirmed. No key is issued, edited or rotated between that judgement and the change: each waits for the policy. A draft that
// asks for what is in force already has nothing to do, whatever its version. Errors: input.Problems (longestDays,
// defaultDays, graceSeconds, widestIPv4, widestIPv6, unusedDays), ErrStale when somebody else changed the policy since the version that the draft
// began with.
func (r *Keyring) ChangePolicy(ctx context.Context, actor account.Actor, draft PolicyDraft) (next apikey.Policy, asked Breach, err error) {
	if err := allow(actor, account.ChangePolicy); err != nil {
		return apikey.Policy{}, Breach{}, err
	}
	if next, err = draft.read(); err != nil {
		return next, Breach{}, err
	}
	err = r.store.Mutate(ctx, actor, account.ChangePolicy, func(tx *store.Tx) ([]audit.Change, error) {
		before, err := tx.LockPolicy()
		if err != nil {
			return nil, err
		}
		// The same form sent twice finds its work done; any other late form would undo somebody's change.
		if next.Version = before.Version; next == before {
			return nil, nil
		}
		if before.Version != draft.Version {
			return nil, ErrStale
		}
		asked = Breach{}
		if !draft.Confirmed {
			if asked, err = tx.Breach(before, next, shownBreaches); err != nil || asked.Concerns() {
				return nil, err
			}
		}
		change := audit.Change{Subject: audit.Subject{Kind: "policy", ID: actor.OrgID, Name: "Key policy"}, Before: policyFacts(before), After: policyFacts(next)}
		return []audit.Change{change}, tx.UpdatePolicy(next)
	})
	return next, asked, err
}

func policyFacts(p apikey.Policy) audit.Facts {
	days := func(d time.Duration) int { return int(d / apikey.Day) }
	return audit.Facts{"longestLifetimeDays": days(p.LongestLifetime), "defaultLifetimeDays": days(p.DefaultLifetime),
		"longestGraceSeconds": int(p.LongestGrace / time.Second), "requireAllowlist": p.RequireAllowlist, "widestIPv4": p.WidestIPv4, "widestIPv6": p.WidestIPv6, "requireWorkspace": p.RequireWorkspace,
		"unusedDays": days(p.UnusedAfter), "disableUnused": p.DisableUnused, "disableDeparted": p.DisableDeparted}
}

// read checks a draft against the bounds, which are those of the table.
func (d PolicyDraft) read() (apikey.Policy, error) {
	problems := input.Problems{}
	p := apikey.Policy{RequireAllowlist: d.RequireAllowlist, RequireWorkspace: d.RequireWorkspace, DisableDeparted: d.DisableDeparted}
	var err error
	p.LongestLifetime, err = readDays(d.LongestDays, 1, apikey.LongestPolicy)
	problems.Add("longestDays", err)
	p.DefaultLifetime, err = readDays(d.DefaultDays, 1, apikey.LongestPolicy)
	if err == nil && problems["longestDays"] == "" && p.DefaultLifetime > p.LongestLifetime {
		err = input.Sentence(fmt.Sprintf("Choose at most the longest lifetime, %d days.", p.LongestLifetime/apikey.Day))
	}
	problems.Add("defaultDays", err)
	seconds, err := strconv.ParseUint(d.GraceSeconds, 10, 31)
	if p.LongestGrace = time.Duration(seconds) * time.Second; err != nil || p.LongestGrace > apikey.LongestGrace {
		problems.Add("graceSeconds", input.Sentence("Choose one of the periods, 30 days at most."))
	}
	p.WidestIPv4, err = readPrefix(d.WidestIPv4, apikey.WidestIPv4, 32)
	problems.Add("widestIPv4", err)
	p.WidestIPv6, err = readPrefix(d.WidestIPv6, apikey.WidestIPv6, 128)
	problems.Add("widestIPv6", err)
	if strings.TrimSpace(d.UnusedDays) != "" {
		p.UnusedAfter, err = readDays(d.UnusedDays, 0, apikey.LongestPolicy)
		problems.Add("unusedDays", err)
	}
	if p.DisableUnused = d.DisableUnused; p.DisableUnused && p.UnusedAfter == 0 && problems["unusedDays"] == "" {
		problems.Add("unusedDays", input.Sentence("Say after how many days without a use a key is disabled."))
	}
	return p, problems.Err()
}

// readPrefix reads a prefix length of 1 to most bits.
func readPrefix(text string, otherwise, most int) (int, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "/")
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, input.Sentence(fmt.Sprintf("Enter a prefix length from 1 to %d.", most))
	}
	return n, nil
}

func readDays(text string, least int, most time.Duration) (time.Duration, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16)
	days := time.Duration(n) * apikey.Day
	if err != nil || days < time.Duration(least)*apikey.Day || days > most {
		return 0, input.Sentence(fmt.Sprintf("Enter a whole number of days from %d to %d.", least, most/apikey.Day))
	}
	return days, nil
}

// policyActor is an organisation's key policy, in whose name unused keys are disabled.
func policyActor(orgID string) account.Actor {
	return account.Actor{OrgID: orgID, Email: audit.ByPolicy, Role: account.Operator}
}

// DisableUnused disables the enabled keys that have been idle for longer than their organisation's policy lets them be, where
// it says so. It works in transactions of at most 500 keys, may run on several replicas at once, and writes an event for
// each key. A key that was used since is left alone as far as that is written down: a use in the last half second, or while
// the database was out of reach, may not be. One that is enabled again has the policy's days before it anew.
func (r *Keyring) DisableUnused(ctx context.Context) error {
	idleFor, err := r.store.PoliciesThatDisable(ctx)
	if err != nil {
		return err
	}
	var failed error
	for orgID, allowed := range idleFor {
		for more := true; more; {
			if more, err = r.disableUnused(ctx, orgID, allowed); err != nil { // which is no reason to leave out the others
				failed = errors.Join(failed, fmt.Errorf("disabling unused keys of the organisation %s: %w", orgID, err))
				more = false
			}
		}
	}
	return failed
}

// disableUnused disables some of an organisation's unused keys; more is true when there may be others.
func (r *Keyring) disableUnused(ctx context.Context, orgID string, allowed time.Duration) (more bool, err error) {
	ids, err := r.store.IdleKeys(ctx, orgID, r.store.Now().Add(-allowed))
	if err != nil || len(ids) == 0 {
		return false, err
	}
	err = r.store.Mutate(ctx, policyActor(orgID), account.DisableKey, func(tx *store.Tx) ([]audit.Change, error) {
		policy, err := tx.HoldPolicy()
		if more = policy.DisableUnused && policy.UnusedAfter == allowed; err != nil || !more { // it was changed meanwhile
			return nil, err
		}
		idle := store.KeysOf{IDs: ids, Live: true, IdleSince: tx.Now().Add(-allowed)}
		changes, err := changeMany(tx, account.DisableKey, idle, func(key apikey.Key) (apikey.Key, error) {
			if key.StatusAt(tx.Now()) != apikey.Enabled {
				return key, nil
			}
			return changed(key, apikey.Disable, tx.Now()), nil
		})
		more = len(changes) > 0 // where none is left of what was found, another replica is at work
		return changes, err
	})
	return more, err
}
