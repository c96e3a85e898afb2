package project

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/gpu"
)

// A Device is a GPU of this machine, or a slice of one.
type Device struct {
	Name   string   `json:"name"`
	ID     string   `json:"id"`
	Model  string   `json:"model,omitempty"`
	Memory int64    `json:"memory,omitempty"` // bytes
	Slice  string   `json:"slice,omitempty"`
	Pool   string   `json:"pool,omitempty"`
	Held   []Holder `json:"held,omitempty"`
	Slices []Device `json:"slices,omitempty"`
}

// A Holder is a unit that uses a device, or a number of shares of it.
type Holder struct {
	Unit string `json:"unit"`
	Part string `json:"part,omitempty"`
}

// Devices returns the GPUs of this machine and the units of the system that use them. If
// they do not match the pools of the system, it returns them together with an error.
func (p *Project) Devices(ctx context.Context) (devices []Device, err error) {
	found, err := p.gpus(ctx)
	if err != nil {
		return nil, err
	}
	pools, poolErr := p.poolsOf(ctx, found)
	held, err := p.heldDevices(ctx)
	if err != nil {
		return nil, err
	}
	devices = []Device{}
	for _, g := range found {
		d := Device{Name: g.Name, ID: g.ID, Model: g.Model, Memory: g.Memory, Pool: pools[g.Name], Held: held[g.Name]}
		for _, s := range g.Slices {
			d.Slices = append(d.Slices, Device{Name: s.Name, ID: s.ID, Slice: s.Part, Held: held[s.Name]})
		}
		devices = append(devices, d)
	}
	return devices, poolErr
}

// poolsOf returns the pools of the system, by the devices that they lend. A folder
// without a system has none.
func (p *Project) poolsOf(ctx context.Context, found []executors.GPU) (map[string]string, error) {
	if files, _ := filepath.Glob(filepath.Join(p.set.Dir, "*.cue")); len(files) == 0 {
		return nil, nil
	}
	r, err := p.Compile(ctx)
	if err != nil {
		return nil, err
	}
	lent, err := gpu.Match(r.System.Pools, found)
	pools := map[string]string{}
	for pool, gpus := range lent {
		for _, g := range gpus {
			pools[g.Name] = pool
		}
	}
	return pools, err
}

// heldDevices returns the units that run with a device, by its name.
func (p *Project) heldDevices(ctx context.Context) (map[string][]Holder, error) {
	held := map[string][]Holder{}
	if there, err := p.hasState(ctx); err != nil || !there {
		return held, err
	}
	return held, p.WithApplied(ctx, func(w *Workspace) error {
		enter := func(unit string, devices []string) {
			for _, text := range devices {
				name, part, _ := strings.Cut(text, " ")
				if h := (Holder{unit, part}); !slices.Contains(held[name], h) {
					held[name] = append(held[name], h)
				}
			}
		}
		runs, err := w.currentRuns(ctx)
		if err != nil {
			return err
		}
		current, err := w.store.Current(ctx)
		if err != nil {
			return err
		}
		for unit, c := range current {
			if c.Kind == ir.Service {
				enter(unit, runs[unit].Devices)
			}
		}
		pending, err := w.store.Pending(ctx)
		for _, p := range pending {
			enter(p.Run.Unit, p.Run.Devices)
		}
		if err != nil {
			return err
		}
		order, err := w.order(ctx)
		if err != nil {
			return err
		}
		for _, hs := range held {
			slices.SortFunc(hs, func(a, b Holder) int { return order(a.Unit, b.Unit) })
		}
		return nil
	})
}
