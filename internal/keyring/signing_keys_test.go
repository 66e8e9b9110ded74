package keyring_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// published is the key set as others get it: as JSON.
func (h house) published() map[string]object {
	h.t.Helper()
	set, err := h.JWKS(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	text, err := json.Marshal(set)
	if err != nil {
		h.t.Fatal(err)
	}
	var read struct{ Keys []object }
	if err := json.Unmarshal(text, &read); err != nil {
		h.t.Fatal(err)
	}
	out := map[string]object{}
	for _, key := range read.Keys {
		out[key["kid"].(string)] = key
	}
	return out
}

func (h house) rotate() keyring.SigningKey {
	h.t.Helper()
	key, err := h.RotateSigningKey(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return key
}

// The key's members are those of RFC 8037, section 2, and the example of its appendix A.2.
func TestAnybodyCanCheckATokenWithThePublishedKeys(t *testing.T) {
	h := newHouse(t)
	token := h.logIn(h.org.Admin).Reveal()
	key := h.published()[decode(t, token).header["kid"].(string)]
	for name, want := range map[string]any{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig"} {
		if key[name] != want {
			t.Errorf("%s is %v, not %s", name, key[name], want)
		}
	}
	if len(key) != 6 {
		t.Errorf("the key says more or less than it should: %v", key)
	}
	x, _ := key["x"].(string)
	public, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil || len(public) != ed25519.PublicKeySize {
		t.Fatalf("x is %q, %v", x, err)
	}
	end := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[end+1:])
	if err != nil || !ed25519.Verify(public, []byte(token[:end]), signature) {
		t.Errorf("the signature does not fit, %v", err)
	}
}

func TestTokensOutliveARotation(t *testing.T) {
	h, began := newHouse(t), time.Now()
	after := func(d time.Duration) { h.at(began.Add(d)) }
	kid := func(token string) string { return decode(t, token).header["kid"].(string) }
	after(0)
	early := h.logIn(h.org.Admin).Reveal()
	next := h.rotate()
	if wait := next.SignsFrom.Sub(h.Now()); wait < keyring.JWKSMaxAge+time.Minute {
		t.Errorf("it signs after %s, before everybody has heard of it", wait)
	}
	after(time.Minute) // what was read before is forgotten
	if set := h.published(); len(set) != 2 || set[next.ID] == nil {
		t.Errorf("what signs next is not published: %v", set)
	}
	after(10*time.Minute - time.Microsecond)
	late := h.logIn(h.org.Admin).Reveal()
	if kid(late) != kid(early) {
		t.Error("a key signs before its time")
	}
	after(10 * time.Minute)
	fresh := h.logIn(h.org.Admin).Reveal()
	if kid(fresh) != next.ID {
		t.Error("the new key does not sign when its time has come")
	}
	for _, token := range []string{early, late, fresh} {
		h.accept("at the switch-over", token)
	}
	after(25*time.Minute - 2*time.Second)
	h.accept("the last token of the old key, at its end", late)
	after(30 * time.Minute) // 15 minutes of the last token, and 5 for clocks that differ
	if err := h.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if set := h.published(); len(set) != 1 || set[next.ID] == nil {
		t.Errorf("the old key is still published: %v", set)
	}
	forged := decode(t, h.logIn(h.org.Admin).Reveal())
	forged.header["kid"] = kid(early)
	h.refuse("a token that the old key signs now", forged.signed(signer(h.store, kid(early))))
}

// rotateAtOnce rotates the signing key on ten replicas.
func (h house) rotateAtOnce() []keyring.SigningKey {
	h.t.Helper()
	made := make([]keyring.SigningKey, 10)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			var err error
			if made[i], err = keyring.New(h.store).RotateSigningKey(h.t.Context()); err != nil {
				h.t.Error(err)
			}
		})
	}
	wg.Wait()
	return made
}

func TestReplicasThatRotateAtOnceMakeOneSuccessor(t *testing.T) {
	h := newHouse(t)
	made := h.rotateAtOnce()
	for _, key := range append(made, h.rotate()) {
		if key != made[0] || key.ID == "" {
			t.Errorf("two successors: %v and %v", key, made[0])
		}
	}
	if set := h.published(); len(set) != 2 {
		t.Errorf("%d keys are published", len(set))
	}
}

