package azuretest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apps "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"

	"github.com/tenon-ml/tenon/internal/files"
	"github.com/tenon-ml/tenon/internal/test/containers"
)

// An app of Container Apps has revisions, and answers at an address of its own.
type app struct {
	name      string
	body      object
	spec      apps.ContainerApp
	state     string // of provisioning
	host      string
	close     func()
	revisions []*revision // the newest last
}

// A revision has one replica, which is started again when it ends. Container Apps have as many as there are requests for.
type revision struct {
	name            string
	spec            apps.ContainerApp // as it was then
	template        object
	created         time.Time
	active          bool
	health, running string
	asked           sync.WaitGroup // requests that it answers
	ended           chan struct{}  // closed once it was deactivated
	over            chan struct{}  // closed once its replica has ended then
	replica         *httputil.ReverseProxy
	lives           int
}

// An operation is what the fake does after it has answered.
type operation struct{ status, code, message string }

var (
	suffixName = regexp.MustCompile(`^[a-z]([a-z0-9]|-[a-z0-9])*$`)
	appPath    = regexp.MustCompile(`/providers/Microsoft\.App/containerApps(?:/([^/]+))?(?:/(revisions)(?:/([^/]+))?(?:/(deactivate))?)?$`)
)

const operationPath = "/providers/Microsoft.App/locations/" + Location + "/containerappOperationStatuses/"

func invalidApp(format string, args ...any) error {
	return &problem{http.StatusBadRequest, "InvalidRequestParameter", fmt.Sprintf(format, args...)}
}

