package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/tenon/internal/systemtest"
	"github.com/tenon-ml/tenon/compiler"
	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/planner"
)

func testCommand(a *app) *cobra.Command {
	var only string
	var update, asJSON, verbose bool
	c := &cobra.Command{
		Use: "test [DIR]", Short: "Run the tests of a system", Args: atMost(1, "one folder"),
		Long: `Runs the tests in DIR/tests, one txtar archive each: the expected rows of a
feature, the expected plan after an edit, from nothing or from a revision, the
expected errors, the expected intermediate representation.

Nothing is applied, and no data is needed. Only the test of a feature in Python
needs Python: the feature runs in its own environment. --update writes the
current results into the tests that differ; read the difference before you commit
it. docs/testing.md describes how to write a test.`,
		Example: "  tenon test\n  tenon test --run late -v\n  tenon test --update",
		RunE: func(c *cobra.Command, args []string) error {
			dir := folder(args)
			o := systemtest.Options{
				Dir: dir, Full: verbose, Compile: a.compileTest, Plan: planText, SQL: a.duck, Python: a.runFeature(dir),
				Revision: func(ctx context.Context, n int) (*ir.System, error) { return a.appliedSystem(ctx, dir, n) },
			}
			if a.terminal && !asJSON {
				o.Waiting = func(file string) { fmt.Fprintf(a.stderr, "waiting for %s ...\n", file) }
			}
			if only != "" {
				var err error
				if o.Only, err = regexp.Compile(only); err != nil {
					return &usageError{fmt.Errorf("--run takes a regular expression: %w", err)}
				}
			}
			return a.test(c.Context(), o, update, asJSON)
		},
	}
	a.stateFlag(c)
	c.Flags().StringVar(&only, "run", "", "run the tests whose name matches `REGEXP`")
	c.Flags().BoolVar(&update, "update", false, "write the current results into the tests that differ")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show all lines of a difference")
	return c
}

func (a *app) test(ctx context.Context, o systemtest.Options, update, asJSON bool) error {
	began := time.Now()
	doc := testDocument{Tests: []testResult{}}
	var failed error
	shown := map[string]string{}
	show := func(r systemtest.Result) {
		t := testResult{Result: r, OK: len(r.Failures) == 0}
		if update && r.Updated != nil {
			if err := writeTest(filepath.Join(o.Dir, filepath.FromSlash(r.File)), r.Updated); err != nil {
				failed = errors.Join(failed, err)
			} else {
				t.OK, t.Updated, t.Failures = true, true, nil
				doc.Updated++
			}
		}
		if !t.OK {
			doc.Failed++
			doc.canUpdate = doc.canUpdate || r.Updated != nil
		}
		doc.Tests = append(doc.Tests, t)
		if !asJSON {
			a.printTest(o.Dir, t, shown)
		}
	}
	err := systemtest.Run(ctx, o, show)
	if errors.Is(err, systemtest.ErrNone) {
		folder := filepath.Join(o.Dir, systemtest.Folder)
		return fmt.Errorf("%w in %s: start with a file %s that contains\n\n%s\nThen %s adds the plan. docs/testing.md describes everything else",
			err, folder, filepath.Join(folder, "from-nothing.txtar"), firstTest, updateCommand(o.Dir))
	}
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(doc)
	} else {
		_, err = fmt.Fprintf(a.stdout, "\n%s\n", doc.summary(o.Dir, time.Since(began)))
	}
	if err == nil && doc.Failed > 0 {
		err = errReported
	}
	return err
}

// updateCommand returns the command that accepts the actual results.
func updateCommand(dir string) string {
	if dir == "." {
		return "tenon test --update"
	}
	return "tenon test " + shellQuote(dir) + " --update"
}

const firstTest = `    # From nothing, everything is created.
    plan from nothing
`

// A testDocument is the JSON output of tests.
type testDocument struct {
	Tests     []testResult `json:"tests"`
	Failed    int          `json:"failed"`
	Updated   int          `json:"updated"`
	canUpdate bool
}

