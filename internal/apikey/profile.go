package apikey

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Profile is a bias profile: thresholds that a key carries. Verification hands them over, and the API behind it
// applies them.
type Profile struct {
	ID               string
	OrgID            string
	Name             string
	Description      string
	DefaultThreshold int        // for what has no category of its own
	Categories       []Category // by name
	Version          int        // grows by one with every change, so that a form can tell that it is out of date; verification does not read it
}

// Category is what a bias profile says about one kind of bias.
type Category struct {
	Name      string
	Enabled   bool
	Threshold int
	Action    CategoryAction
}

// CategoryAction is what shall happen to an answer that reaches a category's threshold.
type CategoryAction string

// The actions of a category.
const (
	Flag  CategoryAction = "flag"
	Block CategoryAction = "block"
)

// CategoryActions lists them, the milder first: what is meant where nothing is said.
var CategoryActions = []CategoryAction{Flag, Block}

// Bounds on what a bias profile may hold, in characters unless something else is said.
const (
	MaxProfileName  = 100
	MaxDescription  = 500
	MaxCategoryName = 100
	MaxCategories   = 50  // of one profile
	MaxProfiles     = 500 // of one organisation: lists show no more
	MaxThreshold    = 100
)

// DefaultThreshold is the middle of the scale: where a profile begins unless somebody says otherwise.
const DefaultThreshold = 50

// Categories are the kinds of bias that every profile can judge; organisations may add their own.
var Categories = []string{
	"race", "gender", "age", "religion", "disability", "nationality", "sexual orientation", "socioeconomic",
}

// Level is how people read a threshold.
type Level string

// The levels, and where the lower two end.
const (
	Low      Level = "low"
	Moderate Level = "moderate"
	High     Level = "high"

	LowUpTo      = 30
	ModerateUpTo = 70
)

// LevelOf is the level of a threshold.
func LevelOf(threshold int) Level {
	switch {
	case threshold <= LowUpTo:
		return Low
	case threshold <= ModerateUpTo:
		return Moderate
	}
	return High
}

// Label is the word that people read.
func (l Level) Label() string {
	switch l {
	case Low:
		return "Low"
	case Moderate:
		return "Moderate"
	case High:
		return "High"
	}
	return string(l)
}

// ParseThreshold reads a whole number from 0 to MaxThreshold, in digits and nothing else.
func ParseThreshold(text string) (int, error) {
	text = strings.TrimSpace(text)
	n, err := strconv.Atoi(text)
	if err != nil || n > MaxThreshold || len(text) > len("100") || strings.Trim(text, "0123456789") != "" {
		return 0, say("Use a whole number from 0 to %d.", MaxThreshold)
	}
	return n, nil
}

// ParseCategoryAction reads an action; empty means Flag.
func ParseCategoryAction(text string) (CategoryAction, error) {
	if text == "" {
		return Flag, nil
	}
	if slices.Contains(CategoryActions, CategoryAction(text)) {
		return CategoryAction(text), nil
	}
	return "", say("Choose flag or block.")
}

// CheckProfileName returns the sentence to show beside a profile's name that may not be used.
func CheckProfileName(name string) error {
	if name == "" {
		return say("Enter a name, so that people can tell this profile from others.")
	}
	return checkText(name, MaxProfileName)
}

// CheckDescription returns the sentence to show beside a description that may not be used. It may be empty.
func CheckDescription(text string) error {
	return checkText(text, MaxDescription)
}

// CheckCategoryName returns the sentence to show beside a category's name that may not be used.
func CheckCategoryName(name string) error {
	if name == "" {
		return say("Enter the category’s name.")
	}
	return checkText(name, MaxCategoryName)
}

func checkText(text string, most int) error {
	if n := utf8.RuneCountInString(text); n > most {
		return say("Use at most %d characters; this has %d.", most, n)
	}
	return nil
}

// CheckCategories returns the sentence to show beside a list of categories that is too long.
func CheckCategories(count int) error {
	if count > MaxCategories {
		return say("Use at most %d categories; these are %d.", MaxCategories, count)
	}
	return nil
}

// SameCategory says whether two names are one: case does not tell categories apart.
func SameCategory(one, other string) bool { return strings.EqualFold(one, other) }

// TwiceCategory is the sentence beside a category that is there already.
func TwiceCategory(name string) error {
	return say("“%s” is there already. Name each category once.", clip(name, 60))
}

// ByCustom lists the categories as people expect them: the common ones in their usual order, then the organisation's own.
func (p Profile) ByCustom() []Category {
	place := func(c Category) int {
		if i := slices.Index(Categories, c.Name); i >= 0 {
			return i
		}
		return len(Categories)
	}
	out := slices.Clone(p.Categories)
	slices.SortStableFunc(out, func(a, b Category) int {
		if d := place(a) - place(b); d != 0 {
			return d
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

// Judging counts the categories that are on, and those of them that block.
func (p Profile) Judging() (on, blocking int) {
	for _, c := range p.Categories {
		if c.Enabled {
			on++
			if c.Action == Block {
				blocking++
			}
		}
	}
	return on, blocking
}

// Words is a category in one line, as the audit log keeps it: "on, 40, block".
func (c Category) Words() string {
	state := "off"
	if c.Enabled {
		state = "on"
	}
	return fmt.Sprintf("%s, %d, %s", state, c.Threshold, c.Action)
}