// at returns the revision of a name, or nil.
func (a *app) at(name string) *revision {
	i := slices.IndexFunc(a.revisions, func(r *revision) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	return a.revisions[i]
}

// part returns an object in an object, which is empty if there is none.
func part(o object, names ...string) object {
	for _, name := range names {
		next, _ := o[name].(object)
		if next == nil {
			return object{}
		}
		o = next
	}
	return o
}

func (a *app) json() object {
	properties, configuration, ingress := maps.Clone(part(a.body, "properties")), maps.Clone(part(a.body, "properties", "configuration")), maps.Clone(part(a.body, "properties", "configuration", "ingress"))
	ingress["fqdn"] = a.host
	configuration["ingress"], properties["configuration"], properties["provisioningState"] = ingress, configuration, a.state
	out := maps.Clone(a.body)
	out["id"], out["name"], out["type"], out["properties"] = group+"Microsoft.App/containerApps/"+a.name, a.name, "Microsoft.App/containerApps", properties
	return out
}

func (r *revision) json() object {
	provisioned := "Provisioned"
	if !r.active {
		provisioned = "Deprovisioned"
	}
	return object{"name": r.name, "type": "Microsoft.App/containerapps/revisions", "properties": object{
		"active": r.active, "createdTime": stamp(r.created), "healthState": r.health, "runningState": r.running, "provisioningState": provisioned, "template": r.template,
	}}
}

// service answers a call of Container Apps about apps and their revisions.
func (s *server) service(r *http.Request, names []string, body object) (int, object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.apps[names[1]]
	switch {
	case names[1] == "" && r.Method == http.MethodGet:
		all := []any{}
		for _, name := range slices.Sorted(maps.Keys(s.apps)) {
			all = append(all, s.apps[name].json())
		}
		out := object{"value": all}
		return http.StatusOK, out, typed(out, &apps.ContainerAppCollection{})
	case a == nil && r.Method != http.MethodPut:
		return 0, nil, notFound(r.URL.Path)
	case r.Method != http.MethodGet && a != nil && (a.state == "InProgress" || a.state == "Deleting"):
		return 0, nil, &problem{http.StatusConflict, "ContainerAppOperationInProgress", "Cannot modify a container app " + a.name + " because there is an operation in progress."}
	case names[2] != "":
		return s.revisionCall(r.Method, a, names[3], names[4])
	}
	switch r.Method {
	case http.MethodGet:
		out := a.json()
		return http.StatusOK, out, typed(out, &apps.ContainerApp{})
	case http.MethodPut:
		return s.putApp(names[1], a, body)
	case http.MethodPatch:
		return http.StatusAccepted, nil, s.patchApp(a, body)
	case http.MethodDelete:
		a.state = "Deleting"
		go s.removeApp(a)
		return http.StatusAccepted, nil, nil
	}
	return 0, nil, notFound(r.URL.Path)
}

// revisionCall answers a call about revisions. The caller has locked s.
func (s *server) revisionCall(method string, a *app, name, below string) (int, object, error) {
	r := a.at(name)
	switch {
	case name == "" && method == http.MethodGet:
		all := []any{}
		for _, r := range a.revisions {
			all = append(all, r.json())
		}
		out := object{"value": all}
		return http.StatusOK, out, typed(out, &apps.RevisionCollection{})
	case r == nil:
		return 0, nil, notFound(name)
	case below == "" && method == http.MethodGet:
		out := r.json()
		return http.StatusOK, out, typed(out, &apps.Revision{})
	case below == "deactivate" && method == http.MethodPost:
		for _, t := range a.spec.Properties.Configuration.Ingress.Traffic {
			if *t.RevisionName == name && *t.Weight > 0 {
				return 0, nil, invalidApp("Cannot deactivate revision '%s' because it receives traffic.", name)
			}
		}
		r.deactivate()
		return http.StatusOK, nil, nil
	}
	return 0, nil, notFound(name + "/" + below)
}

// deactivate ends the replica of a revision, once it has answered its requests. The caller has locked the fake.
func (r *revision) deactivate() {
	if r.active {
		r.active, r.running, r.health = false, "Stopped", "None"
		go func() { r.asked.Wait(); close(r.ended) }()
	}
}

// removeApp removes an app once all of it has ended.
func (s *server) removeApp(a *app) {
	s.mu.Lock()
	for _, r := range a.revisions {
		r.deactivate()
	}
	all := a.revisions
	s.mu.Unlock()
	for _, r := range all {
		<-r.over
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.close()
	delete(s.apps, a.name)
}

// check refuses an app that Container Apps refuse. The caller has locked s.
func (s *server) check(name string, spec *apps.ContainerApp) error {
	p := spec.Properties
	if p == nil || p.Configuration == nil || p.Configuration.Ingress == nil || p.Template == nil || len(p.Template.Containers) != 1 || p.Template.Scale == nil || spec.Identity == nil || spec.Location == nil {
		return invalidApp("an app needs a location, an identity, an ingress, a scale and one container")
	}
	if !jobName.MatchString(name) || len(name) > 32 {
		return invalidApp("Invalid ContainerApp name '%s'.", name)
	}
	c, in, scale := p.Template.Containers[0], p.Configuration.Ingress, p.Template.Scale
	if err := s.checkContainer(spec.Identity, spec.Tags, p.EnvironmentID, p.WorkloadProfileName, p.Configuration.Registries, p.Configuration.Secrets, c); err != nil {
		return err
	}
	suffix := p.Template.RevisionSuffix
	switch {
	case *p.Configuration.ActiveRevisionsMode != apps.ActiveRevisionsModeMultiple:
		return invalidApp("the traffic of a single revision cannot be set")
	case suffix == nil || !suffixName.MatchString(*suffix) || len(name)+2+len(*suffix) > 64:
		return &problem{http.StatusBadRequest, "ContainerAppInvalidRevisionSuffix", "the suffix of the revision is not valid"}
	case *in.TargetPort < 1 || *in.TargetPort > 65535:
		return invalidApp("the port is not valid")
	case *scale.MinReplicas < 0 || *scale.MaxReplicas < 1 || *scale.MinReplicas > *scale.MaxReplicas || *scale.MaxReplicas > 1000:
		return invalidApp("the number of replicas is not valid")
	}
	total := int32(0)
	for _, t := range in.Traffic {
		total += *t.Weight
	}
	if total != 100 {
		return invalidApp("the traffic adds up to %d percent", total)
	}
	for _, probe := range c.Probes {
		if *probe.FailureThreshold < 1 || *probe.FailureThreshold > 10 || *probe.PeriodSeconds < 1 || *probe.PeriodSeconds > 240 || (probe.HTTPGet == nil) == (probe.TCPSocket == nil) {
			return invalidApp("a probe is not valid")
		}
	}
	for _, rule := range scale.Rules {
		if n, err := strconv.Atoi(*rule.HTTP.Metadata["concurrentRequests"]); err != nil || n < 1 {
			return invalidApp("a rule is not valid")
		}
	}
	return nil
}

// putApp makes an app, or another revision of it. The caller has locked s.
func (s *server) putApp(name string, a *app, body object) (int, object, error) {
	var spec apps.ContainerApp
	if err := typed(body, &spec); err != nil {
		return 0, nil, err
	}
	if err := s.check(name, &spec); err != nil {
		return 0, nil, err
	}
	next, status := &app{name: name}, http.StatusCreated
	if a != nil {
		next, status = a, http.StatusOK
	}
	of := name + "--" + *spec.Properties.Template.RevisionSuffix
	if next.at(of) != nil {
		return 0, nil, &problem{http.StatusBadRequest, "ContainerAppInvalidRevisionSuffix", "A revision with the suffix already exists."}
	}
	for _, t := range spec.Properties.Configuration.Ingress.Traffic {
		if r := next.at(*t.RevisionName); *t.RevisionName != of && (r == nil || !r.active) {
			return 0, nil, invalidApp("Revision %s in traffic does not exist, or is not active.", *t.RevisionName)
		}
	}
	if a == nil {
		c := &Cloud{}
		at, err := c.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.route(next, w, r) }), &s.certificate)
		if err != nil {
			return 0, nil, err
		}
		next.host, next.close = at, c.Stop
		s.apps[name] = next
	}
	var digits [8]byte
	_, _ = rand.Read(digits[:]) // never fails
	id := group[:strings.Index(group, "/resourceGroups/")] + operationPath + hex.EncodeToString(digits[:])
	s.operations[id] = &operation{status: "InProgress"}
	next.body, next.spec, next.state = body, spec, "InProgress"
	go s.makeRevision(next, spec, of, s.operations[id])
	out := next.json()
	out[headerKey] = map[string]string{"Azure-AsyncOperation": s.url + id + "?api-version=2025-01-01"}
	return status, out, nil
}

