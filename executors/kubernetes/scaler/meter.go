package scaler

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/internal/replicas"
)

// cpuMetric is how much a process has computed.
const cpuMetric = "process_cpu_seconds_total"

// A load is that of all pods together since the last measurement.
type load struct {
	inFlight float64 // requests, on average
	cores    float64
	unknown  bool // of a pod there is nothing to compare with yet
}

func (l load) String() string {
	return fmt.Sprintf("%.1f requests in flight, %.2f cores", l.inFlight, l.cores)
}

// A meter reads what pods report.
type meter struct {
	port   string
	scheme string
	client *http.Client
	last   map[string]reading // by address
}

// A reading is what a pod reports: seconds until a point in time.
type reading struct {
	at            time.Time
	inFlight, cpu float64
}

func newMeter(c Config) meter {
	m := meter{port: strconv.Itoa(c.Metrics), scheme: "http", last: map[string]reading{}}
	if c.TLS {
		m.scheme = "https"
	}
	// A pod is asked at its own address, for which no certificate is made.
	m.client = &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, IdleConnTimeout: time.Minute}}
	return m
}

// measure reads the pods at some addresses. A pod that does not report makes the load unknown.
func (m *meter) measure(ctx context.Context, pods []string) (l load, err error) {
	now, errs := make([]reading, len(pods)), make([]error, len(pods))
	var all sync.WaitGroup
	for i, ip := range pods {
		all.Go(func() { now[i], errs[i] = m.read(ctx, ip) })
	}
	all.Wait()
	next := make(map[string]reading, len(pods))
	for i, ip := range pods {
		was, known := m.last[ip]
		switch {
		case errs[i] != nil:
			l.unknown = true
			if known {
				next[ip] = was
			}
			continue
		case !known || now[i].inFlight < was.inFlight || now[i].cpu < was.cpu: // it was started again
			l.unknown = true
		case !now[i].at.After(was.at):
			l.unknown = true
		default:
			took := now[i].at.Sub(was.at).Seconds()
			l.inFlight += (now[i].inFlight - was.inFlight) / took
			l.cores += (now[i].cpu - was.cpu) / took
		}
		next[ip] = now[i]
	}
	m.last = next
	return l, errors.Join(errs...)
}

func (m *meter) read(ctx context.Context, ip string) (r reading, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.scheme+"://"+net.JoinHostPort(ip, m.port)+"/metrics", nil)
	if err != nil {
		return r, err
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	r.at = time.Now()
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("GET %s: %s", req.URL, resp.Status)
	}
	found := false
	const most = 16 << 20
	lines := bufio.NewScanner(io.LimitReader(resp.Body, most))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, v, ok := sample(lines.Text())
		switch {
		case !ok:
		case name == replicas.InFlightMetric:
			found = true
			r.inFlight += v
		case name == cpuMetric:
			r.cpu += v
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("GET %s: %w", req.URL, err)
	}
	if !found {
		return r, fmt.Errorf("GET %s: it reports no %s, which replicas follow", req.URL, replicas.InFlightMetric)
	}
	return r, nil
}

// sample reads a line of Prometheus' text: the name of a metric and a value. Its labels do not matter.
func sample(line string) (name string, v float64, ok bool) {
	if strings.HasPrefix(line, "#") {
		return "", 0, false
	}
	name, rest := line, ""
	if i := strings.IndexAny(line, "{ "); i >= 0 {
		name, rest = line[:i], line[i:]
	}
	if i := strings.LastIndexByte(rest, '}'); i >= 0 {
		rest = rest[i+1:]
	}
	fields := strings.Fields(rest) // a timestamp may follow
	if len(fields) == 0 {
		return "", 0, false
	}
	v, err := strconv.ParseFloat(fields[0], 64)
	return name, v, err == nil
}
