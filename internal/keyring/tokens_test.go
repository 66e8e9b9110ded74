package keyring_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const issuer = "https://keys.example.com"

var program = keyring.Visitor{Address: "192.0.2.7", UserAgent: "curl/8"}

func (h house) logIn(who account.Actor) keyring.Token {
	h.t.Helper()
	token, err := h.Tokens(issuer).LogIn(h.t.Context(), program, who.Email, storetest.Password)
	if err != nil {
		h.t.Fatal(err)
	}
	return token
}

// try asks whose a token is.
func (h house) try(text string) (account.Actor, error) {
	return h.Tokens(issuer).Actor(h.t.Context(), program, text)
}

// accept and refuse say what was wrong with the answer to a token.
func (h house) accept(what, text string) {
	h.t.Helper()
	if actor, err := h.try(text); err != nil || actor.MemberID == "" {
		h.t.Errorf("%s: %+v, %v", what, actor, err)
	}
}

func (h house) refuse(what, text string) {
	h.t.Helper()
	if actor, err := h.try(text); !errors.Is(err, keyring.ErrToken) || actor.MemberID != "" {
		h.t.Errorf("%s: %+v, %v", what, actor, err)
	}
}

// parts of a token, read and made without the library.
type (
	object = map[string]any
	jws    struct{ header, claims object }
)

