package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strconv"
	"strings"
	"time"
)

const (
	// DeviceLifetime is how long a browser counts as known after it last signed in.
	DeviceLifetime = 180 * 24 * time.Hour

	accountsPerDevice = 4 // that share a browser; the longest unused is forgotten
)

// devices makes and checks device cookies (OWASP: "Slow Down Online Guessing Attacks with Device Cookies"). A cookie grants
// nothing: with it wrong passwords are counted for the device, and not with those of unknown devices. So nothing is stored.
// Its marks are joined by "~"; each is a random device, when it ends, and a MAC over both and the account: an email and the
// hash of its password, so that a new password ends the marks.
type devices struct{ secrets [][32]byte } // the first seals, all of them open

// known returns the device that a cookie names for the account; "" for none.
func (d devices) known(cookie, account string, now time.Time) string {
	for _, mark := range marksIn(cookie) {
		if device, ends, ok := d.open(mark, account); ok && now.Before(ends) {
			return device
		}
	}
	return ""
}

// marksIn bounds what a cookie makes the server compute.
func marksIn(cookie string) []string {
	marks := strings.SplitN(cookie, "~", accountsPerDevice+1)
	return marks[:min(len(marks), accountsPerDevice)]
}

func (d devices) open(mark, account string) (device string, ends time.Time, ok bool) {
	named, sealed, _ := strings.Cut(mark, "!")
	device, end, _ := strings.Cut(named, ".")
	for _, secret := range d.secrets {
		if hmac.Equal([]byte(sealed), []byte(sealDevice(secret, named, account))) {
			seconds, err := strconv.ParseInt(end, 10, 64)
			return device, time.Unix(seconds, 0), err == nil
		}
	}
	return "", time.Time{}, false
}

// add returns the cookie with the account's mark renewed. The marks of others stay, and grow to no more than a few.
func (d devices) add(cookie, account string, now time.Time) string {
	device := d.known(cookie, account, now)
	if device == "" {
		device = rand.Text()
	}
	named := device + "." + strconv.FormatInt(now.Add(DeviceLifetime).Unix(), 10)
	marks := []string{named + "!" + sealDevice(d.secrets[0], named, account)}
	for _, mark := range marksIn(cookie) {
		_, _, own := d.open(mark, account)
		if !own && len(mark) == len(marks[0]) && len(marks) < accountsPerDevice {
			marks = append(marks, mark)
		}
	}
	return strings.Join(marks, "~")
}

func sealDevice(secret [32]byte, named, account string) string {
	mac := hmac.New(sha256.New, secret[:])
	mac.Write([]byte("device " + named + " " + account))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// deviceAccount is what a mark holds for. Neither part has a space.
func deviceAccount(email, passwordHash string) string { return email + " " + passwordHash }

// DeviceCookie returns the cookie of a browser that has just signed in to an account; ErrNotFound without one.
func (r *Keyring) DeviceCookie(ctx context.Context, cookie, email string) (string, error) {
	member, err := r.store.CredentialsByEmail(ctx, email)
	if err != nil {
		return "", err
	}
	return r.devices.add(cookie, deviceAccount(member.Email, member.PasswordHash), r.Now()), nil
}
