package store

import "time"

// SetWallClock replaces this machine's clock as the store sees it.
func (s *Store) SetWallClock(wall func() time.Time) { s.clock.wall = wall }

// Explain is what Probe makes of an error.
func Explain(err error) error { return tidy(explain(err)) }
