package project

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
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

// A controller in a container lacks the credentials of this machine for tracking. What it could not send would be lost.
func TestDetachedControllersLackCredentialsForTracking(t *testing.T) {
	const uri = "https://mlflow.example"
	for _, c := range []struct {
		name     string
		tracking *ir.Tracking
		variable string
		refused  bool
		warned   bool
	}{
		{name: "nothing is tracked", variable: "MLFLOW_TRACKING_TOKEN=t"},
		{name: "an open server", tracking: &ir.Tracking{URI: uri}},
		{name: "an empty variable", tracking: &ir.Tracking{URI: uri}, variable: "MLFLOW_TRACKING_TOKEN="},
		{name: "a token of the environment", tracking: &ir.Tracking{URI: uri}, variable: "MLFLOW_TRACKING_TOKEN=t", warned: true},
		{name: "a password of the environment", tracking: &ir.Tracking{URI: uri}, variable: "MLFLOW_TRACKING_PASSWORD=p", warned: true},
		{name: "a declared token", tracking: &ir.Tracking{URI: uri, Token: &ir.Secret{Env: "TOKEN"}}, variable: "TOKEN=t", refused: true},
		{name: "a token in a file", tracking: &ir.Tracking{URI: uri, Token: &ir.Secret{File: "token"}}, refused: true},
	} {
		var said []Notice
		w := &Workspace{Project: New(Settings{Config: all.Config{Environ: []string{c.variable}}, Notify: func(n Notice) { said = append(said, n) }})}
		err := w.checkTrackingThere(&ir.System{Tracking: c.tracking})
		if (err != nil) != c.refused || err != nil && !strings.Contains(err.Error(), uri) {
			t.Errorf("%s: got %v, refused: want %t", c.name, err, c.refused)
		}
		warned := len(said) == 1 && said[0].Warning && strings.Contains(said[0].Text, uri)
		if warned != c.warned || len(said) > 1 {
			t.Errorf("%s: got %v, warned: want %t", c.name, said, c.warned)
		}
	}
}
