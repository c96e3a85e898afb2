package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/state"
)

func gcCommand(a *app) *cobra.Command {
	var o gcOptions
	var keepModels string
	var olderThan, records age
	var wait time.Duration
	c := &cobra.Command{
		Use: "gc [DIR]", Short: "Remove what is neither deployed nor needed for a rollback", Args: atMost(1, "one folder"),
		Long: `Removes old revisions, the runs, logs, artifacts and code that are neither deployed
nor needed for a rollback to a revision that is kept, and the pages of tenon open and
tenon compare about revisions that are removed. It lists everything first.

The newest revisions are kept, with everything that tenon rollback and a plan need,
and all versions of models unless limited. The resource usage of the last ten runs
of a unit is kept for estimates.

Measurements of monitors and acts of loops are removed when they are older than 90 days,
or --keep-records. What the decisions of loops depend on is kept longer.

What all systems of a user share, such as Python environments, is removed only
with --cache, and only if no system used it for 30 days. Nothing is removed from a
shared artifact store, because other states may need it.`,
		Example: `  tenon gc --dry-run
  tenon gc --keep 3 --older-than 30d
  tenon gc --keep-models 5 --cache --yes
  tenon gc --dry-run --json | jq '.size'`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			ctx := c.Context()
			if o.json && !o.yes && !o.dry {
				return errUnasked
			}
			if o.Retention.Revisions < 1 {
				return &usageError{fmt.Errorf("--keep must be at least 1, not %d", o.Retention.Revisions)}
			}
			if o.Retention.Models, err = modelsToKeep(keepModels); err != nil {
				return err
			}
			o.Retention.Age, o.Retention.Records = time.Duration(olderThan), time.Duration(records)
			if o.Retention.Records <= 0 {
				return &usageError{errors.New("--keep-records must be longer than 0")}
			}
			p, err := a.project(folder(args))
			if err != nil {
				return err
			}
			return p.WithAll(ctx, func(w *project.Workspace) (err error) {
				s, err := w.LockAll(ctx, "tenon gc", wait)
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, s.Release(ctx)) }()
				return a.collectGarbage(ctx, s, o)
			})
		},
	}
	a.placeFlag(c)
	f := c.Flags()
	f.IntVar(&o.Retention.Revisions, "keep", 10, "keep the newest `N` revisions")
	f.StringVar(&keepModels, "keep-models", "all", "keep the newest `N` versions of each model, at least 2")
	f.Var(&olderThan, "older-than", "keep all revisions that are younger than an `AGE` such as 30d")
	records = age(keepRecords)
	f.Var(&records, "keep-records", "keep measurements and acts of loops younger than an `AGE` (default 90d)")
	f.BoolVar(&o.Cache, "cache", false, "also remove what all systems share and no system used for 30 days")
	f.BoolVar(&o.dry, "dry-run", false, "show what would be removed, and remove nothing")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	f.BoolVar(&o.json, "json", false, "print JSON; needs --yes or --dry-run")
	f.DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}

// keepRecords is how long measurements and acts of loops are kept.
const keepRecords = 90 * 24 * time.Hour

type gcOptions struct {
	project.CollectOptions
	dry, yes, json bool
}

func modelsToKeep(s string) (int, error) {
	if s == "all" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 2 {
		return 0, &usageError{fmt.Errorf("--keep-models must be all or at least 2, not %q: a plan compares a model with the previous version", s)}
	}
	return n, nil
}

// An age is a duration that may be written in days.
type age time.Duration

func (d *age) String() string { return "" } // no default value

func (d *age) Type() string { return "age" }

func (d *age) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		*d = age(time.Duration(n) * 24 * time.Hour)
		return err
	}
	v, err := time.ParseDuration(s)
	if err == nil && v < 0 {
		err = errors.New("it is negative")
	}
	*d = age(v)
	return err
}

