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
func (e *Executor) leadFirst(ctx context.Context, l *link, ts taskState) error {
	versions, err := e.versions(ctx, l, ts)
	if err != nil || len(versions) > 1 {
		return err
	}
	return e.lead(ctx, l, ts)
}

// lead makes the Service of a unit select this version. All existing versions own the
// Service, so it goes with the last of them.
func (e *Executor) lead(ctx context.Context, l *link, ts taskState) error {
	s, err := ts.front(ctx, l)
	if err != nil || s != nil && ts.selectedBy(s) {
		return err
	}
	versions, err := e.versions(ctx, l, ts)
	if err != nil {
		return err
	}
	to := &corev1.Service{}
	if err := json.Unmarshal([]byte(ts.toward), to); err != nil {
		return fmt.Errorf("the task state of %s: %w", ts.Name, err)
	}
	// The Service comes last: as long as it does not select this version, all of this is repeated.
	if err := e.expose(ctx, l, ts, versions); err != nil {
		return err
	}
	for _, v := range versions {
		setOwner(v.owner(), to)
	}
	return l.apply(ctx, to)
}

// front returns the Service of a unit, or nil. A Service that belongs to somebody else
// is an error.
func (ts taskState) front(ctx context.Context, l *link) (*corev1.Service, error) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: ts.Service}}
	err := l.get(ctx, s)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case s.Labels[labelManagedBy] != manager:
		return nil, fmt.Errorf("namespace %s has a Service %s that is not tenon's: remove it, or choose another namespace", ts.Namespace, ts.Service)
	case s.Labels[labelState] == ts.State && s.Labels[labelEnv] != ts.Env:
		return nil, fmt.Errorf("namespace %s has a Service %s of another environment: choose another namespace, or another name for the deployment", ts.Namespace, ts.Service)
	case s.Labels[labelState] != ts.State:
		return nil, fmt.Errorf("namespace %s has a Service %s of another state: choose another namespace, or another name for the system", ts.Namespace, ts.Service)
	}
	return s, nil
}

// leadBack makes the Service of a unit select another ready version before this one is
// removed.
func (e *Executor) leadBack(ctx context.Context, l *link, ts taskState) error {
	if ts.Service == "" {
		return nil
	}
	leads, err := ts.leads(ctx, l)
	if err != nil || !leads {
		return err
	}
	versions, err := e.versions(ctx, l, ts)
	if err != nil {
		return err
	}
	for _, v := range slices.Backward(versions) {
		if v.Name == ts.Name {
			continue
		}
		d := v.workload().(*appsv1.Deployment)
		if err := l.get(ctx, d); apierrors.IsNotFound(err) {
			continue
		} else if err != nil {
			return err
		}
		if v.available(d) {
			return e.lead(ctx, l, v)
		}
	}
	return nil
}

// moved reports whether requests reach the pods of this version and no others. Those of its scaler
// are among them.
func (ts taskState) moved(ctx context.Context, l *link, pods []*corev1.Pod) (bool, error) {
	if ts.Replicas != nil && ts.Replicas.Scaler {
		var own corev1.PodList
		if err := l.list(ctx, &own, metav1.ListOptions{LabelSelector: labelScaler + "=" + ts.Name}); err != nil {
			return false, err
		}
		for i := range own.Items {
			pods = append(pods, &own.Items[i])
		}
	}
	var list discoveryv1.EndpointSliceList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + ts.Service}); err != nil {
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

// versions returns the task states of all existing versions of a service, oldest first.
func (e *Executor) versions(ctx context.Context, l *link, ts taskState) ([]taskState, error) {
	var list corev1.ConfigMapList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: labelUnit + "=" + labelValue(ts.Unit)}); err != nil {
		return nil, err
	}
	slices.SortFunc(list.Items, func(a, b corev1.ConfigMap) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	var all []taskState
	for _, m := range list.Items {
		v, err := fromConfigMap(&m, ts.Place, "")
		if err == nil && m.DeletionTimestamp == nil && v.Kind == ir.Service && v.Service == ts.Service && v.State == ts.State {
			all = append(all, v)
		}
	}
	return all, nil
}
