// Package gateways_test sends real traffic through the gateways that docs/gateways.md configures, to the program and to
// an API behind them.
package gateways_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }

const documents = "../../docs/gateways"

// gateway is a program that can stand before an API.
type gateway struct {
	program string
	run     func(t *testing.T, program string, s *site) (address, http2 string)
}

var gateways = []gateway{{"nginx", runNginx}, {"caddy", runCaddy}}

func TestOnlyGoodKeysPass(t *testing.T) {
	if probe, err := net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Skip("clients come from 127.0.0.2 and 127.0.0.3 here, which this machine does not have")
	} else {
		_ = probe.Close()
	}
	s := newSite(t)
	for _, g := range gateways {
		t.Run(g.program, func(t *testing.T) {
			program := lookUp(g.program)
			if program == "" {
				t.Skipf("%s is not installed; make test-gateways installs it", g.program)
			}
			address, http2 := g.run(t, program, s)
			s.walkHostile(t, g.program, address, http2)
			s.walk(t, address)
		})
	}
	t.Run("middleware, hostile", s.walkMiddlewareHostile)
	t.Run("middleware", s.walkMiddleware)
}

// lookUp finds a program, also where an ordinary account does not look for one.
func lookUp(program string) string {
	for _, name := range []string{program, "/usr/sbin/" + program, "/usr/local/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// configuration is a documented one with other addresses and some lines before others.
func configuration(t *testing.T, file string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(documents, file))
	if err != nil {
		t.Fatal(err)
	}
	out := string(text)
	for pair := range slices.Chunk(replace, 2) {
		if !strings.Contains(out, pair[0]) {
			t.Fatalf("%s does not have %q", file, pair[0])
		}
		out = strings.ReplaceAll(out, pair[0], pair[1])
	}
	return out
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

func runNginx(t *testing.T, program string, s *site) (address, http2 string) {
	dir, address, http2 := t.TempDir(), free(t), free(t)
	own := "http {\n    access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		own += fmt.Sprintf("    %s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	file := write(t, dir, "nginx.conf", configuration(t, "nginx.conf", "http {\n", own,
		"listen 80;", "listen "+address+"; listen "+http2+" http2;", "127.0.0.1:8080", s.ear.host(), "127.0.0.1:9000", s.api.host()))
	mine := "daemon off; error_log stderr; pid " + filepath.Join(dir, "pid") + ";"
	if os.Geteuid() == 0 {
		mine += " user root;" // its own account could not enter the test's folder
	}
	start(t, exec.Command(program, "-p", dir, "-e", "stderr", "-c", file, "-g", mine))
	await(t, address)
	from(t, "127.0.0.2", address).get("/_moonlatch/read").expect(t, "nginx's own path", http.StatusNotFound)
	return address, http2
}

func runCaddy(t *testing.T, program string, s *site) (address, http2 string) {
	dir, address := t.TempDir(), free(t)
	file := write(t, dir, "Caddyfile", "{\n\tadmin off\n\tservers {\n\t\tprotocols h1 h2 h2c\n\t}\n}\n"+configuration(t, "Caddyfile", "http:// {", strings.TrimPrefix(address, "127.0.0.1")+" {",
		"127.0.0.1:8080", s.ear.host(), "127.0.0.1:9000", s.api.host()))
	command := exec.Command(program, "run", "--adapter", "caddyfile", "--config", file)
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	start(t, command)
	await(t, address)
	return address, address
}

func await(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return
		}
	}
	t.Fatalf("nothing listens at %s", address)
}

// client speaks to a gateway from an address of its own.
type client struct {
	*http.Client
	t    *testing.T
	base string
}

// from is a client at a loopback address: a gateway and Moonlatch see it as they see any other.
func from(t *testing.T, ip, gateway string) *client {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}, Timeout: 15 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return &client{c, t, "http://" + gateway}
}

type answer struct {
	status int
	header http.Header
	body   string
}

// send asks for a path with headers, given as name and value in turn.
func (c *client) send(method, path, body string, header ...string) answer {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		r.Header[pair[0]] = append(r.Header[pair[0]], pair[1]) // as it is spelt
	}
	response, err := c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

func (c *client) get(path string, header ...string) answer {
	c.t.Helper()
	return c.send(http.MethodGet, path, "", header...)
}

func (a answer) expect(t *testing.T, what string, status int) answer {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: %d %s, want %d", what, a.status, a.body, status)
	}
	return a
}

func bearer(p apikey.Plaintext) []string { return []string{"Authorization", "Bearer " + p.Reveal()} }

