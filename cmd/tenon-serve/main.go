// Command tenon-serve answers predictions: it is the program of units with the runtime
// "plane". People do not run it; tenon and containers start it with $TENON_STEP:
//
//	tenon-serve PYTHON SCRIPT    serves; SCRIPT is that of workers, for a model that needs Python
//	tenon-serve requests         lists logged requests, for tenon requests
//	tenon-serve replay           computes them again as in training, for tenon replay and for
//	                             services that check requests while they run
//	tenon-serve bundle           writes a part of a bundle, for tenon export
//	tenon-serve version          prints the version of its code
//
// In a bundle, where there is no tenon, people run it:
//
//	tenon-serve serve            serves the bundle, see --help
//	tenon-serve selftest         computes rows of training again
//	tenon-serve verify           compares digests and the signature
//	tenon-serve pull CHANNEL     brings a newer bundle
//	tenon-serve probe            asks whether the service is ready
//	tenon-serve lambda           answers events of AWS Lambda
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/serve/plane"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/parity"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if done, err := onBundle(args); done {
		return err
	}
	if len(args) == 1 {
		switch args[0] {
		case "version":
			fmt.Println(stdlib.Code())
			return nil
		case "requests":
			var s requests.Selection
			return asked(&s, func(ctx context.Context) error { return requestlog.List(ctx, s, os.Stdout) })
		case "replay":
			return parity.AnswerReplay(os.Stdin, os.Stdout)
		}
	}
	s, err := step.Read()
	if err != nil {
		return err
	}
	return plane.Run(context.Background(), s, args)
}

// asked reads what is asked for from the standard input, and does it.
func asked(what any, do func(context.Context) error) error {
	if err := json.NewDecoder(os.Stdin).Decode(what); err != nil {
		return fmt.Errorf("read what is asked for: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return do(ctx)
}
