package main

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/componenttest"
	"github.com/tenon-ml/tenon/cmd/internal/scaffold"
)

func componentCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "component", Short: "Create a component, or test components",
		Long: `A component is a folder with code, beside a definition in CUE that says how its
entities become units. docs/components.md explains both.`,
		Example: "  tenon component new lake/kafka --kind source acme\n  tenon component test acme",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for tenon component; see tenon component --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(componentNewCommand(a), componentTestCommand(a))
	return c
}

func componentNewCommand(a *app) *cobra.Command {
	var asJSON bool
	kind := "source"
	c := &cobra.Command{
		Use: "new PACKAGE/NAME [DIR]", Short: "Create a component",
		Long: `Creates a component in Python in the CUE module in DIR, and the module if there is
none: a definition, main.py, the lock of its environment, and an example with
cases. The component compiles and passes tenon component test; edit it from there.
Existing files are not overwritten.`,
		Example: "  tenon component new lake/kafka acme\n  tenon component new text/tokens acme --kind feature",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) < 1 || len(args) > 2 {
				return &usageError{errors.New("tenon component new takes PACKAGE/NAME and at most one folder; see tenon component new --help")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			r := scaffold.Request{Dir: folder(args[1:]), Kind: scaffold.Kind(kind)}
			var named bool
			r.Package, r.Name, named = strings.Cut(args[0], "/")
			if !named {
				return &usageError{fmt.Errorf("a component name is PACKAGE/NAME, such as lake/kafka, not %q", args[0])}
			}
			if _, ok := scaffold.Kinds[r.Kind]; !ok {
				return &usageError{fmt.Errorf("--kind must be one of %s, not %q", kindNames(), kind)}
			}
			if err := errors.Join(scaffold.Valid(r.Package), scaffold.Valid(r.Name)); err != nil {
				return &usageError{err}
			}
			w, err := scaffold.Component(r)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(w)
			}
			for _, f := range w.Files {
				fmt.Fprintf(a.stdout, "wrote %s\n", f)
			}
			next := "tenon component test " + shellQuote(w.Folder)
			if w.Library {
				next = "make build && " + next
			}
			_, err = fmt.Fprintf(a.stdout, "\nNext: %s\n", next)
			return err
		},
	}
	c.Flags().StringVar(&kind, "kind", kind, "`KIND` of component: "+kindNames())
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func kindNames() string {
	var names []string
	for _, k := range slices.Sorted(maps.Keys(scaffold.Kinds)) {
		names = append(names, string(k))
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func componentTestCommand(a *app) *cobra.Command {
	var asJSON bool
	parallel := min(runtime.NumCPU(), 8)
	c := &cobra.Command{
		Use: "test [FOLDER]...", Short: "Check components with the conformance suite",
		Long: `Finds the components in the folders, by default in the current one, and runs the
example of each on local processes, in temporary folders. It checks that:

- outputs are as declared
- the same inputs give the same bytes
- the network is not used unless declared
- progress is reported as in the contract
- no log and no output contains a secret
- bad input is refused in one line
- empty tables and tables of one row are handled
- a run can be stopped`,
		Example: "  tenon component test\n  tenon component test lake/kafka --json",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			if parallel < 1 {
				return &usageError{fmt.Errorf("--parallel must be at least 1, not %d", parallel)}
			}
			components, err := componenttest.Find(args...)
			if err != nil {
				return err
			}
			settings, err := a.settings("")
			if err != nil {
				return err
			}
			began := time.Now()
			doc := componentDocument{Components: []componentResult{}}
			err = componenttest.Run(c.Context(), components, settings, parallel, func(r componenttest.Result) {
				doc.Components = append(doc.Components, componentResult{r, r.OK()})
				if !r.OK() {
					doc.Failed++
				}
				if !asJSON {
					a.printComponent(r)
				}
			})
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(doc)
			} else {
				_, err = fmt.Fprintln(a.stdout, doc.summary(time.Since(began)))
			}
			if err == nil && doc.Failed > 0 {
				err = errReported
			}
			return err
		},
	}
	c.Flags().IntVar(&parallel, "parallel", parallel, "test at most `N` components at a time")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// A componentDocument is the JSON output of component tests.
type componentDocument struct {
	Components []componentResult `json:"components"`
	Failed     int               `json:"failed"`
}

type componentResult struct {
	componenttest.Result
	OK bool `json:"ok"`
}

func (d *componentDocument) summary(in time.Duration) string {
	text := plural(int64(len(d.Components)), "component")
	if d.Failed > 0 {
		text += fmt.Sprintf(", %d failed", d.Failed)
	} else {
		text += " ok"
	}
	return text + fmt.Sprintf(" in %s.", took(in))
}

// printComponent prints a line for each check of a component.
func (a *app) printComponent(r componenttest.Result) {
	fmt.Fprintf(a.stdout, "%s  %s\n", a.paint(bold, r.Name), r.Folder)
	for _, c := range r.Checks {
		status := fmt.Sprintf("%-7s", c.Status)
		if c.Status == componenttest.Failed {
			status = a.paint(red, status)
		}
		detail := strings.ReplaceAll(strings.TrimRight(c.Detail, "\n"), "\n", "\n"+strings.Repeat(" ", 25))
		fmt.Fprintf(a.stdout, "  %-14s %s  %s\n", c.Name, status, detail)
	}
	fmt.Fprintln(a.stdout)
}
