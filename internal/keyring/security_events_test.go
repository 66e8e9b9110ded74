package keyring_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// logged makes the keyring write its log into a buffer, which may be read after a flush.
func (h house) logged() *bytes.Buffer {
	var log bytes.Buffer
	h.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
	return &log
}

// securityEvents lists what is stored, newest first.
func (h house) securityEvents(filter audit.SecurityFilter) []audit.SecurityEvent {
	h.t.Helper()
	if err := h.FlushSecurityEvents(h.t.Context()); err != nil {
		h.t.Fatal(err)
	}
	page, err := h.SecurityEvents(h.t.Context(), h.org.Support, filter, "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return page.Events
}

func (h house) failsToSignIn(from, email, password string) {
	h.t.Helper()
	if _, err := h.SignIn(h.t.Context(), keyring.Visitor{Address: from}, email, password); !errors.Is(err, keyring.ErrCredentials) {
		h.t.Fatal(err)
	}
}

func TestEachKindOfFailedSignInIsRecordedOnce(t *testing.T) {
	h := newHouse(t)
	now := h.Now()
	h.at(now)
	admin, support := h.org.Admin, h.org.Support
	for range 9 {
		h.failsToSignIn("192.0.2.1", admin.Email, wrong)
	}
	if got := h.securityEvents(audit.SecurityFilter{}); len(got) != 1 || got[0].Kind != audit.SignInFailed || got[0].Count != 9 {
		t.Fatalf("after 9 failures: %+v", got)
	}
	h.failsToSignIn("192.0.2.1", admin.Email, wrong)
	for range 5 { // are refused, and in no event
		if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, admin.Email, wrong); !isLocked(err) {
			t.Fatal(err)
		}
	}
	if _, err := h.ChangeMember(t.Context(), h.org.Owner, support.MemberID, keyring.MemberEdit{Status: account.Suspended}); err != nil {
		t.Fatal(err)
	}
	h.failsToSignIn("192.0.2.2", support.Email, storetest.Password)
	if _, err := h.ChangePassword(t.Context(), h.org.Owner, wrong, "marmalade tugboat lantern quartz"); input.ProblemsIn(err) == nil {
		t.Fatal(err)
	}
	want := map[string]int{
		audit.SignInFailed + " " + admin.MemberID + " 192.0.2.1 ":                           10,
		audit.SignInLocked + " " + admin.MemberID + " 192.0.2.1 ":                           1,
		audit.SignInFailed + " " + support.MemberID + " 192.0.2.2 suspended":                1,
		audit.PasswordFailed + " " + h.org.Owner.MemberID + " " + h.org.Owner.Address + " ": 1,
	}
	got := h.securityEvents(audit.SecurityFilter{})
	for _, e := range got {
		what := strings.Join([]string{e.Kind, e.MemberID, e.Address, e.Detail}, " ")
		if want[what] != e.Count || e.KeyID != "" {
			t.Errorf("%s is recorded %d times", what, e.Count)
		}
	}
	if len(got) != len(want) {
		t.Errorf("there are %d events, not %d", len(got), len(want))
	}
}

func TestAsManySignInsAsAreAllowedAreRecorded(t *testing.T) {
	h := newHouse(t)
	for range 150 {
		if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, h.org.Member.Email, storetest.Password); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, h.org.Member.Email, storetest.Password); !isLocked(err) {
		t.Fatal(err)
	}
	if got := h.securityEvents(audit.SecurityFilter{}); len(got) != 1 || got[0].Kind != audit.SignInLimited || got[0].Count != 1 || got[0].MemberID != h.org.Member.MemberID {
		t.Errorf("%+v", got)
	}
}

// TestALimitedNetworkLocksNoAccount has one network reach its own limit with the failures at many accounts.
func TestALimitedNetworkLocksNoAccount(t *testing.T) {
	h := newHouse(t)
	h.at(h.Now())
	for n := range 99 {
		h.failsToSignIn("192.0.2.1", fmt.Sprintf("unknown-%d@example.com", n), wrong)
	}
	h.failsToSignIn("192.0.2.1", h.org.Owner.Email, wrong)
	if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "192.0.2.1"}, h.org.Owner.Email, wrong); !isLocked(err) {
		t.Fatal(err)
	}
	if kinds := kindsOf(h.securityEvents(audit.SecurityFilter{})); kinds[audit.SignInFailed] != 1 || kinds[audit.SignInLocked] != 0 {
		t.Errorf("the events are %v", kinds)
	}
}

