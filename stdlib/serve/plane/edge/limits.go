package edge

import (
	"hash/maphash"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A Limit is how much a caller may ask. What is 0 is not limited.
type Limit struct {
	Rate        float64 `json:"rate"`        // requests a second
	Burst       int     `json:"burst"`       // requests at once after a pause; 0 is those of a second
	Concurrency int     `json:"concurrency"` // requests at a time
	Daily       int64   `json:"daily"`       // requests a day, in UTC
}

// Limits are those of all callers, and of some.
type Limits struct {
	Limit
	Callers map[string]Limit `json:"callers"`
	// MaxIdle and IdleTimeout are about connections on which nothing is asked.
	MaxIdle     int    `json:"max_idle"`
	IdleTimeout string `json:"idle_timeout"`
}

// counted reports whether requests have to be counted.
func (l Limits) counted() bool { return l.Limit != (Limit{}) || len(l.Callers) > 0 }

func (l Limits) of(caller string) Limit {
	limit, ok := l.Callers[caller]
	if !ok {
		limit = l.Limit
	}
	if !ok && (caller == shared || strings.HasPrefix(caller, ofAddress)) {
		limit.Daily = 0 // addresses change, and there is no end of them
	}
	if limit.Burst == 0 {
		limit.Burst = max(1, int(math.Ceil(limit.Rate)))
	}
	return limit
}

// A limiter counts the requests of callers.
type limiter struct {
	limits Limits
	seed   maphash.Seed
	shards [64]shard
	quota  *quota // nil if nothing is limited by day

	forgotten atomic.Uint64 // callers that were not idle, for lack of room
}

type shard struct {
	mu    sync.Mutex
	usage map[string]*usage
}

// usage is what a caller has asked.
type usage struct {
	limit Limit
	mu    sync.Mutex
	// full is when the burst is whole again.
	full     time.Time
	underway int
}

// mostCallers is how many callers a shard counts. For one more, it forgets another one.
const mostCallers = 4096

// looks is how many callers are looked at to find the one that may be forgotten.
const looks = 16

// shared stands for callers for whom there is no room, because all others have requests under way.
const shared = "\x00shared"

func newLimiter(l Limits) *limiter {
	x := &limiter{limits: l, seed: maphash.MakeSeed()}
	for i := range x.shards {
		x.shards[i].usage = map[string]*usage{}
	}
	return x
}

// ofAddress is the prefix of the names of callers without an identity.
const ofAddress = "address:"

// counted is the name by which a request is counted: who asks, or from where.
func counted(c Caller, r *http.Request) string {
	if c.Name != "" {
		return c.Name
	}
	return ofAddress + address(r)
}

// address is that of a client. Of IPv6, a client has all addresses of a network.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return "unknown"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "unknown"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}

func (x *limiter) usage(name string, now time.Time) *usage {
	s := &x.shards[maphash.String(x.seed, name)%uint64(len(x.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.usage[name]; u != nil {
		return u
	}
	if len(s.usage) >= mostCallers && !x.forget(s, now) {
		name = shared
		if u := s.usage[name]; u != nil {
			return u
		}
	}
	u := &usage{limit: x.limits.of(name)}
	s.usage[name] = u
	return u
}

// forget makes room for a caller, if one of some has no request under way: the one whose burst is
// whole, or would be soonest. It then may ask a burst again. Somebody who has very many addresses
// pushes out addresses, and no caller with an identity.
func (x *limiter) forget(s *shard, now time.Time) bool {
	var name string
	var soonest time.Time
	named, seen := false, 0
	for other, u := range s.usage { // begins at a random one
		u.mu.Lock()
		underway, full := u.underway, u.full
		u.mu.Unlock()
		known := !strings.HasPrefix(other, ofAddress)
		if underway == 0 && (name == "" || named && !known || named == known && full.Before(soonest)) {
			name, soonest, named = other, full, known
		}
		if seen++; seen >= looks && name != "" {
			break
		}
	}
	if name == "" {
		return false
	}
	if soonest.After(now) {
		x.forgotten.Add(1)
	}
	delete(s.usage, name)
	return true
}

// A Lease is a request that was admitted.
type Lease struct{ of *usage }

// End ends it.
func (l *Lease) End() {
	if l.of != nil {
		l.of.mu.Lock()
		l.of.underway--
		l.of.mu.Unlock()
		l.of = nil
	}
}

// enter counts a request. It adds to the headers how much is left.
func (x *limiter) enter(name string, now time.Time, h http.Header) (Lease, *Refusal) {
	u := x.usage(name, now)
	u.mu.Lock()
	defer u.mu.Unlock()
	l := u.limit
	if l.Concurrency > 0 && u.underway >= l.Concurrency {
		return Lease{}, busy(TooMany, "the caller has "+strconv.Itoa(u.underway)+" requests under way, which is the most", time.Second)
	}
	each := time.Duration(0)
	full := u.full
	if l.Rate > 0 {
		each = atMost(longest, float64(time.Second)/l.Rate)
		burst := atMost(2*longest, float64(l.Burst)*float64(each))
		if full.Before(now) {
			full = now
		}
		full = full.Add(each)
		if over := full.Sub(now) - burst; over > 0 {
			limited(h, l.Burst, 0, over)
			return Lease{}, busy(TooFast, "the caller asks more than "+strconv.FormatFloat(l.Rate, 'g', -1, 64)+" requests a second", over)
		}
	}
	if l.Daily > 0 && !x.quota.take(name, l.Daily, now) {
		left := tomorrow(now).Sub(now)
		limited(h, int(min(l.Daily, math.MaxInt32)), 0, left)
		return Lease{}, busy(UsedUp, "the caller has asked "+strconv.FormatInt(l.Daily, 10)+" requests today, which is the most", left)
	}
	if l.Rate > 0 {
		u.full = full
		left := full.Sub(now)
		limited(h, l.Burst, l.Burst-int((left+each-1)/each), left)
	}
	u.underway++
	return Lease{u}, nil
}

// longest is the most time between two requests of a rate that is very low, which no time.Duration may have.
const longest = 50 * 365 * 24 * time.Hour

func atMost(most time.Duration, nanoseconds float64) time.Duration {
	return time.Duration(min(nanoseconds, float64(most)))
}

// limited says how many requests are left, and when there are more again.
func limited(h http.Header, most, left int, more time.Duration) {
	h["Ratelimit-Limit"] = []string{strconv.Itoa(most)}
	h["Ratelimit-Remaining"] = []string{strconv.Itoa(max(left, 0))}
	h["Ratelimit-Reset"] = []string{seconds(more)}
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(math.Ceil(d.Seconds())), 10) }

func busy(why Reason, says string, again time.Duration) *Refusal {
	return &Refusal{Status: http.StatusTooManyRequests, Says: says, Reason: why, Headers: [][2]string{{"Retry-After", seconds(max(again, time.Second))}}}
}

func tomorrow(now time.Time) time.Time {
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
}
