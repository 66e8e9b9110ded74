package apikey

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestNewKeyIsReadBackAndDiffersFromEveryOther(t *testing.T) {
	seen := map[string]bool{}
	for i := range 2000 {
		env := Environments[i%2]
		p := NewPlaintext(env)
		back, err := Parse(p.Reveal())
		if err != nil || back != p || back.Environment() != env || seen[p.Reveal()] {
			t.Fatalf("%v, %v", back.Environment(), err)
		}
		seen[p.Reveal()] = true
		if p.Prefix()+"_"+p.RevealPass() != p.Reveal() || !strings.HasSuffix(p.Reveal(), p.Signature()) || len(p.Signature()) != 6 {
			t.Fatal("the parts of a key do not make it up")
		}
	}
}

func TestSecretHasTheBitsItPromises(t *testing.T) {
	if bits := secretLength * math.Log2(62); bits < 190 {
		t.Errorf("%f bits", bits)
	}
}

func TestTypoIsRefusedWithoutALookUp(t *testing.T) {
	good := NewPlaintext(Live).Reveal()
	for i := range len(good) {
		for _, r := range []byte("0Zz_ \x00\xff") {
			bad := []byte(good)
			if bad[i] == r {
				continue
			}
			bad[i] = r
			if _, err := Parse(string(bad)); !errors.Is(err, ErrMalformed) {
				t.Errorf("position %d changed to %q was taken", i, r)
			}
		}
	}
	for _, bad := range []string{"", "pk_live_", good + "0", good[1:], strings.ToUpper(good), strings.Repeat("a", len(good))} {
		if _, err := Parse(bad); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d characters were taken", len(bad))
		}
	}
}

// Keys that were handed out stay keys. The checksums were computed apart, as the CRC32 (IEEE) in base62 with leading zeros.
func TestTheChecksumNeverChanges(t *testing.T) {
	for _, key := range []string{"pk_live_000000000000_000000000000000000000000000000001Bx2Ss", "pk_test_AbCdEf000547_0123456789abcdefghijklmnopqrstuv00dXaG"} {
		if _, err := Parse(key); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	text := NewPlaintext(Live).Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func TestPlaintextPrintsNothingOfItself(t *testing.T) {
	p := NewPlaintext(Live)
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", p, "in", struct{ P Plaintext }{p})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", p, "pointer", &p)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, p, &p, []any{p, map[string]Plaintext{"a": p}, struct{ P Plaintext }{p}})
	}
	text, err := json.Marshal(map[string]any{"p": p, "pp": &p})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	hex := fmt.Sprintf("%x", p.RevealPass())
	for _, secret := range []string{p.RevealPass()[:12], p.Prefix(), hex[:24]} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("part of the key was printed")
		}
	}
}

func TestStatusTurnsAtTheBoundary(t *testing.T) {
	end := time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)
	before, after := end.Add(-time.Microsecond), end.Add(time.Microsecond)
	for _, c := range []struct {
		key  Key
		at   time.Time
		want Status
		good bool
	}{
		{Key{Stored: Enabled, ExpiresAt: end}, before, Enabled, true},
		{Key{Stored: Enabled, ExpiresAt: end}, end, Expired, false},
		{Key{Stored: Enabled, ExpiresAt: end}, after, Expired, false},
		{Key{Stored: Disabled, ExpiresAt: end}, before, Disabled, false},
		{Key{Stored: Disabled, ExpiresAt: end}, end, Expired, false},
		{Key{Stored: Revoked, ExpiresAt: end}, after, Revoked, false},
		{Key{Stored: Rotated, ExpiresAt: end, GraceEndsAt: &end}, before, Rotated, true},
		{Key{Stored: Rotated, ExpiresAt: end, GraceEndsAt: &end}, end, Rotated, false},
	} {
		if got, good := c.key.StatusAt(c.at), c.key.AcceptedAt(c.at); got != c.want || good != c.good {
			t.Errorf("%s key %s after its end: %s, accepted %t", c.key.Stored, c.at.Sub(end), got, good)
		}
	}
}

