package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
)

// leadFirst creates the Service of a unit that has no other version. All nodes then
// know its address by the time its pods are ready.
func (e *Executor) leadFirst(ctx context.Context, l *link, r record) error {
	versions, err := e.versions(ctx, l, r)
	if err != nil || len(versions) > 1 {
		return err
	}
	return e.lead(ctx, l, r)
}

// lead makes the Service of a unit select this version. All existing versions own the
// Service, so it goes with the last of them.
func (e *Executor) lead(ctx context.Context, l *link, r record) error {
	s, err := r.front(ctx, l)
	if err != nil || s != nil && s.Spec.Selector[labelTask] == r.Name {
		return err
	}
	versions, err := e.versions(ctx, l, r)
	if err != nil {
		return err
	}
	to := &corev1.Service{}
	if err := json.Unmarshal([]byte(r.toward), to); err != nil {
		return fmt.Errorf("the record of %s: %w", r.Name, err)
	}
	for _, v := range versions {
		setOwner(v.owner(), to)
	}
	return l.apply(ctx, to)
}

// front returns the Service of a unit, or nil. A Service that belongs to somebody else
// is an error.
func (r record) front(ctx context.Context, l *link) (*corev1.Service, error) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: r.Service}}
	err := l.get(ctx, s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case s.Labels[labelManagedBy] != manager:
		return nil, fmt.Errorf("namespace %s has a Service %s that is not tenon's: remove it, or choose another namespace", r.Namespace, r.Service)
	case s.Labels[labelState] != r.State:
		return nil, fmt.Errorf("namespace %s has a Service %s of another state: choose another namespace, or another name for the system", r.Namespace, r.Service)
	}
	return s, nil
}

// leadBack makes the Service of a unit select another ready version before this one is
// removed.
func (e *Executor) leadBack(ctx context.Context, l *link, r record) error {
	if r.Service == "" {
		return nil
	}
	leads, err := r.leads(ctx, l)
	if err != nil || !leads {
		return err
	}
	versions, err := e.versions(ctx, l, r)
	if err != nil {
		return err
	}
	for _, v := range slices.Backward(versions) {
		if v.Name == r.Name {
			continue
		}
		d := v.workload().(*appsv1.Deployment)
		if err := l.get(ctx, d); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		if available(d) {
			return e.lead(ctx, l, v)
		}
	}
	return nil
}

// moved reports whether requests reach the pods of this version and no others.
func (r record) moved(ctx context.Context, l *link, pods []*corev1.Pod) (bool, error) {
	var list discoveryv1.EndpointSliceList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + r.Service}); err != nil {
		return false, err
	}
	some := false
	for _, s := range list.Items {
		for _, to := range s.Endpoints {
			if to.Conditions.Ready != nil && !*to.Conditions.Ready {
				continue
			}
			if to.TargetRef == nil || !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.UID == to.TargetRef.UID }) {
				return false, nil
			}
			some = true
		}
	}
	return some, nil
}

// versions returns the records of all existing versions of a service, oldest first.
func (e *Executor) versions(ctx context.Context, l *link, r record) ([]record, error) {
	var list corev1.ConfigMapList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: labelUnit + "=" + labelValue(r.Unit)}); err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b corev1.ConfigMap) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var all []record
	for _, m := range list.Items {
		v, err := fromConfigMap(&m, r.Place, "")
		if err == nil && m.DeletionTimestamp == nil && v.Kind == ir.Service && v.Service == r.Service && v.State == r.State {
			all = append(all, v)
		}
	}
	return all, nil
}
