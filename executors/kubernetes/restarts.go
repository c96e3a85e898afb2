package kubernetes

import (
	corev1 "k8s.io/api/core/v1"

	"golang.org/x/sys/unix"

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
