package handlers

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/throttled/throttled/v2"
	"github.com/throttled/throttled/v2/store/memstore"

	"github.com/moonlatch/moonlatch/internal/keyring"
)

// maxCallers bounds how many callers' limits a replica remembers; the longest silent is forgotten first.
const maxCallers = 100_000

// newLimits lets each caller make so many requests a minute evenly, and a burst of them at once (GCRA). Each replica counts
// for itself.
func newLimits(perMinute, burst int) *throttled.GCRARateLimiterCtx {
	callers, err := memstore.New(maxCallers)
	if err != nil {
		panic(err) // the size is above 0
	}
	began := time.Now()
	callers.SetTimeNow(func() time.Time { return began.Add(time.Since(began)) }) // monotonic: a corrected wall clock refuses nobody
	limits, err := throttled.NewGCRARateLimiterCtx(throttled.WrapStoreWithContext(callers), throttled.RateQuota{MaxRate: throttled.PerMin(perMinute), MaxBurst: burst - 1})
	if err != nil {
		panic(err) // the configuration lets no other number through
	}
	limits.SetMaxCASAttemptsLimit(1000) // requests of one caller that come at once try again until they are counted
	return limits
}

// limit takes one request from what the caller has left, and says in the answer's header how much that is. Who can't
// be recognised is the address that they come from.
func (h *handler) limit(c echo.Context, who calling) error {
	subject := keyring.AddressSubject(c.RealIP())
	switch {
	case who.actor.KeyID != "":
		subject = "key " + who.actor.KeyID
	case who.actor.MemberID != "":
		subject = "member " + who.actor.MemberID
	}
	taken := 1
	if errors.Is(who.err, keyring.ErrUnavailable) { // in an outage nobody is known, and nobody is charged
		taken = 0
	}
	limited, left, err := h.limits.RateLimitCtx(c.Request().Context(), subject, taken)
	if err != nil {
		return err
	}
	sayLimit(c, left)
	if limited {
		return &refusal{status: http.StatusTooManyRequests, retryAfter: max(left.RetryAfter, time.Second)}
	}
	return nil
}

// sayLimit says in the answer's header how much of a limit the caller has left.
func sayLimit(c echo.Context, left throttled.RateLimitResult) {
	header := c.Response().Header()
	header.Set("X-RateLimit-Limit", fmt.Sprint(left.Limit))
	header.Set("X-RateLimit-Remaining", fmt.Sprint(left.Remaining))
	header.Set("X-RateLimit-Reset", fmt.Sprint(int(math.Ceil(left.ResetAfter.Seconds()))))
}
