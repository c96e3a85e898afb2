package gcptest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// What the fake reads of a model of Vertex AI. The rest of it is only checked and returned.
type modelSpec struct {
	Labels    map[string]string `json:"labels"`
	Container struct {
		Image   string   `json:"imageUri"`
		Command []string `json:"command"`
		Args    []string `json:"args"`
		Env     []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"env"`
		Ports []struct {
			Port int `json:"containerPort"`
		} `json:"ports"`
		Predict string `json:"predictRoute"`
		Health  string `json:"healthRoute"`
		Timeout string `json:"deploymentTimeout"`
	} `json:"containerSpec"`
}

type model struct {
	name string // full
	body object
	spec modelSpec
}

// What the fake reads of a deployed model.
type deployedSpec struct {
	ID        string `json:"id"`
	Model     string `json:"model"`
	Account   string `json:"serviceAccount"`
	Resources struct {
		Machine struct {
			Type        string `json:"machineType"`
			Accelerator string `json:"acceleratorType"`
			Count       int    `json:"acceleratorCount"`
		} `json:"machineSpec"`
		Least int `json:"minReplicaCount"`
		Most  int `json:"maxReplicaCount"`
	} `json:"dedicatedResources"`
}

// A deployed model has one container, which is started again when it ends.
type deployed struct {
	body     object
	spec     deployedSpec
	model    *model
	revision *revision
}

// An endpoint divides requests among deployed models.
type endpoint struct {
	name     string // full
	body     object
	etag     int
	deployed []*deployed
	split    map[string]int
	url      string // where it passes all paths on, for tests
	stop     func()
}

// An operation changes a model or an endpoint, and goes on after the call.
type operation struct {
	name, of string // full, and that of what it changes
	done     bool
	err      error
	canceled bool
}

func (o *operation) json() object {
	out := object{"name": o.name, "done": o.done}
	var p *problem
	switch {
	case errors.As(o.err, &p):
		out["error"] = object{"code": 3.0, "message": p.message}
	case o.err != nil:
		out["error"] = object{"code": 13.0, "message": "Internal error: " + o.err.Error()}
	case o.done:
		out["response"] = object{}
	}
	return out
}

func (x *endpoint) json() object {
	out := maps.Clone(x.body)
	out["name"], out["etag"] = x.name, strconv.Itoa(x.etag)
	list, split := []any{}, object{}
	for _, d := range x.deployed {
		list = append(list, d.body)
	}
	for id, n := range x.split {
		split[id] = float64(n)
	}
	out["deployedModels"], out["trafficSplit"] = list, split
	return out
}

func failedPrecondition(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "FAILED_PRECONDITION", fmt.Sprintf(format, args...)}
}

func alreadyThere(name string) error {
	return &problem{http.StatusConflict, "ALREADY_EXISTS", "Resource '" + name + "' already exists."}
}

// Forms that Vertex AI requires.
var (
	endpointID = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	modelID    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,62}$`)
	deployedID = regexp.MustCompile(`^[0-9]{1,10}$`)
)

// begin begins an operation, unless another one changes the same thing. The caller has locked the fake, and do is called
// without the lock.
func (s *server) begin(of, kind string, do func(*operation) error) (object, error) {
	for _, o := range s.operations {
		if o.of == of && !o.done {
			return nil, failedPrecondition("There are other operations running on the %s %q. Operation(s) are: %s.", kind, of, o.name)
		}
	}
	s.numbers++
	o := &operation{name: of + "/operations/" + strconv.Itoa(7_000_000_000+s.numbers), of: of}
	s.operations = append(s.operations, o)
	go func() {
		time.Sleep(20 * time.Millisecond)
		err := do(o)
		s.mu.Lock()
		defer s.mu.Unlock()
		o.done, o.err = true, err
	}()
	return object{"name": o.name, "done": false}, nil
}

// later is what an operation does with the lock.
func (s *server) later(do func()) func(*operation) error {
	return func(*operation) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		do()
		return nil
	}
}

