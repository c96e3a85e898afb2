package kubernetes

import (
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

// A record is what the ConfigMap and the handle of a task store about it. The ConfigMap
// does not name the run's folder, because it differs for each machine.
type record struct {
	Place
	Name    string    `json:"name"` // of the task, and of its objects
	Unit    string    `json:"unit"`
	Kind    ir.Kind   `json:"kind"`
	UID     types.UID `json:"uid,omitempty"`     // of the ConfigMap
	Dir     string    `json:"dir,omitempty"`     // of the run
	Memory  int64     `json:"memory,omitempty"`  // limit, in bytes
	Disk    int64     `json:"disk,omitempty"`    // limit, in bytes
	Port    int       `json:"port,omitempty"`    // port of its Service
	Service string    `json:"service,omitempty"` // the Service that selects the ready version; "" without an endpoint
	State   string    `json:"state,omitempty"`   // lineage of the state that records the task
	Origin  Origin    `json:"origin"`

	toward string // the Service that selects this version, in JSON; not in a handle
}

// An Origin is where a task was started. Only there can tenon tell that nobody needs
// the task any more.
type Origin struct {
	Machine string `json:"machine"`
	Dir     string `json:"dir"` // of the run
}

// Keys of the ConfigMap.
const (
	recordKey  = "record.json"
	serviceKey = "service.json"
)

func (e *Executor) record(t executors.Task, p Place) (record, error) {
	r := record{Place: p, Name: t.Name, Unit: t.Unit.ID, Kind: t.Unit.Kind, State: e.opts.State, Dir: t.Dir, Memory: t.Unit.Needs.Memory, Disk: t.Unit.Needs.Disk}
	if at := t.Unit.Endpoint; at != nil {
		r.Port = at.Port
		r.Service = ServiceName(e.opts.System, t.Unit.ID)
		b, err := json.Marshal(e.settings(r).Service(t))
		if err != nil {
			return r, err
		}
		r.toward = string(b)
	}
	r.Origin = Origin{machine(), t.Dir}
	return r, nil
}

// data returns the contents of the record's ConfigMap.
func (r record) data() (map[string]string, error) {
	r.Dir, r.UID, r.Context = "", "", ""
	b, err := json.Marshal(r)
	data := map[string]string{recordKey: string(b)}
	if r.toward != "" {
		data[serviceKey] = r.toward
	}
	return data, err
}

// fromConfigMap decodes a record. Its place is the one it was found in, except for the
// store.
func fromConfigMap(m *corev1.ConfigMap, p Place, dir string) (record, error) {
	var r record
	if err := json.Unmarshal([]byte(m.Data[recordKey]), &r); err != nil || r.Name != m.Name {
		return r, fmt.Errorf("the ConfigMap %s in namespace %s is not one of tenon's: remove it, or choose another namespace", m.Name, p.Namespace)
	}
	r.Context, r.Namespace, r.UID, r.Dir = p.Context, p.Namespace, m.UID, dir
	r.toward = m.Data[serviceKey]
	return r, nil
}

func (r record) handle() (state.Handle, error) {
	h, err := local.Handle(Name, r.Name, r)
	if r.Service != "" {
		h.Endpoint = fmt.Sprintf("http://%s.%s.svc:%d", r.Service, r.Namespace, r.Port)
	}
	return h, err
}

// fromHandle decodes the record in a handle. The handle may come from another machine,
// where the folder of the run has another path.
func (e *Executor) fromHandle(h state.Handle) (record, error) {
	var r record
	if h.Executor != Name {
		return r, fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, Name)
	}
	if err := json.Unmarshal(h.Data, &r); err != nil {
		return r, fmt.Errorf("handle %s: %w", h.ID, err)
	}
	if r.Name == "" || r.Namespace == "" {
		return r, fmt.Errorf("handle %s names nothing in a cluster", h.ID)
	}
	if e.opts.Runs != "" {
		r.Dir = filepath.Join(e.opts.Runs, r.Name)
	}
	return r, nil
}
