// Package moves deploys a system, moves its services at random while clients send requests, and
// accounts for every request. It is the same for each executor of this machine.
package moves

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Target is what clients ask.
type Target struct {
	URL  string
	Body string
	// Check returns an error for an answer that is wrong, beside its status.
	Check func(http.Header, []byte) error
}

// Clients send requests at a fixed rate until they are ended.
type Clients struct {
	end     context.CancelFunc
	running sync.WaitGroup
	began   time.Time

	mu     sync.Mutex
	kills  []kill
	faults []fault
	took   []answer
}

// An answer is one to a request. It counts from the time at which that was due, so that a service
// that makes clients wait does not seem faster.
type answer struct {
	due  time.Time
	took time.Duration
}

// A kill is the death of a process that answered at an address.
type kill struct {
	url         string
	began, gone time.Time
}

// A fault is a request that failed.
type fault struct {
	client       int
	url          string
	connected    time.Time // when its connection was made
	began, ended time.Time
	err          error
	brokenOff    bool // the connection was there, and ended
}

// Start starts n clients, which send as many requests in a second together. Every other one sends
// each on a connection of its own. They divide themselves among targets.
func Start(n int, rate float64, targets ...Target) *Clients {
	ctx, end := context.WithCancel(context.Background())
	c := &Clients{end: end, began: time.Now()}
	every := time.Duration(float64(n) / rate * float64(time.Second))
	for i := range n {
		c.running.Go(func() { c.client(ctx, i, every, targets[i%len(targets)]) })
	}
	return c
}

func (c *Clients) client(ctx context.Context, number int, every time.Duration, to Target) {
	var connected atomic.Int64 // the transport may connect beside a request
	dialer := net.Dialer{Timeout: patience}
	transport := &http.Transport{DisableKeepAlives: number/2%2 == 0, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		connected.Store(time.Now().UnixNano())
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: patience}
	due := time.Now().Add(rand.N(every))
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		began := time.Now()
		err := send(client, to)
		ended := time.Now()
		c.mu.Lock()
		if err == nil {
			c.took = append(c.took, answer{due, ended.Sub(due)})
		} else {
			broken := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
			c.faults = append(c.faults, fault{client: number, url: to.URL, connected: time.Unix(0, connected.Load()), began: began, ended: ended, err: err, brokenOff: broken})
		}
		c.mu.Unlock()
		if due = due.Add(every); time.Since(due) > time.Second {
			due = time.Now().Add(rand.N(every)) // what was not sent while it waited for an answer is not sent at once
		}
	}
}

// patience is how long a client waits for an answer: longer than a service that was killed four times
// in a row takes to be back.
const patience = 30 * time.Second

func send(client *http.Client, to Target) error {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, to.URL, bytes.NewReader([]byte(to.Body)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := client.Do(r)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", a.Status, body)
	}
	if to.Check != nil {
		return to.Check(a.Header, body)
	}
	return nil
}

// Kill notes that a process that answers at an address is killed. end kills it, and returns once it
// is gone.
func (c *Clients) Kill(url string, end func() error) error {
	k := kill{url: url, began: time.Now()}
	err := end()
	k.gone = time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kills = append(c.kills, k)
	return err
}

// Answered returns how many requests were answered until now.
func (c *Clients) Answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.took)
}

// P99 returns the 99th percentile of the requests that were due in a period, and how many there were.
func (c *Clients) P99(from, to time.Time) (time.Duration, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []time.Duration
	for _, t := range c.took {
		if !t.due.Before(from) && t.due.Before(to) {
			all = append(all, t.took)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)*99/100], len(all)
}

// A Report is what became of all requests.
type Report struct {
	Answered int
	Kills    int
	Lost     int      // with the connections of processes that were killed
	Failed   []string // all others that failed
}

// End ends the clients, once each has the answer to its last request.
func (c *Clients) End() Report {
	c.end()
	c.running.Wait()
	r := Report{Answered: len(c.took), Kills: len(c.kills)}
	type one struct{ client, kill int }
	lost := map[one]bool{}
	for _, f := range c.faults {
		i := slices.IndexFunc(c.kills, f.lostWith)
		if i < 0 || lost[one{f.client, i}] {
			r.Failed = append(r.Failed, fmt.Sprintf("%s client %d, after %s: %v", f.began.Sub(c.began).Round(time.Millisecond), f.client, f.ended.Sub(f.began).Round(time.Millisecond), f.err))
			continue
		}
		lost[one{f.client, i}] = true
		r.Lost++
	}
	return r
}

// lostWith reports whether a request ended with the connection to a process that was killed. A client
// can lose one request with each: that which was in flight, or, if it had kept its connection and did
// not know yet that it had ended, the next one.
func (f fault) lostWith(k kill) bool {
	return f.brokenOff && f.url == k.url && f.connected.Before(k.gone) && f.began.Before(k.gone.Add(time.Second)) && f.ended.After(k.began)
}
