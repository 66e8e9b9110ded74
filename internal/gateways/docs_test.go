package gateways_test

import (
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
			ForwardedHeaders struct{ Insecure bool } `yaml:"forwardedHeaders"`
			HTTP             struct {
				AliasHeadersStrategy string `yaml:"aliasHeadersStrategy"`
			} `yaml:"http"`
		} `yaml:"entryPoints"`
		Providers struct{ File struct{ Filename string } }
	}
	read(t, "traefik.yml", &static)
	if web := static.EntryPoints["web"]; static.Providers.File.Filename != "/etc/traefik/traefik-dynamic.yml" || web.ForwardedHeaders.Insecure || web.HTTP.AliasHeadersStrategy != "delete" {
		t.Errorf("%+v", static)
	}
	var dynamic struct {
		HTTP struct {
			Routers map[string]struct {
				Rule, Service string
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
				}
			}
			Services map[string]struct {
				LoadBalancer struct{ Servers []struct{ URL string } } `yaml:"loadBalancer"`
			}
		} `yaml:"http"`
	}
	read(t, "traefik-dynamic.yml", &dynamic)
	for name, router := range dynamic.HTTP.Routers {
		if _, found := static.EntryPoints[router.EntryPoints[0]]; !found || len(dynamic.HTTP.Services[router.Service].LoadBalancer.Servers) == 0 {
			t.Errorf("%s leads from or to nowhere", name)
		}
		if len(router.Middlewares) != 2 || router.Middlewares[1] != "drop-the-key" {
			t.Fatalf("%s has the middlewares %v", name, router.Middlewares)
		}
		first, asks := dynamic.HTTP.Middlewares[router.Middlewares[0]], name != "status"
		if asks != (first.ForwardAuth != nil) {
			t.Errorf("%s asks: %v", name, !asks)
		}
		for _, header := range names {
			if _, removed := first.Headers.CustomRequestHeaders[header]; !asks && !removed {
				t.Errorf("%s lets %s through", name, header)
			}
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
		if !strings.HasPrefix(ask.Address, "http://127.0.0.1:8080/v1/forward-auth?scope=") || ask.TrustForwardHeader == nil || *ask.TrustForwardHeader ||
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
	@type address allowed_client_headers allowed_headers allowed_upstream_headers authorization_response clusters cluster cluster_name code
	common_http_protocol_options comparison connect_timeout default_value disabled domains endpoint endpoints exact explicit_http_config
	failure_mode_allow filter filter_chains filters header headers_to_add headers_with_underscores_action http_filters http_protocol_options
	http_service idle_timeout key lb_endpoints listeners load_assignment local_reply_config mappers match merge_slashes mutations name
	normalize_path op path path_prefix path_separated_prefix path_with_escaped_slashes_action patterns port_value prefix regex remove safe_regex
	request_headers_to_remove request_mutations route route_config routes runtime_key server_uri socket_address stat_prefix static_resources
	status_code_filter status_on_error timeout transport_api_version type typed_config typed_extension_protocol_options
	typed_per_filter_config uri use_remote_address value virtual_hosts
	may-read may-configure envoy.extensions.upstreams.http.v3.HttpProtocolOptions`)

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
	if len(filters) != 4 || filters[0]["name"] != "drop-what-is-forged" || filters[3]["name"] != "envoy.filters.http.router" {
		t.Fatalf("the filters are %v", filters)
	}
	var removed []string
	for _, mutation := range filters[0].at("typed_config", "mutations").list("request_mutations") {
		removed = append(removed, mutation["remove"].(string))
	}
	if want := strings.Split(strings.ToLower(strings.Join(names, " ")), " "); !slices.Equal(removed, want) {
		t.Errorf("it removes %v", removed)
	}
	for _, filter := range filters[1:3] {
		ask := filter.at("typed_config")
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
	for _, route := range manager.at("route_config").list("virtual_hosts")[0].list("routes") {
		skipped := len(route.at("typed_per_filter_config"))
		if open := route.at("match")["path"] == "/status"; skipped != map[bool]int{true: 2, false: 1}[open] {
			t.Errorf("the route %v leaves out %d questions", route["match"], skipped)
		}
	}
}
