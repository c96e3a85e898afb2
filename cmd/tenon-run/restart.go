package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tenon-ml/tenon/executors/local/lives"
)

// runAgain runs a program once, or, if there is a file for its lives, starts it again when it
// ends, see package lives. It returns the last status. asked has a signal once the service is
// asked to end.
func runAgain(livesFile string, log io.Writer, asked <-chan os.Signal, run func() (int, error)) int {
	l := lives.First(time.Now())
	for {
		code, err := run()
		if livesFile == "" || err != nil || len(asked) > 0 || !l.Again(time.Now(), code) {
			return code
		}
		if err := l.Write(livesFile); err != nil {
			fmt.Fprintf(log, "tenon: record that the program starts again: %v\n", err)
			return code
		}
		pause := time.Until(l.Since)
		fmt.Fprintf(log, "tenon: the program %s; starting it again in %s\n", l.Why, max(0, pause).Round(100*time.Millisecond))
		for ; pause > 0; pause = time.Until(l.Since) {
			if len(asked) > 0 {
				return code
			}
			time.Sleep(min(pause, 10*time.Millisecond))
		}
	}
}
