package handlers

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// Prometheus asks for a compressed answer, and so does Go's own client.
func TestMetricsCanBeReadCompressed(t *testing.T) {
	if got := newSite(t).visitor().get("/metrics"); got.status != 200 || !strings.Contains(got.body, "moonlatch_news_age_seconds") {
		t.Errorf("%d %.100q", got.status, got.body)
	}
}

// TestMetricsAreNotForThePublic asks from public addresses and through proxies.
func TestMetricsAreNotForThePublic(t *testing.T) {
	handler := privateOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for peer, want := range map[string]int{
		"127.0.0.1:5000": 200, "[::1]:5000": 200, "10.1.2.3:5000": 200, "172.17.0.1:5000": 200, "192.168.7.7:5000": 200, "[fd00::7]:5000": 200,
		"[fe80::1%eth0]:5000": 200, "[::ffff:10.0.0.1]:5000": 200,
		"203.0.113.9:5000": 403, "[2001:db8::1]:5000": 403, "[::ffff:203.0.113.9]:5000": 403, "172.32.0.1:5000": 403, "@": 403, "": 403,
	} {
		request := httptest.NewRequest(http.MethodGet, metricsPath, nil)
		request.RemoteAddr = peer
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, request)
		if answer.Code != want {
			t.Errorf("from %q: %d, not %d", peer, answer.Code, want)
		}
	}
	s := newSite(t)
	for _, name := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "x-forwarded-proto", "X-Forwarded-Host"} {
		got := s.visitor().send(http.MethodGet, metricsPath, nil, map[string]string{name: "127.0.0.1"})
		if got.status != http.StatusForbidden || strings.Contains(got.body, "moonlatch_") {
			t.Errorf("with %s: %d", name, got.status)
		}
	}
}

const (
	operatorsGuide = "../docs/operating.md"
	prometheusDir  = "../docs/prometheus"
)

// metric is the type of a metric and the names of its labels.
type metric struct {
	kind   string
	labels string
}

var (
	metricType   = regexp.MustCompile(`(?m)^# TYPE (\w+) (\w+)$`)
	metricSample = regexp.MustCompile(`(?m)^(\w+)\{(.*)\} \S+$`)
	labelName    = regexp.MustCompile(`(\w+)="(?:[^"\\]|\\.)*"`)
	metricSuffix = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// servedMetrics are the metrics that a server answers with.
func servedMetrics(t *testing.T) map[string]metric {
	t.Helper()
	v := newSite(t).visitor()
	v.get("/healthz") // so that there is a request to measure
	body := v.get(metricsPath).body
	labels := map[string]map[string]bool{}
	for _, sample := range metricSample.FindAllStringSubmatch(body, -1) {
		name := sample[1]
		for _, label := range labelName.FindAllStringSubmatch(sample[2], -1) {
			if l := label[1]; l != "le" && l != "quantile" {
				for _, of := range []string{name, metricSuffix.ReplaceAllString(name, "")} {
					if labels[of] == nil {
						labels[of] = map[string]bool{}
					}
					labels[of][l] = true
				}
			}
		}
	}
	out := map[string]metric{}
	for _, line := range metricType.FindAllStringSubmatch(body, -1) {
		out[line[1]] = metric{line[2], strings.Join(slices.Sorted(maps.Keys(labels[line[1]])), " ")}
	}
	if len(out) < 30 {
		t.Fatalf("only %d metrics are served", len(out))
	}
	return out
}

// guideRows are the rows of the guide's tables that begin with a name that matches, by their cells.
func guideRows(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(operatorsGuide)
	if err != nil {
		t.Fatal(err)
	}
	_, watch, _ := strings.Cut(string(text), "\n## Watch\n")
	watch, _, _ = strings.Cut(watch, "\n## ")
	out := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `("+name+")` \\|(.*)\\|$").FindAllStringSubmatch(watch, -1) {
		if out[row[1]] != nil {
			t.Errorf("two rows of the guide are about %s", row[1])
		}
		for cell := range strings.SplitSeq(row[2], "|") {
			out[row[1]] = append(out[row[1]], strings.TrimSpace(cell))
		}
	}
	if len(out) == 0 {
		t.Fatalf("the guide has no row about %s", name)
	}
	return out
}

