package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"github.com/moonlatch/moonlatch/handlers"
	"github.com/moonlatch/moonlatch/internal/demo"
	"github.com/moonlatch/moonlatch/internal/jobs"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store"
)

const (
	// stopTimeout bounds everything that follows SHUTDOWN_DELAY until the process exits. It leaves room for the parts below, though
	// not for a private PostgreSQL that needs long to stop after them, and with the default delay it is less than the 30 s after
	// which Kubernetes kills a container.
	stopTimeout   = 20 * time.Second
	grace         = 10 * time.Second // for requests that are under way when the server stops
	eventsTimeout = 5 * time.Second  // for storing the last security events

	// startWait is how long a request waits for the start. With the 2 s of a slow look-up its answer comes within the 4 s that
	// gateways wait. startWaits is for how long after the port opened requests wait; a start that takes longer waits for its database.
	startWait  = 1500 * time.Millisecond
	startWaits = 10 * time.Second

	closeTimeout = time.Second // for refusing the requests that wait for a start that ends

	sweepEvery = 10 * time.Minute
)

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name:        "serve",
		Usage:       "run the server, on a private PostgreSQL unless DATABASE_URL names one",
		Description: "Configuration comes from the environment:\n\n" + configHelp(),
		Flags:       []cli.Flag{&cli.BoolFlag{Name: "demo", Usage: "fill an empty database with a demonstration organisation"}},
		Action: p.configured(func(ctx context.Context, c *cli.Command) error {
			p.announce = p.config.announcer(p.stderr)
			err := p.stopInTime(ctx, stopTimeout, func() error { return p.serve(ctx, c.Bool("demo")) })
			if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, store.ErrUnavailable)) {
				return nil // told to stop before it was up
			}
			return err
		}),
	}
}

// stopInTime runs serve, and returns without waiting for it any longer when timeout has passed since SHUTDOWN_DELAY ended: a job or
// a database that hangs keeps no process alive. On Linux the system ends the private PostgreSQL with the process.
func (p *program) stopInTime(ctx context.Context, timeout time.Duration, serve func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- serve() }()
	select {
	case err := <-ended:
		return err
	case <-p.closing: // also when the database or the port ended, and not ctx
	case <-ctx.Done():
		select {
		case err := <-ended:
			return err
		case <-p.closing:
		case <-time.After(p.config.ShutdownDelay):
		}
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(timeout):
		return fmt.Errorf("the server did not stop within %s after SHUTDOWN_DELAY, and exits without waiting for what hangs", timeout)
	}
}

// serve starts everything in order and stops it in reverse. The ports come first: where one is taken, nothing else is begun;
// and they answer from the beginning, 503 if the database does not come soon.
func (p *program) serve(ctx context.Context, fill bool) (err error) {
	listener, err := listen(ctx, "ADDR", p.config.Addr)
	if err != nil {
		return err
	}
	base := p.config.baseURL(listener.Addr().String())
	options := handlers.Options{
		BaseURL: base, BaseURLUnset: p.config.BaseURL == nil, HSTSSubdomains: p.config.HSTSSubdomains, TrustedProxies: p.config.TrustedProxies,
		RateLimit: int(p.config.RateLimit), MetricsApart: p.config.MetricsAddr != "", Log: p.log,
	}
	starting, endStart := context.WithCancel(ctx)
	answers, metrics := newStartingHandler(starting, handlers.Starting(options)), newStartingHandler(starting, handlers.StartingMetrics())
	front := startWeb(p.log, listener, p.closeWhenStopping(answers))
	defer front.close()
	defer endStart() // before a port closes
	if p.config.MetricsAddr != "" {
		listener, err := listen(ctx, "METRICS_ADDR", p.config.MetricsAddr)
		if err != nil {
			return err
		}
		defer startWeb(p.log, listener, metrics).close()
		defer endStart()
	}
	collectLess()
	db, s, err := p.startStore(ctx)
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, db.stop()) }()
	defer func() { err = firstOf(err, s.Close()) }()
	ring := keyring.New(s)
	if p.config.BaseURL == nil {
		p.log.Warn("BASE_URL is not set: links for set-up and invitations, and the examples, lead to where this server listens", "address", base.String())
	}
	if err := p.warnOfBypass(ctx, s); err != nil {
		return err
	}
	if err := p.welcome(ctx, s, ring, base, fill); err != nil {
		return err
	}
	if err := p.announceSecret(ctx, s); err != nil {
		return err
	}
	running := jobs.Start(ctx, p.log, jobs.Job{Name: "sweep", Every: sweepEvery, Do: s.Sweep},
		jobs.Job{Name: "usage", Every: sweepEvery, Do: func(ctx context.Context) error { return s.CompactUsage(ctx, int(p.config.UsageRetention)) }},
		jobs.Job{Name: "secrets", Every: time.Minute, Do: s.CheckSecrets},
		jobs.Job{Name: "signing key", Every: time.Hour, Do: ring.KeepSigningKey},
		jobs.Job{Name: "unused keys", Every: time.Hour, Do: ring.DisableUnused})
	defer running.Stop()
	verifier, stop := startVerifier(ctx, s, p.log)
	defer stop()
	options.Keyring, options.Verifier, options.Cookies, options.Secrets = ring, verifier, s.Cookies(), s.Secrets("form tokens")
	options.Ready, options.Pools = p.ready(s), s.Pools
	handler := handlers.New(options)
	metrics.start(handler.Metrics)
	answers.start(handler)
	defer p.flushSecurityEvents(ctx, ring)
	return p.answer(ctx, front, base, db.ended())
}