// headerKey is the field of an answer with more headers, which is not sent.
const headerKey = "\x00header"

// patchApp merges tags and traffic into an app. The caller has locked s.
func (s *server) patchApp(a *app, change object) error {
	merged, _ := merge(a.body, change).(object)
	var spec apps.ContainerApp
	if err := typed(merged, &spec); err != nil {
		return err
	}
	if err := s.check(a.name, &spec); err != nil {
		return err
	}
	for _, t := range spec.Properties.Configuration.Ingress.Traffic {
		if r := a.at(*t.RevisionName); r == nil || !r.active {
			return invalidApp("Revision %s in traffic does not exist, or is not active.", *t.RevisionName)
		}
	}
	a.body, a.spec = merged, spec
	return nil
}

// merge returns a value with a change as JSON Merge Patch has it.
func merge(v, change any) any {
	fields, is := change.(object)
	if !is {
		return change
	}
	into, _ := v.(object)
	out := maps.Clone(into)
	if out == nil {
		out = object{}
	}
	for k, x := range fields {
		out[k] = merge(out[k], x)
	}
	return out
}

// makeRevision ends an operation with a revision that is about to start, or without one.
func (s *server) makeRevision(a *app, spec apps.ContainerApp, name string, op *operation) {
	time.Sleep(making)
	r := &revision{
		name: name, spec: spec, created: time.Now(), active: true, health: "None", running: "Processing", ended: make(chan struct{}), over: make(chan struct{}),
		template: maps.Clone(part(a.body, "properties", "template")),
	}
	s.mu.Lock()
	err := s.refused()
	env, denied := s.variables(spec.Identity, spec.Properties.Configuration.Secrets, spec.Properties.Template.Containers[0])
	s.mu.Unlock()
	if err = errors.Join(err, denied); err == nil {
		_, _, err = s.images.Pull(context.Background(), *spec.Properties.Template.Containers[0].Image)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if errors.Is(err, containers.ErrNoImage) {
			err = errors.New("field 'template.containers.unit.image' is invalid with details: 'Invalid value: MANIFEST_UNKNOWN: manifest unknown'")
		}
		a.state, *op = "Failed", operation{"Failed", "ContainerAppOperationError", "Failed to provision revision for container app '" + a.name + "'. Error details: " + err.Error()}
		return
	}
	a.state, op.status = "Succeeded", "Succeeded"
	a.revisions = append(a.revisions, r)
	go s.keep(a, r, env)
}

