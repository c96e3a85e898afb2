package worker

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// words passes on what a process writes to its standard error, and remembers the last line: that
// of a traceback is the error.
type words struct {
	to   io.Writer
	mu   sync.Mutex
	line []byte // the last one with something in it, as far as it was written
	done bool   // it is a whole one

	ended chan struct{} // all was read
}

// hear returns the end of a pipe on which a process speaks, until all who have that are gone.
func hear(to io.Writer) (*words, *os.File, error) {
	r, theirs, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	w := &words{to: to, ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		defer r.Close()
		_, _ = io.Copy(w, r)
	}()
	return w, theirs, nil
}

// wait waits until all that was said is there. What is no part of the group of the process may
// go on speaking.
func (w *words) wait() {
	select {
	case <-w.ended:
	case <-time.After(time.Second):
	}
}

// mostWords is how much of a line is remembered. It becomes part of one short line of a status.
const mostWords = 120

func (w *words) Write(b []byte) (int, error) {
	w.mu.Lock()
	for rest := b; len(rest) > 0; {
		text, after, whole := bytes.Cut(rest, []byte("\n"))
		if len(bytes.TrimSpace(text)) > 0 {
			if w.done {
				w.line, w.done = w.line[:0], false
			}
			w.line = append(w.line, text[:min(len(text), max(0, mostWords-len(w.line)))]...)
		}
		w.done, rest = w.done || whole, after
	}
	w.mu.Unlock()
	_, _ = w.to.Write(b) // a log that is full must not stop the process
	return len(b), nil
}

// last returns the last line, with "?" for what is no printable ASCII.
func (w *words) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, string(w.line)))
}
