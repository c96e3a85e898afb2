package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/tenon-ml/tenon/cmd/internal/project"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/internal/diag"
	"github.com/tenon-ml/tenon/internal/version"
	"github.com/tenon-ml/tenon/lang"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
)

// An app is what all commands share: input, output and global flags.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	terminal       bool // stdout is a terminal
	color          bool
	stop           context.CancelCauseFunc
	began          bool // a command accepted the command line
	// leave, if set, is called when a signal arrives, before what runs is ended. It may
	// end the program instead. It reports whether to print no message.
	leave atomic.Pointer[func() bool]

	tags  []string
	env   string // the environment
	state string
	store string // URL of an artifact store that other machines can reach, or ""

	duck *worker.Client // types and runs SQL, and reads tables
}

// Exit codes.
const (
	exitOK      = 0
	exitError   = executors.ExitFailed
	exitChanges = 2 // for diff, and with --detailed-exitcode
	exitUsage   = executors.ExitUsage
	exitAgain   = 75 // for a detached apply that has to be restarted
	exitStopped = 130
)

// errChanges makes a command exit with exitChanges, without a message.
var errChanges = errors.New("there are changes")

// errReported makes a command exit with exitError, without another message.
var errReported = errors.New("already reported")

// errStopped is the cause of a context that was canceled by an interrupt.
var errStopped = errors.New("interrupted")

// injected is set by test binaries before they run the program.
var injected project.Faults

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, stop: cancel, duck: newDuck()}
	defer a.duck.Close()
	if f, ok := stdout.(*os.File); ok {
		a.terminal = term.IsTerminal(int(f.Fd()))
	}
	a.color = a.terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	a.watchSignals()
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.began {
		err = misused(root, args, err)
	}
	return a.exitCode(err)
}

// misused returns the error for a command line that no command accepted.
func misused(root *cobra.Command, args []string, err error) error {
	var usage *usageError
	if errors.As(err, &usage) {
		return err
	}
	if _, rest, found := root.Find(args); found != nil && len(rest) > 0 {
		return noCommand(root, rest[0])
	}
	return &usageError{fmt.Errorf("%w; see tenon --help", err)}
}

func noCommand(root *cobra.Command, name string) error {
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	hint := diag.DidYouMean(name, names)
	if hint == "" {
		hint = "see tenon --help"
	}
	return &usageError{fmt.Errorf("unknown command %q: %s", name, hint)}
}

// watchSignals makes a first interrupt end everything in an orderly way, and a second one
// end it at once.
func (a *app) watchSignals() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		if leave := a.leave.Load(); leave == nil || !(*leave)() {
			fmt.Fprintln(a.stderr, "tenon: stopping; interrupt again to stop immediately")
		}
		a.stop(errStopped)
		<-signals
		os.Exit(exitStopped)
	}()
}

// exitCode prints an error and returns the exit code.
func (a *app) exitCode(err error) int {
	var faults *project.SourceError
	var usage *usageError
	var request *project.RequestError
	var obstacles *project.DetachError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errChanges):
		return exitChanges
	case errors.Is(err, project.ErrAgain):
		fmt.Fprintf(a.stderr, "tenon: %v\n", err)
		return exitAgain
	case errors.Is(err, errStopped):
		return exitStopped
	case errors.Is(err, errReported):
		return exitError
	case errors.As(err, &faults):
		_ = printFaults(a.stderr, faults, a.style())
		return exitError
	case errors.As(err, &obstacles):
		fmt.Fprintf(a.stderr, "tenon: %v\n", withFlags(obstacles))
		return exitError
	case errors.As(err, &usage), errors.As(err, &request):
		fmt.Fprintf(a.stderr, "tenon: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(a.stderr, "tenon: %v%s\n", err, a.remedy(err))
	return exitError
}

// withFlags adds the flags that remove the obstacles to a detached apply.
func withFlags(e *project.DetachError) error {
	out := &project.DetachError{What: e.What}
	for _, o := range e.Obstacles {
		switch o.Setting {
		case project.StateSetting:
			o.Message += ", with --state postgres://..."
		case project.ArtifactsSetting:
			o.Message += fmt.Sprintf(", with --artifacts '%s'", o.Value)
		}
		out.Obstacles = append(out.Obstacles, o)
	}
	return out
}

