package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func compileCommand(a *app) *cobra.Command {
	var asJSON bool
	var format, out string
	c := &cobra.Command{
		Use: "compile [DIR]", Short: "Check a system and print its units", Args: atMost(1, "one folder"),
		Long: `Checks the system and prints its units. With --json or --format=ir, it prints the
intermediate representation, which is the same on every machine.

With --format=manifests, it prints the objects for a target in a cluster, as YAML.
They are for reading: the annotation tenon.dev/settled-by-apply lists names,
images and digests that only an apply determines.

With --format=terraform, it writes the infrastructure for a target in a cloud: files for
OpenTofu or Terraform, into the folder of --out. With --format=cloudformation, it writes
that of a target in AWS as a template. It replaces and removes only files that it has
written before. Without --out, it prints them.

It runs nothing, contacts no cluster and no cloud, and does not read the state.`,
		Example: `  tenon compile
  tenon compile -t env=prod --json > prod.ir.json
  tenon compile -t target=cluster --format=manifests
  tenon compile -t target=aws --format=terraform --out infrastructure
  tenon compile -t target=aws --format=cloudformation --out stack`,
		RunE: func(c *cobra.Command, args []string) error {
			if asJSON && format != formats[0] {
				return &usageError{errors.New("--json and --format cannot be used together")}
			}
			if asJSON {
				format = "ir"
			}
			if !slices.Contains(formats, format) {
				return &usageError{fmt.Errorf("--format must be one of %s, not %q", strings.Join(formats, ", "), format)}
			}
			if f, ok := project.Formats[format]; ok {
				return a.infrastructure(c.Context(), folder(args), f, out)
			}
			if out != "" {
				return &usageError{errors.New("--out needs --format=terraform or --format=cloudformation")}
			}
			r, err := a.compile(c.Context(), folder(args))
			if err != nil {
				return err
			}
			order := project.Order(r.System.Units)
			units := slices.SortedFunc(slices.Values(r.System.Units), func(a, b ir.Unit) int { return order(a.ID, b.ID) })
			switch format {
			case "ir":
				return a.printJSON(r.System)
			case "manifests":
				if err := r.OneTarget(); err != nil {
					return err
				}
				return a.printManifests(r.System, units)
			}
			w := table(a.stdout)
			if len(r.System.Units) > 0 {
				fmt.Fprintf(w, "UNIT\tKIND\tCOMPONENT\tDIGEST\n")
			}
			for _, u := range units {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.ID, u.Kind, u.Component, artifact.Short(u.Digest))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if len(r.System.Units) > 0 {
				fmt.Fprintln(a.stdout)
			}
			a.warnOf(r.System)
			chosen := ""
			if r.Choice != "" {
				chosen = "; tenon plan chooses one of " + strings.Join(r.Names(), ", ")
			}
			_, err = fmt.Fprintf(a.stdout, "%s on %s (%s): %s%s\n", a.named(r.System.Name, r.System.Env), r.System.Target.Name, r.System.Target.Executor, plural(int64(len(r.System.Units)), "unit"), chosen)
			return err
		},
	}
	a.tagFlag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the intermediate representation as JSON")
	c.Flags().StringVar(&format, "format", formats[0], "`FORMAT`: "+strings.Join(formats, ", "))
	c.Flags().StringVar(&out, "out", "", "write the files of --format=terraform or cloudformation into `DIR`")
	_ = c.MarkFlagDirname("out")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// formats lists the output formats for a compiled system.
var formats = []string{"table", "ir", "manifests", "terraform", "cloudformation"}

// warnOf prints the warnings of a compiled system.
func (a *app) warnOf(sys *ir.System) {
	var warnings strings.Builder
	for _, e := range sys.Entities {
		a.writeWarnings(&warnings, e.Warnings)
	}
	fmt.Fprint(a.stderr, warnings.String())
}

// infrastructure writes the infrastructure of the system in dir into a folder, or prints it.
func (a *app) infrastructure(ctx context.Context, dir string, f project.Format, out string) error {
	p, err := a.project(dir)
	if err != nil {
		return err
	}
	r, err := p.CompileInfrastructure(ctx)
	if err != nil {
		return err
	}
	docs, err := f.Infrastructure(r)
	if err != nil {
		return err
	}
	a.warnOf(r.System)
	if out == "" {
		for _, d := range docs {
			if f.Shows(d) {
				if _, err := a.stdout.Write(f.Shown(d)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	removed, err := f.Write(out, docs)
	if err != nil {
		return err
	}
	for _, name := range removed {
		fmt.Fprintf(a.stdout, "removed %s, which the system does not need any more\n", filepath.Join(out, name))
	}
	_, err = fmt.Fprintf(a.stdout, "%s on %s (%s): %s in %s; its README.md says how to apply them\n",
		a.named(r.System.Name, r.System.Env), r.System.Target.Name, r.System.Target.Executor, plural(int64(len(docs)), "file"), out)
	return err
}

func (a *app) printManifests(sys *ir.System, units []ir.Unit) error {
	all, err := project.Manifests(sys, units)
	if err != nil {
		return err
	}
	return a.printYAML(all)
}

// printYAML prints objects as YAML documents.
func (a *app) printYAML(objects []executors.Manifest) error {
	for _, m := range objects {
		if _, err := fmt.Fprintf(a.stdout, "---\n%s", m.YAML); err != nil {
			return err
		}
	}
	return nil
}
