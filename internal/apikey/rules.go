package apikey

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a machine may have no time zones of its own
	"unicode/utf8"
)

// Bounds on what a key may hold.
const (
	MaxName      = 100 // characters
	MaxAllowlist = 50  // entries
	MaxScopes    = 200 // and of a catalogue, which a key can hold by name
	// MaxScopeName and MaxScopeDescription bound a scope in the catalogue, in characters.
	MaxScopeName        = 100
	MaxScopeDescription = 200
	// WidestIPv4 and WidestIPv6 are the widest ranges, as prefix lengths, that count as an allowlist unless a policy says
	// otherwise.
	WidestIPv4 = 8
	WidestIPv6 = 32
	// LongestPolicy bounds every number of days in a policy.
	LongestPolicy = 3650 * Day
	// LongestGrace bounds how long a rotated key may be accepted beside its successor: 2 592 000 s.
	LongestGrace = 30 * Day
)

// Day is 24 hours: lifetimes do not know about daylight saving.
const Day = 24 * time.Hour

// All is the scope that stands for every scope; only an owner may grant it.
const All = "*"

// Policy is what an organisation allows its keys, and asks of them.
type Policy struct {
	LongestLifetime  time.Duration
	DefaultLifetime  time.Duration
	LongestGrace     time.Duration
	RequireAllowlist bool
	WidestIPv4       int // prefix length: a wider range does not count as an allowlist
	WidestIPv6       int
	RequireWorkspace bool
	UnusedAfter      time.Duration // without a use, after which a key is flagged or disabled; 0 for never
	DisableUnused    bool          // by itself, rather than flag it
	DisableDeparted  bool          // the keys of whoever is suspended or removed
	Version          int           // grows by one with every change
}

// Rule is something that a policy asks of every new key.
type Rule string

// The rules that a key which is older than they are can break.
const (
	LivesTooLong   Rule = "lifetime"
	LacksAllowlist Rule = "allowlist"
	LacksWorkspace Rule = "workspace"
)

// Broken lists the rules that a key breaks. Only live keys matter: see Key.LiveAt.
func (p Policy) Broken(k Key) []Rule {
	var broken []Rule
	if k.EndsAt().Sub(k.CreatedAt) > p.LongestLifetime {
		broken = append(broken, LivesTooLong)
	}
	if p.RequireAllowlist && !p.confines(k.IPAllowlist) {
		broken = append(broken, LacksAllowlist)
	}
	if p.RequireWorkspace && k.WorkspaceID == "" {
		broken = append(broken, LacksWorkspace)
	}
	return broken
}

// CheckAllowlist returns the sentence to show beside an allowlist that the policy does not let a key have. One that was
// there before the rule may stay as it is: before is the list that an edit began with, and nil for a new key.
func (p Policy) CheckAllowlist(list []netip.Prefix, before *[]netip.Prefix) error {
	switch {
	case !p.RequireAllowlist, p.confines(list), before != nil && slices.Equal(list, *before):
		return nil
	case len(list) == 0:
		return say("Your organisation’s keys need an IP allowlist. Enter the addresses that this one is used from.")
	}
	widest := list[slices.IndexFunc(list, p.tooWide)]
	return say("%s is too wide for your key policy, which allows ranges up to /%d (IPv4) and /%d (IPv6). Enter narrower ranges.", widest, p.WidestIPv4, p.WidestIPv6)
}

// confines reports whether an allowlist counts as one: it is not empty, and none of its ranges is too wide.
func (p Policy) confines(list []netip.Prefix) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, p.tooWide)
}

func (p Policy) tooWide(r netip.Prefix) bool {
	if r.Addr().Is4() {
		return r.Bits() < p.WidestIPv4
	}
	return r.Bits() < p.WidestIPv6
}

// CheckWorkspace returns the sentence to show beside the workspace of a new key that the policy does not let be without.
// A process brings its workspace with it.
func (p Policy) CheckWorkspace(workspaceID, processID string) error {
	if p.RequireWorkspace && workspaceID == "" && processID == "" {
		return say("Your organisation’s keys belong to a workspace. Choose one, or a process.")
	}
	return nil
}

