package demo

import (
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// story is what becomes of a key and of the keys that replace it.
type story struct {
	name      string
	owner     string // who also issues it
	scopes    []string
	test      bool // else live
	workspace string
	process   string
	profile   string
	allow     []string // addresses
	issued    time.Duration
	life      string
	then      []turn
	traffic   traffic
}

// turn is something that somebody did to the key, so long ago.
type turn struct {
	ago  time.Duration
	by   string
	does move
}

type move func(*filler, account.Actor, *line) error

// line is a key with those that replaced it, oldest first, and the requests they get.
type line struct {
	keys    []*lived
	traffic traffic
	seed    uint64
}

// lived is a key, and when it was good.
type lived struct {
	apikey.Key
	good []span
}

type span struct{ from, to time.Time }

// end closes the span in which the key is good, unless it ended before.
func (k *lived) end(at time.Time) {
	if last := &k.good[len(k.good)-1]; at.Before(last.to) {
		last.to = at
	}
}

func (l *line) last() *lived { return l.keys[len(l.keys)-1] }

func (l *line) add(k apikey.Key) {
	l.keys = append(l.keys, &lived{k, []span{{k.CreatedAt, k.ExpiresAt}}})
}

// tell adds a story's steps.
func (f *filler) tell(seed int, s story) {
	l := &line{traffic: s.traffic, seed: uint64(seed)}
	f.lines = append(f.lines, l)
	f.at(s.issued, func() error { return f.issue(s, l) })
	for _, t := range s.then {
		f.at(t.ago, func() error {
			actor, err := f.as(t.by)
			if err != nil {
				return err
			}
			return t.does(f, actor, l)
		})
	}
}

func (f *filler) issue(s story, l *line) error {
	actor, err := f.as(s.owner)
	if err != nil {
		return err
	}
	draft := keyring.KeyDraft{Name: s.name, Scopes: s.scopes, Expires: s.life, IPAllowlist: s.allow,
		WorkspaceID: f.ids[s.workspace], ProcessID: f.ids[s.process], ProfileID: f.ids[s.profile]}
	if s.test {
		draft.Environment = string(apikey.Test)
	}
	key, _, err := f.keyring.IssueKey(f.ctx, actor, draft)
	l.add(key)
	return err
}

func rotate(grace time.Duration) move {
	return func(f *filler, by account.Actor, l *line) error {
		old := l.last()
		r, err := f.keyring.RotateKey(f.ctx, by, old.ID, grace, "")
		if err != nil {
			return err
		}
		old.Key = r.Old
		old.end(*r.Old.GraceEndsAt)
		l.add(r.New)
		return nil
	}
}

func disable(f *filler, by account.Actor, l *line) error {
	return f.change(by, l.last(), apikey.Disable)
}

func enable(f *filler, by account.Actor, l *line) error {
	k := l.last()
	k.good = append(k.good, span{f.clock, k.ExpiresAt})
	return f.change(by, k, apikey.Enable)
}

func revoke(f *filler, by account.Actor, l *line) error { return f.change(by, l.last(), apikey.Revoke) }

// stopOld ends the grace period of the key before the last.
func stopOld(f *filler, by account.Actor, l *line) error {
	return f.change(by, l.keys[len(l.keys)-2], apikey.Revoke)
}

func transferTo(handle string) move {
	return func(f *filler, by account.Actor, l *line) error {
		_, err := f.keyring.TransferKey(f.ctx, by, l.last().ID, f.staff[handle].actor.MemberID)
		return err
	}
}

func (f *filler) change(by account.Actor, k *lived, change apikey.Change) error {
	if change != apikey.Enable {
		k.end(f.clock)
	}
	_, err := f.keyring.ChangeStatus(f.ctx, by, change, k.ID)
	return err
}
