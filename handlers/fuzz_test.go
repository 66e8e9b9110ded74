package handlers

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/input"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// FuzzCredential: a request shows a key, or a token, or nothing; and of several credentials none.
func FuzzCredential(f *testing.F) {
	for _, seed := range []string{"", "Bearer pk_live_x", "bearer  eyJ.x.y", "Basic " + base64.StdEncoding.EncodeToString([]byte("pk_live_x:y")), "Basic OjpvOg==", "Digest x", "Bearer", "Basic ", "Bearer \t"} {
		f.Add(seed, "")
		f.Add(seed, "pk_live_y")
		f.Add("", seed)
	}
	f.Fuzz(func(t *testing.T, authorization, key string) {
		header := http.Header{}
		if authorization != "" {
			header.Set("Authorization", authorization)
		}
		if key != "" {
			header.Set("X-Api-Key", key)
		}
		shown, err := presented(header)
		if shown.key != "" && shown.token != "" || err != nil && shown != (credential{}) || strings.HasPrefix(shown.token, keyMark) {
			t.Fatalf("%q and %q show %v, %v", authorization, key, shown, err)
		}
		keys, authorizations := credentialHeaders(header)
		if len(keys) == 0 {
			key = ""
		}
		if len(authorizations) == 0 {
			authorization = ""
		}
		switch {
		case authorization != "" && key != "":
			if !errors.Is(err, errTwoOfThem) {
				t.Fatalf("two credentials show %v, %v", shown, err)
			}
			atGateway, err := presentedToGateway(header)
			other, _ := readAuthorization(authorization)
			if strings.HasPrefix(other.key, keyMark) != errors.Is(err, errTwoOfThem) || err == nil && atGateway != (credential{key: strings.TrimSpace(key)}) {
				t.Fatalf("at the gateways' door %q and %q show %v, %v", authorization, key, atGateway, err)
			}
		case err != nil:
		case authorization != "":
			var said string // the credential as it stands in the header
			scheme, value, _ := strings.Cut(authorization, " ")
			switch strings.ToLower(scheme) {
			case "bearer":
				said = strings.TrimSpace(value)
			case "basic":
				text, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
				said = strings.Replace(string(text), ":", "_", 1)
			}
			if shown.key+shown.token != said || said == "" {
				t.Fatalf("%q shows %v", authorization, shown)
			}
		case key != "" && shown != (credential{key: strings.TrimSpace(key)}):
			t.Fatalf("%q shows %v", key, shown)
		}
	})
}

// FuzzNarrowing: whatever a gateway appends to its question, it asks for no less.
func FuzzNarrowing(f *testing.F) {
	for _, seed := range []string{"", "scope=read:chat", "&scope=a&scope=b", "original=/x?scope=%zz", "org=9f0d1b3e-7c1f-4d49-9a53-4a4f3f6f5a11", "scope", "scope=&=&", "%73cope=x", "a;scope=b", "scope=a+b%20c"} {
		f.Add(seed)
	}
	const org = "01980000-0000-7000-8000-000000000000"
	f.Fuzz(func(t *testing.T, appended string) {
		scopes, of, err := narrowing("scope=read:chat&org=" + org + "&scope=write%3Achat&" + appended)
		if err == nil && (of != org || len(scopes) < 2 || scopes[0] != "read:chat" || scopes[1] != "write:chat") {
			t.Fatalf("with %q the gateway asks for %q of %s", appended, scopes, of)
		}
		// Of a query that net/url understands, it takes the same.
		scopes, of, err = narrowing(appended)
		values, broken := url.ParseQuery(appended)
		if err == nil && broken == nil && !strings.Contains(appended, "%73") && !slices.Equal(scopes, values["scope"]) && !strings.Contains(appended, "%") {
			t.Fatalf("%q asks for %q, and net/url says %q", appended, scopes, values["scope"])
		}
		if id, bad := uuid.Parse(of); of != "" && (bad != nil || id.String() != of) {
			t.Fatalf("%q names the organisation %q", appended, of)
		}
	})
}

