package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/store"
)

// TokenLifetime ends a program's session, and its token with it.
const TokenLifetime = store.TokenLifetime

// tokenLeeway is how far in the future a token may have been issued: on a replica whose clock is ahead by so much. It
// prolongs no token, for its session ends by the database.
const tokenLeeway = 5 * time.Second

// Token is what a program sends with each request instead of a password: a JWT that names its session (RFC 7519). It
// redacts itself wherever it is printed, logged or encoded.
type Token struct {
	text      string
	ExpiresAt time.Time // in UTC and whole seconds, as the token says it
}

// Reveal returns the token's text. A test lists the only files that may call it.
func (t Token) Reveal() string { return t.text }

const redactedToken = "[redacted session token]"

func (t Token) String() string               { return redactedToken }
func (t Token) GoString() string             { return redactedToken }
func (t Token) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redactedToken)) }
func (t Token) LogValue() slog.Value         { return slog.StringValue(redactedToken) }
func (t Token) MarshalText() ([]byte, error) { return []byte(redactedToken), nil }

// Tokens makes and reads the tokens of one issuer.
type Tokens struct {
	ring   *Keyring
	issuer string
}

// Tokens are those of the server that people and programs reach at the base URL, which is also the one audience that
// they are for.
func (r *Keyring) Tokens(baseURL string) Tokens { return Tokens{r, baseURL} }

// tokenClaims is what a token says. The role is that of the log-in, for others to read; the server asks the database.
type tokenClaims struct {
	jwt.RegisteredClaims              // iss, aud, sub (the member), iat, exp
	SessionID            string       `json:"sid"`
	OrgID                string       `json:"org"`
	Role                 account.Role `json:"role"`
}

// LogIn is SignIn for a program: the same checks, limits and errors, and a session that lives for TokenLifetime.
func (t Tokens) LogIn(ctx context.Context, from Visitor, email, password string) (Token, error) {
	member, err := t.ring.authenticate(ctx, from, email, password)
	if err != nil {
		return Token{}, err
	}
	key, err := t.ring.signing.current(ctx)
	if err != nil {
		return Token{}, err
	}
	session, err := t.ring.beginSession(ctx, from, member, store.ProgramSession)
	if err != nil {
		return Token{}, err
	}
	claims := tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: t.issuer, Audience: jwt.ClaimStrings{t.issuer}, Subject: member.ID,
			IssuedAt: jwt.NewNumericDate(session.CreatedAt), ExpiresAt: jwt.NewNumericDate(session.ExpiresAt),
		},
		SessionID: session.ID, OrgID: member.OrgID, Role: member.Role,
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	unsigned.Header["kid"] = key.id
	text, err := unsigned.SignedString(key.private)
	return Token{text, claims.ExpiresAt.UTC()}, err
}

// Actor returns who is behind a token at this moment: its session may have been ended and its member's role changed
// since it was signed. No token opens a browser's session. ErrToken for every token that is not good, ErrUnavailable when that can't be known.
func (t Tokens) Actor(ctx context.Context, from Visitor, token string) (account.Actor, error) {
	claims, err := t.read(ctx, token)
	if err != nil {
		return account.Actor{}, err
	}
	actor, _, err := t.ring.sessionActor(ctx, from, claims.SessionID, store.ProgramSession)
	if errors.Is(err, ErrNotFound) {
		err = ErrToken
	}
	if err != nil {
		return account.Actor{}, err
	}
	return actor, nil
}

// read returns what a token says, if this server signed it in these very characters and it has not expired. The one
// algorithm is ours to choose and not the token's (RFC 8725, section 3.1).
func (t Tokens) read(ctx context.Context, text string) (tokenClaims, error) {
	if strings.ContainsAny(text, "\r\n") { // base64 would pass over them
		return tokenClaims{}, ErrToken
	}
	var claims tokenClaims
	var lookUp error
	parser := jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithIssuer(t.issuer), jwt.WithAudience(t.issuer), jwt.WithTimeFunc(t.ring.Now), jwt.WithLeeway(tokenLeeway),
		jwt.WithIssuedAt(), jwt.WithExpirationRequired())
	_, err := parser.ParseWithClaims(text, &claims, func(token *jwt.Token) (any, error) {
		id, err := keyID(token.Header)
		if err != nil {
			return nil, err
		}
		var key signingKey
		if key, lookUp = t.ring.signing.find(ctx, id); lookUp != nil {
			return nil, lookUp
		}
		return key.public(), nil
	})
	switch {
	case lookUp != nil:
		return tokenClaims{}, lookUp
	case err != nil || claims.IssuedAt == nil:
		return tokenClaims{}, ErrToken
	}
	return claims, nil
}

// keyID reads a header, which says what ours say and nothing more: one that asks for a "crit" extension would have to be
// refused (RFC 7515, section 4.1.11).
func keyID(header map[string]any) (string, error) {
	id, named := header["kid"].(string)
	if len(header) != 3 || !named || header["typ"] != "JWT" {
		return "", ErrToken
	}
	return id, nil
}
