package aws

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/executors"
	clouds "github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
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

// bucket returns where the system of a task has its artifacts.
func (e *Executor) bucket(c *cloud, st taskState) clouds.Bucket {
	return clouds.Bucket{Stores: &e.stores, Sender: &e.sender, URL: func(folder string) string { return c.url(st.in(folder)) }}
}

// supply makes sure that AWS has what a job needs: its image, which it names, and its inputs. It
// does more at the same time. The task lacks what follows from the name of its start.
func (e *Executor) supply(ctx context.Context, c *cloud, st taskState, t executors.Task, more ...func(context.Context) error) (image string, task pod.Task, err error) {
	task, err = e.bucket(c, st).Send(ctx, t, append(more, func(ctx context.Context) (err error) {
		image, err = e.image(ctx, c, t)
		return err
	})...)
	return image, task, err
}

// instruct writes what a job has to do into the bucket, and returns the command that does it. message
// is the file in which tenon-pod says how it ended.
func (e *Executor) instruct(ctx context.Context, c *cloud, st taskState, t executors.Task, task pod.Task, message string) (command []string, err error) {
	b := e.bucket(c, st)
	task.Name, task.Grace, task.Places = st.start(), e.opts.Grace, b.Places(t)
	return b.Command(ctx, st.Unit, task, message)
}

// url returns the URL of a store, as this machine and jobs reach it.
func (c *cloud) url(at string) string {
	q := url.Values{"region": {c.region}}
	if c.storage != "" {
		q.Set("endpoint", c.storage)
		q.Set("use_path_style", "true")
	} else if c.fips {
		q.Set("fips", "true")
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

// owned returns an error if something that a unit has once, and that has tags, was not made for the unit and the
// state of a task.
func (e *Executor) owned(st *taskState, what string, tags map[string]string) error {
	for name, want := range e.tags(*st) {
		if is := tags[name]; is != want && slices.Contains([]string{tagEnvironment, tagUnit, tagState}, name) {
			return fmt.Errorf("the region %s already has %s %s, which is not of this state (its tag %s is %q, not %q): remove it, or choose another prefix in the target", st.Region, article(what), what, name, is, want)
		}
	}
	return nil
}

// article returns the indefinite article of a noun.
func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an"
	}
	return "a"
}
