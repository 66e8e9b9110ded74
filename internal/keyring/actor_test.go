package keyring_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// replica is one of several use cases over the same database.
type replica struct {
	*keyring.Keyring
	store *store.Store
}

func replicas(t *testing.T, n int) ([]replica, house) {
	t.Helper()
	address := storetest.URL(t)
	out := make([]replica, n)
	for i := range out {
		s, err := store.Open(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		out[i] = replica{keyring.New(s), s}
	}
	return out, house{out[0].Keyring, out[0].store, storetest.Unaudited(t, address), storetest.Organisation(t, out[0].store), t}
}

// session begins a session of a member, who acts in it.
func (h house) session(who account.Actor) account.Actor {
	h.t.Helper()
	err := h.store.Mutate(h.t.Context(), who, account.SignIn, func(tx *store.Tx) ([]audit.Change, error) {
		session, err := tx.InsertSession(store.BrowserSession, time.Hour)
		who.SessionID = session.ID
		return []audit.Change{{Subject: audit.Subject{Kind: "session", ID: session.ID, Name: who.Email}}}, err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return who
}

// TestAnActorWhoseEndWasAcknowledgedChangesNothing ends or weakens an actor on one replica while many of their changes are
// under way on both. In the log, which has the order of the commits, nothing of theirs may come after their end.
// MOONLATCH_RACES=1000 does it more often.
func TestAnActorWhoseEndWasAcknowledgedChangesNothing(t *testing.T) {
	turns := races(t, 24)
	both, h := replicas(t, 2)
	ctx := t.Context()
	confined, _ := h.place(h.org.Owner)
	byKey := map[string]func(account.Actor) error{
		"its key is revoked": func(a account.Actor) error {
			_, err := h.ChangeStatus(ctx, h.org.Owner, apikey.Revoke, a.KeyID)
			return err
		},
		"its key is disabled": func(a account.Actor) error {
			_, err := h.ChangeStatus(ctx, h.org.Owner, apikey.Disable, a.KeyID)
			return err
		},
		"its key is deleted": func(a account.Actor) error { return h.DeleteKey(ctx, h.org.Owner, a.KeyID) },
		"its key is rotated": func(a account.Actor) error {
			_, err := h.RotateKey(ctx, h.org.Owner, a.KeyID, 0, "")
			return err
		},
		"its keys are revoked at once": func(a account.Actor) error {
			_, err := h.ChangeStatuses(ctx, h.org.Owner, apikey.Revoke, []string{a.KeyID})
			return err
		},
		"its key is transferred": func(a account.Actor) error {
			_, err := h.TransferKey(ctx, h.org.Owner, a.KeyID, h.org.Owner.MemberID)
			return err
		},
		"its key revokes itself": func(a account.Actor) error {
			_, err := both[1].ChangeStatus(ctx, a, apikey.Revoke, a.KeyID)
			return err
		},
		"its addresses are narrowed": func(a account.Actor) error {
			_, err := h.EditKey(ctx, h.org.Owner, a.KeyID, keyring.KeyEdit{IPAllowlist: &[]string{"198.51.100.0/24"}})
			return err
		},
	}
	byMember := map[string]func(account.Actor) error{
		"they are suspended": func(a account.Actor) error {
			_, err := h.ChangeMember(ctx, h.org.Owner, a.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.LeaveKeys})
			return err
		},
		"they are suspended and their keys revoked": func(a account.Actor) error {
			_, err := h.ChangeMember(ctx, h.org.Owner, a.MemberID, keyring.MemberEdit{Status: account.Suspended, Keys: keyring.RevokeKeys})
			return err
		},
		"they become support": func(a account.Actor) error {
			_, err := h.ChangeMember(ctx, h.org.Owner, a.MemberID, keyring.MemberEdit{Role: account.Support})
			return err
		},
	}
	bySession := map[string]func(account.Actor) error{
		"they are signed out": func(a account.Actor) error { _, err := h.SignOutMember(ctx, h.org.Owner, a.MemberID); return err },
		"they sign out":       func(a account.Actor) error { return both[1].EndSession(ctx, a, a.SessionID) },
		"they sign out everywhere": func(a account.Actor) error {
			return both[1].EndAllSessions(ctx, a)
		},
	}
	type way struct {
		name  string
		byKey bool
		end   func(account.Actor) error
	}
	var ways []way
	for name, end := range byKey {
		ways = append(ways, way{name, true, end})
	}
	for name, end := range byMember {
		ways = append(ways, way{name, true, end}, way{name, false, end})
	}
	for name, end := range bySession {
		ways = append(ways, way{name, false, end})
	}
	late, before := 0, 0
	for turn := range turns {
		w := ways[turn%len(ways)]
		if _, err := h.db.ExecContext(ctx, `UPDATE members SET role = 'admin', status = 'active' WHERE id = $1`, h.org.Admin.MemberID); err != nil {
			t.Fatal(err)
		}
		victim := h.issue(h.org.Owner, draft("victim"))
		actor := h.session(h.org.Admin)
		if w.byKey {
			key := h.issue(h.org.Owner, keyring.KeyDraft{Name: "acting", Scopes: []string{"read:chat", "write:api-keys", "write:config"}, OwnerID: h.org.Admin.MemberID})
			var err error
			if actor, err = h.KeyActor(ctx, keyring.Visitor{Address: "192.0.2.1"}, h.org.ID, key.ID); err != nil {
				t.Fatal(err)
			}
		}
		acts := []func(r replica) error{
			func(r replica) error { _, _, err := r.IssueKey(ctx, actor, draft("late")); return err },
			func(r replica) error { _, err := r.RotateKey(ctx, actor, victim.ID, time.Hour, ""); return err },
			func(r replica) error {
				name := "renamed"
				_, err := r.EditKey(ctx, actor, victim.ID, keyring.KeyEdit{Name: &name})
				return err
			},
			func(r replica) error {
				_, err := r.ChangeStatuses(ctx, actor, apikey.Revoke, []string{victim.ID})
				return err
			},
			func(r replica) error {
				_, err := r.CreateProcess(ctx, actor, confined, fmt.Sprint("late ", turn))
				return err
			},
			func(r replica) error { _, _, err := r.IssueKey(ctx, actor, draft("late as well")); return err },
		}
		var flying sync.WaitGroup
		errs := make(chan error, 4*len(acts))
		for range 2 {
			for _, act := range acts {
				for _, r := range both {
					flying.Go(func() { errs <- act(r) })
				}
			}
		}
		time.Sleep(time.Duration(turn%8) * time.Millisecond) // the end comes at another moment each time
		if err := w.end(actor); err != nil && !errors.Is(err, keyring.ErrUnauthenticated) {
			t.Fatalf("%s: %v", w.name, err)
		}
		flying.Wait()
		close(errs)
		for err := range errs {
			if err == nil {
				before++
				continue
			}
			late++
			known := false
			for _, expected := range []error{keyring.ErrUnauthenticated, keyring.ErrForbidden, keyring.ErrStale, keyring.ErrTaken, apikey.ErrState, keyring.ErrUnavailable} {
				known = known || errors.Is(err, expected)
			}
			if !known && input.ProblemsIn(err) == nil {
				t.Errorf("%s: %v", w.name, err)
			}
		}
		h.nothingAfterTheEnd(ctx, w.name, actor)
		if _, err := h.db.ExecContext(ctx, `DELETE FROM processes WHERE org_id = $1 AND name LIKE 'late %'`, h.org.ID); err != nil { // an organisation has a bounded number
			t.Fatal(err)
		}
	}
	t.Logf("%d turns: %d changes before the end, %d refused", turns, before, late)
	if n, err := h.store.VerifyChain(ctx, h.org.ID); err != nil {
		t.Errorf("the audit log after %d events: %v", n, err)
	}
}

// nothingAfterTheEnd reads the log backwards to the actor's end.
func (h house) nothingAfterTheEnd(ctx context.Context, how string, actor account.Actor) {
	h.t.Helper()
	events, err := h.store.Events(ctx, h.org.ID, audit.Filter{}, store.Span{}, 200)
	if err != nil {
		h.t.Fatal(err)
	}
	isEnd := func(e audit.Event) bool {
		return e.Subject.ID == actor.KeyID || e.Subject.ID == actor.MemberID || e.Subject.ID == actor.SessionID
	}
	end := slices.IndexFunc(events, isEnd) // newest first
	if end < 0 {
		h.t.Fatalf("%s: their end is not in the log", how)
	}
	for _, e := range events[:end] {
		ownEnd := e.At.Equal(events[end].At) // of the same transaction
		if e.ActorID == actor.MemberID && e.KeyID == actor.KeyID && e.SessionID == actor.SessionID && !ownEnd {
			h.t.Errorf("after %s, they still did %s to %q (event %d)", how, e.Action, e.Subject.Name, e.Seq)
		}
	}
}

// TestAnExportEndsWithItsActor begins each export, ends the actor in several ways, and reads on.
func TestAnExportEndsWithItsActor(t *testing.T) {
	both, h := replicas(t, 1)
	ctx, ring := t.Context(), both[0]
	h.issue(h.org.Owner, draft("a row"))
	exports := map[string]func(account.Actor) (func() (int, error), error){
		"keys": func(a account.Actor) (func() (int, error), error) {
			next, err := ring.ExportKeys(ctx, a, apikey.Filter{})
			return func() (int, error) { rows, err := next(ctx); return len(rows), err }, err
		},
		"key owners": func(a account.Actor) (func() (int, error), error) {
			next, err := ring.ExportKeyOwners(ctx, a, keyring.OwnerFilter{})
			return func() (int, error) { rows, err := next(ctx); return len(rows), err }, err
		},
		"audit events": func(a account.Actor) (func() (int, error), error) {
			next, err := ring.ExportEvents(ctx, a, audit.Filter{})
			return func() (int, error) { rows, err := next(ctx); return len(rows), err }, err
		},
		"security events": func(a account.Actor) (func() (int, error), error) {
			next, err := ring.ExportSecurityEvents(ctx, a, audit.SecurityFilter{})
			return func() (int, error) { rows, err := next(ctx); return len(rows), err }, err
		},
	}
	ways := map[string]struct {
		byKey bool
		end   func(account.Actor) error
		want  error
	}{
		"not at all":    {false, func(account.Actor) error { return nil }, nil},
		"with a key":    {true, func(account.Actor) error { return nil }, nil},
		"they sign out": {false, func(a account.Actor) error { return ring.EndSession(ctx, a, a.SessionID) }, keyring.ErrUnauthenticated},
		"the key is revoked": {true, func(a account.Actor) error {
			_, err := ring.ChangeStatus(ctx, h.org.Owner, apikey.Revoke, a.KeyID)
			return err
		}, keyring.ErrUnauthenticated},
		"they are suspended": {false, func(a account.Actor) error {
			_, err := ring.ChangeMember(ctx, h.org.Owner, a.MemberID, keyring.MemberEdit{Status: account.Suspended})
			return err
		}, keyring.ErrUnauthenticated},
		"they become members": {false, func(a account.Actor) error {
			_, err := ring.ChangeMember(ctx, h.org.Owner, a.MemberID, keyring.MemberEdit{Role: account.Member})
			return err
		}, keyring.ErrForbidden},
	}
	for how, way := range ways {
		if _, err := h.db.ExecContext(ctx, `UPDATE members SET role = 'admin', status = 'active' WHERE id = $1`, h.org.Admin.MemberID); err != nil {
			t.Fatal(err)
		}
		actor := h.session(h.org.Admin)
		if way.byKey {
			key := h.issue(h.org.Owner, keyring.KeyDraft{Name: "exporting", Scopes: []string{"read:api-keys", "read:audit"}, OwnerID: h.org.Admin.MemberID})
			var err error
			if actor, err = h.KeyActor(ctx, keyring.Visitor{Address: "192.0.2.1"}, h.org.ID, key.ID); err != nil {
				t.Fatal(err)
			}
		}
		begun := map[string]func() (int, error){}
		for what, export := range exports {
			next, err := export(actor)
			if err != nil {
				t.Fatal(what, err)
			}
			if n, err := next(); err != nil || n == 0 && what != "security events" {
				t.Fatalf("%s: %d rows at first, %v", what, n, err)
			}
			begun[what] = next
		}
		if err := way.end(actor); err != nil {
			t.Fatal(how, err)
		}
		for what, next := range begun {
			if n, err := next(); n != 0 || !errors.Is(err, way.want) {
				t.Errorf("%s, of %s: %d rows, %v, want %v", how, what, n, err, way.want)
			}
		}
	}
}
