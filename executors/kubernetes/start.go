package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/artifact/remote"
)

// start puts what the task reads into the store and its image into the registry, and
// makes its objects. The workload is made last: until then nothing runs.
func (e *Executor) start(ctx context.Context, l *link, r record, t executors.Task) error {
	if t.Image == "" {
		return errors.New("the plan names no image for it: plan again")
	}
	if err := local.Present(t); err != nil {
		return err
	}
	if r.Kind == ir.Service {
		if _, err := r.front(ctx, l); err != nil {
			return err
		}
	}
	var image, digest string
	var fetched int64
	group, inGroup := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		image, err = e.image(inGroup, t)
		return err
	})
	group.Go(func() (err error) {
		digest, fetched, err = e.send(inGroup, r, t)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	objects := e.settings(r).Objects(t, image, digest, fetched)[1:]
	Own(r.owner(), objects...)
	for _, o := range objects {
		if err := e.make(ctx, l, r, o); err != nil {
			return err
		}
	}
	if r.Kind == ir.Service {
		return e.leadFirst(ctx, l, r)
	}
	return nil
}

// settings are those of the target, in the namespace of a record.
func (e *Executor) settings(r record) Settings {
	s := e.opts.Settings
	s.Namespace, s.State = r.Namespace, r.State
	return s
}

// owner is the record's ConfigMap as owner of other objects.
func (r record) owner() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.Name, UID: r.UID}}
}

// make makes an object of a task. The workload is never changed once it is there.
func (e *Executor) make(ctx context.Context, l *link, r record, o Object) error {
	if kindOf(o) != kindOf(r.workload()) {
		return l.apply(ctx, o)
	}
	for {
		err := l.create(ctx, o.DeepCopyObject().(Object))
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		now := r.workload()
		if err := l.get(ctx, now); err != nil && !apierrors.IsNotFound(err) {
			return err
		} else if err == nil && now.GetDeletionTimestamp() == nil && slices.ContainsFunc(now.GetOwnerReferences(), r.owns) {
			return nil
		}
		// It is of a start that was destroyed, and goes with it.
		if err := l.gone(ctx, now); err != nil {
			return err
		}
	}
}

func (r record) owns(o metav1.OwnerReference) bool { return o.UID == r.UID }

// send puts what the task reads into the store, and what its pod is to do. It returns
// the digest of the latter, and how many bytes of disk the former takes up.
func (e *Executor) send(ctx context.Context, r record, t executors.Task) (digest string, taken int64, err error) {
	s, err := e.store(ctx, r.Store)
	if err != nil {
		return "", 0, err
	}
	task, pass := inside(t, e.opts.System)
	task.Name = r.note()
	task.Fetch = make([]pod.Fetch, len(pass))
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, p := range pass {
		taken += disk.Taken(p.from)
		group.Go(func() error {
			ref, err := e.put(inGroup, s, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			to, err := filepath.Rel(pod.Work, p.to)
			task.Fetch[i] = pod.Fetch{Ref: ref, Path: to, Name: p.name}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return "", 0, err
	}
	b, err := json.Marshal(task)
	if err != nil {
		return "", 0, err
	}
	ref, err := s.PutBytes(ctx, b)
	return ref.Digest, taken, err
}

// put sees to it that something is in the store. What was seen there before is not
// looked for again.
func (e *Executor) put(ctx context.Context, s *remote.Store, p passage) (artifact.Ref, error) {
	key := s.String() + " " + p.digest
	if p.digest != "" {
		e.mu.Lock()
		ref, sent := e.sent[key]
		e.mu.Unlock()
		if sent {
			return ref, nil
		}
	}
	ref, err := e.lookUp(ctx, s, p)
	if err == nil && ref.Digest == "" {
		ref, err = s.Put(ctx, p.from)
	}
	if err == nil && ref.Digest == p.digest {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.sent[key] = ref
	}
	return ref, err
}

// lookUp finds an artifact in the store by the digest that it is known by here, so
// that it is not read for that.
func (e *Executor) lookUp(ctx context.Context, s *remote.Store, p passage) (artifact.Ref, error) {
	if _, ok := artifact.Hex(p.digest); !ok {
		return artifact.Ref{}, nil
	}
	info, err := os.Stat(p.from)
	if err != nil {
		return artifact.Ref{}, err
	}
	ref := artifact.Ref{Digest: p.digest, Dir: info.IsDir()}
	if !ref.Dir {
		ref.Size = info.Size()
	}
	there, err := s.Has(ctx, ref)
	if err != nil || !there {
		return artifact.Ref{}, err
	}
	return ref, nil
}

// address is where a program in the cluster finds the service that is on a port.
func address(system string, u ir.Unit, port, here string) string {
	i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port })
	at, err := url.Parse(here)
	if i < 0 || err != nil || at.Port() == "" {
		return here
	}
	return "http://" + net.JoinHostPort(ServiceName(system, u.Inputs[i].Unit), at.Port())
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// machine names this machine among those of the users of a cluster.
func machine() string {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(b))) > 0 {
			return strings.TrimSpace(string(b))
		}
	}
	name, _ := os.Hostname() // without one, all machines without a name are one
	return name
}