func TestAllowlistIsReadOrRefused(t *testing.T) {
	got, err := ParseAllowlist([]string{" 192.0.2.7 ", "2001:db8::/32", "", "192.0.2.7/32", "::ffff:192.0.2.9", "10.0.0.0/8"})
	if err != nil || fmt.Sprint(got) != "[192.0.2.7/32 2001:db8::/32 192.0.2.9/32 10.0.0.0/8]" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"10.0.0.1/8", "10.0.0.0/33", "x", "fe80::1%eth0", "::ffff:10.0.0.0/104", "1.2.3", strings.Repeat("9", 300)} {
		if _, err := ParseAllowlist([]string{bad}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	var many []string
	for i := range MaxAllowlist + 1 {
		many = append(many, fmt.Sprintf("10.0.%d.0/24", i))
	}
	if _, err := ParseAllowlist(many); err == nil {
		t.Error("too many entries were taken")
	}
}

func TestExpiryIsReadOrRefused(t *testing.T) {
	now := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	policy := Policy{LongestLifetime: 365 * Day, DefaultLifetime: 90 * Day}
	for text, want := range map[string]string{
		"": "2027-02-19T10:00:00Z", "30d": "2026-12-21T10:00:00Z", "365d": "2027-11-21T10:00:00Z",
		"2026-11-21": "2026-11-21T23:59:59Z", "2027-11-20": "2027-11-20T23:59:59Z", "2027-01-01T01:00:00+01:00": "2027-01-01T00:00:00Z",
	} {
		if got, err := ParseExpiry(text, now, now, policy); err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q is %s, %v; want %s", text, got.Format(time.RFC3339), err, want)
		}
	}
	if _, err := ParseExpiry("999999d", now, now, policy); err == nil || !strings.Contains(err.Error(), "live for at most") {
		t.Errorf("999999d: %v", err)
	}
	for _, bad := range []string{"0d", "99999999999999999999d", "366d", "-1d", "99999999999d", "2026-11-20", "2027-11-21", "9999-12-31", "10000-01-01", "1.1.2027", "2027-02-30", "2027-01-01T00:00:00+99:99", "d"} {
		if got, err := ParseExpiry(bad, now, now, policy); err == nil {
			t.Errorf("%q was taken as %s", bad, got)
		}
	}
	if last := policy.LastDay(now, time.UTC); last.Format(time.DateOnly) != "2027-11-20" {
		t.Errorf("the last day is %s", last)
	}
	if _, err := ParseExpiry(policy.LastDay(now, time.UTC).Format(time.DateOnly), now, now, policy); err != nil {
		t.Errorf("the last day that is offered is refused: %v", err)
	}
}

// TestALastDayEndsInItsZone takes days on which clocks are put forward and back, at midnight too, and zones on both sides of the
// date line.
func TestALastDayEndsInItsZone(t *testing.T) {
	now := time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)
	policy := Policy{LongestLifetime: 365 * Day, DefaultLifetime: 90 * Day}
	for text, want := range map[string]string{
		"2027-01-31 America/Los_Angeles": "2027-02-01T07:59:59Z", "2027-01-31 Asia/Tokyo": "2027-01-31T14:59:59Z", "2027-01-31 UTC": "2027-01-31T23:59:59Z",
		"2026-03-29 Europe/Berlin": "2026-03-29T21:59:59Z", "2026-10-25 Europe/Berlin": "2026-10-25T22:59:59Z",
		"2026-10-31 America/Havana": "2026-11-01T03:59:59Z", // put back at 1:00 on the next day
		"2026-10-29 Africa/Cairo":   "2026-10-29T21:59:59Z", // put back at midnight: 23:59:59 comes twice
		"2026-04-23 Africa/Cairo":   "2026-04-23T21:59:59Z", // put forward at midnight
		"2026-12-01 Pacific/Apia":   "2026-12-01T10:59:59Z", "2026-12-01 Etc/GMT+12": "2026-12-02T11:59:59Z", "2026-12-01 Asia/Kathmandu": "2026-12-01T18:14:59Z",
	} {
		got, err := ParseExpiry(text, now, now, policy)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q is %s, %v; want %s", text, got.Format(time.RFC3339), err, want)
		}
	}
	for _, zone := range []string{"Local", "local", "Mars/Olympus", "../etc/passwd", "/etc/passwd", "Europe/../UTC", "europe/berlin\x00", "Europe/Berlin ", strings.Repeat("A", 65), "<b>"} {
		if _, known := Zone(zone); known {
			t.Errorf("%q is known", zone)
		}
		if _, err := ParseExpiry("2026-12-01 "+zone, now, now, policy); err == nil && strings.TrimSpace(zone) == zone {
			t.Errorf("a day in %q was taken", zone)
		}
	}
	for _, name := range []string{"UTC", "America/Los_Angeles", "Asia/Tokyo", "Africa/Cairo", "Pacific/Apia", "Etc/GMT+12"} {
		zone, _ := Zone(name)
		for hour := range 48 {
			made := now.Add(time.Duration(hour) * time.Hour)
			last := policy.LastDay(made, zone)
			if _, err := ParseExpiry(last.Format(time.DateOnly)+" "+name, made, made, policy); err != nil {
				t.Errorf("in %s the last day that is offered is refused: %v", name, err)
			}
			if _, err := ParseExpiry(last.AddDate(0, 0, 1).Format(time.DateOnly)+" "+name, made, made, policy); err == nil || !strings.Contains(err.Error(), last.Format("2 January 2006")) {
				t.Errorf("in %s the day after the last: %v", name, err)
			}
		}
	}
}

