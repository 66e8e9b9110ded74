package keyring_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

const wrong = "wrong horse battery"

func visitorAt(n int) keyring.Visitor {
	return keyring.Visitor{Address: fmt.Sprintf("198.51.%d.%d", n/250, n%250+1)}
}

// fail sends wrong passwords from so many networks, and returns how many were evaluated.
func (h house) fail(email string, networks int) (evaluated int) {
	h.t.Helper()
	for n := range networks {
		_, err := h.SignIn(h.t.Context(), visitorAt(n), email, wrong)
		switch {
		case errors.Is(err, keyring.ErrCredentials):
			evaluated++
		case !isLocked(err):
			h.t.Fatal(err)
		}
	}
	return evaluated
}

// device returns the cookie of a browser that signs in to an account.
func (h house) device(cookie, email string) string {
	h.t.Helper()
	cookie, err := h.DeviceCookie(h.t.Context(), cookie, email)
	if err != nil {
		h.t.Fatal(err)
	}
	return cookie
}

func isLocked(err error) bool {
	var locked *keyring.LockedError
	return errors.As(err, &locked)
}

func TestTenFailuresFromElsewhereKeepNobodyOut(t *testing.T) {
	h := newHouse(t)
	if n := h.fail(h.org.Owner.Email, 10); n != 10 {
		t.Fatalf("%d of 10 were evaluated", n)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "203.0.113.9"}, h.org.Owner.Email, storetest.Password); err != nil {
		t.Errorf("the owner is kept out: %v", err)
	}
}

func TestOneHundredFailuresInARowLockUnknownDevicesAlone(t *testing.T) {
	h := newHouse(t)
	now := h.Now()
	h.at(now)
	email := h.org.Owner.Email
	known := keyring.Visitor{Address: "198.51.0.1", Devices: h.device("", email)} // an attacker's network, too
	if n := h.fail(email, 130); n != 100 {
		t.Errorf("%d of 130 were evaluated", n)
	}
	other := keyring.Visitor{Address: "203.0.113.9"}
	if _, err := h.SignIn(t.Context(), other, email, storetest.Password); !isLocked(err) {
		t.Errorf("an unknown device: %v", err)
	}
	if n := h.fail("nobody@"+h.org.Name+".test", 130); n != 100 {
		t.Errorf("of an unknown address %d were evaluated, not as many as of an account", n)
	}
	h.at(now.Add(25 * time.Hour))
	if _, err := h.SignIn(t.Context(), other, email, storetest.Password); err != nil {
		t.Errorf("a day later: %v", err)
	}
	h.at(now)
	if n := h.fail(email, 130); n != 100 {
		t.Errorf("after a success %d of 130 were evaluated", n)
	}
	for range 3 { // its failures are its own
		if _, err := h.SignIn(t.Context(), known, email, wrong); !errors.Is(err, keyring.ErrCredentials) {
			t.Fatal(err)
		}
	}
	if _, err := h.SignIn(t.Context(), known, email, storetest.Password); err != nil {
		t.Errorf("a device that signed in before: %v", err)
	}
	for range 10 {
		_, _ = h.SignIn(t.Context(), known, email, wrong)
	}
	if _, err := h.SignIn(t.Context(), known, email, storetest.Password); !isLocked(err) {
		t.Errorf("a known device has no limit of its own: %v", err)
	}
	if _, err := h.SignIn(t.Context(), other, email, storetest.Password); err != nil {
		t.Errorf("a device's failures keep others out: %v", err)
	}
}

func TestOneNetworkCannotLockAnAccountForOthers(t *testing.T) {
	h := newHouse(t)
	now, evaluated := h.Now(), 0
	for n := range 23 * 12 { // every 5 minutes for 23 hours
		h.at(now.Add(time.Duration(n) * 5 * time.Minute))
		if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "2001:db8::" + fmt.Sprint(n%9)}, h.org.Owner.Email, wrong); errors.Is(err, keyring.ErrCredentials) {
			evaluated++
		}
	}
	if evaluated != 20 {
		t.Errorf("%d guesses of one network were evaluated in a day", evaluated)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "203.0.113.9"}, h.org.Owner.Email, storetest.Password); err != nil {
		t.Errorf("the owner, elsewhere: %v", err)
	}
}

