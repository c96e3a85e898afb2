package kubernetes

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestRestartsOfAServiceAreReported(t *testing.T) {
	restarted := func(times int32, at int64, code int32, message string) *corev1.Pod {
		s := corev1.ContainerStatus{Name: container, Ready: true, RestartCount: times}
		if code >= 0 {
			s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: code, Message: message, FinishedAt: metav1.Unix(at, 0)}
		}
		return &corev1.Pod{Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{s}}}
	}
	steady := restarted(0, 0, -1, "")
	for want, pods := range map[string][]*corev1.Pod{
		"": {steady, steady},
		"started again once, because it ended with status 3":                          {restarted(1, 1, 3, "")},
		"started again 4 times, last because it ended":                                {restarted(4, 1, -1, "")},
		"a replica was started again once, because it was killed by SIGKILL":          {restarted(1, 1, 137, ""), steady},
		"replicas were started again 3 times, last because one was killed by SIGKILL": {restarted(2, 9, 126, `{"exit_code":137,"signal":"SIGKILL"}`), restarted(1, 5, 3, "")},
		"replicas were started again 3 times, last because one ended with status 3":   {restarted(2, 1, 137, ""), restarted(1, 5, 3, "")},
	} {
		if got := startedAgain(pods); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}
