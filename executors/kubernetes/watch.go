package kubernetes

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// A watcher mirrors the objects of tenon in a namespace. It holds one watch per kind,
// however many tasks are waited for.
type watcher struct {
	c    *cluster
	stop context.CancelFunc
	done sync.WaitGroup
	ctx  context.Context // of the watches

	mu       sync.Mutex
	views    map[reflect.Type]*view                // by the type of its objects
	watching map[string]map[chan struct{}]struct{} // by task: the channels to notify of a change
}

// A view mirrors the objects of one kind.
type view struct {
	w      *watcher
	synced chan struct{} // closed once the view is complete
	first  sync.Once

	objects map[string]object // by name
	err     error             // why it is not up to date
	since   time.Time         // when err first occurred
}

func newWatcher(c *cluster) *watcher {
	ctx, stop := context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	return &watcher{c: c, stop: stop, ctx: ctx, views: map[reflect.Type]*view{}, watching: map[string]map[chan struct{}]struct{}{}}
}

func (w *watcher) close() {
	w.stop()
	w.done.Wait()
}

// A listOf is a kind, as one object and as a list.
type listOf struct {
	one  object
	many runtime.Object
}

var (
	pods        = listOf{&corev1.Pod{}, &corev1.PodList{}}
	jobs        = listOf{&batchv1.Job{}, &batchv1.JobList{}}
	deployments = listOf{&appsv1.Deployment{}, &appsv1.DeploymentList{}}
)

// The pauses before a broken watch is restarted.
const (
	againFirst = 50 * time.Millisecond
	againLast  = 5 * time.Second
)

// run keeps the view up to date. A watch that the cluster closed, or that fell too far
// behind, restarts from a new list.
func (v *view) run(ctx context.Context, l listOf) {
	selector := metav1.ListOptions{LabelSelector: labelManagedBy + "=" + manager}
	var began time.Time // of the last watch
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector.LabelSelector
			list := reflect.New(reflect.TypeOf(l.many).Elem()).Interface().(runtime.Object)
			return list, v.heard(v.w.c.list(ctx, list, o))
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector, o.Watch = selector.LabelSelector, true
			// The client does not treat a watch that breaks at once as an error.
			if time.Since(began) < againLast {
				one := reflect.New(reflect.TypeOf(l.many).Elem()).Interface().(runtime.Object)
				if err := v.heard(v.w.c.list(ctx, one, metav1.ListOptions{Limit: 1})); err != nil {
					return nil, err
				}
			}
			began = time.Now()
			r, err := v.w.c.request("GET", l.one)
			if err != nil {
				return nil, err
			}
			events, err := r.VersionedParams(&o, metav1.ParameterCodec).Watch(ctx)
			if err != nil && o.SendInitialEvents != nil {
				return nil, err // not every cluster supports this, and then the reflector lists
			}
			return events, v.heard(v.w.c.explain(err))
		},
	}
	reflector := cache.NewReflectorWithOptions(source, l.one, v, cache.ReflectorOptions{Name: plural(l.one)})
	for pause := againFirst; ctx.Err() == nil; pause = min(2*pause, againLast) {
		if err := reflector.ListAndWatchWithContext(ctx); err == nil {
			pause = againFirst
		} else if ctx.Err() == nil && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
			_ = v.heard(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// heard records whether the cluster answers, and notifies everybody when that changes.
func (v *view) heard(err error) error {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	was := v.err
	switch v.err = err; {
	case err == nil:
		v.since = time.Time{}
	case was == nil:
		v.since = time.Now()
	}
	if (was == nil) != (err == nil) {
		v.w.tellAll()
	}
	return err
}

// Replace receives all existing objects.
func (v *view) Replace(all []any, _ string) error {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	clear(v.objects)
	for _, o := range all {
		o := o.(object)
		v.objects[o.GetName()] = o
	}
	v.first.Do(func() { close(v.synced) })
	v.w.tellAll()
	return nil
}

// Add receives a new object.
func (v *view) Add(o any) error {
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	changed := o.(object)
	v.objects[changed.GetName()] = changed
	v.w.wake(changed.GetLabels()[labelTask])
	return nil
}

// Update receives a changed object.
func (v *view) Update(o any) error { return v.Add(o) }

// Delete receives a deleted object.
func (v *view) Delete(o any) error {
	if last, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = last.Obj
	}
	gone, ok := o.(object)
	if !ok {
		return nil
	}
	v.w.mu.Lock()
	defer v.w.mu.Unlock()
	delete(v.objects, gone.GetName())
	v.w.wake(gone.GetLabels()[labelTask])
	return nil
}

// Resync does nothing.
func (v *view) Resync() error { return nil }

// wake wakes those that wait for a task.
func (w *watcher) wake(task string) {
	for ch := range w.watching[task] {
		select {
		case ch <- struct{}{}:
		default: // it was notified and has not looked yet
		}
	}
}

func (w *watcher) tellAll() {
	for task := range w.watching {
		w.wake(task)
	}
}

// watch returns a channel that receives a value whenever an object of the task changes,
// and a function that ends the watch.
func (w *watcher) watch(task string) (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watching[task] == nil {
		w.watching[task] = map[chan struct{}]struct{}{}
	}
	w.watching[task][ch] = struct{}{}
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watching[task], ch)
		if len(w.watching[task]) == 0 {
			delete(w.watching, task)
		}
	}
}

