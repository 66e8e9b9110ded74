package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/store"
)

// config is everything that can be configured. The help of each variable is what --help prints.
type config struct {
	Addr           listenAddress  `env:"ADDR" envDefault:"127.0.0.1:8080" help:"where the server listens; port 0 takes a free one"`
	BaseURL        *url.URL       `env:"BASE_URL" help:"where people reach the server, like https://keys.example.com, without a sub-path (default: http:// and ADDR)"`
	HSTSSubdomains bool           `env:"HSTS_INCLUDE_SUBDOMAINS" envDefault:"false" help:"true makes browsers use https for every subdomain of BASE_URL's host too; needs an https BASE_URL"`
	DatabaseURL    databaseURL    `env:"DATABASE_URL" help:"PostgreSQL, like postgres://user:password@host/database (default: a private one in DATA_DIR)"`
	MigrateURL     databaseURL    `env:"MIGRATE_DATABASE_URL" help:"the same database as the account that owns its tables; it migrates, and DATABASE_URL's account only reads and writes (default: DATABASE_URL's account does both)"`
	Secrets        secretLines    `env:"MOONLATCH_SECRET_FILE" help:"a file with the secrets that sign session tokens and seal links into lists, one a line, the newest first (default: one in the database)"`
	DataDir        string         `env:"DATA_DIR" envDefault:"data" help:"the folder in which the private PostgreSQL lives"`
	PGBinDir       string         `env:"PG_BINDIR" help:"the folder of the private PostgreSQL's programs (default: the machine's, else those of the npm package)"`
	TrustedProxies []netip.Prefix `env:"TRUSTED_PROXIES" help:"proxies whose X-Forwarded-For is believed, like 10.0.0.0/8,192.0.2.7 (default: none)"`
	MetricsAddr    listenAddress  `env:"METRICS_ADDR" help:"where /metrics is served alone, like 127.0.0.1:9090 (default: at ADDR, for loopback and private addresses, not through a proxy)"`
	RateLimit      requestRate    `env:"RATE_LIMIT" envDefault:"600" help:"requests a minute that each program may send to /v1; questions about keys are not counted"`
	ShutdownDelay  time.Duration  `env:"SHUTDOWN_DELAY" envDefault:"5s" help:"how long a server that was told to stop still accepts requests, while /readyz answers 503, like 10s; 0s to 10m"`
	UsageRetention usageDays      `env:"USAGE_RETENTION" envDefault:"100" help:"days for which counts of requests are kept, 90 to 3650"`
	LogFormat      logFormat      `env:"LOG_FORMAT" envDefault:"text" help:"text or json; the log goes to standard error"`
	LogLevel       logLevel       `env:"LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
}

type (
	listenAddress string
	databaseURL   string
	logFormat     string
	logLevel      string
	requestRate   int
	usageDays     int
)

var levels = map[logLevel]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

var parsers = map[reflect.Type]env.ParserFunc{
	reflect.TypeFor[listenAddress]():  parseAddress,
	reflect.TypeFor[url.URL]():        parseBaseURL,
	reflect.TypeFor[databaseURL]():    parseDatabaseURL,
	reflect.TypeFor[[]netip.Prefix](): parseProxies,
	reflect.TypeFor[requestRate]():    parseRate,
	reflect.TypeFor[time.Duration]():  parseDelay,
	reflect.TypeFor[usageDays]():      parseUsageDays,
	reflect.TypeFor[bool]():           parseSwitch,
	reflect.TypeFor[logFormat]():      parseLogFormat,
	reflect.TypeFor[logLevel]():       parseLogLevel,
	reflect.TypeFor[secretLines]():    readSecretFile,
}

// readConfig reads the environment. Its errors name the variables, and never repeat a database's address.
func readConfig(environment []string) (config, error) {
	c, err := env.ParseAsWithOptions[config](env.Options{Environment: env.ToMap(environment), FuncMap: parsers})
	if err == nil && c.HSTSSubdomains && (c.BaseURL == nil || c.BaseURL.Scheme != "https") {
		return c, configError{errors.New("HSTS_INCLUDE_SUBDOMAINS: needs a BASE_URL that begins with https://")}
	}
	if err == nil && c.Addr.meets(c.MetricsAddr) {
		return c, configError{errors.New("METRICS_ADDR: is the same as ADDR; give /metrics a port of its own, like 127.0.0.1:9090, or leave it out")}
	}
	if err == nil && c.MigrateURL != "" && c.DatabaseURL == "" {
		return c, configError{errors.New("MIGRATE_DATABASE_URL: needs DATABASE_URL, the same database as the account that serves")}
	}
	if err == nil {
		return c, nil
	}
	var all env.AggregateError
	if !errors.As(err, &all) {
		return c, configError{err}
	}
	var said []string
	for _, err := range all.Errors {
		said = append(said, variableError(err))
	}
	return c, configError{errors.New(strings.Join(said, "; "))}
}

func variableError(err error) string {
	var wrong env.ParseError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	field, _ := reflect.TypeFor[config]().FieldByName(wrong.Name)
	return field.Tag.Get("env") + ": " + wrong.Err.Error()
}

// configHelp is the table of the variables.
func configHelp() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for field := range reflect.TypeFor[config]().Fields() {
		help := field.Tag.Get("help")
		if standard := field.Tag.Get("envDefault"); standard != "" {
			help += " (default: " + standard + ")"
		}
		fmt.Fprintf(w, "%s\t%s\n", field.Tag.Get("env"), help)
	}
	_ = w.Flush() // a strings.Builder takes everything
	return strings.TrimSuffix(text.String(), "\n")
}

func (c config) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: levels[c.LogLevel]}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// announcer is the log for what must reach the operator whatever LOG_LEVEL is, when the log is JSON; else nil, and it is
// printed.
func (c config) announcer(w io.Writer) *slog.Logger {
	if c.LogFormat != "json" {
		return nil
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}

// baseURL is where people reach a server that listens at the address.
func (c config) baseURL(listening string) *url.URL {
	if c.BaseURL != nil {
		return c.BaseURL
	}
	host, port, _ := net.SplitHostPort(listening)
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost" // it listens everywhere; this is where it can be opened
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
}

func parseAddress(text string) (any, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if _, notIP := netip.ParseAddr(host); err != nil || host != "" && notIP != nil && !isHostName(host) {
		return nil, fmt.Errorf("%q is not an address to listen on; write host:port, like 127.0.0.1:8080", text)
	}
	return listenAddress(text), nil
}

// meets reports whether two servers can't listen at both addresses.
func (a listenAddress) meets(other listenAddress) bool {
	host, port, _ := net.SplitHostPort(string(a))
	otherHost, otherPort, _ := net.SplitHostPort(string(other))
	everywhere := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return other != "" && port == otherPort && strings.Trim(port, "0") != "" && (host == otherHost || everywhere(host) || everywhere(otherHost))
}

func parseBaseURL(text string) (any, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("write the scheme and the host and nothing else, like https://keys.example.com")
	}
	if ip, notIP := netip.ParseAddr(u.Hostname()); (notIP != nil || ip.Zone() != "") && !isHostName(u.Hostname()) {
		return nil, fmt.Errorf("%q is not a host that browsers can reach; write a name in ASCII or an IP address, like https://keys.example.com", u.Hostname())
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); strings.HasSuffix(u.Host, ":") || u.Port() != "" && (err != nil || port == 0) {
		return nil, fmt.Errorf("%q is not a port; write one from 1 to 65535, or leave it out", u.Port())
	}
	if strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("a sub-path like %s is not supported; give Moonlatch its own host, like https://keys.example.com", u.Path)
	}
	u.Host = strings.ToLower(u.Host)
	host := strings.TrimSuffix(u.Host, map[string]string{"http": ":80", "https": ":443"}[u.Scheme]) // as browsers write an origin
	return url.URL{Scheme: u.Scheme, Host: host}, nil
}

var hostLabel = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// isHostName reports whether a text can be a host's name in DNS. The last label is no number, for browsers read such a name as an
// IPv4 address.
func isHostName(text string) bool {
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	number := strings.Trim(labels[len(labels)-1], "0123456789") == ""
	return len(text) <= 253 && !number && !slices.ContainsFunc(labels, func(label string) bool { return !hostLabel.MatchString(label) })
}

func parseDatabaseURL(text string) (any, error) {
	if err := store.CheckURL(text); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "DATABASE_URL "))
	}
	return databaseURL(text), nil
}

func parseProxies(text string) (any, error) {
	proxies, err := apikey.ParseAllowlist(strings.Split(text, ","))
	if err == nil && len(proxies) == 0 {
		return nil, fmt.Errorf("%q names no address; write addresses or ranges, like 10.0.0.0/8,192.0.2.7, or leave it out", text)
	}
	return proxies, err
}

func parseRate(text string) (any, error) {
	rate, err := strconv.Atoi(text)
	if err != nil || rate < 1 || rate > 1_000_000 {
		return nil, fmt.Errorf("%q is not a rate; write a whole number from 1 to 1000000", text)
	}
	return requestRate(rate), nil
}

func parseDelay(text string) (any, error) {
	delay, err := time.ParseDuration(text)
	if err != nil || delay < 0 || delay > 10*time.Minute {
		return nil, fmt.Errorf("%q is not a delay; write a time from 0s to 10m, like 5s", text)
	}
	return delay, nil
}

func parseUsageDays(text string) (any, error) {
	days, err := strconv.Atoi(text)
	if err != nil || days < apikey.MostUsageDays || days > 3650 {
		return nil, fmt.Errorf("%q is not a number of days; write a whole number from %d, which the API answers for, to 3650", text, apikey.MostUsageDays)
	}
	return usageDays(days), nil
}

func parseSwitch(text string) (any, error) {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not a switch; write true or false", text)
	}
	return on, nil
}

func parseLogFormat(text string) (any, error) {
	if !slices.Contains([]string{"text", "json"}, text) {
		return nil, fmt.Errorf("%q is not a format; write text or json", text)
	}
	return logFormat(text), nil
}

func parseLogLevel(text string) (any, error) {
	if _, ok := levels[logLevel(text)]; !ok {
		return nil, fmt.Errorf("%q is not a level; write debug, info, warn or error", text)
	}
	return logLevel(text), nil
}
