package gateways_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// languages are those that the page marks each file's text with.
var languages = map[string]string{".conf": "nginx", "": "caddyfile", ".yml": "yaml", ".yaml": "yaml", ".go": "go"}

func TestThePageQuotesTheFilesThatAreTested(t *testing.T) {
	page, err := os.ReadFile(documents + ".md")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(documents)
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(documents, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(page), "```"+languages[filepath.Ext(file.Name())]+"\n"+string(text)+"```\n") {
			t.Errorf("docs/gateways.md does not have docs/gateways/%s as it is now", file.Name())
		}
	}
}

// read decodes a documented file, and refuses a key that the struct does not know.
func read(t *testing.T, file string, into any) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(configuration(t, file)))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// TestTraefikAsksOnEveryRoute reads what Debian has no program for.
func TestTraefikAsksOnEveryRoute(t *testing.T) {
	var static struct {
		EntryPoints map[string]struct {
			Address          string
			ForwardedHeaders struct {
				Insecure   bool
				Connection []string
				TrustedIPs []string `yaml:"trustedIPs"`
			} `yaml:"forwardedHeaders"`
			HTTP struct {
				AliasHeadersStrategy string          `yaml:"aliasHeadersStrategy"`
				SanitizePath         bool            `yaml:"sanitizePath"`
				EncodedCharacters    map[string]bool `yaml:"encodedCharacters"`
			} `yaml:"http"`
		} `yaml:"entryPoints"`
		Providers struct{ File struct{ Filename string } }
	}
	read(t, "traefik.yml", &static)
	if ask := static.EntryPoints["moonlatch"]; ask.Address != "127.0.0.1:8079" || !slices.Equal(ask.ForwardedHeaders.TrustedIPs, []string{"127.0.0.1/32"}) {
		t.Errorf("forwardAuth asks at %+v", ask)
	}
	if web := static.EntryPoints["web"]; static.Providers.File.Filename != "/etc/traefik/traefik-dynamic.yml" || web.ForwardedHeaders.Insecure ||
		len(web.ForwardedHeaders.Connection) > 0 || !web.HTTP.SanitizePath || web.HTTP.AliasHeadersStrategy != "delete" {
		t.Errorf("%+v", static)
	}
	for _, character := range strings.Fields("Slash BackSlash NullCharacter Semicolon Percent QuestionMark Hash") {
		if allowed, said := static.EntryPoints["web"].HTTP.EncodedCharacters["allowEncoded"+character]; allowed || !said {
			t.Errorf("the code of %s is not refused in so many words", character)
		}
	}
	var dynamic struct {
		HTTP struct {
			Routers map[string]struct {
				Rule, Service string
				Priority      int
				EntryPoints   []string `yaml:"entryPoints"`
				Middlewares   []string
			}
			Middlewares map[string]struct {
				ForwardAuth *struct {
					Address                  string
					TrustForwardHeader       *bool    `yaml:"trustForwardHeader"`
					AuthRequestHeaders       []string `yaml:"authRequestHeaders"`
					AuthResponseHeadersRegex string   `yaml:"authResponseHeadersRegex"`
				} `yaml:"forwardAuth"`
				Headers struct {
					CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
					AllowOrigins         []string          `yaml:"accessControlAllowOriginList"`
					AllowMethods         []string          `yaml:"accessControlAllowMethods"`
					AllowHeaders         []string          `yaml:"accessControlAllowHeaders"`
					AddVaryHeader        bool              `yaml:"addVaryHeader"`
				}
				Errors struct {
					Status         []string
					StatusRewrites map[string]int `yaml:"statusRewrites"`
					Service, Query string
				}
				IPAllowList struct {
					SourceRange      []string `yaml:"sourceRange"`
					RejectStatusCode int      `yaml:"rejectStatusCode"`
				} `yaml:"ipAllowList"`
			}
			Services map[string]struct {
				LoadBalancer struct {
					ServersTransport string `yaml:"serversTransport"`
					Servers          []struct{ URL string }
				} `yaml:"loadBalancer"`
			}
			ServersTransports map[string]struct {
				ForwardingTimeouts map[string]string `yaml:"forwardingTimeouts"`
			} `yaml:"serversTransports"`
		} `yaml:"http"`
	}
	read(t, "traefik-dynamic.yml", &dynamic)
	for name, router := range dynamic.HTTP.Routers {
		if _, found := static.EntryPoints[router.EntryPoints[0]]; !found || len(dynamic.HTTP.Services[router.Service].LoadBalancer.Servers) == 0 {
			t.Errorf("%s leads from or to nowhere", name)
		}
		if name == "refused" {
			if !slices.Equal(router.Middlewares, []string{"refuse"}) || dynamic.HTTP.Middlewares["refuse"].IPAllowList.RejectStatusCode != http.StatusBadRequest {
				t.Errorf("%s has the middlewares %v", name, router.Middlewares)
			}
			continue
		}
		if name == "moonlatch" { // no Priority: it is alone at its entry point
			if router.Rule != "Path(`/v1/forward-auth`)" || !slices.Equal(router.EntryPoints, []string{"moonlatch"}) || !slices.Equal(router.Middlewares, []string{"unavailable"}) {
				t.Errorf("questions go along %+v", router)
			}
			continue
		}
		if !slices.Equal(router.EntryPoints, []string{"web"}) {
			t.Errorf("%s is at %v", name, router.EntryPoints)
		}
		if router.Priority >= dynamic.HTTP.Routers["refused"].Priority || name != "api" && router.Priority <= dynamic.HTTP.Routers["api"].Priority {
			t.Errorf("%s has the priority %d", name, router.Priority)
		}
		want := []string{"cors", "drop-what-is-forged", "drop-the-key"}
		if name != "status" {
			want = slices.Insert(want, 2, map[string]string{"admin": "may-configure", "api": "may-read"}[name])
		}
		if !slices.Equal(router.Middlewares, want) {
			t.Errorf("%s has the middlewares %v", name, router.Middlewares)
		}
	}
	asked := dynamic.HTTP.Services["moonlatch"].LoadBalancer
	if limits := dynamic.HTTP.ServersTransports[asked.ServersTransport].ForwardingTimeouts; limits["dialTimeout"] != "1s" || limits["responseHeaderTimeout"] != "4s" ||
		len(asked.Servers) != 1 || asked.Servers[0].URL != "http://127.0.0.1:8080" {
		t.Errorf("Moonlatch is asked by %+v, within %v", asked, limits)
	}
	unknown := dynamic.HTTP.Middlewares["unavailable"].Errors
	if len(dynamic.HTTP.Services[unknown.Service].LoadBalancer.Servers) > 0 || slices.Contains(unknown.Status, "503") ||
		!slices.Equal(unknown.Status, []string{"300-400", "402", "404-430", "432-502", "504-599"}) { // 431 is Moonlatch's too
		t.Errorf("no answer becomes %+v", unknown)
	}
	for _, status := range unknown.Status {
		if unknown.StatusRewrites[status] != http.StatusServiceUnavailable {
			t.Errorf("%s becomes %d", status, unknown.StatusRewrites[status])
		}
	}
	forged := dynamic.HTTP.Middlewares["drop-what-is-forged"].Headers.CustomRequestHeaders
	sets := strings.Fields("X-Forwarded-For X-Forwarded-Host X-Forwarded-Port X-Forwarded-Proto X-Forwarded-Server X-Real-Ip") // Traefik itself
	for _, header := range append(slices.Clone(names), droppedHeaders(t)...) {
		if _, removed := forged[header]; removed == slices.Contains(sets, header) {
			t.Errorf("%s is removed: %t", header, removed)
		}
	}
	cors := dynamic.HTTP.Middlewares["cors"].Headers
	if !slices.Equal(cors.AllowOrigins, []string{"https://app.example.com"}) || !slices.Contains(cors.AllowMethods, "POST") || !slices.Contains(cors.AllowHeaders, "Authorization") || !cors.AddVaryHeader {
		t.Errorf("a preflight is answered with %+v", cors)
	}
	holdsPaths(t, "traefik", quoted(t, dynamic.HTTP.Routers["refused"].Rule, "!PathRegexp(`", "`)"), func(path string) (string, bool) {
		decoded, err := url.PathUnescape(path)
		if err != nil || strings.Contains(path, "#") {
			return "", false // Go's server refuses it
		}
		for _, code := range strings.Fields("%2f %5c %00 %3b %25 %3f %23") {
			if strings.Contains(strings.ToLower(path), code) {
				return "", false // encodedCharacters
			}
		}
		return decoded, true
	})
	upgrade := regexp.MustCompile(quoted(t, dynamic.HTTP.Routers["refused"].Rule, "HeaderRegexp(`Upgrade`, `", "`)"))
	for value, refused := range map[string]bool{"websocket": false, "WebSocket": false, "h2c": true, "websocket, h2c": true, "websockets": true, "xwebsocket": true, "websocke": true, "TLS/1.0": true, "websockex": true, "foo": true, "": true} {
		if upgrade.MatchString(value) != refused {
			t.Errorf("an Upgrade to %q is refused: %t", value, !refused)
		}
	}
	for name, middleware := range dynamic.HTTP.Middlewares {
		for header, value := range middleware.Headers.CustomRequestHeaders {
			if value != "" {
				t.Errorf("%s sets %s", name, header)
			}
		}
		ask := middleware.ForwardAuth
		if ask == nil {
			continue
		}
		if !strings.HasPrefix(ask.Address, "http://127.0.0.1:8079/v1/forward-auth?scope=") || ask.TrustForwardHeader == nil || *ask.TrustForwardHeader ||
			!slices.Equal(ask.AuthRequestHeaders, []string{"Authorization", "X-Api-Key"}) {
			t.Errorf("%s asks %+v", name, *ask)
		}
		ours := regexp.MustCompile(ask.AuthResponseHeadersRegex)
		for _, header := range names {
			if !ours.MatchString(header) {
				t.Errorf("%s lets %s through", name, header)
			}
		}
	}
}

