package project

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/all"
	"github.com/tenon-ml/tenon/executors/terraform"
	"github.com/tenon-ml/tenon/executors/terraform/backend"
	"github.com/tenon-ml/tenon/executors/terraform/tool"
	"github.com/tenon-ml/tenon/internal/seal"
	"github.com/tenon-ml/tenon/planner/state"
)

// keyVariable has the key with which the state of the infrastructure is encrypted.
const keyVariable = "TENON_STATE_KEY"

// A provisioner plans and applies the infrastructure of an environment.
type provisioner struct {
	w        *Workspace
	by       terraform.Provisioning
	recorded *state.Infrastructure // or nil
	key      *seal.Key
	dir      tool.Dir
}

// errUnmanaged says why tenon does not look at the infrastructure.
type errUnmanaged struct{ why string }

func (e *errUnmanaged) Error() string { return e.why }

// provisioner returns what plans and applies the infrastructure of a target. The error is an [errUnmanaged] if
// tenon need not look at it, and nil with nil if the target has none, and never had.
func (w *Workspace) provisioner(ctx context.Context, t ir.Target) (*provisioner, error) {
	by, has, err := all.Provisioning(t)
	if err != nil {
		return nil, err
	}
	recorded, err := w.store.Infrastructure(ctx)
	if err != nil {
		return nil, err
	}
	exists := recorded != nil && recorded.Resources > 0
	switch {
	case !has && !exists:
		return nil, nil
	case !has:
		return nil, &errUnmanaged{fmt.Sprintf("%s in %s that an earlier target needed still exist: go back to that target and run tenon destroy to remove them", resources(recorded.Resources), recorded.Place)}
	case !by.Managed && exists:
		return nil, fmt.Errorf("target %s says that its infrastructure is external, but tenon has made %s: remove `infrastructure`, or run tenon destroy with the former settings first", t.Name, resources(recorded.Resources))
	case !by.Managed:
		return nil, &errUnmanaged{"the target says that it is external"}
	case exists && recorded.Place != by.Place:
		return nil, fmt.Errorf("the infrastructure of this environment is in %s, and target %s is in %s: run tenon destroy with the former settings first, or use another environment", recorded.Place, t.Name, by.Place)
	}
	p := &provisioner{w: w, by: by, recorded: recorded}
	found, err := tool.Find(ctx, by.Tool, w.set.Environ)
	switch {
	case errors.Is(err, tool.ErrNone) && !exists:
		return nil, &errUnmanaged{err.Error() + ": apply what tenon compile --format=terraform writes"}
	case errors.Is(err, tool.ErrNone):
		return nil, fmt.Errorf("%w, but tenon has made %s: install one, or name it as `tool` of the target", err, resources(recorded.Resources))
	case err != nil:
		return nil, err
	}
	if p.key, err = w.sealKey(recorded); err != nil {
		return nil, err
	}
	p.dir = tool.Dir{Tool: found, Path: w.infrastructureDir(), Environ: w.set.Environ, Cache: filepath.Join(w.set.Cache, "providers")}
	return p, nil
}

// infrastructureDir returns the folder in which the tool runs for the environment.
func (w *Workspace) infrastructureDir() string {
	return filepath.Join(w.dir, "infrastructure", cmp.Or(w.Env(), "_"))
}

// resources says how many there are.
func resources(n int) string {
	if n == 1 {
		return "1 resource"
	}
	return fmt.Sprintf("%d resources", n)
}

// sealKey returns the key of the state of the infrastructure. It makes one for a state in a folder that has
// recorded nothing yet.
func (w *Workspace) sealKey(recorded *state.Infrastructure) (key *seal.Key, err error) {
	file := filepath.Join(w.dir, "infrastructure.key")
	text, given := w.set.lookup(keyVariable)
	switch {
	case given:
		if key, err = seal.Parse(text); err != nil {
			return nil, fmt.Errorf("$%s: %w", keyVariable, err)
		}
	case w.store.Shared():
		return nil, fmt.Errorf("a shared state keeps what tofu knows of the infrastructure encrypted: set $%s to a key that all who apply have, 64 hexadecimal digits as openssl rand -hex 32 prints them", keyVariable)
	default:
		if key, err = seal.File(file, recorded == nil); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("the infrastructure is recorded with the key %s, but %s is gone: restore it from a backup, or set $%s", recorded.Key, file, keyVariable)
		} else if err != nil {
			return nil, err
		}
	}
	if recorded != nil && recorded.Key != key.ID() {
		return nil, fmt.Errorf("the infrastructure is recorded with the key %s, but the key is %s: set $%s to the former one", recorded.Key, key.ID(), keyVariable)
	}
	return key, nil
}

// sealedState is what is encrypted: what Terraform knows, and what is or was about to be applied.
type sealedState struct {
	State  json.RawMessage   `json:"state,omitempty"` // or nil if nothing was made yet
	Files  map[string]string `json:"files"`           // the configuration
	Target ir.Target         `json:"target"`
}

// purpose binds what is encrypted to its environment.
func (p *provisioner) purpose(what string) string { return what + "/" + p.w.Env() }

