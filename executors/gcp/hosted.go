package gcp

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A deployment that says so has an endpoint of Vertex AI, whose name never changes. A task has a model for each version
// that it runs, and each model is deployed at the endpoint, on machines of its own. The endpoint divides its requests among
// deployed models. They go where they went before until those of a new task were seen ready.
//
// Nothing is made twice, because all names are Tenon's: that of the endpoint follows from the unit, those of models from the
// task, and the ids of deployed models from the task and its start, which a label of its models says. Vertex AI refuses a
// name that exists. An endpoint is changed by one operation at a time, so that one that was begun by an apply which was killed
// is seen and waited for.

// Labels of models and endpoints besides those of all resources.
const (
	labelOwner  = "tenon-owner"  // of an endpoint: its unit and state
	labelShare  = "tenon-share"  // of a model: percent of the requests at first
	labelSerial = "tenon-serial" // of a model: of its first route
	labelRoute  = "tenon-route"  // of an endpoint: serial of its route, and since when, in milliseconds
)

// versionEnv is the variable with which a model says which version it is.
const versionEnv = "TENON_VERSION"

// Limits of the time that a version may take to become ready.
const (
	usualDeploy = 30 * time.Minute
	mostDeploy  = 2 * time.Hour
	// machineTime is how long Vertex AI may take besides to find machines.
	machineTime = 30 * time.Minute
)

// deployTime returns how long the container of a deployment may take to become ready.
func deployTime(u *ir.Unit) time.Duration { return min(cmp.Or(u.Timeout, usualDeploy), mostDeploy) }

// deployed returns the id of a deployed model: ten digits.
func (st taskState) deployed(variant string) string {
	sum := sha256.Sum256([]byte(st.Run + "\n" + variant + "\n" + st.Token))
	const least = 1_000_000_000
	return strconv.FormatUint(least+binary.BigEndian.Uint64(sum[:8])%(9*least), 10)
}

// owner returns what the label of the endpoint of a task says.
func (st taskState) owner() string {
	sum := sha256.Sum256([]byte(st.State + "\n" + st.Unit))
	return hex.EncodeToString(sum[:8])
}

// endpointOf completes the state of a task with what names its endpoint and its models.
func (e *Executor) endpointOf(st *taskState) {
	e.revisionOf(st, st.Unit)
	st.Endpoint, st.Service, st.Idle = st.Service, "", false
	st.URL = e.client.vertexAt(st.Region) + "/v1/" + st.endpoint() + ":rawPredict"
}

// hosts reads the endpoint of a task. It returns nil if there is none, and an error if it is that of another state.
func (e *Executor) hosts(ctx context.Context, st taskState) (*hostedEndpoint, error) {
	x := &hostedEndpoint{}
	there, err := e.client.vertexGet(ctx, st, st.endpoint(), x)
	if err != nil || !there {
		return nil, err
	}
	if x.Labels[labelOwner] != st.owner() {
		return nil, fmt.Errorf("the region %s already has an endpoint %s of Vertex AI, which is not of this state: choose another prefix or region", st.Region, st.Endpoint)
	}
	return x, nil
}

// takeModel completes the state of a task with what a model of a variant says.
func (st *taskState) takeModel(m hostedModel, variant, task string) error {
	if m.Labels[labelTask] != task || m.Labels[labelStart] == "" {
		return fmt.Errorf("the region %s has a model %s of Vertex AI that this state has not made: choose another prefix or region", st.Region, m.Name)
	}
	st.Token = m.Labels[labelStart]
	if st.Versions == nil {
		st.Versions, st.Shares = map[string]string{}, map[string]int{}
	}
	share, _ := strconv.Atoi(m.Labels[labelShare]) // as it was written
	st.Serial, _ = strconv.ParseInt(m.Labels[labelSerial], 10, 64)
	st.Versions[variant], st.Shares[variant] = m.env(versionEnv), share
	return nil
}

func (m *hostedModel) env(name string) string {
	if m.Container == nil {
		return ""
	}
	i := slices.IndexFunc(m.Container.Env, func(v customEnv) bool { return v.Name == name })
	if i < 0 {
		return ""
	}
	return m.Container.Env[i].Value
}

// host deploys the versions of a task, or finds them. They get no requests before [Executor.takeOver].
func (e *Executor) host(ctx context.Context, st *taskState, t executors.Task) error {
	e.endpointOf(st)
	if _, err := e.hosts(ctx, *st); err != nil {
		return err
	}
	if _, err := e.codeOf(ctx, *st); err != nil {
		return err
	}
	variants := cloud.VariantsOf(t)
	m, _ := e.opts.hostOf(&t.Unit)
	st.Machine = m.name
	st.Token = newToken()
	if t.Route != nil {
		st.Serial = t.Route.Serial
	}
	for _, v := range variants {
		if err := e.upload(ctx, st, v); err != nil {
			return err
		}
	}
	for i, v := range variants {
		op, err := e.deployAt(ctx, st, v.Name, t.Unit)
		if err == nil && i < len(variants)-1 {
			err = e.operated(ctx, *st, op)
		}
		if err != nil {
			return err
		}
		st.Operation = op
	}
	return nil
}

