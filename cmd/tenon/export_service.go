package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/artifact"
)

// servedFormats are those of deployments.
var servedFormats = []string{project.FormatBundle, project.FormatImage, project.FormatLambda, project.FormatONNX}

// servedOnly are the flags of such formats.
var servedOnly = []string{"platform", "program", "sign", "private", "rows", "push"}

func servedFlags(c *cobra.Command, b *project.BundleOptions) {
	c.Flags().StringVar(&b.Platform, "platform", "", "deployment: `OS/ARCH` that it runs on (default: that of this machine)")
	c.Flags().StringVar(&b.Program, "program", "", "deployment: `FILE` of tenon-serve for it (default: OS_ARCH/tenon-serve beside it)")
	c.Flags().StringVar(&b.Sign, "sign", "", "deployment: sign with the private `KEY` in a file, or a variable: env:NAME")
	c.Flags().BoolVar(&b.Private, "private", false, "deployment: values of private columns may leave this machine")
	c.Flags().IntVar(&b.Rows, "rows", 256, "deployment: at most `ROWS` of training in its selftest; onnx: 100000")
	c.Flags().StringVar(&b.Push, "push", "", "image: push it under this `NAME` as well")
}

// onlyServed refuses flags that an export of another kind does not have.
func onlyServed(c *cobra.Command) error {
	for _, name := range servedOnly {
		if c.Flags().Changed(name) {
			return &usageError{fmt.Errorf("--%s is for a deployment, with --format %s", name, strings.Join(servedFormats, " or "))}
		}
	}
	return nil
}

// knownFormat refuses a format that nothing has.
func knownFormat(format string) error {
	if all := append([]string{"", "parquet", "csv"}, servedFormats...); !slices.Contains(all, format) {
		return &usageError{fmt.Errorf("the format is parquet or csv for a table, and %s for a deployment, not %q", strings.Join(servedFormats, ", "), format)}
	}
	return nil
}

func (a *app) exportService(ctx context.Context, w *project.Workspace, name string, o project.ExportOptions, b project.BundleOptions, asJSON bool) error {
	if b.Rows < 1 || b.Rows > 100_000 {
		return &usageError{fmt.Errorf("--rows takes a number from 1 to 100000, not %d", b.Rows)}
	}
	e, err := w.ExportService(ctx, name, o, b)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(e)
	}
	if e.Format == project.FormatONNX {
		return a.showGraph(e)
	}
	fmt.Fprintf(a.stdout, "%s: %s of %s for %s  %s\n", e.Path, e.Format, e.Unit, e.Platform, a.paint(faint, artifact.Short(e.Digest)))
	if e.Pushed != "" {
		fmt.Fprintf(a.stdout, "pushed as %s\n", e.Pushed)
	}
	proof := "its selftest has "
	if e.Sampled > 0 {
		proof += plural(int64(e.Sampled), "row") + " of training and "
	}
	proof += plural(int64(e.Checked), "prediction") + " of Python"
	if e.Tested {
		proof += ", and passes here"
	}
	fmt.Fprintln(a.stdout, proof)
	if e.Key != "" {
		fmt.Fprintf(a.stdout, "signed with %s\n", e.Key)
	}
	for _, note := range e.Notes {
		fmt.Fprintf(a.stderr, "note: %s\n", note)
	}
	return nil
}

// showGraph shows what a graph takes and gives.
func (a *app) showGraph(e *project.ExportedService) error {
	fmt.Fprintf(a.stdout, "%s: graph of %s  %s\n", e.Path, e.Unit, a.paint(faint, artifact.Short(e.Digest)))
	list := func(tensors []project.Tensor) string {
		var all []string
		for _, t := range tensors {
			all = append(all, t.Name+" ("+t.Type+")")
		}
		return strings.Join(all, ", ")
	}
	_, err := fmt.Fprintf(a.stdout, "takes %s\ngives %s\npredicts %s of training as the service does\n", list(e.Inputs), list(e.Outputs), plural(int64(e.Rows), "row"))
	return err
}
