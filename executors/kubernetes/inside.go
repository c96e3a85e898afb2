package kubernetes

import (
	"path"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/inside"
	"github.com/tenon-ml/tenon/executors/kubernetes/pod"
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
	if t.Checkpoints != nil {
		out.Checkpoints = &pod.Checkpoints{Folder: path.Join(t.State, pod.CheckpointsOf(t.Environment, cloud.Label(t.Unit.ID)), t.Key)}
	}
	if len(t.Unit.Ships) > 0 {
		doc.Kept, doc.Shipped = pod.Kept, path.Join(pod.Kept, "shipped")
	}
	for _, s := range t.Unit.Ships {
		out.Ships = append(out.Ships, pod.Ship{From: path.Join(pod.Kept, s.Folder), To: keptFolder(t.State, t.Environment, t.Unit.ID, s.Folder), Most: s.Most, Status: doc.ShippedOf(s.Folder)})
	}
	return out, append(pass, inside.Beside(t, doc, pass)...)
}
