// Package verify answers whether a key is good: the hot path. A key's shape and checksum are judged without a look-up;
// what is known of it comes from a cache that the database's news keep true, or from one query; and status, scopes
// and address are judged at the moment of asking. Nothing is ever served stale.
package verify

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

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

// Codes lists every outcome.
var Codes = []Code{Malformed, NotFound, Revoked, Disabled, Expired, Rotated, InsufficientScope, AddressNotAllowed, Valid}

// Question is what a key is asked to be good for.
type Question struct {
	Scopes    []string   // all must be held, by name or by "*"; nobody holds ""
	Address   netip.Addr // of the client; the zero Addr is in no allowlist
	UserAgent string
	OrgID     string // only keys of this organisation are known; "" for any
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
	ActsAs      account.Role // with which the key acts in Moonlatch's own API
	OwnerActive bool
	WorkspaceID string
	ProcessID   string
	Environment apikey.Environment
	Scopes      []string
	Profile     *apikey.Profile // nil: none
	ExpiresAt   time.Time
	Status      apikey.Status // at the time of asking
	GraceEndsAt *time.Time
	EndsAt      time.Time // the effective end: see apikey.Key.EndsAt
}

// trust is how long after the database's last sign of life was sent the cache is still believed, and how old a reading
// may be when it is answered from. With what else an answer takes, no key is accepted a second after its revocation
// was acknowledged.
const trust = 750 * time.Millisecond

// askPatience is how long a verification waits for its turn at the database. With what a silent network takes, 1.5 s, it
// is answered within 3 s.
const askPatience = 500 * time.Millisecond

// Verifier answers for one replica.
type Verifier struct {
	store  *store.Store
	log    *slog.Logger
	cache  *cache
	ledger *ledger
	beat   atomic.Pointer[time.Time] // when the last sign of life was sent that was heard since the last reset
	heard  atomic.Pointer[time.Time] // the same, whatever was reset, or the start
	asking chan struct{}             // as full as verifications ask the database

	hits, misses, bypasses, failures atomic.Int64
	verdicts                         map[Code]*atomic.Int64 // never written after New
}

// New makes a verifier. Until Run has heard from the database it asks it every time.
func New(s *store.Store, log *slog.Logger) *Verifier {
	v := &Verifier{store: s, log: log, cache: newCache(), ledger: newLedger(s), asking: make(chan struct{}, store.LookUps),
		verdicts: map[Code]*atomic.Int64{}}
	for _, code := range Codes {
		v.verdicts[code] = &atomic.Int64{}
	}
	now := time.Now()
	v.heard.Store(&now)
	return v
}

// Run follows the news and writes down usage until ctx ends, and then what is left of it. It returns within 8 s, whatever the network does.
func (v *Verifier) Run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { v.store.FollowNews(ctx, v.log, v.hear) })
	flush := func() error { // not ended by ctx: a flush under way is finished
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushPatience)
		defer cancel()
		return v.ledger.flush(ctx)
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			if err := flush(); err != nil {
				v.log.ErrorContext(ctx, "the last counts of usage could not be written down", "error", err)
			}
			return
		case <-tick.C:
		}
		err := flush()
		if err != nil && !failed { // once an outage
			v.log.WarnContext(ctx, "usage can't be written down; it waits in memory", "error", err)
		}
		failed = err != nil
	}
}

// hear does what a piece of news asks for. It is called by one goroutine, in the order of the commits.
func (v *Verifier) hear(news store.News) {
	switch news.Kind {
	case store.NewsBeat:
		v.beat.Store(&news.SentAt)
		v.heard.Store(&news.SentAt)
	case store.NewsKey:
		v.cache.forget(news.Hash)
	case store.NewsMember:
		v.cache.forgetWhere(func(e *entry) bool { return e.owner == news.ID })
	case store.NewsProfile:
		v.cache.forgetWhere(func(e *entry) bool { return e.terms.profile != nil && e.terms.profile.ID == news.ID.String() })
	default:
		v.beat.Store(nil)
		v.cache.clear()
	}
}

// recent says whether a moment is so short ago that what was known then may be answered from. The monotonic clock and
// that on the wall must agree, since a suspended machine stops the one and a correction moves the other.
func recent(moment time.Time) bool {
	now := time.Now()
	running, wall := now.Sub(moment), time.Duration(now.UnixNano()-moment.UnixNano())
	return 0 <= running && running <= trust && 0 <= wall && wall <= trust
}

// Verify judges a key now. The error is store.ErrUnavailable, wrapped, when nobody can know. It takes 3 s at most, and ctx
// does not end it.
func (v *Verifier) Verify(ctx context.Context, plaintext string, q Question) (Verdict, error) {
	code, e, now, err := v.judge(ctx, plaintext, q)
	if err != nil {
		v.failures.Add(1)
		return Verdict{}, fmt.Errorf("verifying a key: %w", err)
	}
	v.verdicts[code].Add(1)
	if e == nil {
		return Verdict{Code: code}, nil
	}
	v.ledger.add(e.id, now, code == Valid, q)
	return Verdict{Code: code, Key: e.key(now)}, nil
}