// quoted returns what stands between two marks of a text.
func quoted(t *testing.T, text, before, after string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, before)
	out, _, ended := strings.Cut(rest, after)
	if !found || !ended {
		t.Fatalf("%.60q has no %s…%s", text, before, after)
	}
	return out
}

// unreserved matches a path without any code but those of letters, digits, "-", ".", "_" and "~".
var unreserved = regexp.MustCompile(`^(?i:[^%]|%(?:2[DE]|3[0-9]|[46][1-9A-F]|5[0-9AF]|7[0-9AE]))*$`)

// holdsPaths holds a file's expression for paths to the hostile ones, and to those that must pass. seen returns the path as the
// gateway matches it, and false where the gateway refuses it before.
func holdsPaths(t *testing.T, gateway, expression string, seen func(string) (string, bool)) {
	t.Helper()
	allowed, err := regexp.Compile(expression)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range hostile {
		if !strings.HasPrefix(target, "/") {
			continue // http://… is a host and a path, and the others are no path
		}
		path, passes := seen(target)
		rewritten := path != target && unreserved.MatchString(target) // the API gets what was matched
		if passes && allowed.MatchString(path) && !rewritten {
			t.Errorf("%s takes %q", gateway, target)
		}
	}
	for _, target := range []string{"/", "/chat/", "/chat/a.b", "/chat/..a", "/.well-known/x", "/chat/caf%C3%A9%20%E2%82%AC", "/chat/~a_b-c!$&'()*+,=:@", "/statuses", "/chat/" + strings.Repeat("a.b/", 500)} {
		if path, passes := seen(target); !passes || !allowed.MatchString(path) {
			t.Errorf("%s refuses %.80q", gateway, target)
		}
	}
}

