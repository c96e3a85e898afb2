package azuretest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	learning "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/machinelearning/armmachinelearning/v4"

	"github.com/tenon-ml/tenon/internal/test/containers"
)

// An endpoint is an online endpoint of Azure Machine Learning. It divides its requests among deployments.
type endpoint struct {
	name, id    string
	body        object
	spec        learning.OnlineEndpoint
	state       string
	deployments []*deployment
}

// A deployment has one instance, which is started again when it ends.
type deployment struct {
	name    string
	body    object
	spec    *learning.ManagedOnlineDeployment
	config  learning.InferenceContainerProperties
	image   string
	state   string
	created time.Time
	printed strings.Builder
	replica *httputil.ReverseProxy
	ended   chan struct{} // closed once it is removed
	over    chan struct{} // closed once its container has ended then
}

// inference is the path of requests to endpoints, and faster is how much faster the time of probes passes than on Azure.
const (
	inference = "/inference/"
	faster    = 20
)

// Forms that Azure requires.
var (
	endpointName   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]$`)
	deploymentName = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]$`)
	hostSize       = regexp.MustCompile(`^Standard_(E\d+s_v3|F\d+s_v2|NC\d+as_T4_v3|NC\d+ads_A100_v4|NC\d+adi?s_H100_v5|ND96\w+)$`)
)

func userError(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "UserError", fmt.Sprintf(format, args...)}
}

func (x *endpoint) json(url string) object {
	out, properties := maps.Clone(x.body), maps.Clone(part(x.body, "properties"))
	properties["provisioningState"] = x.state
	if x.state != "Creating" {
		properties["scoringUri"] = url + inference + x.name + "/score"
	}
	out["id"], out["name"], out["type"], out["properties"] = x.id, x.name, "Microsoft.MachineLearningServices/workspaces/onlineEndpoints", properties
	return out
}

func (d *deployment) json(of *endpoint) object {
	out, properties := maps.Clone(d.body), maps.Clone(part(d.body, "properties"))
	properties["provisioningState"] = d.state
	out["id"], out["name"], out["properties"], out["systemData"] = of.id+"/deployments/"+d.name, d.name, properties, object{"createdAt": stamp(d.created)}
	return out
}

// at returns the deployment of a name, or nil.
func (x *endpoint) at(name string) *deployment {
	i := slices.IndexFunc(x.deployments, func(d *deployment) bool { return d.name == name })
	if i < 0 {
		return nil
	}
	return x.deployments[i]
}

// busy reports whether Azure works on an endpoint or a deployment of it.
func (x *endpoint) busy() bool {
	changes := func(state string) bool { return state == "Creating" || state == "Updating" || state == "Deleting" }
	return changes(x.state) || slices.ContainsFunc(x.deployments, func(d *deployment) bool { return changes(d.state) })
}

// validInference refuses an environment with routes that Azure refuses. One of a job has none.
func validInference(c *learning.InferenceContainerProperties) error {
	if c == nil {
		return nil
	}
	for _, r := range []*learning.Route{c.LivenessRoute, c.ReadinessRoute, c.ScoringRoute} {
		if r == nil || r.Path == nil || r.Port == nil || !strings.HasPrefix(*r.Path, "/") || *r.Port < 1 || *r.Port > 65535 {
			return userError("an environment for inference needs three routes")
		}
	}
	return nil
}

// online answers a call about endpoints. The caller has locked s.
func (s *server) online(r *http.Request, workspace string, names []string, body object) (int, object, error) {
	x := s.endpoints[names[0]]
	switch {
	case names[0] == "" && r.Method == http.MethodGet:
		all := []any{}
		for _, name := range slices.Sorted(maps.Keys(s.endpoints)) {
			all = append(all, s.endpoints[name].json(s.url))
		}
		out := object{"value": all}
		return http.StatusOK, out, typed(out, &learning.OnlineEndpointTrackedResourceArmPaginatedResult{})
	case names[1] == "" && r.Method == http.MethodPut:
		return s.putEndpoint(names[0], workspace, x, body)
	case x == nil:
		return 0, nil, notFound(r.URL.Path)
	case names[1] == "listKeys" && r.Method == http.MethodPost:
		out := object{"primaryKey": keyOf(x.name), "secondaryKey": keyOf(x.name + "2")}
		return http.StatusOK, out, typed(out, &learning.EndpointAuthKeys{})
	case names[1] == "deployments":
		return s.onlineDeployment(r, x, names[2:], body)
	case names[1] == "" && r.Method == http.MethodGet:
		out := x.json(s.url)
		return http.StatusOK, out, typed(out, &learning.OnlineEndpoint{})
	case names[1] == "" && r.Method == http.MethodDelete:
		if x.busy() {
			return 0, nil, conflict(x.name)
		}
		x.state = "Deleting"
		go s.removeDeployments(x, slices.Clone(x.deployments), func() { delete(s.endpoints, x.name) })
		return http.StatusAccepted, nil, nil
	}
	return 0, nil, notFound(r.URL.Path)
}

