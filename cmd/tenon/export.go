package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func exportCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	var o project.ExportOptions
	var b project.BundleOptions
	c := &cobra.Command{
		Use: "export UNIT[.PORT]", Short: "Write a table, model, file or deployment to a file of your own", Args: oneUnit, ValidArgsFunction: a.completeUnits(&dir),
		Long: `Copies what a unit has made out of the state: a table as Parquet or CSV, a model, file
or folder as it is. The name is a unit, a unit and its port, or an entity, which stands
for its output. What is written can be changed; the artifact stays as it is.

A deployment is written for another place to run: as a folder for a machine without
Tenon (bundle), as an OCI image (image), or as a function of AWS Lambda (lambda). It
proves there, with rows of training, that it computes what training has. With onnx, it
is one graph from the columns of a request to predictions.

The destination is complete or absent. An existing file is replaced only with --force,
an existing folder never. With --revision, it is what was deployed after that revision.`,
		Example: `  tenon export features/departures --to departures.csv
  tenon export models/late --to late
  tenon export models/late/evaluate.report --revision 3
  tenon export deployments/api --format bundle --platform linux/arm64 --sign key.pem`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if err := checkRevision(c, o.Revision); err != nil {
				return err
			}
			if err := knownFormat(o.Format); err != nil {
				return err
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				if o.Format == project.FormatONNX && !c.Flags().Changed("rows") {
					b.Rows = 100_000
				}
				if slices.Contains(servedFormats, o.Format) {
					return a.exportService(ctx, w, args[0], o, b, asJSON)
				}
				if err := onlyServed(c); err != nil {
					return err
				}
				e, err := w.Export(ctx, args[0], o)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(e)
				}
				what := e.Kind
				if e.Kind == string(ir.Table) {
					what = plural(e.Rows, "row")
				}
				_, err = fmt.Fprintf(a.stdout, "%s: %s of %s.%s  %s\n", e.Path, what, e.Unit, e.Port, a.paint(faint, artifact.Short(e.Digest)))
				return err
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().StringVar(&o.To, "to", "", "write to `FILE` (default: the name of the entity, in the current folder)")
	c.Flags().StringVar(&o.Format, "format", "", "`FORMAT` of a table: parquet, csv; of a deployment: bundle, image, lambda, onnx")
	revisionFlag(c, &o.Revision)
	c.Flags().BoolVar(&o.Force, "force", false, "replace an existing file")
	servedFlags(c, &b)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(append([]string{"parquet", "csv"}, servedFormats...), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// revisionFlag adds the flag of commands that read results, by default those that are
// deployed. Check it with checkRevision.
func revisionFlag(c *cobra.Command, revision *int) {
	c.Flags().IntVar(revision, "revision", 0, "what was deployed after revision `N` (default: what is deployed)")
}

func checkRevision(c *cobra.Command, revision int) error {
	if c.Flags().Changed("revision") && revision < 1 {
		return &usageError{fmt.Errorf("--revision takes the number of a revision, such as 3, not %d", revision)}
	}
	return nil
}