// node is a part of a YAML file.
type node map[string]any

func (n node) at(path ...string) node {
	for _, name := range path {
		n, _ = n[name].(node)
	}
	return n
}

func (n node) list(name string) []node {
	var out []node
	items, _ := n[name].([]any)
	for _, item := range items {
		part, _ := item.(node)
		out = append(out, part)
	}
	return out
}

// keys are all those of a node and of what is in it.
func keys(of any) []string {
	var out []string
	switch of := of.(type) {
	case node:
		for key, value := range of {
			out = append(append(out, key), keys(value)...)
		}
	case []any:
		for _, value := range of {
			out = append(out, keys(value)...)
		}
	}
	return out
}

// envoyWords are the keys that envoy.yaml uses, each of which stands in the API of Envoy 1.40 or is a name of our own.
var envoyWords = strings.Fields(`
	@type address allow_headers allow_methods allow_origin_string_match allowed_client_headers allowed_headers allowed_upstream_headers authorization_response clusters cluster cluster_name code
	common_http_protocol_options comparison connect_timeout default_value direct_response disabled domains endpoint endpoints exact explicit_http_config
	failure_mode_allow filter filter_chains filters header headers headers_to_add headers_with_underscores_action http_filters http_protocol_options
	http_service idle_timeout invert_match key layered_runtime layers lb_endpoints listeners load_assignment local_reply_config mappers match merge_slashes mutations name
	normalize_path op path path_prefix path_separated_prefix path_with_escaped_slashes_action patterns port_value prefix regex remove remove_on_match key_matcher safe_regex
	request_headers_to_remove request_mutations route route_config routes runtime_key server_uri socket_address stat_prefix static_resources
	and_filter or_filter flags response_flag_filter static_layer status status_code status_code_filter status_on_error string_match timeout transport_api_version type typed_config typed_extension_protocol_options
	typed_per_filter_config upgrade_configs upgrade_type uri use_remote_address value virtual_hosts
	may-read may-configure envoy.filters.http.cors re2.max_program_size.error_level re2.max_program_size.warn_level envoy.extensions.upstreams.http.v3.HttpProtocolOptions`)

