package verify_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moonlatch/moonlatch/internal/apikey"
	"github.com/moonlatch/moonlatch/internal/keyring"
	"github.com/moonlatch/moonlatch/internal/verify"
	"github.com/moonlatch/moonlatch/store/storetest"
)

// counted is what was written down of a key's use since yesterday: accepted, refused.
func (w *world) counted(k key) (sum [2]int64) {
	w.Helper()
	days, err := w.store.KeyUsage(w.Context(), k.OrgID, k.ID, 2) // the day may change meanwhile
	w.must(err)
	for _, d := range days {
		sum[0], sum[1] = sum[0]+d.Accepted, sum[1]+d.Refused
	}
	return sum
}

func (w *world) use(k key) apikey.Use {
	w.Helper()
	row, err := w.store.KeyByID(w.Context(), k.OrgID, k.ID)
	w.must(err)
	return row.Use
}

func TestEveryUseIsCountedOnceAndAStopLosesNone(t *testing.T) {
	w := newWorld(t)
	v, stop := w.replica(w.url)
	good, other := w.issue(nil), w.issue(nil)
	narrow := w.issue(func(d *keyring.KeyDraft) { d.IPAllowlist = []string{"203.0.113.0/24"} })
	const askers, each = 8, 1500
	var asking sync.WaitGroup
	for range askers {
		asking.Go(func() {
			for i := range each {
				w.verify(v, good, verify.Question{Address: addr("203.0.113.9")})
				w.verify(v, narrow, verify.Question{Address: addr("198.51.100.9")})
				w.verify(v, other, verify.Question{OrgID: w.org.ID, Scopes: []string{"write:config"}[:i%2]})
				w.verify(v, good, verify.Question{OrgID: w.org.Owner.MemberID}) // another organisation's: unknown
			}
		})
	}
	asking.Wait()
	stop()
	const n = askers * each
	for k, want := range map[*key][2]int64{&good: {n, 0}, &narrow: {0, n}, &other: {n / 2, n / 2}} {
		if got := w.counted(*k); got != want {
			t.Errorf("%v were counted, not %v", got, want)
		}
	}
	if s := v.Stats(); s.Verdicts[verify.NotFound] != n || s.FlushLag != 0 || s.FlushFailures != 0 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	if use := w.use(narrow); use.At != nil {
		t.Errorf("a key that was only refused was used at %s", use.At)
	}
}

func TestTheLastUseIsWrittenDown(t *testing.T) {
	w := newWorld(t)
	replica := open(w, w.url)
	v, stop := w.run(replica)
	k := w.issue(nil)
	w.verify(v, k, verify.Question{Address: addr("203.0.113.1"), UserAgent: "first"})
	before := replica.Now()                        // of two stores each has its own reading of the database's clock
	agent := strings.Repeat("ü", 200) + "\x00\xff" // cut within a letter at 300 bytes if nobody takes care
	w.verify(v, k, verify.Question{Address: addr("::ffff:203.0.113.9"), UserAgent: "x" + agent})
	w.verify(v, k, verify.Question{Address: addr("203.0.113.3"), UserAgent: "refused", Scopes: []string{"write:config"}})
	stop()
	use := w.use(k)
	if use.At == nil || use.At.Before(before) || use.Address != "203.0.113.9" || use.UserAgent != "x"+strings.Repeat("ü", 149) {
		t.Errorf("the last use is %+v", use)
	}
	broken := w.issue(nil)
	v, stop = w.replica(w.url)
	w.verify(v, broken, verify.Question{UserAgent: "a\x00b\xffc"})
	stop()
	if use := w.use(broken); use.UserAgent != "a\uFFFDb\uFFFDc" || use.Address != "" {
		t.Errorf("the last use is %+v", use)
	}
}

// TestABatchWhoseAnswerIsLostIsCountedOnce lets the statement through and its answer not; then the whole network is silent for a while.
func TestABatchWhoseAnswerIsLostIsCountedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cable, address := storetest.Lay(t, w.url)
	v, stop := w.replica(address)
	k := w.issue(nil)
	w.warm(v, w.issue(nil))
	w.verify(v, k, verify.Question{})
	w.eventually("that is counted", func() bool { return w.counted(k) == [2]int64{1, 0} && v.Stats().FlushLag == 0 })
	cable.LoseAnswer("lost-agent")
	for range 7 {
		w.verify(v, k, verify.Question{UserAgent: "lost-agent"})
	}
	w.eventually("the batch is counted", func() bool { return w.counted(k) == [2]int64{8, 0} })
	for range 5 { // they gather beside it: the connection takes 2.5 s to give up
		w.verify(v, k, verify.Question{UserAgent: "next"})
	}
	w.eventually("all is written down", func() bool { return v.Stats().FlushLag == 0 })
	if got := w.counted(k); got != [2]int64{13, 0} || v.Stats().FlushFailures == 0 {
		t.Errorf("13 uses were counted as %v after %d failures", got, v.Stats().FlushFailures)
	}
	cable.Silence()
	accepted := int64(13)
	for range 20 { // until the cache is no longer believed
		if verdict, err := v.Verify(t.Context(), k.text, verify.Question{}); err == nil && verdict.Code == verify.Valid {
			accepted++
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.eventually("writing down fails", func() bool { return v.Stats().FlushFailures > 1 })
	cable.Mend()
	w.eventually("all is written down", func() bool { return v.Stats().FlushLag == 0 })
	stop()
	if got := w.counted(k); got != [2]int64{accepted, 0} || v.Stats().Lost != 0 {
		t.Errorf("%d uses were counted as %v", accepted, got)
	}
}
