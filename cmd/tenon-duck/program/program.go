// Package program is the command tenon-duck, for tests that run it as a part of
// themselves.
package program

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tenon-ml/tenon/stdlib/all"
	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/duck/worker"
	"github.com/tenon-ml/tenon/stdlib/serve/plane"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/model"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/onnx"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/rowsql"
	"github.com/tenon-ml/tenon/stdlib/step"
)

const (
	exitError   = 1
	exitUsage   = 2
	exitStopped = 130
)

var errStopped = errors.New("interrupted")

// Run does what the arguments say, with the standard files of the process, and
// returns how to exit.
func Run(args []string) int {
	var err error
	switch {
	case len(args) == 1 && args[0] == "step":
		err = doStep()
	case len(args) == 1 && args[0] == "steps":
		err = doSteps(os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] == "serve":
		err = worker.Serve(os.Stdin, os.Stdout, new(engine.Engine))
	case len(args) == 1 && args[0] == "replay": // as tenon-serve does, for a service in this program
		err = parity.AnswerReplay(os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] == "monitor":
		err = reply(os.Stdin, os.Stdout, measureWindow)
	case len(args) == 1 && args[0] == "traffic":
		err = reply(os.Stdin, os.Stdout, countTraffic)
	case len(args) == 1 && args[0] == "monitors":
		err = answerMonitors(os.Stdin, os.Stdout)
	case len(args) == 1 && args[0] == "simulate":
		err = answerSimulation(os.Stdin, os.Stdout)
	case len(args) > 1 && args[0] == "plane":
		err = servePlane(args[1:])
	default:
		fmt.Fprintln(os.Stderr, "usage: tenon-duck step|steps|serve|monitor|monitors|traffic|simulate|plane|replay (tenon starts it)")
		return exitUsage
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errStopped):
		return exitStopped
	}
	fmt.Fprintf(os.Stderr, "tenon: %v\n", err)
	return exitError
}

// servePlane serves a model that needs ONNX Runtime, or whose features need DuckDB. python is the
// command for what needs Python.
func servePlane(python []string) error {
	s, err := step.Read()
	if err != nil {
		return err
	}
	expressions, err := engine.NewExpressions()
	if err != nil {
		return err
	}
	defer expressions.Close()
	rowsql.DuckDB = expressions.Prepare
	model.OpenGraph = onnx.Open
	return plane.Run(context.Background(), s, python)
}

// doStep does the work of a unit. A first signal ends it in order, a second one at
// once.
func doStep() error {
	s, err := step.Read()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err = all.Run(ctx, s); ctx.Err() != nil {
		return errStopped
	}
	return err
}

// doSteps does the work of one step after another, as a program asks for it: each line of in is
// the path of a document. A line of out is the error, as JSON, or "" if there is none.
func doSteps(in io.Reader, out io.Writer) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		says := ""
		s, err := step.ReadFile(lines.Text())
		if err == nil {
			err = all.Run(ctx, s)
		}
		if ctx.Err() != nil {
			return errStopped
		}
		if err != nil {
			says = err.Error()
		}
		b, err := json.Marshal(says)
		if err != nil {
			return err
		}
		if _, err := out.Write(append(b, '\n')); err != nil {
			return err
		}
	}
	return lines.Err()
}
