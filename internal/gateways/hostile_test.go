package gateways_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
)

// hostile are request targets that programs read differently. Each must be refused before the API sees it.
var hostile = []string{
	"/admin/../status", "/chat/x/..%2f..%2fstatus", "/%2e%2e/status", "/%2E%2E/status", "/./admin/users", "/x/../admin/users",
	"/chat/..", "/chat/.", "/../status", "/chat/.%2e/admin/users", "/chat/%2e./admin/users", "/chat/.../admin", "/admin/..;/status",
	"/status/..;/admin/users", "/status;x=1", "/;/admin/users", "/chat;/../admin/users", "/chat%3b/admin", "//admin/users", "/admin//users",
	"/chat//", "//status", "///", "//evil.example/status", "/%2fadmin/users", "/chat%2f..%2fadmin%2fusers", "/chat%2Fx", "/%2Fstatus",
	"/%5cadmin", "/chat/..%5cadmin", "/chat\\..\\admin", "\\admin", "/%61dmin/users", "/%41DMIN/users", "/s%74atus", "/stat%75s",
	"/status%00", "/status%00/admin", "/chat%0a", "/chat%0d%0aX-Key-Id:%20forged", "/chat%7f", "/chat%252f..%252fadmin", "/%252e%252e/status",
	"/chat%c0%afadmin", "/%c0%ae%c0%ae/status", "/chat%e0%80%af", "/chat%f0%80%80%af", "/chat%ff", "/chat%", "/chat%2", "/chat%zz", "/chat%u002f",
	"/status#/admin", "/status%23", "/status%3f", "/chat%3fx", "/chat/\xff", "/admin%20/../status", "/status/%2e", "/%2e/status", "/admin%2d",
	"http://api.example.com/admin/../status", "http://api.example.com//admin/users", "http://api.example.com/%61dmin/users", "*", "status", "?x",
}

// harmless are targets that every program reads alike. Each must go on as it was written.
var harmless = []string{
	"/chat/", "/chat/a.b", "/chat/..a", "/chat/a..", "/chat/caf%C3%A9%20%E2%82%AC%F0%9F%98%80", "/chat/~a_b-c!$&'()*+,=:@",
	"/chat?to=/../admin&x=%2e%2e%2f%00;a", "/chat?", "/chat?x=//a?b", "/chat/%5Ba%5D",
	"/chat/" + strings.Repeat("a.b/", 1500), "/chat/" + strings.Repeat("x", 6000),
}

