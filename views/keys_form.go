package views

import (
	"slices"
	"strconv"
	"time"

	"github.com/moonlatch/moonlatch/internal/account"
	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/views/ui"
)

// The lifetimes and the grace periods that the forms offer, as far as the policy allows them.
var (
	lifetimeDays = []int{30, 90, 180, 365}
	gracePeriods = []struct {
		Length time.Duration
		Label  string
	}{
		{0, "Now"},
		{time.Hour, "1 hour"},
		{24 * time.Hour, "24 hours"},
		{7 * apikey.Day, "7 days"},
		{30 * apikey.Day, "30 days"},
	}
)

// byDate is the value of the choice that brings a date field with it.
const byDate = "date"

// lifetimes are the choices of the create form.
func (m KeyForm) lifetimes() []Option {
	var out []Option
	for _, n := range lifetimeDays {
		if time.Duration(n)*apikey.Day <= m.Policy.LongestLifetime {
			out = append(out, Option{Value: strconv.Itoa(n) + "d", Label: strconv.Itoa(n) + " days"})
		}
	}
	return append(out, Option{Value: byDate, Label: "Until a date"})
}

// lifetime is the chosen one: what was typed, else the policy's default, else the first that is offered.
func (m KeyForm) lifetime() string {
	if m.Expires != "" {
		return m.Expires
	}
	offered := m.lifetimes()
	standard := strconv.Itoa(int(m.Policy.DefaultLifetime/apikey.Day)) + "d"
	if slices.ContainsFunc(offered, func(o Option) bool { return o.Value == standard }) {
		return standard
	}
	return offered[0].Value
}

// path is where the form is shown and posted.
func (m KeyForm) path() string { return ListState{Process: m.Process.ID}.creation() }

func (m KeyForm) title() string {
	if m.Process.ID != "" {
		return "Generate a key for “" + m.Process.Name + "”"
	}
	return "Create API key"
}

func (m KeyForm) environment() string {
	if m.Environment == "" {
		return string(apikey.Live)
	}
	return m.Environment
}

// scopeGroup is the scopes of one resource.
type scopeGroup[S any] struct {
	Resource string
	Scopes   []S
}

// byResource parts scopes by their resource, in the order in which they come.
func byResource[S any](scopes []S, name func(S) string) []scopeGroup[S] {
	var out []scopeGroup[S]
	for _, s := range scopes {
		resource := apikey.Resource(name(s))
		i := slices.IndexFunc(out, func(g scopeGroup[S]) bool { return g.Resource == resource })
		if i < 0 {
			out = append(out, scopeGroup[S]{Resource: resource})
			i = len(out) - 1
		}
		out[i].Scopes = append(out[i].Scopes, s)
	}
	return out
}

func (m KeyForm) scopeGroups() []scopeGroup[Scope] {
	return byResource(m.Catalogue, func(s Scope) string { return s.Name })
}

func (m KeyForm) problems() fieldProblems {
	return inOrder(m.Problems,
		[3]string{"name", "k-name", "Name"},
		[3]string{"expiresAt", "k-expires", "Duration"},
		[3]string{"scopes", "k-scopes", "Scopes"},
		[3]string{"environment", "k-environment", "Environment"},
		[3]string{"workspaceId", "k-workspace", "Workspace"},
		[3]string{"processId", "k-process", "Process"},
		[3]string{"biasProfileId", "k-profile", "Bias profile"},
		[3]string{"ipAllowlist", "k-allowlist", "IP allowlist"})
}

func (m KeyEdit) problems() fieldProblems {
	return inOrder(m.Problems,
		[3]string{"name", "k-name", "Name"},
		[3]string{"status", "k-status", "Status"},
		[3]string{"expiresAt", "k-date", "Expires"},
		[3]string{"biasProfileId", "k-profile", "Bias profile"},
		[3]string{"ipAllowlist", "k-allowlist", "IP allowlist"})
}

