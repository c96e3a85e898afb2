package scaler

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

// ReadyPath says whether requests are to come to the scaler. No service has such a path.
const ReadyPath = "/.tenon/scaler/ready"

// Limits of clients. They are those of a service.
const (
	headTime    = 10 * time.Second
	idleTime    = 75 * time.Second
	largestHead = 64 << 10
	dialTime    = time.Second
	againAfter  = 50 * time.Millisecond // until it tries to reach a pod once more
)

// front answers while there are no pods, nil for a service that always has some.
func (s *Scaler) front() *http.Server {
	if s.Min > 0 {
		return nil
	}
	mux := http.NewServeMux()
	mux.HandleFunc(ReadyPath, func(w http.ResponseWriter, _ *http.Request) {
		if !s.takes() {
			http.Error(w, "requests go to the pods", http.StatusServiceUnavailable)
		}
	})
	mux.Handle("/", s.proxy())
	both := new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true) // gRPC
	return &http.Server{
		Addr: ":" + strconv.Itoa(s.Port), Handler: mux, Protocols: both,
		ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: largestHead, ErrorLog: log.New(s.log, "", 0),
	}
}

// takes reports whether requests are to come here.
func (s *Scaler) takes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taking || len(s.ready) == 0
}

// proxy passes requests on to pods, one after the other. Each has a connection of its own to a
// pod, and its client makes another one afterwards, which may then go to a pod directly.
func (s *Scaler) proxy() http.Handler {
	transport := func(p *http.Protocols) *http.Transport {
		return &http.Transport{DialContext: s.dial, DisableKeepAlives: true, DisableCompression: true, Protocols: p}
	}
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetUnencryptedHTTP2(true)
	http1, http2 := transport(one), transport(two)
	to := &httputil.ReverseProxy{
		FlushInterval: -1,
		ErrorLog:      log.New(s.log, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "service"})
			r.Out.Host = r.In.Host
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
		},
		Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.ProtoMajor == 2 {
				return http2.RoundTrip(r)
			}
			return http1.RoundTrip(r)
		}),
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Connection", "close")
			return nil
		},
		ErrorHandler: s.refuse,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.hold() {
			s.refuse(w, r, errFull)
			return
		}
		h := &holding{s: s}
		defer h.end()
		to.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), holdingKey{}, h)))
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

var (
	errFull = errors.New("too many requests wait for the first replica")
	errLate = errors.New("no replica was ready in time")
)

// hold counts a request that waits for a pod, and starts one. It returns false if too many wait.
func (s *Scaler) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held >= s.Holds {
		return false
	}
	s.held++
	s.asked = time.Now()
	select {
	case s.woken <- struct{}{}:
	default:
	}
	return true
}

// A holding is a request that waits until it has a connection to a pod.
type holding struct {
	s     *Scaler
	ended bool
}

type holdingKey struct{}

// end counts the request as one that does not wait.
func (h *holding) end() {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if !h.ended {
		h.ended = true
		h.s.held--
	}
}

// refuse answers a request that nobody else can answer now.
func (s *Scaler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has left
	}
	status := http.StatusBadGateway // a pod has failed that had the request
	if errors.Is(err, errFull) || errors.Is(err, errLate) {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
	} else {
		fmt.Fprintf(s.log, "tenon: %s %s: %v\n", r.Method, strconv.Quote(r.URL.Path), err)
		err = errors.New("the replica that had the request failed")
	}
	w.Header().Set("Connection", "close")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"detail":%q}`, err)
}

// dial returns a connection to a pod, once there is one.
func (s *Scaler) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	within, cancel := context.WithTimeoutCause(ctx, s.Patience, errLate)
	defer cancel()
	d := net.Dialer{Timeout: dialTime}
	for n := 0; ; n++ {
		s.mu.Lock()
		ready, changed := s.ready, s.changed
		if s.passing && len(ready) == 0 {
			// The version may have been replaced, and have no pods any more. By now, the
			// Service has somebody else for the request.
			ready = []string{s.Service}
		}
		s.mu.Unlock()
		var again <-chan time.Time
		if len(ready) > 0 {
			conn, err := d.DialContext(within, network, net.JoinHostPort(ready[n%len(ready)], strconv.Itoa(s.Port)))
			if err == nil {
				if h, ok := ctx.Value(holdingKey{}).(*holding); ok {
					h.end()
				}
				return conn, nil
			}
			again = time.After(againAfter)
		}
		select {
		case <-within.Done():
			return nil, context.Cause(within)
		case <-changed:
		case <-again:
		}
	}
}
