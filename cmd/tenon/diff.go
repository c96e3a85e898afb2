package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

func diffCommand(a *app) *cobra.Command {
	var asJSON, markdown bool
	var dir string
	var envs []string
	c := &cobra.Command{
		Use: "diff [BEFORE [AFTER]]", Short: "Compare two versions of a system", Args: atMost(2, "two versions of a system"),
		Long: `Compares two versions of a system field by field. It shows which readers and callers
a changed column breaks, what would run, train and roll out as a consequence, and
how long that took before. It assumes that the data is unchanged.

A version is an applied revision (@3), a folder, or a git revision (main,
HEAD~2). A folder takes precedence over a git revision of the same name; ./main
is always a folder. The default for BEFORE is what is applied, and for AFTER the
folder of the system as it is now. A folder alone is AFTER.

With two environments, it compares what the sources declare for each, and what is
deployed in them: definitions, results, and models in service.

The exit code is 0 if nothing differs, 1 for an error, and 2 if something differs.`,
		Example: `  tenon diff                         what is applied, and the folder
  tenon diff HEAD                    what changed in the folder since the last commit
  tenon diff main                    what a branch changes
  tenon diff -e dev -e prod          two environments
  tenon diff @3 @5                   two revisions that were applied
  tenon diff main --markdown         for a pull request`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if asJSON && markdown {
				return &usageError{errors.New("--json and --markdown cannot be used together")}
			}
			if len(envs) == 2 {
				return a.diffEnvironments(ctx, dir, args, envs, asJSON, markdown)
			}
			if len(envs) > 2 {
				return &usageError{errors.New("--env can be given once, or twice to compare two environments")}
			}
			a.env = strings.Join(envs, "")
			doc, err := a.diff(ctx, dir, args)
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				err = a.printJSON(doc)
			case markdown:
				err = a.printDiffMarkdown(doc)
			default:
				err = a.printDiff(doc)
			}
			if err == nil && !doc.Same() {
				return errChanges
			}
			return err
		},
	}
	c.Flags().StringVarP(&dir, "dir", "C", ".", "the system's `FOLDER`, for applied and git revisions")
	c.Flags().StringArrayVarP(&envs, "env", "e", nil, "the environment `NAME` of the system; twice: compare two environments")
	a.systemFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&markdown, "markdown", false, "print Markdown, as for a pull request")
	c.ValidArgsFunction = func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 2 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if !strings.HasPrefix(toComplete, "@") {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		return a.completeRevisions(c.Context(), dir), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// diffEnvironments compares two environments of the system.
func (a *app) diffEnvironments(ctx context.Context, dir string, args, envs []string, asJSON, markdown bool) error {
	if len(args) > 0 || markdown {
		return &usageError{errors.New("two environments are compared as they are: without other versions, and without --markdown")}
	}
	p, err := a.project(dir)
	if err != nil {
		return err
	}
	d, err := p.DiffEnvironments(ctx, envs[0], envs[1])
	if err != nil {
		return err
	}
	if asJSON {
		err = a.printJSON(d)
	} else {
		err = a.printDiffOfEnvironments(d)
	}
	if err == nil && !d.Same() {
		return errChanges
	}
	return err
}

// diff compares the versions that the arguments name.
func (a *app) diff(ctx context.Context, dir string, args []string) (*project.Diff, error) {
	p, err := a.project(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case len(args) == 0:
		return p.Diff(ctx, "", "")
	case len(args) == 2:
		return p.Diff(ctx, args[0], args[1])
	case project.IsFolder(args[0]):
		return p.Diff(ctx, "", args[0])
	}
	return p.Diff(ctx, args[0], "")
}