// upload makes the model of a variant, or finds it. Its container runs tenon-pod.
func (e *Executor) upload(ctx context.Context, st *taskState, v cloud.Variant) error {
	var body *hostedModel
	return e.hosting(ctx, "upload the model "+st.Run+"-"+v.Name, func(ctx context.Context) (bool, error) {
		var had hostedModel
		there, err := e.client.vertexGet(ctx, *st, st.model(v.Name), &had)
		if err != nil {
			return false, err
		}
		if there {
			return true, st.takeModel(had, v.Name, e.runName(st.Name))
		}
		if body == nil {
			if body, err = e.modelOf(ctx, *st, v); err != nil {
				return false, err
			}
		}
		op, err := e.client.uploadModel(ctx, *st, st.Run+"-"+v.Name, *body)
		return false, e.ended(ctx, *st, op, err)
	})
}

// modelOf sends what a variant needs, and returns its model.
func (e *Executor) modelOf(ctx context.Context, st taskState, v cloud.Variant) (*hostedModel, error) {
	var image string
	bucket := e.bucket(st)
	task, err := bucket.Send(ctx, v.Task, func(ctx context.Context) (err error) {
		image, err = e.images.Of(ctx, v.Task, e.names().registry())
		return err
	})
	if err != nil {
		return nil, err
	}
	task.Name, task.Grace, task.Places = st.start(), e.opts.Grace, bucket.Places(v.Task)
	command, err := bucket.Command(ctx, st.Unit, task, pod.Work+"/end")
	if err != nil {
		return nil, err
	}
	labels := e.names().labels()
	labels["tenon-unit"], labels[labelTask], labels[labelStart] = labelOf(st.Unit), e.runName(st.Name), st.Token
	labels[labelShare], labels[labelSerial] = strconv.Itoa(v.Share), strconv.FormatInt(st.Serial, 10)
	p := v.Task.Unit.Endpoint
	return &hostedModel{Display: st.start() + "-" + v.Name, Labels: labels, Container: &modelContainer{
		Image: image, Command: command[:1], Args: command[1:], Ports: []runPort{{p.Port}}, Predict: "/predict", Health: cmp.Or(p.Ready, "/"), Timeout: seconds(deployTime(&v.Task.Unit)),
		Env: []customEnv{{unitEnv, st.Unit}, {versionEnv, v.Task.Version}, {step.Platform, step.Vertex}},
	}}, nil
}

// deployAt gives the model of a variant machines at the endpoint, which it makes if there is none. It returns the operation that
// does so, or "" if that has ended. A model that an apply which was killed has deployed keeps the machines that it has, whatever the
// target says now: the state of the task says so, and the next plan moves it.
func (e *Executor) deployAt(ctx context.Context, st *taskState, variant string, u ir.Unit) (begun string, err error) {
	err = e.hosting(ctx, "deploy "+st.Run+"-"+variant, func(ctx context.Context) (bool, error) {
		x, err := e.hosts(ctx, *st)
		if err != nil {
			return false, err
		}
		if x == nil {
			labels := e.names().labels()
			labels["tenon-unit"], labels[labelOwner] = labelOf(st.Unit), st.owner()
			op, err := e.client.createEndpoint(ctx, *st, hostedEndpoint{Display: st.Endpoint, Labels: labels})
			return false, e.ended(ctx, *st, op, err)
		}
		if d, there := x.runs(*st)[variant]; there {
			st.Machine = d.Resources.Machine.Type
			return true, nil
		}
		if other, err := e.client.running(ctx, *st); err != nil || other != "" { // which may deploy this one
			return false, err
		}
		op, err := e.client.deployModel(ctx, *st, e.deployedOf(*st, variant, u))
		if err != nil || op == nil {
			return false, err
		}
		begun = op.Name
		return true, nil
	})
	return begun, err
}

// deployedOf returns a deployed model.
func (e *Executor) deployedOf(st taskState, variant string, u ir.Unit) deployedModel {
	m, _ := e.opts.hostOf(&u)
	least, most := cloud.Replicas(u.Endpoint)
	r := hostedResources{Machine: customMachine{m.name, m.accelerator, m.gpus}, Least: least, Most: most}
	if s := u.Endpoint.Scale; s != nil && s.CPU > 0 {
		r.Metrics = []hostedMetric{{"aiplatform.googleapis.com/prediction/online/cpu/utilization", s.CPU}}
	}
	return deployedModel{ID: st.deployed(variant), Model: st.model(variant), Display: st.Run + "-" + variant, Account: e.names().email(st.Unit), Resources: r}
}

