package gcptest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// What the fake reads of a custom job of Vertex AI. The rest of it is only checked and returned.
type customSpec struct {
	Labels map[string]string `json:"labels"`
	Spec   struct {
		ServiceAccount string `json:"serviceAccount"`
		Scheduling     struct {
			Timeout string `json:"timeout"`
		} `json:"scheduling"`
		Pools []struct {
			Container struct {
				Image   string   `json:"imageUri"`
				Command []string `json:"command"`
				Args    []string `json:"args"`
				Env     []struct {
					Name  string `json:"name"`
					Value string `json:"value"`
				} `json:"env"`
			} `json:"containerSpec"`
		} `json:"workerPoolSpecs"`
	} `json:"jobSpec"`
}

// A custom is a custom job of Vertex AI.
type custom struct {
	name    string // full
	body    object
	spec    customSpec
	state   string
	message string // of its error
	created time.Time
	started time.Time
	ended   time.Time
	process *os.Process
	stopped bool // somebody has cancelled it
}

func (j *custom) json() object {
	out := object{}
	for k, v := range j.body {
		out[k] = v
	}
	out["name"], out["state"], out["createTime"] = j.name, j.state, stamp(j.created)
	for k, t := range map[string]time.Time{"startTime": j.started, "endTime": j.ended} {
		if !t.IsZero() {
			out[k] = stamp(t)
		}
	}
	if j.message != "" {
		out["error"] = object{"code": 3.0, "message": j.message}
	}
	return out
}

var labelFilter = regexp.MustCompile(`^labels\.([a-z-]+)=([a-z0-9_-]+)$`)

// customAPI answers a call of Vertex AI.
func (s *server) customAPI(id string, names []string, r *http.Request, body object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent := "projects/" + names[0] + "/locations/" + names[1]
	switch id {
	case "create":
		return s.createCustom(parent, body)
	case "list":
		want := labelFilter.FindStringSubmatch(r.URL.Query().Get("filter"))
		if want == nil {
			return nil, invalid("the fake does not know the filter %s", r.URL.Query().Get("filter"))
		}
		all := []any{}
		for _, j := range s.customs {
			if j.spec.Labels[want[1]] == want[2] {
				all = append(all, j.json())
			}
		}
		return object{"customJobs": all}, nil
	}
	name := parent + "/customJobs/" + names[2]
	j := s.customs[name]
	if j == nil {
		return nil, notFound(name)
	}
	switch id {
	case "get":
		return j.json(), nil
	case "cancel":
		if j.ended.IsZero() {
			s.endCustom(j, "JOB_STATE_CANCELLING")
		}
		return object{}, nil
	case "delete":
		if j.ended.IsZero() {
			return nil, &problem{http.StatusBadRequest, "FAILED_PRECONDITION", "The CustomJob \"" + name + "\" is in state " + j.state + " and cannot be deleted."}
		}
		delete(s.customs, name)
		return object{"name": parent + "/operations/1", "done": true}, nil
	}
	return nil, invalid("the fake has no %s", id)
}

