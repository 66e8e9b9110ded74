// Package verify answers whether a key is good: the hot path. A key's shape and checksum are judged without a look-up;
// what is known of it comes from a cache that the database's news keep true, or from one query; and status, scopes
// and address are judged at the moment of asking. Nothing is ever served stale.
package verify

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// Code is the outcome of a verification, as programs read it.
type Code string

// The outcomes, in the order in which they are judged.
const (
	Malformed         Code = "malformed"
	NotFound          Code = "not_found"
	Revoked           Code = "revoked"
	Disabled          Code = "disabled"
	Expired           Code = "expired"
	Rotated           Code = "rotated" // and its grace period is over
	InsufficientScope Code = "insufficient_scope"
	AddressNotAllowed Code = "ip_not_allowed"
	Valid             Code = "valid"
)

// Question is what a key is asked to be good for.
type Question struct {
	Scopes    []string   // all must be held; "*" holds every one
	Address   netip.Addr // of the client; the zero Addr is in no allowlist
	UserAgent string
	OrgID     string // only keys of this organisation are known; "" for any
	Silent    bool   // don't count this as use
}

// Verdict is the answer. Key is nil when the key is malformed or unknown, and set for every refusal of a known one.
type Verdict struct {
	Code Code
	Key  *Key
}

// Key is what a verifier may know of a key. Scopes and Profile are shared with others and only to be read.
type Key struct {
	ID          string
	Name        string
	OrgID       string
	OwnerID     string
	OwnerRole   account.Role
	OwnerActive bool
	WorkspaceID string
	ProcessID   string
	Environment apikey.Environment
	Scopes      []string
	Profile     *apikey.Profile // nil: none
	ExpiresAt   time.Time
	Status      apikey.Status // at the time of asking
	GraceEndsAt *time.Time
}

// Verifier answers for one replica.
type Verifier struct {
	store *store.Store
	log   *slog.Logger
}

// New makes a verifier. Until Run has heard from the database it asks it every time.
func New(s *store.Store, log *slog.Logger) *Verifier { return &Verifier{store: s, log: log} }

// Run follows the news and writes down usage until ctx ends, and then what is left of it.
func (v *Verifier) Run(ctx context.Context) { <-ctx.Done() }

// Verify judges a key now. The error is store.ErrUnavailable, wrapped, when nobody can know.
func (v *Verifier) Verify(ctx context.Context, plaintext string, q Question) (Verdict, error) {
	if _, err := apikey.Parse(plaintext); err != nil {
		return Verdict{Code: Malformed}, nil
	}
	return Verdict{}, store.ErrUnavailable
}

// Stats is what /metrics says. Counts begin with the process.
type Stats struct {
	Hits     int64          // verifications that the cache answered
	Misses   int64          // that asked the database, as the cache did not know the key
	Bypasses int64          // that asked it, as the news were too old to trust the cache
	Verdicts map[Code]int64 // answers by code; malformed and not_found are of the whole server, the others also a key's usage
	Failures int64          // verifications that nobody could answer

	Entries       int           // keys in the cache
	Unknown       int           // hashes in the cache that are no key's
	NewsAge       time.Duration // since the last sign of life from the database was sent; since the start when there was none
	FlushLag      time.Duration // age of the oldest use that is not written down yet; 0 when all is
	FlushFailures int64
	Lost          int64 // uses that were never written down: too many waited, or the database refused them
}

// Stats says how it goes.
func (v *Verifier) Stats() Stats { return Stats{} }