func TestGuessesAreCountedAcrossReplicasAndRestarts(t *testing.T) {
	h := newHouse(t)
	replicas := []*keyring.Keyring{h.Keyring, keyring.New(h.store)}
	spellings := []string{h.org.Owner.Email, strings.ToUpper(h.org.Owner.Email), " " + h.org.Owner.Email + " "}
	evaluated := 0
	for n := range 100 {
		if _, err := replicas[n%2].SignIn(t.Context(), visitorAt(1), spellings[n%3], wrong); errors.Is(err, keyring.ErrCredentials) {
			evaluated++
		}
	}
	if evaluated != 10 {
		t.Errorf("%d guesses were evaluated", evaluated)
	}
	if _, err := keyring.New(h.store).SignIn(t.Context(), visitorAt(1), h.org.Owner.Email, storetest.Password); !isLocked(err) {
		t.Errorf("after a restart: %v", err)
	}
}

func TestOperatorsResetLiftsEveryLimitOfTheAccount(t *testing.T) {
	h := newHouse(t)
	email := h.org.Owner.Email
	known := keyring.Visitor{Address: "198.51.0.1", Devices: h.device("", email)}
	for range 11 {
		_, _ = h.SignIn(t.Context(), visitorAt(1), email, wrong)
		_, _ = h.SignIn(t.Context(), known, email, wrong)
	}
	h.fail(email, 130)
	if _, err := h.SetPassword(t.Context(), email, another); err != nil {
		t.Fatal(err)
	}
	for _, from := range []keyring.Visitor{visitorAt(1), known, {Address: "203.0.113.9"}} {
		if _, err := h.SignIn(t.Context(), from, email, another); err != nil {
			t.Errorf("from %s: %v", from.Address, err)
		}
	}
}

// TestSignInsOfOneMemberAreLimited bounds what a program that signs in all the time writes into the audit log.
func TestSignInsOfOneMemberAreLimited(t *testing.T) {
	h := newHouse(t)
	worked := 0
	for n := range 170 {
		_, err := h.SignIn(t.Context(), visitorAt(n), h.org.Admin.Email, storetest.Password)
		switch {
		case err == nil:
			worked++
		case !isLocked(err):
			t.Fatal(err)
		}
	}
	if worked != 150 {
		t.Errorf("%d sign-ins of one member within a quarter of an hour", worked)
	}
	if _, err := h.SetPassword(t.Context(), h.org.Admin.Email, another); err != nil {
		t.Fatal(err)
	}
	if _, err := h.SignIn(t.Context(), visitorAt(1), h.org.Admin.Email, another); err != nil {
		t.Errorf("once the operator has set another password: %v", err)
	}
	if _, err := h.SignIn(t.Context(), visitorAt(1), h.org.Owner.Email, storetest.Password); err != nil {
		t.Errorf("another member: %v", err)
	}
}

