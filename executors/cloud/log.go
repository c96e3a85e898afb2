package cloud

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// logPatience is how long the end of a log may take to arrive.
const logPatience = 10 * time.Second

// A logCopy is a copy of the log of a job that a cloud has. Clouds keep lines of text, so
// it is only what people see meanwhile: the store has every byte at the end.
type logCopy struct {
	reader *pod.LogReader // nil writes nothing: another tenon does
	file   *os.File
	moved  bool // the last look found something
}

// writeLog copies the log and the progress into the folder of the run, unless another tenon
// does.
func (r Run) writeLog() (*logCopy, error) {
	f, err := inside.OpenToWrite(r.logPath())
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &logCopy{}, f.Close()
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &logCopy{file: f, reader: pod.NewLogReader(f, func(p step.Progress) { _ = inside.AppendProgress(r.Dir, p) })}, nil
}

func (l *logCopy) close() {
	if l.file != nil {
		_ = l.reader.Close()
		_ = l.file.Close() // the file is complete only once it is fetched from the store
		l.file, l.reader = nil, nil
	}
}

// copy copies what the job has printed since the last call.
func (l *logCopy) copy(ctx context.Context, j Job) error {
	l.moved = false
	if l.reader == nil {
		return nil
	}
	for {
		lines, err := j.Printed(ctx)
		l.moved = l.moved || len(lines) > 0
		if _, failed := l.reader.Write(lines); failed != nil && err == nil {
			err = failed
		}
		if p, ok := j.(paged); err != nil || !ok || !p.More() {
			return err
		}
	}
}

// drain copies the rest of the log of a job that has stored its result, until the line that says
// so arrives.
func (r Run) drain(ctx context.Context, j Job, l *logCopy) error {
	if l.reader == nil || r.LateLog {
		return nil
	}
	for end := time.Now().Add(logPatience); ; {
		if err := l.copy(ctx, j); err != nil || l.reader.Last() || time.Now().After(end) {
			return err
		}
		if err := Sleep(ctx, r.Pause); err != nil {
			return err
		}
	}
}

// SaveLog copies the log of a job that is about to be ended, as far as the cloud has it.
func (r Run) SaveLog(ctx context.Context, j Job) {
	if !r.here() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logPatience)
	defer cancel()
	log, err := r.writeLog()
	if err != nil {
		return
	}
	defer log.close()
	_ = log.copy(ctx, j) // what can be had
}

// Logs copies the output of the job: from this machine once that is complete here, and otherwise
// from the cloud. With follow it continues until the job has ended.
func (r Run) Logs(ctx context.Context, j Job, w io.Writer, follow bool) error {
	fromHere := func() error {
		return local.Follow(ctx, r.logPath(), w, func() bool { return false }, nil)
	}
	if _, ok := r.Ended(); ok {
		return fromHere()
	}
	to := &counted{w: w, sum: sha256.New()}
	l := &logCopy{reader: pod.NewLogReader(to, nil)}
	for pause := r.Pause; ; pause = min(2*pause, r.Longest) {
		// Ask before copying, so that everything printed before the end is copied.
		now, res, err := j.Look(ctx)
		if err != nil {
			return err
		}
		if now.Phase == state.Absent && to.n == 0 {
			return fromHere()
		}
		if err := l.copy(ctx, j); err != nil {
			return err
		}
		switch {
		case res != nil && res.Log != nil:
			return errors.Join(l.reader.Close(), r.rest(ctx, res, to))
		case now.Phase != state.Running && now.Phase != state.Ready || !follow:
			return l.reader.Close()
		}
		if l.moved {
			pause = r.Pause
		}
		if err := Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// rest copies what the store has of a log after what was copied from the cloud, if that was the
// beginning of it.
func (r Run) rest(ctx context.Context, res *pod.Result, to *counted) error {
	s, err := r.Stores.At(ctx, r.Notes)
	if err != nil {
		return err
	}
	b, err := s.Bytes(ctx, *res.Log)
	if err != nil || int64(len(b)) < to.n {
		return err
	}
	begin := sha256.Sum256(b[:to.n])
	if !bytes.Equal(begin[:], to.sum.Sum(nil)) {
		return nil // it has more than lines of text
	}
	_, err = to.Write(b[to.n:])
	return err
}

// A counted writer knows what was written.
type counted struct {
	w   io.Writer
	n   int64
	sum hash.Hash
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	c.sum.Write(b[:n])
	return n, err
}
