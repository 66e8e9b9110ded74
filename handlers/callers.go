package handlers

import (
	"context"
	"errors"
	"sync"

	"github.com/labstack/echo/v4"
)

const (
	// requestsPerCaller is how many requests of one caller are handled at once. It is less than half of the connections to the
	// database: a member who sends hundreds by both sessions and keys leaves some to those who end the member's access.
	requestsPerCaller = 8

	waitingPerCaller = 1000
)

var errCallerBusy = errors.New("too many requests of one member's sessions or keys at once")

// callers are whose requests are handled at this moment. The sessions of a member are one caller, and the keys that they own are
// another, so that a busy program does not keep its owner from ending it.
type callers struct {
	mu    sync.Mutex
	known map[string]*callerSlots
}

// callerSlots are forgotten with the caller's last request.
type callerSlots struct {
	*slots
	requests int // handled or waiting
}

func newCallers() *callers { return &callers{known: map[string]*callerSlots{}} }

// enter waits until the caller has less than requestsPerCaller requests under way. The request calls leave when it is over.
// Errors: errCallerBusy when the request's time is over first or waitingPerCaller wait already, context.Canceled when its client is gone.
func (c *callers) enter(ctx context.Context, caller string) (leave func(), err error) {
	c.mu.Lock()
	slots := c.known[caller]
	if slots == nil {
		slots = &callerSlots{slots: newSlots(requestsPerCaller, waitingPerCaller)}
		c.known[caller] = slots
	}
	slots.requests++
	c.mu.Unlock()
	if slots.acquire(ctx) {
		return func() {
			slots.release()
			c.forget(caller, slots)
		}, nil
	}
	c.forget(caller, slots)
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err()
	}
	return nil, errCallerBusy
}

func (c *callers) forget(caller string, slots *callerSlots) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slots.requests--; slots.requests == 0 {
		delete(c.known, caller)
	}
}

// inTurn handles a request of a known caller once few enough others of the caller are under way.
func (h *handler) inTurn(c echo.Context, next echo.HandlerFunc) error {
	actor := actorOf(c)
	caller := "sessions of " + actor.MemberID
	if actor.KeyID != "" {
		caller = "keys of " + actor.MemberID
	}
	leave, err := h.callers.enter(c.Request().Context(), caller)
	if err != nil {
		return err
	}
	defer leave()
	return next(c)
}
