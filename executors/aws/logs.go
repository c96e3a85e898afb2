package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// logPatience is how long the end of a log may take to arrive in CloudWatch.
const logPatience = 10 * time.Second

// A logCopy is a copy of the log of a job that CloudWatch has. CloudWatch keeps lines of text, so
// it is only what people see meanwhile: the store has every byte at the end.
type logCopy struct {
	group, stream, token string
	reader               *pod.LogReader // nil writes nothing: another tenon does
	file                 *os.File
	moved                bool // the last look found something
	// since is the time of the last event of several streams, in milliseconds, and seen are the ids
	// of those of the last look.
	since int64
	seen  map[string]bool
}

// writeLog copies the log and the progress into the folder of the run, unless another tenon
// does.
func (st taskState) writeLog() (*logCopy, error) {
	f, err := inside.OpenToWrite(st.logPath())
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return &logCopy{}, f.Close()
	}
	if err := f.Truncate(0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &logCopy{file: f, reader: pod.NewLogReader(f, func(p step.Progress) { _ = inside.AppendProgress(st.Dir, p) })}, nil
}

func (l *logCopy) close() {
	if l.file != nil {
		_ = l.reader.Close()
		_ = l.file.Close() // the file is complete only once it is fetched from the store
		l.file, l.reader = nil, nil
	}
}

// copyLog copies what CloudWatch has got since the last call.
func (e *Executor) copyLog(ctx context.Context, c *cloud, st taskState, l *logCopy) error {
	l.moved = false
	if l.reader == nil {
		return nil
	}
	if s, ok := e.backend(st.Place).(streamed); ok {
		return s.copyStreams(ctx, c, st, l)
	}
	if l.stream == "" {
		var err error
		if l.group, l.stream, err = e.backend(st.Place).stream(ctx, c, st); err != nil || l.stream == "" {
			return err
		}
	}
	for {
		in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: &l.group, LogStreamName: &l.stream, StartFromHead: aws.Bool(true)}
		if l.token != "" {
			in.NextToken = &l.token
		}
		out, err := c.logs.GetLogEvents(ctx, in)
		var missing *cwtypes.ResourceNotFoundException
		if errors.As(err, &missing) { // it has printed nothing yet
			return nil
		}
		if err != nil {
			return explainCall("read the log of the job", err)
		}
		var lines bytes.Buffer
		for _, line := range out.Events {
			lines.WriteString(aws.ToString(line.Message))
			lines.WriteByte('\n')
		}
		if _, err := l.reader.Write(lines.Bytes()); err != nil {
			return err
		}
		l.moved = l.moved || len(out.Events) > 0
		next := aws.ToString(out.NextForwardToken)
		if next == "" || next == l.token { // a page may be empty, and others follow it
			return nil
		}
		l.token = next
	}
}

// drain copies the rest of the log of a job that has stored its result, until the line that says
// so arrives.
func (e *Executor) drain(ctx context.Context, c *cloud, st taskState, l *logCopy) error {
	if l.reader == nil {
		return nil
	}
	for end := time.Now().Add(logPatience); ; {
		if err := e.copyLog(ctx, c, st, l); err != nil || l.reader.Last() || time.Now().After(end) {
			return err
		}
		if err := sleep(ctx, e.opts.Pause); err != nil {
			return err
		}
	}
}

// Logs copies the output of a job: from this machine once that is complete here, and otherwise
// from CloudWatch. With follow it continues until the job has ended.
func (e *Executor) Logs(ctx context.Context, h state.Handle, w io.Writer, follow bool) error {
	st, c, err := e.open(ctx, h)
	if err == nil {
		err = e.logsOf(ctx, c, st, w, follow)
	}
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("log of %s: %w", st.Unit, err)
	}
	return nil
}

func (e *Executor) logsOf(ctx context.Context, c *cloud, st taskState, w io.Writer, follow bool) error {
	fromHere := func() error {
		return local.Follow(ctx, st.logPath(), w, func() bool { return false }, nil)
	}
	if _, ok := st.ended(); ok {
		return fromHere()
	}
	to := &counted{w: w, sum: sha256.New()}
	l := &logCopy{reader: pod.NewLogReader(to, nil)}
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		// Ask before copying, so that everything printed before the end is copied.
		now, res, err := e.backend(st.Place).look(ctx, c, &st)
		if err != nil {
			return err
		}
		if now.Phase == state.Absent && to.n == 0 {
			return fromHere()
		}
		if err := e.copyLog(ctx, c, st, l); err != nil {
			return err
		}
		switch {
		case res != nil && res.Log != nil:
			return errors.Join(l.reader.Close(), e.rest(ctx, c, st, res, to))
		case now.Phase != state.Running && now.Phase != state.Ready || !follow:
			return l.reader.Close()
		}
		if l.moved {
			pause = e.opts.Pause
		}
		if err := sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// rest copies what the store has of a log after what was copied from CloudWatch, if that was the
// beginning of it.
func (e *Executor) rest(ctx context.Context, c *cloud, st taskState, res *pod.Result, to *counted) error {
	s, err := e.store(ctx, c, st.notes())
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
