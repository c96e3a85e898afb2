package edge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/duration"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/edge/keys"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Declared is what a deployment declares.
type Declared struct {
	TLS        *TLS        `json:"tls"`
	Auth       *Auth       `json:"auth"`
	Limits     *Limits     `json:"limits"`
	CORS       *CORS       `json:"cors"`
	Management *Management `json:"management"`
	Audit      *Audit      `json:"audit"`
}

// Management is another port, for metrics, health and the description of the service.
type Management struct {
	// Public lists which of them clients see, too: "metrics", "health" and "docs".
	Public []string `json:"public"`
}

// Options are what an edge needs besides.
type Options struct {
	Kept     string // folder that later versions of the service get too, or ""
	Shipped  string // file that says which files of the audit log were moved to a store, or "" if they stay
	Instance string
	Env      string // the environment of the service, or ""
	Log      func(string)
}

// What is not declared.
const (
	defaultIdle     = 1024
	DefaultIdleTime = 75 * time.Second // of a connection on which nothing is asked
)

// An Edge is asked about each request. One that is nil lets everything through.
type Edge struct {
	Idle     *Idle
	IdleTime time.Duration

	certs   *Certs
	who     *who
	limiter *limiter
	audit   *auditLog
	shipped string // see [Options]
	cors    *CORS
	parts   []*reloaded

	refused    [reasons]atomic.Uint64
	handshakes atomic.Uint64 // of TLS that have failed

	stop    context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// Open reads what is declared. What it runs in the background ends with Close.
func Open(ctx context.Context, d Declared, o Options) (*Edge, error) {
	ctx, stop := context.WithCancel(ctx)
	e := &Edge{IdleTime: DefaultIdleTime, cors: d.CORS, stop: stop}
	if err := e.open(ctx, d, o); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Edge) open(ctx context.Context, d Declared, o Options) error {
	most := defaultIdle
	if d.Limits != nil {
		most = cmp.Or(d.Limits.MaxIdle, most)
		e.IdleTime = cmp.Or(duration.Parse(d.Limits.IdleTimeout), e.IdleTime)
	}
	e.Idle = NewIdle(most)
	if d.TLS != nil {
		e.certs = &Certs{}
		if a := d.TLS.ACME; a != nil {
			var err error
			if e.certs.issued, err = newIssued(*a, o.Kept, &e.certs.expires, o.Log); err != nil {
				return fmt.Errorf("tls: %w", err)
			}
			e.run(func() { e.certs.issued.follow(ctx) })
		}
		e.parts = append(e.parts, e.certs.part(*d.TLS))
	}
	var parts []*reloaded
	var err error
	if e.who, parts, err = newWho(d.Auth, e.certs != nil && e.certs.mutual, o.Log); err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	e.parts = append(e.parts, parts...)
	for _, r := range e.parts {
		if err := r.load(); err != nil {
			return err
		}
	}
	if t := e.who.tokens; t != nil && t.issuer.current.Load() == nil {
		t.issuer.fetch(ctx, 0)
		e.run(func() { t.issuer.follow(ctx) })
	}
	if l := d.Limits; l != nil && l.counted() {
		e.limiter = newLimiter(*l)
		if l.daily() {
			if o.Kept == "" {
				return errors.New("limits by day need a folder that later versions of the service get too")
			}
			q, err := openQuota(filepath.Join(o.Kept, "quota"), o.Instance, time.Now(), o.Log)
			if err != nil {
				return fmt.Errorf("limits: %w", err)
			}
			e.limiter.quota = q
			e.run(func() { q.keep(ctx) })
		}
	}
	if d.Audit != nil {
		if o.Kept == "" {
			return errors.New("the audit log needs a folder that later versions of the service get too")
		}
		interval := time.Duration(0)
		if e.shipped = o.Shipped; e.shipped != "" {
			interval = duration.Parse(d.Audit.Interval)
		}
		if e.audit, err = openAudit(requests.Audit(o.Kept), o.Instance, ir.ParseSize(d.Audit.Keep), interval, o.Log); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		e.audit.env = o.Env
	}
	if len(e.parts) > 0 {
		e.run(func() { watch(ctx, e.parts, o.Log) })
	}
	return nil
}

func (l Limits) daily() bool {
	for _, c := range l.Callers {
		if c.Daily > 0 {
			return true
		}
	}
	return l.Daily > 0
}

func (e *Edge) run(f func()) {
	e.running.Add(1)
	go func() {
		defer e.running.Done()
		f()
	}()
}

// Close writes what is not written yet.
func (e *Edge) Close() { e.closing.Do(e.close) }

func (e *Edge) close() {
	e.stop()
	e.running.Wait()
	if e.audit != nil {
		e.audit.close()
	}
	if e.limiter != nil && e.limiter.quota != nil {
		e.limiter.quota.sync()
	}
}

// TLS is the configuration of a server, or nil if it speaks HTTP.
func (e *Edge) TLS() *tls.Config {
	if e == nil || e.certs == nil {
		return nil
	}
	return e.certs.Config()
}

// Unready says why clients cannot be answered yet, or nothing.
func (e *Edge) Unready() string {
	if e == nil || e.certs == nil || e.certs.issued == nil {
		return ""
	}
	return e.certs.issued.unready()
}

// Listening says that clients can connect from now on.
func (e *Edge) Listening() {
	if e != nil && e.certs != nil && e.certs.issued != nil {
		x := e.certs.issued
		x.listens.Do(func() { close(x.listening) })
	}
}

// Noise reports whether a line of the log of a server is only about a client. It is counted.
func (e *Edge) Noise(line string) bool {
	if e == nil || !strings.Contains(line, "TLS handshake error") {
		return false
	}
	e.handshakes.Add(1)
	return true
}

// An Access says who may ask for a path.
type Access struct {
	Health bool        // everybody, at any rate
	Docs   bool        // who may ask something
	Scope  keys.Scopes // who has it
}

// A Visit is a request that the edge knows about. Its zero value is none.
type Visit struct {
	Caller Caller
	lease  Lease
}

// Enter decides about a request. It adds headers to its answer.
func (e *Edge) Enter(v *Visit, r *http.Request, h http.Header, a Access) *Refusal {
	if e == nil || a.Health {
		return nil
	}
	now := time.Now()
	caller, refusal := e.who.caller(r, now)
	v.Caller = caller
	if refusal == nil {
		refusal = e.who.may(caller, a.Scope)
	}
	if refusal != nil {
		v.Caller.Scopes = 0
	}
	// Whoever may not ask is counted, too.
	if e.limiter != nil && (a.Scope != 0 || refusal != nil) {
		var slow *Refusal
		if v.lease, slow = e.limiter.enter(counted(caller, r), now, h); slow != nil {
			refusal = slow
		}
	}
	if refusal != nil {
		if refusal.Status != http.StatusServiceUnavailable {
			e.refused[refusal.Reason].Add(1)
		}
		for _, f := range refusal.Headers {
			h.Set(f[0], f[1])
		}
	}
	return refusal
}

// Leave ends a request, and notes it in the audit log with what it says in the entry.
func (e *Edge) Leave(v *Visit, r *http.Request, a Access, says *Entry) {
	if e == nil {
		return
	}
	v.lease.End()
	if e.audit == nil || a.Health {
		return
	}
	says.Took, says.Caller, says.Address = time.Since(says.Time), v.Caller.Name, r.RemoteAddr
	says.Method, says.Path = r.Method, r.URL.EscapedPath()
	e.audit.add(says)
}

// A Figure is a metric.
type Figure struct {
	Name, Help string
	Gauge      bool
	Labels     [][2]string
	Value      float64
}

// Figures are the metrics of the edge. Those of one name follow one another.
func (e *Edge) Figures() (all []Figure) {
	if e == nil {
		return nil
	}
	count := func(name, help string, n uint64, labels ...[2]string) {
		all = append(all, Figure{name, help, false, labels, float64(n)})
	}
	open, closed := e.Idle.Now()
	all = append(all, Figure{"tenon_http_idle_connections", "Connections on which nothing is asked", true, nil, float64(open)})
	count("tenon_http_idle_connections_closed", "Connections that were closed because too many were idle", closed)
	if e.certs != nil {
		all = append(all, Figure{"tenon_tls_certificate_expires_timestamp_seconds", "When the certificate ends", true, nil, float64(e.certs.expires.Load())})
		if e.certs.issued != nil {
			count("tenon_acme_failures", "How often an authority gave no certificate", e.certs.issued.failed.Load())
		}
		count("tenon_tls_handshake_errors", "Connections on which TLS has failed", e.handshakes.Load())
	}
	if e.who.needed || e.limiter != nil {
		for i, name := range reasonNames {
			count("tenon_edge_refused_requests", "Requests that the edge has refused", e.refused[i].Load(), [2]string{"reason", name})
		}
	}
	if e.limiter != nil {
		count("tenon_edge_forgotten_callers", "Callers whose limits began again, because there were too many others", e.limiter.forgotten.Load())
	}
	for _, r := range e.parts {
		count("tenon_edge_reloads", "How often files were read", r.loaded.Load(), [2]string{"what", r.what}, [2]string{"result", "ok"})
		count("tenon_edge_reloads", "How often files were read", r.failed.Load(), [2]string{"what", r.what}, [2]string{"result", "failed"})
	}
	if t := e.who.tokens; t != nil && (t.issuer.url != "" || t.issuer.discovery != "") {
		count("tenon_edge_reloads", "How often files were read", t.issuer.loaded.Load(), [2]string{"what", "jwks"}, [2]string{"result", "ok"})
		count("tenon_edge_reloads", "How often files were read", t.issuer.failed.Load(), [2]string{"what", "jwks"}, [2]string{"result", "failed"})
	}
	if e.audit != nil {
		count("tenon_audit_lines", "Lines of the audit log", e.audit.written.Load())
		count("tenon_audit_dropped_lines", "Lines that the audit log has lost", e.audit.dropped.Load())
	}
	if e.shipped != "" {
		done := step.ReadShipped(e.shipped)
		count("tenon_audit_stored_files", "Files of the audit log in the store", uint64(done.Files))
		count("tenon_audit_store_failures", "Tries to store files of the audit log that failed", uint64(done.Failed))
		count("tenon_audit_removed_files", "Files that this replica has removed from the store because of the size of all", uint64(done.Removed))
	}
	return all
}

// Schemes are how callers show who they are, for OpenAPI: "key", "bearer" and "certificate".
func (e *Edge) Schemes() (all []string) {
	if e == nil || !e.who.needed {
		return nil
	}
	if e.who.list.Load() != nil {
		all = append(all, "key", "bearer")
	} else if e.who.tokens != nil {
		all = append(all, "bearer")
	}
	if e.who.mutual {
		all = append(all, "certificate")
	}
	return all
}

// Asks reports whether a caller has to show who it is.
func (e *Edge) Asks(a Access) bool {
	return e != nil && !a.Health && (e.who.mutual || e.who.may(Caller{}, a.Scope) != nil)
}

// Limited reports whether callers can ask too much.
func (e *Edge) Limited() bool { return e != nil && e.limiter != nil }
