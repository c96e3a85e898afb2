package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/planner/state"
)

func stateCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use: "state", Short: "Move the state into a database, or back",
		Long: `The state records what was applied. It is in a folder beside the system, or in a
PostgreSQL database that a team shares.`,
		Example: "  tenon state move --to 'postgres://ann@db.example.com/tenon?schema=churn'",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return &usageError{fmt.Errorf("unknown command %q for tenon state; see tenon state --help", args[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(stateMoveCommand(a))
	return c
}

func stateMoveCommand(a *app) *cobra.Command {
	var asJSON bool
	var to string
	var wait time.Duration
	c := &cobra.Command{
		Use: "move [DIR]", Short: "Move the state into a PostgreSQL database, to another one, or back into its folder",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return &usageError{errors.New("tenon state move takes one folder; see tenon state move --help")}
			}
			return nil
		},
		Long: `Moves the state from DIR/.tenon into a schema of a PostgreSQL database, from there into
another database or schema, or back into DIR/.tenon. All environments move, with their
history. What runs goes on, and a plan finds nothing to do. The destination must be
empty or absent.

No apply may run. The copy is compared with the original, table by table. Then the
original is marked as moved: every command refuses it and names the new place. If
the move is interrupted, run it again. The former database can be deleted.

Runs and artifacts stay in DIR/.tenon. With --artifacts, a move into a database also
copies all artifacts to that store, where other machines find them.`,
		Example: `  tenon state move --to 'postgres://ann@db.example.com/tenon?schema=churn'
  tenon state move --to 'postgres://ann@db.example.com/tenon' --artifacts s3://team/churn
  tenon state move --state 'postgres://ann@db.example.com/tenon' --to 'postgres://ann@new.example.com/tenon'
  tenon state move --state 'postgres://ann@db.example.com/tenon' --to .tenon`,
		RunE: func(c *cobra.Command, args []string) error {
			if to == "" {
				return &usageError{errors.New("--to is missing: name the URL of a database, or a folder; see tenon state move --help")}
			}
			p, err := a.project(folder(args))
			if err != nil {
				return err
			}
			moved, err := p.MoveState(c.Context(), to, project.MoveStateOptions{Command: "tenon state move", Wait: wait, Progress: a.progressOfMove()})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(moved)
			}
			return a.printMoved(moved, to)
		},
	}
	a.placeFlag(c)
	c.Flags().StringVar(&to, "to", "", "the `URL` of a database, or the folder DIR/.tenon")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was moved as JSON")
	c.Flags().DurationVar(&wait, "lock-timeout", 0, "wait up to `DURATION`, such as 10m, for an apply to end")
	return c
}

// progressOfMove prints how far a move has come, if it takes longer than some seconds.
func (a *app) progressOfMove() func(what string, done, total int64) {
	last := time.Now()
	return func(what string, done, total int64) {
		if time.Since(last) >= 3*time.Second {
			last = time.Now()
			fmt.Fprintf(a.stderr, "copied %d of %d %s\n", done, total, what)
		}
	}
}

func (a *app) printMoved(m *state.Moved, to string) error {
	if len(m.Tables) == 0 {
		fmt.Fprintf(a.stdout, "Completed the move from %s to %s.\n", m.From, m.To)
	} else {
		var rows int64
		for _, t := range m.Tables {
			rows += t.Rows
		}
		fmt.Fprintf(a.stdout, "Moved %s from %s to %s.\n", plural(rows, "row"), m.From, m.To)
	}
	next := "From now on, name it with --state or $TENON_STATE."
	if !state.IsURL(to) {
		next = "From now on, commands need no --state, and $TENON_STATE must not be set."
	}
	_, err := fmt.Fprintln(a.stdout, next)
	return err
}
