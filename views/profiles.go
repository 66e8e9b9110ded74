package views

import (
	"fmt"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/views/ui"
)

// Profile is a bias profile with what people want to read beside it.
type Profile struct {
	apikey.Profile
	Keys, Live int64 // that carry it
	ManyKeys   bool  // so many that they were counted to Keys alone
	ChangedAt  time.Time
	ChangedBy  string // e-mail address; empty when nobody knows
}

// ProfileList is the page of all bias profiles.
type ProfileList struct {
	Page
	Profiles []Profile
}

// ProfileDetail is a bias profile's own page.
type ProfileDetail struct {
	Page
	Profile Profile
	Answer  string // what verification returns of it, as JSON
	Carried []Key  // the newest keys that carry it
}

// ProfileForm makes a bias profile, or edits the one with the ID. Fields: return, version, name, description,
// defaultThreshold, and for each category i: c<i>.name, .enabled, .threshold, .action. Problems by the same, a category's
// as categories[i].name and so on.
type ProfileForm struct {
	Page
	Return                              string
	ID                                  string // empty for a new one
	Version                             int
	Name, Description, DefaultThreshold string
	Categories                          []CategoryForm
	Problems                            input.Problems
}

// CategoryForm is a row of it, as it was typed.
type CategoryForm struct {
	Name              string
	Enabled           bool
	Threshold, Action string
}

// ProfileDeletion asks before a bias profile is deleted. Fields and problems: moveTo.
type ProfileDeletion struct {
	Page
	Return   string
	Profile  Profile
	Others   []Option // the profiles that its keys could carry instead
	MoveTo   string
	Problems input.Problems
}

// emptyRows is how many categories can be added at once.
const emptyRows = 3

// rows are the form's categories with empty ones at the end, to be filled in.
func (m ProfileForm) rows() []CategoryForm {
	out := m.Categories[:len(m.Categories):len(m.Categories)]
	for range min(emptyRows, max(0, apikey.MaxCategories-len(out))) {
		out = append(out, CategoryForm{Enabled: true, Action: string(apikey.Flag)})
	}
	return out
}

// unused are the common categories that the form does not have yet.
func (m ProfileForm) unused() []string {
	var out []string
	for _, name := range apikey.Categories {
		known := false
		for _, c := range m.Categories {
			known = known || apikey.SameCategory(c.Name, name)
		}
		if !known {
			out = append(out, name)
		}
	}
	return out
}

func (m ProfileForm) title() string {
	if m.ID == "" {
		return "Create bias profile"
	}
	return "Edit bias profile"
}

func (m ProfileForm) path() string {
	if m.ID == "" {
		return NewProfilePath
	}
	return ProfilePath(m.ID) + "/edit"
}

func (m ProfileForm) button() string {
	if m.ID == "" {
		return "Create"
	}
	return "Save"
}

// problem is what is wrong with a part of a category.
func (m ProfileForm) problem(row int, part string) string {
	return m.Problems[fmt.Sprintf("categories[%d].%s", row, part)]
}

// field is the DOM id of a part of a category.
func (m ProfileForm) field(row int, part string) string { return fmt.Sprintf("p-%d-%s", row, part) }

func (m ProfileForm) problems() fieldProblems {
	fields := [][3]string{{"name", "p-name", "Name"}, {"description", "p-description", "Description"},
		{"defaultThreshold", "p-default", "Default threshold"}, {"categories", "p-categories", "Categories"}}
	for i, c := range m.Categories {
		for _, part := range [][2]string{{"name", "name"}, {"threshold", "threshold"}, {"action", "action"}} {
			fields = append(fields, [3]string{fmt.Sprintf("categories[%d].%s", i, part[0]), m.field(i, part[0]), "“" + c.Name + "”, " + part[1]})
		}
	}
	return inOrder(m.Problems, fields...)
}

// levelOf is the word for a threshold as it was typed; empty for what is none.
func levelOf(text string) string {
	threshold, err := apikey.ParseThreshold(text)
	if err != nil {
		return ""
	}
	return apikey.LevelOf(threshold).Label()
}

// levelBounds are where the lower two levels end, for the script.
var levelBounds = fmt.Sprintf("%d %d", apikey.LowUpTo, apikey.ModerateUpTo)

// levelHint says what the words mean.
var levelHint = fmt.Sprintf("0–%d is low, %d–%d moderate, %d–%d high.", apikey.LowUpTo, apikey.LowUpTo+1, apikey.ModerateUpTo, apikey.ModerateUpTo+1, apikey.MaxThreshold)

// carriers is how many keys carry a profile of the list: "12 keys".
func (p Profile) carriers() string {
	if p.ManyKeys {
		return "More than " + ui.Count(p.Keys, "key")
	}
	return ui.Count(p.Keys, "key")
}

// live says how many of the keys are live, unless they all are.
func (p Profile) live() string {
	switch {
	case p.Keys == 0 || p.ManyKeys:
		return ""
	case p.Live == p.Keys:
		return ui.Plural(int(p.Keys), "live", "all live")
	case p.Live == 0:
		return "none of them live"
	}
	return ui.Number(p.Live) + " of them live"
}

// judged says at a glance what the categories do: "7 of 8 on", "2 block".
func (p Profile) judged() (on, blocking string) {
	n, block := p.Judging()
	if len(p.Categories) == 0 {
		return "None", ""
	}
	on = fmt.Sprintf("%d of %d on", n, len(p.Categories))
	switch {
	case n == 0:
		return on, ""
	case block == 0:
		return on, "all flag"
	case block == n:
		return on, ui.Plural(n, "blocks", "all block")
	}
	return on, fmt.Sprintf("%d %s, %d %s", block, ui.Plural(block, "blocks", "block"), n-block, ui.Plural(n-block, "flags", "flag"))
}

// menu is what the viewer may do with a profile.
func (p Profile) menu(back string) []ui.MenuItem {
	return []ui.MenuItem{
		{Label: "Edit", Path: withReturn(ProfilePath(p.ID)+"/edit", back)},
		{Label: "Duplicate", Path: DuplicatePath(p.ID)},
		{Label: "Delete", Path: withReturn(ProfilePath(p.ID)+"/delete", back), Apart: true},
	}
}

func (m ProfileDeletion) problems() fieldProblems {
	return inOrder(m.Problems, [3]string{"moveTo", "p-move", "From now on they carry"})
}

// targets are what the profile's keys can carry from then on.
func (m ProfileDeletion) targets() []Option {
	return append([]Option{{Value: "none", Label: "No bias profile"}}, m.Others...)
}

// carrying says how many keys carry the profile, live and all: what a person must know before.
func (m ProfileDeletion) carrying() string {
	all := ui.Count(m.Profile.Keys, "key") + ui.Plural(int(m.Profile.Keys), " carries", " carry") + " this profile"
	switch live := m.Profile.Live; {
	case live == m.Profile.Keys:
		return all + ui.Plural(int(live), ", and it is live.", ", all of them live.")
	case live == 0:
		return all + ui.Plural(int(m.Profile.Keys), ". It is not live any more.", ". None of them is live any more.")
	default:
		return all + ": " + ui.Number(live) + " live, and " + ui.Number(m.Profile.Keys-live) + " that " + ui.Plural(int(m.Profile.Keys-live), "has", "have") + " expired or been revoked or replaced."
	}
}

// actionWords is what happens to an answer that reaches a category's threshold.
func actionWords(c apikey.Category) string {
	switch c.Action {
	case apikey.Flag:
		return "Flag"
	case apikey.Block:
		return "Block"
	}
	return string(c.Action)
}
