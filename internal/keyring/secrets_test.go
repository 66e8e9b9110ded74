package keyring_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestATokenOpensNoBrowsersSession signs, with the server's own secret, tokens for sessions whose ids a backup tells.
func TestATokenOpensNoBrowsersSession(t *testing.T) {
	h := newHouse(t)
	good := decode(t, h.logIn(h.org.Owner).Reveal())
	session, err := h.SignIn(t.Context(), program, h.org.Owner.Email, storetest.Password)
	if err != nil {
		t.Fatal(err)
	}
	sign := signer(h.store, good.header["kid"].(string))
	h.accept("a token for a program's session", good.signed(sign))
	h.refuse("a token for a browser's session", jws{good.header, with(good.claims, object{"sid": session.ID})}.signed(sign))
	if actor, _, err := h.Actor(t.Context(), program, session.ID); err != nil || actor.MemberID != h.org.Owner.MemberID {
		t.Errorf("the browser itself: %+v, %v", actor, err)
	}
	if actor, _, err := h.Actor(t.Context(), program, good.claims["sid"].(string)); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("a cookie for a program's session: %+v, %v", actor, err)
	}
	sessions, err := h.Sessions(t.Context(), h.org.Owner)
	if err != nil || len(sessions) != 2 {
		t.Fatalf("%v, %v", sessions, err)
	}
	for _, s := range sessions {
		if (s.ID == session.ID) != (s.Kind == store.BrowserSession) {
			t.Errorf("%+v", s)
		}
	}
}

// TestSecretsRotateWithoutLosingWhatWasMade: what the earlier secret signed and sealed is good as long as it is on the list.
func TestSecretsRotateWithoutLosingWhatWasMade(t *testing.T) {
	h := newHouse(t)
	older, newer := bytes.Repeat([]byte("older123"), 5), bytes.Repeat([]byte("newer456"), 5)
	use := func(secrets ...[]byte) house {
		next := h
		next.store.UseSecrets(secrets)
		next.Keyring = keyring.New(next.store)
		return next
	}
	cursorOf := func(h house) string {
		page, err := h.Members(t.Context(), h.org.Owner, account.MemberFilter{}, "", 2)
		if err != nil || page.Next == "" {
			t.Fatalf("%+v, %v", page, err)
		}
		return page.Next
	}
	inDatabase := h.logIn(h.org.Admin).Reveal()
	before := use(older)
	before.refuse("a token of the secret in the database", inDatabase)
	token, cursor := before.logIn(h.org.Admin).Reveal(), cursorOf(before)

	ahead := use(older, newer)
	ahead.accept("a token while another secret is announced", token)
	if got := ahead.published(); len(got) != 2 {
		t.Errorf("%d keys are published, not those of both secrets", len(got))
	}
	rotated := use(newer, older)
	rotated.accept("a token of the earlier secret", token)
	if _, err := rotated.Members(t.Context(), h.org.Owner, account.MemberFilter{}, cursor, 2); err != nil {
		t.Errorf("a link into a list: %v", err)
	}
	later := rotated.logIn(h.org.Admin).Reveal()
	if id := decode(t, later).header["kid"]; ahead.published()[id.(string)] == nil || id == decode(t, token).header["kid"] {
		t.Errorf("the key %v was not published ahead, or is the earlier one", id)
	}
	ahead = use(older, newer)
	ahead.accept("a token of the next secret, on a replica that still signs with the earlier", later)

	after := use(newer)
	after.accept("a token of the secret that stays", later)
	after.refuse("a token of a secret that was taken away", token)
	if _, err := after.Members(t.Context(), h.org.Owner, account.MemberFilter{}, cursor, 2); !errors.Is(err, keyring.ErrCursor) {
		t.Errorf("a link of a secret that was taken away: %v", err)
	}
	h.at(h.Now().Add(time.Hour))
	after.refuse("any token an hour later", later)
}

// TestReplicasNoticeThatTheirSecretsDiffer over one database.
func TestReplicasNoticeThatTheirSecretsDiffer(t *testing.T) {
	address := storetest.URL(t)
	open := func(secrets ...string) *store.Store {
		s, err := store.Open(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		var lines [][]byte
		for _, secret := range secrets {
			lines = append(lines, bytes.Repeat([]byte(secret), 8))
		}
		if len(lines) > 0 {
			s.UseSecrets(lines)
		}
		return s
	}
	own, a, both, b := open(), open("aaaa"), open("aaaa", "bbbb"), open("bbbb")
	check := func(what string, s *store.Store, want error) {
		t.Helper()
		if err := s.CheckSecrets(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("before any start", b, nil)
	for _, step := range []struct {
		what            string
		started         *store.Store
		agree, disagree []*store.Store
	}{
		{"without a file", own, []*store.Store{own}, []*store.Store{a, both, b}},
		{"with a", a, []*store.Store{a, both}, []*store.Store{own, b}},
		{"with b", b, []*store.Store{b, both}, []*store.Store{own, a}},
	} {
		if err := step.started.AnnounceSecret(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, s := range step.agree {
			check(step.what+", one that agrees", s, nil)
		}
		for _, s := range step.disagree {
			check(step.what+", one that does not", s, store.ErrSecrets)
		}
	}
}
