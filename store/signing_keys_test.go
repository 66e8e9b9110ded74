package store_test

import (
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func numbers(t *testing.T, s *store.Store) (out []int) {
	t.Helper()
	keys, err := s.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		out = append(out, key.Number)
	}
	return out
}

func TestASigningKeyHasOneSuccessor(t *testing.T) {
	s := storetest.New(t)
	made := make([]store.SigningKey, 8)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			var err error
			if made[i], err = s.InsertSigningKey(t.Context(), 2, s.Now().Add(time.Duration(i)*time.Minute)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, key := range made {
		if key != made[0] || key.ID == "" {
			t.Errorf("two successors: %+v and %+v", key, made[0])
		}
	}
	if got := numbers(t, s); len(got) != 2 {
		t.Errorf("the keys are %v, not the first and its successor", got)
	}
}

// A token lives 15 minutes, and clocks may be 5 minutes apart.
func TestASupersededSigningKeyStaysUntilItsLastTokenHasExpired(t *testing.T) {
	s := storetest.New(t)
	now := s.Now()
	switchOver := now.Add(10 * time.Minute)
	if _, err := s.InsertSigningKey(t.Context(), 2, switchOver); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   time.Time
		keys int
	}{{now, 2}, {switchOver, 2}, {switchOver.Add(20*time.Minute - time.Microsecond), 2}, {switchOver.Add(20 * time.Minute), 1}, {switchOver.Add(1000 * time.Hour), 1}} {
		s.Now = func() time.Time { return c.at }
		if got := numbers(t, s); len(got) != c.keys || got[len(got)-1] != 2 {
			t.Errorf("%s after the switch-over the keys are %v", c.at.Sub(switchOver), got)
		}
		if err := s.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Now = func() time.Time { return now } // to whom nothing is retired: what is in the table is seen
		if got := numbers(t, s); len(got) != c.keys {
			t.Errorf("swept %s after the switch-over, the keys are %v", c.at.Sub(switchOver), got)
		}
	}
}
