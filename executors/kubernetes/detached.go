package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
)

// A DetachedApply is an apply that goes on in the cluster: a Job that runs tenon. Its pod is
// made again when it is lost, and goes on from the state.
type DetachedApply struct {
	Name string   // of its objects
	Base string   // pinned image that has what tenon needs
	Args []string // of tenon
}

// Exit codes of a detached apply that say what its Job does. Any other one means that it is
// to be made again.
const (
	DetachedFailed = 1  // it came to its end, and something failed
	DetachedUsage  = 64 // it was called in a way that it does not know
)

// detachedTries is how often a detached apply may die by itself. That its pod is evicted or its
// node is lost does not count.
const detachedTries = 6

// detachedGrace is how long a detached apply has to end what runs, if somebody ends it.
const detachedGrace = 5 * time.Minute

// DetachedName is the name of the detached apply of a revision of the state with that lineage.
func DetachedName(lineage string, revision int) string {
	return fmt.Sprintf("apply-%s-%d", lineage[:min(8, len(lineage))], revision)
}

// walk are the objects of a detached apply. The first owns the others.
func (s Settings) detachedApply(w DetachedApply, ref string) (*corev1.ConfigMap, *networkingv1.NetworkPolicy, *batchv1.Job) {
	t := executors.Task{Name: w.Name, Unit: ir.Unit{ID: "apply", Kind: ir.Job, Network: ir.NetworkOpen}}
	template := s.pod(t, ref, "", 0)
	spec := &template.Spec
	spec.ServiceAccountName, spec.AutomountServiceAccountToken = s.Detached.ServiceAccount, ptr(true)
	spec.TerminationGracePeriodSeconds = ptr(seconds(detachedGrace))
	c := &spec.Containers[0]
	c.Command = append([]string{image.TenonPath}, w.Args...)
	c.WorkingDir, c.TerminationMessagePolicy = pod.Work, corev1.TerminationMessageFallbackToLogsOnError
	c.Env = []corev1.EnvVar{{Name: "HOME", Value: pod.Work}}
	c.EnvFrom = []corev1.EnvFromSource{fromSecret(s.Detached.StateSecret)}
	if s.StoreSecret != "" {
		c.EnvFrom = append(c.EnvFrom, fromSecret(s.StoreSecret))
	}
	// No cores: it mostly waits, and must not keep a unit that wants all of a node's from it.
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}
	job := &batchv1.Job{
		TypeMeta: kind("batch/v1", "Job"), ObjectMeta: s.meta(t),
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr(int32(detachedTries)), Template: template,
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
				{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{DetachedFailed, DetachedUsage},
				}},
				{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
					{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
				}},
			}},
		},
	}
	return s.record(t), s.networkPolicy(t), job
}