func conflict(name string) error {
	return &problem{http.StatusConflict, "Conflict", "The endpoint " + name + " has an operation in progress."}
}

func keyOf(name string) string { return "key-of-" + name }

// begin begins an operation, and returns the header with its URL. The caller has locked s, and do is called without the lock.
// done gets the lock.
func (s *server) begin(do func() error, done func(error)) map[string]string {
	id := group[:strings.Index(group, "/resourceGroups/")] + "/providers/Microsoft.MachineLearningServices/locations/" + Location + "/mfeOperationsStatus/od-" + strconv.Itoa(len(s.operations))
	op := &operation{status: "InProgress"}
	s.operations[id] = op
	go func() {
		time.Sleep(making)
		err := do()
		s.mu.Lock()
		defer s.mu.Unlock()
		op.status = "Succeeded"
		if err != nil {
			*op = operation{"Failed", "BadRequest", err.Error()}
		}
		done(err)
	}()
	return map[string]string{"Azure-AsyncOperation": s.url + id + "?api-version=" + learningVersion}
}

// putEndpoint makes or changes an endpoint. The caller has locked s.
func (s *server) putEndpoint(name, workspace string, x *endpoint, body object) (int, object, error) {
	var spec learning.OnlineEndpoint
	if err := typed(body, &spec); err != nil {
		return 0, nil, err
	}
	p := spec.Properties
	switch {
	case x != nil && x.busy():
		return 0, nil, conflict(name)
	case !endpointName.MatchString(name) || spec.Location == nil || *spec.Location != Location:
		return 0, nil, userError("the name %s or the location of the endpoint is not valid", name)
	case p == nil || p.AuthMode == nil || *p.AuthMode != learning.EndpointAuthModeKey || p.ScoringURI != nil || p.ProvisioningState != nil:
		return 0, nil, userError("an endpoint has keys, and its state and URL cannot be set")
	case spec.Identity == nil || *spec.Identity.Type != learning.ManagedServiceIdentityTypeUserAssigned || len(spec.Identity.UserAssignedIdentities) != 1:
		return 0, nil, userError("an endpoint needs an identity")
	}
	for id := range spec.Identity.UserAssignedIdentities {
		if s.resources[id] == nil {
			return 0, nil, userError("The UserAssignedIdentity %s was not found.", id)
		}
	}
	total := int32(0)
	for to, percent := range p.Traffic {
		if d := (*deployment)(nil); x != nil {
			if d = x.at(to); d == nil || d.state != "Succeeded" {
				return 0, nil, userError("The deployment %s in traffic does not exist, or is not ready.", to)
			}
		} else {
			return 0, nil, userError("The deployment %s in traffic does not exist.", to)
		}
		total += *percent
	}
	if total != 0 && total != 100 {
		return 0, nil, userError("The traffic adds up to %d.", total)
	}
	status := http.StatusOK
	state := "Updating"
	if x == nil {
		x, status, state = &endpoint{name: name, id: workspace + "/onlineEndpoints/" + name}, http.StatusCreated, "Creating"
		s.endpoints[name] = x
	}
	x.body, x.spec, x.state = body, spec, state
	out := x.json(s.url)
	out[headerKey] = s.begin(func() error { return nil }, func(error) { x.state = "Succeeded" })
	return status, out, nil
}

// onlineDeployment answers a call about deployments at an endpoint. The caller has locked s.
func (s *server) onlineDeployment(r *http.Request, x *endpoint, names []string, body object) (int, object, error) {
	d := x.at(names[0])
	switch {
	case names[0] == "" && r.Method == http.MethodGet:
		all := []any{}
		for _, d := range x.deployments {
			all = append(all, d.json(x))
		}
		out := object{"value": all}
		return http.StatusOK, out, typed(out, &learning.OnlineDeploymentTrackedResourceArmPaginatedResult{})
	case names[1] == "" && r.Method == http.MethodPut:
		return s.putDeployment(names[0], x, d, body)
	case d == nil:
		return 0, nil, notFound(r.URL.Path)
	case names[1] == "getLogs" && r.Method == http.MethodPost:
		if err := typed(body, &learning.DeploymentLogsRequest{}); err != nil {
			return 0, nil, err
		}
		out := object{"content": "Instance status:\nUserContainerStart: Succeeded\n\nContainer logs:\n" + d.printed.String()}
		return http.StatusOK, out, typed(out, &learning.DeploymentLogs{})
	case names[1] == "" && r.Method == http.MethodGet:
		out := d.json(x)
		return http.StatusOK, out, typed(out, &learning.OnlineDeployment{})
	case names[1] == "" && r.Method == http.MethodDelete:
		switch percent := x.spec.Properties.Traffic[d.name]; {
		case x.busy():
			return 0, nil, conflict(x.name)
		case percent != nil && *percent > 0:
			return 0, nil, userError("The deployment %s has %d percent of the traffic, and cannot be deleted.", d.name, *percent)
		}
		d.state = "Deleting"
		go s.removeDeployments(x, []*deployment{d}, func() {})
		return http.StatusAccepted, nil, nil
	}
	return 0, nil, notFound(r.URL.Path)
}

