package mlflow

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/stdlib/step"
)

// Send sends what waits for a run. What was sent is removed once the run is closed. refused is called for what the server
// does not accept: it is left out. Any other error leaves the rest where it is.
func (s Spool) Send(ctx context.Context, run int64, with Credentials, refused func(what string, err error)) error {
	about, err := s.First(run)
	if err != nil {
		return err
	}
	d := &delivery{spool: s, number: run, about: about, server: &Server{about.URI, with}, refused: refused}
	if d.at, err = s.sentTo(run); err != nil {
		return err
	}
	if err := d.all(ctx); err != nil {
		return fmt.Errorf("%s: %w", about.URI, err)
	}
	return nil
}

// A delivery sends the file of one run.
type delivery struct {
	spool   Spool
	number  int64
	about   *Run
	server  *Server
	refused func(string, error)
	at      sentTo
	batch   []metric
	end     int64 // of the lines in the batch
}

// A metric is a value as MLflow takes it.
type metric struct {
	Key   string     `json:"key"`
	Value step.Value `json:"value"`
	Time  int64      `json:"timestamp"`
	Step  int64      `json:"step"`
}

func (d *delivery) all(ctx context.Context) error {
	if d.at.Run == "" && !d.at.Refused {
		if err := d.create(ctx); err != nil {
			return err
		}
	}
	if d.at.Refused {
		return d.forget()
	}
	f, err := os.Open(d.spool.path(d.number))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(d.at.Offset, io.SeekStart); err != nil {
		return err
	}
	d.end = d.at.Offset
	r := bufio.NewReader(f)
	for {
		e, n, err := readEntry(r)
		if errors.Is(err, io.EOF) {
			return d.flush(ctx)
		}
		if err != nil {
			d.refused("a line of "+d.spool.path(d.number), err) // a disk was full, or somebody changed it
			d.end += n
			continue
		}
		if e.Metrics == nil || len(d.batch)+len(e.Metrics.Values) > maxMetrics {
			if err := d.flush(ctx); err != nil {
				return err
			}
		}
		if err := d.entry(ctx, e); err != nil {
			return err
		}
		d.end += n
		if e.Closed {
			return d.spool.remove(d.number)
		}
		if e.Metrics == nil {
			if err := d.note(); err != nil {
				return err
			}
		}
	}
}

// note records how far the file was sent.
func (d *delivery) note() error {
	if d.at.Offset == d.end {
		return nil
	}
	d.at.Offset = d.end
	return d.spool.setSent(d.number, d.at)
}

// forget removes the file of a run that was refused, once nothing follows.
func (d *delivery) forget() error {
	closed, err := d.spool.Closed(d.number)
	if err != nil || !closed {
		return err
	}
	return d.spool.remove(d.number)
}

// create creates the run with its parameters. What is known of them already does no harm.
func (d *delivery) create(ctx context.Context) (err error) {
	id, err := d.server.create(ctx, d.about)
	if _, refused := errors.AsType[refusedRun](err); refused {
		d.refused("the run "+d.about.Name, err)
		d.at.Refused = true
		return d.spool.setSent(d.number, d.at)
	}
	if err != nil {
		return err
	}
	for part := range slices.Chunk(pairs(d.about.Params, maxValue), maxParams) {
		err := d.server.call(ctx, http.MethodPost, "runs/log-batch", map[string]any{"run_id": id, "params": part}, nil)
		if err = d.leaveOut("parameters", err); err != nil {
			return err
		}
	}
	d.at.Run = id
	return d.spool.setSent(d.number, d.at)
}

// leaveOut reports what was refused, and returns any other error.
func (d *delivery) leaveOut(what string, err error) error {
	var no *RefusedError
	if errors.As(err, &no) {
		d.refused(what+" of "+d.about.Name, err)
		return nil
	}
	return err
}

func (d *delivery) entry(ctx context.Context, e Entry) error {
	switch {
	case e.Metrics != nil:
		for _, name := range slices.Sorted(maps.Keys(e.Metrics.Values)) {
			d.batch = append(d.batch, metric{Name(name), e.Metrics.Values[name], e.Metrics.Time, e.Metrics.Step})
		}
		return nil
	case e.Tags != nil:
		for part := range slices.Chunk(pairs(e.Tags, maxTag), maxTags) {
			err := d.server.call(ctx, http.MethodPost, "runs/log-batch", map[string]any{"run_id": d.at.Run, "tags": part}, nil)
			if err = d.leaveOut("tags", err); err != nil {
				return err
			}
		}
		return nil
	case e.File != nil:
		return d.leaveOut("the file "+e.File.Name, d.file(ctx, e.File))
	case e.End != nil:
		err := d.server.call(ctx, http.MethodPost, "runs/update", map[string]any{"run_id": d.at.Run, "status": e.End.Status, "end_time": e.End.Time}, nil)
		return d.leaveOut("the end", err)
	}
	return nil
}

// flush sends the batch. If the run was deleted in MLflow, it is left out as a whole.
func (d *delivery) flush(ctx context.Context) error {
	for part := range slices.Chunk(d.batch, maxMetrics) {
		err := d.log(ctx, part)
		var no *RefusedError
		if errors.As(err, &no) && len(part) > 1 {
			active, askErr := d.server.active(ctx, d.at.Run)
			if askErr != nil {
				return askErr
			}
			if active {
				err = d.halves(ctx, part)
			}
		}
		if err := d.leaveOut("metrics such as "+part[0].Key, err); err != nil {
			return err
		}
	}
	d.batch = d.batch[:0]
	return d.note()
}

// log sends values in one request.
func (d *delivery) log(ctx context.Context, values []metric) error {
	return d.server.call(ctx, http.MethodPost, "runs/log-batch", map[string]any{"run_id": d.at.Run, "metrics": values}, nil)
}

// halves sends values that the server refuses together, in halves until only those that are at fault are left out.
func (d *delivery) halves(ctx context.Context, values []metric) error {
	half := len(values) / 2
	for _, part := range [][]metric{values[:half], values[half:]} {
		err := d.log(ctx, part)
		var no *RefusedError
		if errors.As(err, &no) && no.Code != gone && len(part) > 1 {
			err = d.halves(ctx, part)
		}
		if err := d.leaveOut("metrics such as "+part[0].Key, err); err != nil {
			return err
		}
	}
	return nil
}

// file sends a small artifact to a server that stores artifacts itself.
func (d *delivery) file(ctx context.Context, f *File) error {
	var info struct {
		Run struct {
			Info struct {
				Artifacts string `json:"artifact_uri"`
			} `json:"info"`
		} `json:"run"`
	}
	if err := d.server.call(ctx, http.MethodGet, "runs/get?run_id="+url.QueryEscape(d.at.Run), nil, &info); err != nil {
		return err
	}
	u, err := url.Parse(info.Run.Info.Artifacts)
	if err != nil || u.Scheme != "mlflow-artifacts" {
		return &RefusedError{"NO_PROXY", "the server does not store artifacts itself: it keeps them at " + info.Run.Info.Artifacts}
	}
	to := path.Join("/api/2.0/mlflow-artifacts/artifacts", u.Path, f.Name)
	parts := strings.Split(to, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return d.server.send(ctx, http.MethodPut, strings.Join(parts, "/"), "application/octet-stream", f.Content, nil)
}