func fromSecret(name string) corev1.EnvFromSource {
	return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

// Home is the context of the target's cluster, as the kubeconfig has it.
func (e *Executor) Home() (string, error) {
	p, err := e.place()
	return p.Context, err
}

// Detach makes the objects of a detached apply, or finds them.
func (e *Executor) Detach(ctx context.Context, w DetachedApply) error {
	duck, err := e.opts.Duck(ctx)
	name := ""
	if err == nil {
		name, err = e.publish(ctx, image.Recipe{Base: w.Base, Tenon: e.opts.Tenon, Duck: duck, Pod: e.opts.Pod})
	}
	if err == nil {
		err = e.patiently(ctx, func() error { return e.detach(ctx, w, name) })
	}
	if err != nil {
		return fmt.Errorf("start the detached apply %s: %w", w.Name, err)
	}
	return nil
}

func (e *Executor) detach(ctx context.Context, w DetachedApply, ref string) error {
	l, s, err := e.home()
	if err != nil {
		return err
	}
	owner, policy, job := s.detachedApply(w, ref)
	if err = l.create(ctx, owner); apierrors.IsAlreadyExists(err) {
		err = l.get(ctx, owner)
	}
	if err != nil {
		return err
	}
	Own(owner, policy, job)
	if err := l.apply(ctx, policy); err != nil {
		return err
	}
	if err := l.create(ctx, job); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// home is the connection to the namespace of the target, with its settings there.
func (e *Executor) home() (*link, Settings, error) {
	p, err := e.place()
	if err != nil {
		return nil, Settings{}, err
	}
	l, err := e.at(p)
	s := e.opts.Settings
	s.Namespace = p.Namespace
	return l, s, err
}

// DetachedStatus tells how a detached apply stands. One that has been killed and is made again is running.
func (e *Executor) DetachedStatus(ctx context.Context, name string) (st state.Status, err error) {
	err = e.patiently(ctx, func() error {
		st, err = e.lookAtDetached(ctx, name)
		return err
	})
	if err != nil {
		return st, fmt.Errorf("look at the detached apply %s: %w", name, err)
	}
	return st, nil
}

func (e *Executor) lookAtDetached(ctx context.Context, name string) (state.Status, error) {
	l, _, err := e.home()
	if err != nil {
		return state.Status{}, err
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err = l.get(ctx, job)
	if apierrors.IsNotFound(err) || err == nil && job.DeletionTimestamp != nil {
		return state.Status{Phase: state.Absent}, nil
	}
	if err != nil {
		return state.Status{}, err
	}
	st := state.Status{Phase: state.Running, Started: job.CreationTimestamp.UTC()}
	if job.Status.CompletionTime != nil {
		st.Phase, st.Finished = state.Succeeded, job.Status.CompletionTime.UTC()
		return st, nil
	}
	pods, err := l.podsOf(ctx, name)
	if err != nil {
		return st, err
	}
	if failed(job) {
		r := record{Name: name}
		st.Phase, st.Message = state.Failed, explainJob(job)
		if p := last(pods); p != nil {
			r.explainEnd(&st, nil, p)
			st.Phase = state.Failed
			if end := terminated(p); end != nil && end.Message != "" { // the end of its log
				lines := strings.Split(strings.TrimSpace(end.Message), "\n")
				st.Message += ", and said last: " + oneLine(lines[len(lines)-1])
			}
		}
		return st, nil
	}
	y, err := e.delay(ctx, l, record{Name: name}, job, current(job, pods))
	st.Message = y.message
	if p := last(pods); st.Message == "" && p != nil && p.Status.Phase == corev1.PodFailed {
		st.Message = "its last pod did not come to the end, and another one is made: tenon logs tells more"
	}
	return st, err
}

// Ending reports whether somebody has ended a detached apply, which is then asked to end in
// order. One whose pod is lost is made again instead.
func (e *Executor) Ending(ctx context.Context, name string) (bool, error) {
	l, _, err := e.home()
	if err != nil {
		return false, err
	}
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
	err = l.get(ctx, owner)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && owner.DeletionTimestamp != nil, err
}

// EndDetached removes a detached apply, and waits until it has ended what it runs. One that is not
// there is removed.
func (e *Executor) EndDetached(ctx context.Context, name string) error {
	err := e.patiently(ctx, func() error {
		l, _, err := e.home()
		if err != nil {
			return err
		}
		owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		err = l.get(ctx, owner)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := l.remove(ctx, owner); err != nil {
			return err
		}
		return l.gone(ctx, owner)
	})
	if err != nil {
		return fmt.Errorf("end the detached apply %s: %w", name, err)
	}
	return nil
}

// DetachedLog copies what a detached apply has printed, by each of its pods that is still known.
// With follow it goes on until the detached apply has ended.
func (e *Executor) DetachedLog(ctx context.Context, name string, to io.Writer, follow bool) error {
	err := e.detachedLog(ctx, name, to, follow)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("log of the detached apply %s: %w", name, err)
	}
	return nil
}

func (e *Executor) detachedLog(ctx context.Context, name string, to io.Writer, follow bool) error {
	l, _, err := e.home()
	if err != nil {
		return err
	}
	changed, end := l.watch(name)
	defer end()
	if err := l.ready(ctx, e.opts.Patience, jobs, pods); err != nil {
		return err
	}
	told := map[types.UID]bool{}
	waits := ""
	for {
		st, err := e.lookAtDetached(ctx, name)
		if err != nil {
			return err
		}
		for _, p := range of[*corev1.Pod](l.watcher, name) {
			if told[p.UID] || !started(p) {
				continue
			}
			told[p.UID] = true
			if err := l.copyLog(ctx, p, to, follow); err != nil && !apierrors.IsNotFound(errors.Unwrap(err)) {
				return err
			}
		}
		known := !slices.ContainsFunc(of[*corev1.Pod](l.watcher, name), func(p *corev1.Pod) bool { return !told[p.UID] })
		if !follow || st.Phase != state.Running && known {
			return nil
		}
		if st.Message != waits && st.Message != "" {
			if _, err := fmt.Fprintf(to, "waits: %s\n", strings.TrimSpace(st.Message)); err != nil {
				return err
			}
		}
		waits = st.Message
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-time.After(lookEvery):
		}
		if err := l.broken(e.opts.Patience); err != nil {
			return err
		}
	}
}