// remedy returns the flag that helps against an error of the engine, or "".
func (a *app) remedy(err error) string {
	var setting *project.SettingError
	var held *state.HeldError
	var refused *state.AccessError
	var elsewhere *state.ElsewhereError
	var moved *state.MovedError
	switch {
	case errors.As(err, &setting) && setting.Setting == project.ArtifactsSetting:
		return "; if the apply was detached, name its store with --artifacts"
	case errors.As(err, &setting):
		return ": use another state with --state, or destroy that system first"
	case errors.As(err, &held):
		return "; use --lock-timeout 10m to wait for it"
	case errors.As(err, &refused) && !state.IsURL(a.stateAt()):
		return "; use --state FOLDER to keep it elsewhere"
	case errors.As(err, &moved) && state.IsURL(moved.To):
		return ": name it with --state"
	case errors.As(err, &moved):
		return ": name that folder with --state, or unset TENON_STATE"
	case errors.As(err, &elsewhere):
		return ": name that state with --state, or apply the system in a separate folder"
	}
	return ""
}

// printedFaults is how many faults are printed at most: a comprehension repeats one mistake
// thousands of times.
const printedFaults = 50

// printFaults prints faults and their number.
func printFaults(w io.Writer, e *project.SourceError, style diag.Style) error {
	n := len(e.Faults)
	err := diag.Print(w, e.Faults[:min(n, printedFaults)], e.Source, style)
	switch {
	case err != nil || n < 2:
	case n > printedFaults:
		_, err = fmt.Fprintf(w, "\n%d errors; the first %d are shown\n", n, printedFaults)
	default:
		_, err = fmt.Fprintf(w, "\n%d errors\n", n)
	}
	return err
}

// A usageError means that the command line is invalid.
type usageError struct{ error }

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tenon",
		Short: "A compiler for machine-learning systems",
		Long: `Tenon compiles a machine-learning system that is described in CUE, compares it with
what already exists, shows a plan, and applies it.`,
		Example: `  tenon init churn && cd churn     a small system that runs
  tenon plan                       show what would change
  tenon apply                      change it
  tenon status                     show what is deployed`,
		Version:           version.Version,
		PersistentPreRun:  func(*cobra.Command, []string) { a.began = true },
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) {
			what := map[string]string{"int": "a number", "float64": "a number", "duration": "a duration such as 30s", "age": "an age such as 30d"}[invalid.GetFlag().Value.Type()]
			err = fmt.Errorf("--%s must be %s, not %q", invalid.GetFlag().Name, cmp.Or(what, "something else"), invalid.GetValue())
		}
		return &usageError{fmt.Errorf("%w; see %s --help", err, c.CommandPath())}
	})
	root.AddCommand(
		initCommand(a), compileCommand(a), testCommand(a), planCommand(a), diffCommand(a), applyCommand(a), destroyCommand(a), promoteCommand(a), approveCommand(a),
		adoptCommand(a), statusCommand(a), bundleCommand(a), cancelCommand(a), historyCommand(a), costCommand(a), pricesCommand(a), rollbackCommand(a), releaseCommand(a),
		loopsCommand(a), pinCommand(a), runCommand(a), simulateCommand(a), showCommand(a),
		openCommand(a), compareCommand(a), exportCommand(a), logsCommand(a), modelsCommand(a), runsCommand(a),
		envCommand(a), predictCommand(a), requestsCommand(a), monitorCommand(a), replayCommand(a), keyCommand(a), devicesCommand(a),
		graphCommand(a), lineageCommand(a), componentCommand(a), imageCommand(a), rbacCommand(a), gcCommand(a),
		stateCommand(a), fmtCommand(a), inferCommand(a), versionCommand(a), completionCommand(a), runDetachedCommand(a), runControllerCommand(a),
	)
	root.SetVersionTemplate("tenon {{.Version}}\n")
	root.SetHelpCommand(helpCommand(root))
	return root
}