// Unused says whether a live key has been idle for as long as the policy lets it be.
func (p Policy) Unused(idleSince, now time.Time) bool {
	return p.UnusedAfter > 0 && !idleSince.After(now.Add(-p.UnusedAfter))
}

// CheckName returns the sentence to show beside a name that may not be used. The text has been cleaned
// (no control characters) before it comes here.
func CheckName(name string) error {
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return say("Enter a name, so that people can tell this key from others.")
	case n > MaxName:
		return say("Use at most %d characters; this name has %d.", MaxName, n)
	}
	return nil
}

// ParseEnvironment reads an environment; empty means Live.
func ParseEnvironment(text string) (Environment, error) {
	if text == "" {
		return Live, nil
	}
	if slices.Contains(Environments, Environment(text)) {
		return Environment(text), nil
	}
	return "", say("Choose live or test.")
}

// CheckScopes returns the scopes sorted and without repetitions, or the sentence to show beside them.
// Grantable is the organisation's catalogue without the retired ones.
func CheckScopes(scopes, grantable []string) ([]string, error) {
	scopes = slices.Compact(slices.Sorted(slices.Values(scopes)))
	if len(scopes) == 0 {
		return nil, say("Choose at least one scope. A key without scopes could do nothing.")
	}
	if len(scopes) > MaxScopes {
		return nil, say("Choose at most %d scopes.", MaxScopes)
	}
	if slices.Contains(scopes, All) {
		return []string{All}, nil
	}
	for _, s := range scopes {
		if !slices.Contains(grantable, s) {
			return nil, say("The scope %q is not in the catalogue, or has been retired.", clip(s, 60))
		}
	}
	return scopes, nil
}

// scopeName is what a scope's name looks like, in the table of scopes too.
var scopeName = regexp.MustCompile(`^[a-z][a-z0-9-]*:[a-z][a-z0-9-]*$`)

// CheckScopeName returns the sentence to show beside the name of a new scope that may not be used.
func CheckScopeName(name string) error {
	switch {
	case name == "":
		return say("Enter the scope’s name, as verb:resource, like read:invoices.")
	case !scopeName.MatchString(name):
		return say("Write it as verb:resource, like read:invoices: small letters, digits and hyphens, each part beginning with a letter.")
	case len(name) > MaxScopeName:
		return say("Use at most %d characters; this name has %d.", MaxScopeName, len(name))
	}
	return nil
}

// CheckScopeDescription returns the sentence to show beside a scope's description that is too long.
func CheckScopeDescription(text string) error {
	if n := utf8.RuneCountInString(text); n > MaxScopeDescription {
		return say("Use at most %d characters; this description has %d.", MaxScopeDescription, n)
	}
	return nil
}

// Covers says whether who holds the scopes holds this one too: by name, or by All. Nobody holds "".
func Covers(held []string, scope string) bool {
	return scope != "" && (slices.Contains(held, scope) || slices.Contains(held, All))
}

// ParseAllowlist reads addresses and CIDR ranges; a bare address means that one address. Host bits are
// refused, since "10.0.0.7/8" is more often a mistake than a range.
func ParseAllowlist(entries []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		p, err := parsePrefix(entry)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	if len(out) > MaxAllowlist {
		return nil, say("Use at most %d addresses or ranges.", MaxAllowlist)
	}
	return out, nil
}

func parsePrefix(entry string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(entry); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(entry)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, say("%q is not an address or a CIDR range. Write them like 203.0.113.7 or 203.0.113.0/24.", clip(entry, 60))
	}
	if p != p.Masked() {
		return netip.Prefix{}, say("%q has address bits beyond its length. Did you mean %s?", entry, p.Masked())
	}
	return p, nil
}