// FuzzJSON: what is taken as a request, encoding/json reads as the same; nothing nests deeper than the bound.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{`{"name":"x","scopes":["read:chat"]}`, `{"name":"x","name":"y"}`, `{"NAME":"x"}`, `{"name":null,"scopes":null}`, `{"scopes":[]}`, `{"graceSeconds":1e2}`, `{"name":"x","categories":[{"name":"age","threshold":null}]}`, `{"name":"x","categories":[{"name":"age","threshold":1e2}]}`,
		`{"graceSeconds":1e400}`, `{"key":"\ud800","scopes":["a"]}`, `{"email":"a@b","password":"\u0000"}`, `{"ip":"::1"} {}`, "\ufeff{}", `[[[[[[[[[]]]]]]]]]`, `{"name":"\/\u00e9é"}`, "{\"name\":\"\xff\"}", ` {} `, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, kind := range []any{IssueAPIKeyRequest{}, CreateBiasProfileRequest{}, RotateAPIKeyRequest{}, VerifyAPIKeyRequest{}, LogInRequest{}} {
			ours, theirs := reflect.New(reflect.TypeOf(kind)).Interface(), reflect.New(reflect.TypeOf(kind)).Interface()
			if err := decode(body, ours); err != nil {
				var known *refusal
				if problems := input.ProblemsIn(err); problems == nil && (!errors.As(err, &known) || known.status != http.StatusBadRequest) {
					t.Fatalf("%q is refused with %v", body, err)
				}
				continue
			}
			decoder := json.NewDecoder(bytes.NewReader(body))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(theirs); err != nil || decoder.More() || !utf8.Valid(body) || !reflect.DeepEqual(ours, theirs) {
				t.Fatalf("%q is read as %+v, and by encoding/json as %+v, %v", body, ours, theirs, err)
			}
		}
		var anything any
		if err := decode(body, &anything); err == nil && depth(anything) > maxDepth {
			t.Fatalf("%q nests %d deep", body, depth(anything))
		}
	})
}

func depth(value any) (deepest int) {
	switch v := value.(type) {
	case []any:
		for _, inner := range v {
			deepest = max(deepest, depth(inner))
		}
	case map[string]any:
		for _, inner := range v {
			deepest = max(deepest, depth(inner))
		}
	default:
		return 0
	}
	return deepest + 1
}

// asked is a request's context as handlers see it.
func asked(method, target string, header http.Header) echo.Context {
	request := httptest.NewRequest(method, "/", nil)
	request.URL.RawQuery, request.Header = target, header
	return echo.New().NewContext(request, httptest.NewRecorder())
}

// FuzzIdempotencyKey: a name for a request is one, of 1 to 255 characters, and taken as it is.
func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"", "deploy-1", strings.Repeat("é", 255), strings.Repeat("é", 256), "a\x00b", "\xff", " ", "pk_test_AbCdEf000547_0123456789abcdefghijklmnopqrstuv00dXaG"} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, text string, twice bool) {
		header := http.Header{"Idempotency-Key": {text}}
		if twice {
			header.Add("Idempotency-Key", text)
		}
		got, err := idempotencyKey(asked(post, "", header))
		n := utf8.RuneCountInString(text)
		good := !twice && n >= 1 && n <= 255 && utf8.ValidString(text) && !strings.Contains(text, "\x00") && apikey.SignatureIn(text) == ""
		if (err == nil) != good || good && got != text {
			t.Fatalf("%q is taken as %q, %v", text, got, err)
		}
	})
}