// TestGuideListsEveryMetric compares the operator's guide with what is served, both ways.
func TestGuideListsEveryMetric(t *testing.T) {
	served, listed := servedMetrics(t), map[string]metric{}
	for name, cells := range guideRows(t, `[a-z]+_\w+`) {
		names := strings.Split(strings.NewReplacer("`", "", ",", "").Replace(cells[1]), " ")
		slices.Sort(names)
		listed[name] = metric{cells[0], strings.Join(names, " ")}
		if len(cells) != 3 || cells[2] == "" {
			t.Errorf("the row about %s lacks a meaning", name)
		}
	}
	for name, is := range served {
		if said, ok := listed[name]; !ok {
			t.Errorf("operating.md does not list %s", name)
		} else if said != is {
			t.Errorf("operating.md lists %s as %+v; it is %+v", name, said, is)
		}
	}
	for name := range listed {
		if _, ok := served[name]; !ok && (runtime.GOOS == "linux" || !strings.HasPrefix(name, "process_")) {
			t.Errorf("operating.md lists %s, which is not served", name)
		}
	}
}

var (
	queryMetric   = regexp.MustCompile(`\b(?:moonlatch|go|process)_\w+|\bup\b`)
	queryMatchers = regexp.MustCompile(`\b((?:moonlatch|go|process)_\w+|up)\{([^}]*)\}`)
	matcher       = regexp.MustCompile(`(\w+)(=~|!=|!~|=)"([^"]*)"`)
)

// metricsOf are the metrics that a query reads. Each must be served, with the labels that the query matches; so must be
// the routes that it names.
func metricsOf(t *testing.T, where, query string, served map[string]metric) []string {
	t.Helper()
	base := func(name string) string {
		if _, ok := served[name]; !ok {
			if short := metricSuffix.ReplaceAllString(name, ""); served[short].kind == "histogram" {
				return short
			}
		}
		return name
	}
	var out []string
	for _, name := range queryMetric.FindAllString(query, -1) {
		name = base(name)
		if _, ok := served[name]; !ok && name != "up" { // up is Prometheus's own
			t.Errorf("%s: %s is not served", where, name)
		}
		out = append(out, name)
	}
	if len(out) == 0 {
		t.Errorf("%s: %q reads no metric of the server", where, query)
	}
	for _, m := range queryMatchers.FindAllStringSubmatch(query, -1) {
		for _, match := range matcher.FindAllStringSubmatch(m[2], -1) {
			label := match[1]
			if label != "job" && label != "instance" && !slices.Contains(strings.Fields(served[base(m[1])].labels), label) {
				t.Errorf("%s: %s has no label %s", where, m[1], label)
			}
			if label == "route" {
				for path := range strings.SplitSeq(match[3], "|") {
					if !slices.ContainsFunc(slices.Concat(routes, apiRoutes), func(r route) bool { return r.path == path }) {
						t.Errorf("%s: %s is no route", where, path)
					}
				}
			}
		}
	}
	return out
}

// alertRules are those of docs/prometheus/alerts.yml, by name.
func alertRules(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(prometheusDir, "alerts.yml"))
	if err == nil {
		err = yaml.Unmarshal(text, &file)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			out[rule.Alert] = rule.Expr
			if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks a severity, a summary or a description", rule.Alert)
			}
		}
	}
	if len(out) == 0 {
		t.Fatal("there are no alert rules")
	}
	return out
}