// modelAPI answers a call about models.
func (s *server) modelAPI(id string, names []string, r *http.Request, body object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent := "projects/" + names[0] + "/locations/" + names[1]
	switch id {
	case "upload":
		return s.upload(parent, body)
	case "list":
		want := labelFilter.FindStringSubmatch(r.URL.Query().Get("filter"))
		if want == nil {
			return nil, invalid("the fake does not know the filter %s", r.URL.Query().Get("filter"))
		}
		all := []any{}
		for _, m := range s.models {
			if m.spec.Labels[want[1]] == want[2] {
				all = append(all, m.body)
			}
		}
		return object{"models": all}, nil
	}
	name := parent + "/models/" + names[2]
	if id == "operations.get" {
		return s.operation(name + "/operations/" + names[3])
	}
	m := s.models[name]
	if m == nil {
		return nil, notFound(name)
	}
	if id == "get" {
		return m.body, nil
	}
	for _, x := range s.endpoints {
		if slices.ContainsFunc(x.deployed, func(d *deployed) bool { return d.model == m }) {
			return nil, failedPrecondition("The Model %q is deployed or being deployed at the following Endpoint(s): %s.", name, x.name)
		}
	}
	return s.begin(name, "Model", s.later(func() { delete(s.models, name) }))
}

func (s *server) operation(name string) (object, error) {
	i := slices.IndexFunc(s.operations, func(o *operation) bool { return o.name == name })
	if i < 0 {
		return nil, notFound(name)
	}
	return s.operations[i].json(), nil
}

// upload makes a model. The caller has locked the fake.
func (s *server) upload(parent string, body object) (object, error) {
	id, _ := body["modelId"].(string)
	given, _ := body["model"].(object)
	m := &model{name: parent + "/models/" + id, body: given}
	if err := readInto(given, &m.spec); err != nil {
		return nil, err
	}
	c := m.spec.Container
	switch {
	case !modelID.MatchString(id) || given["displayName"] == nil:
		return nil, invalid("the id %q of a model is not valid, or it has no name", id)
	case s.models[m.name] != nil:
		return nil, alreadyThere(m.name)
	case !strings.Contains(c.Image, "-docker.pkg.dev/"):
		return nil, invalid("the image %q is not in Artifact Registry", c.Image)
	case len(c.Ports) != 1 || !strings.HasPrefix(c.Health, "/") || !strings.HasPrefix(c.Predict, "/") || timeout.FindStringSubmatch(c.Timeout) == nil:
		return nil, invalid("a container needs a port, routes and a timeout")
	}
	if n := must(strconv.Atoi(timeout.FindStringSubmatch(c.Timeout)[1])); n > 7200 {
		return nil, invalid("the deployment timeout %s is longer than 2 hours", c.Timeout)
	}
	for _, v := range c.Env {
		if strings.HasPrefix(v.Name, "AIP_") {
			return nil, invalid("the variable %s is reserved", v.Name)
		}
	}
	for k, v := range m.spec.Labels {
		if !labels.MatchString(v) {
			return nil, invalid("the value %q of the label %s is not valid", v, k)
		}
	}
	given["name"] = m.name
	return s.begin(m.name, "Model", s.later(func() { s.models[m.name] = m }))
}

func readInto(body object, to any) error {
	text, err := json.Marshal(body)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		return invalid("%v", err)
	}
	return nil
}