func TestDeviceCookieHoldsForItsAccountAndTimeAlone(t *testing.T) {
	h := newHouse(t)
	now := h.Now()
	owner, admin := h.org.Owner.Email, h.org.Admin.Email
	both := h.device(h.device("", owner), admin)
	for range 4 {
		both = h.device(both, admin) // the same account again
	}
	if n := strings.Count(both, "~"); n != 1 {
		t.Errorf("two accounts make %d marks", n+1)
	}
	for name, c := range map[string]struct {
		cookie string
		after  time.Duration
		known  bool
	}{
		"its own": {h.device("", owner), 0, true}, "one of two": {both, 0, true}, "another's": {h.device("", admin), 0, false},
		"late": {h.device("", owner), keyring.DeviceLifetime, false}, "none": {"", 0, false}, "forged": {"AAAA.99999999999!AAAA", 0, false},
		"longer": {strings.Replace(h.device("", owner), ".1", ".9", 1), 0, false}, "buried": {strings.Repeat("x~", 4) + h.device("", owner), 0, false},
	} {
		h.at(now)
		if err := h.store.ForgetAttempts(t.Context(), keyring.AddressSubject("198.51.0.1")); err != nil {
			t.Fatal(err)
		}
		h.at(now.Add(c.after))
		if n := h.fail(owner, 130); n != 100 {
			t.Fatalf("%s: %d evaluated", name, n)
		}
		_, err := h.SignIn(t.Context(), keyring.Visitor{Address: "203.0.113.9", Devices: c.cookie}, owner, storetest.Password)
		if isLocked(err) == c.known {
			t.Errorf("%s: %v", name, err)
		}
		h.at(now)
		if _, err := h.SetPassword(t.Context(), owner, another); err != nil { // lifts the limits
			t.Fatal(err)
		}
		if _, err := h.db.Exec(`UPDATE members SET password_hash = (SELECT password_hash FROM members WHERE email = $2) WHERE email = $1`, owner, admin); err != nil {
			t.Fatal(err)
		}
	}
}

// TestANewPasswordEndsTheMarksOfDevices: a browser that knows an earlier password guesses as an unknown one.
func TestANewPasswordEndsTheMarksOfDevices(t *testing.T) {
	for name, change := range map[string]func(h house, who account.Actor) error{
		"by the member": func(h house, who account.Actor) error {
			_, err := h.ChangePassword(h.t.Context(), who, storetest.Password, another)
			return err
		},
		"by the operator": func(h house, who account.Actor) error {
			_, err := h.SetPassword(h.t.Context(), who.Email, another)
			return err
		},
	} {
		h := newHouse(t)
		h.at(h.Now())
		who := h.org.Owner
		before := keyring.Visitor{Address: "203.0.113.9", Devices: h.device("", who.Email)}
		if err := change(h, who); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		after := keyring.Visitor{Address: "203.0.113.9", Devices: h.device(before.Devices, who.Email)}
		if n := h.fail(who.Email, 110); n != 100 {
			t.Fatalf("%s: %d guesses were evaluated", name, n)
		}
		if _, err := h.SignIn(t.Context(), before, who.Email, another); !isLocked(err) {
			t.Errorf("%s: a browser of the earlier password: %v", name, err)
		}
		if _, err := h.SignIn(t.Context(), after, who.Email, another); err != nil {
			t.Errorf("%s: a browser of the new one: %v", name, err)
		}
	}
}

func TestKnownDevicesOfAnAccountGuessOneHundredTimesADayTogether(t *testing.T) {
	h := newHouse(t)
	now := h.Now()
	h.at(now)
	email := h.org.Owner.Email
	evaluated := 0
	guess := func(devices string) {
		t.Helper()
		_, err := h.SignIn(t.Context(), keyring.Visitor{Address: "203.0.113.9", Devices: devices}, email, wrong)
		if errors.Is(err, keyring.ErrCredentials) {
			evaluated++
		} else if !isLocked(err) {
			t.Fatal(err)
		}
	}
	for range 12 {
		device := h.device("", email)
		for range 12 {
			guess(device)
		}
	}
	if evaluated != 100 {
		t.Errorf("%d guesses were evaluated", evaluated)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{Address: "203.0.113.9"}, email, storetest.Password); err != nil {
		t.Errorf("an unknown device: %v", err)
	}
	if _, err := h.SignIn(t.Context(), keyring.Visitor{Devices: h.device("", email)}, email, storetest.Password); err != nil {
		t.Errorf("a known one after a success: %v", err)
	}
}
