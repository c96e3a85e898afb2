package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner"
)

// diffVersion is the version of the JSON document.
const diffVersion = 1

// A compared is one side of a diff.
type compared struct {
	Kind   string `json:"kind"` // "applied", "git" or "folder"
	Name   string `json:"name"` // as the user gave it
	Commit string `json:"commit,omitempty"`
	System string `json:"system"`
	side   planner.Side
}

// A diffDocument is what tenon diff tells.
type diffDocument struct {
	Version int      `json:"diff"`
	Before  compared `json:"before"`
	After   compared `json:"after"`
	*planner.Comparison
}

func diffCommand(a *app) *cobra.Command {
	var asJSON, markdown bool
	var dir string
	c := &cobra.Command{
		Use: "diff [[BEFORE] AFTER]", Short: "Show how two versions of a system differ, and what follows", Args: atMost(2, "two versions of a system"),
		Long: `Compares two versions of a system, field by field, and tells which changes of
columns break whom, what would run, train and roll out because of it, and how
long that took before. Data are taken to be the same.

A version is an applied revision (@3), a folder, or a git revision (main,
HEAD~2). A folder goes before a git revision of the same name; ./main is always
a folder. Without BEFORE it is what is applied; without AFTER as well, that is
compared with the system's folder.

Exits with 0 if nothing differs, 1 for an error, 2 if something does.`,
		Example: `  tenon diff                         what is applied, and the folder
  tenon diff main .                  what a branch changes
  tenon diff @3 @5                   two revisions that were applied
  tenon diff main . --markdown       for a pull request`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if asJSON && markdown {
				return &usageError{errors.New("--json and --markdown do not go together")}
			}
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

// diff compares what the arguments name.
func (a *app) diff(ctx context.Context, dir string, args []string) (*diffDocument, error) {
	doc := &diffDocument{Version: diffVersion}
	var err error
	if len(args) == 2 {
		doc.Before, err = a.version(ctx, dir, args[0])
	} else {
		doc.Before, err = a.standing(ctx, dir)
	}
	if err != nil {
		return nil, err
	}
	after := dir
	if len(args) > 0 {
		after = args[len(args)-1]
	}
	if doc.After, err = a.version(ctx, dir, after); err != nil {
		return nil, err
	}
	times, err := a.times(ctx, dir)
	if err != nil {
		return nil, err
	}
	doc.Comparison, err = planner.Compare(ctx, doc.Before.side, doc.After.side, times)
	return doc, err
}

// version finds what an argument names and compiles or reads it.
func (a *app) version(ctx context.Context, dir, name string) (compared, error) {
	if n, ok := revisionNumber(name); ok {
		return a.revision(ctx, dir, n)
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		r, err := a.compile(ctx, name)
		if err != nil {
			return compared{}, err
		}
		return compared{Kind: "folder", Name: name, System: r.System.Name, side: planner.Side{System: r.System, Blobs: r.Blobs}}, nil
	}
	return a.gitVersion(ctx, dir, name)
}

// revision reads the system of an applied revision, with its code.
func (a *app) revision(ctx context.Context, dir string, number int) (v compared, err error) {
	err = a.withApplied(ctx, dir, func(w *workspace) error {
		r, err := w.revision(ctx, number)
		if err != nil {
			return err
		}
		sys, err := w.system(ctx, r)
		if err != nil {
			return err
		}
		v = compared{Kind: "applied", Name: fmt.Sprintf("@%d", number), Commit: r.Commit, System: sys.Name, side: planner.Side{System: sys, Blobs: w.code(ctx, sys.Units)}}
		return nil
	})
	return v, err
}

// standing is what stands, unit by unit: an apply may have failed half way. Its
// target and pools are those of the last revision.
func (a *app) standing(ctx context.Context, dir string) (v compared, err error) {
	w, err := a.openApplied(ctx, dir)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	current, err := w.store.Current(ctx)
	if err != nil {
		return v, err
	}
	sys := &ir.System{Version: ir.Version}
	for id := range current {
		u, err := w.store.Unit(ctx, id)
		if err != nil {
			return v, err
		}
		sys.Units = append(sys.Units, *u)
	}
	slices.SortFunc(sys.Units, func(a, b ir.Unit) int { return strings.Compare(a.ID, b.ID) })
	last, err := w.store.Revisions(ctx, 1)
	if err != nil {
		return v, err
	}
	if len(last) > 0 && len(sys.Units) > 0 {
		r, err := w.system(ctx, &last[0])
		if err != nil {
			return v, err
		}
		sys.Name, sys.Target, sys.Pools = r.Name, r.Target, r.Pools
	}
	return compared{Kind: "applied", Name: "applied", System: sys.Name, side: planner.Side{System: sys, Blobs: w.code(ctx, sys.Units)}}, nil
}

// times are how long units took before, if anything was applied.
func (a *app) times(ctx context.Context, dir string) (times map[string][]time.Duration, err error) {
	if there, err := a.hasState(ctx, dir); err != nil || !there {
		return nil, err
	}
	w, err := a.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	return w.store.Estimates(ctx)
}
