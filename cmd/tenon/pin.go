package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/state"
)

func pinCommand(a *app) *cobra.Command {
	var asJSON, remove, all bool
	var dir, reason string
	c := &cobra.Command{
		Use: "pin [UNIT[@REVISION]]", Short: "Keep automation from replacing what is deployed", Args: atMost(1, "one unit or entity"), ValidArgsFunction: a.completeUnits(&dir),
		Long: `Pins what is deployed for a unit or an entity: no loop trains it, releases it or rolls it back
until the pin is removed. A pin holds at once, also while an apply is running, and for one
environment. It does not keep a person from tenon apply or tenon rollback.

With a revision, the pin is refused unless what is deployed is as it was at its end. Without
a name, it lists the pins.`,
		Example: `  tenon pin
  tenon pin models.late --reason "audited for the regulator"
  tenon pin models.late@7
  tenon pin --remove models.late`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if remove && len(args) == 0 {
				return &usageError{errors.New("name the unit or entity whose pin is removed: tenon pin --remove models.late")}
			}
			if all && (remove || len(args) > 0) {
				return &usageError{errors.New("--all lists pins: it takes no name")}
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				if len(args) == 0 {
					pins, err := w.Pins(ctx, all)
					if err != nil {
						return err
					}
					if asJSON {
						return a.printJSON(pins)
					}
					return a.printPins(pins)
				}
				change, says := w.Unpin, "is no longer pinned"
				if !remove {
					change, says = func(ctx context.Context, name string) (*state.Pin, error) { return w.Pin(ctx, name, reason) }, "is pinned"
				}
				p, err := change(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(p)
				}
				_, err = fmt.Fprintf(a.stdout, "%s %s, as revision @%d deployed it.\n", p.Unit, says, p.Revision)
				return err
			})
		},
	}
	a.releaseFlags(c, &dir)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&remove, "remove", false, "lift the pin")
	c.Flags().BoolVar(&all, "all", false, "list the pins that were removed too")
	c.Flags().StringVar(&reason, "reason", "", "the `TEXT` that the record shows")
	return c
}

func (a *app) printPins(pins []state.Pin) error {
	if len(pins) == 0 {
		_, err := fmt.Fprintln(a.stdout, "Nothing is pinned.")
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "PINNED\tREVISION\tBY\tSINCE\tREMOVED\tREASON")
	for _, p := range pins {
		removed := "-"
		if !p.Lifted.IsZero() {
			removed = fmt.Sprintf("%s by %s", p.Lifted.Local().Format(time.DateTime), p.LiftedBy)
		}
		fmt.Fprintf(t, "%s\t@%d\t%s\t%s\t%s\t%s\n", p.Unit, p.Revision, p.By, p.At.Local().Format(time.DateTime), removed, printable(p.Reason))
	}
	return t.Flush()
}
