package inside

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// atOnce is how many artifacts of a task are transferred in parallel.
const atOnce = 8

// Fetch puts the metrics of a job and, if it succeeded, its outputs into the folder of its run.
// store returns where an output is.
func Fetch(ctx context.Context, dir string, res *pod.Result, succeeded bool, store func(ctx context.Context, port string) (*remote.Store, error)) error {
	if len(res.Metrics) > 0 {
		path := filepath.Join(dir, executors.MetricsFile)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := files.Write(path, res.Metrics, 0o644); err != nil {
			return err
		}
	}
	if !succeeded || len(res.Outputs) == 0 {
		return nil
	}
	out := filepath.Join(dir, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for port, ref := range res.Outputs {
		group.Go(func() error {
			if !filepath.IsLocal(port) || filepath.Base(port) != port {
				return fmt.Errorf("the container reports an unknown output %q", port)
			}
			s, err := store(ctx, port)
			if err == nil {
				err = s.Get(ctx, ref, filepath.Join(out, port))
			}
			if err != nil {
				return fmt.Errorf("output %s: %w", port, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// OpenToWrite opens a file for appending. It does not follow a symbolic link.
func OpenToWrite(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o644)
}

// AppendProgress adds a line to the progress of the run in a folder.
func AppendProgress(dir string, p step.Progress) error {
	f, err := OpenToWrite(filepath.Join(dir, executors.ProgressFile))
	if err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
	}
	return errors.Join(err, f.Close())
}

// LastLine returns the last line of a log, at most 300 bytes of it, or "".
func LastLine(log string) string {
	f, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer f.Close()
	const window, most = 4 << 10, 300
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-window), io.SeekStart)
	}
	b, _ := io.ReadAll(io.LimitReader(f, window)) // as much as can be read
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(b), "?")), "\n")
	line := strings.Join(strings.Fields(lines[len(lines)-1]), " ")
	return strings.ToValidUTF8(line[:min(len(line), most)], "") // the last character may be cut
}
