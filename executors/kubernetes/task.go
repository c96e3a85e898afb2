package kubernetes

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
)

// A task state is what the ConfigMap and the handle of a task store about it. The ConfigMap
// does not name the run's folder, because it differs for each machine.
type taskState struct {
	Place
	Name    string    `json:"name"` // of the task, and of its objects
	Unit    string    `json:"unit"`
	Kind    ir.Kind   `json:"kind"`
	UID     types.UID `json:"uid,omitempty"`     // of the ConfigMap
	Dir     string    `json:"dir,omitempty"`     // of the run
	Memory  int64     `json:"memory,omitempty"`  // limit, in bytes
	Disk    int64     `json:"disk,omitempty"`    // limit, in bytes
	Port    int       `json:"port,omitempty"`    // port of its Service
	TLS     bool      `json:"tls,omitempty"`     // it speaks HTTPS there
	Service string    `json:"service,omitempty"` // the Service that selects the ready version; "" without an endpoint
	State   string    `json:"state,omitempty"`   // lineage of the state that records the task
	Env     string    `json:"env,omitempty"`     // its environment
	Routed  bool      `json:"routed,omitempty"`  // it has several versions
	Noted   bool      `json:"noted,omitempty"`   // its notes are in a folder of its unit; not those of earlier versions of tenon
	Origin  origin    `json:"origin"`
	// Replicas is how many pods a service may have, if that follows its load.
	Replicas *bounds `json:"replicas,omitempty"`

	// The Service that selects this version, and the Ingress or HTTPRoute to it, in JSON. They are not in a handle.
	toward, exposed string
}

// bounds are how many pods a service may have.
type bounds struct {
	Min    int  `json:"min"`
	Max    int  `json:"max"`
	Scaler bool `json:"scaler,omitempty"` // a scaler of Tenon decides, and not the cluster
}

// An origin is where a task was started. Only there can tenon tell that nobody needs
// the task any more.
type origin struct {
	Machine string `json:"machine"`
	Dir     string `json:"dir"` // of the run
}

// Keys of the ConfigMap.
const (
	taskStateKey = "task.json"
	formerKey    = "record.json" // instead of taskStateKey, by earlier versions
	serviceKey   = "service.json"
	exposedKey   = "exposed.json" // with its kind
)

func (e *Executor) taskState(t executors.Task, p Place) (taskState, error) {
	ts := taskState{Place: p, Name: t.Name, Unit: t.Unit.ID, Kind: t.Unit.Kind, State: e.opts.State, Env: e.opts.Env, Dir: t.Dir, Memory: t.Unit.Needs.Memory, Disk: t.Unit.Needs.Disk, Routed: t.Route != nil, Noted: true}
	if at := t.Unit.Endpoint; at != nil {
		ts.Port, ts.TLS = at.Port, at.TLS
		if at.Scale != nil {
			ts.Replicas = &bounds{at.Replicas, at.Scale.Max, followed(at)}
		}
		ts.Service = e.opts.serviceName(t.Unit.ID)
		b, err := json.Marshal(e.settings(ts).service(t))
		if err != nil {
			return ts, err
		}
		ts.toward = string(b)
		if o := e.settings(ts).exposed(t); o != nil {
			if b, err = json.Marshal(o); err != nil {
				return ts, err
			}
			ts.exposed = string(b)
		}
	}
	ts.Origin = origin{machine(), t.Dir}
	return ts, nil
}

// data returns the contents of the ConfigMap.
func (ts taskState) data() (map[string]string, error) {
	ts.Dir, ts.UID, ts.Context, ts.Cluster = "", "", "", ""
	b, err := json.Marshal(ts)
	data := map[string]string{taskStateKey: string(b)}
	if ts.toward != "" {
		data[serviceKey] = ts.toward
	}
	if ts.exposed != "" {
		data[exposedKey] = ts.exposed
	}
	return data, err
}

// fromConfigMap decodes a task state. Its place is the one it was found in, except for the
// store.
func fromConfigMap(m *corev1.ConfigMap, p Place, dir string) (taskState, error) {
	var ts taskState
	text := cmp.Or(m.Data[taskStateKey], m.Data[formerKey])
	if err := json.Unmarshal([]byte(text), &ts); err != nil || ts.Name != m.Name {
		return ts, fmt.Errorf("the ConfigMap %s in namespace %s is not one of tenon's: remove it, or choose another namespace", m.Name, p.Namespace)
	}
	ts.Context, ts.Cluster, ts.Namespace, ts.UID, ts.Dir = p.Context, p.Cluster, p.Namespace, m.UID, dir
	ts.toward, ts.exposed = m.Data[serviceKey], m.Data[exposedKey]
	return ts, nil
}

func (ts taskState) handle() (state.Handle, error) {
	h, err := local.Handle(Name, ts.Name, ts)
	if ts.Service != "" {
		at := ir.Endpoint{Host: ts.Service + "." + ts.Namespace + ".svc", Port: ts.Port, TLS: ts.TLS}
		h.Endpoint = at.URL()
	}
	return h, err
}

// fromHandle decodes the task state in a handle. The handle may come from another machine,
// where the folder of the run has another path.
func (e *Executor) fromHandle(h state.Handle) (taskState, error) {
	var ts taskState
	if h.Executor != Name {
		return ts, fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, Name)
	}
	if err := json.Unmarshal(h.Data, &ts); err != nil {
		return ts, fmt.Errorf("handle %s: %w", h.ID, err)
	}
	if ts.Name == "" || ts.Namespace == "" {
		return ts, fmt.Errorf("handle %s names nothing in a cluster", h.ID)
	}
	if e.opts.Runs != "" {
		ts.Dir = filepath.Join(e.opts.Runs, ts.Name)
	}
	return ts, nil
}
