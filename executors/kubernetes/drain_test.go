package kubernetes_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/executortest/program"
	"github.com/tenon-ml/tenon/executors/kubernetes"
	"github.com/tenon-ml/tenon/planner/state"
)

// The pods of a replaced version keep running for a while, because some nodes may still
// send them requests. A version that was never ready, or that is the last one, ends at
// once.
func TestOnlyPodsBehindTheServiceContinue(t *testing.T) {
	p := newPlace(t)
	e := p.executor(t)
	version := func(name string, ready ...string) state.Handle {
		task := job(t, name, append([]string{"serve"}, ready...)...)
		task.Unit.ID, task.Unit.Entity, task.Unit.Kind, task.Unit.Outputs = "deployments/api", "deployments/api", ir.Service, nil
		task.Unit.Endpoint = &ir.Endpoint{Host: "127.0.0.1", Port: 8080, Ready: "/ready", Replicas: 1}
		return apply(t, e, task)
	}
	isReady := func(h state.Handle) {
		ctx, cancel := context.WithTimeout(t.Context(), program.Patience)
		defer cancel()
		st, err := e.Wait(ctx, h)
		if ok(t, err); st.Phase != state.Ready {
			t.Fatalf("%s is %+v", h.ID, st)
		}
	}
	first := version("first")
	isReady(first)
	second := version("second")
	isReady(second)
	never := version("never", "never")

	for _, c := range []struct {
		of   string
		h    state.Handle
		idle bool
	}{{"that was replaced", first, false}, {"that was never ready", never, true}, {"that is the last", second, true}} {
		if idle := p.idleUntilGone(t, e, c.h); idle != c.idle {
			t.Errorf("pods of a version %s were informed that nobody sends them requests: %t, want %t", c.of, idle, c.idle)
		}
	}
}

// idleUntilGone destroys a service, and reports whether its pods were informed meanwhile
// that they receive no requests.
func (p *place) idleUntilGone(t *testing.T, e *kubernetes.Executor, h state.Handle) (idle bool) {
	t.Helper()
	gone := make(chan error, 1)
	go func() { gone <- e.Destroy(context.Background(), h) }()
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		select {
		case err := <-gone:
			ok(t, err)
			return idle
		case <-tick.C:
			found, err := filepath.Glob(filepath.Join(p.S3.Dir, p.namespace, "notes", "runs", "*", h.ID, "*", "idle"))
			ok(t, err)
			idle = idle || len(found) > 0
		}
	}
}
