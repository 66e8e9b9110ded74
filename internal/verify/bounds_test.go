package verify

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func randomHash() (h hash) {
	_, _ = rand.Read(h[:])
	return h
}

// knownKey is one of many keys of an organisation as they are in life: 200 owners, 1000 processes, 30 sets of scopes,
// 10 profiles; every twentieth has an allowlist of its own.
func knownKey(i int, org string, pools [3][]string) store.KnownKey {
	k := store.KnownKey{Key: apikey.Key{ID: uuid.NewString(), OrgID: org, Name: fmt.Sprintf("payments service %06d", i), Environment: apikey.Live,
		Stored: apikey.Enabled, OwnerID: pools[0][i%len(pools[0])], WorkspaceID: pools[1][i%len(pools[1])], ProcessID: pools[2][i%len(pools[2])],
		ExpiresAt: time.Now().AddDate(0, 3, 0)}, ActsAs: account.Admin, OwnerStatus: account.Active}
	for s := range 1 + i%30 {
		k.Scopes = append(k.Scopes, "read:resource-"+strconv.Itoa(s))
	}
	if i%20 == 0 {
		k.IPAllowlist = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
	}
	if p := i % 10; p < 5 {
		k.Profile = &apikey.Profile{ID: fmt.Sprint(p), Name: "a profile", Categories: make([]apikey.Category, 8)}
	}
	return k
}

// fill puts so many keys into the cache and returns the hash of one.
func fill(c *cache, n int) (h hash) {
	var pools [3][]string
	for i, size := range []int{200, 100, 1000} {
		for range size {
			pools[i] = append(pools[i], uuid.NewString())
		}
	}
	org := uuid.NewString()
	for i := range n {
		h = randomHash()
		s := c.shard(h)
		_, _, generation := s.find(h)
		s.keep(h, c.newEntry(knownKey(i, org, pools)), generation)
	}
	return h
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestACachedKeyTakesAtMost300Bytes(t *testing.T) {
	const n = 100_000
	before := heap()
	c := newCache()
	fill(c, n)
	each := (heap() - before) / n
	known, _ := c.sizes()
	t.Logf("%d keys take %d bytes each", known, each)
	if known != n || each > 300 {
		t.Errorf("%d keys take %d bytes each", known, each)
	}
	runtime.KeepAlive(c)
}

func TestTheCacheIsBounded(t *testing.T) {
	c, e := newCache(), &entry{}
	var newest hash
	for i := range shards * maxEntries * 11 / 10 {
		newest = randomHash()
		c.shard(newest).keep(newest, e, 1)
		if i%10 == 0 {
			h := randomHash()
			c.shard(h).keep(h, nil, 1)
		}
	}
	if known, unknown := c.sizes(); known > shards*maxEntries || unknown > shards*maxUnknown || known < shards*maxEntries*9/10 {
		t.Errorf("%d keys and %d unknown hashes are kept", known, unknown)
	}
	if e, _, _ := c.shard(newest).find(newest); e == nil {
		t.Error("the newest key is not kept")
	}
	for i := range maxShared * 2 {
		c.newEntry(store.KnownKey{Key: apikey.Key{Scopes: []string{fmt.Sprint(i)}}})
		if len(c.shared.terms) > maxShared {
			t.Fatalf("%d terms are kept", len(c.shared.terms))
		}
	}
}

// A read that began before the news of any kind is not kept after them, whether it found a key or none.
func TestWhatWasReadBeforeTheNewsIsNotKept(t *testing.T) {
	v := New(nil, slog.New(slog.DiscardHandler))
	now := time.Now()
	for _, news := range []store.News{{Kind: store.NewsKey, Hash: hash{1}}, {Kind: store.NewsMember}, {Kind: store.NewsProfile}, {Kind: store.NewsReset}} {
		for _, read := range []*entry{nil, v.cache.newEntry(store.KnownKey{})} {
			s := v.cache.shard(hash{1})
			_, _, generation := s.find(hash{1})
			v.hear(news)
			s.keep(hash{1}, read, generation)
			if known, unknown := v.cache.sizes(); known+unknown != 0 {
				t.Errorf("after news of kind %d, %d keys and %d unknown hashes are kept", news.Kind, known, unknown)
			}
			_, _, generation = s.find(hash{1})
			v.hear(store.News{Kind: store.NewsBeat, SentAt: now}) // is no news of a change
			s.keep(hash{1}, read, generation)
			if known, unknown := v.cache.sizes(); known+unknown != 1 {
				t.Errorf("what was read after the news is not kept")
			}
			v.hear(store.News{Kind: store.NewsReset})
		}
	}
	if v.beat.Load() != nil {
		t.Error("the cache is believed after a reset")
	}
}

func TestAMomentIsRecentFor750Milliseconds(t *testing.T) {
	for age, want := range map[time.Duration]bool{0: true, 100 * time.Millisecond: true, trust + time.Millisecond: false, time.Hour: false, -time.Second: false} {
		moment := time.Now().Add(-age)
		if recent(moment) != want || recent(moment.Round(0)) != want { // also by the clock on the wall alone
			t.Errorf("%s ago: %t", age, !want)
		}
	}
}

func TestTheLedgerIsBoundedWhileNothingCanBeWrittenDown(t *testing.T) {
	l := newLedger(nil)
	now := time.Now()
	const n = shards * maxTallies * 11 / 10
	for range n {
		l.add(uuid.New(), now, true, Question{})
	}
	kept := 0
	for i := range l.shards {
		kept += len(l.shards[i].tallies)
	}
	if kept > shards*maxTallies || int64(kept)+l.lost.Load() != n {
		t.Errorf("%d of %d counts are kept, %d are known to be lost", kept, n, l.lost.Load())
	}
	if l.lag() == 0 {
		t.Error("nothing waits")
	}
}

// TestCountingGoesOnWhileCountsAreTakenAway: each use is in one batch, whenever the batches were made.
func TestCountingGoesOnWhileCountsAreTakenAway(t *testing.T) {
	l := newLedger(nil)
	const counters, n = 4, 5000
	var counting sync.WaitGroup
	for range counters {
		counting.Go(func() {
			for i := range n {
				l.add(uuid.UUID{15: byte(i)}, time.Now(), true, Question{})
			}
		})
	}
	done := make(chan struct{})
	go func() { counting.Wait(); close(done) }()
	for counted := false; !counted; {
		select {
		case <-done:
			counted = true
		default:
		}
		l.freeze()
	}
	sum := int64(0)
	for _, batch := range l.frozen {
		sum += total(batch)
	}
	if sum != counters*n {
		t.Errorf("%d of %d uses are in the batches", sum, counters*n)
	}
}

// TestOneCountThatCantBeStoredTakesNoOtherWithIt: what the database refuses is lost alone.
func TestOneCountThatCantBeStoredTakesNoOtherWithIt(t *testing.T) {
	t.Parallel()
	s := storetest.New(t)
	org := storetest.Organisation(t, s)
	ring := keyring.New(s)
	l := newLedger(s)
	var counts []store.UsageCount
	for i := range 5 {
		key, _, err := ring.IssueKey(t.Context(), org.Owner, keyring.KeyDraft{Name: "x", Scopes: []string{"read:chat"}})
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, store.UsageCount{KeyID: key.ID, Hour: s.Now(), Accepted: 1, LastUsedAt: s.Now()})
		if i == 2 {
			counts[i].UserAgent = "\x00" // which nothing that is counted can have
		}
	}
	l.queue(counts)
	for range 20 * flushTries {
		if l.flush(t.Context()) == nil {
			break
		}
	}
	if l.lost.Load() != 1 || len(l.frozen) > 0 {
		t.Errorf("%d uses are lost, %d batches wait", l.lost.Load(), len(l.frozen))
	}
	for i, c := range counts {
		days, err := s.KeyUsage(t.Context(), org.ID, c.KeyID, 2)
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, d := range days {
			sum += d.Accepted
		}
		if want := int64(min(1, max(i-2, 2-i))); sum != want {
			t.Errorf("use %d was counted %d times, want %d", i, sum, want)
		}
	}
}