// FuzzClientAddress: an address that a request names is believed only as far as trusted proxies vouch for it.
func FuzzClientAddress(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.9", "198.51.100.1, 203.0.113.9", "10.0.0.1,10.0.0.2", "x, 203.0.113.9", "203.0.113.9, x", "::ffff:203.0.113.9", "[2001:db8::1]", "203.0.113.9,10.0.0.1\n198.51.100.1", "203.0.113.9:80", "fe80::1%eth0", ","} {
		f.Add(seed, "10.0.0.1")
		f.Add(seed, "203.0.113.200")
		f.Add(seed, "2001:db8:ffff::1")
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	trusts := func(a netip.Addr) bool {
		return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
	extract := (&handler{log: discard()}).clientAddress(trusted)
	direct := (&handler{log: discard()}).clientAddress(nil)
	f.Fuzz(func(t *testing.T, forwarded, peer string) {
		from, err := netip.ParseAddr(peer)
		if err != nil || from.Zone() != "" {
			return
		}
		request := &http.Request{RemoteAddr: netip.AddrPortFrom(from, 1234).String(), Header: http.Header{}}
		for line := range strings.SplitSeq(forwarded, "\n") {
			request.Header.Add("X-Forwarded-For", line)
		}
		if got := direct(request); got != from.Unmap() {
			t.Fatalf("without trusted proxies %s is taken for %s", peer, got)
		}
		got := extract(request)
		// From the right: every hop before the answer must be a trusted proxy, and where one can't be read, nothing is known.
		vouched := from
		for _, line := range slices.Backward(strings.Split(forwarded, "\n")) {
			hops := strings.Split(line, ",")
			if line == "" {
				continue
			}
			for _, hop := range slices.Backward(hops) {
				if !trusts(vouched) {
					break
				}
				hop = strings.TrimSpace(hop)
				next, err := netip.ParseAddr(strings.Trim(hop, "[]"))
				if port, portErr := netip.ParseAddrPort(hop); err != nil && portErr == nil {
					next, err = port.Addr(), nil
				}
				if err != nil {
					if got.IsValid() {
						t.Fatalf("%q from %s is taken for %s, beyond what can be read", forwarded, peer, got)
					}
					return
				}
				vouched = next.WithZone("")
			}
		}
		if got != vouched.Unmap() {
			t.Fatalf("%q from %s is taken for %s, and trusted proxies vouch for %s", forwarded, peer, got, vouched)
		}
	})
}

// FuzzListState: an address of the list that is understood has one canonical form, which says the same; what it narrows
// the list to is never lost.
func FuzzListState(f *testing.F) {
	for _, seed := range []string{"", "status=enabled&q=a+b", "sort=-name&size=50&expires=30&unused=90", "size=25", "status=active", "q=%00", "q=%ff", "scope=*&owner=x&workspace=y", "environment=live&status=&status=revoked", "size=7", "expires=0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return // refused before anything reads it
		}
		state, err := readListState(asked(get, query, http.Header{}))
		if err != nil {
			return
		}
		path, canonical, _ := strings.Cut(state.Path(), "?")
		again, err := readListState(asked(get, canonical, http.Header{}))
		if err != nil || !reflect.DeepEqual(again, state) || again.Path() != state.Path() || !strings.HasPrefix(path, "/account/") {
			t.Fatalf("%q is %+v, and its address %s says %+v, %v", query, state, state.Path(), again, err)
		}
		for name, field := range map[string]bool{"status": state.Status != "", "environment": state.Environment != "", "owner": state.OwnerID != "", "scope": state.Scope != "",
			"profile": state.ProfileID != "", "workspace": state.WorkspaceID != "", "process": state.ProcessID != "", "expires": state.ExpiresWithin > 0, "unused": state.UnusedFor > 0} {
			if (values.Get(name) != "") != field {
				t.Fatalf("%q: %s is lost in %+v", query, name, state)
			}
		}
	})
}