// judge finds what is known of the key and says what it is good for, and when that was. The entry is nil for an
// unknown one.
//
// What is known is as of a moment that is taken before it is looked up, and whether that is recent is asked when the
// verdict stands: a process may be stopped at any place in between, and go on much later.
func (v *Verifier) judge(ctx context.Context, plaintext string, q Question) (Code, *entry, time.Time, error) {
	parsed, err := apikey.Parse(plaintext)
	if err != nil {
		return Malformed, nil, time.Time{}, nil
	}
	h := parsed.Hash()
	s := v.cache.shard(h)
	beat := v.beat.Load()
	e, unknown, generation := s.find(h)
	if beat != nil && (e != nil || unknown) {
		now := v.store.Now()
		code := e.judge(q, now)
		if recent(*beat) {
			v.hits.Add(1)
			return code, e.ifKnown(code), now, nil
		}
	}
	if beat != nil && recent(*beat) {
		v.misses.Add(1)
	} else {
		v.bypasses.Add(1)
	}
	known, asked, err := v.ask(ctx, h)
	switch {
	case err == nil:
		e = v.cache.newEntry(known)
	case errors.Is(err, store.ErrNotFound):
		e = nil
	default:
		return "", nil, time.Time{}, err
	}
	if beat := v.beat.Load(); beat != nil && recent(*beat) {
		s.keep(h, e, generation)
	}
	now := v.store.Now()
	code := e.judge(q, now)
	if !recent(asked) {
		return "", nil, time.Time{}, fmt.Errorf("%w: it took longer than %s to answer", store.ErrUnavailable, trust)
	}
	return code, e.ifKnown(code), now, nil
}

// ask reads a key from the database when its turn comes, and says when that was. It goes on when its caller has hung up:
// the store bounds it, and to stop it would take longer than its answer, and a connection with it.
func (v *Verifier) ask(ctx context.Context, h hash) (store.KnownKey, time.Time, error) {
	ctx = context.WithoutCancel(ctx)
	if err := v.takeTurn(ctx); err != nil {
		return store.KnownKey{}, time.Time{}, err
	}
	defer func() { <-v.asking }()
	asked := time.Now()
	known, err := v.store.KeyByHash(ctx, h)
	return known, asked, err
}

func (v *Verifier) takeTurn(ctx context.Context) error {
	select {
	case v.asking <- struct{}{}:
		return nil
	default: // only who has to wait needs a timer
	}
	waiting, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	select {
	case v.asking <- struct{}{}:
		return nil
	case <-waiting.Done():
		return fmt.Errorf("%w: too many verifications wait for it", store.ErrUnavailable)
	}
}

// judge says what a key is good for at a time. A nil entry is an unknown key.
func (e *entry) judge(q Question, now time.Time) Code {
	if e == nil || q.OrgID != "" && e.org != id(q.OrgID) {
		return NotFound
	}
	if key := e.life(); !key.AcceptedAt(now) {
		switch key.StatusAt(now) {
		case apikey.Revoked:
			return Revoked
		case apikey.Disabled:
			return Disabled
		case apikey.Rotated:
			return Rotated
		default:
			return Expired
		}
	}
	for _, scope := range q.Scopes {
		if !apikey.Covers(e.terms.scopes, scope) {
			return InsufficientScope
		}
	}
	if !apikey.AllowsAddress(e.terms.allowlist, q.Address) {
		return AddressNotAllowed
	}
	return Valid
}

// ifKnown hides an entry of which the verdict says that it is not known.
func (e *entry) ifKnown(code Code) *entry {
	if code == NotFound {
		return nil
	}
	return e
}

// life is what a key's status is derived from.
func (e *entry) life() apikey.Key {
	key := apikey.Key{Stored: e.terms.status, ExpiresAt: time.UnixMicro(e.expiresAt).UTC()}
	if e.graceEndsAt != 0 {
		end := time.UnixMicro(e.graceEndsAt).UTC()
		key.GraceEndsAt = &end
	}
	return key
}

// key is the entry as others see it.
func (e *entry) key(now time.Time) *Key {
	life := e.life()
	ids := texts(e.id, e.org, e.owner, e.workspace, e.process)
	return &Key{
		ID: ids[0], Name: e.name, OrgID: ids[1], OwnerID: ids[2], ActsAs: e.terms.actsAs, OwnerActive: e.terms.ownerActive,
		WorkspaceID: ids[3], ProcessID: ids[4], Environment: e.terms.environment, Scopes: e.terms.scopes, Profile: e.terms.profile,
		ExpiresAt: life.ExpiresAt, Status: life.StatusAt(now), GraceEndsAt: life.GraceEndsAt,
		EndsAt: time.UnixMicro(e.endsAt).UTC(),
	}
}

// texts writes ids; uuid.Nil is "". They are parts of one string, which is made once.
func texts(ids ...uuid.UUID) [5]string {
	const length = 36
	var buffer [5 * length]byte
	for i, id := range ids {
		at := buffer[i*length:]
		hex.Encode(at, id[:4])
		hex.Encode(at[9:], id[4:6])
		hex.Encode(at[14:], id[6:8])
		hex.Encode(at[19:], id[8:10])
		hex.Encode(at[24:], id[10:])
		at[8], at[13], at[18], at[23] = '-', '-', '-', '-'
	}
	all := string(buffer[:])
	var out [5]string
	for i, id := range ids {
		if id != uuid.Nil {
			out[i] = all[i*length : (i+1)*length]
		}
	}
	return out
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
func (v *Verifier) Stats() Stats {
	known, unknown := v.cache.sizes()
	s := Stats{Hits: v.hits.Load(), Misses: v.misses.Load(), Bypasses: v.bypasses.Load(), Failures: v.failures.Load(),
		Verdicts: map[Code]int64{}, Entries: known, Unknown: unknown, NewsAge: time.Since(*v.heard.Load()),
		FlushLag: v.ledger.lag(), FlushFailures: v.ledger.failures.Load(), Lost: v.ledger.lost.Load()}
	for code, n := range v.verdicts {
		s.Verdicts[code] = n.Load()
	}
	return s
}
