package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// Tags of what runs a task. What Terraform makes has the first three too.
const (
	tagSystem      = "tenon:system"
	tagEnvironment = "tenon:environment"
	tagUnit        = "tenon:unit"
	tagTask        = "tenon:task"
	tagState       = "tenon:state" // lineage
	tagQueue       = "tenon:queue"
	tagRoot        = "tenon:root"
)

// supply makes sure that AWS has what a job needs: its image, which it names, and its inputs. It
// does more at the same time. The task lacks what follows from the name of its start.
func (e *Executor) supply(ctx context.Context, c *cloud, st taskState, t executors.Task, more ...func(context.Context) error) (image string, task pod.Task, err error) {
	task, pass := inside.Document(t, func(_, here string) string { return here })
	task.Fetch = make([]pod.Fetch, len(pass))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	group.Go(func() (err error) {
		image, err = e.images.Of(ctx, t, e.repository(c))
		return err
	})
	for _, do := range more {
		group.Go(func() error { return do(ctx) })
	}
	for i, p := range pass {
		group.Go(func() (err error) {
			task.Fetch[i], err = e.send(ctx, c, st, t.Unit, p)
			return err
		})
	}
	return image, task, group.Wait()
}

// atOnce is how many artifacts of a task are transferred in parallel.
const atOnce = 8

// instruct writes what a job has to do into the bucket, and returns the arguments with which
// tenon-pod finds it.
func (e *Executor) instruct(ctx context.Context, c *cloud, st taskState, task pod.Task) (arguments []string, err error) {
	task.Name, task.Grace = st.start(), e.opts.Grace
	task.Places = &pod.Places{Notes: c.url(st.notes()), Outputs: map[string]string{}}
	for port := range task.Step.Outputs {
		task.Places.Outputs[port] = c.url(st.out(port))
	}
	b, err := json.Marshal(task)
	if err != nil {
		return nil, err
	}
	at := st.in(below(st.Unit, "code"))
	s, err := e.store(ctx, c, at)
	if err != nil {
		return nil, err
	}
	doc, err := s.PutBytes(ctx, b)
	return []string{"run", "--store", c.url(at), "--task", doc.Digest, "--message", pod.Work + "/end"}, err
}

// send makes sure that the bucket has what a job reads, where its role may read it.
func (e *Executor) send(ctx context.Context, c *cloud, st taskState, u ir.Unit, p inside.Passage) (pod.Fetch, error) {
	at := st.in(below(u.ID, "files"))
	if p.Name == "code" {
		at = st.in(below(u.ID, "code"))
	} else if port, is := strings.CutPrefix(p.Name, "input "); is {
		at = st.in(below(u.ID, "code")) // unless another unit makes it
		if i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port }); i >= 0 {
			at = st.in(below(u.Inputs[i].Unit, "out", u.Inputs[i].From))
		}
	}
	s, err := e.store(ctx, c, at)
	if err != nil {
		return pod.Fetch{}, err
	}
	ref, err := e.sender.Put(ctx, s, p)
	if err != nil {
		return pod.Fetch{}, fmt.Errorf("%s: %w", p.Name, err)
	}
	to, err := filepath.Rel(pod.Work, p.To)
	return pod.Fetch{Ref: ref, Path: to, Name: p.Name, Store: c.url(at)}, err
}

// store returns the store at "s3://bucket/folder".
func (e *Executor) store(ctx context.Context, c *cloud, at string) (*remote.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.stores[at]; s != nil {
		return s, nil
	}
	s, err := remote.Open(context.WithoutCancel(ctx), c.url(at))
	if err != nil {
		return nil, err
	}
	e.stores[at] = s
	return s, nil
}

// url returns the URL of a store, as this machine and jobs reach it.
func (c *cloud) url(at string) string {
	q := url.Values{"region": {c.region}}
	if c.endpoint != "" {
		q.Set("endpoint", c.endpoint)
		q.Set("use_path_style", "true")
	}
	return at + "?" + q.Encode()
}

// tags returns the tags of what runs a task.
func (e *Executor) tags(st taskState) map[string]string {
	tags := map[string]string{
		tagSystem: e.opts.System, tagEnvironment: e.names().environment(), tagUnit: st.Unit, tagTask: st.Name, tagQueue: st.Queue, tagRoot: st.Root,
	}
	if e.opts.State != "" {
		tags[tagState] = e.opts.State
	}
	for k, v := range e.opts.Tags {
		tags[k] = v
	}
	return tags
}