func TestScopesAreSortedAndChecked(t *testing.T) {
	catalogue := []string{"read:chat", "write:chat"}
	if got, err := CheckScopes([]string{"write:chat", "read:chat", "write:chat"}, catalogue); err != nil || !slices.Equal(got, catalogue) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := CheckScopes([]string{"read:chat", "*"}, catalogue); err != nil || !slices.Equal(got, []string{"*"}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range [][]string{nil, {}, {""}, {"READ:CHAT"}, {"read:chat\x00"}} {
		if _, err := CheckScopes(bad, catalogue); err == nil {
			t.Errorf("%q were taken", bad)
		}
	}
}

func TestEveryStatusAndEveryWordIsKnown(t *testing.T) {
	for _, s := range Statuses {
		if s.Label() == string(s) {
			t.Errorf("%s has no label", s)
		}
	}
	for _, text := range []string{"", "created", "-created", "name", "-name", "expires", "-expires", "used", "-used"} {
		if sort, ok := ParseSort(text); !ok || text != "" && sort.String() != text {
			t.Errorf("order %q is %v", text, sort)
		}
	}
	for _, bad := range []string{"-", "--name", "id", "name "} {
		if _, ok := ParseSort(bad); ok {
			t.Errorf("order %q was taken", bad)
		}
	}
}

func TestKeyWithinAnother(t *testing.T) {
	net := func(texts ...string) []netip.Prefix {
		list, err := ParseAllowlist(texts)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	wide := Key{Environment: Live}
	pinned := Key{Environment: Test, WorkspaceID: "w", ProcessID: "p", IPAllowlist: net("10.0.0.0/8", "2001:db8::/32")}
	for name, c := range map[string]struct {
		key, other Key
		want       bool
	}{
		"itself":                {pinned, pinned, true},
		"narrower":              {pinned, wide, true},
		"wider":                 {wide, pinned, false},
		"another workspace":     {Key{WorkspaceID: "v"}, Key{Environment: Live, WorkspaceID: "w"}, false},
		"no workspace":          {Key{}, Key{Environment: Live, WorkspaceID: "w"}, false},
		"another process":       {Key{ProcessID: "q"}, Key{Environment: Live, ProcessID: "p"}, false},
		"another profile":       {Key{ProfileID: "q"}, Key{Environment: Live, ProfileID: "p"}, false},
		"no profile":            {Key{}, Key{Environment: Live, ProfileID: "p"}, false},
		"live from test":        {Key{Environment: Live}, Key{Environment: Test}, false},
		"test from live":        {Key{Environment: Test}, wide, true},
		"part of the addresses": {Key{IPAllowlist: net("10.1.0.0/16", "2001:db8:1::/48")}, Key{Environment: Live, IPAllowlist: net("10.0.0.0/8", "2001:db8::/32")}, true},
		"more addresses":        {Key{IPAllowlist: net("10.0.0.0/7")}, Key{Environment: Live, IPAllowlist: net("10.0.0.0/8")}, false},
		"any address":           {Key{}, Key{Environment: Live, IPAllowlist: net("10.0.0.0/8")}, false},
		"the other family":      {Key{IPAllowlist: net("::a00:0/104")}, Key{Environment: Live, IPAllowlist: net("10.0.0.0/8")}, false},
	} {
		if got := c.key.Within(c.other); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestAKeyIsParsedAsUserAndPassToo(t *testing.T) {
	for _, env := range Environments {
		key := NewPlaintext(env)
		pair := key.Prefix() + ":" + key.RevealPass()
		if parsed, err := Parse(pair); err != nil || parsed != key || parsed.Hash() != key.Hash() {
			t.Errorf("user:pass: %v", err)
		}
		for _, wrong := range []string{strings.Replace(pair, "pk_", "pk:", 1), pair + ":", ":" + pair, strings.Replace(pair, ":", "::", 1), strings.Replace(pair, ":", "-", 1), pair[:len(pair)-1] + "!"} {
			if _, err := Parse(wrong); err == nil {
				t.Errorf("%s is taken", wrong)
			}
		}
	}
}

func TestUnmaskFindsAKeyByWhatPeopleSee(t *testing.T) {
	for text, want := range map[string]string{
		"pk_live_oQlGvrFsBoWi_••••3Db6nE": "pk_live_oQlGvrFsBoWi", "pk_test_oQlGvrFsBoWi_": "pk_test_oQlGvrFsBoWi", "pk_live_oQlGvrFsBoWi_••••to 3Db6nE": "pk_live_oQlGvrFsBoWi",
		"••••3Db6nE": "3Db6nE", "...3Db6nE": "3Db6nE", "3Db6nE": "3Db6nE", "pk_live_oQlGvrFsBoWi": "pk_live_oQlGvrFsBoWi", "CI pipeline": "CI pipeline", "•••• x": "•••• x", "": "",
	} {
		if got := Unmask(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAnAllowlistOfEverythingIsNone(t *testing.T) {
	policy := Policy{RequireAllowlist: true, WidestIPv4: WidestIPv4, WidestIPv6: WidestIPv6, LongestLifetime: Day}
	for text, counts := range map[string]bool{
		"": false, "0.0.0.0/0": false, "::/0": false, "0.0.0.0/1,128.0.0.0/1": false, "10.0.0.0/7": false, "2000::/3": false, "2001:db8::/31": false, "192.0.2.1,0.0.0.0/0": false,
		"10.0.0.0/8": true, "2001:db8::/32": true, "192.0.2.1": true, "10.0.0.0/8,2001:db8::/48": true,
	} {
		list, err := ParseAllowlist(strings.Split(text, ","))
		if err != nil {
			t.Fatal(text, err)
		}
		if err := policy.CheckAllowlist(list, nil); (err == nil) != counts {
			t.Errorf("%q: %v", text, err)
		}
		if broken := policy.Broken(Key{IPAllowlist: list}); (len(broken) == 0) != counts {
			t.Errorf("%q breaks %v", text, broken)
		}
		if err := policy.CheckAllowlist(list, &list); err != nil {
			t.Errorf("%q may not stay as it is: %v", text, err)
		}
		if err := (Policy{}).CheckAllowlist(list, nil); err != nil {
			t.Errorf("%q where none is required: %v", text, err)
		}
	}
}

// TestPolicyJudgesALifetimeByItsEffectiveEnd has a key that was rotated because it lives for too long, and ends with its grace period.
func TestPolicyJudgesALifetimeByItsEffectiveEnd(t *testing.T) {
	policy := Policy{LongestLifetime: 30 * Day}
	created := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for grace, breaks := range map[time.Duration]bool{Day: false, 30 * Day: false, 30*Day + time.Microsecond: true} {
		rotated, end := created, created.Add(grace)
		key := Key{Stored: Rotated, CreatedAt: created, ExpiresAt: created.Add(90 * Day), RotatedAt: &rotated, GraceEndsAt: &end}
		if broken := policy.Broken(key); (len(broken) > 0) != breaks {
			t.Errorf("a key that works until %v after its creation breaks %v", grace, broken)
		}
	}
	if broken := policy.Broken(Key{Stored: Enabled, CreatedAt: created, ExpiresAt: created.Add(90 * Day)}); len(broken) != 1 {
		t.Errorf("a key that was not rotated breaks %v", broken)
	}
}
