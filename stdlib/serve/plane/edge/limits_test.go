package edge

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func at(seconds float64) time.Time {
	return time.Date(2026, 5, 17, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

// A caller has its burst at once, and then its rate, whatever others ask.
func TestRates(t *testing.T) {
	x := newLimiter(Limits{Limit: Limit{Rate: 2, Burst: 3}, Callers: map[string]Limit{"key:fast": {Rate: 1000}}})
	for i, tt := range []struct {
		caller          string
		at              float64
		ok              bool
		remaining, wait string
	}{
		{"key:a", 0, true, "2", ""}, {"key:a", 0, true, "1", ""}, {"key:a", 0, true, "0", ""}, {"key:a", 0, false, "0", "1"},
		{"key:b", 0, true, "2", ""},
		{"key:a", 0.4, false, "0", "1"}, {"key:a", 0.5, true, "0", ""}, {"key:a", 0.5, false, "0", "1"},
		{"key:a", 60, true, "2", ""},
		{"key:fast", 0, true, "999", ""},
	} {
		h := http.Header{}
		lease, refusal := x.enter(tt.caller, at(tt.at), h)
		lease.End()
		if (refusal == nil) != tt.ok || h["Ratelimit-Remaining"][0] != tt.remaining {
			t.Errorf("request %d: %+v, %v", i, refusal, h)
		}
		if refusal != nil && (refusal.Status != 429 || refusal.Headers[0] != [2]string{"Retry-After", tt.wait}) {
			t.Errorf("request %d: %+v", i, refusal)
		}
	}
}

// A rate or a burst that no length of time holds limits nevertheless, and refuses no first request.
func TestRatesThatAreVeryLow(t *testing.T) {
	for _, l := range []Limit{{Rate: 1e-12}, {Rate: 1e-300}, {Rate: 1e-12, Burst: 1_000_000}, {Rate: 1e-4, Burst: 1_000_000}} {
		x := newLimiter(Limits{Limit: l})
		admitted := 0
		for range 10 {
			if _, refusal := x.enter("key:a", at(0), http.Header{}); refusal == nil {
				admitted++
			}
		}
		if admitted == 0 || l.Burst == 0 && admitted > 1 || l.Rate == 1e-4 && admitted != 10 {
			t.Errorf("%+v: %d of 10 requests are admitted", l, admitted)
		}
	}
}

// Over a time, as many requests are admitted as the rate says, also by many clients at once.
func TestARateIsThatOfAllRequestsOfACaller(t *testing.T) {
	x := newLimiter(Limits{Limit: Limit{Rate: 50, Burst: 10}})
	var admitted atomic.Int64
	var all sync.WaitGroup
	for client := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range 1000 {
				// 10 seconds, in turn
				lease, refusal := x.enter("key:a", at(float64(i*8+client)/800), http.Header{})
				if refusal == nil {
					admitted.Add(1)
				}
				lease.End()
			}
		}()
	}
	all.Wait()
	if n := admitted.Load(); n < 490 || n > 520 {
		t.Errorf("%d requests in 10 seconds at 50 a second, and a burst of 10", n)
	}
}

// A request that has ended makes room for another.
func TestConcurrency(t *testing.T) {
	x := newLimiter(Limits{Limit: Limit{Concurrency: 2}})
	one, _ := x.enter("key:a", at(0), http.Header{})
	_, _ = x.enter("key:a", at(0), http.Header{})
	if _, refusal := x.enter("key:a", at(0), http.Header{}); refusal == nil || refusal.Reason != TooMany {
		t.Errorf("a third request: %+v", refusal)
	}
	if _, refusal := x.enter("key:b", at(0), http.Header{}); refusal != nil {
		t.Errorf("another caller: %+v", refusal)
	}
	one.End()
	one.End() // once
	if _, refusal := x.enter("key:a", at(0), http.Header{}); refusal != nil {
		t.Errorf("after one has ended: %+v", refusal)
	}
	if _, refusal := x.enter("key:a", at(0), http.Header{}); refusal == nil {
		t.Error("one that ended counts twice")
	}
}

