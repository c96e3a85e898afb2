package project

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// In a cluster, the port alone says where a controller answers Prometheus: pods come and go, and only root may
// listen below 1024.
func TestPortOfMetricsInACluster(t *testing.T) {
	for address, want := range map[string]int{"": 0, ":9464": 9464, "0.0.0.0:1024": 1024, "[::]:65535": 65535} {
		if got, err := metricsPort(address); err != nil || got != want {
			t.Errorf("%q: port %d, %v; want %d", address, got, err, want)
		}
	}
	for _, address := range []string{"9464", ":http", ":80", ":0", ":-1", ":65536", "127.0.0.1:9464", "db1:9464"} {
		if got, err := metricsPort(address); err == nil || !strings.Contains(err.Error(), "such as :9464") {
			t.Errorf("%q: port %d, %v; want an error with an example", address, got, err)
		}
	}
}

// pending is a program of a cluster that has no room for it.
type pending struct {
	executors.DetachedProgram
	ended bool
}

func (*pending) Job() executors.Job { return executors.Job{Name: "demo-run", Namespace: "ml"} }

func (*pending) Status(context.Context) (state.Status, error) {
	return state.Status{Phase: state.Running, Message: "0/3 nodes are available"}, nil
}

func (p *pending) End(context.Context) error {
	p.ended = true
	return nil
}

// tenon run --detach does not wait for ever for a cluster. The controller stays there.
func TestDetachedControllerThatIsNotScheduled(t *testing.T) {
	store, err := state.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w, p := &Workspace{Project: New(Settings{}), store: store}, &pending{}
	_, err = w.awaitThere(t.Context(), p, state.Status{}, time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "does not watch after 1ms: 0/3 nodes are available; it stays") || p.ended {
		t.Errorf("got %v, ended %t", err, p.ended)
	}
}