// createCustom makes a custom job. The caller has locked the fake.
func (s *server) createCustom(parent string, body object) (object, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	s.numbers++
	j := &custom{name: parent + "/customJobs/" + strconv.Itoa(4_000_000_000+s.numbers), body: body, created: time.Now(), state: "JOB_STATE_PENDING"}
	if err := json.Unmarshal(text, &j.spec); err != nil {
		return nil, invalid("%v", err)
	}
	limit := timeout.FindStringSubmatch(j.spec.Spec.Scheduling.Timeout)
	switch {
	case len(j.spec.Spec.Pools) != 1 || limit == nil:
		return nil, invalid("a custom job needs one pool of workers and a timeout")
	case !s.accounts[j.spec.Spec.ServiceAccount]:
		return nil, &problem{http.StatusForbidden, "PERMISSION_DENIED", "You do not have permission to act as service account: " + j.spec.Spec.ServiceAccount + " (iam.serviceAccounts.actAs)"}
	}
	for k, v := range j.spec.Labels {
		if !labels.MatchString(v) {
			return nil, invalid("the value %q of the label %s is not valid", v, k)
		}
	}
	if len(s.refusals) > 0 && s.refusals[0][0] == "RESOURCE_EXHAUSTED" { // at once, and not later as the error of the job
		message := s.refusals[0][1]
		s.refusals = s.refusals[1:]
		return nil, &problem{http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", message}
	}
	s.customs[j.name] = j
	go s.runCustom(j, time.Duration(must(strconv.Atoi(limit[1])))*time.Second)
	return j.json(), nil
}

// endCustom ends the container of a custom job. The caller has locked the fake.
func (s *server) endCustom(j *custom, state string) {
	j.state, j.stopped = state, true
	if j.process == nil {
		return
	}
	_ = j.process.Signal(syscall.SIGTERM) // it may have ended
	time.AfterFunc(grace, func() { _ = j.process.Kill() })
}

// runCustom runs the container of a custom job to its end.
func (s *server) runCustom(j *custom, limit time.Duration) {
	end := func(state, message string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if j.stopped && state != "JOB_STATE_SUCCEEDED" {
			state, message = "JOB_STATE_CANCELLED", "CANCELED"
		}
		j.state, j.message, j.ended = state, message, time.Now()
	}
	s.mu.Lock()
	if len(s.refusals) > 0 {
		no := s.refusals[0]
		s.refusals = s.refusals[1:]
		s.mu.Unlock()
		end("JOB_STATE_FAILED", no[1])
		return
	}
	s.mu.Unlock()
	c := j.spec.Spec.Pools[0].Container
	root, config, err := s.images.Pull(context.Background(), c.Image)
	if errors.Is(err, containers.ErrNoImage) {
		end("JOB_STATE_FAILED", "The replica workerpool0-0 exited because the image "+c.Image+" was not found.")
		return
	}
	if err != nil {
		end("JOB_STATE_FAILED", "Internal error: "+err.Error())
		return
	}
	id := "custom-" + filepath.Base(j.name)
	work := filepath.Join(s.dir, "jobs", id)
	err = errors.Join(os.MkdirAll(work, 0o755), os.WriteFile(work+".name", []byte(j.spec.Labels["tenon-task"]), 0o644))
	if err != nil {
		end("JOB_STATE_FAILED", "Internal error: "+err.Error())
		return
	}
	s.mu.Lock()
	storage, err := s.storageOf(j.spec.Spec.ServiceAccount)
	s.mu.Unlock()
	if err != nil {
		end("JOB_STATE_FAILED", "Internal error: "+err.Error())
		return
	}
	env := append(config.Config.Env, "STORAGE_EMULATOR_HOST="+storage, "CLOUD_RUN_EXECUTION="+id)
	for _, v := range c.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	log := &containers.Lines{Line: func(text string) { s.log(filepath.Base(j.name), text) }}
	cmd := containers.Command(root, work, append(c.Command, c.Args...), env, log)
	runtime.LockOSThread() // the container ends with the thread that starts it
	defer runtime.UnlockOSThread()
	s.mu.Lock()
	if j.stopped {
		s.mu.Unlock()
		end("JOB_STATE_CANCELLED", "CANCELED")
		return
	}
	if err = cmd.Start(); err == nil {
		j.process, j.started, j.state = cmd.Process, time.Now(), "JOB_STATE_RUNNING"
	}
	s.mu.Unlock()
	if err != nil {
		end("JOB_STATE_FAILED", "Internal error: "+err.Error())
		return
	}
	late := false
	over := time.AfterFunc(limit, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		late = true
		s.endCustom(j, "JOB_STATE_RUNNING")
		j.stopped = false
	})
	err = cmd.Wait()
	over.Stop()
	log.End()
	switch {
	case err == nil:
		end("JOB_STATE_SUCCEEDED", "")
	case late:
		end("JOB_STATE_FAILED", "The job exceeded its timeout.")
	default:
		end("JOB_STATE_FAILED", "The replica workerpool0-0 exited with a non-zero status of "+strconv.Itoa(cmd.ProcessState.ExitCode())+".")
	}
}

// Customs returns the names of all custom jobs that there are now.
func (c *Cloud) Customs() ([]string, error) { return c.left("customs") }

// vertexLine is an entry of the log of a custom job, as Vertex AI writes it.
func vertexLine(entry object, line string) {
	delete(entry, "textPayload")
	entry["jsonPayload"] = object{"message": strings.ToValidUTF8(line, "\uFFFD") + "\n", "levelname": "INFO"}
	entry["resource"] = object{"type": "ml_job"}
}
