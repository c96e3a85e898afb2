package cloudtest

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// names are close to each other, so that one may be taken for another.
var (
	entityNames = rapid.SampledFrom([]string{"a", "b", "A", "aa", "a.b", "a-b", "a_b", "a-out", "out", "code", "a.out", "a-x-" + cloud.Short("steps/a.x"), "0", "ab"})
	stageNames  = rapid.SampledFrom([]string{"train", "out", "b", "code", "notes", "split"})
	portNames   = rapid.SampledFrom([]string{"out", "a", "model", "out.b", "o", "notes", "code"})
)

// AnySystem is a system of random units that read from earlier ones.
func AnySystem(t *rapid.T, target ir.Target) *ir.System {
	sys := &ir.System{Name: "s", Env: rapid.SampledFrom([]string{"", "prod"}).Draw(t, "env"), Target: target}
	seen := map[string]bool{}
	for range rapid.IntRange(1, 12).Draw(t, "units") {
		entity := rapid.SampledFrom([]string{"steps/", "models/", "deployments/"}).Draw(t, "section") + entityNames.Draw(t, "entity")
		id := entity
		if rapid.Bool().Draw(t, "staged") {
			id += "/" + stageNames.Draw(t, "stage")
		}
		if seen[strings.ToLower(cloud.Label(id))] {
			continue
		}
		seen[strings.ToLower(cloud.Label(id))] = true
		u := Job(id, nil)
		u.Outputs = nil
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			u.Kind = ir.Record
		case 1:
			u.Needs.GPU = 1
		case 2:
			u.Kind, u.Endpoint, u.Outputs = ir.Service, &ir.Endpoint{Replicas: 1}, []ir.Output{{Port: "endpoint", Kind: ir.EndpointOf}}
		}
		if u.Endpoint == nil {
			for _, p := range rapid.SliceOfNDistinct(portNames, 0, 3, rapid.ID[string]).Draw(t, "outputs") {
				u.Outputs = append(u.Outputs, ir.Output{Port: p, Kind: ir.Table})
			}
		}
		for _, from := range sys.Units {
			for _, out := range from.Outputs {
				if rapid.IntRange(0, 3).Draw(t, "reads") == 0 {
					u.Inputs = append(u.Inputs, ir.Input{Port: fmt.Sprint("in", len(u.Inputs)), Unit: from.ID, From: out.Port, Kind: out.Kind, Checked: rapid.IntRange(0, 4).Draw(t, "checked") == 0})
				}
			}
		}
		if rapid.Bool().Draw(t, "files") {
			u.Files = []string{"data/*.csv"}
		}
		if u.Kind == ir.Job && u.Needs.GPU == 0 && rapid.Bool().Draw(t, "secret") {
			u.Secrets = []ir.Secret{{Name: "TOKEN", Env: rapid.SampledFrom([]string{"TOKEN", "KEY"}).Draw(t, "variable")}}
		}
		if u.Kind == ir.Job && rapid.Bool().Draw(t, "checkpoints") {
			u.Checkpoints = 2
		}
		sys.Units = append(sys.Units, u)
	}
	return sys
}

// Checkpoints is the one folder of which a unit may also remove what it writes.
const Checkpoints = "checkpoints"

// Folders are those that a unit has, and some that it could have.
func Folders(u ir.Unit) []string {
	all := []string{"code", "files", "notes", Checkpoints, "out/other", ""}
	for _, o := range u.Outputs {
		all = append(all, "out/"+o.Port)
	}
	return all
}

// Expected says what a unit does with a folder of another one, or of its own.
func Expected(u, of ir.Unit, folder string) (reads, writes bool) {
	if u.Kind != ir.Job {
		return false, false
	}
	port, isOut := strings.CutPrefix(folder, "out/")
	if u.ID == of.ID {
		if folder == Checkpoints {
			return u.Checkpoints > 0, u.Checkpoints > 0
		}
		reads = folder == "code" || folder == "files" && len(u.Files) > 0
		writes = folder == "notes" || isOut && slices.ContainsFunc(u.Outputs, func(o ir.Output) bool { return o.Port == port && o.Kind != ir.EndpointOf })
		return reads, writes
	}
	return isOut && slices.ContainsFunc(u.Inputs, func(in ir.Input) bool {
		return in.Unit == of.ID && in.From == port && in.Kind != ir.EndpointOf && !in.Checked
	}), false
}

// ExpectedInContainer says the same of a unit in a container. A service fetches what it answers with as a job does, and
// one with releases has its route among its notes.
func ExpectedInContainer(u, of ir.Unit, folder string) (reads, writes bool) {
	if u.Kind != ir.Service {
		return Expected(u, of, folder)
	}
	as := u
	as.Kind = ir.Job
	reads, _ = Expected(as, of, folder)
	writes = u.Release != nil && u.ID == of.ID && folder == "notes"
	return reads || writes, writes
}

// KeptInCluster returns what units keep in a bucket, of the system "cluster" of golden files: which unit may read, write
// and remove an object below the root of the system.
func KeptInCluster() map[string]map[string]bool {
	const api, train = "deployments/api", "models/late/train"
	return map[string]map[string]bool{
		"kept/lineage/prod/deployments/api/requests/a":        {api: true, train: false},
		"kept/lineage/prod/deployments/api/audit/a":           {api: false, train: false},
		"kept/lineage/-/deployments/api/requests/a":           {api: false, train: false},
		"kept/lineage/checkpoints/prod/models-late-train/1/a": {api: false, train: true},
		"kept/lineage/checkpoints/prod/models-late/1/a":       {api: false, train: false},
		"kept/lineage": {api: false, train: false},
	}
}
