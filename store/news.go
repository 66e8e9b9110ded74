package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// NewsKind is what a piece of news is about.
type NewsKind int

// The kinds of news.
const (
	NewsReset   NewsKind = iota // anything may have happened that was not heard of
	NewsKey                     // the key with the Hash was issued, changed or deleted
	NewsMember                  // the role or the status of the member with the ID changed
	NewsProfile                 // the bias profile with the ID changed
	NewsBeat                    // everything that was committed before SentAt has been told
)

// News is what the database tells of changes that were committed.
type News struct {
	Kind   NewsKind
	Hash   [32]byte  // of NewsKey
	ID     uuid.UUID // of NewsMember and NewsProfile
	SentAt time.Time // of NewsBeat, with the monotonic clock
}

const (
	// beatEvery is how often the link is asked for a sign of life, which proves that no older news is still under way.
	beatEvery = 250 * time.Millisecond
	// linkPatience is how long the link may take for an answer before it is given up: a silent network tells nobody.
	linkPatience = time.Second

	firstRetry, longestRetry = 100 * time.Millisecond, time.Second

	newsChannel = "moonlatch_news"
)

// FollowNews tells of every change that verification depends on, in the order of the commits, until ctx ends. It calls on
// from one goroutine. The first news of a link, and of every one that replaces a broken one, is a reset.
//
// News and beats run over one connection of its own, apart from the pool. PostgreSQL delivers notifications in the
// order of the commits, a session's own among them. So hearing one's own beat proves that everything committed before it
// was sent has been heard. It is no pq.Listener, for that one does not notice when the network goes silent, and hangs
// when it is asked.
func (s *Store) FollowNews(ctx context.Context, log *slog.Logger, on func(News)) {
	retry, down, skewed := firstRetry, false, false
	for {
		err := s.followLink(ctx, func(news News) {
			if news.Kind == NewsBeat && down {
				down, retry = false, firstRetry
				log.InfoContext(ctx, "the database's news are heard again")
			}
			if wrong := s.clock.check(); news.Kind == NewsBeat && (wrong != nil) != skewed {
				if skewed = wrong != nil; skewed {
					log.ErrorContext(ctx, "this server is not ready", "error", wrong)
				} else {
					log.InfoContext(ctx, "this server's clock is right again")
				}
			}
			on(news)
		})
		if ctx.Err() != nil {
			return
		}
		if !down { // once an outage
			log.WarnContext(ctx, "the database's news are not heard; every verification asks the database", "error", err)
		}
		down = true
		select {
		case <-ctx.Done():
			return
		case <-time.After(retry):
		}
		retry = min(2*retry, longestRetry)
	}
}

// followLink opens one link and follows it until it breaks or ctx ends.
func (s *Store) followLink(ctx context.Context, on func(News)) error {
	dsn, settings, err := linkSource(s.url)
	if err != nil {
		return err
	}
	notes := make(chan *pq.Notification, 256)
	conn, err := pq.NewListenerConn(dsn, notes)
	if err != nil {
		return tidy(err)
	}
	l := &link{conn: conn, clock: s.clock, beats: "moonlatch_beat_" + strings.ToLower(rand.Text()), sent: map[int64]time.Time{}}
	defer context.AfterFunc(ctx, l.close)()
	broken := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		broken <- l.keep(ctx, settings.statement(), ready)
		l.close()
	}()
	// Nothing is told before both channels are listened to: what comes earlier, the reset stands for.
	heard := false
	for note := range notes { // until the connection is closed
		if !heard {
			select {
			case <-ready:
				on(News{Kind: NewsReset})
				heard = true
			default:
				continue
			}
		}
		on(l.read(note))
	}
	return tidy(<-broken)
}

// link is one connection that listens, and asks for signs of life.
type link struct {
	conn  *pq.ListenerConn
	clock *clock
	beats string // a channel of this link alone

	mu   sync.Mutex
	sent map[int64]time.Time // when the beats were sent that have not been heard yet, by their numbers
}

func (l *link) close() { _ = l.conn.Close() }

// keep executes the statement that sets the session up, listens, closes ready, and sends beats until the link breaks.
func (l *link) keep(ctx context.Context, setUp string, ready chan<- struct{}) error {
	for _, statement := range []string{setUp, "LISTEN " + newsChannel, "LISTEN " + l.beats} {
		if err := l.do(statement); err != nil {
			return err
		}
	}
	close(ready)
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for beat := int64(1); ; beat++ {
		l.mu.Lock()
		l.sent[beat] = time.Now()
		l.mu.Unlock()
		if err := l.do(fmt.Sprintf("SELECT pg_notify('%s', '%d ' || (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)", l.beats, beat)); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// do runs one statement, and breaks the link when it takes too long.
func (l *link) do(statement string) error {
	late := time.AfterFunc(linkPatience, l.close)
	defer late.Stop()
	_, err := l.conn.ExecSimpleQuery(statement)
	return err
}

// read understands a notification. What it can't, it takes for a reset.
func (l *link) read(note *pq.Notification) News {
	if note.Channel == l.beats {
		l.mu.Lock()
		defer l.mu.Unlock()
		var beat, micros int64 // by the database's clock
		_, _ = fmt.Sscan(note.Extra, &beat, &micros)
		if sentAt, ok := l.sent[beat]; ok {
			delete(l.sent, beat)
			l.clock.read(time.UnixMicro(micros), sentAt, time.Now())
			return News{Kind: NewsBeat, SentAt: sentAt}
		}
		return News{Kind: NewsReset}
	}
	kind, about, _ := strings.Cut(note.Extra, " ")
	switch kind {
	case "key":
		if hash, err := hex.DecodeString(about); err == nil && len(hash) == 32 {
			return News{Kind: NewsKey, Hash: [32]byte(hash)}
		}
	case "member":
		if id, err := uuid.Parse(about); err == nil {
			return News{Kind: NewsMember, ID: id}
		}
	case "profile":
		if id, err := uuid.Parse(about); err == nil {
			return News{Kind: NewsProfile, ID: id}
		}
	}
	return News{Kind: NewsReset}
}

// linkSource returns where the link connects, and its run-time parameters: with time-outs of its own, a name by which
// operators find it, and without waiting for the disk at every beat, which changes nothing that could be lost.
func linkSource(databaseURL string) (string, sessionSettings, error) {
	u, settings, err := dataSource(databaseURL, linkPatience)
	if err != nil {
		return "", nil, err
	}
	settings["synchronous_commit"] = "off"
	q := u.Query()
	q.Set("connect_timeout", "2") // seconds, also when the address allows more
	q.Set("application_name", "moonlatch news")
	u.RawQuery = q.Encode()
	return u.String(), settings, nil
}
