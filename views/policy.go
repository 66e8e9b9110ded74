package views

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// PolicyView is what the organisation asks of its keys, and how many of them break it.
type PolicyView struct {
	Page
	Policy apikey.Policy
	Broken int64 // live keys that break it
	Unused int64 // enabled keys that have been idle for longer than it lets them be
}

// PolicyForm changes the key policy, as it was typed. Fields: longestDays, defaultDays, graceSeconds, widestIPv4,
// widestIPv6, requireAllowlist ("1"), requireWorkspace ("1"), unusedDays, disableUnused ("1"), disableDeparted ("1"), version, confirm ("1"), return.
// Problems by: longestDays, defaultDays, graceSeconds, widestIPv4, widestIPv6, unusedDays; "" for the form as a whole.
type PolicyForm struct {
	Page
	Return           string
	Version          int // of the policy when the form was first shown
	LongestDays      string
	DefaultDays      string
	GraceSeconds     string
	UnusedDays       string
	WidestIPv4       string
	WidestIPv6       string
	RequireAllowlist bool
	RequireWorkspace bool
	DisableUnused    bool
	DisableDeparted  bool
	Problems         input.Problems
}

// PolicyConfirmation asks before a policy is saved that live keys come to break, or to be disabled by.
type PolicyConfirmation struct {
	PolicyForm
	Policy     apikey.Policy // as it would be
	Broken     int64         // live keys that break it
	BrokenAnew int64         // those of them that break a rule of it that they don't break today
	Breaking   []Key         // the newest of BrokenAnew
	Unused     int64         // enabled keys that have been idle for longer than it lets them be
	UnusedAnew int64         // those of them that today's policy does not disable
	Disabled   []Key         // the longest idle of Unused, if it disables them
}

// FillPolicyForm is the form as the stored policy fills it.
func FillPolicyForm(p apikey.Policy) PolicyForm {
	form := PolicyForm{
		Version: p.Version, LongestDays: days(p.LongestLifetime), DefaultDays: days(p.DefaultLifetime), GraceSeconds: seconds(p.LongestGrace),
		WidestIPv4: strconv.Itoa(p.WidestIPv4), WidestIPv6: strconv.Itoa(p.WidestIPv6),
		RequireAllowlist: p.RequireAllowlist, RequireWorkspace: p.RequireWorkspace, DisableUnused: p.DisableUnused, DisableDeparted: p.DisableDeparted,
	}
	if p.UnusedAfter > 0 {
		form.UnusedDays = days(p.UnusedAfter)
	}
	return form
}

func days(d time.Duration) string    { return strconv.Itoa(int(d / apikey.Day)) }
func seconds(d time.Duration) string { return strconv.Itoa(int(d / time.Second)) }

// graces are the grace periods that the form offers, with the one that is stored.
func (m PolicyForm) graces() []Option {
	var out []Option
	for _, g := range gracePeriods {
		out = append(out, Option{Value: seconds(g.Length), Label: g.Label})
	}
	out[0].Label = "None"
	n, err := strconv.ParseUint(m.GraceSeconds, 10, 31)
	if err == nil && !slices.ContainsFunc(out, func(o Option) bool { return o.Value == m.GraceSeconds }) {
		out = append(out, Option{Value: m.GraceSeconds, Label: graceWords(time.Duration(n) * time.Second)})
	}
	return out
}

// graceWords is a grace period exactly, in the largest unit that divides it.
func graceWords(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{apikey.Day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d > 0 && d%unit.length == 0 && (unit.name != "day" || d > apikey.Day) {
			return ui.Count(int64(d/unit.length), unit.name)
		}
	}
	if d == 0 {
		return "None"
	}
	return ui.Count(int64(d/time.Second), "second")
}

// LengthWords puts a fact of the policy that is a length of time into words; empty for any other fact.
func LengthWords(fact string, n int64) string {
	switch {
	case fact == "longestGraceSeconds":
		return graceWords(time.Duration(n) * time.Second)
	case fact == "unusedDays" && n == 0:
		return "Never"
	case fact == "unusedDays", fact == "longestLifetimeDays", fact == "defaultLifetimeDays":
		return ui.Count(n, "day")
	}
	return ""
}

// fields are the form's, for the step that asks again.
func (m PolicyForm) fields() []Option {
	out := []Option{
		{Value: strconv.Itoa(m.Version), Label: "version"}, {Value: m.LongestDays, Label: "longestDays"}, {Value: m.DefaultDays, Label: "defaultDays"},
		{Value: m.GraceSeconds, Label: "graceSeconds"}, {Value: m.UnusedDays, Label: "unusedDays"},
		{Value: m.WidestIPv4, Label: "widestIPv4"}, {Value: m.WidestIPv6, Label: "widestIPv6"},
	}
	for name, on := range map[string]bool{"requireAllowlist": m.RequireAllowlist, "requireWorkspace": m.RequireWorkspace, "disableUnused": m.DisableUnused, "disableDeparted": m.DisableDeparted} {
		if on {
			out = append(out, Option{Value: "1", Label: name})
		}
	}
	slices.SortFunc(out, func(a, b Option) int { return strings.Compare(a.Label, b.Label) })
	return out
}

