package gcp

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"path"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
)

// start creates the job of a task. Its execution is created with it, in the same call, so that there is
// one of both or none.
func (e *Executor) start(ctx context.Context, st *taskState, t executors.Task) error {
	var image string
	var secrets []runEnv
	bucket := e.bucket(*st)
	if _, err := e.codeOf(ctx, *st); err != nil {
		return err
	}
	task, err := bucket.Send(ctx, t,
		func(ctx context.Context) (err error) {
			image, err = e.images.Of(ctx, t, e.names().registry())
			return err
		},
		func(ctx context.Context) (err error) {
			secrets, err = e.secrets(ctx, t)
			return err
		})
	if err != nil {
		return err
	}
	st.Token = newToken()
	task.Name, task.Grace, task.Places = st.start(), e.opts.Grace, bucket.Places(t)
	command, err := bucket.Command(ctx, st.Unit, task, pod.Work+"/end")
	if err != nil {
		return err
	}
	created, err := e.client.create(ctx, *st, e.jobOf(*st, t, image, command, secrets))
	if err != nil || created {
		return exhausted(err)
	}
	// It is that of another tenon, or of a call whose answer was lost.
	there, err := e.find(ctx, st)
	if err == nil && !there {
		err = fmt.Errorf("the job %s was removed while it started: apply again", st.Run)
	}
	return err
}

// jobOf returns the job of a task.
func (e *Executor) jobOf(st taskState, t executors.Task, image string, command []string, secrets []runEnv) runJob {
	w := e.names()
	labels := w.labels()
	labels["tenon-unit"] = labelOf(st.Unit)
	notes := map[string]string{noteUnit: st.Unit, noteTask: st.Name, noteToken: st.Token, noteRoot: st.Root}
	if e.opts.State != "" {
		notes[noteState] = e.opts.State
	}
	size, _ := containerOf(t.Unit.Needs)
	task := runTask{
		Containers: []runContainer{{
			Image: image, Command: command[:1], Args: command[1:], Env: secrets,
			Resources: runResources{Limits: size.limits()},
		}},
		Timeout:        seconds((cmp.Or(t.Unit.Timeout, size.mostTime()) + time.Second - 1).Truncate(time.Second)), // if this machine is gone by then
		ServiceAccount: w.email(st.Unit), Environment: "EXECUTION_ENVIRONMENT_GEN2",
	}
	task.Node, task.OneZone = size.node()
	if !open(&t.Unit) {
		n := w.subnet()
		task.VPC = &runVPC{"ALL_TRAFFIC", []runInterface{{n.Network, n.Subnetwork}}}
	}
	return runJob{
		Labels: labels, Annotations: notes, StartExecutionToken: st.Token, Template: &runTemplate{TaskCount: 1, Labels: labels, Template: task},
	}
}

// secrets returns where Cloud Run takes the secrets of a task from. Values that exist on Google Cloud
// are used as they are. Others are those of this machine: Secret Manager gets them, in the secrets that
// the infrastructure made for them.
func (e *Executor) secrets(ctx context.Context, t executors.Task) (all []runEnv, err error) {
	w := e.names()
	for _, x := range t.Unit.Secrets {
		secret, version := w.Existing.Secrets[x.Env], "latest"
		if secret == "" {
			secret = "projects/" + w.Project + "/secrets/" + w.secretID(x.Env)
			if version, err = e.keepSecret(ctx, secret, t.Env[x.Name]); err != nil {
				return nil, fmt.Errorf("secret %s: %w", x.Name, err)
			}
		}
		all = append(all, runEnv{Name: pod.SecretEnv + x.Name, Source: runSource{runSecret{secret, version}}})
	}
	return all, nil
}

// keepSecret makes sure that a secret has a value, and returns the version that has it.
func (e *Executor) keepSecret(ctx context.Context, name, value string) (string, error) {
	now, version, ok, err := e.client.secretValue(ctx, name)
	if err != nil {
		return "", err
	}
	if !ok || now != value {
		version, err = e.client.addSecret(ctx, name, value)
		if isStatus(err, http.StatusNotFound) {
			return "", fmt.Errorf("there is no secret %s in Secret Manager: %s", name, infrastructure)
		}
		if err != nil {
			return "", explainCall("write the secret "+name, err)
		}
	}
	return path.Base(version), nil
}
