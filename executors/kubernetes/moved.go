package kubernetes

import (
	"fmt"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// Placed implements [executors.Placer]: a service moves if the target names another namespace or another cluster. Two
// contexts are different clusters only if their servers are known and differ, because a controller within a cluster has
// another context than the user, and contexts may be renamed.
func (e *Executor) Placed(_ *ir.Unit, h state.Handle) (before, after string) {
	ts, err := e.fromHandle(h)
	if err != nil {
		return "", ""
	}
	now, err := e.place()
	if err != nil {
		return "", ""
	}
	was := ts.Place
	if was.Namespace == now.Namespace && was.Cluster == now.Cluster && !e.otherServer(was, now) {
		return "", ""
	}
	return was.String(), now.String()
}

// otherServer reports whether two places are known to have different servers.
func (e *Executor) otherServer(a, b Place) bool {
	if a.Context == b.Context || a.Cluster != "" || b.Cluster != "" {
		return false
	}
	of := func(p Place) string {
		if e.opts.Home != "" && p.Context == e.opts.Home {
			return ""
		}
		config, err := kubeconfig(e.opts.Kubeconfig, p.Context).ClientConfig()
		if err != nil {
			return ""
		}
		return config.Host
	}
	was, is := of(a), of(b)
	return was != "" && is != "" && was != is
}

func (p Place) String() string {
	cluster := p.Context
	if p.Cluster != "" {
		cluster = p.Cluster
	}
	return fmt.Sprintf("namespace %s of %s", p.Namespace, cluster)
}
