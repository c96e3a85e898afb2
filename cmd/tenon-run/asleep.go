package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tenon-ml/tenon/executors/local/lives"
)

// wakes is how long a program may take to begin that a connection has started.
const wakes = 4 * time.Second

// askedEvery is how often to look whether a service that sleeps is asked to end.
const askedEvery = 100 * time.Millisecond

// runAwake runs a program, and again whenever it is needed. A program that succeeds and leaves its
// socket listening sleeps: nobody needs it until a connection is in the socket. This is not the
// end of a life.
func (l *leader) runAwake(argv []string, grace time.Duration, asked <-chan os.Signal, livesFile string) (int, error) {
	for {
		code, err := l.run(argv, grace, asked)
		if err != nil || code != 0 || l.last || !l.socket.listens() || len(asked) > 0 && l.socket.taken() {
			return code, err
		}
		if !l.sleep(asked, filepath.Join(filepath.Dir(livesFile), filepath.Base(lives.Asleep))) {
			return code, nil
		}
	}
}

// sleep waits for a connection. It returns false if the service is asked to end and none waits. A
// connection that waits then is answered first.
func (l *leader) sleep(asked <-chan os.Signal, note string) bool {
	if err := os.WriteFile(note, nil, 0o644); err != nil {
		fmt.Fprintf(l.log, "tenon: note that the program sleeps: %v\n", err)
	}
	defer os.Remove(note) //nolint:errcheck // if it cannot be removed, it could not be written
	for !l.socket.await(askedEvery) {
		if len(asked) > 0 && !l.socket.await(0) {
			return false
		}
	}
	if len(asked) > 0 && l.socket.taken() {
		return false // another version answers
	}
	l.last, l.woken = len(asked) > 0, true
	return true
}