// systemFlags adds the flags of commands that read a system and its state.
func (a *app) systemFlags(c *cobra.Command) {
	a.tagFlag(c)
	a.stateFlag(c)
}

// envFlag adds the flag of commands that work on one environment.
func (a *app) envFlag(c *cobra.Command) {
	if c.Flags().Lookup("env") != nil {
		return
	}
	c.Flags().StringVarP(&a.env, "env", "e", "", "the environment `NAME` (default $TENON_ENV, or none)")
}

// environment returns the environment that the user names.
func (a *app) environment() (string, error) {
	env := cmp.Or(a.env, os.Getenv("TENON_ENV"))
	if env != "" && !lang.EnvironmentName.MatchString(env) {
		return "", &usageError{fmt.Errorf("%q cannot be the name of an environment: use up to 20 lower-case letters, digits and -, beginning with a letter", env)}
	}
	return env, nil
}

// tagFlag adds the flags of commands that read a system but not its state.
func (a *app) tagFlag(c *cobra.Command) {
	a.envFlag(c)
	c.Flags().StringArrayVarP(&a.tags, "tag", "t", nil, "set a CUE `TAG`: env=prod, target=cluster, or prod alone (repeatable)")
}

// stateFlag adds the flags of commands that read or write an environment of the state.
func (a *app) stateFlag(c *cobra.Command) {
	a.envFlag(c)
	a.placeFlag(c)
}

// placeFlag adds the flags of commands that read or write the whole state.
func (a *app) placeFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.state, "state", "", "state `FOLDER` or database URL (default $TENON_STATE or DIR/.tenon)")
	c.Flags().StringVar(&a.store, "artifacts", "", "also keep artifacts at `URL` (default $TENON_ARTIFACTS)")
}

// folder returns the system's folder from a command's arguments; the default is the
// current folder.
func folder(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// stateAt returns where the user says the state is.
func (a *app) stateAt() string { return cmp.Or(a.state, os.Getenv("TENON_STATE")) }

// atMost is cobra's MaximumNArgs with a helpful error.
func atMost(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) > n {
			return &usageError{fmt.Errorf("%s takes %s, but got %s; see %[1]s --help", c.CommandPath(), what, plural(int64(len(args)), "argument"))}
		}
		return nil
	}
}

// oneUnit requires the name of one unit.
func oneUnit(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return &usageError{fmt.Errorf("%s takes one unit, such as models/late/train, but got %s; see %[1]s --help", c.CommandPath(), plural(int64(len(args)), "argument"))}
	}
	return nil
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Help about a command",
		Long:    "Shows the help of tenon or of one command, like tenon COMMAND --help.",
		Example: "  tenon help\n  tenon help plan",
		RunE: func(_ *cobra.Command, args []string) error {
			c, _, err := root.Find(args)
			if err != nil {
				return noCommand(root, args[0])
			}
			c.InitDefaultHelpFlag()
			c.InitDefaultVersionFlag()
			return c.Help()
		},
	}
}

// completeUnits completes the names of deployed units.
func (a *app) completeUnits(dir *string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, toComplete string) (units []string, _ cobra.ShellCompDirective) {
		if len(args) == 0 {
			_ = a.withApplied(c.Context(), *dir, func(w *project.Workspace) (err error) {
				units, err = w.Deployed(c.Context())
				return err
			})
		}
		units = slices.DeleteFunc(units, func(u string) bool { return !strings.HasPrefix(u, toComplete) })
		return units, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeRevisions completes the applied revisions, newest first.
func (a *app) completeRevisions(ctx context.Context, dir string) (names []string) {
	_ = a.withApplied(ctx, dir, func(w *project.Workspace) error {
		revisions, err := w.Revisions(ctx, 20)
		for _, r := range revisions {
			names = append(names, cobra.CompletionWithDesc(fmt.Sprintf("@%d", r.Number), fmt.Sprintf("%s, %s", r.Started.Local().Format(time.DateTime), r.Outcome)))
		}
		return err
	})
	return names
}
