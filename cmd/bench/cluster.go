package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

const (
	jobsRow   = "apply jobs of a second to a cluster"
	jobsRatio = 1.1
	jobsRuns  = 3 // at least
	sleepRef  = "localhost/sleep:1"
)

// measureCluster measures an apply of steps that sleep for a second, as Jobs of a
// cluster, beside kubectl that creates the same Jobs at once and waits for them. Both
// run the same image, which the node has. The apply holds the compilation, the plan
// and the removal of the Jobs; kubectl leaves them, and they are removed unmeasured.
func (b *bench) measureCluster(ctx context.Context) (err error) {
	wanted := false
	for _, n := range b.jobs {
		wanted = wanted || b.wants(jobsRow, n)
	}
	if !wanted {
		return nil
	}
	release, err := kubernetestest.Shared("")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	dir, err := kubernetestest.Dir()
	if err != nil {
		return err
	}
	c, err := kubernetestest.Describe(dir)
	if err != nil {
		return err
	}
	j := &jobs{bench: b, cluster: c, namespace: fmt.Sprintf("bench-%d", os.Getpid())}
	defer func() {
		_, gone := j.kubectl(context.WithoutCancel(ctx), "delete", "namespace", j.namespace, "--wait=false")
		err = errors.Join(err, gone)
	}()
	if err := j.prepare(ctx); err != nil {
		return err
	}
	for _, n := range b.jobs {
		if !b.wants(jobsRow, n) {
			continue
		}
		b.say(jobsRow, n)
		if err := j.measure(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// jobs are those of one namespace.
type jobs struct {
	*bench
	cluster   *kubernetestest.Cluster
	namespace string
	image     string // as the registry has it
}

func (j *jobs) env() []string {
	return append(j.cluster.S3.Environ(), "KUBECONFIG="+j.cluster.Kubeconfig)
}

func (j *jobs) kubectl(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "kubectl", args...)
	cmd.Env = append(os.Environ(), j.env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args[:min(3, len(args))], " "), err, out)
	}
	return string(out), err
}

// prepare makes the namespace, the store and the image, and runs one job, so that the
// registry and the node have the image.
func (j *jobs) prepare(ctx context.Context) error {
	if _, err := j.kubectl(ctx, "create", "namespace", j.namespace); err != nil {
		return err
	}
	secret := []string{"-n", j.namespace, "create", "secret", "generic", "store"}
	for _, v := range j.cluster.S3.Environ() {
		secret = append(secret, "--from-literal="+v)
	}
	if _, err := j.kubectl(ctx, secret...); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(j.cluster.S3.Dir, j.namespace), 0o755); err != nil {
		return err
	}
	f := &folder{dir: j.path("hosts")}
	f.write(j.cluster.Registry+"/hosts.toml", fmt.Sprintf("server = \"http://%s\"\n", j.cluster.Registry))
	if f.err != nil {
		return f.err
	}
	tarball := j.path("sleep.tar")
	if err := writeImage(ctx, tarball, "/bin/sh", "/bin/sleep"); err != nil {
		return err
	}
	if _, err := j.run(ctx, command{args: []string{j.tenon, "image", "import", tarball, "--name", sleepRef}}); err != nil {
		return err
	}
	first, err := j.apply(ctx, 1)
	if err != nil {
		return err
	}
	if _, err := j.run(ctx, first); err != nil {
		return err
	}
	j.image, err = j.pushed(ctx)
	return err
}

// pushed is the only image that the registry has of this namespace.
func (j *jobs) pushed(ctx context.Context) (string, error) {
	repository := j.namespace + "/tenon"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/v2/%s/tags/list", j.cluster.Registry, repository), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var list struct{ Tags []string }
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Tags) != 1 {
		return "", errors.Join(fmt.Errorf("the registry has the images %q, want one", list.Tags), err)
	}
	return fmt.Sprintf("%s/%s:%s", j.cluster.Registry, repository, list.Tags[0]), nil
}

