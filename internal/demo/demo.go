// Package demo fills an empty database with an organisation to look around in: people in every role, keys in every
// state, and 90 days of requests. The keys' history is made by the same use cases as anybody's, by the people it names and
// in the order of its dates, so that every key has its audit trail.
package demo

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
)

// Organisation is the demonstration's name.
const Organisation = "Fernhill Labs"

// ErrNotEmpty says that the database has an organisation, which the demonstration would not touch.
var ErrNotEmpty = errors.New("the database has an organisation already; the demonstration only fills an empty one")

// Account is somebody who can sign in.
type Account struct {
	Name     string
	Email    string
	Role     account.Role
	Password string
}

// Accounts are everybody who can sign in, strongest role first.
type Accounts []Account

// Fill makes the demonstration. Nothing else may use the store meanwhile: its clock is set back to each moment of the
// story. When filling fails after the accounts were made, they are returned beside the error, for they exist.
// ErrNotEmpty when there is an organisation.
func Fill(ctx context.Context, s *store.Store) (Accounts, error) {
	if filled, err := s.IsSetUp(ctx); err != nil {
		return nil, err
	} else if filled {
		return nil, ErrNotEmpty
	}
	f := &filler{ctx: ctx, store: s, keyring: keyring.New(s), now: s.Now(), staff: map[string]*employee{}, ids: map[string]string{}}
	clock := s.Now
	defer func() { s.Now = clock }()
	s.Now = func() time.Time { return f.clock }

	accounts, err := f.hire()
	if err != nil {
		return accounts, err
	}
	f.furnish()
	for i, story := range stories {
		f.tell(i, story)
	}
	f.changeStaff()
	f.refuse()
	if err = f.live(); err == nil {
		err = f.call()
	}
	if err != nil {
		return accounts, fmt.Errorf("the demonstration is incomplete: %w", err)
	}
	return accounts, nil
}

// filler makes the demonstration: it collects what happens, and then lets it happen in the order of its times.
type filler struct {
	ctx     context.Context
	store   *store.Store
	keyring *keyring.Keyring
	now     time.Time // when the story is told
	clock   time.Time // where the story is
	staff   map[string]*employee
	ids     map[string]string // of workspaces, processes and profiles, by name
	steps   []step
	lines   []*line
}

type step struct {
	at time.Time
	do func() error
}

// at adds something that happened so long ago. What is days ago happened in working hours.
func (f *filler) at(ago time.Duration, do func() error) {
	at := f.now.Add(-ago)
	if ago >= 2*apikey.Day {
		minutes := 8*60 + (len(f.steps)*67)%(9*60)
		at = at.Truncate(apikey.Day).Add(time.Duration(minutes) * time.Minute)
	}
	f.steps = append(f.steps, step{at, do})
}