// endpointAPI answers a call about endpoints.
func (s *server) endpointAPI(id string, names []string, r *http.Request, body object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent := "projects/" + names[0] + "/locations/" + names[1]
	if id == "create" {
		return s.createEndpoint(parent, r.URL.Query().Get("endpointId"), body)
	}
	name := parent + "/endpoints/" + names[2]
	switch id {
	case "operations.get":
		return s.operation(name + "/operations/" + names[3])
	case "operations.cancel":
		for _, o := range s.operations {
			if o.name == name+"/operations/"+names[3] {
				o.canceled = true
				return object{}, nil
			}
		}
		return nil, notFound(name)
	}
	x := s.endpoints[name]
	if x == nil {
		return nil, notFound(name)
	}
	switch id {
	case "get":
		return x.json(), nil
	case "operations.list":
		all := []any{}
		for _, o := range s.operations {
			if o.of == name {
				all = append(all, o.json())
			}
		}
		return object{"operations": all}, nil
	case "patch":
		return s.patchEndpoint(x, strings.Split(r.URL.Query().Get("updateMask"), ","), body)
	case "deployModel":
		return s.deploy(x, body)
	case "undeployModel":
		return s.undeploy(x, body)
	}
	if len(x.deployed) > 0 {
		return nil, failedPrecondition("The Endpoint %q has deployed or being-deployed DeployedModel(s): %s.", name, x.deployed[0].spec.ID)
	}
	return s.begin(name, "Endpoint", s.later(func() { delete(s.endpoints, name); x.stop() }))
}

// createEndpoint makes an endpoint. The caller has locked the fake.
func (s *server) createEndpoint(parent, id string, body object) (object, error) {
	x := &endpoint{name: parent + "/endpoints/" + id, body: body, etag: 1, split: map[string]int{}}
	switch {
	case !endpointID.MatchString(id) || body["displayName"] == nil:
		return nil, invalid("the id %q of an endpoint is not valid, or it has no name", id)
	case s.endpoints[x.name] != nil:
		return nil, alreadyThere(x.name)
	}
	c := &Cloud{}
	address, err := c.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, p := s.chosen(x); p != nil {
			p.ServeHTTP(w, r)
		} else {
			http.Error(w, "no model is deployed", http.StatusServiceUnavailable)
		}
	}))
	if err != nil {
		return nil, err
	}
	x.url, x.stop = "http://"+address, c.Stop
	return s.begin(x.name, "Endpoint", s.later(func() { s.endpoints[x.name] = x }))
}

// patchEndpoint changes fields of an endpoint. The caller has locked the fake.
func (s *server) patchEndpoint(x *endpoint, mask []string, body object) (object, error) {
	if etag, is := body["etag"]; is && etag != strconv.Itoa(x.etag) {
		return nil, &problem{http.StatusConflict, "ABORTED", "The etag of the endpoint " + x.name + " is " + strconv.Itoa(x.etag) + "."}
	}
	for _, field := range mask {
		switch field {
		case "trafficSplit":
			given, _ := body[field].(object)
			split, sum := map[string]int{}, 0
			for id, n := range given {
				f, _ := n.(float64)
				split[id], sum = int(f), sum+int(f)
				if !slices.ContainsFunc(x.deployed, func(d *deployed) bool { return d.spec.ID == id }) {
					return nil, invalid("The DeployedModel %s in traffic_split is not deployed.", id)
				}
			}
			if len(split) > 0 && sum != 100 {
				return nil, invalid("The traffic_split adds up to %d, and has to be 100.", sum)
			}
			x.split = split
		case "labels":
			x.body[field] = body[field]
		default:
			return nil, invalid("the fake does not change %s", field)
		}
	}
	x.etag++
	return x.json(), nil
}

// accelerated are the families of machines that have GPUs, with the GPU that they have. A machine n1 may have a T4.
var accelerated = map[string]string{"g2": "NVIDIA_L4", "a2-highgpu": "NVIDIA_TESLA_A100", "a2-ultragpu": "NVIDIA_A100_80GB", "a3-highgpu": "NVIDIA_H100_80GB", "n1": "NVIDIA_TESLA_T4", "e2": ""}

