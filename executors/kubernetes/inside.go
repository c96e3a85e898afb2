package kubernetes

import (
	"fmt"
	"path"
	"slices"
	"strconv"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
	"github.com/tenon-ml/tenon/executors/local"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// inside returns what a pod has to do, with paths inside the pod, and what must be
// uploaded for it.
func (s Settings) inside(t executors.Task) (pod.Task, []inside.Passage) {
	out, pass := inside.Document(t, func(port, here string) string { return s.address(t.Unit, port, here) })
	doc := &out.Step
	out.Grace = grace
	if e := t.Unit.Endpoint; e != nil {
		// The pod has an address of its own for probes and the Service, and is one
		// replica.
		at := *e
		at.Host, at.Replicas, at.Scale = "0.0.0.0", 1, nil
		if m := at.Management; m != nil {
			at.Management = &ir.Listen{Host: at.Host, Port: m.Port}
		}
		doc.Endpoint = &at
		out.Drain = drain
	}
	if len(t.Unit.Ships) > 0 {
		doc.Kept, doc.Shipped = pod.Kept, path.Join(pod.Kept, "shipped")
	}
	for _, s := range t.Unit.Ships {
		out.Ships = append(out.Ships, pod.Ship{From: path.Join(pod.Kept, s.Folder), To: keptFolder(t.State, t.Environment, t.Unit.ID, s.Folder), Most: s.Most, Status: doc.ShippedOf(s.Folder)})
	}
	if t.Route != nil {
		doc.Route, doc.Observed = path.Join(pod.Work, "route", "route.json"), path.Join(pod.Work, "notes", "observed.json")
	}
	for i, name := range sortedKeys(t.Beside) {
		pass = append(pass, beside(t.Beside[name], *doc, doc.Beside[name], path.Join(pod.Work, "beside", strconv.Itoa(i)), pass)...)
	}
	return out, pass
}

// beside puts the document of another version into the pod of host, with its files below a
// folder, and returns what must be uploaded for that. An input that has holds already is not there twice.
func beside(t executors.Task, host step.Step, doc *step.Step, below string, has []inside.Passage) (pass []inside.Passage) {
	code := ""
	if len(t.Unit.Code.Files) > 0 {
		code = path.Join(below, "code")
		pass = append(pass, inside.Passage{From: t.Code, To: code, Name: "code of " + t.Version})
	}
	doc.Interpreters, doc.Shipped = host.Interpreters, host.Shipped
	local.PlaceBeside(host, doc, path.Join(pod.Work, "out"), code, func(port string, p step.Port) string {
		if i := slices.IndexFunc(has, func(h inside.Passage) bool { return h.Digest != "" && h.Digest == p.Digest }); i >= 0 {
			return has[i].To
		}
		at := path.Join(below, "in", port)
		pass = append(pass, inside.Passage{From: p.Path, To: at, Name: fmt.Sprintf("input %s of %s", port, t.Version), Digest: p.Digest})
		return at
	})
	return pass
}