// Callers that nobody knows are told apart by address, and those of one network of IPv6 are one.
// However many there are, they need little memory, and do not take from those that are known.
func TestAddresses(t *testing.T) {
	name := func(remote string) string {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = remote
		return counted(Caller{}, r)
	}
	for a, b := range map[string]string{"10.0.0.1:1": "10.0.0.1:2", "[2001:db8::1]:1": "[2001:db8::ffff:2]:1", "[::ffff:10.0.0.1]:1": "10.0.0.1:1", "[fe80::1%eth0]:1": "[fe80::2]:1"} {
		if name(a) != name(b) {
			t.Errorf("%s and %s are %s and %s", a, b, name(a), name(b))
		}
	}
	if name("10.0.0.1:1") == name("10.0.0.2:1") || name("[2001:db8::1]:1") == name("[2001:db8:0:1::1]:1") {
		t.Error("two clients are one")
	}
	x := newLimiter(Limits{Limit: Limit{Rate: 1, Burst: 1, Daily: 1}, Callers: map[string]Limit{"key:a": {Rate: 1}}})
	x.quota = testQuota(t, t.TempDir(), "i")
	for i := range 64*mostCallers + 100_000 {
		lease, _ := x.enter(fmt.Sprintf("%s%d", ofAddress, i), at(0), http.Header{})
		lease.End()
	}
	n := 0
	for i := range x.shards {
		n += len(x.shards[i].usage)
	}
	if n > 64*(mostCallers+1) {
		t.Errorf("%d callers are counted apart", n)
	}
	if _, refusal := x.enter("key:a", at(0), http.Header{}); refusal != nil {
		t.Errorf("a caller that is known: %+v", refusal)
	}
	if len(x.quota.used) > 0 {
		t.Errorf("%d addresses are counted by day", len(x.quota.used))
	}
	// One more has a limit of its own, and pushes out one that may ask again soonest.
	forgotten := x.forgotten.Load()
	if forgotten == 0 {
		t.Error("nobody was forgotten")
	}
	for i, name := range []string{ofAddress + "new", ofAddress + "other"} {
		if _, refusal := x.enter(name, at(0), http.Header{}); refusal != nil {
			t.Errorf("a new caller pays for others: %+v", refusal)
		}
		if _, refusal := x.enter(name, at(0), http.Header{}); refusal == nil {
			t.Error("a new caller has no limit")
		}
		if n := x.forgotten.Load(); n > forgotten+uint64(i)+1 {
			t.Errorf("%d were forgotten", n-forgotten)
		}
	}
	if _, refusal := x.enter("key:a", at(0), http.Header{}); refusal == nil {
		t.Error("a caller with an identity was forgotten")
	}
	// Those that are idle are forgotten without a count.
	forgotten = x.forgotten.Load()
	for i := range 64 * 100 {
		lease, _ := x.enter(fmt.Sprintf("%slater%d", ofAddress, i), at(10), http.Header{})
		lease.End()
	}
	after := 0
	for i := range x.shards {
		after += len(x.shards[i].usage)
	}
	if after > n+1 || x.forgotten.Load() != forgotten {
		t.Errorf("%d callers are counted after a while, and %d were forgotten", after, x.forgotten.Load()-forgotten)
	}
}

func testQuota(t testing.TB, dir, instance string) *quota {
	t.Helper()
	q, err := openQuota(dir, instance, at(0), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// What was asked in a day is known after a restart, and to the next version, which counts beside
// the former one. The next day begins at midnight, UTC.
func TestQuotasOfADay(t *testing.T) {
	dir := t.TempDir()
	take := func(q *quota, n int, when time.Time) (got int) {
		for range n {
			if q.take("key:a", 10, when) {
				got++
			}
		}
		return got
	}
	former := testQuota(t, dir, "api-1")
	if n := take(former, 4, at(0)); n != 4 {
		t.Errorf("%d of 4", n)
	}
	former.sync()
	former = testQuota(t, dir, "api-1") // started again
	next := testQuota(t, dir, "api/2")
	if n := take(next, 4, at(0)); n != 4 {
		t.Errorf("the next version: %d of 4", n)
	}
	next.sync()
	former.sync()
	if n := take(former, 4, at(0)); n != 2 {
		t.Errorf("beside the next version: %d of 2", n)
	}
	if n := take(former, 11, at(12*3600)); n != 10 {
		t.Errorf("on the next day: %d of 10", n)
	}
	former.sync()
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 1 {
		t.Errorf("files %q, want that of the day", files)
	}
	if err := os.WriteFile(filepath.Join(dir, "api-1.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := take(testQuota(t, dir, "api-1"), 11, at(12*3600)); n != 10 {
		t.Errorf("after a file that is none: %d", n)
	}
}

// A disk that is full is reported, and nothing is refused for it.
func TestAQuotaThatCannotBeWritten(t *testing.T) {
	dir, log := t.TempDir(), &said{}
	q, err := openQuota(filepath.Join(dir, "q"), "i", at(0), log.add)
	if err != nil {
		t.Fatal(err)
	}
	q.take("key:a", 10, at(0))
	if err := os.RemoveAll(q.dir); err != nil {
		t.Fatal(err)
	}
	put(t, q.dir, "a file")
	q.sync()
	q.sync()
	if n := strings.Count(log.String(), "cannot be written"); n != 1 || !q.take("key:a", 10, at(0)) {
		t.Errorf("reported %d times: %s", n, log)
	}
}

// Limits come as they are declared.
func TestLimitsAreRead(t *testing.T) {
	var d Declared
	if err := json.Unmarshal([]byte(`{"limits": {"rate": 2.5, "concurrency": 3, "callers": {"key:a": {"daily": 5}}, "max_idle": 7, "idle_timeout": "9s"}}`), &d); err != nil {
		t.Fatal(err)
	}
	e, _ := opened(t, d)
	if l := d.Limits.of("key:b"); l.Rate != 2.5 || l.Burst != 3 || l.Concurrency != 3 || d.Limits.of("key:a").Daily != 5 || e.Idle.most != 7 || e.IdleTime != 9*time.Second {
		t.Errorf("%+v, %d, %s", d.Limits, e.Idle.most, e.IdleTime)
	}
}
