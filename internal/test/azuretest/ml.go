package azuretest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	learning "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// A command is a command job of Azure Machine Learning, with one node.
type command struct {
	name, workspace         string
	body                    object
	spec                    *learning.CommandJob
	image, client           string // of its environment, and of its identity
	created, started, ended time.Time
	status                  string
	code, message           string // of its error
	process                 *os.Process
	cancelled               bool
	printed                 bytes.Buffer
}

// A cluster is one of Azure Machine Learning.
type cluster struct {
	clients []string // of its identities
	size    string
}

const (
	learningVersion = "2024-04-01"
	statusCanceled  = "Canceled"
)

var (
	learningPath = regexp.MustCompile(`/providers/Microsoft\.MachineLearningServices/workspaces/([A-Za-z0-9-]{3,33})/(jobs|environments|computes|onlineEndpoints)(?:/([A-Za-z0-9_-]+))?(?:/(versions/[0-9a-f]+|cancel|listKeys|deployments))?(?:/([A-Za-z0-9_-]+))?(?:/(getLogs))?$`)
	runPath      = regexp.MustCompile(`^/learning/` + Location + `/history/v1\.0/.*/workspaces/[A-Za-z0-9-]+/experiments/[A-Za-z0-9_-]+/runs/([A-Za-z0-9_-]+)/details$`)
	isoSeconds   = regexp.MustCompile(`^PT[0-9]+S$`)
	shellWord    = regexp.MustCompile(`^'([^']*)'( |$)`)
)

func (j *command) json() object {
	properties := maps.Clone(part(j.body, "properties"))
	properties["status"] = j.status
	return object{
		"id": j.workspace + "/jobs/" + j.name, "name": j.name, "type": "Microsoft.MachineLearningServices/workspaces/jobs",
		"systemData": object{"createdAt": stamp(j.created)}, "properties": properties,
	}
}

