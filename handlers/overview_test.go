package handlers

import (
	"html"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/views"
)

var (
	figuresOnPage = regexp.MustCompile(`(?s)<li><a href="(/account/api-keys\?[^"]*)"><strong[^>]*>([\d,]+)</strong>`)
	rowsOnPage    = regexp.MustCompile(`<th scope="row"`)
)

// The first page's figures lead to the lists that they count.
func TestEveryFigureOfTheOverviewLeadsToWhatItCounts(t *testing.T) {
	s := newSite(t)
	ctx, admin := t.Context(), s.org.Admin
	for i, change := range []apikey.Change{"", "", apikey.Disable, apikey.Revoke} {
		key, _, err := s.keyring.IssueKey(ctx, admin, keyring.KeyDraft{Name: "key " + strconv.Itoa(i), Scopes: []string{"read:chat"}, Expires: []string{"20d", "90d"}[i%2]})
		if err != nil {
			t.Fatal(err)
		}
		switch change {
		case "":
			if _, err := s.keyring.RotateKey(ctx, admin, key.ID, apikey.Day, ""); err != nil {
				t.Fatal(err)
			}
		default:
			if _, err := s.keyring.ChangeStatus(ctx, admin, change, key.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := s.as(s.org.Support)
	page := b.get(views.HomePath)
	figures := figuresOnPage.FindAllStringSubmatch(page.body, -1)
	if page.status != http.StatusOK || len(figures) != 10 {
		t.Fatalf("%d, %d figures", page.status, len(figures))
	}
	for _, f := range figures {
		list := b.get(html.UnescapeString(f[1]))
		if n := strconv.Itoa(len(rowsOnPage.FindAllString(list.body, -1))); list.status != http.StatusOK || n != f[2] {
			t.Errorf("%s shows %s keys, and the figure says %s", f[1], n, f[2])
		}
	}
	if strings.Contains(page.body, "Create new API key") {
		t.Error("support sees a button that is not theirs")
	}
	if !strings.Contains(s.as(admin).get(views.HomePath).body, "Create new API key") {
		t.Error("an admin can't begin here")
	}
}

func TestAnOrganisationWithoutKeysIsTaught(t *testing.T) {
	s := newSite(t)
	if got := s.as(s.org.Owner).get(views.HomePath); !strings.Contains(got.body, "Create the first key") || strings.Contains(got.body, "Requests per day") {
		t.Error("the first page of an empty organisation does not teach")
	}
	if got := s.as(s.org.Support).get(views.HomePath); !strings.Contains(got.body, "can create the first one") {
		t.Error("support is not told who can begin")
	}
}
