package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/store"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// BenchmarkExport downloads the log of an organisation with 10,000 events and of one with EXPORT_EVENTS (else 1,000,000),
// in both formats, each from a server process of its own, and prints how long that took and the most memory that the
// process ever had (VmHWM). Then it asks for the check of the longer chain, and waits for its result.
func BenchmarkExport(b *testing.B) {
	program, address := build(b, nil), storetest.URL(b)
	db := storetest.Unaudited(b, address)
	s, err := store.Open(b.Context(), address)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var peaks []float64
	for _, events := range []int{10_000, number(b, "EXPORT_EVENTS", 1_000_000)} {
		org := storetest.Organisation(b, s)
		storetest.Fill(b, db, org, storetest.Crowd{Members: 50, Keys: 100, Events: events})
		_, secret, err := keyring.New(s).IssueKey(b.Context(), org.Owner, keyring.KeyDraft{Name: "exports", Scopes: []string{"read:audit"}})
		if err != nil {
			b.Fatal(err)
		}
		for _, format := range []string{"jsonl", "csv"} {
			p := start(b, program, address)
			idle := p.peak(b)
			before, began := p.cpu(b), time.Now()
			bytes := p.export(b, format, secret.Reveal())
			took := time.Since(began)
			peaks = append(peaks, p.peak(b))
			fmt.Printf("%9d events as %-5s  %6.1f s  %6.1f MB/s  %7.0f events/s  CPU of the server %5.1f s  peak memory %5.1f MiB (after the start %.1f)\n", events, format, took.Seconds(),
				float64(bytes)/1e6/took.Seconds(), float64(events)/took.Seconds(), (p.cpu(b) - before).Seconds(), p.peak(b), idle)
		}
		began := time.Now()
		ring := keyring.New(s)
		for {
			found, err := ring.CheckLog(b.Context(), org.Owner)
			if err != nil {
				b.Fatal(err)
			}
			if found.Done {
				fmt.Printf("%9d events checked in %.1f s, broken: %v\n", found.Last.Events, time.Since(began).Seconds(), found.Broken)
				break
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(max(peaks[2], peaks[3])/max(peaks[0], peaks[1]), "peak_ratio")
}

// export reads a whole export and returns how many bytes it has.
func (p *process) export(b *testing.B, format, secret string) int64 {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+p.address+"/v1/audit-events/export?format="+format, nil)
	if err != nil {
		b.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	n, err := io.Copy(io.Discard, response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatal(response.StatusCode, err)
	}
	return n
}

// peak is the most memory that the process ever had, in MiB.
func (p *process) peak(b *testing.B) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		b.Skip("only Linux tells what another process has used: ", err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	kilobytes, err := strconv.Atoi(string(found[1]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kilobytes) / 1024
}
