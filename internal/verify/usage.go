package verify

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/moonlatch/moonlatch/store"
)

const (
	// flushEvery is how often usage is written down. With the time that writing takes it stays below the second that a
	// killed process may lose, unless many ten thousands of different keys are used in that time.
	flushEvery = 500 * time.Millisecond
	// flushPatience bounds a flush. What it did not come to is written down by the next one.
	flushPatience = 3 * time.Second

	// batchSize is how many counts one statement adds, far below its time limit of 2 s.
	batchSize = 1000
	// flushTries is how often a batch is sent that the database refuses, though it can be reached.
	flushTries = 10

	// maxTallies is what a shard of the ledger holds at most while nothing can be written down: 262 144 in all, and as
	// many may be on their way beside them.
	maxTallies = 4096

	maxUserAgent = 300 // bytes
)

// ledger counts the use of keys until it is written down: in memory, so that a verification writes no row.
type ledger struct {
	store  *store.Store
	shards [shards]page

	flushing sync.Mutex                // guards what follows
	replica  string                    // a new one with every process
	number   int64                     // of the last batch
	frozen   []store.UsageBatch        // on their way: sent again unchanged until it is known what became of them
	since    atomic.Pointer[time.Time] // when the oldest count in frozen was made
	tries    int                       // that the database refused the first batch in frozen

	failures, lost atomic.Int64
}

type page struct {
	mu      sync.Mutex
	tallies map[hourOfKey]*tally
	since   time.Time // when the first of them was made
	_       [64]byte  // the next page's lock is in another cache line
}

type hourOfKey struct {
	key  uuid.UUID
	hour int64 // since 1970
}

type tally struct {
	accepted, refused int64
	lastUsedAt        time.Time // when it was last accepted
	address           netip.Addr
	userAgent         string
}

func newLedger(s *store.Store) *ledger {
	l := &ledger{store: s, replica: uuid.NewString()}
	for i := range l.shards {
		l.shards[i].tallies = map[hourOfKey]*tally{}
	}
	return l
}

// add counts one presentation of a key.
func (l *ledger) add(key uuid.UUID, now time.Time, accepted bool, q Question) {
	// The last bytes of an id are random.
	p := &l.shards[key[len(key)-1]%shards]
	place := hourOfKey{key, now.Unix() / 3600}
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.tallies[place]
	if t == nil {
		if len(p.tallies) >= maxTallies {
			l.lost.Add(1)
			return
		}
		if len(p.tallies) == 0 {
			p.since = time.Now()
		}
		t = &tally{}
		p.tallies[place] = t
	}
	if !accepted {
		t.refused++
		return
	}
	t.accepted++
	if !now.Before(t.lastUsedAt) {
		t.lastUsedAt, t.address = now, q.Address
		if t.userAgent != q.UserAgent {
			t.userAgent = cut(q.UserAgent)
		}
	}
}

// cut makes a user agent fit to be stored.
func cut(text string) string {
	if len(text) > maxUserAgent {
		end := maxUserAgent
		for end > maxUserAgent-utf8.UTFMax && !utf8.RuneStart(text[end]) {
			end--
		}
		text = strings.Clone(text[:end]) // not keeping the long one
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// flush writes down what has been counted. After an error it is as if it had not been called: what was on its way
// stays so, under its number, and the rest goes on being counted.
func (l *ledger) flush(ctx context.Context) error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.send(ctx); err != nil {
		return err
	}
	l.freeze()
	return l.send(ctx)
}

// send sends what is frozen, in order.
func (l *ledger) send(ctx context.Context) error {
	for len(l.frozen) > 0 {
		err := l.store.AddUsage(ctx, l.frozen[0])
		if err != nil {
			l.failures.Add(1)
			if errors.Is(err, store.ErrUnavailable) || ctx.Err() != nil {
				return err
			}
			if l.tries++; l.tries < flushTries {
				return err
			}
			// What the database itself refuses was not counted, and would stop all that comes after it for ever. The halves
			// are sent as batches of their own, until the one count is lost that can't be written down.
			if refused := l.frozen[0].Counts; len(refused) > 1 {
				l.queue(refused[:len(refused)/2])
				l.queue(refused[len(refused)/2:])
			} else {
				l.lost.Add(total(l.frozen[0]))
			}
		}
		l.frozen, l.tries = l.frozen[1:], 0
	}
	l.frozen = nil // what is behind the slice holds the batches that were sent
	l.since.Store(nil)
	return nil
}

func total(b store.UsageBatch) (n int64) {
	for _, c := range b.Counts {
		n += c.Accepted + c.Refused
	}
	return n
}

// freeze takes all counts out of the ledger and makes numbered batches of them.
func (l *ledger) freeze() {
	var counts []store.UsageCount
	for i := range l.shards {
		p := &l.shards[i]
		p.mu.Lock()
		tallies, since := p.tallies, p.since
		if len(tallies) == 0 { // it stays with the page, which goes on writing to it
			p.mu.Unlock()
			continue
		}
		p.tallies = map[hourOfKey]*tally{}
		p.mu.Unlock()
		if oldest := l.since.Load(); oldest == nil || since.Before(*oldest) {
			l.since.Store(&since)
		}
		for place, t := range tallies {
			c := store.UsageCount{KeyID: place.key.String(), Hour: time.Unix(place.hour*3600, 0), Accepted: t.accepted, Refused: t.refused,
				LastUsedAt: t.lastUsedAt, UserAgent: t.userAgent}
			if t.address.IsValid() {
				c.Address = t.address.Unmap().WithZone("").String()
			}
			counts = append(counts, c)
		}
	}
	for len(counts) > 0 {
		n := min(len(counts), batchSize)
		l.queue(counts[:n])
		counts = counts[n:]
	}
}

// queue gives counts a number, behind all that are on their way.
func (l *ledger) queue(counts []store.UsageCount) {
	l.number++
	l.frozen = append(l.frozen, store.UsageBatch{Replica: l.replica, Number: l.number, Counts: counts})
}

// lag is how long ago the oldest use was counted that is not written down.
func (l *ledger) lag() time.Duration {
	var oldest time.Time
	if since := l.since.Load(); since != nil {
		oldest = *since
	}
	for i := range l.shards {
		p := &l.shards[i]
		p.mu.Lock()
		if len(p.tallies) > 0 && (oldest.IsZero() || p.since.Before(oldest)) {
			oldest = p.since
		}
		p.mu.Unlock()
	}
	if oldest.IsZero() {
		return 0
	}
	return time.Since(oldest)
}
