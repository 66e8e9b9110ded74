package verify

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strconv"
	"sync"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

const (
	shards = 64

	// What a shard holds at most: 262 144 keys in all, at 300 bytes or less each, and 16 384 hashes that are no key's.
	// One beyond that takes a random one's place.
	maxEntries = 4096
	maxUnknown = 256

	// maxShared bounds how many different terms are kept to be shared.
	maxShared = 4096
)

type hash = [32]byte

// cache is what is known of keys, in parts that don't wait for each other.
type cache struct {
	shards [shards]shard
	shared shared
}

// shard is a part of the cache. Its generation grows with every news about it, so that what was read before the news
// is not kept after it.
type shard struct {
	mu         sync.RWMutex
	generation uint64
	known      map[hash]*entry
	unknown    map[hash]struct{} // hashes that are no key's
	_          [64]byte          // the next shard's lock is in another cache line
}

// entry is a key in as few bytes as can be: ids are 16 of them, times are microseconds since 1970, and what many keys
// have in common they share.
type entry struct {
	id, org, owner, workspace, process uuid.UUID // no workspace and no process are uuid.Nil
	name                               string
	expiresAt, graceEndsAt, endsAt     int64 // graceEndsAt is 0 for none; endsAt is apikey.Key.EndsAt
	terms                              *terms
}

// terms are what many keys have in common.
type terms struct {
	status      apikey.Status // as stored
	environment apikey.Environment
	actsAs      account.Role
	ownerActive bool
	scopes      []string
	allowlist   []netip.Prefix
	profile     *apikey.Profile
}

// newEntry makes one of what was read.
func (c *cache) newEntry(k store.KnownKey) *entry {
	e := &entry{id: id(k.ID), org: id(k.OrgID), owner: id(k.OwnerID), workspace: id(k.WorkspaceID), process: id(k.ProcessID),
		name: k.Name, expiresAt: k.ExpiresAt.UnixMicro(), endsAt: k.EndsAt().UnixMicro()}
	if k.GraceEndsAt != nil {
		e.graceEndsAt = k.GraceEndsAt.UnixMicro()
	}
	e.terms = c.shared.one(terms{status: k.Stored, environment: k.Environment, actsAs: k.ActsAs,
		ownerActive: k.OwnerStatus == account.Active, scopes: k.Scopes, allowlist: k.IPAllowlist, profile: k.Profile})
	return e
}

func id(text string) uuid.UUID {
	id, _ := uuid.Parse(text) // "" is uuid.Nil, and a uuid column holds nothing else
	return id
}

func newCache() *cache {
	c := &cache{}
	c.clear()
	return c
}

// The first bytes of a SHA-256 are as even as random ones.
func (c *cache) shard(h hash) *shard { return &c.shards[h[0]%shards] }

// find says what is known about a hash: an entry, or that it is no key's, or nothing; and the generation to keep with
// what is read now.
func (s *shard) find(h hash) (e *entry, unknown bool, generation uint64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if e = s.known[h]; e == nil {
		_, unknown = s.unknown[h]
	}
	return e, unknown, s.generation
}

// keep keeps what was read, an entry or nil for no key, unless there has been news since.
func (s *shard) keep(h hash, e *entry, generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.generation != generation {
		return
	}
	if e != nil {
		put(s.known, h, e, maxEntries)
	} else {
		put(s.unknown, h, struct{}{}, maxUnknown)
	}
}

// put makes room by removing an entry that the map's random order begins with.
func put[V any](m map[hash]V, h hash, v V, most int) {
	if _, there := m[h]; !there && len(m) >= most {
		for old := range m {
			delete(m, old)
			break
		}
	}
	m[h] = v
}

// forget drops one key.
func (c *cache) forget(h hash) {
	s := c.shard(h)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	delete(s.known, h)
	delete(s.unknown, h)
}

// forgetWhere drops all keys of which it is true: a member's, or those that carry a profile.
func (c *cache) forgetWhere(is func(*entry) bool) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		for h, e := range s.known {
			if is(e) {
				delete(s.known, h)
			}
		}
		s.mu.Unlock()
	}
}

// clear drops everything.
func (c *cache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		s.known, s.unknown = map[hash]*entry{}, map[hash]struct{}{}
		s.mu.Unlock()
	}
}

func (c *cache) sizes() (known, unknown int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		known, unknown = known+len(s.known), unknown+len(s.unknown)
		s.mu.RUnlock()
	}
	return known, unknown
}

// shared keeps one of equal terms. When there are too many it begins anew; those in use stay with their keys.
type shared struct {
	mu    sync.Mutex
	terms map[hash]*terms // by what they say, so that a profile before and after a change are two
}

func (s *shared) one(t terms) *terms {
	says := t.hash()
	s.mu.Lock()
	defer s.mu.Unlock()
	if kept := s.terms[says]; kept != nil {
		return kept
	}
	if len(s.terms) >= maxShared || s.terms == nil {
		s.terms = map[hash]*terms{}
	}
	s.terms[says] = &t
	return &t
}

// hash is of all that the terms say, so that only equal ones have the same. PostgreSQL's text holds no NUL.
func (t terms) hash() hash {
	text := strconv.AppendBool(nil, t.ownerActive)
	for _, word := range []string{string(t.status), string(t.environment), string(t.actsAs)} {
		text = append(append(text, word...), 0)
	}
	for _, scope := range t.scopes {
		text = append(append(text, scope...), 0)
	}
	for _, prefix := range t.allowlist {
		text = append(prefix.AppendTo(append(text, 0)), 0)
	}
	if t.profile != nil {
		text = fmt.Appendf(append(text, 0, 0), "%#v", *t.profile)
	}
	return sha256.Sum256(text)
}