// learn answers a call about a workspace of Azure Machine Learning.
func (s *server) learn(r *http.Request, names []string, body object) (int, object, error) {
	if r.URL.Query().Get("api-version") != learningVersion {
		return 0, nil, &problem{http.StatusBadRequest, "NoRegisteredProviderFound", "no such version"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	workspace := group + "Microsoft.MachineLearningServices/workspaces/" + names[1]
	switch {
	case s.resources[workspace] == nil:
		return 0, nil, notFound(workspace)
	case names[2] == "environments":
		return s.environment(r, body)
	case names[2] == "computes":
		return s.clusterOf(r)
	case names[2] == "onlineEndpoints":
		return s.online(r, workspace, names[3:], body)
	case names[3] == "":
		return s.commands(r)
	}
	j := s.learned[names[3]]
	switch {
	case r.Method == http.MethodPut && names[4] == "":
		return s.command(names[3], workspace, j, body)
	case j == nil:
		return 0, nil, notFound(names[3])
	case r.Method == http.MethodGet && names[4] == "":
		out := j.json()
		return http.StatusOK, out, typed(out, &learning.JobBase{})
	case r.Method == http.MethodPost && names[4] == "cancel":
		if j.ended.IsZero() {
			s.cancel(j)
		}
		return http.StatusAccepted, nil, nil
	case r.Method == http.MethodDelete && names[4] == "":
		if j.ended.IsZero() {
			return 0, nil, &problem{http.StatusBadRequest, "UserError", "A job in status " + j.status + " cannot be deleted."}
		}
		delete(s.learned, j.name)
		s.gone[j.name] = true
		return http.StatusAccepted, nil, nil
	}
	return 0, nil, notFound(r.URL.Path)
}

// environment makes or answers a version of an environment. The caller has locked s.
func (s *server) environment(r *http.Request, body object) (int, object, error) {
	if !strings.Contains(r.URL.Path, "/versions/") {
		return 0, nil, notFound(r.URL.Path)
	}
	if r.Method == http.MethodPut {
		var is learning.EnvironmentVersion
		if err := typed(body, &is); err != nil {
			return 0, nil, err
		}
		if p := is.Properties; p == nil || p.Image == nil || !digest.MatchString(*p.Image) || p.OSType == nil || *p.OSType != learning.OperatingSystemTypeLinux {
			return 0, nil, &problem{http.StatusBadRequest, "UserError", "an environment needs an image with a digest, and Linux"}
		}
		if err := validInference(is.Properties.InferenceConfig); err != nil {
			return 0, nil, err
		}
		s.resources[r.URL.Path] = part(body, "properties")
	}
	if s.resources[r.URL.Path] == nil {
		return 0, nil, notFound(r.URL.Path)
	}
	out := object{"id": r.URL.Path, "properties": s.resources[r.URL.Path]}
	return http.StatusOK, out, typed(out, &learning.EnvironmentVersion{})
}

// clusterOf answers what a cluster is, with errors about nodes if the next job is to be refused so. The caller has locked
// s.
func (s *server) clusterOf(r *http.Request) (int, object, error) {
	c := s.clusters[r.URL.Path]
	if c == nil || r.Method != http.MethodGet {
		return 0, nil, notFound(r.URL.Path)
	}
	properties := object{"vmSize": c.size}
	if len(s.refusals) > 0 && strings.HasPrefix(s.refusals[0], "node: ") {
		properties["errors"] = []any{object{"error": object{"code": "ClusterCoreQuotaReached", "message": strings.TrimPrefix(s.refusals[0], "node: ")}}}
	}
	out := object{"id": r.URL.Path, "properties": object{"computeType": "AmlCompute", "properties": properties}}
	return http.StatusOK, out, typed(out, &learning.ComputeResource{})
}

// commands answers a list of jobs with a tag. The caller has locked s.
func (s *server) commands(r *http.Request) (int, object, error) {
	tag := r.URL.Query().Get("tag")
	if tag == "" || r.Method != http.MethodGet {
		return 0, nil, &problem{http.StatusBadRequest, "UserError", "the fake lists jobs with a tag only"}
	}
	all := []any{}
	for _, name := range slices.Sorted(maps.Keys(s.learned)) {
		if j := s.learned[name]; j.spec.Tags[tag] != nil {
			all = append(all, j.json())
		}
	}
	out := object{"value": all}
	return http.StatusOK, out, typed(out, &learning.JobBaseResourceArmPaginatedResult{})
}

// command makes a job. The caller has locked s.
func (s *server) command(name, workspace string, there *command, body object) (int, object, error) {
	invalid := func(format string, args ...any) (int, object, error) {
		return 0, nil, &problem{http.StatusBadRequest, "UserError", fmt.Sprintf(format, args...)}
	}
	var is learning.JobBase
	if err := typed(body, &is); err != nil {
		return 0, nil, err
	}
	spec, _ := is.Properties.(*learning.CommandJob)
	if spec == nil || spec.Command == nil || spec.EnvironmentID == nil || spec.ComputeID == nil || spec.Limits == nil || spec.Limits.Timeout == nil || spec.Resources == nil {
		return invalid("a command job needs a command, an environment, a cluster, limits and resources")
	}
	identity, _ := spec.Identity.(*learning.ManagedIdentity)
	on := s.clusters[*spec.ComputeID]
	image, _ := s.resources[*spec.EnvironmentID]["image"].(string)
	switch {
	case there != nil:
		return http.StatusOK, there.json(), nil
	case s.gone[name]:
		return invalid("the job %s was deleted", name)
	case len(name) > 255 || !isoSeconds.MatchString(*spec.Limits.Timeout) || *spec.Resources.InstanceCount != 1:
		return invalid("a job needs a name, a timeout and one node")
	case on == nil:
		return invalid("The compute target %s was not found.", *spec.ComputeID)
	case image == "":
		return invalid("The environment %s was not found.", *spec.EnvironmentID)
	case identity == nil || identity.ClientID == nil || !slices.Contains(on.clients, *identity.ClientID):
		return invalid("The managed identity is not assigned to the compute target.")
	}
	if len(s.refusals) > 0 && strings.HasPrefix(s.refusals[0], "create: ") {
		said := s.refused().Error()
		return invalid("%s", strings.TrimPrefix(said, "create: "))
	}
	j := &command{name: name, workspace: workspace, body: body, spec: spec, image: image, client: *identity.ClientID, created: time.Now(), status: "Queued"}
	s.learned[name] = j
	if len(s.refusals) == 0 || !strings.HasPrefix(s.refusals[0], "node: ") { // without a node it waits until it is cancelled
		go s.runCommand(j)
	}
	return http.StatusCreated, j.json(), nil
}

// cancel ends a job. The caller has locked s.
func (s *server) cancel(j *command) {
	if j.cancelled {
		return
	}
	j.cancelled = true
	if j.status == "Queued" {
		if len(s.refusals) > 0 && strings.HasPrefix(s.refusals[0], "node: ") {
			s.refusals = s.refusals[1:]
		}
		j.status, j.ended = statusCanceled, time.Now()
		return
	}
	j.status = "CancelRequested"
	if j.process != nil {
		_ = j.process.Signal(syscall.SIGTERM) // it may have ended
		time.AfterFunc(time.Second, func() { _ = j.process.Kill() })
	}
}

// words returns those of a command, each of which is quoted: images of tests have no shell.
func words(text string) (all []string, err error) {
	for text != "" {
		m := shellWord.FindStringSubmatch(text)
		if m == nil || strings.Contains(text, "${{") {
			return nil, fmt.Errorf("the fake has no shell for %q", text)
		}
		all, text = append(all, m[1]), text[len(m[0]):]
	}
	return all, nil
}

// runCommand runs the container of a job to its end.
func (s *server) runCommand(j *command) {
	failed := s.containCommand(j)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !j.ended.IsZero() { // it was cancelled before it began
		return
	}
	j.ended, j.status = time.Now(), "Completed"
	switch {
	case j.cancelled:
		j.status = statusCanceled
	case failed != "":
		j.status, j.code, j.message = "Failed", "UserError", failed
	}
}

// containCommand runs the container of a job, and returns what Azure says if it fails, or "".
func (s *server) containCommand(j *command) string {
	s.mu.Lock()
	refused := s.refused()
	s.mu.Unlock()
	argv, err := words(*j.spec.Command)
	if err = errors.Join(refused, err); err != nil {
		return err.Error()
	}
	root, config, err := s.images.Pull(context.Background(), j.image)
	if err != nil {
		return fmt.Sprintf("Failed to pull Docker image %s: manifest unknown: %v", j.image, err)
	}
	work, err := s.work(root, j.name, j.name[:strings.LastIndexByte(j.name, '-')])
	if err != nil {
		return err.Error()
	}
	env := append(append(config.Config.Env, s.identified(j.client, j.spec.EnvironmentVariables)...), "AZUREML_RUN_ID="+j.name)
	lines := &containers.Lines{Line: func(text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		j.printed.WriteString(text + "\n")
	}}
	cmd := containers.Command(root, work, argv, env, lines)
	runtime.LockOSThread() // the container ends with the thread that starts it
	defer runtime.UnlockOSThread()
	s.mu.Lock()
	if j.cancelled {
		s.mu.Unlock()
		return ""
	}
	if err = cmd.Start(); err == nil {
		j.process, j.started, j.status = cmd.Process, time.Now(), "Running"
	}
	s.mu.Unlock()
	if err != nil {
		return err.Error()
	}
	limit, _ := time.ParseDuration(strings.ToLower(strings.TrimPrefix(*j.spec.Limits.Timeout, "PT")))
	over := time.AfterFunc(limit, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.cancel(j)
	})
	ended := cmd.Wait()
	over.Stop()
	lines.End()
	if ended != nil {
		return fmt.Sprintf("Execution failed. User process '%s' exited with status code %d.", filepath.Base(argv[0]), cmd.ProcessState.ExitCode())
	}
	return ""
}

// identified returns the variables of a container of Azure Machine Learning that has an identity, and those that it is given.
func (s *server) identified(client string, given map[string]*string) []string {
	env := []string{"SSL_CERT_FILE=/etc/authority.pem", "MSI_ENDPOINT=" + s.url + "/msi", "MSI_SECRET=" + client, "DEFAULT_IDENTITY_CLIENT_ID=" + client}
	for _, kv := range environ(s.url, "", "") {
		if strings.HasPrefix(kv, "AZURE_STORAGE_") {
			env = append(env, kv)
		}
	}
	for k, v := range given {
		env = append(env, k+"="+*v)
	}
	return env
}

// history answers what the history of runs says about a job, with the names that the models of azure-ai-ml have for it.
func (s *server) history(name string) (int, object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.learned[name]
	if j == nil {
		return 0, nil, notFound(name)
	}
	out := object{"runId": j.name, "status": j.status, "logFiles": object{}}
	if !j.started.IsZero() {
		out["startTimeUtc"], out["logFiles"] = stamp(j.started), object{"user_logs/std_log.txt": s.url + "/printed/" + j.name}
	}
	if !j.ended.IsZero() {
		out["endTimeUtc"] = stamp(j.ended)
	}
	if j.message != "" {
		out["error"] = object{"error": object{"code": j.code, "message": j.message}}
	}
	return http.StatusOK, out, nil
}

// print answers the log of a job, as a blob with a signature in its URL does.
func (s *server) print(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	j := s.learned[strings.TrimPrefix(r.URL.Path, "/printed/")]
	var text []byte
	if j != nil {
		text = bytes.Clone(j.printed.Bytes())
	}
	s.mu.Unlock()
	if j == nil || r.Header.Get("Authorization") != "" {
		http.NotFound(w, r)
		return
	}
	http.ServeContent(w, r, "std_log.txt", time.Time{}, bytes.NewReader(text))
}

// msi answers what the endpoint of identities in a job of Azure Machine Learning answers.
func (s *server) msi(w http.ResponseWriter, r *http.Request) {
	r.Header.Set("X-IDENTITY-HEADER", r.Header.Get("secret"))
	if q := r.URL.Query(); q.Has("clientid") {
		q.Set("client_id", q.Get("clientid"))
		r.URL.RawQuery = q.Encode()
	}
	s.identify(w, r)
}

// Commands returns the names of all jobs of Azure Machine Learning that there are now.
func (c *Cloud) Commands() ([]string, error) { return c.list("commands") }