// hosting calls do until it is done, as long as Vertex AI may take for a version.
func (e *Executor) hosting(ctx context.Context, what string, do func(context.Context) (bool, error)) error {
	return e.within(ctx, mostDeploy+machineTime, what, do)
}

// ended waits until an operation has ended that a call began, unless the call failed or began none.
func (e *Executor) ended(ctx context.Context, st taskState, op *operation, err error) error {
	if err != nil || op == nil {
		return err
	}
	return e.operated(ctx, st, op.Name)
}

// operated waits until an operation has ended, and returns its error.
func (e *Executor) operated(ctx context.Context, st taskState, name string) error {
	if name == "" {
		return nil
	}
	return e.hosting(ctx, "wait for "+name, func(ctx context.Context) (bool, error) {
		var op operation
		there, err := e.client.vertexGet(ctx, st, name, &op)
		if err != nil || !there {
			return true, err
		}
		if op.Error != nil {
			return true, hostedError(op.Error.Message)
		}
		return op.Done, nil
	})
}

// searchHosted completes the state of a task with what Vertex AI has of it, given its name. A task is there once its first model
// is.
func (e *Executor) searchHosted(ctx context.Context, st *taskState) (bool, error) {
	task := e.runName(st.Name)
	all, err := e.client.modelsOf(ctx, *st, labelTask, task)
	if err != nil || len(all) == 0 {
		return false, err
	}
	st.Unit, st.State = all[0].env(unitEnv), e.opts.State
	if st.Unit == "" {
		return false, fmt.Errorf("the model %s has the label %s, and tenon has not made it: remove it", all[0].Name, labelTask)
	}
	e.endpointOf(st)
	for _, m := range all {
		for _, variant := range []string{cloud.MainVariant, cloud.NextVariant} {
			if short(m.Name) == short(st.model(variant)) {
				if err := st.takeModel(m, variant, task); err != nil {
					return false, err
				}
			}
		}
	}
	x, err := e.hosts(ctx, *st)
	if err != nil {
		return false, err
	}
	if x != nil {
		for _, d := range x.runs(*st) {
			st.Machine = d.Resources.Machine.Type
		}
	}
	st.Operation, err = e.client.running(ctx, *st)
	return len(st.Versions) > 0, err
}

// lookHosted returns the status of a task at an endpoint. It is ready once all of its models are deployed, or, after it has
// answered, those that a release has left.
func (f *followed) lookHosted(ctx context.Context) (state.Status, error) {
	absent := state.Status{Phase: state.Absent}
	x := &hostedEndpoint{}
	there, err := f.e.client.vertexGet(ctx, f.st, f.st.endpoint(), x)
	if err != nil || !there || x.Labels[labelOwner] != f.st.owner() {
		return absent, err
	}
	own := x.runs(f.st)
	if len(own) < len(f.st.Versions) && f.st.Operation != "" {
		var op operation
		there, err := f.e.client.vertexGet(ctx, f.st, f.st.Operation, &op)
		switch {
		case err != nil:
			return absent, err
		case there && op.Error != nil:
			why := hostedError(op.Error.Message).Error()
			return state.Status{Phase: state.Failed, Message: why, Lacking: cloud.Lacks(why, lacking)}, nil
		case there && !op.Done:
			return state.Status{Phase: state.Running, Queued: true, Message: "Vertex AI prepares machines for it"}, nil
		case there && x.Labels[labelStart] != f.st.Token: // it has ended between the two looks
			x = &hostedEndpoint{}
			if there, err := f.e.client.vertexGet(ctx, f.st, f.st.endpoint(), x); err != nil || !there {
				return absent, err
			}
			own = x.runs(f.st)
		}
	}
	if len(own) == 0 || len(own) < len(f.st.Versions) && x.Labels[labelStart] != f.st.Token {
		return absent, nil // an apply was killed before it had deployed all of them
	}
	now := state.Status{Phase: state.Ready}
	for _, d := range own {
		if t := d.CreateTime.UTC(); t.After(now.Started) {
			now.Started = t
		}
	}
	if n := x.share(f.st); n < 100 && len(x.Traffic) > 0 {
		now.Message = fmt.Sprintf("%d %% of the requests go to it", n)
	}
	return now, nil
}

// hostedFilter selects what the containers of a task have printed.
func (st taskState) hostedFilter() string {
	ids := ""
	for _, variant := range slices.Sorted(maps.Keys(st.Versions)) {
		if ids != "" {
			ids += " OR "
		}
		ids += strconv.Quote(st.deployed(variant))
	}
	return fmt.Sprintf(`resource.type="aiplatform.googleapis.com/Endpoint" AND resource.labels.endpoint_id=%q AND resource.labels.location=%q AND logName=%q AND labels.deployed_model_id=(%s)`,
		st.Endpoint, st.Region, "projects/"+st.Project+"/logs/aiplatform.googleapis.com%2Fprediction_container", ids)
}

