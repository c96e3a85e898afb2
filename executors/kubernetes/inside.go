package kubernetes

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A passage is a file or folder of this machine that a pod needs.
type passage struct {
	from string // path on this machine
	to   string // path in the pod
	name string // as shown to users
	// digest is set for content that cannot change.
	digest string
}

// inside returns what a pod has to do, with paths inside the pod, and what must be
// uploaded for it.
func (s Settings) inside(t executors.Task) (pod.Task, []passage) {
	doc, pass := local.Document(t), []passage(nil)
	doc.Scratch = path.Join(pod.Work, "scratch")
	doc.Metrics = path.Join(pod.Work, executors.MetricsFile)
	doc.Progress = path.Join(pod.Work, executors.ProgressFile)
	doc.Lives = "" // replicas are pods, which the cluster keeps
	doc.Interpreters = image.Interpreters(t.Unit.Code.Environments)
	if doc.Code = doc.Scratch; len(t.Unit.Code.Files) > 0 {
		doc.Code = path.Join(pod.Work, "code")
		pass = append(pass, passage{from: t.Code, to: doc.Code, name: "code"})
	}
	if e := t.Unit.Endpoint; e != nil {
		// The pod has an address of its own for probes and the Service, and is one
		// replica.
		at := *e
		at.Host, at.Replicas, at.Scale = "0.0.0.0", 1, nil
		if m := at.Management; m != nil {
			at.Management = &ir.Listen{Host: at.Host, Port: m.Port}
		}
		doc.Endpoint = &at
	}
	out := pod.Task{Name: t.Name, Kind: t.Unit.Kind, Command: image.Command(t.Unit.Code), Disk: t.Unit.Needs.Disk, Grace: grace, Env: environ(t)}
	if t.Unit.Endpoint != nil {
		out.Drain = drain
	}
	if doc.Kept = ""; len(t.Unit.Ships) > 0 {
		doc.Kept, doc.Shipped = pod.Kept, path.Join(pod.Kept, "shipped")
	}
	for _, s := range t.Unit.Ships {
		out.Ships = append(out.Ships, pod.Ship{From: path.Join(pod.Kept, s.Folder), To: keptFolder(t.State, t.Environment, t.Unit.ID, s.Folder), Most: s.Most, Status: doc.ShippedOf(s.Folder)})
	}
	for port, p := range doc.Outputs {
		p.Path = path.Join(pod.Work, "out", port)
		doc.Outputs[port] = p
	}
	doc.Inputs = map[string]step.Port{}
	for _, port := range sortedKeys(t.Inputs) {
		p := t.Inputs[port]
		if p.Kind == ir.EndpointOf {
			p.Path = s.address(t.Unit, port, p.Path)
		} else if !p.Lost {
			at := path.Join(pod.Work, "in", port)
			pass = append(pass, passage{p.Path, at, "input " + port, p.Digest})
			p.Path = at
		}
		doc.Inputs[port] = p
	}
	if doc.Files = nil; len(t.Files) > 0 {
		var more []passage
		doc.Files, more = data(t.Files)
		pass = append(pass, more...)
	}
	if t.Route != nil {
		doc.Route, doc.Observed = path.Join(pod.Work, "route", "route.json"), path.Join(pod.Work, "notes", "observed.json")
	}
	for i, name := range sortedKeys(t.Beside) {
		pass = append(pass, beside(t.Beside[name], doc, doc.Beside[name], path.Join(pod.Work, "beside", strconv.Itoa(i)), pass)...)
	}
	out.Step = doc
	return out, pass
}

// beside puts the document of another version into the pod of host, with its files below a
// folder, and returns what must be uploaded for that. An input that has holds already is not there twice.
func beside(t executors.Task, host step.Step, doc *step.Step, below string, has []passage) (pass []passage) {
	code := ""
	if len(t.Unit.Code.Files) > 0 {
		code = path.Join(below, "code")
		pass = append(pass, passage{from: t.Code, to: code, name: "code of " + t.Version})
	}
	doc.Interpreters, doc.Shipped = host.Interpreters, host.Shipped
	local.PlaceBeside(host, doc, path.Join(pod.Work, "out"), code, func(port string, p step.Port) string {
		if i := slices.IndexFunc(has, func(h passage) bool { return h.digest != "" && h.digest == p.Digest }); i >= 0 {
			return has[i].to
		}
		at := path.Join(below, "in", port)
		pass = append(pass, passage{p.Path, at, fmt.Sprintf("input %s of %s", port, t.Version), p.Digest})
		return at
	})
	return pass
}

// data lays out data files below their common folder. This keeps the names of their
// folders, which may carry meaning.
func data(patterns map[string][]string) (map[string][]string, []passage) {
	var all []string
	of := map[string]string{} // the first pattern that matched a file
	for _, p := range sortedKeys(patterns) {
		for _, f := range patterns[p] {
			if of[f] == "" {
				of[f], all = p, append(all, f)
			}
		}
	}
	slices.Sort(all)
	common := local.CommonDir(all)
	at := func(file string) string {
		rel, err := filepath.Rel(common, file)
		if err != nil { // cannot happen: both are absolute
			rel = filepath.Base(file)
		}
		return path.Join(pod.Work, "data", filepath.ToSlash(rel))
	}
	found := make(map[string][]string, len(patterns))
	for p, files := range patterns {
		found[p] = []string{}
		for _, f := range files {
			found[p] = append(found[p], at(f))
		}
	}
	var pass []passage
	for _, f := range all {
		pass = append(pass, passage{from: f, to: at(f), name: "data " + of[f]})
	}
	return found, pass
}

// environ returns the variables of the program that its image does not set.
func environ(t executors.Task) map[string]string {
	env := local.Variables(t.Unit)
	if t.Lock != "" {
		env["VIRTUAL_ENV"] = image.EnvDir
	}
	return env
}
