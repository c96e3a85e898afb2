package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/lang/diag"
)

// An app is what all commands share: where they read and write, and how.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stdout is one
	color          bool
	stop           context.CancelCauseFunc

	tags  []string
	state string
	// source finds the files that faults point into.
	source func(file string) []byte
}

// Exit codes.
const (
	exitOK      = 0
	exitError   = 1
	exitChanges = 2 // with --detailed-exitcode
	exitUsage   = 64
	exitStopped = 130
)

// errChanges makes a command end with exitChanges and say nothing.
var errChanges = errors.New("there are changes")

// errSaid makes a command end with exitError and say nothing more.
var errSaid = errors.New("said already")

// errStopped is the cause of a context that an interrupt ended.
var errStopped = errors.New("interrupted")

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, stop: cancel}
	if f, ok := stdout.(*os.File); ok {
		a.terminal = term.IsTerminal(int(f.Fd()))
	}
	a.color = a.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	a.watchSignals()
	root := newRoot(a)
	root.SetArgs(args)
	return a.exitCode(root.ExecuteContext(ctx))
}

// watchSignals lets a first interrupt end what runs in order, and a second one
// at once.
func (a *app) watchSignals() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		fmt.Fprintln(a.stderr, "tenon: stopping; interrupt again to stop now")
		a.stop(errStopped)
		<-signals
		os.Exit(exitStopped)
	}()
}

// exitCode prints an error and tells how to exit.
func (a *app) exitCode(err error) int {
	var faults diag.List
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errChanges):
		return exitChanges
	case errors.Is(err, errStopped):
		return exitStopped
	case errors.Is(err, errSaid):
		return exitError
	case errors.As(err, &faults):
		_ = diag.Print(a.stderr, faults, a.source, a.style())
		if n := len(faults); n > 1 {
			fmt.Fprintf(a.stderr, "\n%d errors\n", n)
		}
		return exitError
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "tenon: %v\n", err)
		return exitUsage
	case errors.Is(err, executors.ErrMoved):
		fmt.Fprintf(a.stderr, "tenon: %v\n", err)
		return exitError
	}
	fmt.Fprintf(a.stderr, "tenon: %v\n", err)
	return exitError
}

// A usageError is a command line that cannot be taken.
type usageError struct{ error }

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tenon",
		Short: "A compiler for machine-learning systems",
		Long: `Tenon compiles a machine-learning system that is declared in CUE, plans what has
to happen against what is already there, shows the plan, and applies it.`,
		Example: `  tenon init churn && cd churn     a small system that runs
  tenon plan                       what would happen
  tenon apply                      make it so
  tenon status                     what stands`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{fmt.Errorf("%w; see tenon %s --help", err, c.Name())}
	})
	root.AddCommand(
		initCommand(a), compileCommand(a), planCommand(a), applyCommand(a), destroyCommand(a),
		statusCommand(a), showCommand(a), logsCommand(a), modelsCommand(a), graphCommand(a),
		fmtCommand(a), inferCommand(a), versionCommand(a), stepCommand(a),
	)
	return root
}

// systemFlags adds the flags of commands that read a system.
func (a *app) systemFlags(c *cobra.Command) {
	c.Flags().StringArrayVarP(&a.tags, "tag", "t", nil, "set a CUE tag: env=prod, target=cluster (repeatable)")
	a.stateFlag(c)
}

// stateFlag adds the flag of commands that read or write the state.
func (a *app) stateFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.state, "state", "", "the state folder (default DIR/.tenon)")
}

// folder is the system's folder from a command's arguments, by default the
// current one.
func folder(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// stateDir is where the state of a system in dir is kept, absolute.
func (a *app) stateDir(dir string) (string, error) {
	if a.state != "" {
		dir = a.state
	} else {
		dir = filepath.Join(dir, ".tenon")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the state: %w", err)
	}
	return abs, nil
}

// atMost is cobra's MaximumNArgs with an error that helps.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > n {
			return &usageError{fmt.Errorf("tenon %s takes %s, and was given %d arguments; see tenon %s --help", c.Name(), what, len(args), c.Name())}
		}
		return nil
	}
}
