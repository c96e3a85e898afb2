package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// killPatience is how long pods may take to vanish once their grace is over. Longer
// takes one whose node does not answer.
const killPatience = 30 * time.Second

// Destroy asks the programs of the task's pods to end, waits until they are gone, and
// removes all else that was made for it, with what the pods have noted down. Then it
// removes what the executor keeps in the run's folder; outputs, metrics and log stay.
// If ctx is done the grace is over at once. A Service that leads to this version of a
// service is led to another one first, if one stands.
func (e *Executor) Destroy(ctx context.Context, h state.Handle) error {
	r, err := e.fromHandle(h)
	if err != nil {
		return err
	}
	// What is begun is finished: half of a task helps nobody.
	whole := context.WithoutCancel(ctx)
	err = e.patiently(whole, func() error {
		l, err := e.at(r.Place)
		if err != nil {
			return err
		}
		return e.destroy(ctx, whole, l, r)
	})
	if err == nil {
		err = r.forget()
	}
	if err != nil {
		return fmt.Errorf("destroy %s: %w", r.Unit, err)
	}
	return nil
}

func (e *Executor) destroy(soft, whole context.Context, l *link, r record) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: r.Name}}
	err := l.get(whole, m)
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
		if err := e.leadBack(whole, l, r); err != nil {
			return err
		}
	}
	if err := e.endPods(soft, whole, l, r); err != nil {
		return err
	}
	s, err := e.store(whole, r.Store)
	if err != nil {
		return err
	}
	if err := s.DeleteNotes(whole, "runs/"+r.note()+"/"); err != nil {
		return err
	}
	foreground := metav1.DeletePropagationForeground
	return l.delete(whole, m, metav1.DeleteOptions{PropagationPolicy: &foreground, Preconditions: &metav1.Preconditions{UID: &r.UID}})
}

// endPods removes the workload of a task, and returns once nothing of it runs.
func (e *Executor) endPods(soft, whole context.Context, l *link, r record) error {
	w := r.workload()
	over, err := e.over(whole, l, r, w)
	if err != nil {
		return err
	}
	if over {
		background := metav1.DeletePropagationBackground
		return l.delete(whole, w, metav1.DeleteOptions{PropagationPolicy: &background})
	}
	foreground := metav1.DeletePropagationForeground
	if err := l.delete(whole, w, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		return err
	}
	// The pods have their own grace, which is in what the cluster was told.
	wait, cancel := context.WithTimeout(whole, podGrace+killPatience)
	defer cancel()
	defer context.AfterFunc(soft, cancel)()
	err = l.gone(wait, w)
	if err == nil || whole.Err() != nil || !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if err := l.kill(whole, r); err != nil {
		return err
	}
	hard, cancel := context.WithTimeout(whole, killPatience)
	defer cancel()
	if err := l.gone(hard, w); errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("its pods do not end: see `kubectl -n %s get pods -l %s=%s`; a node that does not answer keeps them", r.Namespace, labelTask, r.Name)
	} else if err != nil {
		return err
	}
	return nil
}

// over reports whether nothing of a task can run any more, so that nobody has to
// wait for its pods.
func (e *Executor) over(ctx context.Context, l *link, r record, w Object) (bool, error) {
	if r.Kind == ir.Service {
		return false, nil
	}
	if _, ok := r.ended(); ok {
		return true, nil
	}
	err := l.get(ctx, w)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	all, err := l.podsOf(ctx, r)
	return err == nil && over(w.(*batchv1.Job), all) && !slices.ContainsFunc(all, runs), err
}

// podsOf are the pods of a task, as they are now.
func (l *link) podsOf(ctx context.Context, r record) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: labelTask + "=" + r.Name})
	var all []*corev1.Pod
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all, err
}

// kill leaves the pods of a task one second to end.
func (l *link) kill(ctx context.Context, r record) error {
	all, err := l.podsOf(ctx, r)
	if err != nil {
		return err
	}
	second := int64(1)
	for _, p := range all {
		err = errors.Join(err, l.delete(ctx, p, metav1.DeleteOptions{GracePeriodSeconds: &second}))
	}
	return err
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