// TestEnvoyAsksOnEveryRoute reads what Debian has no program for.
func TestEnvoyAsksOnEveryRoute(t *testing.T) {
	var envoy node
	read(t, "envoy.yaml", &envoy)
	for _, key := range keys(envoy) {
		if !slices.Contains(envoyWords, key) {
			t.Errorf("envoy.yaml has the key %q", key)
		}
	}
	manager := envoy.at("static_resources").list("listeners")[0].list("filter_chains")[0].list("filters")[0].at("typed_config")
	filters := manager.list("http_filters")
	if len(filters) != 5 || filters[0]["name"] != "envoy.filters.http.cors" || filters[1]["name"] != "drop-what-is-forged" || filters[4]["name"] != "envoy.filters.http.router" {
		t.Fatalf("the filters are %v", filters)
	}
	var removed []string
	var odd *regexp.Regexp
	for _, mutation := range filters[1].at("typed_config", "mutations").list("request_mutations") {
		if pattern := mutation.at("remove_on_match", "key_matcher", "safe_regex")["regex"]; pattern != nil {
			odd = regexp.MustCompile("^(?:" + pattern.(string) + ")$") // Envoy matches the whole name
			continue
		}
		removed = append(removed, mutation["remove"].(string))
	}
	for name, want := range map[string]bool{"x.key.id": true, "x-key~id": true, "x-key-id|": true, ".x": true, "x.": true, "x_key_id": true, "+": true, "x-key-id": false, ":path": false, "host": false, "x-odd-1": false} {
		if odd == nil || odd.MatchString(name) != want {
			t.Errorf("%s is removed for its name: %t", name, !want)
		}
	}
	sets := strings.Fields("X-Forwarded-For X-Forwarded-Proto") // Envoy itself
	for _, header := range append(slices.Clone(names), droppedHeaders(t)...) {
		if slices.Contains(removed, strings.ToLower(header)) == slices.Contains(sets, header) {
			t.Errorf("%s is let through, or what Envoy sets is removed", header)
		}
	}
	mapped := manager.at("local_reply_config").list("mappers")[0].at("filter", "and_filter").list("filters")
	unknown := mapped[1].at("or_filter").list("filters")
	if len(unknown) != 4 {
		t.Fatalf("no answer is %v", unknown)
	}
	between, above := unknown[2].at("and_filter").list("filters"), unknown[3].at("status_code_filter", "comparison")
	if to := between[1].at("status_code_filter", "comparison"); to["op"] != "LE" || to.at("value")["default_value"] != 430 || above["op"] != "GE" || above.at("value")["default_value"] != 432 {
		t.Errorf("a 431 of Moonlatch's does not stay one: %v, %v", to, above)
	}
	for _, filter := range filters[2:4] {
		ask := filter.at("typed_config")
		for _, pattern := range ask.at("allowed_headers").list("patterns") {
			if !slices.Contains([]any{"x-api-key", "x-forwarded-for"}, pattern["exact"]) {
				t.Errorf("%v sends %v", filter["name"], pattern)
			}
		}
		if prefix, _ := ask.at("http_service")["path_prefix"].(string); !strings.HasPrefix(prefix, "/v1/forward-auth?scope=") || !strings.HasSuffix(prefix, "&original=") {
			t.Errorf("%v asks %q", filter["name"], prefix)
		}
		if ask["failure_mode_allow"] != false || ask.at("status_on_error")["code"] != "ServiceUnavailable" || ask.at("http_service", "server_uri")["timeout"] != "4s" {
			t.Errorf("%v does not fail closed", filter["name"])
		}
	}
	if manager["use_remote_address"] != true || manager.at("common_http_protocol_options")["headers_with_underscores_action"] != "DROP_HEADER" {
		t.Error("a client can forge its address, or headers with underscores")
	}
	if manager["normalize_path"] != true || manager["merge_slashes"] != true || manager["path_with_escaped_slashes_action"] != "REJECT_REQUEST" {
		t.Error("a path can be written in two ways")
	}
	if upgrades := manager.list("upgrade_configs"); len(upgrades) != 1 || upgrades[0]["upgrade_type"] != "websocket" {
		t.Errorf("it upgrades %v", upgrades)
	}
	host := manager.at("route_config").list("virtual_hosts")[0]
	cors := host.at("typed_per_filter_config", "envoy.filters.http.cors")
	if origins := cors.list("allow_origin_string_match"); len(origins) != 1 || origins[0]["exact"] != "https://app.example.com" ||
		!strings.Contains(cors["allow_methods"].(string), "POST") || !strings.Contains(cors["allow_headers"].(string), "Authorization") {
		t.Errorf("a preflight is answered with %v", cors)
	}
	routes := host.list("routes")
	path := routes[0].at("match").list("headers")[0]
	if path["name"] != ":path" || path["invert_match"] != true || routes[0].at("direct_response")["status"] != http.StatusBadRequest {
		t.Fatalf("the first route is %v", routes[0])
	}
	// Envoy matches the whole value.
	holdsPaths(t, "envoy", "^(?:"+path.at("string_match", "safe_regex")["regex"].(string)+")$", func(path string) (string, bool) { return path, true })
	for _, route := range routes {
		skipped := len(route.at("typed_per_filter_config"))
		open := route.at("match")["path"] == "/status" || route["direct_response"] != nil // the API is not asked
		if skipped != map[bool]int{true: 2, false: 1}[open] || (route["direct_response"] == nil) == (route["route"] == nil) {
			t.Errorf("the route %v leaves out %d questions", route["match"], skipped)
		}
	}
}
