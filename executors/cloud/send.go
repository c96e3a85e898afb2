package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// atOnce is how many artifacts of a task are transferred in parallel.
const atOnce = 8

// folder returns the folder, below the root of the system, of what a unit reads, so that the unit may read
// it: what another unit makes is with that one.
func folder(u ir.Unit, passage string) string {
	if passage == "code" || strings.HasPrefix(passage, "code of ") { // of a version beside it
		return Below(u.ID, "code")
	}
	port, is := strings.CutPrefix(passage, "input ")
	if !is {
		return Below(u.ID, "files")
	}
	if i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port }); i >= 0 {
		return Below(u.Inputs[i].Unit, "out", u.Inputs[i].From)
	}
	return Below(u.ID, "code")
}

// A Bucket is where a system has its artifacts.
type Bucket struct {
	Stores *Stores
	Sender *inside.Sender
	// URL returns the URL of a folder below the root of the system, which ends with a slash.
	URL func(folder string) string
}

// Send makes sure that the bucket has what a task reads, and returns what its container has to do. Meanwhile it does
// something else too.
func (b Bucket) Send(ctx context.Context, t executors.Task, meanwhile ...func(context.Context) error) (pod.Task, error) {
	task, pass := inside.Document(t, func(_, here string) string { return here })
	if e := t.Unit.Endpoint; e != nil {
		at := *e // a container has an address of its own, and is one replica
		at.Host, at.Replicas, at.Scale = "0.0.0.0", 1, nil
		task.Step.Endpoint = &at
		pass = append(pass, inside.Beside(t, &task.Step, pass)...)
	}
	if t.Checkpoints != nil {
		task.Checkpoints = &pod.Checkpoints{Store: b.URL(Below(t.Unit.ID, "checkpoints")), Folder: t.Key}
	}
	task.Fetch = make([]pod.Fetch, len(pass))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, do := range meanwhile {
		group.Go(func() error { return do(ctx) })
	}
	for i, p := range pass {
		group.Go(func() error {
			at := b.URL(folder(t.Unit, p.Name))
			s, err := b.Stores.At(ctx, at)
			if err != nil {
				return err
			}
			ref, err := b.Sender.Put(ctx, s, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			to, err := filepath.Rel(pod.Work, p.To)
			task.Fetch[i] = pod.Fetch{Ref: ref, Path: to, Name: p.Name, Store: at}
			return err
		})
	}
	return task, group.Wait()
}

// Places returns where a task stores what it leaves, and where a service with several versions has its route.
func (b Bucket) Places(t executors.Task) *pod.Places {
	p := &pod.Places{Notes: b.URL(Below(t.Unit.ID, "notes")), Outputs: map[string]string{}}
	for _, out := range t.Unit.Outputs {
		if out.Kind != ir.EndpointOf {
			p.Outputs[out.Port] = b.URL(Below(t.Unit.ID, "out", out.Port))
		}
	}
	return p
}

// Command stores what a container has to do, and returns the command that does it. message is the file
// in the container that says at the end how it has ended.
func (b Bucket) Command(ctx context.Context, unit string, task pod.Task, message string) ([]string, error) {
	at, digest, err := b.Instruct(ctx, unit, task)
	if err != nil {
		return nil, err
	}
	return []string{pod.Program, "run", "--store", at, "--task", digest, "--message", message}, nil
}

// Instruct stores what a container has to do, and returns the URL of the store and the digest there.
func (b Bucket) Instruct(ctx context.Context, unit string, task pod.Task) (at, digest string, err error) {
	text, err := json.Marshal(task)
	if err != nil {
		return "", "", err
	}
	at = b.URL(Below(unit, "code"))
	s, err := b.Stores.At(ctx, at)
	if err != nil {
		return "", "", err
	}
	doc, err := s.PutBytes(ctx, text)
	return at, doc.Digest, err
}

// Decode decodes the state of a task in a handle of an executor.
func Decode(h state.Handle, executor string, st any) error {
	if h.Executor != executor {
		return fmt.Errorf("handle %s is of executor %q, not of %q", h.ID, h.Executor, executor)
	}
	if err := json.Unmarshal(h.Data, st); err != nil {
		return fmt.Errorf("handle %s: %w", h.ID, err)
	}
	return nil
}

// Ended completes the status of a job that has failed, as far as a cloud knows, with what tenon-pod stored.
func Ended(st *state.Status, res *pod.Result) {
	st.ExitCode, st.Signal = res.ExitCode, res.Signal
	st.Started, st.Finished, st.Usage = res.Started.UTC(), res.Finished.UTC(), state.Usage(res.Usage)
	switch {
	case res.Fault != "":
		st.Message = res.Fault
	case res.ExitCode == 0:
		st.Phase = state.Succeeded
	case res.OutOfMemory:
		st.Message = OutOfMemory
	case res.Signal != "":
		st.Message = "killed by " + res.Signal
	default:
		st.Message = fmt.Sprintf("exit %d", res.ExitCode)
	}
}

// OutOfMemory is what to do about a container that had too little memory.
const OutOfMemory = "it used more memory than its container has: raise needs.memory"