// ParseExpiry reads when a key is to end: "90d" (days from now), "2027-01-31 Europe/Berlin" (the last second of that day in that
// time zone, in UTC without one), an RFC 3339 time, or nothing for the policy's default lifetime. The policy's longest lifetime
// counts from the key's creation, so that editing does not stretch it. The error is the sentence to show beside the field.
func ParseExpiry(text string, now, createdAt time.Time, policy Policy) (time.Time, error) {
	at, zone, err := readExpiry(strings.TrimSpace(text), now, policy)
	if err != nil {
		return time.Time{}, err
	}
	at = at.UTC().Truncate(time.Microsecond) // as it is stored, before it is judged
	if !at.After(now) {
		return time.Time{}, say("This is in the past. Choose a later date.")
	}
	last := createdAt.Add(policy.LongestLifetime)
	if !last.After(now) {
		return time.Time{}, say("Your organisation’s keys live for at most %d days, and this one is older already. Rotate it, or leave its end as it is.",
			int(policy.LongestLifetime/Day))
	}
	if at.After(last) {
		return time.Time{}, say("Your organisation’s keys live for at most %d days. Choose %s or earlier.",
			int(policy.LongestLifetime/Day), lastDay(last, zone).Format("2 January 2006"))
	}
	return at, nil
}

// readExpiry also says in which zone a day of the text counts.
func readExpiry(text string, now time.Time, policy Policy) (time.Time, *time.Location, error) {
	if text == "" {
		return now.Add(policy.DefaultLifetime), time.UTC, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 64); err == nil {
			return now.Add(time.Duration(min(n, 2*uint64(LongestPolicy/Day))) * Day), time.UTC, nil // longer than any policy allows
		}
	}
	date, name, _ := strings.Cut(text, " ")
	if day, err := time.Parse(time.DateOnly, date); err == nil {
		zone, known := Zone(name)
		if !known {
			return time.Time{}, nil, say("Your time zone is not known here, so the day counts in UTC. Check it, and save again.")
		}
		return endOf(day, zone), zone, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, time.UTC, nil
	}
	return time.Time{}, nil, say("Write a number of days, like 90d, or a date as year-month-day, like 2027-01-31.")
}

var zoneName = regexp.MustCompile(`^[A-Z][0-9A-Za-z_+-]*(/[0-9A-Za-z_+-]+)*$`)

// Zone returns the time zone of an IANA name, like Europe/Berlin; UTC for none. It is UTC, and not known, for any other text.
func Zone(name string) (zone *time.Location, known bool) {
	if name == "" {
		return time.UTC, true
	}
	if len(name) > 64 || name == "Local" || !zoneName.MatchString(name) { // Local is the server's
		return time.UTC, false
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return time.UTC, false
	}
	return zone, true
}

// endOf is the last second of a day, which is given by its date in UTC, in a zone. Where clocks are put back at midnight, the
// day has that second twice.
func endOf(day time.Time, zone *time.Location) time.Time {
	y, m, d := day.Date()
	end := time.Date(y, m, d, 23, 59, 59, 0, zone)
	if again := end.Add(time.Hour); again.Format(time.DateTime) == end.Format(time.DateTime) {
		return again
	}
	return end
}

// lastDay is the last day in a zone that ends no later than the given time, by its date in UTC.
func lastDay(at time.Time, zone *time.Location) time.Time {
	y, m, d := at.In(zone).Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	if endOf(day, zone).After(at) {
		return day.AddDate(0, 0, -1)
	}
	return day
}

// LastDay is the last date in a zone that a person may choose as the end of a key made at the given time.
func (p Policy) LastDay(createdAt time.Time, zone *time.Location) time.Time {
	return lastDay(createdAt.Add(p.LongestLifetime), zone)
}

// CheckGrace returns the sentence to show beside a grace period that may not be used.
func (p Policy) CheckGrace(grace time.Duration) error {
	if longest := min(p.LongestGrace, LongestGrace); grace < 0 || grace > longest {
		return say("Choose a grace period of 0 to %d seconds.", int(longest/time.Second))
	}
	return nil
}

// Resource is the part of a scope after its verb: "personas" of "read:personas". Scopes are grouped by it.
func Resource(scope string) string {
	if _, resource, ok := strings.Cut(scope, ":"); ok {
		return resource
	}
	return scope
}

// say makes an error of a sentence that is meant for people, beside the field that it is about.
func say(format string, args ...any) error { return sentence(fmt.Sprintf(format, args...)) }

type sentence string

func (s sentence) Error() string { return string(s) }

func clip(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n]) + "…"
}
