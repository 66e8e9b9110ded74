package handlers

import (
	"context"
	"fmt"
	"sync"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// requestsPerCaller is how many requests of one session, member or key are handled at once. It is less than half of the
// connections to the database, so that a caller who sends hundreds at once does not keep others from ending their access.
const requestsPerCaller = 8

// callers are those whose requests are handled at this moment.
type callers struct {
	mu    sync.Mutex
	known map[string]*callerSlots
}

// callerSlots are dropped with the caller's last request.
type callerSlots struct {
	free     chan struct{}
	requests int // handled or waiting
}

func newCallers() *callers { return &callers{known: map[string]*callerSlots{}} }

// enter waits until the caller has less than requestsPerCaller requests under way. The request calls leave when it is over.
// ErrUnavailable when its time is over first, as for a request that waits for a connection.
func (c *callers) enter(ctx context.Context, caller string) (leave func(), err error) {
	c.mu.Lock()
	slots := c.known[caller]
	if slots == nil {
		slots = &callerSlots{free: make(chan struct{}, requestsPerCaller)}
		c.known[caller] = slots
	}
	slots.requests++
	c.mu.Unlock()
	select {
	case slots.free <- struct{}{}:
		return func() {
			<-slots.free
			c.forget(caller, slots)
		}, nil
	case <-ctx.Done():
		c.forget(caller, slots)
		return nil, fmt.Errorf("waiting for other requests of the same caller: %w", keyring.ErrUnavailable)
	}
}

func (c *callers) forget(caller string, slots *callerSlots) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slots.requests--; slots.requests == 0 {
		delete(c.known, caller)
	}
}

// callerOf names who sends requests: a key, or a member by whatever session; "" for nobody known.
func callerOf(actor account.Actor) string {
	switch {
	case actor.KeyID != "":
		return "key " + actor.KeyID
	case actor.MemberID != "":
		return "member " + actor.MemberID
	}
	return ""
}
