package gcptest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// A problem is an error as Google answers it.
type problem struct {
	code            int
	status, message string
}

func (p *problem) Error() string { return p.message }

func notFound(what string) error {
	return &problem{http.StatusNotFound, "NOT_FOUND", "Resource '" + what + "' was not found."}
}

func invalid(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf(format, args...)}
}

// object is a value in JSON.
type object = map[string]any

// What the fake reads of a job. The rest of it is only checked and returned.
type spec struct {
	Labels              map[string]string `json:"labels"`
	StartExecutionToken string            `json:"startExecutionToken"`
	Template            struct {
		Template struct {
			Containers []struct {
				Image     string       `json:"image"`
				Command   []string     `json:"command"`
				Args      []string     `json:"args"`
				Env       []envSpec    `json:"env"`
				Resources resourceSpec `json:"resources"`
			} `json:"containers"`
			Timeout        string `json:"timeout"`
			ServiceAccount string `json:"serviceAccount"`
			gpuSpec
		} `json:"template"`
	} `json:"template"`
}

// A job has one execution.
type job struct {
	name      string // full
	body      object // as it was created
	spec      spec
	condition object // why it cannot start, or nil
	created   time.Time
	run       *execution
}

// An execution is one run of a container.
type execution struct {
	name             string // full
	created          time.Time
	started, ended   time.Time
	exit             int
	message          string
	failed, canceled bool
	process          *os.Process
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (s *server) jobJSON(j *job) object {
	out := object{"name": j.name, "createTime": stamp(j.created), "reconciling": j.run == nil && j.condition == nil}
	for k, v := range j.body {
		out[k] = v
	}
	if j.condition != nil {
		out["terminalCondition"] = j.condition
	}
	return out
}

func (x *execution) json() object {
	out := object{"name": x.name, "createTime": stamp(x.created)}
	c := object{"type": "Completed", "state": "CONDITION_RECONCILING"}
	switch {
	case !x.ended.IsZero():
		out["completionTime"] = stamp(x.ended)
		c["state"], c["message"] = "CONDITION_SUCCEEDED", "Execution completed successfully."
		switch {
		case x.canceled:
			c["state"], c["message"], c["executionReason"], out["cancelledCount"] = "CONDITION_FAILED", "Execution was cancelled.", "CANCELLED", 1.0
		case x.failed:
			c["state"], c["message"], out["failedCount"] = "CONDITION_FAILED", "Task "+x.name+" failed with message: "+x.message, 1.0
			if x.exit != 0 {
				c["executionReason"] = "NON_ZERO_EXIT_CODE"
			}
		default:
			out["succeededCount"] = 1.0
		}
	case !x.started.IsZero():
		out["runningCount"] = 1.0
	}
	if !x.started.IsZero() {
		out["startTime"] = stamp(x.started)
	}
	out["conditions"] = []any{c}
	return out
}

// Forms that Cloud Run requires.
var (
	jobID   = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	labels  = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
	timeout = regexp.MustCompile(`^([0-9]+)s$`)
)

// create makes a job, and its execution with it.
func (s *server) create(parent, id string, body object) (object, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	j := &job{name: parent + "/jobs/" + id, body: body, created: time.Now()}
	if err := json.Unmarshal(text, &j.spec); err != nil {
		return nil, invalid("%v", err)
	}
	t := j.spec.Template.Template
	limit := timeout.FindStringSubmatch(t.Timeout)
	switch {
	case !jobID.MatchString(id):
		return nil, invalid("the name %q of a job is not valid", id)
	case j.spec.StartExecutionToken == "" || len(id)+len(j.spec.StartExecutionToken) >= 63:
		return nil, invalid("the sum of job name and token length must be fewer than 63 characters")
	case len(t.Containers) != 1 || limit == nil:
		return nil, invalid("a task needs one container and a timeout")
	case !s.accounts[t.ServiceAccount]:
		return nil, &problem{http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceaccounts.actAs' denied on service account " + t.ServiceAccount + " (or it may not exist)."}
	case s.jobs[j.name] != nil:
		return nil, &problem{http.StatusConflict, "ALREADY_EXISTS", "Resource '" + id + "' already exists."}
	}
	for k, v := range j.spec.Labels {
		if !labels.MatchString(v) {
			return nil, invalid("the value %q of the label %s is not valid", v, k)
		}
	}
	if n, err := strconv.Atoi(limit[1]); err != nil || n > 168*3600 {
		return nil, invalid("the timeout %s is longer than 168h", t.Timeout)
	}
	region := filepath.Base(parent)
	if err := t.fits(region, t.Containers[0].Resources); err != nil {
		return nil, err
	}
	if t.Node.Accelerator != "" && must(strconv.Atoi(limit[1])) > 3600 {
		return nil, invalid("the timeout %s of a task with a GPU is longer than 1h", t.Timeout)
	}
	s.jobs[j.name] = j
	go s.start(j, time.Duration(must(strconv.Atoi(limit[1])))*time.Second)
	return object{"name": parent + "/operations/" + filepath.Base(parent), "done": false}, nil
}

func must[T any](x T, _ error) T { return x }

// start runs the container of a job to its end.
func (s *server) start(j *job, limit time.Duration) {
	c := j.spec.Template.Template.Containers[0]
	stuck := func(reason, message string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		j.condition = object{"type": "Ready", "state": "CONDITION_FAILED", "reason": reason, "message": message}
	}
	s.mu.Lock()
	if len(s.refusals) > 0 {
		r := s.refusals[0]
		s.refusals = s.refusals[1:]
		s.mu.Unlock()
		stuck(r[0], r[1])
		return
	}
	env, err := s.environ(j.spec.Template.Template.ServiceAccount, c.Env)
	s.mu.Unlock()
	if err != nil {
		stuck("SECRETS_ACCESS_CHECK_FAILED", err.Error())
		return
	}
	env = append(env, "CLOUD_RUN_JOB="+filepath.Base(j.name), "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_ATTEMPT=0")
	root, config, err := s.images.Pull(context.Background(), c.Image)
	if errors.Is(err, containers.ErrNoImage) {
		stuck("CONTAINER_MISSING", "Image '"+c.Image+"' not found.")
		return
	}
	if err != nil {
		stuck("INTERNAL", err.Error())
		return
	}
	x := &execution{name: j.name + "/executions/" + filepath.Base(j.name) + "-" + j.spec.StartExecutionToken, created: time.Now()}
	id := filepath.Base(x.name)
	work := filepath.Join(s.dir, "jobs", id)
	err = errors.Join(os.MkdirAll(work, 0o755), os.WriteFile(work+".name", []byte(filepath.Base(j.name)), 0o644))
	if err != nil {
		stuck("INTERNAL", err.Error())
		return
	}
	env = append(append(config.Config.Env, "CLOUD_RUN_EXECUTION="+id), env...)
	log := &containers.Lines{Line: func(text string) { s.log(id, text) }}
	argv := append(config.Config.Entrypoint, c.Args...)
	if len(c.Command) > 0 {
		argv = append(c.Command, c.Args...)
	}
	cmd := containers.Command(root, work, argv, env, log)
	runtime.LockOSThread() // the container ends with the thread that starts it
	defer runtime.UnlockOSThread()
	s.mu.Lock()
	if s.jobs[j.name] != j { // it was removed meanwhile
		s.mu.Unlock()
		return
	}
	if err = cmd.Start(); err == nil {
		x.started, x.process = time.Now(), cmd.Process
	} else {
		x.failed, x.message, x.ended = true, err.Error(), time.Now()
	}
	j.run = x
	s.mu.Unlock()
	if err != nil {
		return
	}
	over := time.AfterFunc(limit, func() { s.stop(x, "The configured timeout was reached.") })
	err = cmd.Wait()
	over.Stop()
	log.End()
	s.mu.Lock()
	defer s.mu.Unlock()
	x.ended, x.exit = time.Now(), cmd.ProcessState.ExitCode()
	if status, is := cmd.ProcessState.Sys().(syscall.WaitStatus); is && status.Signaled() {
		x.exit = 128 + int(status.Signal())
	}
	if err != nil && x.message == "" {
		x.message = "The container exited with an error."
	}
	x.failed = err != nil || x.message != ""
}

// grace is how long a container may take to end after SIGTERM. Cloud Run gives 10 s.
const grace = time.Second

// stop ends a container.
func (s *server) stop(x *execution, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !x.ended.IsZero() || x.process == nil {
		return
	}
	x.message = message
	_ = x.process.Signal(syscall.SIGTERM) // it may have ended
	time.AfterFunc(grace, func() { _ = x.process.Kill() })
}

// runAPI answers a call of Cloud Run.
func (s *server) runAPI(id string, names []string, r *http.Request, body object) (object, error) {
	parent := "projects/" + names[0] + "/locations/" + names[1]
	if id == "jobs.create" {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.create(parent, r.URL.Query().Get("jobId"), body)
	}
	s.mu.Lock()
	name := parent + "/jobs/" + names[2]
	j := s.jobs[name]
	s.mu.Unlock()
	if j == nil {
		return nil, notFound(name)
	}
	operation := object{"name": parent + "/operations/" + filepath.Base(parent), "done": false}
	s.mu.Lock()
	x := j.run
	s.mu.Unlock()
	if len(names) > 3 && (x == nil || filepath.Base(x.name) != names[3]) {
		return nil, notFound(name + "/executions/" + names[3])
	}
	switch id {
	case "jobs.executions.cancel":
		s.mu.Lock()
		x.canceled = x.ended.IsZero()
		s.mu.Unlock()
		s.stop(x, "cancelled")
		return operation, nil
	case "jobs.delete":
		s.mu.Lock()
		delete(s.jobs, name)
		s.mu.Unlock()
		if x != nil {
			s.stop(x, "deleted")
		}
		return operation, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch id {
	case "jobs.get":
		return s.jobJSON(j), nil
	case "jobs.executions.get":
		return x.json(), nil
	case "jobs.executions.tasks.list":
		if x.ended.IsZero() {
			return object{"tasks": []any{}}, nil
		}
		attempt := object{"exitCode": float64(x.exit), "status": object{"message": x.message}}
		return object{"tasks": []any{object{"name": x.name + "/tasks/" + filepath.Base(x.name) + "-task0", "lastAttemptResult": attempt}}}, nil
	}
	return nil, fmt.Errorf("the fake has no %s", id)
}

// An entry is a line of a log.
type entry struct {
	of   string // execution
	json object
}

// log adds a line to the log of an execution. A line with an object in JSON becomes one.
func (s *server) log(of, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	x := object{"insertId": strconv.Itoa(len(s.entries)), "timestamp": stamp(time.Now().Truncate(time.Millisecond)), "logName": "run.googleapis.com/stdout"}
	var parsed object
	if _, custom := strconv.Atoi(of); custom == nil {
		vertexLine(x, line)
	} else if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &parsed) == nil {
		x["jsonPayload"] = parsed
	} else {
		x["textPayload"] = strings.ToValidUTF8(line, "\uFFFD")
	}
	s.entries = append(s.entries, entry{of, x})
}

var (
	executionFilter = regexp.MustCompile(`(?:labels\."run\.googleapis\.com/execution_name"|resource\.labels\.revision_name|resource\.labels\.job_id)="([a-z0-9-]+)"`)
	deployedFilter  = regexp.MustCompile(`labels\.deployed_model_id=\(([0-9" OR]+)\)`)
	timeFilter      = regexp.MustCompile(` AND timestamp>="([^"]+)"$`)
)

// listEntries answers a query of the form that tenon sends.
func (s *server) listEntries(body object) (object, error) {
	filter, _ := body["filter"].(string)
	wanted := []string{}
	if of := executionFilter.FindStringSubmatch(filter); of != nil {
		wanted = of[1:]
	} else if of := deployedFilter.FindStringSubmatch(filter); of != nil {
		s.mu.Lock()
		for _, id := range strings.Split(of[1], " OR ") {
			wanted = append(wanted, s.hosted[strings.Trim(id, `"`)])
		}
		s.mu.Unlock()
	}
	if len(wanted) == 0 || body["orderBy"] != "timestamp asc" {
		return nil, invalid("the fake does not know the filter %s", filter)
	}
	from := time.Time{}
	if at := timeFilter.FindStringSubmatch(filter); at != nil {
		t, err := time.Parse(time.RFC3339Nano, at[1])
		if err != nil {
			return nil, invalid("%v", err)
		}
		from = t
	}
	first := 0
	if token, ok := body["pageToken"].(string); ok {
		first = must(strconv.Atoi(token))
	}
	const page = 100 // so that tests see several
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []any{}
	for i := first; i < len(s.entries); i++ {
		if len(found) == page {
			return object{"entries": found, "nextPageToken": strconv.Itoa(i)}, nil
		}
		at, _ := s.entries[i].json["timestamp"].(string)
		if t := must(time.Parse(time.RFC3339Nano, at)); slices.Contains(wanted, s.entries[i].of) && !t.Before(from) {
			found = append(found, s.entries[i].json)
		}
	}
	return object{"entries": found}, nil
}
