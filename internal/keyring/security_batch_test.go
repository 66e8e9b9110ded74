package keyring

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/store"
)

func refusal(org, member, key, address, detail string) audit.SecurityEvent {
	return audit.SecurityEvent{OrgID: org, Kind: audit.PermissionRefused, MemberID: member, KeyID: key, Address: address, Detail: detail}
}

// counts returns how many attempts the batch has in all, stored and dropped, and how often it has the event as it is.
func (b *securityBatch) counts(of audit.SecurityEvent) (stored, dropped, whole int) {
	for _, e := range b.events {
		stored += e.Count
		if known := *e; known.Kind == of.Kind && known.OrgID == of.OrgID && known.MemberID == of.MemberID && known.KeyID == of.KeyID && known.Address == of.Address && known.Detail == of.Detail {
			whole += e.Count
		}
	}
	for _, n := range b.dropped {
		dropped += n
	}
	return stored, dropped, whole
}

// TestNoFloodTakesTheRoomOfABatch floods what waits to be stored in each way that one attacker has.
func TestNoFloodTakesTheRoomOfABatch(t *testing.T) {
	now := time.Now()
	for name, nth := range map[string]func(n int) audit.SecurityEvent{
		"a member from many networks": func(n int) audit.SecurityEvent { return refusal("org", "a", "", fmt.Sprint(n), "audit.read") },
		"a member with many keys and actions": func(n int) audit.SecurityEvent {
			return refusal("org", "a", fmt.Sprint(n%200), fmt.Sprint(n), fmt.Sprint(n%50))
		},
		"many members of an organisation": func(n int) audit.SecurityEvent {
			return refusal("org", fmt.Sprint(n%100), "", fmt.Sprint(n), "audit.read")
		},
		"one network at very many accounts":      func(n int) audit.SecurityEvent { return refusal("org", fmt.Sprint(n), "", "192.0.2.1", "audit.read") },
		"one network in very many organisations": func(n int) audit.SecurityEvent { return refusal(fmt.Sprint(n), "a", "", "192.0.2.1", "audit.read") },
	} {
		b := newSecurityBatch()
		const sent = 20_000
		for n := range sent {
			b.add(nth(n), now)
		}
		stored, dropped, _ := b.counts(audit.SecurityEvent{})
		if stored+dropped != sent || len(b.events) > 2*securityRows {
			t.Errorf("%s: of %d attempts %d are in %d rows and %d are dropped", name, sent, stored, len(b.events), dropped)
		}
		failed := refusal("org", "a", "", "203.0.113.9", "")
		failed.Kind = audit.SignInFailed
		for _, later := range []audit.SecurityEvent{failed, refusal("another", "b", "", "203.0.113.9", "audit.read"), refusal("org", "another", "", "203.0.113.10", "audit.read")} {
			for range 3 {
				b.add(later, now)
			}
			if _, _, whole := b.counts(later); whole != 3 {
				t.Errorf("%s: of %+v there are %d", name, later, whole)
			}
		}
	}
}

// TestABatchCountsRepeats also of what lost its address.
func TestABatchCountsRepeats(t *testing.T) {
	b, now := newSecurityBatch(), time.Now()
	for n := range 500 {
		b.add(refusal("org", "a", "k", fmt.Sprint(n%100), "audit.read"), now.Add(time.Duration(n)*time.Second))
	}
	if first := b.events[0]; first.Count != 5 || !first.FirstAt.Equal(now) || !first.LastAt.Equal(now.Add(400*time.Second)) {
		t.Errorf("the first is %+v", first)
	}
	last := b.events[len(b.events)-1]
	if last.Address != "" || last.KeyID != "k" || last.Detail != "audit.read" || last.Count != 5*(100-len(b.events)+1) {
		t.Errorf("%d rows, and the last is %+v", len(b.events), last)
	}
	if _, dropped, _ := b.counts(audit.SecurityEvent{}); dropped != 0 {
		t.Errorf("%d are dropped", dropped)
	}
}

// TestTheLastEventsAreLoggedWhileEarlierOnesAreStored: a server that stops may not come to store them.
func TestTheLastEventsAreLoggedWhileEarlierOnesAreStored(t *testing.T) {
	read, write := io.Pipe()
	time.AfterFunc(time.Minute, func() { _ = write.Close() })
	r := &Keyring{store: &store.Store{Now: time.Now}, log: slog.New(slog.NewTextHandler(write, nil)), security: newSecurityEvents()}
	r.security.storing <- struct{}{} // as if the database were slow
	r.RecordSecurityEvent(refusal("org", "a", "", "192.0.2.1", "audit.read"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.FlushSecurityEvents(ended); err == nil {
		t.Error("the flush says that it is stored")
	}
	if line, err := bufio.NewReader(read).ReadString('\n'); err != nil || !strings.Contains(line, "kind=permission.refused organisation=org member=a") {
		t.Errorf("the log says %q, %v", line, err)
	}
}
