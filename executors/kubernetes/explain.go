package kubernetes

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local/disk"
	"github.com/tenon-ml/tenon/internal/lazyregexp"
	"github.com/tenon-ml/tenon/planner/state"
)

// A why explains to the user why a pod does not run, or no longer runs.
type why struct {
	message string
	final   bool // it does not resolve by itself
}

// exhausted is with what the message begins about a ResourceQuota that is too small.
const exhausted = "the quota of the namespace is exhausted: "

// lacking reports whether a quota is why, so that it may work elsewhere.
func (y why) lacking() bool { return strings.HasPrefix(y.message, exhausted) }

// tryAgain is the hint for failures that are not the unit's fault.
const tryAgain = ": set retries to run it again"

// explainPod returns why a pod does not run. It is empty for a pod that runs or is
// about to.
func (ts taskState) explainPod(p *corev1.Pod) why {
	if stuck(p) {
		return why{fmt.Sprintf("its node %[1]s does not answer and keeps the pod, which should stop: see `kubectl describe node %[1]s`%[2]s", p.Spec.NodeName, tryAgain), true}
	}
	switch p.Status.Reason {
	case "Evicted":
		return why{ts.explainEviction(p.Status.Message), true}
	case "NodeLost":
		return why{unanswering(p), false}
	case "Shutdown", "Terminated", "NodeShutdown":
		return why{fmt.Sprintf("its node %s was shut down%s", p.Spec.NodeName, tryAgain), true}
	}
	if c := disrupted(p); c != nil {
		return why{ts.explainDisruption(p, c), done(p)} // until then its program may still succeed within its grace period
	}
	if silent(p) {
		return why{unanswering(p), false}
	}
	for _, s := range p.Status.InitContainerStatuses { // tenon adds none
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return why{fmt.Sprintf("its init container %s, which the cluster added, failed with %d: see `kubectl -n %s logs %s -c %[1]s`", s.Name, t.ExitCode, p.Namespace, p.Name), true}
		}
	}
	for _, s := range containerStatuses(p) {
		if w := s.State.Waiting; w != nil {
			if y := explainWaiting(s.Image, w.Reason, w.Message); y.message != "" {
				return y
			}
		}
	}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		switch c.Reason {
		case corev1.PodReasonUnschedulable:
			return why{explainScheduling(p, c.Message), false}
		case corev1.PodReasonSchedulingGated:
			return why{inQueue(p), false}
		}
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" && terminated(p) == nil { // the kubelet rejected it
		return why{fmt.Sprintf("node %s refused its pod: %s: %s%s", p.Spec.NodeName, p.Status.Reason, strings.TrimSuffix(oneLine(p.Status.Message), "."), tryAgain), true}
	}
	return why{}
}