type testResult struct {
	systemtest.Result
	OK      bool `json:"ok"`
	Updated bool `json:"updated,omitempty"`
}

func (d testDocument) summary(dir string, in time.Duration) string {
	text := plural(int64(len(d.Tests)), "test")
	switch {
	case d.Failed > 0:
		text += fmt.Sprintf(", %d failed", d.Failed)
	case d.Updated > 0:
		text += fmt.Sprintf(", %d rewritten", d.Updated)
	default:
		text += " ok"
	}
	text += fmt.Sprintf(" in %s.", took(in))
	if d.canUpdate {
		text += " If the new results are right, accept them with: " + updateCommand(dir)
	}
	return text
}

// printTest prints the result of a test. A message that several tests share, such as for
// a system that does not compile, is shown with the first of them.
func (a *app) printTest(dir string, t testResult, shown map[string]string) {
	word := a.paint(green, "ok   ")
	switch {
	case t.Updated:
		word = a.paint(yellow, "wrote")
	case !t.OK:
		word = a.paint(red, "FAIL ")
	}
	about := t.About
	if about != "" {
		about += "  "
	}
	fmt.Fprintf(a.stdout, "%s  %s  %s%s\n", word, a.paint(bold, pad(t.Name, 16)), about, a.paint(faint, took(t.Took)))
	for _, f := range t.Failures {
		place := filepath.Join(dir, filepath.FromSlash(t.File))
		if f.Line > 0 {
			place += fmt.Sprintf(":%d", f.Line)
		}
		first, again := shown[f.Detail]
		if again && f.Detail != "" {
			f.Message, f.Detail = fmt.Sprintf("%s, as for %s", f.Message, first), ""
		} else {
			shown[f.Detail] = t.Name
		}
		fmt.Fprintf(a.stdout, "       %s: %s\n", a.paint(cyan, place), f.Message)
		for line := range strings.Lines(f.Detail) {
			line = strings.TrimSuffix(line, "\n")
			switch {
			case strings.HasPrefix(line, "- "):
				line = a.paint(red, line)
			case strings.HasPrefix(line, "+ "):
				line = a.paint(green, line)
			}
			fmt.Fprintln(a.stdout, strings.TrimRight("         "+line, " "))
		}
	}
}

// writeTest replaces a test, or the target of a link with its name.
func writeTest(path string, b []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	info, err := os.Stat(real)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeWhole(real, b, info.Mode())
}

// compileTest compiles a system and writes no files beside it. Faults are returned as
// text.
func (a *app) compileTest(ctx context.Context, dir string, tags []string, edited bool) (*compiler.Result, string, error) {
	p, err := a.project(dir)
	if err != nil {
		return nil, "", err
	}
	r, err := p.CompileEdited(ctx, dir, tags, edited)
	var faults *project.SourceError
	if errors.As(err, &faults) {
		var b bytes.Buffer
		err := printFaults(&b, faults, diag.Style{})
		return nil, b.String(), err
	}
	return r, "", err
}

// runFeature returns a function that runs a feature in Python of the system in dir.
func (a *app) runFeature(dir string) systemtest.RunFunc {
	return func(ctx context.Context, u ir.Unit, blobs map[string][]byte, tables map[string]string, work string) (string, error) {
		p, err := a.project(dir)
		if err != nil {
			return "", err
		}
		path, err := p.Try(ctx, u, blobs, tables, work)
		if said := (*project.ProgramError)(nil); errors.As(err, &said) {
			return "", &systemtest.ProgramError{Text: said.Text}
		}
		return path, err
	}
}

// planText returns what tenon plan prints, without colours.
func planText(p *planner.Plan) (string, error) {
	var b bytes.Buffer
	err := (&app{stdout: &b}).printPlan(p, false)
	return b.String(), err
}

// appliedSystem returns the system as a revision applied it.
func (a *app) appliedSystem(ctx context.Context, dir string, number int) (sys *ir.System, err error) {
	err = a.withApplied(ctx, dir, func(w *project.Workspace) error {
		sys, err = w.System(ctx, number)
		return err
	})
	return sys, err
}
