package keyring

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/audit"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/store"
)

// The limits of attempts to sign in, counted in the database for all replicas together. ADR 22 has the reasons.
const (
	attemptWindow = 15 * time.Minute
	dayWindow     = 24 * time.Hour

	attemptsPerSource     = 10  // at one account from one network, or from one known device, in attemptWindow
	attemptsPerSourceDay  = 20  // the same in dayWindow: one network can't fill the account's own limit
	attemptsPerAccount    = 100 // at one account from all unknown devices, or from all known ones, in dayWindow (NIST SP 800-63B-4, 3.2.2)
	attemptsPerAddress    = 100 // from one network at all accounts, in attemptWindow; an office shares one
	signInsPerMember      = 150 // that succeed, in attemptWindow: each writes an audit event
	confirmationsPerActor = 10  // of the current password by somebody who is signed in, in attemptWindow
)

// LockedError says that there were too many attempts, and when the next one counts again.
type LockedError struct{ Until time.Time }

func (e *LockedError) Error() string {
	return fmt.Sprintf("too many attempts to sign in; the next one counts at %s", e.Until.Format(time.RFC3339))
}

// attemptLimit says how many attempts a window allows a subject.
type attemptLimit struct {
	subject string
	most    int
	window  time.Duration
	shared  bool // by several accounts: reaching it locks none of them
}

// attemptLimits are the limits that an attempt falls under, the strictest first. A device that signed in to the account
// with its present password has its own, so that failures of unknown devices do not keep it out. An email of "" is no account.
func (r *Keyring) attemptLimits(from Visitor, email, passwordHash string) []attemptLimit {
	network := attemptLimit{AddressSubject(from.Address), attemptsPerAddress, attemptWindow, true}
	if email == "" {
		return []attemptLimit{network}
	}
	account := accountSubject(email)
	if device := r.devices.known(from.Devices, deviceAccount(email, passwordHash), r.Now()); device != "" {
		source := account + " on " + device
		return []attemptLimit{{source, attemptsPerSource, attemptWindow, false}, {source + " a day", attemptsPerSourceDay, dayWindow, false},
			{knownDevicesSubject(email), attemptsPerAccount, dayWindow, false}}
	}
	source := account + " from " + AddressSubject(from.Address)
	return []attemptLimit{{source, attemptsPerSource, attemptWindow, false}, {source + " a day", attemptsPerSourceDay, dayWindow, false}, network,
		{account, attemptsPerAccount, dayWindow, false}}
}

// authenticate returns whose e-mail and password these are.
func (r *Keyring) authenticate(ctx context.Context, from Visitor, email, password string) (store.Credentials, error) {
	email, problem := input.Email(email)
	if problem != nil {
		email = ""
	}
	member, err := r.store.CredentialsByEmail(ctx, email)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return store.Credentials{}, err
	}
	limits := r.attemptLimits(from, email, member.PasswordHash)
	last, err := r.countAttempts(ctx, limits)
	if err != nil {
		return store.Credentials{}, err
	}
	matches, err := r.passwords.matches(ctx, password, member.PasswordHash)
	if err != nil {
		return store.Credentials{}, err
	}
	if problem != nil || !matches || member.Status != account.Active {
		r.signInFailed(from, member, matches, last)
		return store.Credentials{}, ErrCredentials
	}
	if err := r.forgiveAttempts(ctx, email, limits); err != nil {
		return store.Credentials{}, err
	}
	last, err = r.countAttempts(ctx, []attemptLimit{{signInsSubject(member.ID), signInsPerMember, attemptWindow, false}})
	if last {
		r.RecordSecurityEvent(audit.SecurityEvent{OrgID: member.OrgID, Kind: audit.SignInLimited, MemberID: member.ID, Address: from.Address})
	}
	return member, err
}

// signInFailed records a failure at a member's account. Of an unknown address nothing that was typed is kept.
func (r *Keyring) signInFailed(from Visitor, member store.Credentials, matches, last bool) {
	if member.ID == "" {
		r.log.Warn("sign-in failed: no such account", "address", from.Address)
		return
	}
	failed := audit.SecurityEvent{OrgID: member.OrgID, Kind: audit.SignInFailed, MemberID: member.ID, Address: from.Address}
	if matches {
		failed.Detail = string(member.Status)
	}
	r.RecordSecurityEvent(failed)
	if last {
		failed.Kind, failed.Detail = audit.SignInLocked, ""
		r.RecordSecurityEvent(failed)
	}
}

// countAttempts counts before it judges, so that of attempts at once on several replicas no more than the limit are
// evaluated. What is over a limit is refused without a write, and does not count for the limits after it. last says that the
// next attempt at the account will be refused.
func (r *Keyring) countAttempts(ctx context.Context, limits []attemptLimit) (last bool, err error) {
	subjects := make([]string, len(limits))
	for i, limit := range limits {
		subjects[i] = limit.subject
	}
	counted, err := r.store.Attempts(ctx, subjects)
	if err != nil {
		return false, err
	}
	for _, limit := range limits {
		if c := counted[limit.subject]; c.Count >= limit.most {
			return false, &LockedError{c.EndsAt}
		}
	}
	for _, limit := range limits {
		count, until, err := r.store.CountAttempt(ctx, limit.subject, limit.window)
		if err != nil {
			return false, err
		}
		if count > limit.most {
			return false, &LockedError{until}
		}
		last = last || count == limit.most && !limit.shared
	}
	return last, nil
}

// forgiveAttempts ends the counts of failures in a row after a success. Of a network's count it takes this attempt alone:
// others share it.
func (r *Keyring) forgiveAttempts(ctx context.Context, email string, limits []attemptLimit) error {
	subjects := []string{accountSubject(email), knownDevicesSubject(email)}
	for _, limit := range limits {
		if limit.shared {
			if err := r.store.UncountAttempt(ctx, limit.subject); err != nil {
				return err
			}
			continue
		}
		subjects = append(subjects, limit.subject)
	}
	return r.store.ForgetAttempts(ctx, subjects...)
}

// AddressSubject names where requests come from.
func AddressSubject(address string) string { return "address " + networkOf(address) }

// networkOf returns the IPv4 address, or the /64 that one household or server has of IPv6.
func networkOf(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil && ip.Is6() && !ip.Is4In6() && !ip.IsLoopback() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return address
}

// accountSubject names an account without storing the addresses that people try.
func accountSubject(email string) string {
	sum := sha256.Sum256([]byte(email))
	return "account " + hex.EncodeToString(sum[:])
}

// knownDevicesSubject names all known devices of an account together.
// signInsSubject names a member's sign-ins, those that succeed too.
func signInsSubject(memberID string) string { return "sign-ins of " + memberID }

func knownDevicesSubject(email string) string { return accountSubject(email) + " on known devices" }