// noWorkspace are the words for no workspace.
func (m KeyForm) noWorkspace() string {
	if m.Policy.RequireWorkspace {
		return "Choose one, or a process"
	}
	return "The whole organisation"
}

func allowlistHint(required bool) string {
	hint := "One address or range a line, like 203.0.113.7 or 203.0.113.0/24."
	if required {
		return hint + " Your organisation’s keys need one."
	}
	return hint + " Empty: from anywhere."
}

// graces are the grace periods that the policy allows.
func (m KeyRotation) graces() []Option {
	var out []Option
	for _, g := range gracePeriods {
		if m.Policy.CheckGrace(g.Length) == nil {
			out = append(out, Option{Value: strconv.Itoa(int(g.Length / time.Second)), Label: g.Label})
		}
	}
	return out
}

// grace is the chosen period: what was typed, else 24 hours, else the longest that is allowed.
func (m KeyRotation) grace() string {
	offered := m.graces()
	for _, value := range []string{m.GraceSeconds, "86400"} {
		if slices.ContainsFunc(offered, func(o Option) bool { return o.Value == value }) {
			return value
		}
	}
	return offered[len(offered)-1].Value
}

func (m KeyRotation) successor() apikey.Key { return m.Key.Successor(m.Now, m.Policy.LongestLifetime) }

func (m KeyRotation) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"graceSeconds", "k-grace", "The old key works for"})
}

func (m KeyTransfer) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"ownerId", "k-owner", "New owner"})
}

// heirs are the people that the key can be given to: not the one who has it.
func (m KeyTransfer) heirs() []Option {
	var out []Option
	for _, p := range m.People {
		if p.ID != m.Key.OwnerID {
			out = append(out, Option{Value: p.ID, Label: personLabel(p)})
		}
	}
	return out
}

func personLabel(p account.Person) string {
	if p.Name == "" {
		return p.Email + " (" + p.Role.Label() + ")"
	}
	return p.Name + ", " + p.Email + " (" + p.Role.Label() + ")"
}

func policyLimit(p apikey.Policy) string {
	return "Your organisation’s keys live for at most " + ui.Count(int64(p.LongestLifetime/apikey.Day), "day")
}

// lastDayField is the field for the last day of a key.
type lastDayField struct {
	Label, LabelClass string
	Value, Zone       string
	Now, CreatedAt    time.Time // what the first and the last day that can be chosen count from
	EndsAt            time.Time // the moment that the key has; zero for one that is not there yet
	Policy            apikey.Policy
	Problem           string
	ProblemID         string
}

func (f lastDayField) zone() *time.Location {
	zone, _ := apikey.Zone(f.Zone)
	return zone
}

func (f lastDayField) first() string { return f.Now.In(f.zone()).Format(time.DateOnly) }

// last is the last day that the policy allows.
func (f lastDayField) last() time.Time { return f.Policy.LastDay(f.CreatedAt, f.zone()) }

// bound is the moment up to which the policy lets the key live.
func (f lastDayField) bound() time.Time { return f.CreatedAt.Add(f.Policy.LongestLifetime) }

// zoneName is the zone's name for the form: empty until the browser has said one.
func (f lastDayField) zoneName() string {
	if f.Zone == "" {
		return ""
	}
	return f.zone().String()
}

func (m KeyForm) lastDay() lastDayField {
	return lastDayField{Label: "Last day", LabelClass: "sr-only", Value: m.ExpiresDate, Zone: m.Zone, Now: m.Now, CreatedAt: m.Now, Policy: m.Policy,
		Problem: m.Problems["expiresAt"], ProblemID: "k-expires-problem"}
}

func (m KeyEdit) lastDay() lastDayField {
	return lastDayField{Label: "Expires on", LabelClass: "label", Value: m.ExpiresDate, Zone: m.Zone, Now: m.Now, CreatedAt: m.Key.CreatedAt, EndsAt: m.Key.ExpiresAt, Policy: m.Policy,
		Problem: m.Problems["expiresAt"], ProblemID: "k-date-problem"}
}
