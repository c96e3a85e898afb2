package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/cmd/internal/control"
	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// A beside is what runs beside a controller: it sends notices, and answers Prometheus.
type beside struct {
	post *control.Post
	done sync.WaitGroup
	stop context.CancelFunc

	mu     sync.Mutex
	print  func(control.Event)
	health project.Health
}

// startBeside starts what runs beside a controller. print prints events of both, one at a time.
func startBeside(ctx context.Context, p *project.Project, o runOptions, print func(control.Event)) (*beside, error) {
	ctx, stop := context.WithCancel(ctx)
	b := &beside{stop: stop, print: print, health: project.Health{Events: map[control.EventType]int{}}}
	b.post = control.NewPost(func(ctx context.Context) (control.Mailer, error) {
		w, err := p.OpenApplied(ctx)
		if err != nil {
			return nil, err
		}
		return w.Notices(), nil
	}, control.SystemClock(), b.event)
	if o.metrics != "" {
		if err := b.serve(ctx, p, o.metrics); err != nil {
			stop()
			return nil, err
		}
	}
	if !o.once {
		b.done.Go(func() { b.post.Run(ctx) })
	}
	return b, nil
}

// event prints an event of the controller or of notices.
func (b *beside) event(e control.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.health.Events[e.Type]++
	b.print(e)
}

// saw is an event of the controller.
func (b *beside) saw(e control.Event) {
	b.event(e)
	b.post.Saw(e)
}

func (b *beside) looked(at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.health.Looked = at
}

// end ends all of it. With --once, it first sends what there is.
func (b *beside) end(ctx context.Context, once bool) (err error) {
	if once {
		err = b.post.Once(ctx)
	}
	b.stop()
	b.done.Wait()
	return err
}

// scrapeTime is how long an answer to Prometheus may take.
const scrapeTime = 10 * time.Second

// serve answers Prometheus at an address. Without a host, it is on this machine only.
func (b *beside) serve(ctx context.Context, p *project.Project, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return &usageError{fmt.Errorf("--metrics takes an address such as :9464 or 0.0.0.0:9464, not %q", address)}
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fmt.Errorf("expose metrics: %w", err)
	}
	m := &scraped{project: p, of: b}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	s := &http.Server{Handler: mux, ReadTimeout: scrapeTime, WriteTimeout: 2 * scrapeTime, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	b.done.Go(func() { _ = s.Serve(l) }) // it ends when it is closed below
	b.done.Go(func() {
		<-ctx.Done()
		_ = s.Close()
		m.close()
	})
	return nil
}

// scraped answers Prometheus from the state, which it keeps open.
type scraped struct {
	project *project.Project
	of      *beside
	mu      sync.Mutex
	opened  *project.Workspace // nil while it is not open
	failed  string             // the last error, which is an event once
}

func (m *scraped) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTime)
	defer cancel()
	text, err := m.text(ctx)
	if err != nil {
		// The reason is an event, and may name what only the user of the controller should know.
		http.Error(w, "the state cannot be read", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(text))
}

func (m *scraped) text(ctx context.Context) (text string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer func() {
		switch {
		case err == nil:
			m.failed = ""
		case errors.Is(err, context.Canceled): // nobody waits for the answer
		case m.failed != err.Error():
			m.failed = err.Error()
			m.of.event(control.Event{Time: time.Now(), Type: control.Failed, Error: "metrics: " + m.failed})
		}
	}()
	if m.opened == nil {
		if m.opened, err = m.project.OpenApplied(ctx); err != nil {
			m.opened = nil
			return "", err
		}
	}
	m.of.mu.Lock()
	health := m.of.health.Clone()
	m.of.mu.Unlock()
	if text, err = m.opened.Metrics(ctx, &health); err != nil {
		err = errors.Join(err, m.opened.Close())
		m.opened = nil
	}
	return text, err
}

func (m *scraped) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.opened != nil {
		_ = m.opened.Close()
		m.opened = nil
	}
}
