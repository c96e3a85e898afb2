package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/gpu"
)

// A device is a GPU of this machine, or a slice of one.
type device struct {
	Name   string   `json:"name"`
	ID     string   `json:"id"`
	Model  string   `json:"model,omitempty"`
	Memory int64    `json:"memory,omitempty"` // bytes
	Slice  string   `json:"slice,omitempty"`
	Pool   string   `json:"pool,omitempty"`
	Held   []holder `json:"held,omitempty"`
	Slices []device `json:"slices,omitempty"`
}

// A holder is a unit that has a device, or so many shares of it.
type holder struct {
	Unit string `json:"unit"`
	Part string `json:"part,omitempty"`
}

func devicesCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "devices [DIR]", Short: "List the GPUs of this machine and who has them", Args: atMost(1, "one folder"),
		Long: `Lists the GPUs that CDI specifications and nvidia-smi tell of: their model and
memory, which pool of the system lends them, and which of its units have them now.
What other systems on this machine have is not known.

CDI specifications are looked for in /etc/cdi and /var/run/cdi, or in the folders
that $TENON_CDI lists.`,
		Example: "  tenon devices\n  tenon devices --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			found, err := gpu.Discover(ctx, gpuOptions())
			if err != nil {
				return err
			}
			pools, poolErr := a.poolsOf(ctx, folder(args), found)
			held, err := a.heldDevices(ctx, folder(args))
			if err != nil {
				return err
			}
			devices := []device{}
			for _, g := range found {
				d := device{Name: g.Name, ID: g.ID, Model: g.Model, Memory: g.Memory, Pool: pools[g.Name], Held: held[g.Name]}
				for _, s := range g.Slices {
					d.Slices = append(d.Slices, device{Name: s.Name, ID: s.ID, Slice: s.Part, Held: held[s.Name]})
				}
				devices = append(devices, d)
			}
			if asJSON {
				err = a.printJSON(devices)
			} else {
				err = a.printDevices(devices)
			}
			return errors.Join(err, poolErr)
		},
	}
	a.systemFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// poolsOf are the pools of the system in dir, by the devices that they lend. A
// folder without a system has none.
func (a *app) poolsOf(ctx context.Context, dir string, found []executors.GPU) (map[string]string, error) {
	if files, _ := filepath.Glob(filepath.Join(dir, "*.cue")); len(files) == 0 {
		return nil, nil
	}
	r, err := a.compile(ctx, dir)
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

// heldDevices are the units that run or stand with a device, by its name.
func (a *app) heldDevices(ctx context.Context, dir string) (map[string][]holder, error) {
	held := map[string][]holder{}
	if there, err := a.hasState(ctx, dir); err != nil || !there {
		return held, err
	}
	return held, a.withApplied(ctx, dir, func(w *workspace) error {
		enter := func(unit string, devices []string) {
			for _, text := range devices {
				name, part, _ := strings.Cut(text, " ")
				if h := (holder{unit, part}); !slices.Contains(held[name], h) {
					held[name] = append(held[name], h)
				}
			}
		}
		standing, err := standingRuns(ctx, w)
		if err != nil {
			return err
		}
		current, err := w.store.Current(ctx)
		if err != nil {
			return err
		}
		for unit, c := range current {
			if c.Kind == ir.Service {
				enter(unit, standing[unit].Devices)
			}
		}
		pending, err := w.store.Pending(ctx)
		for _, p := range pending {
			enter(p.Run.Unit, p.Run.Devices)
		}
		for _, hs := range held {
			slices.SortFunc(hs, func(a, b holder) int { return inOrder(a.Unit, b.Unit) })
		}
		return err
	})
}

func (a *app) printDevices(devices []device) error {
	if len(devices) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No GPU was found.")
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "device\tmodel\tmemory\tpool\theld by")
	for _, d := range devices {
		memory := ""
		if d.Memory > 0 {
			memory = ir.FormatSize(d.Memory)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join([]string{d.Name, cmp.Or(d.Model, "?"), cmp.Or(memory, "?"), cmp.Or(d.Pool, "-"), heldBy(d.Held)}, "\t"), "\t"))
		for _, s := range d.Slices {
			fmt.Fprintln(t, strings.TrimRight(strings.Join([]string{"  " + s.Name, s.Slice, "", "", heldBy(s.Held)}, "\t"), "\t"))
		}
	}
	return t.Flush()
}

func heldBy(hs []holder) string {
	var all []string
	for _, h := range hs {
		text := h.Unit
		if strings.Contains(h.Part, "/") {
			text += " (" + h.Part + ")"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}
