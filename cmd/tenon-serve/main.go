// Command tenon-serve answers predictions: it is the program of units with the runtime
// "plane". People do not run it; tenon and containers start it with $TENON_STEP:
//
//	tenon-serve PYTHON SCRIPT    serves, with that script for what needs Python
//	tenon-serve version          prints the version of its code
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/stdlib"
	"github.com/tenon-ml/tenon/stdlib/serve/plane"
	"github.com/tenon-ml/tenon/stdlib/step"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "version" {
		fmt.Println(stdlib.Code())
		return nil
	}
	s, err := step.Read()
	if err != nil {
		return err
	}
	return plane.Run(context.Background(), s, args)
}
