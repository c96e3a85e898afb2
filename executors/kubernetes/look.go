package kubernetes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/artifact"
	"github.com/tenon-ml/tenon/planner/state"
)

// workload returns the object that runs the pods of a task. It has only a name.
func (ts taskState) workload() object {
	meta := metav1.ObjectMeta{Name: ts.Name}
	if ts.Kind == ir.Service {
		return &appsv1.Deployment{ObjectMeta: meta}
	}
	return &batchv1.Job{ObjectMeta: meta}
}

// lookAtJob returns the status of a job, and the result that its pod noted once the job
// has ended. The result is nil if something else ended the job.
func (e *Executor) lookAtJob(ctx context.Context, l *link, ts taskState, job *batchv1.Job, pods []*corev1.Pod) (state.Status, *pod.Result, error) {
	pods = current(job, pods)
	p := decisivePod(pods)
	if st := ts.running(job, p); !over(job, pods) {
		y, err := e.delay(ctx, l, ts, job, pods)
		if st.Message, st.Lacking = y.message, y.lacking(); y.final {
			st.Phase = state.Failed
		}
		return st, nil, err
	}
	if st, ok := ts.ended(); ok {
		return st, nil, nil
	}
	res, err := e.result(ctx, ts)
	if err != nil {
		return state.Status{}, nil, err
	}
	return ts.end(job, res, p), res, nil
}

// suspended reports whether a job is not admitted yet, or no longer admitted.
func suspended(job *batchv1.Job) bool { return job.Spec.Suspend != nil && *job.Spec.Suspend }

// current returns the pods of a job that count. A suspended job has ended its pods and
// creates new ones when it resumes.
func current(job *batchv1.Job, pods []*corev1.Pod) []*corev1.Pod {
	own := slices.DeleteFunc(slices.Clone(pods), func(p *corev1.Pod) bool { return !metav1.IsControlledBy(p, job) })
	if suspended(job) && !failed(job) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(own), func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && slices.ContainsFunc(own, func(q *corev1.Pod) bool {
			return q.DeletionTimestamp == nil && q.Labels[batchv1.JobCompletionIndexAnnotation] == p.Labels[batchv1.JobCompletionIndexAnnotation]
		})
	})
}

// running returns the status of a job that has not ended. It started when its program
// did, or else when it was admitted.
func (ts taskState) running(job *batchv1.Job, p *corev1.Pod) state.Status {
	if suspended(job) {
		return state.Status{Phase: state.Running, Queued: true}
	}
	st := state.Status{Phase: state.Running, Started: job.CreationTimestamp.UTC()}
	if t := job.Status.StartTime; t != nil {
		st.Started = t.UTC()
	}
	if p != nil {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running != nil {
				st.Started = s.State.Running.StartedAt.UTC()
			}
		}
	}
	return st
}

// end returns the status of a job that has ended.
func (ts taskState) end(job *batchv1.Job, res *pod.Result, p *corev1.Pod) state.Status {
	st := state.Status{Started: job.CreationTimestamp.UTC(), Finished: time.Now().UTC()}
	if several(job) && failed(job) {
		res = nil // it comes from the first pod, which may have succeeded
	}
	ts.explainEnd(&st, res, p)
	if why := explainJob(job); why != "" && res == nil && (p == nil || ts.explainPodIf(p) == "" && (terminated(p) == nil || asked(p))) {
		st.Message = why
	}
	return st
}

// over reports whether a job has ended. Its pod shows that before its Job does, which
// only counts pods. But if the pod was asked to end, only the Job may know why.
func over(job *batchv1.Job, pods []*corev1.Pod) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobFailed || c.Type == batchv1.JobComplete) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	if several(job) {
		return false
	}
	p := last(pods)
	return p != nil && done(p) && (!asked(p) || disrupted(p) != nil || p.Status.Reason != "" || explainJob(job) != "")
}

// several reports whether a job has more than one pod.
func several(job *batchv1.Job) bool { return job.Spec.Completions != nil && *job.Spec.Completions > 1 }

func failed(job *batchv1.Job) bool {
	return slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue
	})
}

// refusedAfter is the age of a Job without a pod from which tenon asks for the reason.
const refusedAfter = time.Second

// delay returns why a job does not run, or not all of it.
func (e *Executor) delay(ctx context.Context, l *link, ts taskState, job *batchv1.Job, pods []*corev1.Pod) (why, error) {
	if suspended(job) {
		return l.explainQueue(ctx, job)
	}
	y, _, err := ts.hindrance(ctx, l, pods)
	if err != nil || y.message != "" || len(pods) >= int(*cmp.Or(job.Spec.Parallelism, ptr(int32(1)))) || time.Since(job.CreationTimestamp.Time) < refusedAfter {
		return y, err
	}
	message, err := l.lastEventOf(ctx, job.UID, "FailedCreate")
	if err != nil || message == "" {
		return why{}, err
	}
	return explainRefusal(message), nil
}

