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

// A controller in a container may lack the credentials of this machine for tracking. What it could not send would be lost. In a
// cluster, a Secret may have them.
func TestDetachedControllersMayLackCredentialsForTracking(t *testing.T) {
	const uri = "https://mlflow.example"
	open, token := &ir.Tracking{URI: uri}, &ir.Tracking{URI: uri, Token: &ir.Secret{Env: "TOKEN"}}
	const refused, silent = "refused", ""
	for _, c := range []struct {
		name                string
		tracking            *ir.Tracking
		variable            string
		cluster, onSchedule string // what is said: "refused", "" for nothing, or a part of the warning
	}{
		{"nothing is tracked", nil, "MLFLOW_TRACKING_TOKEN=t", silent, silent},
		{"an open server", open, "", silent, silent},
		{"an empty variable", open, "MLFLOW_TRACKING_TOKEN=", silent, silent},
		{"a token of the environment", open, "MLFLOW_TRACKING_TOKEN=t", "gets MLFLOW_TRACKING_TOKEN only from state_secret", "does not get MLFLOW_TRACKING_TOKEN"},
		{"a password of the environment", open, "MLFLOW_TRACKING_PASSWORD=p", "gets MLFLOW_TRACKING_PASSWORD only from state_secret", "does not get MLFLOW_TRACKING_PASSWORD"},
		{"a declared token", token, "TOKEN=t", "gets TOKEN only from state_secret", refused},
		{"a token in a file", &ir.Tracking{URI: uri, Token: &ir.Secret{File: "token"}}, "", refused, refused},
	} {
		for scheduled, want := range map[bool]string{false: c.cluster, true: c.onSchedule} {
			said := ""
			w := &Workspace{Project: New(Settings{Config: all.Config{Environ: []string{c.variable}}, Notify: func(n Notice) {
				if n.Warning {
					said += n.Text
				}
			}})}
			if err := w.checkTrackingThere(&ir.System{Tracking: c.tracking}, scheduled); err != nil {
				said = refused + ": " + err.Error()
			}
			if !strings.Contains(said, want) || (said == "") != (want == "") || said != "" && !strings.Contains(said, uri) {
				t.Errorf("%s, on a schedule %t: it says %q, want %q", c.name, scheduled, said, want)
			}
		}
	}
}
