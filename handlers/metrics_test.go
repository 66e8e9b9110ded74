package handlers

import (
	"strings"
	"testing"
)

// Prometheus asks for a compressed answer, and so does Go's own client.
func TestMetricsCanBeReadCompressed(t *testing.T) {
	if got := newSite(t).visitor().get("/metrics"); got.status != 200 || !strings.Contains(got.body, "moonlatch_news_age_seconds") {
		t.Errorf("%d %.100q", got.status, got.body)
	}
}
