package store

import "time"

// SetWallClock replaces this machine's clock as the store sees it.
func (s *Store) SetWallClock(wall func() time.Time) { s.clock.wall = wall }
