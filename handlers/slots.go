package handlers

import (
	"context"
	"sync/atomic"
)

// slots bound how many requests are handled at once, and how many wait for that.
type slots struct {
	free        chan struct{}
	mostWaiting int32
	waiting     atomic.Int32
}

func newSlots(most int, mostWaiting int32) *slots {
	return &slots{free: make(chan struct{}, most), mostWaiting: mostWaiting}
}

// acquire reports false where too many wait already, and where ctx ends first. The caller releases what it acquired.
func (s *slots) acquire(ctx context.Context) bool {
	select {
	case s.free <- struct{}{}:
		return true
	default:
	}
	defer s.waiting.Add(-1)
	if s.waiting.Add(1) > s.mostWaiting {
		return false
	}
	select {
	case s.free <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *slots) release() { <-s.free }
