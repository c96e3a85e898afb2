package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/outputs"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// open opens the store and reads the task. If the task has ended before, open also
// reads its result, and done is true.
func (r *runner) open(ctx context.Context) (done bool, err error) {
	if r.store, err = remote.Open(ctx, r.url); err != nil {
		return false, err
	}
	b, err := r.store.Bytes(ctx, artifact.Ref{Digest: r.digest})
	if err == nil {
		err = json.Unmarshal(b, &r.task)
	}
	if err != nil {
		return false, fmt.Errorf("read the task: %w", err)
	}
	if v := r.task.Step.Version; v != step.Version {
		return false, fmt.Errorf("the task has version %d of the contract, but this tenon-pod supports version %d", v, step.Version)
	}
	if c := r.task.Claim; c != nil {
		now, err := r.store.Note(ctx, pod.ClaimNote(c.Task))
		if err != nil && !errors.Is(err, artifact.ErrMissing) {
			return false, fmt.Errorf("read which start of the task may run: %w", err)
		}
		if string(now) != c.Start {
			return false, errors.New("it was replaced by another start of the task before it began")
		}
	}
	if r.task.Kind != ir.Job || r.task.Places != nil {
		return false, nil
	}
	b, err = r.store.Note(ctx, r.note())
	if errors.Is(err, artifact.ErrMissing) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r.result)
	}
	if err != nil {
		return false, fmt.Errorf("read the result of the previous pod: %w", err)
	}
	return true, nil
}

// note returns the name of the note with the result of this pod.
func (r *runner) note() string { return pod.NodeNote(r.task.Name, os.Getenv(pod.NodeEnv)) }

// notes returns the URL of the store for the log and the result, and place that for an output.
// "" is where the task is.
func (r *runner) notes() string {
	if p := r.task.Places; p != nil {
		return p.Notes
	}
	return ""
}

func (r *runner) place(port string) string {
	if p := r.task.Places; p != nil {
		return p.Outputs[port]
	}
	return ""
}

// writable returns the store at a URL that the task may only write to, or that of the task.
func (r *runner) writable(ctx context.Context, url string) (*remote.Store, error) {
	return r.stores.at(ctx, r.store, url, remote.OpenWriteOnly)
}

// readable returns the store at a URL that the task may read, or that of the task.
func (r *runner) readable(ctx context.Context, url string) (*remote.Store, error) {
	return r.stores.at(ctx, r.store, url, remote.Open)
}

// stores are the open stores besides that of the task, by URL. No URL is both read and written.
type stores struct {
	mu  sync.Mutex
	all map[string]*remote.Store
}

func (s *stores) at(ctx context.Context, own *remote.Store, url string, open func(context.Context, string) (*remote.Store, error)) (*remote.Store, error) {
	if url == "" {
		return own, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.all[url]; at != nil {
		return at, nil
	}
	at, err := open(ctx, url)
	if err != nil {
		return nil, err
	}
	if s.all == nil {
		s.all = map[string]*remote.Store{}
	}
	s.all[url] = at
	return at, nil
}

// close closes all of them, which have acknowledged everything they have.
func (s *stores) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.all {
		_ = at.Close()
	}
}

func (r *runner) writeNote(ctx context.Context, b []byte) error {
	s, err := r.writable(ctx, r.notes())
	if err != nil {
		return err
	}
	return s.PutNote(ctx, r.note(), b)
}

// upload stores the outputs of a job and then its result.
func (r *runner) upload(ctx context.Context) {
	if r.result.Status() == 0 && r.note() == pod.ResultNote(r.task.Name) {
		if err := r.uploadOutputs(ctx); err != nil {
			r.result.Outputs = nil
			r.fault(err)
		}
	}
	if err := r.uploadNotes(ctx); err != nil && r.result.Status() == 0 {
		r.fault(err)
	}
	r.result.Stored = true
	err := r.insist("the store does not accept the result", func() (again bool, err error) {
		b, err := json.Marshal(r.result)
		if err == nil {
			err = r.writeNote(ctx, b)
		}
		return true, err
	})
	if err != nil {
		r.result.Stored = false
		if err = fmt.Errorf("store the result: %w", err); r.result.Fault != "" {
			err = fmt.Errorf("%s; %w", r.result.Fault, err)
		}
		r.fault(err)
	}
}

func (r *runner) uploadOutputs(ctx context.Context) error {
	r.result.Outputs = map[string]artifact.Ref{}
	for _, port := range slices.Sorted(maps.Keys(r.task.Step.Outputs)) {
		out := r.task.Step.Outputs[port]
		err := outputs.Output(port, out.Kind, out.Path)
		if errors.Is(err, outputs.ErrMissing) {
			continue // the reader of the output will report it
		}
		if err != nil {
			return err
		}
		if r.result.Outputs[port], err = r.put(ctx, r.place(port), "output "+port, out.Path); err != nil {
			return fmt.Errorf("store output %s: %w", port, err)
		}
	}
	return nil
}

// uploadNotes stores metrics and log. A failure to store the log does not fail the run.
func (r *runner) uploadNotes(ctx context.Context) error {
	if r.tail == nil { // the program never started
		return nil
	}
	if path, cut, err := r.tail.end(); err == nil {
		if ref, err := r.put(ctx, r.notes(), "the log", path); err == nil {
			r.result.Log, r.result.LogCut = &ref, cut
		}
	}
	metrics, err := outputs.Read(r.task.Step.Metrics)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("metrics: %w", err)
	}
	r.result.Metrics = metrics
	return nil
}

// put stores a file or a folder at a URL, or with the task if that is "".
func (r *runner) put(ctx context.Context, url, what, path string) (ref artifact.Ref, err error) {
	err = r.insist("the store does not accept "+what, func() (again bool, err error) {
		s, err := r.writable(ctx, url)
		if err != nil {
			return true, err
		}
		if ref, err = s.Put(ctx, path); err == nil {
			return false, nil
		}
		if _, own := artifact.Digest(ctx, path); own != nil { // the fault is in the file, not in the store
			return false, own
		}
		return true, err
	})
	return ref, err
}

// insist repeats do until it succeeds, fails with a permanent error, or the patience is
// used up. Meanwhile it reports to users why they wait.
func (r *runner) insist(trouble string, do func() (again bool, err error)) error {
	var since time.Time
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		again, err := do()
		var refused *remote.RefusedError
		if err == nil || !again || errors.As(err, &refused) {
			return err
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since)+pause > r.patience {
			r.patience = 0 // for all later calls
			return err
		}
		_ = r.log.Progress(step.Progress{Message: fmt.Sprintf("%s; retrying: %v", trouble, err)})
		time.Sleep(pause)
	}
}
