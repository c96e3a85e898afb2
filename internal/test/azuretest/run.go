package azuretest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	apps "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// A job is one of Container Apps.
type job struct {
	name       string
	spec       apps.Job
	body       object
	created    time.Time
	removed    bool
	executions []*execution
}

// An execution is one run of a container.
type execution struct {
	name           string
	started, ended time.Time
	status         string
	process        *os.Process
	stopped        bool
}

// typed decodes a value into a type of Azure's library, and reports what the type does not have.
func typed(v object, into any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return err
	}
	back, err := json.Marshal(into)
	if err != nil {
		return err
	}
	var again object
	if err := json.Unmarshal(back, &again); err != nil {
		return err
	}
	var plain object
	if err := json.Unmarshal(text, &plain); err != nil {
		return err
	}
	if !reflect.DeepEqual(plain, again) {
		return fmt.Errorf("the API has no such fields or values: %s instead of %s", text, back)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// making is how long it takes to make a job.
const making = 20 * time.Millisecond

func (j *job) json() object {
	out := object{"id": group + "Microsoft.App/jobs/" + j.name, "name": j.name, "type": "Microsoft.App/jobs", "systemData": object{"createdAt": stamp(j.created)}}
	for k, v := range j.body {
		out[k] = v
	}
	properties := object{"provisioningState": "InProgress"}
	if p, is := j.body["properties"].(object); is {
		for k, v := range p {
			properties[k] = v
		}
	}
	switch {
	case j.removed:
		properties["provisioningState"] = "Deleting"
	case time.Since(j.created) > making:
		properties["provisioningState"] = "Succeeded"
	}
	out["properties"] = properties
	return out
}

func (x *execution) json() object {
	properties := object{"status": x.status, "startTime": stamp(x.started)}
	if !x.ended.IsZero() {
		properties["endTime"] = stamp(x.ended)
	}
	return object{"name": x.name, "properties": properties}
}

// app answers a call of Container Apps about a job, or what is below it.
func (s *server) app(method, name, below string, body object) (int, object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[name]
	if method == http.MethodPut && below == "" {
		return s.create(name, j, body)
	}
	if j == nil {
		return 0, nil, notFound(name)
	}
	_, asked, _ := strings.Cut(below, "executions/")
	asked, _, _ = strings.Cut(asked, "/")
	switch {
	case method == http.MethodGet && below == "":
		out := j.json()
		return http.StatusOK, out, typed(out, &apps.Job{})
	case method == http.MethodDelete && below == "":
		j.removed = true
		for _, x := range j.executions {
			s.stop(x)
		}
		s.sweep(j)
		return http.StatusAccepted, nil, nil
	case method == http.MethodPost && below == "start":
		if j.removed || time.Since(j.created) <= making {
			return 0, nil, &problem{http.StatusConflict, "ContainerAppOperationInProgress", "the job is not ready"}
		}
		var digits [4]byte
		_, _ = rand.Read(digits[:]) // never fails
		x := &execution{name: j.name + "-" + hex.EncodeToString(digits[:])[:7], started: time.Now(), status: "Processing"}
		j.executions = append(j.executions, x)
		go s.run(j, x)
		return http.StatusAccepted, object{"name": x.name, "id": group + "Microsoft.App/jobs/" + j.name + "/executions/" + x.name}, nil
	case method == http.MethodGet && below == "executions":
		all := []any{}
		for _, x := range slices.Backward(j.executions) { // the last first
			all = append(all, x.json())
		}
		out := object{"value": all}
		return http.StatusOK, out, typed(out, &apps.ContainerAppJobExecutions{})
	case method == http.MethodPost && strings.HasSuffix(below, "/stop"):
		for _, x := range j.executions {
			if x.name == asked {
				s.stop(x)
				return http.StatusAccepted, nil, nil
			}
		}
	}
	return 0, nil, notFound(name + "/" + below)
}

var (
	jobName = regexp.MustCompile(`^[a-z]([a-z0-9]|-[a-z0-9])*$`)
	digest  = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
)

// create makes or replaces a job. The caller has locked s.
func (s *server) create(name string, there *job, body object) (int, object, error) {
	j := &job{name: name, body: body, created: time.Now()}
	if err := typed(body, &j.spec); err != nil {
		return 0, nil, err
	}
	invalid := func(format string, args ...any) (int, object, error) {
		return 0, nil, &problem{http.StatusBadRequest, "InvalidRequestParameter", fmt.Sprintf(format, args...)}
	}
	p := j.spec.Properties
	if p == nil || p.Configuration == nil || p.Template == nil || len(p.Template.Containers) != 1 || j.spec.Identity == nil || len(j.spec.Identity.UserAssignedIdentities) != 1 || j.spec.Location == nil {
		return invalid("a job needs a location, an identity, a configuration and one container")
	}
	if err := s.checkContainer(j.spec.Identity, j.spec.Tags, p.EnvironmentID, p.WorkloadProfileName, p.Configuration.Registries, p.Configuration.Secrets, p.Template.Containers[0]); err != nil {
		return 0, nil, err
	}
	switch {
	case !jobName.MatchString(name) || len(name) > 32:
		return invalid("Invalid ContainerApp name '%s'.", name)
	case *p.Configuration.TriggerType != apps.TriggerTypeManual || *p.Configuration.ReplicaRetryLimit != 0 || *p.Configuration.ReplicaTimeout < 1:
		return invalid("the trigger is not valid")
	case there != nil && len(there.executions) > 0:
		return invalid("the fake replaces no job that has started")
	}
	s.jobs[name] = j
	return http.StatusCreated, j.json(), nil
}

// sizes are the containers of workload profiles with GPUs: cores, and memory.
var sizes = map[string]struct {
	cores  float64
	memory string
}{"gpu-t4": {8, "56Gi"}, "gpu-a100": {24, "220Gi"}}

// checkContainer refuses what neither a job nor an app may have. The caller has locked s.
func (s *server) checkContainer(is *apps.ManagedServiceIdentity, tags map[string]*string, environment, profile *string, registries []*apps.RegistryCredentials, secrets []*apps.Secret, c *apps.Container) error {
	if len(is.UserAssignedIdentities) != 1 {
		return invalidApp("an identity is needed")
	}
	id, names := "", map[string]bool{}
	for id = range is.UserAssignedIdentities {
	}
	for k, v := range tags {
		if len(k) > 512 || v == nil || len(*v) > 256 {
			return invalidApp("the tag %s is too long", k)
		}
	}
	for _, x := range secrets {
		if x.Name == nil || !jobName.MatchString(*x.Name) || x.Identity == nil || *x.Identity != id {
			return invalidApp("a secret is not valid")
		}
		names[*x.Name] = true
	}
	for _, e := range c.Env {
		if e.SecretRef != nil && !names[*e.SecretRef] {
			return &problem{http.StatusBadRequest, "ContainerAppSecretRefNotFound", "SecretRef '" + *e.SecretRef + "' defined for container '" + *c.Name + "' not found."}
		}
	}
	if environment == nil || s.resources[*environment] == nil {
		return &problem{http.StatusNotFound, "ManagedEnvironmentNotFound", "The environment was not found."}
	}
	profiles, _ := s.resources[*environment]["profiles"].([]string)
	r, gpu := c.Resources, sizes[*profile]
	switch {
	case s.resources[id] == nil:
		return invalidApp("The identity %s was not found.", id)
	case len(registries) != 1 || *registries[0].Identity != id || !strings.HasPrefix(*c.Image, *registries[0].Server+"/"):
		return invalidApp("the registry of the image has no identity")
	case !digest.MatchString(*c.Image):
		return invalidApp("the image %s has no digest", *c.Image)
	case !slices.Contains(profiles, *profile):
		return &problem{http.StatusBadRequest, "WorkloadProfileNotFound", "The environment has no workload profile " + *profile + "."}
	case r == nil || *profile != "Consumption" && (*r.CPU != gpu.cores || *r.Memory != gpu.memory),
		*profile == "Consumption" && (*r.CPU > 4 || *r.CPU*4 != float64(int(*r.CPU*4)) || *r.Memory != strconv.FormatFloat(*r.CPU*2, 'f', -1, 64)+"Gi"):
		return invalidApp("a container has no such resources")
	}
	return nil
}

// argv returns the command of a container.
func argv(c *apps.Container) (all []string) {
	for _, a := range append(slices.Clone(c.Command), c.Args...) {
		all = append(all, *a)
	}
	return all
}

// refused returns what the system says of the next thing to start, if it is not to start. The caller has locked s.
func (s *server) refused() error {
	if len(s.refusals) == 0 {
		return nil
	}
	said := s.refusals[0]
	s.refusals = s.refusals[1:]
	return errors.New(said)
}

// stop ends a container. Container Apps give it 30 s. The caller has locked s.
func (s *server) stop(x *execution) {
	if !x.ended.IsZero() || x.stopped {
		return
	}
	if x.stopped = true; x.process != nil {
		_ = x.process.Signal(syscall.SIGTERM) // it may have ended
		time.AfterFunc(time.Second, func() { _ = x.process.Kill() })
	}
}

// sweep forgets a job that is removed, once all of it has ended. The caller has locked s.
func (s *server) sweep(j *job) {
	if j.removed && !slices.ContainsFunc(j.executions, func(x *execution) bool { return x.ended.IsZero() }) && s.jobs[j.name] == j {
		delete(s.jobs, j.name)
	}
}

// run runs the container of an execution to its end.
func (s *server) run(j *job, x *execution) {
	status, err := s.contain(j, x)
	if err != nil {
		s.log("system", x.name, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.stopped {
		status = "Stopped"
	}
	x.ended, x.status = time.Now(), status
	s.sweep(j)
}

// contain starts a container and waits for its end. An error is what the system says if it does not start.
func (s *server) contain(j *job, x *execution) (status string, err error) {
	const failed = "Failed"
	p := j.spec.Properties
	c := p.Template.Containers[0]
	s.mu.Lock()
	refused := s.refused()
	env, err := s.variables(j.spec.Identity, p.Configuration.Secrets, c)
	s.mu.Unlock()
	if err = errors.Join(refused, err); err != nil {
		return failed, err
	}
	root, config, err := s.images.Pull(context.Background(), *c.Image)
	if err != nil {
		return failed, fmt.Errorf("ImagePullFailure: manifest unknown: %w", err)
	}
	work, err := s.work(root, x.name, j.name)
	if err != nil {
		return failed, err
	}
	env = append(append(config.Config.Env, env...), "CONTAINER_APP_JOB_NAME="+j.name, "CONTAINER_APP_JOB_EXECUTION_NAME="+x.name)
	lines := &containers.Lines{Line: func(text string) { s.log("console", x.name, text) }}
	cmd := containers.Command(root, work, argv(c), env, lines)
	runtime.LockOSThread() // the container ends with the thread that starts it
	defer runtime.UnlockOSThread()
	s.mu.Lock()
	if x.stopped {
		s.mu.Unlock()
		return failed, nil
	}
	if err = cmd.Start(); err == nil {
		x.process, x.status = cmd.Process, "Running"
	}
	s.mu.Unlock()
	if err != nil {
		return failed, err
	}
	over := time.AfterFunc(time.Duration(*p.Configuration.ReplicaTimeout)*time.Second, func() { _ = cmd.Process.Kill() })
	ended := cmd.Wait()
	over.Stop()
	lines.End()
	if ended != nil {
		return failed, nil
	}
	return "Succeeded", nil
}

// variables returns those of a container, with its identity and secrets. The caller has locked s.
func (s *server) variables(is *apps.ManagedServiceIdentity, secrets []*apps.Secret, c *apps.Container) (env []string, err error) {
	var who *identity
	client := ""
	for id := range is.UserAssignedIdentities {
		client = clientOf(filepath.Base(id))
		who = s.identities[client]
	}
	for _, kv := range environ(s.url, "/etc/authority.pem", client) {
		if !strings.HasPrefix(kv, "TENON_") && !strings.HasPrefix(kv, "AZURE_TOKEN") {
			env = append(env, kv)
		}
	}
	values := map[string]string{}
	for _, x := range secrets {
		parts := strings.Split(strings.TrimPrefix(*x.KeyVaultURL, s.url+"/vaults/"), "/")
		if len(parts) < 3 || who == nil || !slices.Contains(who.secret, strings.Join(parts[:3], "/")) {
			return nil, fmt.Errorf("KeyVaultSecretFetchFailed: the identity may not read %s", *x.KeyVaultURL)
		}
		versions := s.vaults[parts[0]][parts[2]]
		n := len(versions)
		if len(parts) == 4 {
			n, err = strconv.Atoi(parts[3])
		}
		if err != nil || n < 1 || n > len(versions) {
			return nil, fmt.Errorf("KeyVaultSecretFetchFailed: there is no %s", *x.KeyVaultURL)
		}
		values[*x.Name] = versions[n-1]
	}
	for _, e := range c.Env {
		value := ""
		if e.Value != nil {
			value = *e.Value
		} else if e.SecretRef != nil {
			value = values[*e.SecretRef]
		}
		env = append(env, *e.Name+"="+value)
	}
	return env, nil
}

// A line is one of a log: that of the "console", or that of the "system".
type line struct{ log, of, text string }

func (s *server) log(log, of, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line{log, of, text})
}

var (
	consoleQuery = regexp.MustCompile(`^ContainerAppConsoleLogs_CL \| where (?:ContainerJobName_s == '[a-z0-9-]+' and ContainerGroupName_s startswith|ContainerAppName_s == '[a-z0-9-]+' and RevisionName_s ==) '([a-z0-9-]+)' \| order by _timestamp_d asc, TimeGenerated asc \| extend n = row_number\(\) \| where n > ([0-9]+) \| take ([0-9]+) \| project Log_s$`)
	systemQuery  = regexp.MustCompile(`^ContainerAppSystemLogs_CL \| where (?:JobName_s == '[a-z0-9-]+' and ExecutionName_s|ContainerAppName_s == '[a-z0-9-]+' and RevisionName_s) == '([a-z0-9-]+)' and Type_s != 'Normal' \| `)
)

// query answers a query of the form that tenon sends.
func (s *server) query(body object) (int, object, error) {
	text, _ := body["query"].(string)
	log, of, from := "system", systemQuery.FindStringSubmatch(text), 0
	if of == nil {
		log, of = "console", consoleQuery.FindStringSubmatch(text)
		if of == nil {
			return 0, nil, &problem{http.StatusBadRequest, "BadArgumentError", "the fake does not know the query " + text}
		}
		from, _ = strconv.Atoi(of[2]) // of digits
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []any{}
	for _, l := range s.lines {
		if l.log == log && l.of == of[1] {
			rows = append(rows, []any{l.text})
		}
	}
	rows = rows[min(from, len(rows)):]
	return http.StatusOK, object{"tables": []any{object{"name": "PrimaryResult", "columns": []any{object{"name": "Log_s", "type": "string"}}, "rows": rows}}}, nil
}