// done reports whether a pod has ended.
func done(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// stuck reports whether a pod is so long past its deletion that its node will not
// remove it.
func stuck(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil && !done(p) && time.Since(p.DeletionTimestamp.Time) > killPatience // the timestamp includes the grace period
}

// silent reports whether the cluster no longer hears from the node of a pod. Then the
// pod counts as not ready, although its containers were ready in the node's last
// report.
func silent(p *corev1.Pod) bool {
	is := func(t corev1.PodConditionType, status corev1.ConditionStatus) bool {
		c := podCondition(p, t)
		return c != nil && c.Status == status
	}
	return p.Status.Phase == corev1.PodRunning && len(p.Spec.ReadinessGates) == 0 && is(corev1.ContainersReady, corev1.ConditionTrue) && is(corev1.PodReady, corev1.ConditionFalse)
}

// unanswering says how long the cluster waits for a node.
func unanswering(p *corev1.Pod) string {
	for _, t := range p.Spec.Tolerations {
		if t.Key == corev1.TaintNodeUnreachable && t.TolerationSeconds != nil {
			return fmt.Sprintf("its node %[1]s does not answer: the cluster waits %[2]s for it; see `kubectl describe node %[1]s`", p.Spec.NodeName, time.Duration(*t.TolerationSeconds)*time.Second)
		}
	}
	return fmt.Sprintf("its node %[1]s does not answer: see `kubectl describe node %[1]s`", p.Spec.NodeName)
}

// explainWaiting returns why a container does not start, from the kubelet's reason and
// message.
func explainWaiting(image, reason, message string) why {
	message = oneLine(message)
	switch reason {
	case "ErrImagePull", "ImagePullBackOff":
		if _, detail, ok := strings.Cut(message, "ErrImagePull: "); ok {
			message = detail
		} else if reason == "ImagePullBackOff" {
			return why{fmt.Sprintf("its image %s cannot be pulled", image), false}
		}
		final, hint := false, ""
		switch low := strings.ToLower(message); {
		case strings.Contains(low, "no match for platform"):
			final, hint = true, ": it is for another architecture than the node's: correct node_selector, or image in the unit"
		case strings.Contains(low, "not found") || strings.Contains(low, "manifest unknown"):
			final, hint = true, ": it is not in the registry; check registry in the target"
		case strings.Contains(low, "unauthorized") || strings.Contains(low, "forbidden") || strings.Contains(low, "denied") || strings.Contains(low, "no basic auth"):
			final, hint = true, ": name a Secret with the registry's credentials in pull_secrets of the target"
		case strings.Contains(low, "http response to https client"):
			final, hint = true, ": the registry uses HTTP, which the nodes must allow in their configuration"
		case strings.Contains(low, "x509: "):
			final, hint = true, ": the nodes must trust the registry's certificate"
		case strings.Contains(low, "no space left on device"):
			hint = ": the disk of the node is full"
		}
		return why{fmt.Sprintf("its image %s cannot be pulled: %s%s", image, message, hint), final}
	case "InvalidImageName":
		return why{fmt.Sprintf("its image %q has an invalid name: correct image in the unit, or registry in the target", image), true}
	case "ErrImageNeverPull":
		return why{fmt.Sprintf("its image %s is not on the node and must not be pulled", image), true}
	case "CreateContainerConfigError":
		return why{explainConfigError(message), !slow.MatchString(message)}
	case "CreateContainerError", "RunContainerError":
		return why{"its container cannot be created: " + message, !slow.MatchString(message)}
	}
	return why{}
}

// slow matches the messages of an overloaded node, which tries again by itself.
var slow = lazyregexp.New(`context deadline exceeded|timed out waiting|failed to reserve container name`)

var (
	noObject = lazyregexp.New(`^(secret|configmap) "([^"]+)" not found`)
	// For a volume, the message omits the name of the Secret.
	noKeyInVolume = lazyregexp.New(`references non-existent secret key: (.+)$`)
	noKey         = lazyregexp.New(`couldn't find key ([^ ]+) in (Secret|ConfigMap) ([^ ]+)`)
)

// explainSetUp returns why a node does not start the containers of a pod, from the
// message of an event.
func explainSetUp(message string) why {
	message = oneLine(message)
	if _, detail, ok := strings.Cut(message, " : "); ok && strings.HasPrefix(message, "MountVolume.SetUp failed") {
		if m := noKeyInVolume.FindStringSubmatch(detail); m != nil {
			return why{fmt.Sprintf("a Secret for a file has no key %q: add it, or use another key in the system", m[1]), true}
		}
		if noObject.MatchString(detail) {
			return why{explainConfigError(detail), true}
		}
	}
	return why{"its node cannot set up its volumes: " + message, false}
}

// explainConfigError names the object or key that a container needs and that does not
// exist.
func explainConfigError(message string) string {
	if m := noObject.FindStringSubmatch(message); m != nil {
		kind := map[string]string{"secret": "Secret", "configmap": "ConfigMap"}[m[1]]
		return fmt.Sprintf("the %s %q does not exist in the namespace: create it, or use another one in the system", kind, m[2])
	}
	if m := noKey.FindStringSubmatch(message); m != nil {
		_, name, _ := strings.Cut(m[3], "/")
		return fmt.Sprintf("the %s %q has no key %q: add it, or use another key in the system", m[2], cmp.Or(name, m[3]), m[1])
	}
	return "its container cannot be created: " + message
}

var (
	ephemeral = lazyregexp.New(`(?i)ephemeral.*(exceed|limit)`)
	memoryDir = lazyregexp.New(`(?i)EmptyDir volume "memory" exceeds`)
)

// explainEviction returns why a node evicted a pod.
func (ts taskState) explainEviction(message string) string {
	message = oneLine(message)
	switch {
	case memoryDir.MatchString(message) && ts.Memory > 0:
		return fmt.Sprintf("it wrote more to /dev/shm than half of needs.memory %s, and was evicted", disk.Size(ts.Memory))
	case ephemeral.MatchString(message) && ts.Disk > 0:
		return fmt.Sprintf("it wrote more than needs.disk %s, and was evicted", disk.Size(ts.Disk))
	case strings.Contains(message, "low on resource: memory"):
		return "its node ran out of memory and evicted it: request as much as it uses in needs.memory"
	case strings.Contains(message, "low on resource: ephemeral-storage"):
		return "the disk of its node was full, and it was evicted: request as much as it writes in needs.disk"
	case strings.Contains(message, "low on resource: "):
		_, what, _ := strings.Cut(message, "low on resource: ")
		what, _, _ = strings.Cut(what, ".")
		return fmt.Sprintf("its node ran out of %s and evicted it%s", what, tryAgain)
	}
	return "it was evicted: " + strings.TrimSuffix(message, ".") + tryAgain
}

// explainDisruption returns who or what ended a pod, and why.
func (ts taskState) explainDisruption(p *corev1.Pod, c *corev1.PodCondition) string {
	switch c.Reason {
	case "PreemptionByScheduler":
		return "it was preempted by a pod of higher priority: raise priority_class, or set retries to run it again"
	case "DeletionByTaintManager":
		return fmt.Sprintf("its node %s was lost or got a taint that it does not tolerate: set retries to run it again, or add the taint to tolerations", p.Spec.NodeName)
	case "EvictionByEvictionAPI":
		return fmt.Sprintf("its node %s was drained%s", p.Spec.NodeName, tryAgain)
	case "DeletionByPodGC":
		return fmt.Sprintf("its node %s is gone%s", p.Spec.NodeName, tryAgain)
	case "TerminationByKubelet":
		return ts.explainEviction(cmp.Or(p.Status.Message, c.Message))
	}
	return "it was stopped: " + strings.TrimSuffix(oneLine(c.Message), ".") + tryAgain
}

// away matches a taint with which the cluster marks a node as unusable for now.
var away = lazyregexp.New(`untolerated taint \{node\.kubernetes\.io/[^}]*\}`)

// explainScheduling keeps the scheduler's own words and adds what to change.
func explainScheduling(p *corev1.Pod, message string) string {
	message = oneLine(message)
	message, _, _ = strings.Cut(message, " preemption: ")
	message = strings.TrimSuffix(message, ".")
	var change []string
	signs := away.ReplaceAllString(message, "")
	for _, c := range []struct{ sign, field string }{
		{"Insufficient cpu", "request less in needs.cpu"}, {"Insufficient memory", "request less in needs.memory"},
		{"Insufficient ephemeral-storage", "request less in needs.disk"}, {"Insufficient nvidia.com/", "request less in needs.gpu"},
		{"didn't match Pod's node affinity/selector", "correct " + choices(p)}, {"untolerated taint", "add the taint to tolerations"},
		{"persistentvolumeclaim", "create the claim of store_volume"},
	} {
		if strings.Contains(signs, c.sign) {
			change = append(change, c.field)
		}
	}
	if len(change) == 0 {
		return "no node fits it: " + message
	}
	return fmt.Sprintf("no node fits it: %s: %s, or wait for a node", message, strings.Join(change, ", "))
}

// inQueue says that an object has not been admitted yet.
func inQueue(o metav1.Object) string {
	if queue := o.GetLabels()[labelQueue]; queue != "" {
		return fmt.Sprintf("it waits in queue %q for admission", queue)
	}
	return "it is suspended, and no queue admits it"
}

// choices returns the fields that restrict the nodes of a pod.
func choices(p *corev1.Pod) string {
	var fields []string
	if len(p.Spec.NodeSelector) > 0 {
		fields = append(fields, "node_selector")
	}
	for _, c := range chosen(p.Spec) {
		if field := map[string]string{labelGPUModel: "needs.gpu.model", labelGPUMemory: "needs.gpu.memory"}[c.Key]; field != "" {
			fields = append(fields, field)
		}
	}
	return cmp.Or(strings.Join(fields, " or "), "node_selector")
}

// explainRefusal returns why the cluster refuses to create a pod at all, from its
// message to the Job or Deployment.
func explainRefusal(message string) why {
	message = strings.TrimSuffix(oneLine(message), ".")
	_, message, _ = cutAny(message, "Error creating: ", ` is forbidden: `)
	if _, rest, ok := strings.Cut(message, " is forbidden: "); ok {
		message = rest
	}
	if m := denied.FindStringSubmatch(message); m != nil {
		return why{fmt.Sprintf("the cluster's policy %s rejects its pod: %s: change the unit or the policy", m[1], m[2]), true}
	}
	switch {
	case strings.Contains(message, "exceeded quota"):
		return why{exhausted + message + ": request less in needs, or raise the quota", false}
	case strings.Contains(message, "failed quota"), strings.Contains(message, "must specify"):
		return why{"the namespace sets limits: " + message + ": request it in needs", true}
	case strings.Contains(message, "usage per"):
		return why{"the namespace sets limits: " + message + ": request an allowed amount in needs", true}
	case strings.Contains(message, "violates PodSecurity"):
		return why{"the namespace does not allow such pods: " + message + ": use another namespace in the target, or allow them in this one", true}
	case strings.Contains(message, "serviceaccount"):
		return why{"the service account does not exist: " + message + ": create it, or use another one in service_account", true}
	case strings.Contains(message, "PriorityClass"):
		return why{"the priority class does not exist: " + message + ": create it, or use another one in priority_class", true}
	}
	return why{"the cluster cannot create its pod: " + message, false}
}

// explainProbe returns how a service answers its readiness probe, from the kubelet's
// message about one of its pods.
func explainProbe(p *corev1.Pod, message string) string {
	message = oneLine(message)
	asked := "not ready"
	if _, why, ok := strings.Cut(message, pod.NotStarted); ok && strings.TrimSpace(why) == "" {
		return asked + ": " + pod.NotStarted
	}
	for _, c := range p.Spec.Containers {
		if c.ReadinessProbe != nil && c.ReadinessProbe.HTTPGet != nil && len(c.Ports) > 0 {
			asked = fmt.Sprintf("GET %s on port %d", c.ReadinessProbe.HTTPGet.Path, c.Ports[0].ContainerPort)
		}
	}
	if _, code, answered := strings.Cut(message, "HTTP probe failed with statuscode: "); answered {
		return asked + " returned " + code
	}
	switch {
	case strings.Contains(message, "connection refused"):
		message = "nothing listens there"
	case strings.Contains(message, "context deadline exceeded"):
		message = fmt.Sprintf("no answer within %s", probePeriod)
	}
	return asked + ": " + message
}

// denied matches the message of an admission policy or webhook.
var denied = lazyregexp.New(`^(?:ValidatingAdmissionPolicy|admission webhook) ['"]([^'"]+)['"](?: with binding '[^']*')? denied (?:the )?request: (.*)$`)

// explainJob returns how a job ended, or is about to end, when its pods do not say why.
func explainJob(job *batchv1.Job) string {
	for _, c := range job.Status.Conditions {
		if c.Type != batchv1.JobFailed && c.Type != batchv1.JobFailureTarget || c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Reason {
		case batchv1.JobReasonDeadlineExceeded:
			return fmt.Sprintf("it exceeded the deadline of its Job, which is timeout plus %s: raise timeout", slack)
		case batchv1.JobReasonBackoffLimitExceeded, batchv1.JobReasonFailedIndexes:
			continue // it only counts pods
		}
		return oneLine(c.Reason + ": " + c.Message)
	}
	return ""
}

const unknown = "its pod is gone, with an unknown exit status: it was deleted, or its node was lost" + tryAgain

// explainEnd sets in st how a program ended. Its sources are the result that the pod
// stored, the pod's termination message and the kubelet's status of the container. Each
// of them may be missing.
func (ts taskState) explainEnd(st *state.Status, res *pod.Result, p *corev1.Pod) {
	st.Phase = state.Failed
	var said pod.End
	var end *corev1.ContainerStateTerminated
	heard := false
	if p != nil {
		if end = terminated(p); end != nil {
			said, heard = pod.ReadMessage(end.Message)
			st.ExitCode, st.Started, st.Finished = int(end.ExitCode), end.StartedAt.UTC(), end.FinishedAt.UTC()
		}
	}
	if res != nil {
		said, heard = res.End, true
		st.Started, st.Finished, st.Usage = res.Started.UTC(), res.Finished.UTC(), state.Usage(res.Usage)
	}
	if heard {
		st.ExitCode, st.Signal = said.ExitCode, said.Signal
	}
	outOfMemory := said.OutOfMemory || end != nil && end.Reason == "OOMKilled"
	if !heard && outOfMemory {
		st.Signal, st.ExitCode = "SIGKILL", 128+int(unix.SIGKILL)
	}
	switch y := ts.explainPodIf(p); {
	case said.Asked && y != "":
		st.Message, st.Interrupted = y, interrupted(p)
	case said.Asked:
		st.Message = said.Fault + ": it was deleted" + tryAgain
	case said.Fault != "":
		st.Message = said.Fault
	case res != nil && said.ExitCode == 0:
		st.Phase = state.Succeeded
	case res == nil && y != "" && !outOfMemory:
		st.Message, st.Interrupted = y, interrupted(p)
	case st.Signal == "SIGKILL" && outOfMemory:
		st.Message = "killed by SIGKILL" + ts.explainMemory()
	case st.Signal == "SIGKILL":
		st.Message = "killed by SIGKILL (not because of memory)"
	case st.Signal != "":
		st.Message = "killed by " + st.Signal
	case end != nil && !heard && (end.Reason == "ContainerCannotRun" || end.Reason == "StartError"):
		st.Message = "its container cannot be started: " + oneLine(end.Message)
	case !heard && end == nil:
		st.Message = unknown
	case st.ExitCode == 0 && ts.Kind != ir.Service:
		st.Message = "its result is not in the store"
	default:
		st.Message = fmt.Sprintf("exit %d", st.ExitCode)
	}
	if outOfMemory && st.Signal != "SIGKILL" && st.Phase == state.Failed && said.Fault == "" {
		st.Message += "; the kernel killed a child of it" + ts.explainMemory()
	}
}

func (ts taskState) explainPodIf(p *corev1.Pod) string {
	if p == nil {
		return ""
	}
	return ts.explainPod(p).message
}

func (ts taskState) explainMemory() string {
	if ts.Memory > 0 {
		return ": it used more than needs.memory " + disk.Size(ts.Memory)
	}
	return ": its node ran out of memory while it ran"
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

// interrupted reports whether the cluster ended a pod, or lost it, for a reason that is not in the pod itself. A kubelet gives
// one condition to the pods that it evicts for what they use and to those of a node that shuts down: their reasons differ.
func interrupted(p *corev1.Pod) bool {
	c := disrupted(p)
	return stuck(p) ||
		c != nil && slices.Contains([]string{"PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI", "DeletionByPodGC"}, c.Reason) ||
		slices.Contains([]string{"NodeLost", "Shutdown", "Terminated", "NodeShutdown", "Preempting"}, p.Status.Reason)
}

// disrupted returns the condition which says that something else ended the pod, or nil.
func disrupted(p *corev1.Pod) *corev1.PodCondition {
	if c := podCondition(p, corev1.DisruptionTarget); c != nil && c.Status == corev1.ConditionTrue {
		return c
	}
	return nil
}

// containerStatuses returns the statuses of the init containers and of the program.
func containerStatuses(p *corev1.Pod) []corev1.ContainerStatus {
	return append(append([]corev1.ContainerStatus(nil), p.Status.InitContainerStatuses...), p.Status.ContainerStatuses...)
}

// terminated returns how the program of a pod last ended, or nil.
func terminated(p *corev1.Pod) *corev1.ContainerStateTerminated {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(s corev1.ContainerStatus) bool { return s.Name == container })
	if i < 0 {
		return nil
	}
	s := p.Status.ContainerStatuses[i]
	return cmp.Or(s.State.Terminated, s.LastTerminationState.Terminated)
}

// asked reports whether a pod ended because it was asked to, before its program had
// succeeded.
func asked(p *corev1.Pod) bool {
	end := terminated(p)
	if end == nil {
		return false
	}
	said, _ := pod.ReadMessage(end.Message)
	return said.Asked
}

// cutAny cuts s at the first of seps that occurs in it. If none does, after is all of
// s.
func cutAny(s string, seps ...string) (before, after string, found bool) {
	for _, sep := range seps {
		if before, after, ok := strings.Cut(s, sep); ok {
			return before, after, true
		}
	}
	return "", s, false
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
