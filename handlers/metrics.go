package handlers

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
)

const metricsPath = "/metrics"

// metrics are what an operator watches the server by. None names a key, a person or an organisation.
type metrics struct {
	http.Handler
	took           *prometheus.HistogramVec
	signInsRefused *prometheus.CounterVec
}

func newMetrics(verifier *verify.Verifier, pools func() []keyring.Pool, skew func() time.Duration) *metrics {
	registry := prometheus.NewRegistry()
	m := &metrics{
		Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true}), // the door compresses; at an address of its own nothing does
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "moonlatch_http_request_duration_seconds", Help: "How long requests took, by route, method and status.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3},
		}, []string{"route", "method", "status"}),
	}
	m.signInsRefused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "moonlatch_sign_ins_refused_total", Help: "Requests for signing in that were refused before any work, by reason: network (too many from one) or busy (too many at once).",
	}, []string{"reason"})
	for _, reason := range []string{"network", "busy"} {
		m.signInsRefused.WithLabelValues(reason) // a rate needs the 0 before the first refusal
	}
	registry.MustRegister(m.took, m.signInsRefused, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		readings{verifier, pools, skew})
	return m
}

// forwardedBy are the headers by which a proxy says that a request is another client's.
var forwardedBy = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "Via"}

// privateOnly refuses with 403 a request from a public address and one that a proxy forwards, so that what is open to the
// internet does not show the metrics.
func privateOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := peer(r)
		private := err == nil && (from.IsLoopback() || from.IsPrivate() || from.IsLinkLocalUnicast())
		if !private || slices.ContainsFunc(forwardedBy, func(name string) bool { return len(r.Header.Values(name)) > 0 }) {
			http.Error(w, "metrics are served to loopback and private addresses only, and not through a proxy; METRICS_ADDR serves them at another address", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// measure notes how long a request took and what became of it.
func (m *metrics) measure(c echo.Context, began time.Time) {
	route, method := c.Path(), c.Request().Method
	if route == "" || route == "/*" {
		route = "none"
	}
	if !methods[method] { // anybody can make up methods, and each would be a series of its own
		method = "other"
	}
	m.took.WithLabelValues(route, method, status(c.Response().Status)).Observe(time.Since(began).Seconds())
}

var methods = map[string]bool{
	http.MethodGet: true, http.MethodHead: true, http.MethodPost: true, http.MethodPut: true, http.MethodPatch: true, http.MethodDelete: true, http.MethodOptions: true,
}

func status(code int) string {
	switch code { // the usual ones without an allocation
	case http.StatusOK:
		return "200"
	case http.StatusUnauthorized:
		return "401"
	case http.StatusForbidden:
		return "403"
	}
	return strconv.Itoa(code)
}

// readings are read when somebody asks for them.
type readings struct {
	verifier *verify.Verifier
	pools    func() []keyring.Pool
	skew     func() time.Duration
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("moonlatch_"+name, help, labels, nil)
}

var (
	verifications = describe("verifications_total", "Questions about keys, by the code of the answer.", "code")
	lookups       = describe("verification_lookups_total", "Where the answer came from: the cache (hit), the database as the cache did not know the key (miss), or the database as the news were too old to trust the cache (bypass).", "source")
	unanswered    = describe("verifications_unanswered_total", "Questions about keys that nobody could answer.")
	cached        = describe("cache_entries", "Hashes in the cache: of keys (known), and of what is no key's (unknown).", "kind")
	newsAge       = describe("news_age_seconds", "Age of the last sign of life from the database, by which the cache is trusted.")
	clockSkew     = describe("clock_skew_seconds", "How far this server's clock is ahead of the database's; negative where it is behind. Beyond 2 s the server is not ready.")
	flushLag      = describe("usage_flush_lag_seconds", "Age of the oldest use of a key that is not written down yet.")
	flushFailures = describe("usage_flush_failures_total", "Attempts to write usage down that failed.")
	usesLost      = describe("usage_lost_total", "Uses of keys that were never written down.")
	connections   = describe("database_connections", "Connections to the database, by what they are for and state. One more hears the news.", "pool", "state")
	poolSize      = describe("database_connections_max", "Connections to the database that may be open at once.", "pool")
	poolWaits     = describe("database_waits_total", "Times that somebody waited for a connection.", "pool")
	poolWaited    = describe("database_wait_seconds_total", "Seconds waited for connections.", "pool")
)

func (readings) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{verifications, lookups, unanswered, cached, newsAge, clockSkew, flushLag, flushFailures, usesLost, connections, poolSize, poolWaits, poolWaited} {
		out <- d
	}
}

func (r readings) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, n, labels...)
	}
	gauge := func(d *prometheus.Desc, n float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, n, labels...)
	}
	s := r.verifier.Stats()
	for code, n := range s.Verdicts {
		count(verifications, float64(n), string(code))
	}
	count(lookups, float64(s.Hits), "hit")
	count(lookups, float64(s.Misses), "miss")
	count(lookups, float64(s.Bypasses), "bypass")
	count(unanswered, float64(s.Failures))
	gauge(cached, float64(s.Entries), "known")
	gauge(cached, float64(s.Unknown), "unknown")
	gauge(newsAge, s.NewsAge.Seconds())
	gauge(clockSkew, r.skew().Seconds())
	gauge(flushLag, s.FlushLag.Seconds())
	count(flushFailures, float64(s.FlushFailures))
	count(usesLost, float64(s.Lost))
	for _, p := range r.pools() {
		gauge(connections, float64(p.InUse), p.For, "used")
		gauge(connections, float64(p.Open-p.InUse), p.For, "idle")
		gauge(poolSize, float64(p.Most), p.For)
		count(poolWaits, float64(p.Waits), p.For)
		count(poolWaited, p.Waited.Seconds(), p.For)
	}
}