// raw sends a request as it is written, and returns the answer's status, 0 where the connection just ended.
func raw(t *testing.T, gateway, text string) int {
	t.Helper()
	conn, err := net.Dial("tcp", gateway)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(15 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		return 0
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// rawHTTP2 sends a POST for a target that begins with a slash, without TLS and as it is written, and returns the answer's status,
// 0 where the stream or the connection just ended.
func rawHTTP2(t *testing.T, address, target string, header ...string) int {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	// A refused stream is tried again for a long while, unless its body can be sent only once.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address, io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Opaque, r.Host = target, "api.example.com"
	if strings.HasPrefix(target, "//") { // an opaque one would be sent with its scheme
		r.URL.Opaque, r.URL.Path, r.URL.RawPath = "", strings.ReplaceAll(target, "%2f", "/"), target
	}
	if r.URL.RequestURI() != target {
		t.Fatalf("%q would be sent as %q", target, r.URL.RequestURI())
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	response, err := (&http.Client{
		Transport:     transport,
		Timeout:       15 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("it speaks %s", response.Proto)
	}
	return response.StatusCode
}

// refusesHostile sends every hostile target in every version of HTTP, without a credential and with a key that may do everything.
func (s *site) refusesHostile(t *testing.T, address, http2 string, all apikey.Plaintext) {
	t.Helper()
	s.api.take()
	if got := rawHTTP2(t, http2, "/chat", bearer(all)...); got != http.StatusOK || len(s.api.take()) != 1 {
		t.Errorf("/chat with HTTP/2: %d", got)
	}
	for _, target := range hostile {
		for _, credential := range [][]string{nil, bearer(all)} {
			for _, version := range []string{"1.0", "1.1", "2"} {
				var status int
				switch {
				case version != "2":
					line := ""
					if credential != nil {
						line = strings.Join(credential, ": ") + "\r\n"
					}
					status = raw(t, address, "GET "+target+" HTTP/"+version+"\r\nHost: api.example.com\r\n"+line+"Connection: close\r\n\r\n")
				case target[0] == '/':
					status = rawHTTP2(t, http2, target, credential...)
				}
				if api := s.api.take(); len(api) > 0 || status >= 200 && status < 400 {
					t.Errorf("%q with HTTP/%s: %d, and the API got %v", target, version, status, api)
				}
			}
		}
	}
}

// dropsTrailers sends trailers that name a key, with a key that may do everything and without one.
func (s *site) dropsTrailers(t *testing.T, address string, all apikey.Plaintext) {
	t.Helper()
	for path, credential := range map[string]string{"/chat": "Authorization: Bearer " + all.Reveal() + "\r\n", "/status": ""} {
		s.api.take()
		got := raw(t, address, "POST "+path+" HTTP/1.1\r\nHost: api.example.com\r\n"+credential+"TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: "+
			strings.Join(names, ", ")+"\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n"+strings.Join(names, ": forged\r\n")+": forged\r\n\r\n")
		api := s.api.take()
		if got != http.StatusOK || len(api) != 1 || api[0].body != "hello" {
			t.Fatalf("%s: %d, and the API got %v", path, got, api)
		}
		for _, name := range names {
			if api[0].trailer.Get(name) != "" || strings.Contains(strings.Join(api[0].header[name], " "), "forged") {
				t.Errorf("%s: the API got %v and the trailer %v", path, api[0].header, api[0].trailer)
			}
		}
	}
}

// upgradesWebSocketsAlone asks for other protocols, beside WebSockets too.
func (s *site) upgradesWebSocketsAlone(t *testing.T, address string, chat apikey.Plaintext) {
	t.Helper()
	for _, path := range []string{"/chat", "/status"} {
		for _, kinds := range [][]string{{"h2c", "websocket"}, {"websocket", "h2c"}, {"foo", "WebSocket"}, {"websocket, h2c"}, {"h2c,websocket"}, {"h2c"}, {"foo"}, {"websocket/13"}, {" h2c"}} {
			s.api.take()
			raw(t, address, "GET "+path+" HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+chat.Reveal()+"\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"+
				"Upgrade: "+strings.Join(kinds, "\r\nUpgrade: ")+"\r\n\r\n")
			for _, api := range s.api.take() {
				connection, upgrades := strings.Join(api.header["Connection"], ","), api.header["Upgrade"]
				if strings.Contains(strings.ToLower(connection), "upgrade") && !(len(upgrades) == 1 && strings.EqualFold(upgrades[0], "websocket")) {
					t.Errorf("%s, %q: the API was asked to upgrade to %q", path, kinds, upgrades)
				}
			}
		}
	}
}

// walkHostile holds a gateway to this: what it judged is what the API got, or the API got nothing. The second address takes HTTP/2
// without TLS.
func (s *site) walkHostile(t *testing.T, program, gateway, http2 string) {
	key, all := s.issue(s.placed(t, gateway, "read:chat", "read:config", "write:config"))
	_, chat := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})

	t.Run("a path that programs read differently is refused", func(t *testing.T) { s.refusesHostile(t, gateway, http2, all) })

	t.Run("any other path goes on as it was written", func(t *testing.T) {
		for _, target := range append(slices.Clone(harmless), "/", "/.well-known/x", "/statuses", "/status/", "/administrators", "/admin-tools", "/admin_x", "/STATUS") {
			s.ear.take()
			s.api.take()
			status := raw(t, gateway, "GET "+target+" HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+chat.Reveal()+"\r\nConnection: close\r\n\r\n")
			if api, asked := s.api.take(), s.ear.take(); status != http.StatusOK || len(api) != 1 || api[0].uri != target ||
				len(asked) != 1 || asked[0].uri != "/v1/forward-auth?scope=read:chat" {
				t.Errorf("%.80q: %d, the API got %.200v, Moonlatch was asked %.200v", target, status, api, asked)
			}
		}
		for _, target := range []string{"/admin", "/admin/", "/admin/users", "/ADMIN/users", "/Admin", "http://api.example.com/admin/users",
			"/admin.json", "/admin.", "/Admin,x", "/admin%20", "/admin~", "/admin%C3%A9"} {
			got := raw(t, gateway, "GET "+target+" HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+chat.Reveal()+"\r\nConnection: close\r\n\r\n")
			if got != http.StatusForbidden || len(s.api.take()) > 0 {
				t.Errorf("%s with read:chat alone: %d", target, got)
			}
		}
	})

	t.Run("Connection removes nothing", func(t *testing.T) {
		for _, trick := range append(slices.Clone(names), "Authorization", "X-Api-Key", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Host", strings.Join(names, ", ")) {
			for _, name := range []string{"Connection", "connection", "Proxy-Connection"} {
				s.api.take()
				got := raw(t, gateway, "GET /chat HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer "+all.Reveal()+"\r\n"+name+": close, "+trick+"\r\n"+name+": "+strings.ToLower(trick)+"\r\n\r\n")
				api := s.api.take()
				if got != http.StatusOK && got != http.StatusUnauthorized && got != http.StatusBadRequest {
					t.Errorf("%s: %s: %d", name, trick, got)
				}
				if got == http.StatusOK && len(api) == 1 {
					s.theKey(t, name+": "+trick, api[0].header, key)
				}
				if got != http.StatusOK && len(api) > 0 {
					t.Errorf("%s: %s: the API got %v", name, trick, api)
				}
			}
		}
	})

	t.Run("a trailer is no header", func(t *testing.T) { s.dropsTrailers(t, gateway, all) })

	t.Run("headers that name another client, scheme, host or path are dropped", func(t *testing.T) {
		for _, path := range []string{"/chat", "/status"} {
			header := bearer(all)
			for _, name := range append(droppedHeaders(t), "Proxy", "X_Forwarded_For", "X_Real_Ip", "True_Client_Ip") {
				header = append(header, name, "/forged", strings.ToLower(name), "/forged")
			}
			s.api.take()
			from(t, "127.0.0.1", gateway).get(path, header...).expect(t, path, http.StatusOK)
			for name, values := range s.api.take()[0].header {
				if strings.Contains(strings.Join(values, " "), "forged") {
					t.Errorf("%s: the API believes %s", path, name)
				}
			}
		}
	})

	t.Run("much header keeps no good key from its answer", func(t *testing.T) {
		c := from(t, "127.0.0.1", gateway)
		long := strings.Repeat("x", 6000)
		header := append(bearer(chat), "Cookie", long, "Referer", "https://app.example.com/"+long, "User-Agent", long, "Accept-Language", long)
		c.get("/chat", header...).expect(t, "24 KB in headers that browsers send", http.StatusOK)
		asked := s.ear.take()
		if got := asked[len(asked)-1].header; got.Get("Cookie") != "" || got.Get("Referer") != "" || got.Get("X-Forwarded-Uri") != "" || got.Get("X-Forwarded-Host") != "" {
			t.Errorf("Moonlatch was sent %.200v", got)
		}
		s.ear.status.Store(http.StatusRequestHeaderFieldsTooLarge)
		got := c.get("/chat", bearer(chat)...).expect(t, "Moonlatch says 431", http.StatusRequestHeaderFieldsTooLarge)
		s.ear.status.Store(0)
		if got.header.Get("Retry-After") != "" {
			t.Errorf("%v", got.header)
		}
		for _, lines := range []int{30, 300} {
			header := bearer(chat)
			for n := range lines {
				header = append(header, fmt.Sprintf("X-Odd-%d", n), long[:1000])
			}
			s.api.take()
			got := c.get("/chat", header...)
			switch api := s.api.take(); {
			case got.status == http.StatusOK && len(api) == 1: // the gateway sent Moonlatch less
			case slices.Contains([]int{http.StatusRequestHeaderFieldsTooLarge, http.StatusBadRequest}, got.status) && len(api) == 0: // Moonlatch's limit, or the gateway's own
			default:
				t.Errorf("%d headers of 1,000 bytes: %d %s, and the API got %d requests", lines, got.status, got.body, len(api))
			}
		}
	})

	t.Run("of several credentials none counts, and a blank one is none", func(t *testing.T) {
		c := from(t, "127.0.0.1", gateway)
		_, other := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
		c.get("/chat", append(bearer(chat), "X-Api-Key", other.Reveal())...).expect(t, "both headers", http.StatusUnauthorized)
		c.get("/chat", append(bearer(chat), "X-Api-Key", "")...).expect(t, "a blank X-Api-Key", http.StatusOK)
		if program == "nginx" { // before 1.23 takes the first of several lines, and later ones join them
			return
		}
		c.get("/chat", "X-Api-Key", chat.Reveal(), "X-Api-Key", other.Reveal()).expect(t, "two of X-Api-Key", http.StatusUnauthorized)
		c.get("/chat", "X-Api-Key", "", "X-Api-Key", chat.Reveal()).expect(t, "a blank line before the key's", http.StatusOK)
	})

	t.Run("one request is one request", func(t *testing.T) {
		for what, header := range map[string]string{
			"both lengths":      "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
			"two lengths":       "Content-Length: 6\r\nContent-Length: 60\r\n",
			"an odd encoding":   "Transfer-Encoding: xchunked\r\n",
			"a space in a name": "Transfer-Encoding : chunked\r\n",
			"two hosts":         "Host: other\r\n",
		} {
			s.api.take()
			got := raw(t, gateway, "POST /status HTTP/1.1\r\nHost: api.example.com\r\n"+header+"Connection: close\r\n\r\n0\r\n\r\nGET /admin/users HTTP/1.1\r\nHost: x\r\n\r\n")
			for _, api := range s.api.take() {
				if api.uri != "/status" || got >= 400 {
					t.Errorf("%s: %d, and the API got %v", what, got, api)
				}
			}
		}
		for _, host := range []string{"a?b", "a#b", "a@b", "a,b", "[::1", "{env.HOME}", "b/c", "a\\b", "a b"} {
			if got := raw(t, gateway, "GET /status HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); got < 400 || len(s.api.take()) > 0 {
				t.Errorf("the host %s: %d", host, got)
			}
		}
		for _, host := range []string{"api.example.com", "API.example.com:8443", "127.0.0.1", "[::1]:80"} {
			if got := raw(t, gateway, "GET /status HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n"); got != http.StatusOK || len(s.api.take()) != 1 {
				t.Errorf("the host %s: %d", host, got)
			}
		}
		for _, method := range []string{"TRACE", "CONNECT", "trace", "Connect", "get"} {
			if got := raw(t, gateway, method+" /status HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n"); got < 400 || len(s.api.take()) > 0 {
				t.Errorf("%s: %d", method, got)
			}
		}
	})

	t.Run("a large upload and the longest key pass", func(t *testing.T) {
		body := strings.Repeat("0123456789", 2_000_000)
		s.api.take()
		from(t, "127.0.0.1", gateway).send(http.MethodPost, "/chat", body, bearer(all)...).expect(t, "20 MB", http.StatusOK)
		if api := s.api.take(); len(api) != 1 || api[0].body != body {
			t.Errorf("the API got %d requests", len(api))
		}
		longest, plaintext := s.issue(keyring.KeyDraft{Scopes: s.longestScopes(t)})
		from(t, "127.0.0.1", gateway).get("/chat", bearer(plaintext)...).expect(t, "the longest key", http.StatusOK)
		if api := s.api.take(); len(api) != 1 || api[0].header.Get("X-Key-Scopes") != strings.Join(longest.Scopes, " ") {
			t.Errorf("the API got %.200v", api)
		}
	})

	t.Run("a browser's preflight is answered, and what follows it can be read", func(t *testing.T) { answersPreflights(t, gateway, chat) })

	t.Run("while Moonlatch says nothing nobody passes, and while it is slow everybody waits", func(t *testing.T) {
		c := from(t, "127.0.0.1", gateway)
		defer s.ear.delay.Store(0)
		s.api.take()
		s.ear.delay.Store(int64(time.Minute))
		if got := c.get("/chat", bearer(chat)...).expect(t, "a silent Moonlatch", http.StatusServiceUnavailable); got.header.Get("Retry-After") == "" {
			t.Errorf("%v", got.header)
		}
		if api := s.api.take(); len(api) > 0 {
			t.Errorf("the API was asked: %v", api)
		}
		s.ear.delay.Store(int64(time.Second))
		c.get("/chat", bearer(chat)...).expect(t, "a slow Moonlatch", http.StatusOK)
	})

	t.Run("whatever is no answer of Moonlatch's is a 503", func(t *testing.T) {
		defer s.ear.status.Store(0)
		s.api.take()
		for _, status := range []int{301, 302, 307, 400, 402, 404, 405, 407, 413, 429, 500, 502, 504, 599} {
			s.ear.status.Store(int32(status))
			got := from(t, "127.0.0.1", gateway).get("/chat", bearer(chat)...).expect(t, fmt.Sprintf("Moonlatch says %d", status), http.StatusServiceUnavailable)
			if got.header.Get("Retry-After") == "" || got.header.Get("Location") != "" || !strings.Contains(got.body, `"unavailable"`) {
				t.Errorf("%d: %v %s", status, got.header, got.body)
			}
		}
		if api := s.api.take(); len(api) > 0 {
			t.Errorf("the API was asked: %v", api)
		}
	})

	t.Run("WebSockets and event streams", func(t *testing.T) {
		upgrade := "Upgrade: %s\r\nConnection: Upgrade\r\n\r\n"
		head := "GET /socket HTTP/1.1\r\nHost: api.example.com\r\n"
		if got := raw(t, gateway, head+"Authorization: Bearer "+chat.Reveal()+"\r\n"+fmt.Sprintf(upgrade, "websocket")); got != http.StatusSwitchingProtocols {
			t.Errorf("a WebSocket: %d", got)
		}
		if got := raw(t, gateway, head+fmt.Sprintf(upgrade, "websocket")); got != http.StatusUnauthorized {
			t.Errorf("a WebSocket without a key: %d", got)
		}
		s.api.take()
		if got := raw(t, gateway, head+"Authorization: Bearer "+chat.Reveal()+"\r\n"+fmt.Sprintf(upgrade, "h2c")); got == http.StatusSwitchingProtocols {
			t.Error("h2c was upgraded")
		}
		s.upgradesWebSocketsAlone(t, gateway, chat)
		response := from(t, "127.0.0.1", gateway).open("/events", bearer(chat)...)
		defer func() { _ = response.Body.Close() }()
		if line, err := bufio.NewReader(response.Body).ReadString('\n'); line != "data: first\n" { // the API sends no more until it is left
			t.Errorf("the stream began with %q, %v", line, err)
		}
	})
}

// answersPreflights holds what stands at an address to what browsers need of it, with a key that has read:chat alone.
func answersPreflights(t *testing.T, address string, chat apikey.Plaintext) {
	t.Helper()
	c := from(t, "127.0.0.1", address)
	ask := []string{"Origin", "https://app.example.com", "Access-Control-Request-Method", "POST"}
	got := c.send(http.MethodOptions, "/admin/users", "", ask...).expect(t, "a preflight", http.StatusNoContent)
	if got.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" || !strings.Contains(got.header.Get("Access-Control-Allow-Headers"), "Authorization") ||
		!strings.Contains(got.header.Get("Access-Control-Allow-Methods"), "POST") || got.header.Get("Vary") != "Origin" {
		t.Errorf("%v", got.header)
	}
	ask[1] = "https://evil.example"
	if got := c.send(http.MethodOptions, "/chat", "", ask...).expect(t, "of another origin", http.StatusUnauthorized); got.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%v", got.header)
	}
	c.send(http.MethodOptions, "/chat", "", ask[:2]...).expect(t, "no preflight", http.StatusUnauthorized)
	for _, origin := range []string{"", "null", "https://evil.example"} { // else a cache would give this copy to the page that may read it
		if got := c.get("/chat", append(bearer(chat), "Origin", origin)...).expect(t, "from "+origin, http.StatusOK); got.header.Get("Vary") != "Origin" || got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("from %q: %v", origin, got.header)
		}
	}
	for what, header := range map[string][]string{"a good key": bearer(chat), "a refused key": bearer(apikey.NewPlaintext(apikey.Live)), "no key": nil} {
		for _, path := range []string{"/chat", "/admin"} {
			got := c.get(path, append(slices.Clone(header), "Origin", "https://app.example.com")...)
			if got := got.header["Access-Control-Allow-Origin"]; len(got) != 1 || got[0] != "https://app.example.com" {
				t.Errorf("%s at %s: %q", what, path, got)
			}
		}
	}
}

// droppedHeaders returns those that docs/gateways.md lists.
func droppedHeaders(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n### Headers to drop\n")
	listed := strings.Fields(quoted(t, section, "\n```text\n", "\n```\n"))
	if len(listed) < 50 {
		t.Fatalf("the page lists %v", listed)
	}
	return listed
}

// placed is a draft of a key that has a workspace, a process and a bias profile, all with one name.
func (s *site) placed(t *testing.T, name string, scopes ...string) keyring.KeyDraft {
	t.Helper()
	workspace, err := s.ring.CreateWorkspace(t.Context(), s.org.Owner, name)
	if err != nil {
		t.Fatal(err)
	}
	process, err := s.ring.CreateProcess(t.Context(), s.org.Owner, workspace.ID, name)
	if err != nil {
		t.Fatal(err)
	}
	profile, err := s.ring.CreateProfile(t.Context(), s.org.Owner, keyring.ProfileDraft{
		Name: name, DefaultThreshold: "50", Categories: []keyring.CategoryDraft{{Name: "Gender", Enabled: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return keyring.KeyDraft{Scopes: scopes, WorkspaceID: workspace.ID, ProcessID: process.ID, ProfileID: profile.ID}
}

// theKey compares everything that the API was told of a key.
func (s *site) theKey(t *testing.T, what string, got http.Header, key apikey.Key) {
	t.Helper()
	want := []string{key.ID, s.org.Owner.MemberID, s.org.ID, key.WorkspaceID, key.ProcessID, string(key.Environment), strings.Join(key.Scopes, " "), key.ProfileID}
	for i, name := range names {
		if got.Get(name) != want[i] || len(got[name]) > 1 {
			t.Errorf("%s: the API saw %s %q, want %q", what, name, got[name], want[i])
		}
	}
}

// longestScopes fills the catalogue with the longest names, and returns as many as one key may hold.
func (s *site) longestScopes(t *testing.T) []string {
	t.Helper()
	catalogue, err := s.ring.Scopes(t.Context(), s.org.Owner)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, scope := range catalogue {
		all = append(all, scope.Name)
	}
	for i := len(all); i < apikey.MaxScopes; i++ {
		name := fmt.Sprintf("long%03d:", i)
		name += strings.Repeat("x", apikey.MaxScopeName-len(name))
		if _, err := s.ring.CreateScope(t.Context(), s.org.Owner, name, "The longest name"); err != nil {
			t.Fatal(err)
		}
		all = append(all, name)
	}
	return slices.DeleteFunc(all, func(name string) bool { return name == apikey.All })
}

// open asks for a path and leaves the answer's body to be read.
func (c *client) open(path string, header ...string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, c.base+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header.Set(pair[0], pair[1])
	}
	response, err := c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return response
}
