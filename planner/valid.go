package planner

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// most bounds the amount of a resource, so that sums stay exact.
const most = 1 << 48

// valid returns an error unless the plan can be executed and every name in it that
// becomes a file name stays in its folder. Plans from [Make] are valid; a file may hold
// anything.
func (p *Plan) valid() error {
	if !filepath.IsAbs(p.Dir) {
		return fmt.Errorf("the system's folder, %q, is not absolute", p.Dir)
	}
	if p.System.Version != ir.Version {
		return fmt.Errorf("unknown version %d of the IR", p.System.Version)
	}
	var errs []error
	for i := range p.System.Units {
		if err := validUnit(&p.System.Units[i]); err != nil {
			errs = append(errs, fmt.Errorf("unit %q: %w", p.System.Units[i].ID, err))
		}
	}
	for _, pool := range p.System.Pools {
		if err := validPool(pool); err != nil {
			errs = append(errs, fmt.Errorf("pool %q: %w", pool.Name, err))
		}
	}
	if _, err := sort(p.System.Units); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, p.validItems())...)
}

// validItems requires one item for every unit, and allows deletes only of other units.
func (p *Plan) validItems() error {
	units := p.units()
	missing := maps.Clone(units)
	seen := map[string]bool{}
	for _, it := range p.Items {
		if seen[it.Unit] {
			return fmt.Errorf("duplicate item for %q", it.Unit)
		}
		seen[it.Unit] = true
		u := units[it.Unit]
		if (u == nil) != (it.Action == Delete) {
			return fmt.Errorf("cannot %s %q as it is declared", it.Action, it.Unit)
		}
		if u == nil {
			continue
		}
		if p := it.Pinned; p != nil {
			if err := validUnit(&p.Unit); err != nil || p.Unit.ID != u.ID || p.Unit.Kind != ir.Service {
				return errors.Join(fmt.Errorf("the pinned version of %q is not one of it", it.Unit), err)
			}
		}
		if it.Kind != u.Kind || !slices.Contains(actions[u.Kind], it.Action) {
			return fmt.Errorf("%q is a %s: it cannot %s as a %s", it.Unit, u.Kind, it.Action, it.Kind)
		}
		delete(missing, it.Unit)
	}
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		return fmt.Errorf("no item for %q", id)
	}
	return nil
}

// actions lists what may happen to a unit of each kind, except for Delete.
var actions = map[ir.Kind][]Action{
	ir.Job:     {Run, Reuse},
	ir.Service: {Create, Update, Replace, None, Release},
	ir.Record:  {Create, Update, None},
}

func validUnit(u *ir.Unit) error {
	for _, part := range strings.Split(u.ID, "/") {
		if err := validName(part); err != nil {
			return err
		}
	}
	if actions[u.Kind] == nil {
		return fmt.Errorf("unknown kind %q", u.Kind)
	}
	if err := validAmounts(u.Needs); err != nil {
		return err
	}
	for _, d := range []time.Duration{u.Timeout, u.MaxAge} {
		if d < 0 {
			return fmt.Errorf("%s is not a valid duration", d)
		}
	}
	seen := map[string]bool{}
	for _, in := range u.Inputs {
		if err := validName(in.Port); err != nil || seen[in.Port] {
			return errors.Join(err, fmt.Errorf("input %q is not a valid, unique port name", in.Port))
		}
		seen[in.Port] = true
	}
	clear(seen)
	for _, out := range u.Outputs {
		if err := validName(out.Port); err != nil || seen[out.Port] {
			return errors.Join(err, fmt.Errorf("output %q is not a valid, unique port name", out.Port))
		}
		seen[out.Port] = true
	}
	for _, f := range u.Code.Files {
		if !filepath.IsLocal(filepath.FromSlash(f.Path)) {
			return fmt.Errorf("code file %q is outside its folder", f.Path)
		}
	}
	return nil
}

// validName rejects anything but a single plain path element.
func validName(s string) error {
	if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '/' || r == '\\' }) {
		return fmt.Errorf("%q is not a name", s)
	}
	return nil
}

// mostDevices bounds GPUs and their parts, because each is a separate object.
const mostDevices = 1 << 20

func validPool(p ir.Pool) error {
	counts, parts := []int64{p.GPU, p.Shares}, int64(0)
	for _, s := range p.Slices {
		counts = append(counts, s.Count)
		if s.Memory < 0 || s.Memory > most {
			return fmt.Errorf("%d is not a valid amount of a resource", s.Memory)
		}
	}
	for _, m := range p.Teams {
		counts = append(counts, m.GPU)
	}
	for _, n := range counts {
		if n < 0 || n > mostDevices {
			return fmt.Errorf("%d is not a valid number of GPUs", n)
		}
		parts += n
	}
	if parts > mostDevices || p.Lends() > mostDevices {
		return fmt.Errorf("it has more than %d parts of GPUs", mostDevices)
	}
	if p.Shares > 0 && len(p.Slices) > 0 {
		return errors.New("its GPUs are lent in shares or in slices, not both")
	}
	return validAmounts(p.Resources)
}

func validAmounts(r ir.Resources) error {
	for _, n := range []int64{r.MilliCPU, r.Memory, r.Disk, r.GPU, r.GPUMemory, r.Nodes} {
		if n < 0 || n > most {
			return fmt.Errorf("%d is not a valid amount of a resource", n)
		}
	}
	return nil
}