// unhost removes the models of a task from the endpoint, and with the last ones the endpoint. Requests of a task that is given up
// go to another one first, if there is one.
func (e *Executor) unhost(ctx context.Context, st taskState) error {
	asked, drained := false, false
	return e.hosting(ctx, "remove "+st.start(), func(ctx context.Context) (bool, error) {
		later, err := e.startedAgain(ctx, st)
		if err != nil || later {
			return true, err
		}
		x := &hostedEndpoint{}
		there, err := e.client.vertexGet(ctx, st, st.endpoint(), x)
		if err != nil {
			return false, err
		}
		if !there || x.Labels[labelOwner] != st.owner() {
			return true, e.removeModels(ctx, st)
		}
		if op, err := e.client.running(ctx, st); err != nil || op != "" {
			if op == st.Operation && !asked && err == nil {
				asked, err = true, e.client.cancelOperation(ctx, st, op)
			}
			return false, err
		}
		own := x.runs(st)
		to := successor(x, own)
		first, more := own[cloud.NextVariant] // of two, the challenger goes first
		if !more {
			first = own[cloud.MainVariant]
		}
		last := to == nil && len(own) == 1
		var op *operation
		switch {
		case to != nil && x.share(st) > 0:
			err = e.handOver(ctx, st, x, *to)
		case !last && x.Traffic[first.ID] > 0:
			err = e.handOver(ctx, st, x, own[cloud.MainVariant])
		case len(own) > 0 && to != nil && !drained: // until requests that its machines have are answered
			drained, err = true, cloud.Sleep(ctx, e.opts.Drain)
		case len(own) > 0:
			op, err = e.client.undeployModel(ctx, st, first.ID)
		case len(x.Deployed) == 0:
			op, err = e.client.vertexRemove(ctx, st, st.endpoint())
		default:
			return true, e.removeModels(ctx, st)
		}
		return false, e.ended(ctx, st, op, err)
	})
}

// handOver sends all requests of an endpoint to a deployed model, and notes that the start which it is of has them.
func (e *Executor) handOver(ctx context.Context, st taskState, x *hostedEndpoint, to deployedModel) error {
	var m hostedModel
	id, _, _ := strings.Cut(short(to.Model), "@") // without its version
	there, err := e.client.vertexGet(ctx, st, st.place()+"/models/"+id, &m)
	if err != nil || !there {
		return err
	}
	_, err = e.client.split(ctx, st, x, map[string]int{to.ID: 100}, map[string]string{labelStart: m.Labels[labelStart], labelRoute: ""})
	return err
}

// startedAgain reports whether the models of a task are those of a later start.
func (e *Executor) startedAgain(ctx context.Context, st taskState) (bool, error) {
	var m hostedModel
	there, err := e.client.vertexGet(ctx, st, st.model(cloud.MainVariant), &m)
	return there && m.Labels[labelStart] != st.Token, err
}

// successor returns the deployed model that answers instead of those of a task: the youngest one of another task, the champion if
// there are two. It returns nil if there is none.
func successor(x *hostedEndpoint, own map[string]deployedModel) (best *deployedModel) {
	rank := func(d *deployedModel) int64 {
		if d.Display[max(0, len(d.Display)-len(cloud.NextVariant)):] == cloud.NextVariant {
			return d.CreateTime.UnixNano() - int64(mostDeploy+machineTime) // the champion was deployed before it
		}
		return d.CreateTime.UnixNano()
	}
	for i := range x.Deployed {
		d := &x.Deployed[i]
		if slices.ContainsFunc(slices.Collect(maps.Values(own)), func(o deployedModel) bool { return o.ID == d.ID }) {
			continue
		}
		if best == nil || rank(d) > rank(best) {
			best = d
		}
	}
	return best
}

// removeModels removes the models of a task. The first one goes last, because a task is there as long as it is.
func (e *Executor) removeModels(ctx context.Context, st taskState) error {
	for _, variant := range []string{cloud.NextVariant, cloud.MainVariant} {
		if err := e.removeModel(ctx, st, variant); err != nil {
			return err
		}
	}
	return nil
}

func (e *Executor) removeModel(ctx context.Context, st taskState, variant string) error {
	return e.hosting(ctx, "remove the model "+st.Run+"-"+variant, func(ctx context.Context) (bool, error) {
		there, err := e.client.vertexGet(ctx, st, st.model(variant), &hostedModel{})
		if err != nil || !there {
			return true, err
		}
		op, err := e.client.vertexRemove(ctx, st, st.model(variant))
		return false, e.ended(ctx, st, op, err)
	})
}
