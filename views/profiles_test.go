package views

import (
	"github.com/a-h/templ"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
)

// profilePages are the pages of bias profiles, filled with hostile text.
func profilePages(p Page) map[string]templ.Component {
	profile := Profile{Profile: apikey.Profile{ID: "p1", Name: hostile, Description: hostile, DefaultThreshold: 30, Categories: []apikey.Category{
		{Name: hostile, Enabled: true, Threshold: 71, Action: apikey.Block}, {Name: "age", Action: apikey.Flag}}}, Keys: 3, Live: 1, ChangedAt: noon, ChangedBy: hostile}
	many := profile
	many.Keys, many.ManyKeys = 1000, true
	row := []CategoryForm{{Name: hostile, Enabled: true, Threshold: hostile, Action: hostile}}
	out := map[string]templ.Component{}
	out["profiles"] = ProfilesPage(ProfileList{Page: p, Profiles: []Profile{profile, many, {}}})
	out["profiles, none yet"] = ProfilesPage(ProfileList{Page: p})
	out["profile"] = ProfilePage(ProfileDetail{Page: p, Profile: profile, Answer: hostile, Carried: someKeys()})
	out["profile, unused"] = ProfilePage(ProfileDetail{Page: p})
	profileWrong := input.Problems{"": hostile, "name": hostile, "description": hostile, "defaultThreshold": hostile, "categories": hostile, "categories[0].name": hostile, "categories[0].threshold": hostile, "categories[0].action": hostile}
	out["create profile"] = ProfileFormPage(ProfileForm{Page: p, Return: hostile, Name: hostile, Description: hostile, DefaultThreshold: hostile, Categories: row, Problems: profileWrong})
	out["edit profile"] = ProfileFormPage(ProfileForm{Page: p, ID: "p1", Version: 2})
	out["delete profile"] = DeleteProfile(ProfileDeletion{Page: p, Return: hostile, Profile: profile, Others: options, MoveTo: hostile, Problems: input.Problems{"moveTo": hostile}})
	out["delete profile, unused"] = DeleteProfile(ProfileDeletion{Page: p})
	return out
}
