package stories_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/moonlatch/moonlatch/internal/browsertest"
)

// TestTheOverviewLeadsOn follows the first page's figures, its chart and its list.
func TestTheOverviewLeadsOn(t *testing.T) {
	s, owner := demonstration(t)
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			p := browsertest.Open(t, s.URL, way.options...)
			s.signIn(p, owner.Email, owner.Password)
			if p.Path() != "/" {
				t.Fatalf("after signing in one is at %s", p.Path())
			}
			p.Axe()
			p.NoOverflow()
			p.Click("summary")
			if n := p.Count("details tbody tr"); n != 30 {
				t.Errorf("the table has %d days", n)
			}
			p.Axe()
			p.NoOverflow()
			for _, label := range []string{"Expired", "Expiring within 30 days", "Owner has left"} {
				p.Goto("/")
				figure, _, _ := strings.Cut(strings.TrimSpace(p.Text(`.figures a:text("`+label+`")`)), "\n")
				figure = strings.TrimSpace(strings.TrimSuffix(figure, label))
				p.Click(`.figures a:text("` + label + `")`)
				p.WaitFor("#keys")
				if shown := p.Count("#keys tbody tr"); figure != strconv.Itoa(shown) {
					t.Errorf("%s: the figure is %s, and the list has %d", label, figure, shown)
				}
			}
			p.Goto("/")
			name := p.Text("#soon + ul a")
			p.Click("#soon + ul a")
			p.WaitFor(`h1:text("` + name + `")`)
		})
	}
}