// TestAlertsAreInTheGuide compares the alert rules with the guide's table and with what is served, and looks for a test of
// each in which it fires.
func TestAlertsAreInTheGuide(t *testing.T) {
	served, rules, rows := servedMetrics(t), alertRules(t), guideRows(t, `Moonlatch\w+`)
	tests, err := os.ReadFile(filepath.Join(prometheusDir, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for alert, query := range rules {
		reads := metricsOf(t, alert, query, served)
		row, ok := rows[alert]
		if !ok {
			t.Errorf("operating.md does not explain %s", alert)
			continue
		}
		for _, name := range reads {
			if !strings.Contains(row[0], "`"+name+"`") {
				t.Errorf("operating.md does not say that %s reads %s", alert, name)
			}
		}
		if !strings.Contains(string(tests), "alertname: "+alert+"\n") {
			t.Errorf("no test in alerts_test.yml lets %s fire", alert)
		}
	}
	for alert := range rows {
		if _, ok := rules[alert]; !ok {
			t.Errorf("operating.md explains %s, which is no alert", alert)
		}
	}
}

// dashboardQueries are the queries of docs/prometheus/dashboard.json by panel, with Grafana's variables filled in.
func dashboardQueries(t *testing.T) map[string][]string {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	text, err := os.ReadFile(filepath.Join(prometheusDir, "dashboard.json"))
	if err == nil {
		err = json.Unmarshal(text, &board)
	}
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for _, panel := range board.Panels {
		for _, target := range panel.Targets {
			out[panel.Title] = append(out[panel.Title], strings.NewReplacer("$__rate_interval", "5m", "$instance", ".+").Replace(target.Expr))
		}
		if len(out[panel.Title]) == 0 {
			t.Errorf("the panel %q has no query", panel.Title)
		}
	}
	if len(out) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	return out
}

// TestDashboardReadsWhatIsServed holds the queries of the dashboard against the metrics, and misses none of ours.
func TestDashboardReadsWhatIsServed(t *testing.T) {
	served, shown := servedMetrics(t), map[string]bool{}
	for title, queries := range dashboardQueries(t) {
		for _, query := range queries {
			for _, name := range metricsOf(t, title, query, served) {
				shown[name] = true
			}
		}
	}
	for name := range served {
		if strings.HasPrefix(name, "moonlatch_") && !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// TestPrometheusAcceptsTheRules asks Prometheus's own checker about the alert rules, their tests, the queries of the
// dashboard and the guide's configuration.
func TestPrometheusAcceptsTheRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool (Debian's package prometheus) is not installed here: the alert rules, their tests and the dashboard's queries are NOT checked by Prometheus")
	}
	dir := t.TempDir()
	check := func(in string, args ...string) {
		t.Helper()
		run := exec.CommandContext(t.Context(), promtool, args...)
		run.Dir = in
		if out, err := run.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	check(prometheusDir, "check", "rules", "alerts.yml")
	check(prometheusDir, "test", "rules", "alerts_test.yml")

	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	type group struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	}
	var groups []group
	for title, queries := range dashboardQueries(t) {
		g := group{Name: title}
		for i, query := range queries {
			g.Rules = append(g.Rules, rule{"query:" + string(rune('a'+i)), query})
		}
		groups = append(groups, g)
	}
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := yaml.Marshal(map[string]any{"groups": groups})
	if err != nil {
		t.Fatal(err)
	}
	write("dashboard.yml", text)
	check(dir, "check", "rules", "dashboard.yml")

	rules, err := os.ReadFile(filepath.Join(prometheusDir, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	write("alerts.yml", rules)
	var found bool
	for _, e := range examplesIn(t, operatorsGuide) {
		if e.language == "yaml" && strings.Contains(e.text, "scrape_configs:") {
			found = true
			write("prometheus.yml", []byte(e.text))
			check(dir, "check", "config", "prometheus.yml")
		}
	}
	if !found {
		t.Error("operating.md has no configuration for Prometheus")
	}
}