// deploy deploys a model at an endpoint. The caller has locked the fake.
func (s *server) deploy(x *endpoint, body object) (object, error) {
	given, _ := body["deployedModel"].(object)
	d := &deployed{body: given}
	if err := readInto(given, &d.spec); err != nil {
		return nil, err
	}
	r, m := d.spec.Resources, d.spec.Resources.Machine
	family, _, _ := strings.Cut(m.Type, "-")
	if strings.HasPrefix(m.Type, "a") {
		family = strings.Join(strings.Split(m.Type, "-")[:2], "-")
	}
	gpu, known := accelerated[family]
	d.model = s.models[d.spec.Model]
	switch {
	case !deployedID.MatchString(d.spec.ID):
		return nil, invalid("the id %q of a deployed model is not valid", d.spec.ID)
	case slices.ContainsFunc(x.deployed, func(o *deployed) bool { return o.spec.ID == d.spec.ID }):
		return nil, alreadyThere(x.name + "/deployedModels/" + d.spec.ID)
	case d.model == nil:
		return nil, notFound(d.spec.Model)
	case r.Least < 1 || r.Most < r.Least:
		return nil, invalid("min_replica_count %d has to be at least 1, and max_replica_count %d at least that", r.Least, r.Most)
	case !known:
		return nil, invalid("Machine type %q is not supported.", m.Type)
	case m.Count > 0 && m.Accelerator != gpu, m.Count == 0 && m.Accelerator != "", m.Count == 0 && family != "e2" && family != "n1":
		return nil, invalid("Accelerator type %q with count %d is not supported for machine type %q.", m.Accelerator, m.Count, m.Type)
	case !s.accounts[d.spec.Account]:
		return nil, &problem{http.StatusForbidden, "PERMISSION_DENIED", "You do not have permission to act as service account: " + d.spec.Account + " (iam.serviceAccounts.actAs)"}
	}
	if len(s.refusals) > 0 && s.refusals[0][0] == "RESOURCE_EXHAUSTED" { // at once, and not later as the error of the operation
		message := s.refusals[0][1]
		s.refusals = s.refusals[1:]
		return nil, &problem{http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", message}
	}
	return s.begin(x.name, "Endpoint", func(o *operation) error { return s.runDeployed(x, d, o) })
}

// runDeployed starts the container of a deployed model, and returns once it is healthy.
func (s *server) runDeployed(x *endpoint, d *deployed, o *operation) error {
	c := d.model.spec.Container
	s.mu.Lock()
	if len(s.refusals) > 0 {
		no := s.refusals[0]
		s.refusals = s.refusals[1:]
		s.mu.Unlock()
		return &problem{message: no[1]}
	}
	s.hosted[d.spec.ID] = filepath.Base(d.model.name)
	s.deploys[d.model.name]++
	storage, err := s.storageOf(d.spec.Account)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	root, config, err := s.images.Pull(context.Background(), c.Image)
	if errors.Is(err, containers.ErrNoImage) {
		return &problem{message: "The image " + c.Image + " was not found."}
	}
	if err != nil {
		return err
	}
	port := c.Ports[0].Port
	env := append(config.Config.Env, "STORAGE_EMULATOR_HOST="+storage, "AIP_HTTP_PORT="+strconv.Itoa(port), "AIP_HEALTH_ROUTE="+c.Health, "AIP_PREDICT_ROUTE="+c.Predict, "AIP_MODE=PREDICTION", "AIP_ENDPOINT_ID="+filepath.Base(x.name), "AIP_DEPLOYED_MODEL_ID="+d.spec.ID)
	for _, v := range c.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	alone := &service{} // a revision of its own, which nothing but this endpoint asks
	alone.spec.Template.ServiceAccount = d.spec.Account
	alone.spec.Template.Containers = append(alone.spec.Template.Containers, containerSpec{Image: c.Image, Command: c.Command, Args: c.Args, Ports: c.Ports})
	alone.spec.Template.Containers[0].StartupProbe.HTTP.Path = c.Health
	d.revision = &revision{name: d.model.name, spec: alone.spec, created: time.Now(), state: conditionReconciling, ended: make(chan struct{})}
	alone.revisions = []*revision{d.revision}
	over := make(chan error, 1)
	go func() { over <- s.keep(alone, d.revision, root, env) }()
	limit := time.After(time.Duration(must(strconv.Atoi(timeout.FindStringSubmatch(c.Timeout)[1]))) * time.Second)
	const where = " Model server logs can be found at the console of Cloud Logging."
	for {
		s.mu.Lock()
		ready, canceled := d.revision.state == conditionSucceeded, o.canceled
		if ready {
			d.body["createTime"] = stamp(time.Now())
			x.deployed, x.etag = append(x.deployed, d), x.etag+1
		}
		s.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-over:
			return &problem{message: "Model server exited unexpectedly." + where}
		case <-limit:
			d.revision.end()
			return &problem{message: "Model server never became ready. Please validate that your model file or container configuration are valid." + where}
		case <-time.After(20 * time.Millisecond):
		}
		if canceled {
			d.revision.end()
			return &problem{message: "The operation was cancelled."}
		}
	}
}

