package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner"
	"github.com/tenon-ml/tenon/planner/state"
)

// A detachedProgram is a tenon that runs in the cluster: an apply in a Job, or a controller in a
// Deployment. If its pod is lost, the cluster creates another one, which continues from the
// state. It implements [executors.DetachedProgram].
type detachedProgram struct {
	e        *Executor
	name     string // of its objects
	controls bool   // it is a controller
}

var _ executors.DetachedProgram = detachedProgram{}

// String names it in errors.
func (d detachedProgram) String() string {
	if d.controls {
		return "the controller " + d.name
	}
	return "the detached apply " + d.name
}

// detachedTries is how often tenon itself may fail. Evictions and lost nodes do not
// count.
const detachedTries = 6

// detachedGrace is how long tenon has to stop the running units when the apply is
// ended.
const detachedGrace = 5 * time.Minute

// DetachedStore returns the store of the target. It fails if the target has no settings
// for a detached apply.
func (e *Executor) DetachedStore(context.Context) (string, error) {
	if e.opts.Cluster != nil {
		return e.opts.Store, errors.New("tenon makes the cluster of this target, and a pod cannot change what it runs in: run tenon where OpenTofu is, without --detach")
	}
	if e.opts.Detached == nil {
		return e.opts.Store, errors.New("add detached: {state_secret: NAME}, a Secret with TENON_STATE as pods reach it, and a service account from `tenon rbac`")
	}
	return e.opts.Store, nil
}

// KeepsSecrets returns false: a Secret of the cluster has the values.
func (e *Executor) KeepsSecrets() bool { return false }

// Pack publishes the images of a plan from this machine, because pods may pull images
// but not push them.
func (e *Executor) Pack(ctx context.Context, p *planner.Plan) (executors.Packed, error) {
	at, err := e.place()
	if err != nil {
		return executors.Packed{}, err
	}
	images, err := e.publishAll(ctx, p)
	return executors.Packed{Home: at.Context, Images: images}, err
}

// Detached returns the detached apply of a revision, or nil if the target has no
// settings for it.
func (e *Executor) Detached(lineage string, revision int) executors.DetachedProgram {
	if e.opts.Detached == nil {
		return nil
	}
	return detachedProgram{e: e, name: fmt.Sprintf("apply-%s-%d", e.opts.of(lineage), revision)}
}

// of names an environment of a state in the names of objects.
func (s Settings) of(lineage string) string {
	of := lineage[:min(8, len(lineage))]
	if s.Env != "" {
		of += "-" + s.Env
	}
	return of
}

// Job returns the name and namespace of its Job or Deployment.
func (d detachedProgram) Job() executors.Job {
	return executors.Job{Name: d.name, Namespace: d.e.opts.Namespace}
}

// detached returns the objects of a detached apply, as [Settings.detachedObjects] does.
func (s Settings) detached(name, ref string, args []string) (*corev1.ConfigMap, []object, *batchv1.Job) {
	t := detachedTask(name, "apply")
	job := &batchv1.Job{
		TypeMeta: kind("batch/v1", "Job"), ObjectMeta: s.meta(t),
		Spec: batchv1.JobSpec{
			BackoffLimit: ptr(int32(detachedTries)), Template: s.detachedPod(t, ref, args),
			PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
				{Action: batchv1.PodFailurePolicyActionFailJob, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
					Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{executors.ExitFailed, executors.ExitUsage},
				}},
				{Action: batchv1.PodFailurePolicyActionIgnore, OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
					{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
				}},
			}},
		},
	}
	return s.configMap(t), []object{s.networkPolicy(t)}, job
}

// detachedTask stands for tenon itself as a task.
func detachedTask(name, id string) executors.Task {
	return executors.Task{Name: name, Unit: ir.Unit{ID: id, Kind: ir.Job, Network: ir.NetworkOpen}}
}

// detachedPod returns the template of the pods that run tenon with args.
func (s Settings) detachedPod(t executors.Task, ref string, args []string) corev1.PodTemplateSpec {
	template := s.pod(t, ref, "", 0)
	spec := &template.Spec
	spec.ServiceAccountName, spec.AutomountServiceAccountToken = s.Detached.ServiceAccount, ptr(true)
	spec.TerminationGracePeriodSeconds = ptr(seconds(detachedGrace))
	c := &spec.Containers[0]
	c.Command = append([]string{image.TenonPath}, args...)
	c.WorkingDir, c.TerminationMessagePolicy = pod.Work, corev1.TerminationMessageFallbackToLogsOnError
	c.Env = []corev1.EnvVar{{Name: "HOME", Value: pod.Work}}
	c.EnvFrom = []corev1.EnvFromSource{fromSecret(s.Detached.StateSecret)}
	if s.StoreSecret != "" {
		c.EnvFrom = append(c.EnvFrom, fromSecret(s.StoreSecret))
	}
	// No CPU request: tenon mostly waits, and must not block a unit that wants all CPUs
	// of a node.
	c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")}
	return template
}

func fromSecret(name string) corev1.EnvFromSource {
	return corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}}}
}

// Start creates the objects of the program, or finds them.
func (d detachedProgram) Start(ctx context.Context, launch executors.Launch) error {
	duck, err := d.e.opts.Programs.Duck(ctx)
	ref := ""
	if err == nil {
		ref, err = d.e.images.Push(ctx, image.Recipe{Base: launch.Base, Tenon: d.e.opts.Tenon, Duck: duck, Pod: d.e.opts.Pod}, d.e.repository())
	}
	if err == nil {
		err = d.e.patiently(ctx, func() error { return d.start(ctx, ref, launch) })
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", d, err)
	}
	return nil
}