func decode(t testing.TB, token string) jws {
	t.Helper()
	var out jws
	parts := strings.Split(token, ".")
	for i, into := range []*object{&out.header, &out.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// with changes some members of an object; nil removes one.
func with(from object, changes object) object {
	out := maps.Clone(from)
	for name, value := range changes {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

func (j jws) signed(sign func([]byte) []byte) string {
	header, _ := json.Marshal(j.header)
	claims, _ := json.Marshal(j.claims)
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(text)))
}

// signer signs as the server with this key would.
func signer(s *store.Store, keyID string) func([]byte) []byte {
	seed := s.Secrets("signing key " + keyID)[0]
	private := ed25519.NewKeyFromSeed(seed[:])
	return func(text []byte) []byte { return ed25519.Sign(private, text) }
}

func TestTokenIsItsMembersUntilItExpires(t *testing.T) {
	h := newHouse(t)
	began := h.Now()
	h.at(began)
	token := h.logIn(h.org.Admin)
	if lives := token.ExpiresAt.Sub(began); lives > 15*time.Minute || lives <= 15*time.Minute-time.Second || token.ExpiresAt.Location() != time.UTC {
		t.Errorf("it lives for %s", lives)
	}
	actor, err := h.try(token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	want := h.org.Admin
	want.SessionID, want.Address, want.UserAgent = actor.SessionID, program.Address, program.UserAgent
	if fmt.Sprint(actor) != fmt.Sprint(want) || actor.SessionID == "" {
		t.Errorf("it is %+v, not %+v", actor, want)
	}
	said := decode(t, token.Reveal()).claims
	for name, want := range map[string]any{"iss": issuer, "sub": h.org.Admin.MemberID, "sid": actor.SessionID, "org": h.org.ID, "role": "admin",
		"iat": float64(began.Unix()), "exp": float64(token.ExpiresAt.Unix())} {
		if said[name] != want {
			t.Errorf("%s is %v, not %v", name, said[name], want)
		}
	}
	h.at(token.ExpiresAt.Add(-time.Microsecond))
	h.accept("a token at its end", token.Reveal())
	h.at(began.Add(15 * time.Minute))
	h.refuse("a token that has expired", token.Reveal())
}

func TestALogInIsAProgramsInTheAuditLog(t *testing.T) {
	h := newHouse(t)
	token := h.logIn(h.org.Member)
	var after string
	err := h.db.QueryRow(`SELECT after FROM audit_events WHERE action = 'session.started' AND subject_id = $1`, decode(t, token.Reveal()).claims["sid"]).Scan(&after)
	if err != nil || !strings.Contains(after, `"for":"program"`) {
		t.Errorf("%s, %v", after, err)
	}
}

func TestTokenDiesWithItsSession(t *testing.T) {
	h := newHouse(t)
	one, other := h.logIn(h.org.Admin).Reveal(), h.logIn(h.org.Admin).Reveal()
	actor, err := h.try(one)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := h.Sessions(t.Context(), h.org.Admin)
	if err != nil || len(sessions) != 2 {
		t.Errorf("the member sees %d sessions, %v", len(sessions), err)
	}
	if err := h.EndSession(t.Context(), actor, actor.SessionID); err != nil {
		t.Fatal(err)
	}
	h.refuse("a token whose session was ended", one)
	h.accept("another of the same member", other)
	if _, err := h.SetPassword(t.Context(), h.org.Admin.Email, "nine loud geese swim"); err != nil {
		t.Fatal(err)
	}
	h.refuse("a token from before a new password", other)
}

func TestTokenFollowsItsMember(t *testing.T) {
	h := newHouse(t)
	token := h.logIn(h.org.Admin).Reveal()
	if _, err := h.db.Exec(`UPDATE members SET role = 'support' WHERE id = $1`, h.org.Admin.MemberID); err != nil {
		t.Fatal(err)
	}
	if actor, err := h.try(token); err != nil || actor.Role != account.Support || actor.May(account.IssueKey) {
		t.Errorf("after a change of role: %+v, %v", actor, err)
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, h.org.Admin.MemberID, keyring.MemberEdit{Status: account.Suspended}); err != nil {
		t.Fatal(err)
	}
	h.refuse("a suspended member's token", token)
	if _, err := h.Tokens(issuer).LogIn(t.Context(), program, h.org.Admin.Email, storetest.Password); !errors.Is(err, keyring.ErrCredentials) {
		t.Errorf("a suspended member logs in: %v", err)
	}
}

func TestTokenDiesWithItsOrganisation(t *testing.T) {
	h := newHouse(t)
	token, other := h.logIn(h.org.Owner).Reveal(), storetest.Organisation(t, h.store)
	// No use case deletes an organisation; an operator with psql can.
	_, err := h.db.Exec(`SET session_replication_role = replica; DELETE FROM organisations WHERE id = '` + h.org.ID + `'; SET session_replication_role = DEFAULT`)
	if err != nil {
		t.Fatal(err)
	}
	h.refuse("a token of an organisation that is gone", token)
	h.accept("another organisation's", h.logIn(other.Owner).Reveal())
}

func TestATokenThatTheServerDidNotSignIsRefused(t *testing.T) {
	h, elsewhere := newHouse(t), newHouse(t)
	good := h.logIn(h.org.Admin).Reveal()
	ours := decode(t, good)
	id := ours.header["kid"].(string)
	sign := signer(h.store, id)
	set, err := h.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	public, err := base64.RawURLEncoding.DecodeString(set.Keys[0].X)
	if err != nil {
		t.Fatal(err)
	}
	unsigned := func([]byte) []byte { return nil }
	hs256 := func(secret []byte) func([]byte) []byte {
		return func(text []byte) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write(text)
			return mac.Sum(nil)
		}
	}
	h.accept("the same, made by hand", ours.signed(sign))
	header := func(changes object) jws { return jws{with(ours.header, changes), ours.claims} }
	claims := func(changes object) jws { return jws{ours.header, with(ours.claims, changes)} }
	parts := strings.Split(good, ".")
	last := "AQgw"[strings.IndexByte("AQgw", parts[2][85])] // one of the four that end 64 bytes
	now := h.Now().Unix()
	for what, token := range map[string]string{
		"nothing":                             "",
		"two parts":                           parts[0] + "." + parts[1],
		"four parts":                          good + ".x",
		"no signature":                        parts[0] + "." + parts[1] + ".",
		"half a signature":                    good[:len(good)-43],
		"a line's end in the signature":       good[:len(good)-5] + "\n" + good[len(good)-5:],
		"padding":                             good + "==",
		"other spare bits":                    good[:len(good)-1] + string(last+1),
		"a space":                             good + " ",
		"a payload that was changed":          parts[0] + "." + strings.Split(claims(object{"role": "owner"}).signed(sign), ".")[1] + "." + parts[2],
		"alg none":                            header(object{"alg": "none"}).signed(unsigned),
		"alg None":                            header(object{"alg": "None"}).signed(sign),
		"alg none, signed":                    header(object{"alg": "none"}).signed(sign),
		"alg eddsa":                           header(object{"alg": "eddsa"}).signed(sign),
		"no alg":                              header(object{"alg": nil}).signed(sign),
		"HS256 by the public key":             header(object{"alg": "HS256"}).signed(hs256(public)),
		"HS256 by the published public key":   header(object{"alg": "HS256"}).signed(hs256([]byte(set.Keys[0].X))),
		"alg RS256":                           header(object{"alg": "RS256"}).signed(sign),
		"alg ES256":                           header(object{"alg": "ES256"}).signed(sign),
		"another kid":                         header(object{"kid": uuid.NewString()}).signed(sign),
		"the kid in capitals":                 header(object{"kid": strings.ToUpper(id)}).signed(sign),
		"an empty kid":                        header(object{"kid": ""}).signed(sign),
		"a kid that is no text":               header(object{"kid": 7}).signed(sign),
		"no kid":                              header(object{"kid": nil}).signed(sign),
		"another typ":                         header(object{"typ": "at+jwt"}).signed(sign),
		"no typ":                              header(object{"typ": nil}).signed(sign),
		"an extension":                        header(object{"crit": []string{"b64"}, "b64": false}).signed(sign),
		"a key of its own":                    header(object{"jwk": set.Keys[0]}).signed(sign),
		"another issuer":                      claims(object{"iss": "https://keys.example.org"}).signed(sign),
		"an issuer with a slash":              claims(object{"iss": issuer + "/"}).signed(sign),
		"no issuer":                           claims(object{"iss": nil}).signed(sign),
		"another audience":                    claims(object{"aud": "https://keys.example.org"}).signed(sign),
		"no audience":                         claims(object{"aud": nil}).signed(sign),
		"expired":                             claims(object{"exp": now - 10}).signed(sign),
		"no exp":                              claims(object{"exp": nil}).signed(sign),
		"an exp that is no time":              claims(object{"exp": "never"}).signed(sign),
		"issued in a minute":                  claims(object{"iat": now + 60}).signed(sign),
		"no iat":                              claims(object{"iat": nil}).signed(sign),
		"no sid":                              claims(object{"sid": nil}).signed(sign),
		"the sid of no session":               claims(object{"sid": uuid.NewString()}).signed(sign),
		"a sid that is no id":                 claims(object{"sid": "' OR true --"}).signed(sign),
		"another installation's token":        elsewhere.logIn(elsewhere.org.Admin).Reveal(),
		"another installation's key, our kid": ours.signed(signer(elsewhere.store, id)),
	} {
		h.refuse(what, token)
	}
	if _, err := h.Tokens("https://keys.example.org").Actor(t.Context(), program, good); !errors.Is(err, keyring.ErrToken) {
		t.Errorf("at another server's address: %v", err)
	}
	h.accept("the token after all that", good)
}

func TestALogInCountsAsASignInDoes(t *testing.T) {
	h := newHouse(t)
	logIn := func(email, password string) error {
		_, err := h.Tokens(issuer).LogIn(t.Context(), program, email, password)
		return err
	}
	signIn := func(password string) error {
		_, err := h.SignIn(t.Context(), program, h.org.Admin.Email, password)
		return err
	}
	for range 5 {
		for _, err := range []error{logIn(h.org.Admin.Email, "wrong"), signIn("wrong")} {
			if !errors.Is(err, keyring.ErrCredentials) {
				t.Fatal(err)
			}
		}
	}
	var locked *keyring.LockedError
	if err := logIn(h.org.Admin.Email, storetest.Password); !errors.As(err, &locked) {
		t.Errorf("an eleventh attempt to log in: %v", err)
	}
	if err := signIn(storetest.Password); !errors.As(err, &locked) {
		t.Errorf("a twelfth attempt, to sign in: %v", err)
	}
	if err := logIn("nobody@nowhere.test", storetest.Password); !errors.Is(err, keyring.ErrCredentials) {
		t.Errorf("an unknown address: %v", err)
	}
}

func TestTokenIsNotPrintedByAccident(t *testing.T) {
	h := newHouse(t)
	token := h.logIn(h.org.Admin)
	encoded, err := json.Marshal(struct{ Token any }{token})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("logged in", "token", token, "tokens", []keyring.Token{token})
	for _, printed := range []string{fmt.Sprint(token), fmt.Sprintf("%s %q %v %+v %#v %x %d", token, token, token, token, token, token, token),
		fmt.Sprintf("%v %+v", &token, []any{token}), string(encoded), log.String()} {
		if strings.Contains(printed, token.Reveal()[:20]) || strings.Contains(printed, fmt.Sprintf("%x", token.Reveal()[:20])) || !strings.Contains(printed, "redacted") {
			t.Errorf("%s", printed)
		}
	}
}

// FuzzToken reads a text as a token, and as the header and the claims of tokens that are signed properly.
func FuzzToken(f *testing.F) {
	s := storetest.New(f)
	org, ring := storetest.Organisation(f, s), keyring.New(s)
	tokens := ring.Tokens(issuer)
	now := s.Now()
	s.Now = func() time.Time { return now }
	token, err := tokens.LogIn(f.Context(), program, org.Admin.Email, storetest.Password)
	if err != nil {
		f.Fatal(err)
	}
	good := token.Reveal()
	ours := decode(f, good)
	sign := signer(s, ours.header["kid"].(string))
	parts := strings.Split(good, ".")
	for _, seed := range []string{good, "", ".", "..", "...", "null", "[]", `{"alg":"none"}`, parts[0] + "." + parts[1] + ".", good + "\n", good + "=", "Bearer " + good,
		jws{with(ours.header, object{"alg": "none"}), ours.claims}.signed(func([]byte) []byte { return nil }), `{"exp":1e400}`, `{"exp":9223372036854775807,"aud":[1]}`,
		`{"alg":"EdDSA","typ":"JWT","kid":null}`, `{"iat":-1,"sid":{}}`} {
		f.Add(seed)
	}
	for part := range strings.SplitSeq(good, ".") {
		f.Add(part)
	}
	encoding := base64.RawURLEncoding
	f.Fuzz(func(t *testing.T, text string) {
		try := func(token string) bool {
			_, err := tokens.Actor(t.Context(), program, token)
			if err != nil && !errors.Is(err, keyring.ErrToken) {
				t.Fatalf("%q: %v", token, err)
			}
			return err == nil
		}
		if try(text) != (text == good) {
			t.Fatalf("%q was not judged by what we signed", text)
		}
		for _, signing := range []string{encoding.EncodeToString([]byte(text)) + "." + parts[1], parts[0] + "." + encoding.EncodeToString([]byte(text))} {
			_ = try(signing + "." + encoding.EncodeToString(sign([]byte(signing)))) // it need not be refused, and must not panic
			if try(signing+"."+parts[2]) && signing != parts[0]+"."+parts[1] {
				t.Fatalf("%q was not signed", signing)
			}
		}
	})
}

// TestNoSessionSlipsPastANewPassword: one that begins with the old password is ended by the new one, or does not begin.
func TestNoSessionSlipsPastANewPassword(t *testing.T) {
	h := newHouse(t)
	tokens := h.Tokens(issuer)
	for round := range 5 {
		fresh := fmt.Sprintf("violet otter ladder hums %d", round)
		var both sync.WaitGroup
		both.Go(func() {
			if _, err := h.SetPassword(t.Context(), h.org.Support.Email, fresh); err != nil {
				t.Error(err)
			}
		})
		for range 3 {
			both.Go(func() {
				old := storetest.Password
				if round > 0 {
					old = fmt.Sprintf("violet otter ladder hums %d", round-1)
				}
				if _, err := tokens.LogIn(t.Context(), program, h.org.Support.Email, old); err != nil && !errors.Is(err, keyring.ErrCredentials) {
					t.Error(err)
				}
			})
		}
		both.Wait()
		if left, err := h.Sessions(t.Context(), h.org.Support); err != nil || len(left) > 0 {
			t.Fatalf("%d sessions outlive the password that they began with, %v", len(left), err)
		}
	}
}