// keep runs replicas of a revision until it is deactivated.
func (s *server) keep(a *app, r *revision, env []string) {
	defer close(r.over)
	for {
		err := s.live(a, r, env)
		s.mu.Lock()
		wasReady := r.replica != nil
		r.replica = nil
		if !errors.Is(err, containers.ErrEnded) && !wasReady && r.active {
			r.running, r.health = "Failed", "Unhealthy"
		}
		s.mu.Unlock()
		if errors.Is(err, containers.ErrEnded) {
			return
		}
		s.log("system", r.name, "ContainerTerminated: Container 'unit' was terminated: "+err.Error())
		select {
		case <-r.ended:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// live runs one replica to its end.
func (s *server) live(a *app, r *revision, env []string) error {
	c := r.spec.Properties.Template.Containers[0]
	root, config, err := s.images.Pull(context.Background(), *c.Image)
	if err != nil {
		return err
	}
	r.lives++
	id := r.name + "-" + strconv.Itoa(r.lives)
	work, err := s.work(root, id, r.name)
	if err != nil {
		return err
	}
	all := append(append(config.Config.Env, env...), "CONTAINER_APP_NAME="+a.name, "CONTAINER_APP_REVISION="+r.name, "CONTAINER_APP_REPLICA_NAME="+id)
	ready := "/"
	for _, p := range c.Probes {
		if *p.Type == apps.TypeReadiness && p.HTTPGet != nil {
			ready = *p.HTTPGet.Path
		}
	}
	return containers.Replica{
		Root: root, Work: work, Argv: argv(c), Env: all, Log: &containers.Lines{Line: func(text string) { s.log("console", r.name, text) }},
		Port: int(*r.spec.Properties.Configuration.Ingress.TargetPort), Ready: ready, Reaches: strings.TrimPrefix(s.url, "https://"), Grace: time.Second,
	}.Run(r.ended, func(to *httputil.ReverseProxy) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if r.active {
			r.replica, r.running, r.health = to, "Running", "Healthy"
		}
	})
}

// route hands a request to a replica of the revision that gets requests. What is internal is not found from here.
func (s *server) route(a *app, w http.ResponseWriter, r *http.Request) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // Container Apps start a replica meanwhile
		s.mu.Lock()
		in := a.spec.Properties.Configuration.Ingress
		var to *revision
		for _, t := range in.Traffic {
			if *t.Weight == 100 {
				to = a.at(*t.RevisionName)
			}
		}
		var proxy *httputil.ReverseProxy
		if to != nil && to.active {
			if proxy = to.replica; proxy != nil {
				to.asked.Add(1)
			}
		}
		s.mu.Unlock()
		switch {
		case !*in.External:
			http.Error(w, "Error 404 - This Container App is stopped or does not exist.", http.StatusNotFound)
			return
		case proxy != nil:
			defer to.asked.Done()
			proxy.ServeHTTP(w, r)
			return
		case time.Now().After(end):
			http.Error(w, "upstream connect error", http.StatusServiceUnavailable)
			return
		}
	}
}

// Apps returns the names of all apps that there are now.
func (c *Cloud) Apps() ([]string, error) { return c.list("apps") }

// AppURL returns where the app of a name answers, or "".
func (c *Cloud) AppURL(name string) (string, error) {
	all, err := c.list("hosts")
	for _, x := range all {
		if at, is := strings.CutPrefix(x, name+" "); is {
			return "https://" + at, err
		}
	}
	return "", err
}

// work makes the work folder of a container. Others of the same image read the certificate meanwhile.
func (s *server) work(root, id, of string) (string, error) {
	authority, err := os.ReadFile(s.authority)
	at := filepath.Join(s.dir, "jobs", id)
	return at, errors.Join(err, files.Write(filepath.Join(root, "etc/authority.pem"), authority, 0o644), os.MkdirAll(at, 0o755), os.WriteFile(at+".name", []byte(of), 0o644))
}