// warnOfBypass tells the operator when the server's own database account could get past what guards the audit log.
func (p *program) warnOfBypass(ctx context.Context, s *store.Store) error {
	reason, err := s.AuditBypass(ctx)
	if reason != "" {
		p.log.Warn("the account in DATABASE_URL could change the audit log: take from it what the reason names, or let it serve alone and name another in MIGRATE_DATABASE_URL, as the operator's guide says under Two database accounts",
			"reason", reason)
	}
	return err
}

// announceSecret lets replicas notice that their secrets differ: this one now, the others within a minute.
func (p *program) announceSecret(ctx context.Context, s *store.Store) error {
	err := s.CheckSecrets(ctx)
	if errors.Is(err, store.ErrSecrets) {
		p.log.Warn("this server lacks the secret that was used until now: session tokens, open forms and links into lists that were made with it are refused. "+
			"All replicas need the same MOONLATCH_SECRET_FILE; put the earlier secret on its second line to keep what was made with it",
			"secrets", len(p.config.Secrets))
	} else if err != nil {
		return err
	}
	return s.AnnounceSecret(ctx)
}

// collectLess lets the heap grow to three times what is in use instead of twice, unless GOGC says otherwise: what is in
// use is small, and collecting half as often takes a tenth off the cost of a question about a key.
func collectLess() {
	if set := debug.SetGCPercent(200); set != 100 {
		debug.SetGCPercent(set)
	}
}

// startVerifier follows the news until it is stopped; what was counted by then is written down.
func startVerifier(ctx context.Context, s *store.Store, log *slog.Logger) (*verify.Verifier, func()) {
	verifier := verify.New(s, log)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { verifier.Run(ctx) })
	return verifier, func() { cancel(); running.Wait() }
}

// flushSecurityEvents stores those of the last requests.
func (p *program) flushSecurityEvents(ctx context.Context, ring *keyring.Keyring) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventsTimeout)
	defer cancel()
	if err := ring.FlushSecurityEvents(ctx); err != nil {
		p.log.Warn("the last security events were not stored", "error", err)
	}
}

// startingHandler answers by starting until start is called, and then by started. A load balancer that does not look at /readyz
// sends requests while the server starts, so these wait a while for the start.
type startingHandler struct {
	starting  http.Handler
	ctx       context.Context // of the start: when it ends, no request waits any more
	waitUntil time.Time
	ready     chan struct{} // closed when started is set
	started   http.Handler
}

func newStartingHandler(ctx context.Context, starting http.Handler) *startingHandler {
	return &startingHandler{starting: starting, ctx: ctx, waitUntil: time.Now().Add(startWaits), ready: make(chan struct{})}
}

// start lets the handler answer from now on, also the requests that wait.
func (s *startingHandler) start(started http.Handler) {
	s.started = started
	close(s.ready)
}

func (s *startingHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.awaitStart(r) {
		s.started.ServeHTTP(w, r)
	} else {
		s.starting.ServeHTTP(w, r)
	}
}

