package kubernetes

import (
	"os"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// waits returns a pod whose container waits for a reason.
func waits(reason, message string) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		Name: container, Image: "registry/units@sha256:0", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}}}
}

func fails(reason, message string) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: corev1.PodFailed, Reason: reason, Message: message}}
}

// is returns a pod with a condition.
func is(t corev1.PodConditionType, status corev1.ConditionStatus, reason, message string) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{
		{Type: t, Status: status, Reason: reason, Message: message},
	}}}
}

// gone marks a pod as failed.
func gone(p *corev1.Pod) *corev1.Pod {
	p.Status.Phase = corev1.PodFailed
	return p
}

// disrupt marks a pod as disrupted for a reason.
func disrupt(p *corev1.Pod, reason string) *corev1.Pod {
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason})
	return p
}

// unheard returns a pod whose node does not report, which the cluster tolerates for
// that many seconds.
func unheard(seconds int64) *corev1.Pod {
	return &corev1.Pod{
		Spec: corev1.PodSpec{NodeName: "n1", Tolerations: []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, TolerationSeconds: &seconds}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{
			{Type: corev1.PodReady, Status: corev1.ConditionFalse}, {Type: corev1.ContainersReady, Status: corev1.ConditionTrue},
		}},
	}
}

// kept marks a pod as deleted long ago.
func kept(p *corev1.Pod) *corev1.Pod {
	p.DeletionTimestamp = &metav1.Time{Time: time.Now().Add(-time.Hour)}
	return p
}

// before returns a pod that failed before its program started.
func before(code int32) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: "a-b"}, Status: corev1.PodStatus{Phase: corev1.PodFailed, InitContainerStatuses: []corev1.ContainerStatus{{
		Name: "proxy", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code}},
	}}}}
}

