package stories_test

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
	"github.com/moonlatch/moonlatch/views"
)

var picture = regexp.MustCompile(`!\[[^\]]+\]\(images/([a-z-]+)\.png\)`)

// TestGuideShowsEveryScreen opens every screen that the admin's guide shows, as its reader would. With MOONLATCH_SHOTS it
// takes the guide's pictures: make screenshots.
func TestGuideShowsEveryScreen(t *testing.T) {
	s, owner := demonstration(t)
	process := s.column(`SELECT id FROM processes WHERE name = 'Checkout'`)[0]
	profile := s.column(`SELECT id FROM bias_profiles WHERE name = 'Balanced'`)[0]
	leaver := s.column(`SELECT id FROM members WHERE email LIKE 'jonas@%'`)[0]
	screens := map[string]string{
		"overview":        views.HomePath,
		"api-keys":        views.KeysPath,
		"create-key":      views.NewKeyPath,
		"key":             views.KeyPath(s.find(`name = 'Terraform' AND status = 'enabled'`)),
		"processes":       views.ProcessesPath,
		"process-keys":    views.ProcessesPath + "/" + process + "/configuration/api-keys",
		"bias-profile":    views.ProfilesPath + "/" + profile,
		"scopes":          views.ScopesPath,
		"key-policy":      views.PolicyPath,
		"members":         views.MembersPath,
		"suspend":         views.MembersPath + "/" + leaver + "/suspend",
		"key-owners":      views.KeyOwnersPath,
		"audit-log":       views.AuditPath,
		"security-events": views.SecurityPath,
		"account":         views.AccountPath,
	}
	text, err := os.ReadFile("../../docs/admin-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown []string
	for _, match := range picture.FindAllStringSubmatch(string(text), -1) {
		shown = append(shown, match[1])
		if _, err := os.Stat("../../docs/images/" + match[1] + ".png"); err != nil {
			t.Errorf("the guide's picture is missing: %v", err)
		}
	}
	p := browsertest.Open(t, s.URL, browsertest.Width(1440))
	s.signIn(p, owner.Email, owner.Password)
	for name, path := range screens {
		if !slices.Contains(shown, name) {
			t.Errorf("the guide does not show %s", name)
		}
		p.Goto(path)
		if p.Status() != 200 {
			t.Errorf("%s: %d", path, p.Status())
		}
		p.ScreenshotWindow(name)
	}
	for _, name := range shown {
		if screens[name] == "" {
			t.Errorf("nothing here takes the picture %s", name)
		}
	}
}
