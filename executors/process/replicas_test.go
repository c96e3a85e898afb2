package process_test

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/containerd"
	"github.com/tenon-ml/tenon/executors/process"
)

// Only the plane follows its load on one machine. It sleeps only where something has its socket.
func TestWhichReplicasFollowTheLoad(t *testing.T) {
	for name, c := range map[string]struct {
		runtime            ir.Runtime
		host               string
		min                int
		release            *ir.Release
		process, container bool // refused
	}{
		"the plane":               {ir.Plane, "127.0.0.1", 1, nil, false, false},
		"a program of the user's": {ir.Command, "127.0.0.1", 1, nil, true, true},
		"none":                    {ir.Plane, "127.0.0.1", 0, nil, false, true},
		"none, at a name":         {ir.Plane, "localhost", 0, nil, true, true},
		"none, with versions":     {ir.Plane, "127.0.0.1", 0, &ir.Release{Steps: []int{100}}, true, true},
	} {
		u := ir.Unit{
			ID: "deployments/api", Kind: ir.Service, Code: ir.Code{Runtime: c.runtime, Command: []string{"x"}, Lock: "sha256:x"}, Release: c.release,
			Endpoint: &ir.Endpoint{Host: c.host, Port: 8080, Ready: "/readyz", Replicas: c.min, Scale: &ir.Scale{Max: 4, CPU: 70, InFlight: 8, Idle: 1}},
		}
		for executor, refused := range map[interface{ Check(ir.Unit) []ir.Fault }]bool{new(process.Executor): c.process, new(containerd.Executor): c.container} {
			faults := executor.Check(u)
			if (len(faults) > 0) != refused || refused && faults[0].Field != "replicas" {
				t.Errorf("%s: %T: %v", name, executor, faults)
			}
		}
	}
}