func TestReasonsThatAPodDoesNotRun(t *testing.T) {
	ts := taskState{Disk: 1 << 20, Memory: 64 << 20}
	for name, c := range map[string]struct {
		pod   *corev1.Pod
		want  string
		final bool
	}{
		"it runs":             {&corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}, "", false},
		"it is about to":      {waits("ContainerCreating", ""), "", false},
		"a missing image":     {waits("ErrImagePull", `rpc error: code = NotFound desc = failed to pull and unpack image "x": not found`), `its image registry/units@sha256:0 cannot be pulled: rpc error: code = NotFound desc = failed to pull and unpack image "x": not found: it is not in the registry; check registry in the target`, true},
		"an image in private": {waits("ImagePullBackOff", `Back-off pulling image "x": ErrImagePull: pull access denied, authorization failed`), "its image registry/units@sha256:0 cannot be pulled: pull access denied, authorization failed: name a Secret with the registry's credentials in pull_secrets of the target", true},
		"a registry away":     {waits("ErrImagePull", "dial tcp 10.0.0.1:5000: connect: connection refused"), "its image registry/units@sha256:0 cannot be pulled: dial tcp 10.0.0.1:5000: connect: connection refused", false},
		"a registry of HTTP":  {waits("ErrImagePull", "http: server gave HTTP response to HTTPS client"), "its image registry/units@sha256:0 cannot be pulled: http: server gave HTTP response to HTTPS client: the registry uses HTTP, which the nodes must allow in their configuration", true},
		"a pause of pulls":    {waits("ImagePullBackOff", `Back-off pulling image "x"`), "its image registry/units@sha256:0 cannot be pulled", false},
		"an image of no name": {waits("InvalidImageName", "invalid"), `its image "registry/units@sha256:0" has an invalid name: correct image in the unit, or registry in the target`, true},
		"no secret":           {waits("CreateContainerConfigError", `secret "outer" not found`), `the Secret "outer" does not exist in the namespace: create it, or use another one in the system`, true},
		"no key":              {waits("CreateContainerConfigError", "couldn't find key value in Secret ml/outer"), `the Secret "outer" has no key "value": add it, or use another key in the system`, true},
		"no container":        {waits("RunContainerError", "exec format\nerror"), "its container cannot be created: exec format error", true},
		"no room": {is(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, "0/3 nodes are available: 2 Insufficient cpu, 1 Insufficient memory. preemption: 0/3 nodes are available."),
			"no node fits it: 0/3 nodes are available: 2 Insufficient cpu, 1 Insufficient memory: request less in needs.cpu, request less in needs.memory, or wait for a node", false},
		"no such node": {is(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
			"no node fits it: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector: correct node_selector, or wait for a node", false},
		"a taint": {is(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: true}."),
			"no node fits it: 0/1 nodes are available: 1 node(s) had untolerated taint {gpu: true}: add the taint to tolerations, or wait for a node", false},
		"nodes that are away": {is(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable, "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."),
			"no node fits it: 0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }", false},
		"a queue":              {is(corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonSchedulingGated, "x"), "it is suspended, and no queue admits it", false},
		"a slow node":          {waits("CreateContainerError", "context deadline exceeded"), "its container cannot be created: context deadline exceeded", false},
		"a slow cluster":       {waits("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"), "its container cannot be created: failed to sync secret cache: timed out waiting for the condition", false},
		"no disk":              {fails("Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "), "it wrote more than needs.disk 1 MiB, and was evicted", true},
		"a node short of it":   {fails("Evicted", "The node was low on resource: memory. Threshold quantity: 100Mi"), "its node ran out of memory and evicted it: request as much as it uses in needs.memory", true},
		"a full node":          {fails("Evicted", "The node was low on resource: ephemeral-storage. Container x was using 2Gi"), "the disk of its node was full, and it was evicted: request as much as it writes in needs.disk", true},
		"a node of many":       {fails("Evicted", "The node was low on resource: pids. x"), "its node ran out of pids and evicted it: set retries to run it again", true},
		"a lost node":          {fails("NodeLost", ""), "its node n1 does not answer: see `kubectl describe node n1`", false},
		"a node shut down":     {fails("NodeShutdown", ""), "its node n1 was shut down: set retries to run it again", true},
		"a node that says no":  {fails("OutOfcpu", "Pod was rejected:\n too much"), "node n1 refused its pod: OutOfcpu: Pod was rejected: too much: set retries to run it again", true},
		"a drained node":       {is(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "x"), "its node n1 was drained: set retries to run it again", false},
		"a tainted node":       {is(corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByTaintManager", "x"), "its node n1 was lost or got a taint that it does not tolerate: set retries to run it again, or add the taint to tolerations", false},
		"somebody before it":   {is(corev1.DisruptionTarget, corev1.ConditionTrue, "PreemptionByScheduler", "x"), "it was preempted by a pod of higher priority: raise priority_class, or set retries to run it again", false},
		"after its grace":      {gone(is(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "x")), "its node n1 was drained: set retries to run it again", true},
		"a collected pod":      {gone(is(corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByPodGC", "x")), "its node n1 is gone: set retries to run it again", true},
		"a pod in the way":     {gone(is(corev1.DisruptionTarget, corev1.ConditionTrue, "TerminationByKubelet", "Preempted in order to admit critical pod.")), "it was evicted: Preempted in order to admit critical pod: set retries to run it again", true},
		"a memory of files":    {fails("Evicted", `Usage of EmptyDir volume "memory" exceeds the limit "32Mi". `), "it wrote more to /dev/shm than half of needs.memory 64 MiB, and was evicted", true},
		"a log on the node":    {fails("Evicted", `Container unit exceeded its local ephemeral storage limit "1Mi". `), "it wrote more than needs.disk 1 MiB, and was evicted", true},
		"a silent node":        {unheard(300), "its node n1 does not answer: the cluster waits 5m0s for it; see `kubectl describe node n1`", false},
		"a node that keeps it": {kept(unheard(300)), "its node n1 does not answer and keeps the pod, which should stop: see `kubectl describe node n1`: set retries to run it again", true},
		"one before it":        {before(7), "its init container proxy, which the cluster added, failed with 7: see `kubectl -n ml logs a-b -c proxy`", true},
		"an unknown registry":  {waits("ErrImagePull", "tls: failed to verify certificate: x509: certificate signed by unknown authority"), "its image registry/units@sha256:0 cannot be pulled: tls: failed to verify certificate: x509: certificate signed by unknown authority: the nodes must trust the registry's certificate", true},
		"another machine":      {waits("ErrImagePull", "no match for platform in manifest: not found"), "its image registry/units@sha256:0 cannot be pulled: no match for platform in manifest: not found: it is for another architecture than the node's: correct node_selector, or image in the unit", true},
	} {
		if got := ts.explainPod(c.pod); got.message != c.want || got.final != c.final {
			t.Errorf("%s: %q, final %t; want %q, %t", name, got.message, got.final, c.want, c.final)
		}
	}
}

// What the cluster does for reasons of its own is an interruption, and what a pod uses too much of is not.
func TestInterruptions(t *testing.T) {
	byKubelet := func(reason string) *corev1.Pod {
		p := is(corev1.DisruptionTarget, corev1.ConditionTrue, "TerminationByKubelet", "x")
		p.Status.Reason = reason
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"a drained node":                    {is(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "x"), true},
		"a pod of higher priority":          {is(corev1.DisruptionTarget, corev1.ConditionTrue, "PreemptionByScheduler", "x"), true},
		"a node that shuts down":            {byKubelet("Terminated"), true},
		"a critical pod":                    {byKubelet("Preempting"), true},
		"a node that the pod fills":         {byKubelet("Evicted"), false},
		"a node shut down, by its old name": {fails("NodeShutdown", ""), true},
		"a node that keeps it":              {kept(unheard(300)), true},
		"it runs":                           {&corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}, false},
	} {
		if got := interrupted(c.pod); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestReasonsThatNoPodIsCreated(t *testing.T) {
	for message, want := range map[string]why{
		`Error creating: pods "a-b" is forbidden: exceeded quota: small, requested: cpu=2, used: cpu=1, limited: cpu=1`:              {"the quota of the namespace is exhausted: exceeded quota: small, requested: cpu=2, used: cpu=1, limited: cpu=1: request less in needs, or raise the quota", false},
		`Error creating: pods "a-b" is forbidden: failed quota: small: must specify limits.memory for: unit`:                         {"the namespace sets limits: failed quota: small: must specify limits.memory for: unit: request it in needs", true},
		`Error creating: pods "a-b" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false`:       {`the namespace does not allow such pods: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false: use another namespace in the target, or allow them in this one`, true},
		`Error creating: pods "a-b" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi`:                       {"the namespace sets limits: maximum memory usage per Container is 1Gi, but limit is 2Gi: request an allowed amount in needs", true},
		`Error creating: pods "a-b" is forbidden: error looking up service account ml/trainer: serviceaccount "trainer" not found`:   {`the service account does not exist: error looking up service account ml/trainer: serviceaccount "trainer" not found: create it, or use another one in service_account`, true},
		`Error creating: pods "a-b" is forbidden: no PriorityClass with name high was found`:                                         {"the priority class does not exist: no PriorityClass with name high was found: create it, or use another one in priority_class", true},
		`Error creating: pods "a-b" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'ours' denied request: no latest.`: {"the cluster's policy images rejects its pod: no latest: change the unit or the policy", true},
		`Error creating: admission webhook "validation.gatekeeper.sh" denied the request: [owner] no owner`:                          {"the cluster's policy validation.gatekeeper.sh rejects its pod: [owner] no owner: change the unit or the policy", true},
		`Error creating: Internal error occurred: failed calling webhook "x": no endpoints`:                                          {`the cluster cannot create its pod: Internal error occurred: failed calling webhook "x": no endpoints`, false},
	} {
		got := explainRefusal(message)
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", message, got, want)
		}
		if lacking := strings.Contains(message, "exceeded quota"); got.lacking() != lacking {
			t.Errorf("%s: lacking is %v", message, !lacking)
		}
	}
}

func TestReasonsThatANodeDoesNotStart(t *testing.T) {
	for message, want := range map[string]why{
		`MountVolume.SetUp failed for volume "secrets" : secret "outer" not found`:                                       {`the Secret "outer" does not exist in the namespace: create it, or use another one in the system`, true},
		`MountVolume.SetUp failed for volume "secrets" : references non-existent secret key: value`:                      {`a Secret for a file has no key "value": add it, or use another key in the system`, true},
		`MountVolume.SetUp failed for volume "secrets" : failed to sync secret cache: timed out`:                         {`its node cannot set up its volumes: MountVolume.SetUp failed for volume "secrets" : failed to sync secret cache: timed out`, false},
		`Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network: no addresses available`: {"its node cannot set up its volumes: Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network: no addresses available", false},
	} {
		if got := explainSetUp(message); got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", message, got, want)
		}
	}
}

// ended returns a pod whose container has ended.
func ended(reason string, code int32, message string) *corev1.Pod {
	return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed, ContainerStatuses: []corev1.ContainerStatus{{
		Name: container, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			Reason: reason, ExitCode: code, Message: message, StartedAt: metav1.Unix(1, 0), FinishedAt: metav1.Unix(2, 0),
		}},
	}}}}
}