// awaitStart reports whether the server has started, after a wait if the request needs that.
func (s *startingHandler) awaitStart(r *http.Request) bool {
	select {
	case <-s.ready:
		return true
	default:
	}
	wait := min(startWait, time.Until(s.waitUntil))
	if wait <= 0 || handlers.AnsweredWhileStarting(r.URL.Path) {
		return false
	}
	select {
	case <-s.ready:
		return true
	case <-time.After(wait):
	case <-s.ctx.Done():
	case <-r.Context().Done():
	}
	return false
}

// web is an HTTP server on a port.
type web struct {
	*http.Server
	address net.Addr
	failed  chan error // what ended it, unless Shutdown or Close did
}

// startWeb serves on the listener, within bounds for what a slow or hostile client can hold on to.
func startWeb(log *slog.Logger, listener net.Listener, handler http.Handler) *web {
	w := &web{address: listener.Addr(), failed: make(chan error, 1)}
	w.Server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		if err := w.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the server no longer accepts connections", "address", w.address.String(), "error", err)
			w.failed <- err
		}
	}()
	return w
}

// close ends the server. Requests of a start that ends are just being refused, and get their answers.
func (w *web) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if w.Shutdown(ctx) != nil {
		_ = w.Close()
	}
}

// ready reports whether a load balancer may send requests here: the database answers, and the server is not stopping.
func (p *program) ready(s *store.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		if p.stopping.Load() {
			return handlers.ErrStopping
		}
		return s.Ready(ctx)
	}
}

// closeWhenStopping ends each connection with its next response once the server is stopping. It closes no idle connection:
// a proxy may be sending a request on it.
func (p *program) closeWhenStopping(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.stopping.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// answer serves until ctx ends or the database does. When ctx ends it fails /readyz at once, keeps accepting requests for
// SHUTDOWN_DELAY so that load balancers notice, and then waits for the requests in flight.
func (p *program) answer(ctx context.Context, server *web, base *url.URL, databaseEnded <-chan struct{}) error {
	if p.announce != nil {
		p.announce.Info("listening", "address", server.address.String(), "url", base.String())
	} else {
		fmt.Fprintf(p.stdout, "Moonlatch listens on %s: open %s\n", server.address, base)
	}
	var why error
	select {
	case err := <-server.failed:
		close(p.closing)
		return fmt.Errorf("the server stopped: %w", err)
	case <-databaseEnded:
		why = errors.New("the embedded PostgreSQL ended by itself")
	case <-ctx.Done():
		p.stopping.Store(true)
		p.log.Info("stopping", "delay", p.config.ShutdownDelay)
		select {
		case <-time.After(p.config.ShutdownDelay):
		case <-databaseEnded:
		}
	}
	close(p.closing)
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		p.log.Warn("requests were cut off", "after", grace)
		_ = server.Close()
	}
	return why
}

// listen takes the port that a variable names.
func listen(ctx context.Context, variable string, address listenAddress) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", string(address))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is taken by another program: stop that one, or set %s to another port", address, variable)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("this account may not listen on %s: set %s to a port above 1023", address, variable)
	case err != nil:
		return nil, fmt.Errorf("listening at %s: %w", variable, err)
	}
	return listener, nil
}

// welcome shows the way into a new installation: the demonstration's accounts, or the link to set it up.
func (p *program) welcome(ctx context.Context, s *store.Store, ring *keyring.Keyring, base *url.URL, fill bool) error {
	if fill {
		err := p.fill(ctx, s, base)
		if errors.Is(err, demo.ErrNotEmpty) {
			if p.announce != nil {
				p.announce.Info("the database has an organisation already, so it was not filled; moonlatch user create makes an account")
			} else {
				fmt.Fprint(p.stdout, knownAccounts)
			}
			return nil
		}
		return err
	}
	token, err := ring.SetupToken(ctx)
	if err != nil || token == "" {
		return err
	}
	link := base.JoinPath("setup", token).String()
	if p.announce != nil {
		p.announce.Info("Moonlatch has no organisation yet: open the link to set it up. It works once, for 24 hours; a restart makes a new one", "link", link)
		return nil
	}
	lines := []string{
		"Moonlatch has no organisation yet. Set it up here:",
		"",
		link,
		"",
		"The link works once, for 24 hours. A restart prints a new one.",
	}
	if p.config.BaseURL == nil {
		lines = append(lines, "BASE_URL is not set: from another machine, replace the beginning by this server's address.")
	}
	p.box(lines...)
	return nil
}

const knownAccounts = `The database has an organisation already. Its accounts were printed when it was made; a new one is made with
  moonlatch user create --organisation NAME --email you@example.com --role owner --password-stdin
`
