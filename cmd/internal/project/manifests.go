package project

import (
	"errors"
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/all"
)

// Manifests returns the objects that the target of a system would get for units, as far
// as they are known without a plan.
func Manifests(sys *ir.System, units []ir.Unit) ([]executors.Manifest, error) {
	x, err := all.New(sys.Target, all.Setup{System: sys.Name, Env: sys.Env})
	if err != nil {
		return nil, err
	}
	r, ok := x.(executors.Renderer)
	if !ok {
		return nil, fmt.Errorf("%s runs on %s (%s): only tenon.#Kubernetes targets have manifests", sys.Name, sys.Target.Name, sys.Target.Executor)
	}
	return r.Manifests(units)
}

// Rights returns the objects that grant the account of that name the rights that tenon
// needs in a namespace of a cluster.
func Rights(namespace, name string) ([]executors.Manifest, error) {
	g, ok := all.Find[executors.Granter]()
	if !ok {
		return nil, errors.New("no executor of this tenon needs permissions")
	}
	return g.Rights(namespace, name)
}