func TestExitStatusOfAProgram(t *testing.T) {
	result := func(e pod.End) *pod.Result {
		return &pod.Result{End: e, Started: time.Unix(1, 0), Finished: time.Unix(2, 0)}
	}
	for name, c := range map[string]struct {
		res    *pod.Result
		pod    *corev1.Pod
		phase  state.Phase
		code   int
		signal string
		want   string
	}{
		"well":                 {result(pod.End{Stored: true}), nil, state.Succeeded, 0, "", ""},
		"with a status":        {result(pod.End{ExitCode: 3}), ended("Error", 3, ""), state.Failed, 3, "", "exit 3"},
		"before it was asked":  {result(pod.End{ExitCode: 3, Stored: true}), gone(is(corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI", "x")), state.Failed, 3, "", "exit 3"},
		"asked by somebody":    {nil, ended("Error", 143, `{"exit_code":143,"signal":"SIGTERM","fault":"the pod was stopped","asked":true}`), state.Failed, 143, "SIGTERM", "the pod was stopped: it was deleted: set retries to run it again"},
		"asked by a drain":     {nil, disrupt(ended("Error", 143, `{"exit_code":143,"signal":"SIGTERM","fault":"the pod was stopped","asked":true}`), "EvictionByEvictionAPI"), state.Failed, 143, "SIGTERM", "its node  was drained: set retries to run it again"},
		"by a signal":          {result(pod.End{ExitCode: 143, Signal: "SIGTERM"}), nil, state.Failed, 143, "SIGTERM", "killed by SIGTERM"},
		"for a fault":          {result(pod.End{ExitCode: 126, Fault: "wrote 8 MiB, more than needs.disk 1 MiB"}), nil, state.Failed, 126, "", "wrote 8 MiB, more than needs.disk 1 MiB"},
		"out of memory":        {result(pod.End{ExitCode: 137, Signal: "SIGKILL", OutOfMemory: true}), nil, state.Failed, 137, "SIGKILL", "killed by SIGKILL: it used more than needs.memory 64 MiB"},
		"a child of it":        {result(pod.End{ExitCode: 1, OutOfMemory: true}), nil, state.Failed, 1, "", "exit 1; the kernel killed a child of it: it used more than needs.memory 64 MiB"},
		"all of it at once":    {nil, ended("OOMKilled", 137, ""), state.Failed, 137, "SIGKILL", "killed by SIGKILL: it used more than needs.memory 64 MiB"},
		"killed for no reason": {result(pod.End{ExitCode: 137, Signal: "SIGKILL"}), nil, state.Failed, 137, "SIGKILL", "killed by SIGKILL (not because of memory)"},
		"not stored":           {nil, ended("Error", 126, `{"exit_code":0,"fault":"the store is full"}`), state.Failed, 0, "", "the store is full"},
		"evicted":              {nil, fails("Evicted", "The node was low on resource: memory."), state.Failed, 0, "", "its node ran out of memory and evicted it: request as much as it uses in needs.memory"},
		"never started":        {nil, ended("StartError", 128, "exec: \"/tenon/bin/tenon-pod\": no such file"), state.Failed, 128, "", `its container cannot be started: exec: "/tenon/bin/tenon-pod": no such file`},
		"unseen":               {nil, nil, state.Failed, 0, "", "its pod is gone, with an unknown exit status: it was deleted, or its node was lost: set retries to run it again"},
		"well, but unseen":     {result(pod.End{Stored: true}), fails("NodeShutdown", ""), state.Succeeded, 0, "", ""},
	} {
		var st state.Status
		taskState{Kind: ir.Job, Memory: 64 << 20}.explainEnd(&st, c.res, c.pod)
		if st.Phase != c.phase || st.ExitCode != c.code || st.Signal != c.signal || st.Message != c.want {
			t.Errorf("%s: %+v, want %s, %d, %q, %q", name, st, c.phase, c.code, c.signal, c.want)
		}
	}
}

func TestAnswersOfAServiceThatIsNotReady(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Ports:          []corev1.ContainerPort{{ContainerPort: 8080}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz"}}},
	}}}}
	for told, want := range map[string]string{
		"Startup probe failed: HTTP probe failed with statuscode: 503":                                                                          "GET /readyz on port 8080 returned 503",
		"Startup probe failed: its program has not started yet\n":                                                                               "not ready: its program has not started yet",
		`Startup probe failed: Get "http://10.0.0.7:8080/readyz": dial tcp 10.0.0.7:8080: connect: connection refused`:                          "GET /readyz on port 8080: nothing listens there",
		`Readiness probe failed: Get "http://10.0.0.7:8080/readyz": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`: "GET /readyz on port 8080: no answer within 2s",
		`Readiness probe failed: Get "http://10.0.0.7:8080/readyz": read tcp 10.0.0.1:5->10.0.0.7:8080:` + "\n" + ` connection reset by peer`:   `GET /readyz on port 8080: Readiness probe failed: Get "http://10.0.0.7:8080/readyz": read tcp 10.0.0.1:5->10.0.0.7:8080: connection reset by peer`,
	} {
		if got := explainProbe(p, told); got != want {
			t.Errorf("%s\ngives %q\nwant  %q", told, got, want)
		}
	}
}