// removeDeployments ends and removes deployments, and does something with the lock.
func (s *server) removeDeployments(x *endpoint, all []*deployment, do func()) {
	time.Sleep(making)
	for _, d := range all {
		close(d.ended)
		<-d.over
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	x.deployments = slices.DeleteFunc(x.deployments, func(d *deployment) bool { return slices.Contains(all, d) })
	do()
}

// putDeployment makes a deployment. The caller has locked s.
func (s *server) putDeployment(name string, x *endpoint, there *deployment, body object) (int, object, error) {
	var is learning.OnlineDeployment
	if err := typed(body, &is); err != nil {
		return 0, nil, err
	}
	spec, _ := is.Properties.(*learning.ManagedOnlineDeployment)
	if spec == nil || is.Location == nil || is.SKU == nil || is.SKU.Name == nil || is.SKU.Capacity == nil || spec.EnvironmentID == nil || spec.InstanceType == nil || spec.LivenessProbe == nil || spec.ReadinessProbe == nil || spec.RequestSettings == nil {
		return 0, nil, userError("a managed deployment needs a location, a SKU, an environment, an instance type, probes and request settings")
	}
	d := &deployment{name: name, body: body, spec: spec, state: "Creating", created: time.Now(), ended: make(chan struct{}), over: make(chan struct{})}
	environment := s.resources[*spec.EnvironmentID]
	d.image, _ = environment["image"].(string)
	if err := typed(part(environment, "inferenceConfig"), &d.config); err != nil {
		return 0, nil, err
	}
	limit, err := live(spec.LivenessProbe)
	switch {
	case x.busy():
		return 0, nil, conflict(x.name)
	case there != nil:
		return 0, nil, userError("the fake does not change the deployment %s", name)
	case !deploymentName.MatchString(name) || *is.SKU.Name != "Default" || *is.SKU.Capacity < 1 || *is.SKU.Capacity > 50:
		return 0, nil, userError("the name %s or the SKU of the deployment is not valid", name)
	case !hostSize.MatchString(*spec.InstanceType):
		return 0, nil, userError("Instance type %s is not supported.", *spec.InstanceType)
	case d.image == "" || d.config.ScoringRoute == nil:
		return 0, nil, userError("The environment %s was not found, or has no routes.", *spec.EnvironmentID)
	case !isoSeconds.MatchString(*spec.RequestSettings.RequestTimeout) || *spec.RequestSettings.MaxConcurrentRequestsPerInstance < 1:
		return 0, nil, userError("the request settings are not valid")
	case err != nil:
		return 0, nil, err
	}
	if len(s.refusals) > 0 && strings.HasPrefix(s.refusals[0], "create: ") {
		return 0, nil, userError("%s", strings.TrimPrefix(s.refused().Error(), "create: "))
	}
	x.deployments = append(x.deployments, d)
	s.deploys[x.name+"/"+name]++
	out := d.json(x)
	out[headerKey] = s.begin(func() error { return s.deploy(x, d, limit) }, func(err error) {
		if d.state = "Succeeded"; err != nil {
			d.state = "Failed"
		}
	})
	return http.StatusCreated, out, nil
}

// live returns how long a container may take to answer, by its probe.
func live(p *learning.ProbeSettings) (limit time.Duration, err error) {
	period, failed := time.ParseDuration(strings.ToLower(strings.TrimPrefix(*p.Period, "PT")))
	delay, bad := time.ParseDuration(strings.ToLower(strings.TrimPrefix(*p.InitialDelay, "PT")))
	if failed != nil || bad != nil || *p.FailureThreshold < 1 || period < time.Second {
		err = userError("a probe is not valid")
	}
	return (delay + period*time.Duration(*p.FailureThreshold)) / faster, err
}

// deploy starts the container of a deployment, and returns once it is ready.
func (s *server) deploy(x *endpoint, d *deployment, limit time.Duration) error {
	s.mu.Lock()
	err := s.refused()
	client := ""
	for id := range x.spec.Identity.UserAssignedIdentities {
		client, _ = s.resources[id]["clientId"].(string)
	}
	s.mu.Unlock()
	failed := func(err error) error {
		close(d.over)
		return err
	}
	if err != nil {
		return failed(err)
	}
	root, config, err := s.images.Pull(context.Background(), d.image)
	if errors.Is(err, containers.ErrNoImage) {
		err = errors.New("ImageBuildFailure: manifest unknown")
	}
	if err == nil && len(config.Config.Entrypoint) == 0 {
		err = errors.New("ResourceNotReady: User container has crashed or terminated: no command specified")
	}
	if err != nil {
		return failed(err)
	}
	work, err := s.work(root, x.name+"-"+d.name, x.name)
	if err != nil {
		return failed(err)
	}
	replica := containers.Replica{
		Root: root, Work: work, Argv: append(slices.Clone(config.Config.Entrypoint), config.Config.Cmd...),
		Env: append(append(config.Config.Env, s.identified(client, d.spec.EnvironmentVariables)...), "AZUREML_ENTRY_SCRIPT="), Port: int(*d.config.ScoringRoute.Port),
		Log: &containers.Lines{Line: func(text string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			d.printed.WriteString(text + "\n")
		}}, Ready: *d.config.ReadinessRoute.Path, Reaches: strings.TrimPrefix(s.url, "https://"), Grace: time.Second,
	}
	ready, died, late := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	end := make(chan struct{})
	go func() {
		select {
		case <-late:
		case <-d.ended:
		}
		close(end)
	}()
	go func() {
		defer close(d.over)
		defer close(died)
		for {
			err := replica.Run(end, func(to *httputil.ReverseProxy) {
				s.mu.Lock()
				defer s.mu.Unlock()
				d.replica = to
				select {
				case ready <- struct{}{}:
				default:
				}
			})
			s.mu.Lock()
			was := d.replica
			d.replica = nil
			s.mu.Unlock()
			if errors.Is(err, containers.ErrEnded) || was == nil {
				return
			}
		}
	}()
	select {
	case <-ready:
		return nil
	case <-died:
		return errors.New("ResourceNotReady: User container has crashed or terminated. Please see troubleshooting guide, available here: https://aka.ms/oe-tsg#error-resourcenotready")
	case <-time.After(limit):
		close(late)
		return errors.New("ResourceNotReady: Liveness probe failed")
	}
}

// score passes a request on to a container, by the traffic of its endpoint.
func (s *server) score(w http.ResponseWriter, r *http.Request) {
	const which = "azureml-model-deployment"
	name, base := path.Split(strings.TrimPrefix(r.URL.Path, inference))
	s.mu.Lock()
	x := s.endpoints[strings.TrimSuffix(name, "/")]
	var to *deployment
	var proxy *httputil.ReverseProxy
	if x != nil {
		n, named := rand.Int32N(100), r.Header.Get(which)
		for _, d := range x.deployments {
			percent := int32(0)
			if p := x.spec.Properties.Traffic[d.name]; p != nil {
				percent = *p
			}
			if n -= percent; to == nil && (named == "" && n < 0 || named == d.name) {
				to, proxy = d, d.replica
			}
		}
	}
	s.mu.Unlock()
	switch {
	case x == nil || base != "score" || r.Method != http.MethodPost:
		http.NotFound(w, r)
	case r.Header.Get("Authorization") != "Bearer "+keyOf(x.name) && r.Header.Get("Authorization") != "Bearer "+keyOf(x.name+"2"):
		http.Error(w, `{"error_code": "Unauthorized", "message": "key_auth_access_denied"}`, http.StatusUnauthorized)
	case proxy == nil:
		http.Error(w, "no deployment with traffic", http.StatusNotFound)
	default:
		r.URL.Path = *to.config.ScoringRoute.Path
		w.Header().Set(which, to.name)
		proxy.ServeHTTP(w, r)
	}
}

// listEndpoints returns the names of all endpoints, and of their deployments. The caller has locked s.
func (s *server) listEndpoints() []string {
	all := []string{}
	for name, x := range s.endpoints {
		all = append(all, name)
		for _, d := range x.deployments {
			all = append(all, name+"/"+d.name)
		}
	}
	return all
}

// Endpoints returns the names of all endpoints of Azure Machine Learning that there are now, and of their deployments.
func (c *Cloud) Endpoints() ([]string, error) { return c.list("endpoints") }

// Deploys returns how often each deployment was ever made, as "ENDPOINT/DEPLOYMENT TIMES".
func (c *Cloud) Deploys() ([]string, error) { return c.list("deploys") }

// Key returns the key with which the endpoint at a URL answers, as whoever calls it reads it.
func (c *Cloud) Key(url string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(url, c.URL+inference), "/")
	return keyOf(name)
}
