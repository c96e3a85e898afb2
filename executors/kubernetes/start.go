package kubernetes

import (
	"cmp"
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
)

// start uploads the inputs of the task, publishes its image and creates its objects.
// The workload comes last: until then nothing runs.
func (e *Executor) start(ctx context.Context, l *link, ts taskState, t executors.Task) error {
	if t.Image == "" {
		return errors.New("the plan has no image for it: plan again")
	}
	if err := local.Present(t); err != nil {
		return err
	}
	if ts.Service != "" {
		if _, err := ts.front(ctx, l); err != nil {
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
		digest, fetched, err = e.send(inGroup, ts, t)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if e.opts.Cluster != nil {
		if err := e.settings(ts).identify(ctx, l, t.Unit); err != nil {
			return err
		}
	}
	objects := e.settings(ts).objects(t, image, digest, fetched)[1:]
	setOwner(ts.owner(), objects...)
	for _, o := range objects {
		if err := e.make(ctx, l, ts, o); err != nil {
			return err
		}
	}
	if ts.Service != "" {
		return e.leadFirst(ctx, l, ts)
	}
	return nil
}

// settings returns the settings of the target, with the namespace and state of a
// record.
func (e *Executor) settings(ts taskState) Settings {
	s := e.opts.Settings
	s.Namespace, s.State = ts.Namespace, ts.State
	return s
}

// owner returns the record's ConfigMap as the owner of other objects.
func (ts taskState) owner() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ts.Name, UID: ts.UID}}
}

// make creates an object of a task. It never changes an existing workload.
func (e *Executor) make(ctx context.Context, l *link, ts taskState, o object) error {
	if kindOf(o) != kindOf(ts.workload()) {
		return l.apply(ctx, o)
	}
	for {
		err := l.create(ctx, o.DeepCopyObject().(object))
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		now := o.DeepCopyObject().(object)
		if err := l.get(ctx, now); err != nil && !apierrors.IsNotFound(err) {
			return err
		} else if err == nil && now.GetDeletionTimestamp() == nil && slices.ContainsFunc(now.GetOwnerReferences(), ts.owns) {
			return nil
		}
		// It belongs to a destroyed start, and is deleted with it.
		if err := l.gone(ctx, now); err != nil {
			return err
		}
	}
}

func (ts taskState) owns(o metav1.OwnerReference) bool { return o.UID == ts.UID }

// atOnce is how many artifacts of a task are transferred in parallel.
const atOnce = 8

// send uploads the inputs of the task and the document for its pod. It returns the
// digest of the document and the disk space in bytes that the inputs take.
func (e *Executor) send(ctx context.Context, ts taskState, t executors.Task) (digest string, taken int64, err error) {
	s, err := e.store(ctx, ts.Store)
	if err != nil {
		return "", 0, err
	}
	task, pass := e.opts.inside(t)
	task.Name = ts.note()
	task.Fetch = make([]pod.Fetch, len(pass))
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, p := range pass {
		taken += disk.Taken(p.From)
		group.Go(func() error {
			ref, err := e.sender.Put(inGroup, s, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
			to, err := filepath.Rel(pod.Work, p.To)
			task.Fetch[i] = pod.Fetch{Ref: ref, Path: to, Name: p.Name}
			return err
		})
	}
	if t.Route != nil {
		group.Go(func() error { return ts.putRoute(inGroup, s, *t.Route) })
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

// address returns the address inside the cluster of the service that an input port is
// connected to.
func (s Settings) address(u ir.Unit, port, here string) string {
	i := slices.IndexFunc(u.Inputs, func(in ir.Input) bool { return in.Port == port })
	at, err := url.Parse(here)
	if i < 0 || err != nil || at.Port() == "" {
		return here
	}
	return at.Scheme + "://" + net.JoinHostPort(s.serviceName(u.Inputs[i].Unit), at.Port())
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// machine identifies this machine among those that use a cluster.
func machine() string {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		if b, err := os.ReadFile(path); err == nil && len(strings.TrimSpace(string(b))) > 0 {
			return strings.TrimSpace(string(b))
		}
	}
	name, _ := os.Hostname() // machines without a name share one identity
	return name
}