// ready starts the watches of the kinds, unless they run, and waits until their views
// are complete. It fails at once if the cluster refuses access, and after patience if
// it does not answer.
func (w *watcher) ready(ctx context.Context, patience time.Duration, kinds ...listOf) error {
	var synced []<-chan struct{}
	w.mu.Lock()
	for _, l := range kinds {
		v := w.views[reflect.TypeOf(l.one)]
		if v == nil {
			v = &view{w: w, synced: make(chan struct{}), objects: map[string]object{}}
			w.views[reflect.TypeOf(l.one)] = v
			w.done.Go(func() { v.run(w.ctx, l) })
		}
		synced = append(synced, v.synced)
	}
	w.mu.Unlock()
	changed, end := w.watch(everything)
	defer end()
	late := time.After(patience)
	for len(synced) > 0 {
		if err := w.broken(patience); err != nil {
			return err
		}
		select {
		case <-synced[0]:
			synced = synced[1:]
		case <-changed:
		case <-late:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// everything is not the name of a task. Its watchers are notified when anything may
// have changed.
const everything = ""

// broken returns why the views are not up to date, if that lasts longer than patience.
func (w *watcher) broken(patience time.Duration) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.views {
		lost := (*unreachable)(nil)
		if v.err != nil && (!passing(v.err) || time.Since(v.since) >= patience && errors.As(v.err, &lost)) {
			return v.err
		}
	}
	return nil
}

// passing reports whether an error may resolve by itself.
func passing(err error) bool {
	lost := (*unreachable)(nil)
	return errors.As(err, &lost) || apierrors.IsInternalError(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

// one returns the object with a kind and name, or nil.
func one[T object](w *watcher, name string) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	o, _ := w.views[reflect.TypeFor[T]()].objects[name].(T)
	return o
}

// of returns the objects of a kind that belong to a task, oldest first.
func of[T object](w *watcher, task string) []T {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []T
	for _, o := range w.views[reflect.TypeFor[T]()].objects {
		if o.GetLabels()[labelTask] == task {
			all = append(all, o.(T))
		}
	}
	slices.SortFunc(all, func(a, b T) int {
		at, bt := a.GetCreationTimestamp(), b.GetCreationTimestamp()
		if !at.Equal(&bt) {
			return at.Compare(bt.Time)
		}
		return strings.Compare(a.GetName(), b.GetName())
	})
	return all
}
