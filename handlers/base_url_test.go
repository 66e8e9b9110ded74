package handlers

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestLinksSayWhereTheyLeadWithoutABaseURL: a link that is handed over always says so, an example where it was opened elsewhere.
func TestLinksSayWhereTheyLeadWithoutABaseURL(t *testing.T) {
	const said = "isn’t set on this server"
	for name, at := range map[string]struct {
		base         *url.URL
		unset        bool
		link, sample bool // says so
	}{
		"set":                         {&url.URL{Scheme: "http", Host: "localhost"}, false, false, false},
		"unset, opened elsewhere":     {&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, true, true, true},
		"unset, opened where it says": {&url.URL{Scheme: "http", Host: "127.0.0.1:1"}, true, true, false},
	} {
		s := newSiteWith(t, func(o *Options) { o.BaseURL, o.BaseURLUnset = at.base, at.unset })
		owner := s.as(s.org.Owner)
		if at.unset && !at.sample {
			owner.Transport = toHost(at.base.Host)
		}
		made := owner.post("/members/invite", url.Values{"email": {"new@example.com"}, "role": {"member"}, "nonce": {owner.nonce()}})
		if made.status != 201 || strings.Contains(made.body, said) != at.link {
			t.Errorf("%s: the invitation: %d, says so: %t", name, made.status, !at.link)
		}
		key := s.issue("for a call")
		for what, body := range map[string]string{
			"a key's page":       owner.get("/account/api-keys/" + key.ID).body,
			"the documentation":  owner.get("/docs").body,
			"the key shown once": owner.post("/account/api-keys/new", owner.keyForm("x")).body,
		} {
			if strings.Contains(body, said) != at.sample {
				t.Errorf("%s: %s says so: %t", name, what, !at.sample)
			}
		}
	}
}

// toHost names the host that a browser's address bar has.
type toHost string

func (h toHost) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Host = string(h)
	return http.DefaultTransport.RoundTrip(request)
}
