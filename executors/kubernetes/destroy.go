package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// killPatience is how long pods may take to vanish after their grace period. It takes
// longer only if their node does not answer.
const killPatience = 30 * time.Second

// Destroy deletes the ConfigMap of a task, with which the cluster deletes all other
// objects of the task, and waits until its pods are gone. Their programs are asked to
// end, and killed after their grace period. It does not wait for a job that has ended.
// Then it removes the notes of the pods and the executor's own files in the run's
// folder; outputs, metrics and log stay. If the Service selects this version of a
// service, Destroy first switches it to another ready version, if there is one.
//
// A done ctx changes nothing: only the cluster knows how much grace is left.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	ts, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	// Finish what has begun, rather than leave a half-removed task.
	ctx = context.WithoutCancel(ctx)
	err = e.patiently(ctx, func() error {
		l, err := e.at(ctx, ts.Place)
		if err != nil {
			return err
		}
		return e.destroy(ctx, l, ts)
	})
	if err == nil || unmade(err) {
		err = ts.forget(ctx)
	}
	if err != nil {
		return fmt.Errorf("destroy %s: %w", ts.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx context.Context, l *link, ts taskState) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ts.Name}}
	err := l.get(ctx, m)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if ts.UID != "" && m.UID != ts.UID && ts.Kind == ir.Job {
		return nil // it was destroyed, and the name belongs to another start
	}
	now, err := fromConfigMap(m, ts.Place, ts.Dir)
	if err != nil {
		return err
	}
	if ts = now; ts.Kind == ir.Service {
		if err := e.leadBack(ctx, l, ts); err != nil {
			return err
		}
		if err := e.noteIdle(ctx, l, ts); err != nil {
			return err
		}
	}
	over, err := e.over(ctx, l, ts)
	if err != nil {
		return err
	}
	if err := l.remove(ctx, m); err != nil {
		return err
	}
	if !over {
		if err := l.ended(ctx, ts, m); err != nil {
			return err
		}
	}
	s, err := e.store(ctx, ts.Store)
	if err != nil {
		return err
	}
	return s.DeleteNotes(ctx, "runs/"+ts.note()+"/")
}

// remove deletes a ConfigMap and first everything that it owns, including pods.
func (l *link) remove(ctx context.Context, m *corev1.ConfigMap) error {
	foreground := metav1.DeletePropagationForeground
	return l.delete(ctx, m, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &m.UID}})
}

// noteIdle informs the pods of a version of a service that they need not drain: either
// none of them is ready, so that they receive no requests, or there is no other version
// that could take over.
func (e *Executor) noteIdle(ctx context.Context, l *link, ts taskState) error {
	if ts.Service == "" {
		return nil // they never drain
	}
	versions, err := e.versions(ctx, l, ts)
	if err != nil {
		return err
	}
	d := ts.workload().(*appsv1.Deployment)
	if err := l.get(ctx, d); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	if len(versions) > 1 && d.Status.ReadyReplicas > 0 {
		return nil
	}
	s, err := e.store(ctx, ts.Store)
	if err == nil {
		_ = s.PutNote(ctx, pod.IdleNote(ts.note()), nil) // without it they take some seconds longer
	}
	return err
}

// ended waits until the ConfigMap of a task is gone, and so all its pods. The pods have
// their own grace period, which the cluster knows.
func (l *link) ended(ctx context.Context, ts taskState, m *corev1.ConfigMap) error {
	limited, cancel := context.WithTimeout(ctx, podGrace+killPatience)
	defer cancel()
	err := l.gone(limited, m)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("its pods do not stop: see `kubectl -n %s get pods -l %s=%s`; a node that does not answer may keep them", ts.Namespace, labelTask, ts.Name)
	}
	return err
}

// over reports whether nothing of a task can run any more, so that waiting for its pods
// is pointless.
func (e *Executor) over(ctx context.Context, l *link, ts taskState) (bool, error) {
	if ts.Kind == ir.Service {
		return false, nil
	}
	if _, ok := ts.ended(); ok {
		return true, nil
	}
	job := ts.workload().(*batchv1.Job)
	err := l.get(ctx, job)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	all, err := l.podsOf(ctx, ts.Name)
	return err == nil && over(job, all) && !slices.ContainsFunc(all, runs), err
}

// gone waits until an object is gone.
func (l *link) gone(ctx context.Context, o object) error {
	for {
		now := o.DeepCopyObject().(object)
		err := l.get(ctx, now)
		if apierrors.IsNotFound(err) || err == nil && o.GetUID() != "" && now.GetUID() != o.GetUID() {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := l.request(http.MethodGet, o)
		if err != nil {
			return err
		}
		events, err := r.VersionedParams(&metav1.ListOptions{
			FieldSelector: "metadata.name=" + o.GetName(), ResourceVersion: now.GetResourceVersion(), Watch: true,
		}, metav1.ParameterCodec).Watch(ctx)
		if err != nil {
			return l.explain(err)
		}
		if deleted(ctx, events) {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// deleted reads events until one says that the object is gone, or until they end.
func deleted(ctx context.Context, events watch.Interface) bool {
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case e, ok := <-events.ResultChan():
			if !ok || e.Type == watch.Error {
				return false
			}
			if e.Type == watch.Deleted {
				return true
			}
		}
	}
}