// hindrance returns why one of the pods does not run, and that pod.
func (ts taskState) hindrance(ctx context.Context, l *link, pods []*corev1.Pod) (why, *corev1.Pod, error) {
	for _, p := range slices.Backward(pods) {
		if y := ts.explainPod(p); y.message != "" {
			return y, p, nil
		}
		if started(p) || done(p) || time.Since(p.CreationTimestamp.Time) < lookEvery {
			continue
		}
		message, err := l.lastEventOf(ctx, p.UID, "FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox")
		if err != nil || message != "" {
			return explainSetUp(message), p, err
		}
	}
	return why{}, nil, nil
}

// explainQueue returns why a job is not admitted, in the words of Kueue if it has any.
func (l *link) explainQueue(ctx context.Context, job *batchv1.Job) (why, error) {
	message := inQueue(job)
	made, err := l.lastEventOf(ctx, job.UID, "CreatedWorkload") // "Created Workload: NAMESPACE/NAME"
	if err != nil || made == "" {
		return why{message, false}, err
	}
	reason, err := l.lastEvent(ctx, "involvedObject.kind=Workload,type=Warning,involvedObject.name="+made[strings.LastIndex(made, "/")+1:])
	if reason != "" {
		message += ": " + oneLine(reason)
	}
	return why{message, false}, err
}

// lastEventOf returns the message of the last event about an object that has one of the
// reasons.
func (l *link) lastEventOf(ctx context.Context, uid types.UID, reasons ...string) (string, error) {
	return l.lastEvent(ctx, "involvedObject.uid="+string(uid), reasons...)
}

// lastEvent returns the message of the last selected event that has one of the reasons,
// or any reason if none are given.
func (l *link) lastEvent(ctx context.Context, selector string, reasons ...string) (string, error) {
	var events corev1.EventList
	err := l.list(ctx, &events, metav1.ListOptions{FieldSelector: selector})
	events.Items = slices.DeleteFunc(events.Items, func(e corev1.Event) bool { return len(reasons) > 0 && !slices.Contains(reasons, e.Reason) })
	if err != nil || len(events.Items) == 0 {
		return "", err
	}
	at := func(e corev1.Event) time.Time {
		return slices.MaxFunc([]time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time}, time.Time.Compare)
	}
	return slices.MaxFunc(events.Items, func(a, b corev1.Event) int { return at(a).Compare(at(b)) }).Message, nil
}

// note returns the name under which the pod of a task stores its result, below the folder of runs. It differs for
// each start of the task.
func (ts taskState) note() string {
	name := ts.Name + "/" + string(ts.UID)
	if !ts.Noted {
		return name
	}
	return cloud.NotesOf(ts.Unit) + name
}

// result reads how a program ended, as noted by its pod. It returns nil if there is no
// note.
func (e *Executor) result(ctx context.Context, ts taskState) (*pod.Result, error) {
	s, err := e.store(ctx, ts.Store)
	if err != nil {
		return nil, err
	}
	b, err := s.Note(ctx, pod.ResultNote(ts.note()))
	if errors.Is(err, artifact.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var res pod.Result
	if err := json.Unmarshal(b, &res); err != nil {
		return nil, fmt.Errorf("the result of %s in the store: %w", ts.Unit, err)
	}
	return &res, nil
}

// lookAtService returns the status of a service. If the service is not ready, the
// message quotes its pods, and the returned pod is the one that it is about, if any.
// Deleted pods do not count: the cluster replaces them.
func (e *Executor) lookAtService(ctx context.Context, l *link, ts taskState, d *appsv1.Deployment, all []*corev1.Pod, known map[ending]bool) (st state.Status, _ *corev1.Pod, err error) {
	var pods []*corev1.Pod
	for _, p := range all {
		if p.DeletionTimestamp == nil {
			pods = append(pods, p)
		}
	}
	st = state.Status{Phase: state.Running, Started: d.CreationTimestamp.UTC()}
	if ts.available(d) {
		if st.Message, err = ts.says(ctx, l, d, pods); err != nil {
			return st, nil, err
		}
		if ts.Service == "" {
			st.Phase = state.Ready
			return st, nil, nil
		}
		leads, err := ts.leads(ctx, l)
		if err != nil || leads {
			st.Phase = state.Ready
		}
		return st, nil, err
	}
	if p := ts.died(&st, pods, known); p != nil {
		return st, p, nil
	}
	if p := last(pods); p != nil {
		switch c := podCondition(p, corev1.PodScheduled); {
		case c == nil:
		case c.Reason == corev1.PodReasonSchedulingGated:
			st.Queued, st.Started = true, time.Time{}
		case c.Status == corev1.ConditionTrue:
			st.Started = c.LastTransitionTime.UTC()
		}
	}
	y, p, err := ts.unready(ctx, l, d, pods)
	if st.Message, st.Lacking = y.message, y.lacking(); y.final {
		st.Phase = state.Failed
	}
	if p != nil && ts.Routed {
		st.Message += e.faults(ctx, ts, p)
	}
	return st, p, err
}

// available reports whether all pods of a deployment are ready, and have been for as long
// as it asks. Of one whose number of pods follows the load, the fewest are enough.
func (ts taskState) available(d *appsv1.Deployment) bool {
	want := int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	if r := ts.Replicas; r != nil {
		want = min(want, max(int32(r.Min), 1))
	}
	return d.Status.ObservedGeneration >= d.Generation && d.Status.AvailableReplicas >= want && d.Status.UpdatedReplicas >= want
}

// leads reports whether the Service of the unit selects this version.
func (ts taskState) leads(ctx context.Context, l *link) (bool, error) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: ts.Service}}
	err := l.get(ctx, s)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return ts.selectedBy(s), err
}