// undeploy takes a model from an endpoint. The caller has locked the fake.
func (s *server) undeploy(x *endpoint, body object) (object, error) {
	id, _ := body["deployedModelId"].(string)
	i := slices.IndexFunc(x.deployed, func(d *deployed) bool { return d.spec.ID == id })
	switch {
	case i < 0:
		return nil, notFound(x.name + "/deployedModels/" + id)
	case x.split[id] > 0 && len(x.deployed) > 1:
		return nil, failedPrecondition("The DeployedModel %s has %d percent of the traffic of the Endpoint, and cannot be undeployed.", id, x.split[id])
	}
	d := x.deployed[i]
	return s.begin(x.name, "Endpoint", s.later(func() {
		x.deployed = slices.DeleteFunc(x.deployed, func(o *deployed) bool { return o == d })
		delete(x.split, id)
		x.etag++
		d.revision.end()
	}))
}

// chosen returns the deployed model that answers the next request, and what leads to its container, or nil.
func (s *server) chosen(x *endpoint) (*deployed, http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := rand.IntN(100)
	for _, d := range x.deployed {
		if n -= x.split[d.spec.ID]; n < 0 && d.revision.instance != nil {
			return d, d.revision.instance
		}
	}
	return nil, nil
}

var prediction = regexp.MustCompile(`^/v1/(projects/[^/]+/locations/[^/]+/endpoints/[^/:]+):(rawPredict|predict)$`)

// predict passes a request on to a container. It reports whether the path is that of a prediction.
func (s *server) predict(w http.ResponseWriter, r *http.Request) bool {
	at := prediction.FindStringSubmatch(r.URL.Path)
	if at == nil {
		return false
	}
	s.mu.Lock()
	x := s.endpoints[at[1]]
	s.mu.Unlock()
	if x == nil || r.Method != http.MethodPost {
		http.Error(w, "there is no such endpoint", http.StatusNotFound)
		return true
	}
	d, to := s.chosen(x)
	if d == nil {
		http.Error(w, "no model is deployed with traffic", http.StatusBadRequest)
		return true
	}
	r.URL.Path = d.model.spec.Container.Predict
	w.Header().Set("X-Vertex-AI-Endpoint-Id", filepath.Base(x.name))
	w.Header().Set("X-Vertex-AI-Deployed-Model-Id", d.spec.ID)
	if at[2] == "rawPredict" {
		to.ServeHTTP(w, r)
		return true
	}
	var in, out struct {
		Instances   []any `json:"instances,omitempty"`
		Predictions []any `json:"predictions,omitempty"`
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(body, &in) != nil || in.Instances == nil {
		http.Error(w, "a request has instances", http.StatusBadRequest)
		return true
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	to.ServeHTTP(answer, r)
	if answer.Code != http.StatusOK || json.Unmarshal(answer.Body.Bytes(), &out) != nil || out.Predictions == nil {
		http.Error(w, answer.Body.String(), answer.Code)
		return true
	}
	_ = json.NewEncoder(w).Encode(object{"predictions": out.Predictions, "deployedModelId": d.spec.ID, "model": d.model.name}) // the caller may be gone
	return true
}

// Hosted returns the names of all models and endpoints of Vertex AI that there are now.
func (c *Cloud) Hosted() ([]string, error) { return c.left("hosted") }

// Deploys returns how often each model was ever deployed, as "NAME TIMES".
func (c *Cloud) Deploys() ([]string, error) { return c.left("deploys") }
