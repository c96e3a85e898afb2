// Package outputs examines what a step left: outputs, metrics, progress. A step may leave
// anything, so the package follows no links, waits for nothing, and bounds every read.
//
// It does not know what the content of an output has to be.
package outputs

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// ErrMissing means that a step wrote nothing where an output is expected.
var ErrMissing = errors.New("it is missing")

// Output returns an error unless there is a file or a folder, as the kind requires. The
// error says what was expected where; it is [ErrMissing] if nothing exists.
func Output(port string, kind ir.PortKind, path string) error {
	info, err := os.Lstat(path) // a link could point to what the step could not read
	if errors.Is(err, fs.ErrNotExist) {
		return &missing{port, path}
	}
	if err != nil {
		return fmt.Errorf("output %s: %w", port, err)
	}
	switch kind {
	case ir.Table:
		if !info.Mode().IsRegular() {
			return fmt.Errorf("output %s is a table: expected one Parquet file at %s, but the step wrote %s", port, path, what(info))
		}
	case ir.Model, ir.Report:
		if !info.IsDir() {
			return fmt.Errorf("output %s is a %s: expected a folder at %s, but the step wrote %s", port, kind, path, what(info))
		}
	case ir.File:
		if !info.Mode().IsRegular() && !info.IsDir() {
			return fmt.Errorf("output %s is a file: expected a file or a folder at %s, but the step wrote %s", port, path, what(info))
		}
	default:
		return fmt.Errorf("output %s is of kind %q, which a step cannot write", port, kind)
	}
	return nil
}

type missing struct{ port, path string }

func (m *missing) Error() string {
	return fmt.Sprintf("output %s is missing: the step wrote nothing at %s", m.port, m.path)
}

func (m *missing) Is(err error) bool { return err == ErrMissing }

func what(info fs.FileInfo) string {
	switch {
	case info.IsDir():
		return "a folder"
	case info.Mode().IsRegular():
		return "a file"
	case info.Mode()&fs.ModeSymlink != 0:
		return "a link"
	}
	return "something else (" + info.Mode().Type().String() + ")"
}

// maxNote limits the size of the small files that a step writes beside its outputs.
const maxNote = 16 << 20

// Read reads a small file that a step wrote.
func Read(path string) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxNote+1))
	if err == nil && len(b) > maxNote {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxNote>>20)
	}
	return b, err
}

// Open opens a file that a step wrote, if it is a regular file: not a pipe without a
// writer, nor a link to a device that never ends.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // opening a pipe would otherwise wait for a writer
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is %s instead of a file", path, what(info))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// tailEvery is how often to check the progress of a step.
const tailEvery = 200 * time.Millisecond

// maxLine limits a line of progress; a longer one is dropped.
const maxLine = 64 << 10

// Tail reads a growing progress file and passes on each line with values, and of all other lines the
// newest, until stop is closed, and once more after that. It ignores everything else in the file.
func Tail(path string, stop <-chan struct{}, report func(step.Progress)) {
	ticker := time.NewTicker(tailEvery)
	defer ticker.Stop()
	t := tailer{path: path}
	for {
		select {
		case <-stop:
			t.read(report)
			return
		case <-ticker.C:
			t.read(report)
		}
	}
}

type tailer struct {
	path string
	at   int64
}

// read reports what the lines say that were completed since the last call.
func (t *tailer) read(report func(step.Progress)) {
	f, err := Open(t.path)
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Seek(t.at, io.SeekStart); err != nil {
		return
	}
	r := bufio.NewReaderSize(f, maxLine)
	var last *step.Progress
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			t.at += int64(len(line))
			continue
		}
		if err != nil {
			break
		}
		t.at += int64(len(line))
		var p step.Progress
		switch {
		case json.Unmarshal(line, &p) != nil || !bytes.HasPrefix(bytes.TrimSpace(line), []byte("{")):
		case len(p.Values) > 0:
			report(p)
		default:
			last = &p
		}
	}
	if last != nil {
		report(*last)
	}
}
