package handlers

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/moonlatch/moonlatch/store/storetest"
	"github.com/moonlatch/moonlatch/views"
)

func TestWrongPasswordAndUnknownEmailGetOneAnswer(t *testing.T) {
	s := newSite(t)
	try := func(email, password string) answer {
		return s.visitor().post(views.SignInPath, url.Values{"email": {email}, "password": {password}})
	}
	wrong, unknown := try(s.org.Admin.Email, "wrong horse battery"), try("nobody@"+s.org.Name+".test", "wrong horse battery")
	strip := func(a answer) string {
		return strings.NewReplacer(s.org.Admin.Email, "", "nobody@"+s.org.Name+".test", "").Replace(a.sameEachTime())
	}
	if wrong.status != http.StatusUnprocessableEntity || unknown.status != wrong.status || strip(wrong) != strip(unknown) {
		t.Errorf("%d and %d, or the pages differ", wrong.status, unknown.status)
	}
	for _, email := range []string{"", "no address", "a@b\x00.test", "\xff@b.test", strings.Repeat("a", 5000) + "@b.test"} {
		if got := try(email, "x\x00\xff"); got.status != http.StatusUnprocessableEntity {
			t.Errorf("e-mail %.20q: %d", email, got.status)
		}
	}
}

func TestGuessingStopsAfterTenAttemptsWhateverTheSpelling(t *testing.T) {
	s := newSite(t)
	name, domain, _ := strings.Cut(s.org.Admin.Email, "@")
	variants := []string{s.org.Admin.Email, strings.ToUpper(name) + "@" + domain, " " + s.org.Admin.Email + " ", "ａ" + name[1:] + "@" + domain}
	var wg sync.WaitGroup
	results := make(chan int, 60)
	for i := range cap(results) {
		wg.Go(func() {
			form := url.Values{"email": {variants[i%len(variants)]}, "password": {"wrong horse battery"}}
			results <- s.visitor().post(views.SignInPath, form).status
		})
	}
	wg.Wait()
	close(results)
	judged := 0
	for status := range results {
		switch status {
		case http.StatusUnprocessableEntity:
			judged++
		case http.StatusTooManyRequests, http.StatusServiceUnavailable: // locked, or the queue of hashes was full
		default:
			t.Errorf("status %d", status)
		}
	}
	if judged > 10 {
		t.Errorf("%d guesses were judged", judged)
	}
	right := s.visitor().post(views.SignInPath, url.Values{"email": {s.org.Admin.Email}, "password": {storetest.Password}})
	if right.status != http.StatusTooManyRequests || !strings.Contains(right.body, "<time") {
		t.Errorf("the locked-out person gets %d, or is not told when to try again", right.status)
	}
	if other := s.visitor().post(views.SignInPath, url.Values{"email": {s.org.Owner.Email}, "password": {storetest.Password}}); other.status != http.StatusSeeOther {
		t.Errorf("somebody else is locked out too: %d", other.status)
	}
}

