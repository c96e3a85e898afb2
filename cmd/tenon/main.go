// Command tenon is the command line of Tenon: one file per command, wiring only.
package main

import (
	"os"

	_ "github.com/tenon-ml/tenon/internal/collector" // for a fast start
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