// names are the headers in which Moonlatch says whose key it is.
var names = []string{"X-Key-Id", "X-Key-Owner", "X-Key-Org", "X-Key-Workspace", "X-Key-Process", "X-Key-Environment", "X-Key-Scopes", "X-Key-Bias-Profile"}

// walk is everything that docs/gateways.md promises of a gateway.
func (s *site) walk(t *testing.T, gateway string) {
	key, good := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
	c := from(t, "127.0.0.2", gateway)

	t.Run("a good key passes, in every form and with every method", func(t *testing.T) {
		basic := &http.Request{Header: http.Header{}}
		basic.SetBasicAuth(good.Prefix(), good.RevealPass())
		for form, header := range map[string][]string{
			"Bearer": bearer(good), "X-Api-Key": {"X-Api-Key", good.Reveal()}, "Basic": {"Authorization", basic.Header.Get("Authorization")},
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} {
				s.api.take()
				s.ear.take()
				body := ""
				if method[0] == 'P' {
					body = strings.Repeat("ask twice. ", 20_000) // more than Moonlatch would take
				}
				c.send(method, "/chat?scope=x&org=y", body, header...).expect(t, form+" "+method, http.StatusOK)
				api, asked := s.api.take(), s.ear.take()
				if len(api) != 1 || api[0].method != method || api[0].uri != "/chat?scope=x&org=y" || api[0].body != body {
					t.Fatalf("%s %s: the API was asked %d times, %.200v", form, method, len(api), api)
				}
				s.theKey(t, form+" "+method, api[0].header, key)
				if got := api[0].header; got.Get("Authorization") != "" || got.Get("X-Api-Key") != "" {
					t.Errorf("%s %s: the key itself went on to the API", form, method)
				}
				if len(asked) != 1 || asked[0].method != "GET" || asked[0].body != "" || asked[0].uri != "/v1/forward-auth?scope=read:chat" {
					t.Errorf("%s %s: Moonlatch was asked %.200v", form, method, asked)
				}
			}
		}
	})

	t.Run("what is no good key is challenged", func(t *testing.T) {
		s.api.take()
		for what, header := range map[string][]string{
			"nothing": nil, "rubbish": {"Authorization", "Bearer rubbish"}, "an unknown key": bearer(apikey.NewPlaintext(apikey.Live)),
		} {
			got := c.send(http.MethodPost, "/chat", "ask", header...).expect(t, what, http.StatusUnauthorized)
			if said := strings.Join(got.header["Www-Authenticate"], ", "); !strings.HasPrefix(said, `Bearer realm="Moonlatch"`) {
				t.Errorf("%s: the challenge is %q", what, said)
			}
			if !strings.Contains(got.body, `"unauthorized"`) || got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v %s", what, got.header, got.body)
			}
		}
		if api := s.api.take(); len(api) > 0 {
			t.Errorf("the API was asked: %v", api)
		}
	})

	t.Run("other paths take other scopes", func(t *testing.T) {
		s.api.take()
		for _, path := range []string{"/admin/users", "/admin/", "/admin", "/ADMIN/users"} {
			got := c.get(path, bearer(good)...).expect(t, path, http.StatusForbidden)
			if said := got.header.Get("WWW-Authenticate"); !strings.Contains(said, `error="insufficient_scope"`) || !strings.Contains(said, "write:config") {
				t.Errorf("%s: the challenge is %q", path, said)
			}
			if !strings.Contains(got.body, `"forbidden"`) {
				t.Errorf("%s: %s", path, got.body)
			}
		}
		if api := s.api.take(); len(api) > 0 {
			t.Errorf("the API was asked: %v", api)
		}
		_, half := s.issue(keyring.KeyDraft{Scopes: []string{"read:config", "read:chat"}})
		c.get("/admin/users", bearer(half)...).expect(t, "one scope of two", http.StatusForbidden)
		_, whole := s.issue(keyring.KeyDraft{Scopes: []string{"read:config", "write:config"}})
		c.get("/admin/users", bearer(whole)...).expect(t, "both scopes", http.StatusOK)
		c.get("/chat", bearer(whole)...).expect(t, "other scopes", http.StatusForbidden)
		c.get("/status").expect(t, "the open path", http.StatusOK)
	})

	t.Run("a client can't say who it is", func(t *testing.T) {
		for _, path := range []string{"/chat", "/status"} {
			s.api.take()
			forged := slices.Clone(bearer(good))
			for _, name := range names {
				under := strings.ReplaceAll(name, "-", "_")
				half := strings.Replace(name, "-Key-", "-Key_", 1)
				forged = append(forged, name, "forged", strings.ToLower(name), "forged", under, "forged", strings.ToLower(under), "forged", half, "forged")
				for _, mark := range strings.Split("!#$%&'*+.^`|~", "") { // all that a name may hold beside letters, digits, "-" and "_"
					forged = append(forged, strings.ReplaceAll(name, "-", mark), "forged", "X-Key"+mark+name[len("X-Key-"):], "forged")
				}
			}
			for _, mark := range strings.Split("!#$%&'*+.^`|~", "") {
				forged = append(forged, "X"+mark+"Forwarded"+mark+"For", "forged", "X"+mark+"Api"+mark+"Key", "forged")
			}
			c.get(path, forged...).expect(t, path, http.StatusOK)
			for name, values := range s.api.take()[0].header {
				if slices.Contains(values, "forged") {
					t.Errorf("%s: the API believes %s", path, name)
				}
			}
		}
	})

	t.Run("an allowlist is held against the real address", func(t *testing.T) {
		_, near := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}, IPAllowlist: []string{"127.0.0.2"}})
		far := from(t, "127.0.0.3", gateway)
		c.get("/chat", bearer(near)...).expect(t, "from the right address", http.StatusOK)
		far.get("/chat", bearer(near)...).expect(t, "from another", http.StatusForbidden)
		for _, forged := range []string{"127.0.0.2", "127.0.0.2, 127.0.0.1", "127.0.0.1"} {
			far.get("/chat", append(bearer(near), "X-Forwarded-For", forged, "X-Real-Ip", forged, "Forwarded", "for="+forged)...).expect(t, "forged", http.StatusForbidden)
			c.get("/chat", append(bearer(near), "X-Forwarded-For", "203.0.113.7")...).expect(t, "hidden", http.StatusOK)
		}
	})

	t.Run("a revoked key is refused within a second", func(t *testing.T) {
		doomed, plaintext := s.issue(keyring.KeyDraft{Scopes: []string{"read:chat"}})
		c.get("/chat", bearer(plaintext)...).expect(t, "before", http.StatusOK)
		if _, err := s.ring.ChangeStatus(t.Context(), s.org.Owner, apikey.Revoke, doomed.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // the promise
		got := c.get("/chat", bearer(plaintext)...).expect(t, "after", http.StatusUnauthorized)
		if said := strings.Join(got.header["Www-Authenticate"], ", "); !strings.Contains(said, `error="invalid_token"`) {
			t.Errorf("the challenge is %q", said)
		}
	})

	t.Run("the API's own errors stay its own", func(t *testing.T) {
		if got := c.get("/broken", bearer(good)...).expect(t, "an error of the API", http.StatusInternalServerError); !strings.Contains(got.body, "the API's own") {
			t.Errorf("%s", got.body)
		}
	})

	t.Run("connections to Moonlatch stay open", func(t *testing.T) {
		before := s.ear.connections.Load()
		for range 20 {
			c.get("/chat", bearer(good)...).expect(t, "a good key", http.StatusOK)
		}
		if opened := s.ear.connections.Load() - before; opened > 4 { // one for each of nginx's processes, at most
			t.Errorf("20 requests opened %d connections", opened)
		}
	})

	t.Run("while Moonlatch is away nobody passes either", func(t *testing.T) {
		s.ear.gone.Store(true)
		defer s.ear.gone.Store(false)
		s.api.take()
		got := c.send(http.MethodPost, "/chat", "ask", bearer(good)...).expect(t, "a good key", http.StatusServiceUnavailable)
		if got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"unavailable"`) {
			t.Errorf("%v %s", got.header, got.body)
		}
		if api := s.api.take(); len(api) > 0 {
			t.Errorf("the API was asked: %v", api)
		}
	})

	t.Run("while the database is away nobody passes, and everybody is told to come back", func(t *testing.T) {
		s.cable.Cut()
		defer s.cable.Mend()
		time.Sleep(time.Second) // a key that is known may pass until then
		s.api.take()
		for what, plaintext := range map[string]apikey.Plaintext{"a good key": good, "an unknown key": apikey.NewPlaintext(apikey.Live)} {
			got := c.send(http.MethodPost, "/chat", "ask", bearer(plaintext)...).expect(t, what, http.StatusServiceUnavailable)
			if got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"unavailable"`) || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v %s", what, got.header, got.body)
			}
		}
		if api := s.api.take(); len(api) > 0 {
			t.Errorf("the API was asked: %v", api)
		}
	})

	t.Run("and pass again when it is back", func(t *testing.T) {
		c.awaitOK(bearer(good))
	})
}

// awaitOK allows full service the 5 s that it may take to return.
func (c *client) awaitOK(header []string) {
	c.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got := c.get("/chat", header...); got.status == http.StatusOK || time.Now().After(deadline) {
			got.expect(c.t, "a good key, after the outage", http.StatusOK)
			return
		}
	}
}
