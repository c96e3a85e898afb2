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

// killPatience is how long pods may take to vanish once their grace is over. Longer
// takes one whose node does not answer.
const killPatience = 30 * time.Second

// Destroy removes the record of a task, with which the cluster removes all that was
// made for it, and waits until its pods are gone: their programs have been asked to
// end, and killed after their grace. A job that has ended is not waited for. Then it
// removes what the pods have noted down, and what the executor keeps in the run's
// folder; outputs, metrics and log stay. A Service that leads to this version of a
// service is led to another one first, if one stands.
//
// A ctx that is done changes nothing: the grace is known to the cluster alone.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	r, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	// What is begun is finished: half of a task helps nobody.
	ctx = context.WithoutCancel(ctx)
	err = e.patiently(ctx, func() error {
		l, err := e.at(r.Place)
		if err != nil {
			return err
		}
		return e.destroy(ctx, l, r)
	})
	if err == nil {
		err = r.forget(ctx)
	}
	if err != nil {
		return fmt.Errorf("destroy %s: %w", r.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(ctx context.Context, l *link, r record) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.Name}}
	err := l.get(ctx, m)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.UID != "" && m.UID != r.UID && r.Kind == ir.Job {
		return nil // it was destroyed, and the name is another start's
	}
	now, err := fromConfigMap(m, r.Place, r.Dir)
	if err != nil {
		return err
	}
	if r = now; r.Kind == ir.Service {
		if err := e.leadBack(ctx, l, r); err != nil {
			return err
		}
		if err := e.noteIdle(ctx, l, r); err != nil {
			return err
		}
	}
	over, err := e.over(ctx, l, r)
	if err != nil {
		return err
	}
	if err := l.remove(ctx, m); err != nil {
		return err
	}
	if !over {
		if err := l.ended(ctx, r, m); err != nil {
			return err
		}
	}
	s, err := e.store(ctx, r.Store)
	if err != nil {
		return err
	}
	return s.DeleteNotes(ctx, "runs/"+r.note()+"/")
}

// remove removes a ConfigMap and what it owns: that goes first, pods with it.
func (l *link) remove(ctx context.Context, m *corev1.ConfigMap) error {
	foreground := metav1.DeletePropagationForeground
	return l.delete(ctx, m, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &m.UID}})
}

// noteIdle tells the pods of a version of a service that they need not go on for a
// while: none of them is ready, so that nobody sends them requests, or no other version
// stands, so that there is nobody to take requests over.
func (e *Executor) noteIdle(ctx context.Context, l *link, r record) error {
	stand, err := e.versions(ctx, l, r)
	if err != nil {
		return err
	}
	d := r.workload().(*appsv1.Deployment)
	if err := l.get(ctx, d); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	if len(stand) > 1 && d.Status.ReadyReplicas > 0 {
		return nil
	}
	s, err := e.store(ctx, r.Store)
	if err == nil {
		_ = s.PutNote(ctx, pod.IdleNote(r.note()), nil) // without it they take some seconds more
	}
	return err
}

// ended waits until the record of a task, and so all of its pods, are gone. The pods
// have their own grace, which the cluster was told.
func (l *link) ended(ctx context.Context, r record, m *corev1.ConfigMap) error {
	limited, cancel := context.WithTimeout(ctx, podGrace+killPatience)
	defer cancel()
	err := l.gone(limited, m)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Errorf("its pods do not end: see `kubectl -n %s get pods -l %s=%s`; a node that does not answer keeps them", r.Namespace, labelTask, r.Name)
	}
	return err
}

// over reports whether nothing of a task can run any more, so that nobody has to
// wait for its pods.
func (e *Executor) over(ctx context.Context, l *link, r record) (bool, error) {
	if r.Kind == ir.Service {
		return false, nil
	}
	if _, ok := r.ended(); ok {
		return true, nil
	}
	job := r.workload().(*batchv1.Job)
	err := l.get(ctx, job)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	all, err := l.podsOf(ctx, r.Name)
	return err == nil && over(job, all) && !slices.ContainsFunc(all, runs), err
}

// gone waits until an object is gone.
func (l *link) gone(ctx context.Context, o Object) error {
	for {
		now := o.DeepCopyObject().(Object)
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

// deleted reads events until one says that the object is gone, or there are no more.
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
