package local

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// Check returns one fault for each field of the unit that this machine cannot honour,
// with or without a container.
func Check(u ir.Unit) []ir.Fault {
	fs := CheckProgram(u)
	fault := func(field, hint, format string, args ...any) {
		fs = append(fs, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	if u.Kind == ir.Service && u.Needs.Disk > 0 {
		fault("needs.disk", "remove needs.disk, or "+cluster,
			"the disk usage of services is not measured, only that of jobs")
	}
	if e := u.Endpoint; e != nil && e.Scale != nil && !u.Code.Runtime.Serves() {
		fault("replicas", "use a fixed number of replicas, or "+cluster, "on one machine, only the replicas of serve.#HTTP can follow the load")
	}
	if u.Needs.Nodes > 1 {
		fault("needs.nodes", "remove needs.nodes, or "+cluster, "there is one machine")
	}
	if u.Kubernetes != nil {
		fault("kubernetes", "remove kubernetes, or "+cluster, "there is no cluster")
	}
	for _, s := range u.Secrets {
		if s.Kubernetes != nil {
			fault(u.SecretField(s)+".secret.kubernetes", "take it from env or file, or "+cluster, "there is no cluster to read it from")
		}
	}
	return fs
}

const cluster = "choose a target with the executor kubernetes"

// CheckProgram returns one fault for each field of the unit that would keep its program
// from starting, from finding its files or from doing what it declares, on any machine.
func CheckProgram(u ir.Unit) []ir.Fault {
	var fs []ir.Fault
	fault := func(field, hint, format string, args ...any) {
		if !slices.ContainsFunc(fs, func(f ir.Fault) bool { return f.Field == field }) {
			fs = append(fs, ir.Fault{Field: field, Message: fmt.Sprintf(format, args...), Hint: hint})
		}
	}
	if e := u.Endpoint; e != nil && (e.Port < 1 || e.Port > 65535) {
		fault("port", "name a free port", "a service needs a port from 1 to 65535")
	}
	if u.Checkpoints > 0 && u.Kind != ir.Job {
		fault("checkpoints", "remove checkpoints", "a service does not end, so it has nothing to resume")
	}
	if u.Checkpoints > 0 && u.MaxAge > 0 {
		fault("checkpoints", "remove checkpoints, or max_age", "an attempt could resume with data that is older than max_age allows")
	}
	if u.Checkpoints > 0 && u.Needs.Nodes > 1 {
		fault("checkpoints", "remove checkpoints, or needs.nodes", "the programs on several nodes cannot keep checkpoints: each would resume from its own")
	}
	// What no process observes, no judge sees: a release would wait for ever.
	if e := u.Endpoint; e != nil && e.Scale != nil && e.Replicas == 0 && u.Release != nil {
		fault("replicas", "set min to 1, or remove release", "a service that divides its requests between versions has to run")
	}
	for _, in := range u.Inputs {
		if !fileName(in.Port) {
			fault("in", "choose another name", "the port %q is not a file name", in.Port)
		}
	}
	for _, out := range u.Outputs {
		if !fileName(out.Port) {
			fault("outputs", "choose another name", "the port %q is not a file name", out.Port)
		}
	}
	switch u.Code.Runtime {
	case ir.Builtin:
	case ir.Python, ir.Plane, ir.PlaneDuckDB, ir.Command:
		if len(u.Code.Command) == 0 {
			fault("code.command", "", "there is nothing to run")
		}
		if u.Code.Runtime != ir.Command && u.Code.Lock == "" {
			fault("packages", "", "a Python unit needs a locked environment")
		}
	default:
		fault("code.runtime", "", "it cannot run %q", u.Code.Runtime)
	}
	for _, s := range u.Secrets {
		switch {
		case s.Name == step.Env:
			fault("secrets", "choose another name", "the variable %s is reserved for the contract", step.Env)
		case s.Name == "" || strings.ContainsAny(s.Name, "=\x00"):
			fault("secrets", "choose another name", "%q is not a valid name of a variable", s.Name)
		}
	}
	return fs
}

// fileName reports whether a name is that of a single file in a folder.
func fileName(name string) bool {
	return name != "" && name != "." && name != ".." && filepath.Base(name) == name && !strings.Contains(name, "\x00")
}
