package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// create makes the job of a task, which does not run yet.
func (e *Executor) create(ctx context.Context, st *taskState, t executors.Task) error {
	st.Token = newToken()
	need, err := e.need(ctx, *st, t)
	if err != nil {
		return err
	}
	return e.client.create(ctx, *st, e.jobOf(*st, t, need))
}

// appNeeds are what the container of a task consists of.
type appNeeds struct {
	image, identity, client string // the identity with its resource id and its client id
	command                 []string
	secrets                 map[string]string // URLs, by variable of the container
	container
}

// need returns what the container of a task needs, after [Executor.supply].
func (e *Executor) need(ctx context.Context, st taskState, t executors.Task) (appNeeds, error) {
	need, task, err := e.supply(ctx, st, t)
	if err != nil {
		return need, err
	}
	if st.Workspace != "" {
		task.Claim = &pod.Claim{Task: st.Run, Start: st.Token}
	}
	need.command, err = e.bucket(st).Command(ctx, st.Unit, task, pod.Work+"/end")
	return need, err
}

// supply pushes the image of a task and uploads what it reads. It returns what its container needs but for a command, and
// what that has to do.
func (e *Executor) supply(ctx context.Context, st taskState, t executors.Task) (need appNeeds, task pod.Task, err error) {
	w, bucket := e.names(), e.bucket(st)
	if _, err := e.codeOf(ctx, st); err != nil {
		return need, task, err
	}
	task, err = bucket.Send(ctx, t,
		func(ctx context.Context) (err error) {
			need.image, err = e.image(ctx, t)
			return err
		},
		func(ctx context.Context) (err error) {
			need.identity = w.id("Microsoft.ManagedIdentity/userAssignedIdentities", w.identity(st.Unit))
			is, err := e.client.property(ctx, need.identity, identityVersion)
			need.client = is.Properties.Client
			return err
		},
		func(ctx context.Context) (err error) {
			need.secrets, err = e.secrets(ctx, t)
			return err
		},
		func(ctx context.Context) error {
			if t.Route == nil {
				return nil
			}
			return e.run(st).PutRoute(ctx, *t.Route)
		})
	need.container, _ = containerFor(t.Unit.Needs)
	task.Name, task.Grace, task.Places = st.start(), e.opts.Grace, bucket.Places(t)
	return need, task, err
}