func TestCookieIsANewOneAfterSignInAndDeadAfterSignOut(t *testing.T) {
	s := newSite(t)
	b := s.as(s.org.Admin)
	home, _ := url.Parse(s.URL)
	first := b.Jar.Cookies(home)[0].Value
	stolen := s.visitor()
	stolen.Jar.SetCookies(home, b.Jar.Cookies(home))
	b.post(views.SignInPath, url.Values{"email": {s.org.Admin.Email}, "password": {storetest.Password}})
	if second := b.Jar.Cookies(home)[0].Value; second == first {
		t.Error("signing in kept the token")
	}
	if got := stolen.get(views.KeysPath); got.status != http.StatusSeeOther {
		t.Errorf("the token from before the sign-in still works: %d", got.status)
	}
	stolen.Jar.SetCookies(home, b.Jar.Cookies(home))
	if got := stolen.get(views.KeysPath); got.status != http.StatusOK {
		t.Fatal(got.status)
	}
	b.post("/sign-out", url.Values{})
	if got := stolen.get(views.KeysPath); got.status != http.StatusSeeOther {
		t.Errorf("the token still works after the sign-out: %d", got.status)
	}
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	s := newSite(t)
	here, there := s.as(s.org.Member), s.as(s.org.Member)
	owner := s.as(s.org.Owner)
	mine, err := s.keyring.Sessions(t.Context(), s.org.Member)
	if err != nil || len(mine) != 2 {
		t.Fatal(mine, err)
	}
	if got := owner.post(views.SessionsPath, url.Values{"end": {mine[0].ID}}); got.status != http.StatusNotFound {
		t.Errorf("an owner ended somebody's session here: %d", got.status)
	}
	for _, id := range []string{"", "x", "\x00"} {
		if got := here.post(views.SessionsPath, url.Values{"end": {id}}); got.status == http.StatusInternalServerError || got.location == views.AccountPath {
			t.Errorf("ending %q: %d", id, got.status)
		}
	}
	if here.get(views.AccountPath).status != http.StatusOK {
		t.Fatal("ending nothing signed out")
	}
	if got := here.post(views.SessionsPath, url.Values{"everywhere": {"1"}}); got.status != http.StatusSeeOther {
		t.Errorf("%d", got.status)
	}
	for _, b := range []*browser{here, there} {
		if got := b.get(views.AccountPath); got.status != http.StatusSeeOther {
			t.Errorf("a session survived: %d", got.status)
		}
	}
}

func TestSetupLinkWorksOnce(t *testing.T) {
	s := storetest.New(t)
	site := siteOver(t, s)
	token, err := site.keyring.SetupToken(t.Context())
	if err != nil || token == "" {
		t.Fatal(token, err)
	}
	second, err := site.keyring.SetupToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := "/setup/" + token
	good := url.Values{"organisation": {"Acme"}, "name": {"Ada"}, "email": {"ada@acme.test"}, "password": {"purple tram window lantern"}}
	b := site.visitor()
	if got := b.get("/setup/" + token + "x"); got.status != http.StatusNotFound {
		t.Errorf("a made-up link: %d", got.status)
	}
	for field, bad := range map[string][]string{
		"organisation": {"", strings.Repeat("x", 101), "a\x00"}, "name": {"", "\x00"}, "email": {"", "x", "a@b\xff"},
		"password": {"", "short", "passwordpassword", "aaaaaaaaaaaaaaaa", "acme acme acme 1", strings.Repeat("x9", 200)},
	} {
		for _, value := range bad {
			form := url.Values{}
			for name := range good {
				form.Set(name, good.Get(name))
			}
			form.Set(field, value)
			if got := b.post(path, form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `aria-invalid="true"`) {
				t.Errorf("%s %.20q: %d", field, value, got.status)
			}
		}
	}
	var wg sync.WaitGroup
	won := make(chan int, 4)
	for i := range cap(won) {
		wg.Go(func() {
			link := []string{path, "/setup/" + second}[i%2]
			won <- site.visitor().post(link, good).status
		})
	}
	wg.Wait()
	close(won)
	owners := 0
	for status := range won {
		if status == http.StatusSeeOther {
			owners++
		} else if status >= 500 && status != http.StatusServiceUnavailable {
			t.Errorf("status %d", status)
		}
	}
	if owners != 1 {
		t.Errorf("%d organisations were set up", owners)
	}
	if got := b.get(path); got.status != http.StatusNotFound {
		t.Errorf("the used link: %d", got.status)
	}
	if again, err := site.keyring.SetupToken(t.Context()); again != "" || err != nil {
		t.Errorf("an installation that is set up prints a link: %v", err)
	}
	if got := b.post(views.SignInPath, url.Values{"email": {"ADA@acme.test"}, "password": {"purple tram window lantern"}}); got.status != http.StatusSeeOther {
		t.Errorf("the owner signs in: %d", got.status)
	}
	founding := b.get("/audit-log?what=organisation.created").body
	who := regexp.MustCompile(`href="(/audit-log\?actor=[^"]+)"`).FindStringSubmatch(founding[strings.Index(founding, "<tbody"):])
	if who == nil || !strings.Contains(b.get(who[1]).body, "Set up the organisation") {
		t.Errorf("the link of who set it up leads to %v", who)
	}
}
