package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/planner/state"
)

// Collect finds tasks in the namespace of the target that were started from this
// machine by a system whose folder was removed since then. Without a time or a target
// it finds nothing.
func (e *Executor) Collect(ctx context.Context, n executors.Needed, dry bool) (found []executors.Garbage, err error) {
	if n.Since.IsZero() || e.opts.Store == "" {
		return nil, nil
	}
	var orphans []state.Handle
	err = e.patiently(ctx, func() error {
		found, orphans, err = e.orphans(ctx, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("find garbage in the cluster: %w", err)
	}
	if dry {
		return found, nil
	}
	for _, h := range orphans {
		if err := e.Destroy(ctx, h); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (e *Executor) orphans(ctx context.Context, n executors.Needed) (found []executors.Garbage, orphans []state.Handle, err error) {
	p, err := e.place()
	if err != nil {
		return nil, nil, err
	}
	l, err := e.at(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	var list corev1.ConfigMapList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: labelManagedBy + "=" + manager}); err != nil {
		return nil, nil, err
	}
	for _, m := range list.Items {
		ts, err := fromConfigMap(&m, p, "")
		if err != nil || m.DeletionTimestamp != nil || n.Tasks[ts.Name] || m.CreationTimestamp.After(n.Since) || ts.Origin.Machine != machine() {
			continue
		}
		if _, err := os.Stat(ts.Origin.Dir); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		h, err := ts.handle()
		if err != nil {
			return nil, nil, err
		}
		found, orphans = append(found, executors.Garbage{Kind: "task", Name: ts.Name}), append(orphans, h)
	}
	return found, orphans, nil
}
