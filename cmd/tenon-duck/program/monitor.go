package program

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"

	"github.com/tenon-ml/tenon/stdlib/duck/engine"
	"github.com/tenon-ml/tenon/stdlib/monitor/measure"
	"github.com/tenon-ml/tenon/stdlib/monitor/window"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requestlog"
	"github.com/tenon-ml/tenon/stdlib/serve/plane/requests"
)

// reply answers a question.
func reply[Q any](in io.Reader, out io.Writer, answer func(context.Context, *Q) (any, error)) error {
	q := new(Q)
	if err := json.NewDecoder(in).Decode(q); err != nil {
		return fmt.Errorf("read what is asked for: %w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a, err := answer(ctx, q)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(a)
}

// measureWindow answers with a [window.Answer], or [window.Written].
func measureWindow(ctx context.Context, q *window.Question) (any, error) {
	if q.Write != nil {
		return written(ctx, q)
	}
	return measured(ctx, new(window.Cache), q)
}

func countTraffic(ctx context.Context, q *window.TrafficQuestion) (answer any, err error) {
	files, err := logFiles(q.Log, requestlog.Files)
	if err != nil {
		return nil, err
	}
	err = withFiles(ctx, slices.Clone(files), func(db *sql.DB) error {
		answer, err = window.CountTraffic(ctx, db, files, q)
		return err
	})
	return answer, err
}

func written(ctx context.Context, q *window.Question) (rows *window.Written, err error) {
	files, err := logFiles(q.Log, requestlog.Files)
	if err != nil {
		return nil, err
	}
	err = withFiles(ctx, append(slices.Clone(files), q.Reference, q.Labels, q.Write.Requests, q.Write.Reference), func(db *sql.DB) error {
		rows, err = window.Write(ctx, db, files, q)
		return err
	})
	return rows, err
}

func measured(ctx context.Context, kept *window.Cache, q *window.Question) (a *window.Answer, err error) {
	list := requestlog.Files
	if q.Monitor.Service != nil {
		list = requests.AuditFiles
	}
	files, err := logFiles(q.Log, list)
	if err != nil {
		return nil, err
	}
	err = withFiles(ctx, append(slices.Clone(files), q.Reference, q.Labels), func(db *sql.DB) error {
		a, err = kept.Run(ctx, db, files, q)
		return err
	})
	return a, err
}

// logFiles are the files of a log, or none without a folder.
func logFiles(dir string, list func(string) ([]string, error)) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	files, err := list(dir)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	return files, nil
}

// withFiles calls f with a database that reaches only these files. Empty paths are none.
func withFiles(ctx context.Context, paths []string, f func(*sql.DB) error) error {
	return engine.WithFiles(ctx, slices.DeleteFunc(paths, func(p string) bool { return p == "" }), f)
}

const (
	// keptValues is how many bytes of values a process keeps for the next measurements.
	keptValues = 256 << 20
	// mostMemory is how many bytes a process may have taken to answer another question.
	mostMemory = 1 << 30
)

// answerMonitors answers each [window.Ask] of a controller, and keeps what it read for the next ones.
func answerMonitors(in io.Reader, out io.Writer) error {
	kept := &window.Cache{Samples: measure.NewCache(keptValues)}
	return answerAsks(in, out, func() *window.Cache { return kept })
}

// answerSimulation answers each [window.Ask] of a simulation, which changes its files.
func answerSimulation(in io.Reader, out io.Writer) error {
	return answerAsks(in, out, func() *window.Cache { return new(window.Cache) })
}

// answerAsks answers one question after another, each with a cache, until there is no more.
func answerAsks(in io.Reader, out io.Writer, cache func() *window.Cache) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	asks, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var ask window.Ask
		if err := asks.Decode(&ask); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read what is asked for: %w", err)
		}
		reply, err := answered(ctx, cache(), &ask)
		if ctx.Err() != nil {
			return errStopped
		}
		if err != nil {
			reply.Error = err.Error()
		}
		reply.Full = taken() > mostMemory
		if err := replies.Encode(reply); err != nil {
			return err
		}
	}
}

// taken is how many bytes of memory this process has had at most.
func taken() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" {
		return u.Maxrss
	}
	return u.Maxrss << 10
}

func answered(ctx context.Context, kept *window.Cache, ask *window.Ask) (r window.Reply, err error) {
	if ask.Measure != nil {
		r.Answer, err = measured(ctx, kept, ask.Measure)
		return r, err
	}
	p := ask.Prepare
	if p == nil {
		return r, errors.New("nothing is asked for")
	}
	var files []string
	if p.Take != nil {
		if files, err = logFiles(p.Take.Log, requestlog.Files); err != nil {
			return r, err
		}
	}
	err = withFiles(ctx, p.Paths(files), func(db *sql.DB) error {
		r.Prepared, err = window.Prepare(ctx, db, files, p)
		return err
	})
	return r, err
}