// hot is a verifier whose cache is believed as long as the benchmark runs, with so many keys in it.
func hot(b *testing.B, keys int) (*Verifier, string) {
	b.Helper()
	v := New(&store.Store{Now: func() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }}, slog.New(slog.DiscardHandler))
	fill(v.cache, keys-1)
	plaintext := apikey.NewPlaintext(apikey.Live)
	h := plaintext.Hash()
	s := v.cache.shard(h)
	_, _, generation := s.find(h)
	s.keep(h, v.cache.newEntry(knownKey(9, uuid.NewString(), [3][]string{{uuid.NewString()}, {uuid.NewString()}, {uuid.NewString()}})), generation)
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	beat := func() { now := time.Now(); v.hear(store.News{Kind: store.NewsBeat, SentAt: now}) }
	beat()
	go func() {
		for ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			beat()
		}
	}()
	return v, plaintext.Reveal()
}

// BenchmarkVerifyHot verifies a key that is in the cache, alone or among many, and again without counting its use.
func BenchmarkVerifyHot(b *testing.B) {
	q := Question{Scopes: []string{"read:resource-3"}, Address: netip.MustParseAddr("203.0.113.7"), UserAgent: "a client/1.0"}
	for _, keys := range []int{1, 100_000} {
		v, text := hot(b, keys)
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if verdict, err := v.Verify(context.Background(), text, q); err != nil || verdict.Code != Valid {
					b.Fatal(verdict, err)
				}
			}
		})
		b.Run(fmt.Sprintf("keys=%d/uncounted", keys), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				code, e, now, err := v.judge(context.Background(), text, q)
				if err != nil || code != Valid || e.key(now) == nil {
					b.Fatal(code, err)
				}
			}
		})
	}
}