func TestJobStatusWithoutPods(t *testing.T) {
	for reason, want := range map[string]string{
		"DeadlineExceeded":     "it exceeded the deadline of its Job, which is timeout plus 10m0s: raise timeout",
		"BackoffLimitExceeded": "its pod is gone, with an unknown exit status: it was deleted, or its node was lost: set retries to run it again",
		"PodFailurePolicy":     "PodFailurePolicy: why",
	} {
		job := &batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: reason, Message: "why"}}}}
		if st := (taskState{}).end(job, nil, nil); st.Phase != state.Failed || st.Message != want {
			t.Errorf("%s: %+v, want %q", reason, st, want)
		}
	}
}

func TestLastLinesOfAServiceAreReportedOnce(t *testing.T) {
	for _, tt := range []struct{ message, log, want string }{
		{"exit 1", "reading\nRuntimeError: no index\n", "exit 1; it printed last: RuntimeError: no index"},
		{"", "no index\n", "it ended; it printed last: no index"},
		{"exit 1", "", "exit 1"},
		{"store s3://a refused to open: no", "tenon: store s3://a refused to open: no\n", "store s3://a refused to open: no"},
	} {
		ts := taskState{Dir: t.TempDir()}
		if err := os.WriteFile(ts.logPath(), []byte(tt.log), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := ts.withLog(tt.message); got != tt.want {
			t.Errorf("%q with the log %q is explained as %q, want %q", tt.message, tt.log, got, tt.want)
		}
	}
}
