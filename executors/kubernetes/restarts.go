package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local/lives"
)

// startedAgain says how often the cluster started the programs in the pods of a service
// again, and why it did so last, or returns "".
func startedAgain(pods []*corev1.Pod) string {
	again, last := 0, (*corev1.ContainerStateTerminated)(nil)
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			again += int(s.RestartCount)
			if end := s.LastTerminationState.Terminated; end != nil && (last == nil || last.FinishedAt.Before(&end.FinishedAt)) {
				last = end
			}
		}
	}
	if again == 0 {
		return ""
	}
	life := lives.Lives{Starts: again + 1, Why: "ended"}
	if last != nil {
		status := int(last.ExitCode)
		if said, heard := pod.ReadMessage(last.Message); heard {
			status = said.ExitCode
		} else if last.Reason == "OOMKilled" {
			status = 128 + int(unix.SIGKILL)
		}
		life.Why = lives.How(status)
	}
	if len(pods) > 1 {
		return life.OfReplicas()
	}
	return life.String()
}

// says is what there is to say about a service that can answer: how many pods it has, if that
// follows its load, and whether their programs were started again.
func (ts taskState) says(ctx context.Context, l *link, d *appsv1.Deployment, pods []*corev1.Pod) (string, error) {
	var all []string
	if r := ts.Replicas; r != nil {
		all = append(all, fmt.Sprintf("%d replicas of %d to %d", d.Status.AvailableReplicas, r.Min, r.Max))
		if r.Scaler {
			runs, err := l.scalerRuns(ctx, ts)
			if err != nil {
				return "", err
			}
			if !runs {
				all = append(all, "their number stays, because the scaler does not run")
			}
		}
	}
	if again := startedAgain(pods); again != "" {
		all = append(all, again)
	}
	return strings.Join(all, "; "), nil
}

// scalerRuns reports whether the scaler of a task runs. While requests go to the pods themselves,
// it need not be ready.
func (l *link) scalerRuns(ctx context.Context, ts taskState) (bool, error) {
	var list corev1.PodList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: labelScaler + "=" + ts.Name}); err != nil {
		return false, err
	}
	return slices.ContainsFunc(list.Items, func(p corev1.Pod) bool {
		return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.State.Running != nil })
	}), nil
}
