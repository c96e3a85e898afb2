package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func modelsCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	c := &cobra.Command{
		Use: "models [NAME | DIR]", Short: "List the registered models and their versions", Args: atMost(1, "one model or folder"),
		Long: `Lists every version of every model that passed its gates, newest first, with the
metrics it was registered with. "*" marks the deployed version.

With the name of a model, such as models/late or late, it also shows the run that
trained each version and the deployed units that use it. The folder of a system is
named ./late if a model has the same name.`,
		Example: "  tenon models\n  tenon models models/late\n  tenon models late --json",
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if len(args) == 1 && (strings.HasPrefix(args[0], "models/") || !project.IsSystem(args[0])) {
				return a.withApplied(ctx, dir, func(w *project.Workspace) error {
					versions, err := w.Model(ctx, args[0])
					if err != nil {
						return err
					}
					if asJSON {
						return a.printJSON(versions)
					}
					a.printModel(versions)
					return nil
				})
			}
			if len(args) == 1 {
				dir = args[0]
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				models, err := w.Models(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(models)
				}
				return a.printModels(models)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.ValidArgsFunction = func(c *cobra.Command, args []string, toComplete string) (names []string, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			_ = a.withApplied(c.Context(), dir, func(w *project.Workspace) error {
				models, err := w.Models(c.Context())
				for _, m := range models {
					if strings.HasPrefix(m.Model, toComplete) && !slices.Contains(names, m.Model) {
						names = append(names, m.Model)
					}
				}
				return err
			})
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

func (a *app) printModels(models []project.Model) error {
	if len(models) == 0 {
		_, err := fmt.Fprintln(a.stdout, "No model is registered yet.")
		return err
	}
	t := table(a.stdout)
	fmt.Fprintln(t, "MODEL\tVERSION\tDIGEST\tREGISTERED\tMETRICS")
	for _, m := range models {
		mark := ""
		if m.Current {
			mark = " *"
		}
		fmt.Fprintf(t, "%s\t%d%s\t%s\t%s\t%s\n", m.Model, m.Version, mark, artifact.Short(m.Digest), m.Created.Local().Format(time.DateTime), allMetrics(m.Metrics, 4))
	}
	return t.Flush()
}

// printModel prints the versions of one model.
func (a *app) printModel(versions []project.ModelDetail) {
	out := a.stdout
	fmt.Fprintln(out, a.paint(bold, versions[0].Model))
	for _, v := range versions {
		mark := ""
		if v.Current {
			mark = " *"
		}
		fmt.Fprintf(out, "\n  version %d%s  %s\n", v.Version, mark, artifact.Short(v.Digest))
		row := func(name, text string) { fmt.Fprintf(out, "    %-11s %s\n", name, text) }
		row("registered", v.Created.Local().Format(time.DateTime))
		run := "no longer recorded"
		if r := v.Run; r != nil {
			run = fmt.Sprintf("%s, run %d in revision %d, %s", r.Unit, r.ID, r.Revision, took(r.Took()))
		}
		row("trained by", run)
		row("used by", orDash(strings.Join(v.UsedBy, ", ")))
		row("metrics", orDash(allMetrics(v.Metrics, len(v.Metrics))))
	}
}

// allMetrics formats at most n metrics, the most important first.
func allMetrics(m map[string]float64, n int) string {
	var names []string
	for _, h := range headline {
		if _, ok := m[h]; ok {
			names = append(names, h)
		}
	}
	var rest []string
	for _, name := range project.Estimates(m) {
		if !slices.Contains(names, name) {
			rest = append(rest, name)
		}
	}
	out := ""
	for i, name := range append(names, rest...) {
		if i == n {
			return out + ", ..."
		}
		if i > 0 {
			out += ", "
		}
		out += name + " " + number(m[name]) + project.IntervalText(m, name, number)
	}
	return out
}
