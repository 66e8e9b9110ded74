// Package bench measures what one verification costs, side by side with what nobody can do without.
//
// How the figures are taken. The server is the program as it is built, over a real PostgreSQL, with connections kept
// open on loopback; another process, this one, asks. What is compared is the CPU time of the server's process, user and
// system, divided by the requests: on a machine that others use too it is steadier than any time by the clock. Beside it
// run servers of one Echo handler, with the same limits and as seldom collecting garbage, that take the same bytes: the
// floors. All take turns in short
// rounds, every ratio is of two in the same round, and what is printed is the median of the rounds with the least and
// the greatest. The server is told of a proxy, as behind a gateway, and counts usage, but for one that is built without
// the line that does so. Nothing here passes or fails.
//
//	VERIFY_KEYS=1000000   so many keys in the table, instead of those alone that are asked about
//	VERIFY_ROUNDS=15      instead of 7
//	VERIFY_PROFILE=folder write there where the time goes instead, for go tool pprof
package bench

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"text/tabwriter"

	"github.com/moonlatch/moonlatch/store/storetest"
)

const (
	connections = 16
	inUse       = 100_000 // keys that are asked about at random
	hotRound    = 20_000  // requests
	coldRound   = 8000
)

func TestMain(m *testing.M) {
	if floor := os.Getenv("BENCH_FLOOR"); floor != "" {
		serveFloor(floor)
	}
	storetest.Main(m)
}

// measured is one line of the table: requests to a server, and the line that it is compared with.
type measured struct {
	name     string
	server   *process
	requests int // a round
	draw     draw
	than     *measured
	goal     string

	cpu, rate, ratio []float64 // of each round: µs a request, requests a second, times the other's CPU
}

func BenchmarkVerification(b *testing.B) {
	rounds := number(b, "VERIFY_ROUNDS", 7)
	w := newWorld(b, inUse+(rounds+2)*coldRound, number(b, "VERIFY_KEYS", 0))
	hot, cold := w.keys[:inUse], w.keys[inUse:]

	if folder := os.Getenv("VERIFY_PROFILE"); folder != "" {
		profile(b, w, folder)
		return
	}
	program := build(b, nil)
	uncounted := build(b, uncountedOverlay(b))
	floor, column, row := startFloor(b, fixed, w.url), startFloor(b, oneColumn, w.url), startFloor(b, oneRow, w.url)
	one, many, unknowing := start(b, program, w.url), start(b, program, w.url), start(b, program, w.url)
	oneUncounted, manyUncounted := start(b, uncounted, w.url), start(b, uncounted, w.url)
	for _, p := range []*process{many, manyUncounted} {
		warm(b, p, hot)
	}

	same, any := inTurn(hot[:1]), func() string { return hot[rand.IntN(len(hot))] }
	floorGet := &measured{name: "Echo, fixed body (GET)", server: floor, draw: forwardAuth(same)}
	floorPost := &measured{name: "Echo, fixed body (POST)", server: floor, draw: verification(w.caller, same)}
	floorColumn := &measured{name: "Echo, look-up of one column", server: column, requests: coldRound, draw: forwardAuth(inTurn(cold))}
	floorRow := &measured{name: "Echo, look-up of the key's row", server: row, requests: coldRound, draw: forwardAuth(inTurn(cold)), than: floorColumn}
	forward := &measured{name: "forward-auth, one key", server: one, draw: forwardAuth(same), than: floorGet, goal: "≤ 1.5"}
	verify := &measured{name: "verify, one key", server: one, draw: verification(w.caller, same), than: floorPost, goal: "≤ 2.0"}
	forwardAny := &measured{name: fmt.Sprintf("forward-auth, %d keys", inUse), server: many, draw: forwardAuth(any), than: forward, goal: "≤ 1.2"}
	table := []*measured{
		floorGet, forward, {name: "  its use not counted", server: oneUncounted, draw: forwardAuth(same), than: forward, goal: "≥ 0.95"},
		forwardAny, {name: "  their use not counted", server: manyUncounted, draw: forwardAuth(any), than: forwardAny, goal: "≥ 0.95"},
		floorPost, verify, {name: fmt.Sprintf("verify, %d keys", inUse), server: many, draw: verification(w.caller, any), than: verify, goal: "≤ 1.2"},
		floorColumn, floorRow, {name: "forward-auth, each key once", server: unknowing, requests: coldRound, draw: forwardAuth(inTurn(cold)), than: floorRow, goal: "≤ 1.15"},
	}
	for round := range rounds + 1 {
		for _, m := range table {
			m.run(b, round == 0)
		}
	}
	report(b, w, rounds, table)
	fmt.Printf("requests put off with 503: %d\n", unanswered.Load())
	fmt.Printf("hot questions that the cache did not answer: %.0f of one key, %.0f of many\n", one.askedDatabase(b)-1, many.askedDatabase(b)-inUse)
	roundTrips, bytes := countRoundTripsAndBytes(b, program, w)
	fmt.Printf("round trips to the database of a verification that is not cached: %.2f (goal: 1)\n", roundTrips)
	fmt.Printf("memory of a cached key, %d of them: %.0f bytes (goal: ≤ 300)\n", inUse, bytes)
	b.ReportMetric(0, "ns/op")
}

// run measures one round; the first only warms up.
func (m *measured) run(b *testing.B, warming bool) {
	n := cmp.Or(m.requests, hotRound)
	before := m.server.cpu(b)
	took := load(b, m.server, n, m.draw)
	cpu := float64((m.server.cpu(b) - before).Microseconds()) / float64(n)
	if warming {
		return
	}
	m.cpu = append(m.cpu, cpu)
	m.rate = append(m.rate, float64(n)/took.Seconds())
	if m.than != nil {
		m.ratio = append(m.ratio, cpu/m.than.cpu[len(m.than.cpu)-1])
	}
}

func report(b *testing.B, w *world, rounds int, table []*measured) {
	fmt.Printf("\n%d keys in the table, %d connections, medians of %d rounds (least–greatest)\n", w.inTable, connections, rounds)
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "\tCPU µs/request\trequests/s\tratio\tgoal\tto")
	for _, m := range table {
		fmt.Fprintf(out, "%s\t%s\t%.0f\t", m.name, spread(m.cpu, 1), median(m.rate))
		if m.than != nil {
			fmt.Fprintf(out, "%s\t%s\t%s", spread(m.ratio, 2), m.goal, m.than.name)
		}
		fmt.Fprintln(out)
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
}

func median(figures []float64) float64 {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

func spread(figures []float64, digits int) string {
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, median(figures), digits, slices.Min(figures), digits, slices.Max(figures))
}

func number(b *testing.B, variable string, otherwise int) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv(variable), strconv.Itoa(otherwise)))
	if err != nil {
		b.Fatalf("%s: %v", variable, err)
	}
	return n
}

// profile writes down where a server's time goes, and what it allocates, for one key and for keys that it doesn't know.
func profile(b *testing.B, w *world, folder string) {
	p := start(b, build(b, profileOverlay(b)), w.url, "BENCH_PPROF=127.0.0.1:0")
	cold := w.keys[inUse:]
	for name, draw := range map[string]draw{
		"forward-auth": forwardAuth(inTurn(w.keys[:1])), "verify": verification(w.caller, inTurn(w.keys[:1])), "cold": forwardAuth(inTurn(cold)),
	} {
		n := 10 * hotRound
		if name == "cold" {
			n = len(cold)
		}
		load(b, p, n, draw, func() { p.profile(b, filepath.Join(folder, name+".pprof")) })
	}
}
