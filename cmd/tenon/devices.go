package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
)

func devicesCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "devices [DIR]", Short: "List the GPUs of this machine and the units that use them", Args: atMost(1, "one folder"),
		Long: `Lists the GPUs that CDI specifications and nvidia-smi report: model, memory, the
pool of the system that they belong to, and the units that use them now. Other
systems on this machine are not visible.

CDI specifications are read from /etc/cdi and /var/run/cdi, or from the folders in
$TENON_CDI.`,
		Example: "  tenon devices\n  tenon devices --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			p, err := a.project(folder(args))
			if err != nil {
				return err
			}
			devices, poolErr := p.Devices(ctx)
			if devices == nil {
				return poolErr
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

func (a *app) printDevices(devices []project.Device) error {
	if len(devices) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No GPU found.")
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "device\tmodel\tmemory\tpool\tused by")
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

func heldBy(hs []project.Holder) string {
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