func TestASigningKeyIsKeptFor30Days(t *testing.T) {
	h := newHouse(t)
	began := h.Now()
	for _, c := range []struct {
		at   time.Duration
		keys int
	}{{0, 1}, {30*apikey.Day - time.Hour, 1}, {30*apikey.Day + time.Hour, 2}, {30*apikey.Day + 61*time.Minute, 2}, {60 * apikey.Day, 1}, {60*apikey.Day + 2*time.Hour, 2}} {
		h.at(began.Add(c.at))
		if err := h.KeepSigningKey(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.at(h.Now().Add(time.Minute))
		if got := len(h.published()); got != c.keys {
			t.Errorf("after %s there are %d keys, not %d", c.at, got, c.keys)
		}
	}
}

func TestAnEmptiedTableIsFilledByTheNextRotation(t *testing.T) {
	h := newHouse(t)
	if _, err := h.db.Exec(`DELETE FROM signing_keys`); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Tokens(issuer).LogIn(t.Context(), program, h.org.Admin.Email, "wrong"); !errors.Is(err, keyring.ErrCredentials) {
		t.Error(err)
	}
	if _, err := h.Tokens(issuer).LogIn(t.Context(), program, h.org.Admin.Email, "correct horse battery"); err == nil {
		t.Error("a token was signed by no key")
	}
	now := h.Now()
	h.at(now)
	made := h.rotateAtOnce()
	h.accept("a token of the new key, at once", h.logIn(h.org.Admin).Reveal())
	if err := h.KeepSigningKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range append(made, h.rotate()) {
		if key.ID == "" || key != made[0] || !key.SignsFrom.Equal(now) {
			t.Errorf("%v beside %v", key, made[0])
		}
	}
	h.at(now.Add(10 * time.Minute))
	if next := h.rotate(); next.ID == made[0].ID || !next.SignsFrom.Equal(now.Add(20*time.Minute)) {
		t.Errorf("its successor is %v", next)
	}
}

func TestAKeyThatIsUnknownIsLookedForOnceASecond(t *testing.T) {
	h := newHouse(t)
	now := h.Now()
	h.at(now)
	token := decode(t, h.logIn(h.org.Admin).Reveal()) // the keys are read
	next := h.rotate()
	token.header["kid"] = next.ID
	text := token.signed(signer(h.store, next.ID))
	h.at(now.Add(999 * time.Millisecond))
	h.refuse("a key that was made since the last reading", text)
	h.at(now.Add(time.Second))
	h.accept("the same a second after it", text)
}

// What can't be known is no bad token: a program that is told 401 would throw its token away.
func TestAnUnknownKeyIsNoBadTokenWhileTheDatabaseIsAway(t *testing.T) {
	h := newHouse(t)
	now := h.Now()
	h.at(now)
	good := h.logIn(h.org.Admin).Reveal()
	unknown := decode(t, good)
	unknown.header["kid"] = "00000000-0000-0000-0000-000000000000"
	text := unknown.signed(signer(h.store, "x"))
	lock, err := h.db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.Exec(`LOCK TABLE signing_keys IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	h.at(now.Add(2 * time.Second))
	most, over := 0, make(chan struct{})
	var watching, wg sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
				most = max(most, h.store.Pools()[0].InUse)
			}
		}
	})
	for range 50 {
		wg.Go(func() {
			if _, err := h.try(text); !errors.Is(err, keyring.ErrUnavailable) || errors.Is(err, keyring.ErrToken) {
				t.Errorf("an unknown key: %v", err)
			}
		})
	}
	h.accept("a known key meanwhile", good)
	wg.Wait()
	close(over)
	watching.Wait()
	if most == 0 || most > 3 {
		t.Errorf("50 requests asked on %d connections", most)
	}
	h.at(now.Add(2 * time.Minute))
	if _, err := h.JWKS(t.Context()); !errors.Is(err, keyring.ErrUnavailable) {
		t.Errorf("the published keys: %v", err)
	}
	h.accept("a known key after a reading that failed", good)
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	h.at(now.Add(2*time.Minute + time.Second))
	if set := h.published(); len(set) != 1 {
		t.Errorf("the published keys when the database is back: %v", set)
	}
	h.refuse("an unknown key when the database is back", text)
	if lock, err = h.db.Begin(); err != nil {
		t.Fatal(err)
	}
	if _, err := lock.Exec(`LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	if _, err := h.try(good); !errors.Is(err, keyring.ErrUnavailable) {
		t.Errorf("a good token while the sessions can't be asked: %v", err)
	}
}