// variables are those with which tenon-pod finds the identity of its unit, and looks for no other credentials.
func (need *appNeeds) variables() map[string]string {
	return map[string]string{pod.StoreEnv + "AZURE_CLIENT_ID": need.client, pod.StoreEnv + "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}
}

// containerOf returns the container of a task, and the secrets that it names.
func containerOf(t executors.Task, need appNeeds) (appContainer, []appSecret) {
	c := appContainer{
		Name: containerName, Image: need.image, Command: need.command[:1], Args: need.command[1:],
		// tenon-pod needs the identity of the unit, and looks for no other credentials.
		Env:       []appEnv{{Name: pod.StoreEnv + "AZURE_CLIENT_ID", Value: need.client}, {Name: pod.StoreEnv + "AZURE_TOKEN_CREDENTIALS", Value: "ManagedIdentityCredential"}},
		Resources: appResources{CPU: float64(need.milli) / 1000, Memory: need.memory},
	}
	var secrets []appSecret
	for _, x := range t.Unit.Secrets {
		// Names have neither capitals nor underscores. All revisions of an app share its secrets: a name has one value.
		name := "secret-" + cloud.Short(need.secrets[x.Name])
		c.Env = append(c.Env, appEnv{Name: pod.SecretEnv + x.Name, Secret: name})
		if !slices.ContainsFunc(secrets, func(s appSecret) bool { return s.Name == name }) {
			secrets = append(secrets, appSecret{Name: name, URL: need.secrets[x.Name], Identity: need.identity})
		}
	}
	return c, secrets
}

// tagsOf returns the tags of what runs a task.
func (e *Executor) tagsOf(st taskState) map[string]string {
	tags := e.names().tags()
	for k, v := range map[string]string{tagUnit: st.Unit, tagTask: st.Name, tagToken: st.Token, tagRoot: st.Root, tagAccount: st.Account, tagState: e.opts.State} {
		if v != "" {
			tags[k] = v
		}
	}
	return tags
}

// identified returns an identity, with its resource id.
func identified(id string) *appIdentity {
	return &appIdentity{Type: "UserAssigned", IDs: map[string]struct{}{id: {}}}
}

// registries returns the registry of images, to which an identity has access.
func (w *writer) registries(identity string) []appRegistry {
	return []appRegistry{{Server: strings.ToLower(w.registry()) + ".azurecr.io", Identity: identity}}
}

// jobOf returns the job of a task. It makes one attempt.
func (e *Executor) jobOf(st taskState, t executors.Task, need appNeeds) appJob {
	w := e.names()
	c, secrets := containerOf(t, need)
	return appJob{
		Location: w.Location, Tags: e.tagsOf(st), Identity: identified(need.identity),
		Properties: appJobProperties{
			Environment: w.id("Microsoft.App/managedEnvironments", w.environment(open(&t.Unit))), Profile: need.profile,
			Configuration: &appSettings{
				Trigger: "Manual", Manual: appManual{Parallelism: 1, Completions: 1},
				Timeout:    int64((cmp.Or(t.Unit.Timeout, longestTime) + time.Second - 1) / time.Second), // if this machine is gone by then
				Registries: w.registries(need.identity), Secrets: secrets,
			},
			Template: &appTemplate{Containers: []appContainer{c}},
		},
	}
}

// secrets returns the URLs of the secrets of a task in Key Vault. Values that exist on Azure are used as they are.
// Others are those of this machine: the vault that the infrastructure made gets them.
func (e *Executor) secrets(ctx context.Context, t executors.Task) (all map[string]string, err error) {
	w := e.names()
	all = map[string]string{}
	for _, x := range t.Unit.Secrets {
		if id := w.Existing.Secrets[x.Env]; id != "" {
			parts := strings.Split(id, "/")
			all[x.Name] = e.client.secretAt(parts[len(parts)-3], parts[len(parts)-1])
		} else if all[x.Name], err = e.client.keepSecret(ctx, w.global(), secretName(x.Env), t.Env[x.Name]); err != nil {
			return nil, fmt.Errorf("secret %s: %w", x.Name, err)
		}
	}
	return all, nil
}

// begin starts the only execution of a job. If the job was found, the apply that created it was killed, perhaps just
// after it had started the execution.
func (e *Executor) begin(ctx context.Context, st *taskState, found bool) error {
	if err := e.provisioned(ctx, *st); err != nil {
		return err
	}
	runs, err := e.client.executions(ctx, *st)
	if err == nil && len(runs) == 0 && found {
		runs, err = e.settle(ctx, *st)
	}
	if err != nil || len(runs) > 0 {
		return errors.Join(err, e.only(ctx, *st, runs))
	}
	e.mu.Lock()
	e.begun[st.start()] = time.Now()
	e.mu.Unlock()
	for try := 1; ; try++ {
		refused := e.client.start(ctx, *st)
		if refused == nil {
			return nil
		}
		// Its answer may be lost.
		if runs, err := e.settle(ctx, *st); err != nil || len(runs) > 0 {
			return err
		}
		if !isStatus(refused, http.StatusTooManyRequests) || try == mostTries {
			err := explainCall("start the job "+st.Run, refused)
			var is *refusal
			if errors.As(refused, &is) { // so nothing runs
				err = errors.Join(err, e.client.remove(context.WithoutCancel(ctx), *st))
			}
			return err
		}
	}
}

// mostTries is how often a start is tried that Azure refuses because there are too many.
const mostTries = 4

// provisioned returns once a job can be started. One that cannot is removed, so that the next apply makes another.
func (e *Executor) provisioned(ctx context.Context, st taskState) error {
	for pause := e.opts.Pause; ; pause = min(2*pause, e.opts.Longest) {
		var job appJob
		there, err := e.client.job(ctx, st, &job)
		switch {
		case err != nil:
			return err
		case !there:
			return fmt.Errorf("the job %s was removed while it started: apply again", st.Run)
		case job.Properties.State == "Succeeded":
			return nil
		case job.Properties.State == "Failed" || job.Properties.State == "Canceled":
			return errors.Join(fmt.Errorf("the job %s could not be made: see its activity log in the portal, and apply again", st.Run), e.client.remove(context.WithoutCancel(ctx), st))
		}
		if err := cloud.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// settle waits as long as Container Apps may take to list an execution that was started.
func (e *Executor) settle(ctx context.Context, st taskState) (runs []appExecution, err error) {
	for end := time.Now().Add(e.opts.Settle); len(runs) == 0 && err == nil && time.Now().Before(end); {
		if err = cloud.Sleep(ctx, e.opts.Pause); err == nil {
			runs, err = e.client.executions(ctx, st)
		}
	}
	return runs, err
}

// only ends all executions but the first. A killed apply may have left another if Container Apps did not list the first
// in time.
func (e *Executor) only(ctx context.Context, st taskState, runs []appExecution) error {
	for _, x := range runs[min(1, len(runs)):] {
		if err := e.client.stop(ctx, st, x.Name); err != nil {
			return err
		}
	}
	return nil
}

// endPatience is how long a job may take to end that was asked to: Container Apps kill its program after 30 s, and take
// some time to notice.
const endPatience = 5 * time.Minute

// end ends the executions of a task, and returns once its job is removed.
func (e *Executor) end(ctx context.Context, st taskState) error {
	ctx, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	runs, err := e.client.executions(ctx, st)
	if err == nil && len(runs) == 0 {
		runs, err = e.settle(ctx, st)
	}
	if run := e.run(st); len(runs) > 0 && !runs[0].over() {
		run.SaveLog(ctx, &followed{e: e, st: st, soon: true, execution: runs[0].Name})
	}
	asked, removed := map[string]bool{}, false
	for pause := e.opts.Pause; err == nil; pause = min(2*pause, e.opts.Longest) {
		active := false
		for _, x := range runs {
			if !x.over() {
				active = true
				if !asked[x.Name] {
					asked[x.Name] = true
					if err := e.client.stop(ctx, st, x.Name); err != nil {
						return err
					}
				}
			}
		}
		if !active && !removed {
			removed = true
			if err := e.client.remove(ctx, st); err != nil {
				return err
			}
		}
		if there, err := e.client.job(ctx, st, &appJob{}); err != nil || !there {
			return err
		}
		if cloud.Sleep(ctx, pause) != nil {
			return fmt.Errorf("the job %s was asked to end %s ago and is still there: see it in the portal", st.Run, endPatience)
		}
		runs, err = e.client.executions(ctx, st)
	}
	return err
}
