package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/artifact"
)

func predictCommand(a *app) *cobra.Command {
	var asJSON bool
	var dir string
	var o project.PredictOptions
	c := &cobra.Command{
		Use: "predict MODEL [FILE]", Short: "Ask a model, in the environment that it was trained in", ValidArgsFunction: a.completeUnits(&dir),
		Long: `Predicts with a model that was trained, whether it is served or not. FILE.parquet is a
table with the columns of the model; others are ignored. --to gets one row for each:
its prediction and, for a classifier, the probability, as serve.#Batch writes them.
FILE.json is a request as serve.#HTTP takes it, {"instances": [{COLUMN: VALUE}]}, and
the answer of the service is printed. What these refuse is refused here.

--probabilities adds the probability of every class of a classifier: to an answer the
field probabilities, as the service does for ?probabilities=true, and to a table a
column probability_CLASS for each.

Without FILE, it lists the columns of the model.`,
		Example: `  tenon predict models/late
  tenon predict models/late request.json
  tenon predict models/late request.json --probabilities
  tenon predict models/late flights.parquet --to predictions.parquet --revision 3`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return &usageError{fmt.Errorf("tenon predict takes a model, such as models/late, and a file, but got %s; see tenon predict --help", plural(int64(len(args)), "argument"))}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if err := checkRevision(c, o.Revision); err != nil {
				return err
			}
			if len(args) == 2 {
				o.Data = args[1]
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				p, err := w.Predict(ctx, args[0], o)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(p)
				}
				return a.printPredicted(p)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().StringVar(&o.To, "to", "", "write the predictions for a table to `FILE`")
	revisionFlag(c, &o.Revision)
	c.Flags().BoolVar(&o.Probabilities, "probabilities", false, "add the probability of every class")
	c.Flags().BoolVar(&o.Force, "force", false, "replace an existing file")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printPredicted(p *project.Predicted) error {
	switch {
	case p.Answer != nil:
		_, err := fmt.Fprintf(a.stdout, "%s\n", p.Answer)
		return err
	case p.Path != "":
		_, err := fmt.Fprintf(a.stdout, "%s: predictions of %s.%s  %s\n", p.Path, p.Unit, p.Port, a.paint(faint, artifact.Short(p.Digest)))
		return err
	}
	t := table(a.stdout)
	fmt.Fprintf(t, "%s takes\n", a.paint(bold, p.Unit+"."+p.Port))
	for _, c := range p.Signature.Input {
		fmt.Fprintf(t, "  %s\t%s\n", c.Name, describeColumn(c))
	}
	fmt.Fprintf(t, "and predicts\n  %s\t%s\n", p.Signature.Output.Name, describeColumn(p.Signature.Output))
	return t.Flush()
}

// describeColumn describes a column in a few words.
func describeColumn(c ir.Column) string {
	parts := []string{c.Type}
	if c.Nullable {
		parts = append(parts, "nullable")
	}
	if c.NaN {
		parts = append(parts, "or NaN")
	}
	if c.JSON {
		parts = append(parts, "JSON")
	}
	if c.Min != "" {
		parts = append(parts, "at least "+c.Min.String())
	}
	if c.Max != "" {
		parts = append(parts, "at most "+c.Max.String())
	}
	if len(c.Values) > 0 {
		parts = append(parts, "one of "+strings.Join(c.Values, " "))
	}
	return strings.Join(parts, ", ")
}