// TestANetworkIsOneSource: a host has every address of its /64.
func TestANetworkIsOneSource(t *testing.T) {
	h := newHouse(t)
	h.at(h.Now())
	for address, want := range map[string]string{"2001:db8:7:1::%x": "2001:db8:7:1::/64", "::ffff:192.0.2.%d": "", "192.0.2.%d": "", "::1": "::1"} {
		before := len(h.securityEvents(audit.SecurityFilter{}))
		for n := range 3 {
			from := address
			if strings.Contains(address, "%") {
				from = fmt.Sprintf(address, n+1)
			}
			h.RecordSecurityEvent(audit.SecurityEvent{OrgID: h.org.ID, Kind: audit.PermissionRefused, MemberID: h.org.Member.MemberID, Address: from})
		}
		events := h.securityEvents(audit.SecurityFilter{})
		made := events[:len(events)-before]
		if want == "" && len(made) != 3 || want != "" && !slices.ContainsFunc(events, func(e audit.SecurityEvent) bool { return e.Address == want && e.Count == 3 }) {
			t.Errorf("from %s: %+v", address, made)
		}
	}
}

func TestUnknownAddressesAreInNoEventAndNoLog(t *testing.T) {
	h := newHouse(t)
	log := h.logged()
	for _, email := range []string{"typed-by-mistake@example.com", "typed-by-mistake", ""} {
		h.failsToSignIn("192.0.2.1", email, "typed-by-mistake too")
	}
	if got := h.securityEvents(audit.SecurityFilter{}); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if said := log.String(); strings.Contains(said, "typed-by-mistake") || strings.Count(said, "192.0.2.1") != 3 {
		t.Errorf("the log says %s", said)
	}
	h.failsToSignIn("192.0.2.1", h.org.Owner.Email, "typed-by-mistake too")
	h.securityEvents(audit.SecurityFilter{})
	if said := log.String(); strings.Contains(said, "typed-by-mistake") || !strings.Contains(said, h.org.Owner.MemberID) {
		t.Errorf("of an account the log says %s", said)
	}
}

// TestStoringSecurityEventsHoldsUpNothing keeps the table locked until the attempts were answered.
func TestStoringSecurityEventsHoldsUpNothing(t *testing.T) {
	h := newHouse(t)
	lock, err := h.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback() }()
	if _, err := lock.Exec(`LOCK TABLE security_events`); err != nil {
		t.Fatal(err)
	}
	h.failsToSignIn("192.0.2.1", h.org.Owner.Email, wrong)
	for n := range 3000 {
		h.RecordSecurityEvent(audit.SecurityEvent{OrgID: h.org.ID, Kind: audit.PermissionRefused, MemberID: h.org.Member.MemberID, Address: fmt.Sprint(n)})
	}
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if kinds := kindsOf(h.securityEvents(audit.SecurityFilter{})); kinds[audit.SignInFailed] != 1 || kinds[audit.PermissionRefused] != 3000 {
		t.Errorf("the events are %v", kinds)
	}
}

func TestSecurityEventsThatCannotBeStoredAreInTheLog(t *testing.T) {
	h := newHouse(t)
	log := h.logged()
	if _, err := h.db.ExecContext(t.Context(), `ALTER TABLE security_events RENAME TO elsewhere`); err != nil {
		t.Fatal(err)
	}
	h.failsToSignIn("192.0.2.1", h.org.Owner.Email, wrong)
	if err := h.FlushSecurityEvents(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"kind=sign_in.failed", "member=" + h.org.Owner.MemberID, "security events not stored"} {
		if said := log.String(); !strings.Contains(said, line) {
			t.Errorf("%s is not in %s", line, said)
		}
	}
	if _, err := h.db.ExecContext(t.Context(), `ALTER TABLE elsewhere RENAME TO security_events`); err != nil {
		t.Fatal(err)
	}
	h.failsToSignIn("192.0.2.1", h.org.Owner.Email, wrong)
	if got := h.securityEvents(audit.SecurityFilter{}); len(got) != 1 || got[0].Count != 1 {
		t.Errorf("afterwards: %+v", got)
	}
}