// again is the form as it was typed.
func (m PolicyForm) again() string {
	q := url.Values{}
	for _, f := range m.fields() {
		q.Set(f.Label, f.Value)
	}
	if m.Return != "" {
		q.Set("return", m.Return)
	}
	return EditPolicyPath + "?" + q.Encode()
}

func (m PolicyForm) problems() fieldProblems {
	return inOrder(m.Problems,
		[3]string{"longestDays", "p-longest", "Longest lifetime"},
		[3]string{"defaultDays", "p-default", "Default lifetime"},
		[3]string{"graceSeconds", "p-grace", "Longest grace period"},
		[3]string{"widestIPv4", "p-ipv4", "Widest IPv4 range"},
		[3]string{"widestIPv6", "p-ipv6", "Widest IPv6 range"},
		[3]string{"unusedDays", "p-unused", "Unused keys"})
}

// allowlistWords says whether new keys need an allowlist, and which ranges count as one.
func allowlistWords(p apikey.Policy) string {
	if !p.RequireAllowlist {
		return required(false)
	}
	return fmt.Sprintf("Required; ranges up to /%d (IPv4) and /%d (IPv6)", p.WidestIPv4, p.WidestIPv6)
}

func required(on bool) string {
	if on {
		return "Required"
	}
	return "Optional"
}

// unusedWords says what becomes of keys that nobody uses.
func unusedWords(p apikey.Policy) string {
	switch n := ui.Count(int64(p.UnusedAfter/apikey.Day), "day"); {
	case p.UnusedAfter == 0:
		return "Left alone"
	case p.DisableUnused:
		return "Disabled after " + n
	default:
		return "Flagged after " + n
	}
}

// departedWords says what becomes of the keys of whoever is suspended or removed.
func departedWords(p apikey.Policy) string {
	if p.DisableDeparted {
		return "Their keys are disabled; a rotated key works until its grace period ends"
	}
	return "Their keys are flagged, and go on working"
}

// unusedPath is the list of the enabled keys that have been idle for longer than a policy lets them be.
func unusedPath(p apikey.Policy) string {
	return ListState{Filter: apikey.Filter{Status: apikey.Enabled, UnusedFor: int(p.UnusedAfter / apikey.Day)}}.Path()
}

var breakingPath = ListState{Filter: apikey.Filter{BreaksPolicy: true}}.Path()

// broken says which rules of a policy a live key breaks; empty for a key whose life is over.
func broken(p apikey.Policy, k Key, now time.Time) []string {
	if !k.LiveAt(now) {
		return nil
	}
	var out []string
	for _, rule := range p.Broken(k.Key) {
		switch rule {
		case apikey.LivesTooLong:
			out = append(out, "lives for longer than "+ui.Count(int64(p.LongestLifetime/apikey.Day), "day"))
		case apikey.LacksAllowlist:
			if len(k.IPAllowlist) > 0 {
				out = append(out, "has an IP range that is too wide")
			} else {
				out = append(out, "has no IP allowlist")
			}
		case apikey.LacksWorkspace:
			out = append(out, "is in no workspace")
		}
	}
	return out
}

// unused says for how long an enabled key has been idle, if that is longer than the policy lets it be.
func unused(p apikey.Policy, k Key, now time.Time) string {
	if k.StatusAt(now) != apikey.Enabled || !p.Unused(k.IdleSince, now) {
		return ""
	}
	return idleDays(k, now)
}

func idleDays(k Key, now time.Time) string {
	return ui.Count(int64(now.Sub(k.IdleSince)/apikey.Day), "day")
}

// breaks and idles say what the policy has against a key.
func (m PolicyConfirmation) breaks(k Key) string {
	return strings.Join(broken(m.Policy, k, m.Now), "; ")
}
func (m PolicyConfirmation) idles(k Key) string { return "unused for " + idleDays(k, m.Now) }

// before says how many of the keys that break the policy do so today; empty for none.
func (m PolicyConfirmation) before() string {
	switch today := m.Broken - m.BrokenAnew; {
	case today == 0:
		return ""
	case m.BrokenAnew == 0:
		return ui.Plural(int(today), "It breaks today’s policy in the same way.", "They all break today’s policy in the same way.")
	default:
		return ui.Number(m.BrokenAnew) + " of them " + ui.Plural(int(m.BrokenAnew), "breaks", "break") + " a rule that is new or stricter; " +
			ui.Number(today) + ui.Plural(int(today), " breaks", " break") + " today’s policy in the same way."
	}
}

// disabledAnyway says how many of the keys that will be disabled today's policy disables as well; empty for none.
func (m PolicyConfirmation) disabledAnyway() string {
	switch today := m.Unused - m.UnusedAnew; {
	case today == 0:
		return ""
	case m.UnusedAnew == 0:
		return "Today’s policy disables " + ui.Plural(int(today), "it", "them") + " as well."
	default:
		return "Today’s policy disables " + ui.Number(today) + " of them as well."
	}
}