func (a *app) collectGarbage(ctx context.Context, s *project.Session, o gcOptions) error {
	g, err := s.Collect(ctx, o.CollectOptions)
	if err != nil {
		return err
	}
	if !o.json {
		if err := a.printGarbage(g); err != nil {
			return err
		}
	}
	if !o.dry && !g.Empty() {
		if !o.yes {
			if err := a.confirm("Remove this?"); err != nil {
				return err
			}
		}
		if err := g.Remove(ctx); err != nil {
			return err
		}
	}
	switch {
	case o.json:
		return a.printJSON(g)
	case g.Removed:
		kept := fmt.Sprintf("@%d on", g.Oldest)
		for _, env := range slices.Sorted(maps.Keys(g.Environments)) {
			kept += fmt.Sprintf(", in the environment %s from @%d on", env, g.Environments[env].Oldest)
		}
		fmt.Fprintf(a.stdout, "\nRemoved %s. Revisions are kept from %s.\n", bytesOf(g.Size), kept)
	}
	return nil
}

// garbageKinds lists the names of the kinds of garbage, in display order.
var garbageKinds = []struct{ kind, one string }{
	{"artifact", "artifact"}, {"run", "run folder"}, {"checkpoints", "checkpoint folder"}, {"code", "code folder"}, {"report", "report"}, {"python environment", "python environment"},
}

func (a *app) printGarbage(doc *project.Garbage) error {
	if doc.Empty() {
		_, err := fmt.Fprintln(a.stdout, "Nothing to remove.")
		return err
	}
	count, size := map[string]int64{}, map[string]int64{}
	kinds := slices.Clone(garbageKinds)
	for _, g := range doc.Garbage {
		if !slices.ContainsFunc(kinds, func(k struct{ kind, one string }) bool { return k.kind == g.Kind }) {
			kinds = append(kinds, struct{ kind, one string }{g.Kind, g.Kind})
		}
		count[g.Kind]++
		size[g.Kind] += g.Size
	}
	fmt.Fprint(a.stdout, "These are no longer needed:\n\n")
	t := table(a.stdout)
	printRevisions(t, doc.Revisions, "")
	for _, env := range slices.Sorted(maps.Keys(doc.Environments)) {
		printRevisions(t, doc.Environments[env].Revisions, " of "+env)
	}
	if doc.Runs > 0 {
		fmt.Fprintf(t, "  %s\tof the state\n", plural(int64(doc.Runs), "run"))
	}
	if len(doc.Models) > 0 {
		fmt.Fprintf(t, "  %s\t%s\n", plural(int64(len(doc.Models)), "version"), spanOfModels(doc.Models))
	}
	if doc.Measurements > 0 {
		fmt.Fprintf(t, "  %s\tof monitors\n", plural(int64(doc.Measurements), "measurement"))
	}
	if doc.Acts > 0 {
		fmt.Fprintf(t, "  %s\tof loops\n", plural(int64(doc.Acts), "act"))
	}
	for _, k := range kinds {
		if n := count[k.kind]; n > 0 {
			fmt.Fprintf(t, "  %s\t%s\n", plural(n, k.one), bytesOf(size[k.kind]))
		}
	}
	return t.Flush()
}

func printRevisions(t io.Writer, numbers []int, of string) {
	n := len(numbers)
	if n == 0 {
		return
	}
	span := fmt.Sprintf("@%d", slices.Min(numbers))
	if n > 1 {
		span += fmt.Sprintf(" to @%d", slices.Max(numbers))
	}
	fmt.Fprintf(t, "  %s\t%s%s\n", plural(int64(n), "revision"), span, of)
}

// spanOfModels describes the models whose versions are removed.
func spanOfModels(models []state.ModelVersion) string {
	var names []string
	for _, m := range models {
		if !slices.Contains(names, m.Model) {
			names = append(names, m.Model)
		}
	}
	return "of " + clip(strings.Join(names, ", "))
}