// open returns the newest recorded state. It is empty if there is none.
func (p *provisioner) open() (s sealedState, err error) {
	if p.recorded == nil {
		return s, nil
	}
	b, err := p.key.Open(p.recorded.Sealed, p.purpose("state"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("version %d of the infrastructure: %w", p.recorded.Version, err)
	}
	return s, nil
}

// head is the part of a state of Terraform that tenon reads.
type head struct {
	Serial    int64          `json:"serial"`
	Lineage   string         `json:"lineage"`
	Resources []headResource `json:"resources"`
}

type headResource struct {
	Module    string `json:"module"` // "" or "module.a"
	Mode      string `json:"mode"`
	Type      string `json:"type"`
	Name      string `json:"name"`
	Instances []struct {
		Dependencies []string `json:"dependencies"` // addresses of resources, without keys of instances
	} `json:"instances"`
}

// address returns the address of a managed resource without keys of instances.
func (r headResource) address() string {
	if r.Module == "" {
		return r.Type + "." + r.Name
	}
	return resourceOf(r.Module) + "." + r.Type + "." + r.Name
}

func headOf(b []byte) (h head, err error) {
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("read a state of Terraform: %w", err)
	}
	return h, nil
}

// count returns how many resources there are.
func (h head) count() (n int) {
	for _, r := range h.Resources {
		if r.Mode == "managed" {
			n += len(r.Instances)
		}
	}
	return n
}

// has reports whether there is a resource of a type and a name.
func (h head) has(kind, name string) bool {
	for _, r := range h.Resources {
		if r.Mode == "managed" && r.Type == kind && r.Name == name && len(r.Instances) > 0 {
			return true
		}
	}
	return false
}

// keeper keeps the state of Terraform in that of tenon, for [backend.Serve].
type keeper struct {
	p        *provisioner
	lease    *state.Lease // nil for a plan, which writes nothing
	revision int
	apply    string // names this apply
	sealedState
}

var _ backend.Store = (*keeper)(nil)

// Read returns the newest state: what a killed apply has left, if that is newer than what is recorded.
func (k *keeper) Read(context.Context) ([]byte, error) {
	left, continues, err := k.p.left()
	if err != nil || continues {
		return left, err
	}
	s, err := k.p.open()
	return s.State, err
}

// Write records a state as the next version.
func (k *keeper) Write(ctx context.Context, b []byte) error {
	var h head
	if b != nil {
		var err error
		if h, err = headOf(b); err != nil {
			return err
		}
	}
	k.State = b
	content, err := json.Marshal(k.sealedState)
	if err != nil {
		return err
	}
	sealed, err := k.p.key.Seal(content, k.p.purpose("state"))
	if err != nil {
		return err
	}
	locks, err := k.p.dir.Locks()
	if err != nil {
		return err
	}
	next := state.Infrastructure{Revision: k.revision, InfrastructureDetail: state.InfrastructureDetail{
		Apply: k.apply, Serial: h.Serial, Lineage: h.Lineage, Resources: h.count(), Config: digestOf(k.Files), Tool: k.p.dir.String(), Place: k.p.by.Place,
		Locks: locks, Key: k.p.key.ID(), Sealed: sealed,
	}}
	if next.Version, err = k.lease.RecordInfrastructure(ctx, next); err != nil {
		return err
	}
	k.p.recorded = &next
	return nil
}

// begin records what is about to be applied, before anything is made.
func (k *keeper) begin(ctx context.Context) error {
	s, err := k.p.open()
	if err != nil {
		return err
	}
	k.apply = rand.Text()
	if err := k.Write(ctx, s.State); err != nil {
		return err
	}
	return k.p.dir.Begin(k.apply)
}

func (k *keeper) Check(ctx context.Context) error { return k.lease.Check(ctx) }

// left returns the state that a killed apply has left on this machine and that is not recorded, or nil. It
// continues what is recorded unless another apply, perhaps on another machine, has begun since.
func (p *provisioner) left() (b []byte, continues bool, err error) {
	if b, err = p.dir.Left(); b == nil || err != nil {
		return nil, false, err
	}
	h, err := headOf(b)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", p.dir.Path, err)
	}
	by, err := p.dir.Began()
	if err != nil {
		return nil, false, err
	}
	r := p.recorded
	switch {
	case r == nil || r.Apply != by || r.Lineage != "" && r.Lineage != h.Lineage:
		return b, false, nil
	case r.Lineage != "" && r.Serial >= h.Serial:
		return nil, false, nil // it was recorded
	}
	return b, true, nil
}

// digestOf returns the digest of a configuration.
func digestOf(files map[string]string) string {
	b, _ := json.Marshal(files) // this cannot fail, and sorts the names
	return ir.Sum(b)
}

// configuration returns the files that a system needs.
func configuration(sys *ir.System) (map[string]string, error) {
	docs, _, err := all.Infrastructure(sys)
	if err != nil {
		return nil, fmt.Errorf("the infrastructure of %s: %w", sys.Name, err)
	}
	out := map[string]string{}
	for _, d := range docs {
		if strings.HasSuffix(d.Name, ".tf") {
			out[d.Name] = string(d.Content)
		}
	}
	return out, nil
}
