package containerd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/state"
)

// A Place is where containers are.
type Place struct {
	Address     string `json:"address"` // of containerd's socket
	Namespace   string `json:"namespace"`
	Snapshotter string `json:"snapshotter"`
}

// A record is what container.json and a handle say of a task.
type record struct {
	Place
	ID       string       `json:"id"` // of the container
	Name     string       `json:"name"`
	Unit     string       `json:"unit"`
	Kind     ir.Kind      `json:"kind"`
	Dir      string       `json:"dir"`
	Began    time.Time    `json:"began"`
	Image    string       `json:"image,omitempty"`  // digest
	Memory   int64        `json:"memory,omitempty"` // bytes it may use
	Disk     int64        `json:"disk,omitempty"`   // bytes it may write
	Instance string       `json:"instance,omitempty"`
	Endpoint *ir.Endpoint `json:"endpoint,omitempty"`
}

func (e *Executor) record(t executors.Task) record {
	r := record{
		Place: e.opts.Place, ID: containerID(t), Name: t.Name, Unit: t.Unit.ID, Kind: t.Unit.Kind, Dir: t.Dir,
		Memory: t.Unit.Needs.Memory, Disk: t.Unit.Needs.Disk,
	}
	if t.Unit.Kind == ir.Service {
		r.Instance, r.Endpoint = t.Name, t.Unit.Endpoint
	}
	return r
}

// containerID tells the task apart from one of the same name in another state
// folder: all systems of a machine share one namespace.
func containerID(t executors.Task) string {
	sum := sha256.Sum256([]byte(t.Dir))
	return t.Name + "-" + hex.EncodeToString(sum[:])[:8]
}

func recordPath(dir string) string  { return filepath.Join(dir, "container.json") }
func hostsPath(dir string) string   { return filepath.Join(dir, "hosts") }
func verdictPath(dir string) string { return filepath.Join(dir, "verdict") }

func readRecord(dir string) (r record, err error) {
	err = local.ReadRecord(recordPath(dir), &r)
	r.Dir = dir
	return r, err
}

func (r record) save() error { return local.SaveRecord(recordPath(r.Dir), r) }

func (r record) handle() (state.Handle, error) { return local.Handle(Name, r.Name, r) }

// at is the executor for a place: what stands may be elsewhere than the target is
// now.
func (e *Executor) at(p Place) *Executor {
	if p == e.opts.Place || p == (Place{}) {
		return e
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.others[p] == nil {
		o := e.opts
		o.Place = p
		e.others[p] = New(o)
	}
	return e.others[p]
}

// current is what a handle says, or the folder's own record of the same name,
// which is newer if a service was started again.
func current(h state.Handle) (record, error) {
	var r record
	if h.Executor != Name {
		return r, fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, Name)
	}
	if err := json.Unmarshal(h.Data, &r); err != nil {
		return r, fmt.Errorf("handle %s: %w", h.ID, err)
	}
	if r.Dir == "" || r.ID == "" {
		return r, fmt.Errorf("handle %s names no container", h.ID)
	}
	if now, err := readRecord(r.Dir); err == nil && now.Name == r.Name {
		return now, nil
	}
	return r, nil
}

// forget removes what tells of an earlier start in the folder, and what was half
// written. The record goes last, for by it the rest is found.
func forget(dir string) error {
	if err := files.Sweep(dir); err != nil {
		return err
	}
	for _, p := range []string{hostsPath(dir), verdictPath(dir), faultPath(dir), exitPath(dir), recordPath(dir)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