// live lets everything happen that was added, in the order of its times.
func (f *filler) live() error {
	slices.SortStableFunc(f.steps, func(a, b step) int { return a.at.Compare(b.at) })
	for _, s := range f.steps {
		f.clock = s.at
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

// archive is the edit that takes a workspace or a process out of use.
var archive = keyring.PlaceEdit{Archived: new(true)}

func days(n int) time.Duration  { return time.Duration(n) * apikey.Day }
func hours(n int) time.Duration { return time.Duration(n) * time.Hour }

// hire makes the organisation and its people.
func (f *filler) hire() (Accounts, error) {
	f.clock = f.now.Add(-founded)
	var accounts Accounts
	for i, e := range staff {
		draft := keyring.MemberDraft{FirstOrganisation: i == 0, Organisation: Organisation, Email: e.email(), Name: e.name, Role: string(e.role), Password: newPassword()}
		person, err := f.keyring.CreateMember(f.ctx, draft)
		if errors.Is(err, keyring.ErrSetUp) { // an organisation was created at the same moment
			return accounts, ErrNotEmpty
		}
		if err != nil {
			return accounts, err
		}
		hired := e
		hired.actor = account.Actor{OrgID: person.OrgID, MemberID: person.ID, Email: person.Email, Name: person.Name,
			Role: person.Role, Address: e.address, UserAgent: e.agent}
		f.staff[e.handle()] = &hired
		if !slices.ContainsFunc(departures, func(d departure) bool { return d.handle == e.handle() }) {
			accounts = append(accounts, Account{e.name, person.Email, person.Role, draft.Password})
		}
	}
	return accounts, nil
}

// newPassword draws 100 bits in a form that can be typed.
func newPassword() string {
	text := strings.ToLower(rand.Text())
	return strings.Join([]string{text[:5], text[5:10], text[10:15], text[15:20]}, "-")
}

// as is the person at work: signed in, for the audit log says by which session something was done.
func (f *filler) as(handle string) (account.Actor, error) {
	e := f.staff[handle]
	if f.clock.Sub(e.signedIn) < 8*time.Hour {
		return e.actor, nil
	}
	e.actor.SessionID = ""
	var session store.Session
	err := f.store.Mutate(f.ctx, e.actor, account.SignIn, func(tx *store.Tx) (_ []audit.Change, err error) {
		session, err = tx.InsertSession(store.BrowserSession, keyring.SessionLifetime)
		return []audit.Change{{
			Subject: audit.Subject{Kind: "session", ID: session.ID, Name: e.actor.Email},
			After:   audit.Facts{"expiresAt": session.ExpiresAt.Format(time.RFC3339)},
		}}, err
	})
	e.actor.SessionID, e.signedIn = session.ID, f.clock
	return e.actor, err
}

// changeStaff lets people go and asks others to come. Of two invitations one is too old.
func (f *filler) changeStaff() {
	for _, d := range departures {
		f.at(d.ago, f.by(founder, func(actor account.Actor) error {
			_, err := f.keyring.ChangeMember(f.ctx, actor, f.staff[d.handle].actor.MemberID, keyring.MemberEdit{Status: d.status})
			return err
		}))
	}
	for _, i := range invited {
		f.at(i.ago, f.by(founder, func(actor account.Actor) error {
			_, _, err := f.keyring.Invite(f.ctx, actor, keyring.InvitationDraft{Email: i.handle + domain, Role: string(i.role)})
			return err
		}))
	}
}

// refuse records the attempts that failed, and starts the email change that waits for its link to be opened.
func (f *filler) refuse() {
	for _, r := range refusals {
		f.at(r.ago, func() error {
			e := f.staff[r.handle]
			event := audit.SecurityEvent{OrgID: e.actor.OrgID, Kind: r.kind, MemberID: e.actor.MemberID, Address: cmp.Or(r.address, e.address), Detail: r.detail}
			if r.key != "" {
				event.KeyID = f.lines[slices.IndexFunc(stories, func(s story) bool { return s.name == r.key })].last().ID
			}
			for n := range r.times {
				if n > 0 {
					f.clock = f.clock.Add(9 * time.Second)
				}
				f.keyring.RecordSecurityEvent(event)
			}
			return f.keyring.FlushSecurityEvents(f.ctx)
		})
	}
	f.at(hours(3), f.by(founder, func(actor account.Actor) error {
		_, _, err := f.keyring.StartEmailChange(f.ctx, actor, f.staff["elif"].actor.MemberID, keyring.EmailChangeDraft{Email: "elif.demir" + domain})
		if err != nil {
			return err
		}
		f.staff[founder].signedIn = time.Time{} // a session that is left would be a reader's
		return f.keyring.EndAllSessions(f.ctx, actor)
	}))
}

// by is what somebody does at work.
func (f *filler) by(handle string, do func(account.Actor) error) func() error {
	return func() error {
		actor, err := f.as(handle)
		if err != nil {
			return err
		}
		return do(actor)
	}
}

// furnish makes what keys belong to and carry, and says what they may be.
func (f *filler) furnish() {
	for _, w := range workspaces {
		f.at(founded-days(1), f.by(founder, func(actor account.Actor) error {
			made, err := f.keyring.CreateWorkspace(f.ctx, actor, w.name)
			f.ids[w.name] = made.ID
			return err
		}))
		if w.archived > 0 {
			f.at(w.archived, f.by(founder, func(actor account.Actor) error {
				_, err := f.keyring.EditWorkspace(f.ctx, actor, f.ids[w.name], archive)
				return err
			}))
		}
	}
	for _, p := range processes {
		f.at(founded-days(2), f.by(founder, func(actor account.Actor) error {
			made, err := f.keyring.CreateProcess(f.ctx, actor, f.ids[p.workspace], p.name)
			f.ids[p.name] = made.ID
			return err
		}))
		if p.archived > 0 {
			f.at(p.archived, f.by(founder, func(actor account.Actor) error {
				_, err := f.keyring.EditProcess(f.ctx, actor, f.ids[p.name], archive)
				return err
			}))
		}
	}
	for _, p := range profiles {
		f.at(founded-days(3), f.by(founder, func(actor account.Actor) error {
			draft := keyring.ProfileDraft{Name: p.Name, Description: p.Description, DefaultThreshold: strconv.Itoa(p.DefaultThreshold)}
			for _, c := range p.Categories {
				draft.Categories = append(draft.Categories, keyring.CategoryDraft{Name: c.Name, Enabled: c.Enabled, Threshold: strconv.Itoa(c.Threshold), Action: string(c.Action)})
			}
			made, err := f.keyring.CreateProfile(f.ctx, actor, draft)
			f.ids[made.Name] = made.ID
			return err
		}))
	}
	for _, s := range scopes {
		f.at(founded-days(4), f.by(founder, func(actor account.Actor) error {
			_, err := f.keyring.CreateScope(f.ctx, actor, s.name, s.description)
			return err
		}))
		if s.retired > 0 {
			f.at(s.retired, f.by(founder, func(actor account.Actor) error {
				_, err := f.keyring.EditScope(f.ctx, actor, s.name, keyring.ScopeEdit{Retired: new(true)})
				return err
			}))
		}
	}
	f.at(tightened, f.by(founder, func(actor account.Actor) error {
		_, _, err := f.keyring.ChangePolicy(f.ctx, actor, policy)
		return err
	}))
}