func (j *jobs) measure(ctx context.Context, n int) error {
	apply, err := j.apply(ctx, n)
	if err != nil {
		return err
	}
	kubectl := j.create(ctx, n)
	tenon, other, err := j.versus(ctx, jobsRuns, apply, kubectl)
	if err != nil {
		return err
	}
	row := tableRow{Case: jobsRow, Size: n, Of: "jobs", Tenon: tenon, Beside: "kubectl create, wait", Other: &other, Goals: []goal{ratioGoal(tenon, other, jobsRatio)}}
	return j.add(ctx, row, apply)
}

// apply is an apply of n steps that sleep, from nothing. A step may take one pod.
func (j *jobs) apply(ctx context.Context, n int) (command, error) {
	dir := j.path(fmt.Sprintf("jobs-%d", n))
	var cue strings.Builder
	fmt.Fprintf(&cue, `package bench

import (
	"tenon.dev/step"
	"tenon.dev/tenon"
)

tenon.#System
name: "jobs"

target: "cluster"
targets: cluster: tenon.#Kubernetes & {
	namespace:    %q
	store:        %q
	store_secret: "store"
	registry:     %q
	base:         %q
	hosts:        %q
}
`, j.namespace, j.cluster.S3.URL(j.namespace), j.cluster.Registry+"/"+j.namespace, sleepRef, j.path("hosts"))
	for i := range n {
		fmt.Fprintf(&cue, `
steps: s%05d: step.#Command & {
	image: %q
	command: ["/bin/sh", "-c", #"/bin/sleep 1; read -r d <"$TENON_STEP"; d=${d#*'"path":"'}; echo %d >"${d%%%%'"'*}""#]
	outputs: number: kind: "file"
}
`, i, sleepRef, i)
	}
	f := &folder{dir: dir}
	f.module()
	f.write("jobs.cue", cue.String())
	return command{
		args: []string{j.tenon, "apply", "--yes", dir}, env: j.env(),
		prepare: func() error {
			_, err := j.kubectl(ctx, "-n", j.namespace, "delete", "events", "--all")
			return errors.Join(err, files.RemoveAll(filepath.Join(dir, ".tenon")))
		},
		check: func(out string) error {
			return errors.Join(has(fmt.Sprintf(": %d ran.", n))(out), j.pods(ctx, n))
		},
	}, f.err
}

// pods makes sure that so many were made since the events were deleted. The cluster
// reports them later than it creates them.
func (j *jobs) pods(ctx context.Context, n int) error {
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		events, err := j.kubectl(ctx, "-n", j.namespace, "get", "events", "--field-selector", "reason=SuccessfulCreate", "-o", "name")
		if err != nil {
			return err
		}
		if err = hasTimes("event/steps-", n)(events); err == nil || time.Now().After(until) {
			return err
		}
	}
}

// create is the command of a user who has the same Jobs in a file.
func (j *jobs) create(ctx context.Context, n int) command {
	var y strings.Builder
	for i := range n {
		fmt.Fprintf(&y, `---
apiVersion: batch/v1
kind: Job
metadata: {name: s%05d, labels: {bench: sleep}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: unit, image: %q, command: [/bin/sh, -c, "/bin/sleep 1"]}]
`, i, j.image)
	}
	file := j.path(fmt.Sprintf("jobs-%d.yaml", n))
	script := fmt.Sprintf("kubectl -n %[1]s create -f %[2]s && kubectl -n %[1]s wait --for=condition=Complete --timeout=300s job -l bench=sleep", j.namespace, file)
	return command{
		args: []string{"sh", "-c", script}, env: j.env(), check: hasTimes("condition met", n),
		prepare: func() error {
			_, err := j.kubectl(ctx, "-n", j.namespace, "delete", "job", "-l", "bench=sleep", "--cascade=foreground", "--wait")
			return errors.Join(err, os.WriteFile(file, []byte(y.String()), 0o644))
		},
	}
}