// selectedBy reports whether a Service selects this version.
func (ts taskState) selectedBy(s *corev1.Service) bool {
	return s.Spec.Selector[labelTask] == ts.Name || s.Spec.Selector[labelAsked] == ts.Name
}

// died sets in st how a service ended whose program stopped and is not ready again, and
// returns its pod. The cluster restarts the program by itself. Ends in known do not
// count.
func (ts taskState) died(st *state.Status, pods []*corev1.Pod, known map[ending]bool) *corev1.Pod {
	for _, p := range slices.Backward(pods) {
		for end := range endsOf(p) {
			if known[end] {
				continue
			}
			ts.explainEnd(st, nil, p)
			if st.ExitCode == 0 {
				st.Phase, st.Message = state.Failed, "exit 0, but a service must keep running"
			}
			return p
		}
	}
	return nil
}

// An ending identifies the end of one start of a container.
type ending struct {
	pod types.UID
	at  time.Time
}

// endsOf returns the last ends of those containers of a pod that are not ready again.
func endsOf(p *corev1.Pod) map[ending]bool {
	ends := map[ending]bool{}
	for _, s := range p.Status.ContainerStatuses {
		for _, t := range []*corev1.ContainerStateTerminated{s.State.Terminated, s.LastTerminationState.Terminated} {
			if t != nil && !s.Ready {
				ends[ending{p.UID, t.FinishedAt.Time}] = true
			}
		}
	}
	return ends
}

// unready returns why a running service is not ready, and the pod that shows it.
func (ts taskState) unready(ctx context.Context, l *link, d *appsv1.Deployment, pods []*corev1.Pod) (why, *corev1.Pod, error) {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			return explainRefusal(c.Message), nil, nil
		}
	}
	if y, p, err := ts.hindrance(ctx, l, pods); err != nil || y.message != "" {
		return y, p, err
	}
	for _, p := range slices.Backward(pods) {
		if isReady(p) {
			continue
		}
		message, err := l.lastEventOf(ctx, p.UID, "Unhealthy")
		if err != nil || message != "" {
			return why{explainProbe(p, message), false}, p, err
		}
	}
	return why{"not ready yet", false}, last(pods), nil
}

func isReady(p *corev1.Pod) bool {
	c := podCondition(p, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// podsOf lists the pods of a task.
func (l *link) podsOf(ctx context.Context, task string) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := l.list(ctx, &list, metav1.ListOptions{LabelSelector: labelTask + "=" + task}); err != nil {
		return nil, err
	}
	var all []*corev1.Pod
	for i := range list.Items {
		all = append(all, &list.Items[i])
	}
	return all, nil
}

// decisivePod returns the pod that determines the status of a job: the first one that
// failed by itself, otherwise the one whose outputs are the job's. It returns nil if
// there is neither.
func decisivePod(pods []*corev1.Pod) *corev1.Pod {
	decisive := last(pods)
	for _, p := range slices.Backward(pods) {
		if p.Labels[batchv1.JobCompletionIndexAnnotation] == "0" {
			decisive = p
		}
	}
	var first time.Time
	for _, p := range pods {
		if at := failedAt(p); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first, decisive = at, p
		}
	}
	return decisive
}

// failedAt returns when a pod failed by itself, rather than because another pod of its job
// did.
func failedAt(p *corev1.Pod) time.Time {
	if c := disrupted(p); c != nil {
		return c.LastTransitionTime.Time
	}
	if end := terminated(p); end != nil && end.ExitCode != 0 && !asked(p) {
		return end.FinishedAt.Time
	}
	return time.Time{}
}

// last returns the newest pod, or nil.
func last(pods []*corev1.Pod) *corev1.Pod {
	if len(pods) == 0 {
		return nil
	}
	return slices.MaxFunc(pods, func(a, b *corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
}
