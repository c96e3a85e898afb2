package plane

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge"
)

// A front is what a server asks on a port: the edge of the process, and behind it whatever answers.
type front struct {
	*process
	of      answerer
	log     func(string)
	managed bool // it is the port for management
}

// An answerer answers what the edge lets through: a plane, or the versions of a service.
type answerer interface {
	// find returns what is at a path, and whether anything is.
	find(path string) (route, bool)
	// answer answers a request, also one that the edge refuses.
	answer(w http.ResponseWriter, r *http.Request, c *call)
}

// A call is a request as the edge knows it.
type call struct {
	began     time.Time
	managed   bool // it came to the port for management
	preflight bool // a browser asks whether a page may ask
	access    edge.Access
	visit     edge.Visit
	refusal   *edge.Refusal // nil if it may be answered

	// What was answered, for the audit log.
	status, rows int
	id, version  string
}

var calls = sync.Pool{New: func() any { return new(call) }}

// ServeHTTP asks the edge once for each request, whichever versions answer it in the end.
func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := calls.Get().(*call)
	c.began, c.managed = time.Now(), f.managed
	defer f.leave(c, r)
	if own, is := f.platform[r.URL.Path]; is && !f.managed {
		r.URL.Path = own
	}
	if !f.managed {
		f.enter(c, w.Header(), r)
	}
	f.of.answer(w, r, c)
}

func (f front) enter(c *call, h http.Header, r *http.Request) {
	to, known := f.of.find(r.URL.Path)
	c.access = to.access
	if c.preflight = f.edge.Cross(h, r); !c.preflight && known && f.onPort(to.kind, false) {
		c.refusal = f.edge.Enter(&c.visit, r, h, to.access)
	}
}

func (f front) leave(c *call, r *http.Request) {
	if f.counted != nil && !c.managed && AsksModel(r) {
		status := c.status
		if status == clientLeft { // the platform, which waits no longer
			status = http.StatusGatewayTimeout
		}
		f.counted.Request(status, c.began)
	}
	if !c.managed {
		f.edge.Leave(&c.visit, r, c.access, &edge.Entry{Time: c.began, ID: c.id, Version: c.version, Status: c.status, Rows: c.rows})
	}
	*c = call{}
	calls.Put(c)
}

// Limits of slow clients. A request of the largest size has to arrive in requestTime.
const (
	headTime     = 10 * time.Second
	requestTime  = 60 * time.Second
	answerTime   = 120 * time.Second // from the end of the head to the end of the answer
	idleTime     = 75 * time.Second
	largestHead  = 64 << 10
	finishesSoon = 30 * time.Second // answers under way at the end of a drain
)

// server is an HTTP server with limits for slow clients.
func (f front) server() *http.Server {
	protocols, h2 := overHTTP2()
	s := &http.Server{
		Handler: f, Protocols: protocols, HTTP2: h2, ConnContext: born,
		ReadHeaderTimeout: headTime, ReadTimeout: requestTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: largestHead, ErrorLog: log.New(lines(f.logOfServer), "", 0), DisableGeneralOptionsHandler: true,
	}
	if f.managed {
		s.Protocols = nil
	} else if f.edge != nil {
		s.ConnState, s.IdleTimeout = f.edge.Idle.State, f.edge.IdleTime
	}
	return s
}

// lines gives each line to a function.
type lines func(string)

func (f lines) Write(b []byte) (int, error) {
	f(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// logOfServer logs a line of the server, in which clients may have a say.
func (f front) logOfServer(line string) {
	if !f.edge.Noise(line) {
		f.log(edge.Line(line))
	}
}

// serve answers until SIGTERM, SIGINT or the end of ctx. Then it keeps answering for a while,
// so that clients can move to the next version.
func (f front) serve(ctx context.Context, l *listener, drain time.Duration) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	server := f.server()
	ended := make(chan error, 2)
	management, err := f.manage(ended)
	if err != nil {
		return err
	}
	go func() { ended <- f.serveOn(server, l) }()
	f.edge.Listening()
	leave := l.stop
	select {
	case err := <-ended:
		return err
	case <-f.rested(ctx, l.rest):
		f.log("asleep: the next connection starts it again")
		leave, drain = l.leave, 0 // the next one who asks waits in the socket meanwhile
	case <-ctx.Done():
	}
	f.Drain()
	if err := leave(); err != nil {
		f.log("note: connections that wait may be lost: " + err.Error())
	}
	if l := f.managementListener.Load(); l != nil {
		_ = l.stop() // the next version has its connections; a probe asks again
	}
	time.Sleep(drain)
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishesSoon)
	defer cancel()
	if management != nil {
		defer management.Close() //nolint:errcheck // whoever still asks it asks a service that ends
	}
	if err := server.Shutdown(within); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// serveOn answers on the port for clients.
func (f front) serveOn(s *http.Server, l *listener) error {
	if s.TLSConfig = f.edge.TLS(); s.TLSConfig == nil {
		return s.Serve(l)
	}
	s.Protocols.SetUnencryptedHTTP2(false)
	s.Protocols.SetHTTP2(true)
	return s.ServeTLS(l, "", "")
}

// mostManaged is how many connections the port for management takes at a time.
const mostManaged = 256

// manage answers on the port for management, if there is one, until the server is shut down.
func (f front) manage(ended chan<- error) (*http.Server, error) {
	if f.management == nil {
		return nil, nil
	}
	l, err := f.management.listen(mostManaged)
	if err != nil {
		return nil, err
	}
	f.managed = true
	s := f.server()
	f.managementListener.Store(l)
	go func() { ended <- s.Serve(l) }()
	return s, nil
}
