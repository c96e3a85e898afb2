package gcptest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What the fake reads of a service. The rest of it is only checked and returned.
type serviceSpec struct {
	Labels   map[string]string `json:"labels"`
	Etag     string            `json:"etag"`
	Template struct {
		Revision       string          `json:"revision"`
		Containers     []containerSpec `json:"containers"`
		ServiceAccount string          `json:"serviceAccount"`
		gpuSpec
	} `json:"template"`
	Traffic []traffic `json:"traffic"`
}

type containerSpec struct {
	Image   string    `json:"image"`
	Command []string  `json:"command"`
	Args    []string  `json:"args"`
	Env     []envSpec `json:"env"`
	Ports   []struct {
		Port int `json:"containerPort"`
	} `json:"ports"`
	Resources    resourceSpec `json:"resources"`
	StartupProbe struct {
		HTTP struct {
			Path string `json:"path"`
		} `json:"httpGet"`
		Period   int `json:"periodSeconds"`
		Failures int `json:"failureThreshold"`
	} `json:"startupProbe"`
}

type envSpec struct {
	Name   string `json:"name"`
	Source struct {
		Secret struct {
			Secret  string `json:"secret"`
			Version string `json:"version"`
		} `json:"secretKeyRef"`
	} `json:"valueSource"`
}

type traffic struct {
	Type     string `json:"type"`
	Revision string `json:"revision,omitempty"`
	Percent  int    `json:"percent,omitempty"`
}

// A service has revisions, and answers at an address of its own.
type service struct {
	name      string // full
	body      object
	spec      serviceSpec
	etag      int
	url       string
	stop      func()
	revisions []*revision // the newest last
	serving   []traffic   // what takes effect, as soon as its revisions are ready
}

func (s *service) latest() *revision { return s.revisions[len(s.revisions)-1] }

func (s *service) revision(name string) *revision {
	for _, r := range s.revisions {
		if filepath.Base(r.name) == name {
			return r
		}
	}
	return nil
}

func (s *service) json() object {
	out := object{}
	for k, v := range s.body {
		out[k] = v
	}
	statuses := []any{}
	for _, t := range s.serving {
		statuses = append(statuses, object{"type": t.Type, "revision": t.Revision, "percent": float64(t.Percent)})
	}
	out["name"], out["etag"], out["uri"] = s.name, strconv.Itoa(s.etag), s.url
	out["latestCreatedRevision"], out["trafficStatuses"] = s.latest().name, statuses
	out["terminalCondition"] = object{"type": "Ready", "state": s.latest().state, "message": s.latest().message}
	return out
}

// settle makes the traffic that was asked for effective if its revisions are ready. The caller has locked the fake.
func (s *service) settle() {
	asked := slices.Clone(s.spec.Traffic)
	if len(asked) == 0 {
		asked = []traffic{{Type: "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", Percent: 100}}
	}
	for i, t := range asked {
		r := s.revision(t.Revision)
		if t.Type == "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST" {
			r = s.latest()
			asked[i].Revision = filepath.Base(r.name)
		}
		if r == nil || r.state != conditionSucceeded {
			return
		}
	}
	s.serving = asked
}