// FuzzAPIFilters: a program's filter that is understood narrows the list by everything that the query says.
func FuzzAPIFilters(f *testing.F) {
	for _, seed := range []string{"", "status=active&q=x", "ownerId=01980000-0000-7000-8000-000000000000", "ownerId={01980000-0000-7000-8000-000000000000}", "status=enabled", "limit=5&cursor=x", "environment=test", "oops=1",
		"action=key.issued&from=2027-01-01T00:00:00Z", "from=0000-01-01T00:00:00Z", "to=2027-01-01T00:00:00%2B99:00", "q=pk_test_AbCdEf000547_0123456789abcdefghijklmnopqrstuv00dXaG"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		narrows := func(said map[string]bool, known ...string) {
			for name := range values {
				if field, ok := said[name]; ok && field != (values.Get(name) != "") || !ok && !slices.Contains(known, name) {
					t.Fatalf("%q: %s is lost", query, name)
				}
			}
		}
		if k, err := readKeyFilter(asked(get, query, http.Header{}), ""); err == nil {
			narrows(map[string]bool{"status": k.Status != "", "environment": k.Environment != "", "ownerId": k.OwnerID != "", "workspaceId": k.WorkspaceID != "",
				"processId": k.ProcessID != "", "biasProfileId": k.ProfileID != "", "q": k.Search != ""}, "cursor", "limit")
			if apikey.SignatureIn(k.Search) != "" {
				t.Fatalf("%q searches for a whole key", query)
			}
		}
		if e, err := readEventFilter(asked(get, query, http.Header{})); err == nil {
			narrows(map[string]bool{"action": e.Action != "", "actorId": e.ActorID != "", "subjectId": e.SubjectID != "", "keyId": e.KeyID != "",
				"from": !e.From.IsZero(), "to": !e.To.IsZero()}, "cursor", "limit")
		}
	})
}

// FuzzLocalPath: a path to return to leads to this server, also when a browser has cleaned it as the WHATWG says.
func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/account", "//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "/a?b=//c", "/%2f/evil", "\\\\evil", "javascript:alert(1)", "/..//evil.example"} {
		f.Add(seed)
	}
	base, err := url.Parse("https://here.example/account/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := localPath(text, "/fallback")
		cleaned := strings.NewReplacer("\t", "", "\n", "", "\r", "", "\\", "/").Replace(strings.Trim(path, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f "))
		to, err := base.Parse(cleaned)
		if err != nil || to.Host != base.Host || to.Scheme != base.Scheme || path != text && path != "/fallback" {
			t.Fatalf("%q leads to %v, %v", text, to, err)
		}
	})
}

// FuzzFormToken: a form's token counts in the session that it was issued in, and nothing that was not issued counts.
func FuzzFormToken(f *testing.F) {
	tokens := formTokens{[][32]byte{{1}}}
	const text = "IFN6CIDOOEIPVLTSLNJTFCAOIU" // fuzzing runs in several processes, which must agree on it
	issued := text + "." + seal(tokens.secrets[0], text, "session")
	for _, seed := range []string{issued, "", ".", issued + ".", issued + "x", strings.ToLower(issued), "x." + strings.SplitN(issued, ".", 2)[1]} {
		f.Add(seed, "session")
		f.Add(seed, "another")
	}
	f.Fuzz(func(t *testing.T, token, session string) {
		if _, ok := tokens.requestKey(token, session); ok != (token == issued && session == "session") {
			t.Fatalf("%q counts in %q: %t", token, session, ok)
		}
		if _, ok := tokens.requestKey(tokens.issue(session), session); !ok {
			t.Fatalf("a token does not count in %q, in which it was issued", session)
		}
	})
}

// FuzzWithoutKeys puts a key, encoded as often as the seed says, between any two texts: nothing of its secret comes out, whatever
// is decoded, and a text without a key stays as it is.
func FuzzWithoutKeys(f *testing.F) {
	const secret = "0123456789abcdefghijklmnopqrstuv"
	key := "pk_test_AbCdEf000547_" + secret + "00dXaG"
	for _, seed := range []string{"", "x", "%", "%2", "%25", "pk_live_", "pk_test_AbCdEf000547_", "cGtfbGl2ZV9", "\u200b", "％", "&q=", "\xff", "Bearer "} {
		f.Add(seed, seed, uint8(len(seed)))
	}
	f.Fuzz(func(t *testing.T, before, after string, times uint8) {
		encoded := key
		for range times % 8 {
			encoded = url.QueryEscape(strings.ReplaceAll(encoded, "_", "%5F"))
		}
		clean, signature := keyring.WithoutKeys(before + encoded + after)
		if _, left := keyring.WithoutKeys(clean); signature == "" || left != "" {
			t.Fatalf("%q between %q and %q comes out as %q", encoded, before, after, clean)
		}
		if clean, signature := keyring.WithoutKeys(before); signature == "" && clean != before {
			t.Fatalf("%q has no key and comes out as %q", before, clean)
		}
	})
}