func (d detachedProgram) start(ctx context.Context, ref string, launch executors.Launch) error {
	l, s, err := d.e.home(ctx)
	if err != nil {
		return err
	}
	owner, around, workload := s.detachedObjects(d, ref, launch)
	wanted := owner.DeepCopy()
	if err = l.create(ctx, owner); apierrors.IsAlreadyExists(err) {
		err = l.get(ctx, owner)
	}
	// tenon has no right to change a Deployment. One that is being removed is not kept.
	if err == nil && (d.controls && owner.DeletionTimestamp != nil || !maps.Equal(owner.Data, wanted.Data)) {
		if err = l.remove(ctx, owner); err == nil {
			err = l.gone(ctx, owner)
		}
		if err == nil {
			owner = wanted
			err = l.create(ctx, owner)
		}
	}
	if err != nil {
		return err
	}
	setOwner(owner, append(around, workload)...)
	for _, o := range around {
		if err := l.apply(ctx, o); err != nil {
			return err
		}
	}
	if err := l.create(ctx, workload); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// detachedObjects returns the objects of a program. The first owns the others, and the last one runs it.
func (s Settings) detachedObjects(d detachedProgram, ref string, launch executors.Launch) (owner *corev1.ConfigMap, around []object, workload object) {
	if d.controls {
		return s.controller(d.name, ref, launch)
	}
	return s.detached(d.name, ref, launch.Args)
}

// home returns the connection to the namespace of the target, and the settings with
// that namespace.
func (e *Executor) home(ctx context.Context) (*link, Settings, error) {
	p, err := e.place()
	if err != nil {
		return nil, Settings{}, err
	}
	l, err := e.at(ctx, p)
	s := e.opts.Settings
	s.Namespace = p.Namespace
	return l, s, err
}

// Status returns the status of the Job or the Deployment. While a Job replaces a lost pod, the
// apply counts as running.
func (d detachedProgram) Status(ctx context.Context) (st state.Status, err error) {
	err = d.e.patiently(ctx, func() error {
		st, err = d.look(ctx)
		return err
	})
	if err != nil {
		return st, fmt.Errorf("inspect %s: %w", d, err)
	}
	return st, nil
}

func (d detachedProgram) look(ctx context.Context) (state.Status, error) {
	l, _, err := d.e.home(ctx)
	if err != nil {
		return state.Status{}, err
	}
	if d.controls {
		return d.lookAtController(ctx, l)
	}
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: d.name}}
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
	pods, err := l.podsOf(ctx, d.name)
	if err != nil {
		return st, err
	}
	if failed(job) {
		ts := taskState{Name: d.name}
		st.Phase, st.Message = state.Failed, explainJob(job)
		if p := last(pods); p != nil {
			ts.explainEnd(&st, nil, p)
			st.Phase = state.Failed
			st.Message += lastOutput(p)
		}
		return st, nil
	}
	y, err := d.e.delay(ctx, l, taskState{Name: d.name}, job, current(job, pods))
	st.Message = y.message
	if p := last(pods); st.Message == "" && p != nil && p.Status.Phase == corev1.PodFailed {
		st.Message = "its last pod did not finish, and another one is being created: see tenon logs"
	}
	return st, err
}

// lastOutput quotes the last line that tenon printed in a pod that has ended.
func lastOutput(p *corev1.Pod) string {
	end := terminated(p)
	if end == nil || end.Message == "" { // the tail of its log
		return ""
	}
	lines := strings.Split(strings.TrimSpace(end.Message), "\n")
	return ", last output: " + oneLine(lines[len(lines)-1])
}

// Ending reports whether the ConfigMap of the program is being deleted. A lost pod does not
// count: the ConfigMap stays and the cluster creates another pod.
func (d detachedProgram) Ending(ctx context.Context) (bool, error) {
	l, _, err := d.e.home(ctx)
	if err != nil {
		return false, err
	}
	owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: d.name}}
	err = l.get(ctx, owner)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	return err == nil && owner.DeletionTimestamp != nil, err
}

// End deletes the ConfigMap of the program, and all that it owns. It waits until the pod has
// stopped what it runs.
func (d detachedProgram) End(ctx context.Context) error {
	err := d.e.patiently(ctx, func() error {
		l, _, err := d.e.home(ctx)
		if err != nil {
			return err
		}
		owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: d.name}}
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
		return fmt.Errorf("stop %s: %w", d, err)
	}
	return nil
}

// Log copies the output of each pod of the program that still exists.
func (d detachedProgram) Log(ctx context.Context, to io.Writer, follow bool) error {
	err := d.log(ctx, to, follow)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("log of %s: %w", d, err)
	}
	return nil
}

func (d detachedProgram) log(ctx context.Context, to io.Writer, follow bool) error {
	l, _, err := d.e.home(ctx)
	if err != nil {
		return err
	}
	changed, end := l.watch(d.name)
	defer end()
	if err := l.ready(ctx, d.e.opts.Patience, jobs, pods); err != nil {
		return err
	}
	seen := map[types.UID]bool{}
	waits := ""
	for {
		st, err := d.look(ctx)
		if err != nil {
			return err
		}
		for _, p := range of[*corev1.Pod](l.watcher, d.name) {
			if seen[p.UID] || !started(p) {
				continue
			}
			seen[p.UID] = true
			if err := l.copyLog(ctx, p, to, follow); err != nil && !apierrors.IsNotFound(errors.Unwrap(err)) {
				return err
			}
		}
		known := !slices.ContainsFunc(of[*corev1.Pod](l.watcher, d.name), func(p *corev1.Pod) bool { return !seen[p.UID] })
		ended := st.Phase != state.Running && (!d.controls || st.Phase == state.Absent) // a controller is started again
		if !follow || ended && known {
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
		if err := l.broken(d.e.opts.Patience); err != nil {
			return err
		}
	}
}
