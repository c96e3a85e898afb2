package pod

import (
	"bytes"
	"encoding/json"
	"io"
	"sync"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// escape starts everything in a pod's log that the program did not print. A log holds
// the output of the program, with progress on separate lines in between, so that people
// can read it as it is and each byte of the program can be distinguished from the rest:
//
//	escape "tenon:progress " JSON "\n"   progress, at the beginning of a line
//	escape "tenon:end\n"                 the last line, see [LastMark]
//	escape "\n"                          a line break that the program did not print
//	escape escape                        an escape that the program printed
const escape = '\x1e'

// maxMarked bounds a line of progress. A longer line did not come from a [LogWriter].
const maxMarked = 64 << 10

// A LogWriter writes a pod's log. It is safe for concurrent use.
type LogWriter struct {
	mu   sync.Mutex
	to   io.Writer
	open bool // the current line has no line break yet
	buf  []byte
}

// NewLogWriter returns a LogWriter that writes to w.
func NewLogWriter(w io.Writer) *LogWriter { return &LogWriter{to: w} }

// Write adds output of the program.
func (l *LogWriter) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = b[len(b)-1] != '\n'
	if bytes.IndexByte(b, escape) < 0 {
		return l.to.Write(b)
	}
	l.buf = l.buf[:0]
	for _, c := range b {
		if c == escape {
			l.buf = append(l.buf, escape)
		}
		l.buf = append(l.buf, c)
	}
	if _, err := l.to.Write(l.buf); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Progress adds a line of progress.
func (l *LogWriter) Progress(p step.Progress) error {
	text, err := json.Marshal(p) // without line breaks and control characters
	if err != nil {
		return err
	}
	line := Mark + string(text) + "\n"
	if len(line) > maxMarked {
		return nil // a reader would not accept it as progress
	}
	return l.line(line)
}

// Last adds [LastMark].
func (l *LogWriter) Last() error { return l.line(LastMark) }

// line adds a line that is not the program's.
func (l *LogWriter) line(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = l.buf[:0]
	if l.open {
		l.buf = append(l.buf, escape, '\n')
	}
	l.buf = append(l.buf, text...)
	l.open = false
	_, err := l.to.Write(l.buf)
	return err
}

// A LogReader decodes a pod's log, given in pieces of any size. It writes the output of
// the program at once, byte by byte, and reports progress. It copies unchanged what a
// [LogWriter] did not write, such as a log that was cut off in the middle.
type LogReader struct {
	to       io.Writer
	progress func(step.Progress)
	held     []byte // starts with an escape whose meaning is not clear yet
	last     bool   // [LastMark] was read
	out      []byte
}

// NewLogReader returns a LogReader that writes to w and calls progress, if that is not
// nil, for each progress in the log.
func NewLogReader(w io.Writer, progress func(step.Progress)) *LogReader {
	if progress == nil {
		progress = func(step.Progress) {}
	}
	return &LogReader{to: w, progress: progress}
}

// Write decodes a piece of the log.
func (l *LogReader) Write(b []byte) (int, error) {
	l.out = l.out[:0]
	for _, c := range b {
		if len(l.held) == 0 && c != escape {
			l.out = append(l.out, c)
			continue
		}
		if l.held = append(l.held, c); len(l.held) == 1 {
			continue
		}
		if err := l.take(); err != nil {
			return 0, err
		}
	}
	return len(b), l.flush()
}

// take interprets the held bytes if their meaning is clear.
func (l *LogReader) take() error {
	last := l.held[len(l.held)-1]
	switch {
	case len(l.held) == 2 && last == '\n':
		l.held = l.held[:0]
	case len(l.held) == 2 && last == escape:
		l.out, l.held = append(l.out, escape), l.held[:0]
	case string(l.held) == LastMark:
		l.held, l.last = l.held[:0], true
	case !marks(l.held), len(l.held) > maxMarked:
		l.release()
	case last == '\n':
		var p step.Progress
		if json.Unmarshal(l.held[len(Mark):], &p) != nil {
			l.release()
			return nil
		}
		l.held = l.held[:0]
		if err := l.flush(); err != nil {
			return err
		}
		l.progress(p)
	}
	return nil
}

// marks reports whether the held bytes may become a mark.
func marks(held []byte) bool {
	n := len(held)
	return n <= len(LastMark) && string(held) == LastMark[:n] || string(held[:min(n, len(Mark))]) == Mark[:min(n, len(Mark))]
}

// Last reports whether [LastMark] was read.
func (l *LogReader) Last() bool { return l.last }

// release treats the held bytes as output of the program, except for a last byte that
// may start another escape.
func (l *LogReader) release() {
	n := len(l.held)
	if l.held[n-1] == escape {
		n--
	}
	l.out = append(l.out, l.held[:n]...)
	l.held = append(l.held[:0], l.held[n:]...)
}

func (l *LogReader) flush() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.to.Write(l.out)
	l.out = l.out[:0]
	return err
}

// Close ends the log. It writes what was held back.
func (l *LogReader) Close() error {
	l.out, l.held = append(l.out[:0], l.held...), l.held[:0]
	return l.flush()
}
