package store_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// TestSeveralSilentHostsAreGivenUpWithinOneLimit: the time that a request may take does not grow with the number of
// hosts that the address names; and one silent host leaves time for the next.
func TestSeveralSilentHostsAreGivenUpWithinOneLimit(t *testing.T) {
	direct := storetest.URL(t)
	first, near := storetest.Lay(t, direct)
	second, far := storetest.Lay(t, direct)
	one, err := url.Parse(near)
	if err != nil {
		t.Fatal(err)
	}
	other, err := url.Parse(far)
	if err != nil {
		t.Fatal(err)
	}
	one.Host += "," + other.Host
	s, err := store.Open(t.Context(), one.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ready := func() (time.Duration, error) {
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		err := s.Ready(ctx)
		return time.Since(began), err
	}
	first.Silence()
	deadline := time.Now().Add(time.Minute)
	for _, err := ready(); err != nil; _, err = ready() { // connections to the silent host are found out one by one
		if time.Now().After(deadline) {
			t.Fatalf("one of two hosts is silent: %v", err)
		}
	}
	second.Silence()
	for range 3 {
		if took, err := ready(); err == nil || took > 20*time.Second {
			t.Errorf("both hosts are silent, which was found after %s: %v", took, err)
		}
	}
	first.Mend()
	for _, err := ready(); err != nil; _, err = ready() {
		if time.Now().After(deadline.Add(time.Minute)) {
			t.Fatalf("one of two hosts is back: %v", err)
		}
	}
}

// TestALostHandshakeIsUnavailable has a server ask for the password and close before it comes, which lib/pq tells by no type of error.
func TestALostHandshakeIsUnavailable(t *testing.T) {
	dir := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432")) // where what was sent can still be read
	if err != nil {
		t.Fatal(err)
	}
	answerEach(t, listener, []byte{'R', 0, 0, 0, 8, 0, 0, 0, 3})
	for range 5 { // the server may be slower
		if err := store.Probe(t.Context(), "postgres://u:p@/d?sslmode=disable&host="+url.QueryEscape(dir)); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%T %v", err, err)
		}
	}
}
