package main

import (
	"io"
	"os"
	"time"

	"github.com/tenon-ml/tenon/internal/logfile"
)

// An output is where a program prints.
type output struct {
	program *os.File  // its standard output and error
	log     io.Writer // what this command has to say itself
	written chan struct{}
}

// lastWords is how long to wait for the rest of the output once all processes are gone.
// Only a process that is not of the unit can still hold the pipe then.
const lastWords = time.Second

// capture makes the output a pipe that is written to a log. The program cannot write to the
// log itself, because then nobody could bound it.
func (o *output) capture(name string) error {
	log, err := logfile.Append(name)
	if err != nil {
		return err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	o.program, o.log, o.written = w, log, make(chan struct{})
	go func() {
		defer close(o.written)
		_, _ = io.CopyBuffer(struct{ io.Writer }{log}, struct{ io.Reader }{r}, make([]byte, 64<<10)) // the log reports its own errors
	}()
	return nil
}

// finish returns once everything that was printed is in the log.
func (o *output) finish() {
	if o.written == nil {
		return
	}
	o.program.Close() //nolint:errcheck // nothing was written to this end
	select {
	case <-o.written:
	case <-time.After(lastWords):
	}
}
