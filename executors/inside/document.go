package inside

import (
	"maps"
	"path"
	"path/filepath"
	"slices"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/image"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// A Passage is a file or folder of this machine that a container needs.
type Passage struct {
	From string // path on this machine
	To   string // path in the container
	Name string // as shown to users
	// Digest is set for content that cannot change.
	Digest string
}

// Document returns what a container has to do for a task, with paths inside the container, and
// what must be uploaded for it. address returns where the container reaches the service that an
// input port is connected to, given the address that this machine uses.
func Document(t executors.Task, address func(port, here string) string) (pod.Task, []Passage) {
	doc, pass := local.Document(t), []Passage(nil)
	doc.Scratch = path.Join(pod.Work, "scratch")
	doc.Metrics = path.Join(pod.Work, executors.MetricsFile)
	doc.Progress = path.Join(pod.Work, executors.ProgressFile)
	doc.Lives, doc.Kept = "", "" // they are folders of this machine
	if doc.Checkpoints != nil {
		doc.Checkpoints.Path = path.Join(pod.Work, "checkpoints")
	}
	doc.Interpreters = image.Interpreters(t.Unit.Code.Environments)
	if doc.Code = doc.Scratch; len(t.Unit.Code.Files) > 0 {
		doc.Code = path.Join(pod.Work, "code")
		pass = append(pass, Passage{From: t.Code, To: doc.Code, Name: "code"})
	}
	for port, p := range doc.Outputs {
		p.Path = path.Join(pod.Work, "out", port)
		doc.Outputs[port] = p
	}
	doc.Inputs = map[string]step.Port{}
	for _, port := range slices.Sorted(maps.Keys(t.Inputs)) {
		p := t.Inputs[port]
		if p.Kind == ir.EndpointOf {
			p.Path = address(port, p.Path)
		} else if !p.Lost {
			at := path.Join(pod.Work, "in", port)
			pass = append(pass, Passage{p.Path, at, "input " + port, p.Digest})
			p.Path = at
		}
		doc.Inputs[port] = p
	}
	if doc.Files = nil; len(t.Files) > 0 {
		var more []Passage
		doc.Files, more = data(t.Files)
		pass = append(pass, more...)
	}
	return pod.Task{
		Name: t.Name, Kind: t.Unit.Kind, Step: doc, Command: image.Command(t.Unit.Code), Disk: t.Unit.Needs.Disk, Env: environ(t),
	}, pass
}

// data lays out data files below their common folder. This keeps the names of their
// folders, which may carry meaning.
func data(patterns map[string][]string) (map[string][]string, []Passage) {
	var all []string
	of := map[string]string{} // the first pattern that matched a file
	for _, p := range slices.Sorted(maps.Keys(patterns)) {
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
	var pass []Passage
	for _, f := range all {
		pass = append(pass, Passage{From: f, To: at(f), Name: "data " + of[f]})
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
