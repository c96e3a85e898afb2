package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/cmd/internal/report"
)

// pageFlags say where a page is written, and whether it is shown.
type pageFlags struct {
	project.Page
	noBrowser bool
	asJSON    bool
}

func (p *pageFlags) add(c *cobra.Command) {
	p.Beginning = report.Beginning
	c.Flags().StringVar(&p.To, "out", "", "write the page to `FILE` (default: a file in DIR/.tenon/reports)")
	c.Flags().BoolVar(&p.Force, "force", false, "replace an existing file that is no page of tenon")
	c.Flags().BoolVar(&p.noBrowser, "no-browser", false, "do not open the page")
	c.Flags().BoolVar(&p.asJSON, "json", false, "print the data of the page as JSON, and write no page")
}

// check refuses flags that contradict each other.
func (p *pageFlags) check() error {
	if p.asJSON && p.To != "" {
		return &usageError{errors.New("--json and --out cannot be used together")}
	}
	return nil
}

func openCommand(a *app) *cobra.Command {
	var dir, at string
	var page pageFlags
	c := &cobra.Command{
		Use: "open UNIT", Short: "Show the report on a unit as a page with plots", Args: oneUnit, ValidArgsFunction: a.completeUnits(&dir),
		Long: `Writes a page about a unit, or about all units of an entity such as models/late, and
opens it in the browser if there is a terminal. It prints the path of the page.

The page of a model has its metrics beside the baseline and the model in service, ROC,
precision-recall and calibration curves, the confusion matrix or the residuals, the
importances that the model states, and the metrics of each class and of the segments
that evaluation.segments names. The page of a table has its columns, rows and nulls, that
of any other unit what tenon show prints.

The page is one file that needs no network: it can be mailed or kept. It has aggregates
such as counts and curves, and no rows.`,
		Example: `  tenon open models/late
  tenon open models/late --at @3         as it was after revision 3
  tenon open features/departures --out departures.html
  tenon open models/late --json          the data of the page`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			revision, err := atRevision(at)
			if err == nil {
				err = page.check()
			}
			if err != nil {
				return err
			}
			return a.withApplied(ctx, dir, func(w *project.Workspace) error {
				r, err := w.Report(ctx, args[0], revision)
				if err != nil {
					return err
				}
				if page.asJSON {
					return a.printJSON(r)
				}
				html, err := report.Page(r)
				if err != nil {
					return err
				}
				page.Name = r.Name + revision
				return a.showPage(w.Project, page, html)
			})
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`")
	a.stateFlag(c)
	c.Flags().StringVar(&at, "at", "", "as it was after revision `@N` (default: what is deployed)")
	page.add(c)
	_ = c.RegisterFlagCompletionFunc("at", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.completeRevisions(c.Context(), dir), cobra.ShellCompDirectiveNoFileComp
	})
	return c
}

// atRevision returns "@3" for "@3" and "3".
func atRevision(at string) (string, error) {
	if at == "" || strings.HasPrefix(at, "@") {
		return at, nil
	}
	if strings.Trim(at, "0123456789") != "" {
		return "", &usageError{fmt.Errorf("--at takes a revision, such as @3, not %q", at)}
	}
	return "@" + at, nil
}

// showPage writes a page, prints its path, and opens it if a person is there.
func (a *app) showPage(p *project.Project, o pageFlags, html []byte) error {
	path, err := p.WritePage(o.Page, html)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.stdout, path); err != nil {
		return err
	}
	if !a.terminal || o.noBrowser {
		return nil
	}
	if err := browse(path); err != nil {
		fmt.Fprintf(a.stderr, "tenon: no browser was opened: %v\n", err)
	}
	return nil
}

// browse opens a file in the browser of the desktop, and does not wait for it.
func browse(path string) error {
	program := "xdg-open"
	if runtime.GOOS == "darwin" {
		program = "open"
	} else if cmp.Or(os.Getenv("DISPLAY"), os.Getenv("WAYLAND_DISPLAY")) == "" {
		return errors.New("there is no desktop here") // xdg-open could start one that takes over the terminal
	}
	c := exec.Command(program, path)
	// In a session of its own, the program survives a terminal that closes as soon as this command ends.
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Process.Release()
}