// Forms that Cloud Run requires.
var (
	serviceID  = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$`)
	revisionID = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// serviceAPI answers a call about services.
func (s *server) serviceAPI(id string, names []string, r *http.Request, body object) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent := "projects/" + names[0] + "/locations/" + names[1]
	operation := object{"name": parent + "/operations/" + filepath.Base(parent), "done": false}
	switch id {
	case "create":
		name := parent + "/services/" + r.URL.Query().Get("serviceId")
		if s.services[name] != nil {
			return nil, &problem{http.StatusConflict, "ALREADY_EXISTS", "Resource '" + name + "' already exists."}
		}
		return operation, s.createService(name, body)
	case "list":
		all := []any{}
		for name, x := range s.services {
			if strings.HasPrefix(name, parent+"/") {
				all = append(all, x.json())
			}
		}
		return object{"services": all}, nil
	}
	name := parent + "/services/" + names[2]
	x := s.services[name]
	if x == nil {
		return nil, notFound(name)
	}
	switch id {
	case "get":
		return x.json(), nil
	case "delete":
		delete(s.services, name)
		x.stop()
		for _, r := range x.revisions {
			r.end()
		}
		return operation, nil
	case "patch":
		return operation, s.patchService(x, strings.Split(r.URL.Query().Get("updateMask"), ","), body)
	case "revisions.list":
		all := []any{}
		for _, r := range x.revisions {
			all = append(all, r.json())
		}
		return object{"revisions": all}, nil
	}
	of := x.revision(names[3])
	switch {
	case of == nil:
		return nil, notFound(name + "/revisions/" + names[3])
	case id == "revisions.get":
		return of.json(), nil
	case of == x.latest():
		return nil, invalid("Revision %s is the latest one of its service.", names[3])
	case slices.ContainsFunc(x.serving, func(t traffic) bool { return t.Revision == names[3] }):
		return nil, invalid("Revision %s receives traffic.", names[3])
	}
	x.revisions = slices.DeleteFunc(x.revisions, func(r *revision) bool { return r == of })
	of.end()
	return operation, nil
}

// createService makes a service with its first revision. The caller has locked the fake.
func (s *server) createService(name string, body object) error {
	if !serviceID.MatchString(filepath.Base(name)) {
		return invalid("the name %q of a service is not valid", filepath.Base(name))
	}
	x := &service{name: name, body: body, etag: 1}
	if err := x.read(); err != nil {
		return err
	}
	r, err := s.newRevision(x)
	if err != nil {
		return err
	}
	c := &Cloud{}
	address, err := c.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.route(x, w, r) }))
	if err != nil {
		return err
	}
	x.url, x.stop, x.revisions = "http://"+address, c.Stop, []*revision{r}
	s.services[name] = x
	go s.run(x, r)
	return nil
}

func (s *service) read() error {
	text, err := json.Marshal(s.body)
	if err == nil {
		s.spec = serviceSpec{}
		err = json.Unmarshal(text, &s.spec)
	}
	if err != nil {
		return invalid("%v", err)
	}
	for k, v := range s.spec.Labels {
		if !labels.MatchString(v) {
			return invalid("the value %q of the label %s is not valid", v, k)
		}
	}
	total := 0
	for _, t := range s.spec.Traffic {
		total += t.Percent
	}
	if len(s.spec.Traffic) > 0 && total != 100 {
		return invalid("the traffic adds up to %d percent", total)
	}
	return nil
}

// patchService changes fields of a service. The caller has locked the fake.
func (s *server) patchService(x *service, mask []string, body object) error {
	if etag, is := body["etag"]; is && etag != strconv.Itoa(x.etag) {
		return &problem{http.StatusConflict, "ABORTED", "Conflict for resource '" + x.name + "': version '" + fmt.Sprint(etag) + "' was specified but current version is '" + strconv.Itoa(x.etag) + "'."}
	}
	next := &service{name: x.name, body: object{}}
	for k, v := range x.body {
		next.body[k] = v
	}
	for _, field := range mask {
		if delete(next.body, field); body[field] != nil {
			next.body[field] = body[field]
		}
	}
	delete(next.body, "etag")
	if err := next.read(); err != nil {
		return err
	}
	fresh := next.spec.Template.Revision != x.spec.Template.Revision
	var r *revision
	if fresh {
		var err error
		if r, err = s.newRevision(next); err != nil {
			return err
		}
		if x.revision(filepath.Base(r.name)) != nil {
			return &problem{http.StatusConflict, "ALREADY_EXISTS", "Revision named '" + filepath.Base(r.name) + "' with different configuration already exists."}
		}
	}
	for _, t := range next.spec.Traffic {
		if t.Revision != "" && x.revision(t.Revision) == nil && (r == nil || filepath.Base(r.name) != t.Revision) {
			return invalid("Revision %s in traffic does not exist.", t.Revision)
		}
	}
	x.body, x.spec = next.body, next.spec
	x.etag++
	if fresh {
		x.revisions = append(x.revisions, r)
		go s.run(x, r)
	}
	x.settle()
	return nil
}

// route hands a request to an instance of one of the revisions that get some.
func (s *server) route(x *service, w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	var to *revision
	n := rand.IntN(100)
	for _, t := range x.serving {
		if n -= t.Percent; n < 0 {
			to = x.revision(t.Revision)
			break
		}
	}
	if to != nil {
		to.asked.Add(1)
		defer to.asked.Done()
	}
	s.mu.Unlock()
	if to == nil {
		http.Error(w, "no revision is ready", http.StatusServiceUnavailable)
		return
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) { // Cloud Run starts an instance meanwhile
		if p := to.proxy(s); p != nil {
			p.ServeHTTP(w, r)
			return
		}
		if time.Now().After(end) {
			http.Error(w, "the request was aborted because there was no available instance", http.StatusTooManyRequests)
			return
		}
	}
}
