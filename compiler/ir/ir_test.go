package ir

import (
	"encoding/json"
	"testing"
	"time"
)

func unit() Unit {
	return Unit{
		ID: "models/a/train", Entity: "models/a", Kind: Job, Component: "train.sklearn",
		Code:     Code{Runtime: Python, Lock: "sha256:1", Command: []string{"x.py"}, Files: []CodeFile{{Path: "x.py", Digest: "sha256:2"}}},
		Params:   json.RawMessage(`{"depth":3}`),
		Inputs:   []Input{{Port: "t", Unit: "features/a", From: "out", Kind: Table, Schema: Schema{{Name: "n", Type: "int64"}}}},
		Outputs:  []Output{{Port: "m", Kind: Model, Signature: &Signature{Input: Schema{{Name: "n"}}, Output: Column{Name: "late"}}}},
		Secrets:  []Secret{{Name: "KEY", Env: "KEY"}},
		Endpoint: &Endpoint{Host: "h", Port: 2, Ready: "/", Replicas: 1},
		Seed:     1,
	}
}

func digest(t *testing.T, change func(*Unit)) string {
	t.Helper()
	u := unit()
	change(&u)
	if err := u.Define(); err != nil {
		t.Fatal(err)
	}
	return u.Digest
}

func TestTheDigestCoversWhatChangesAResultAndNothingElse(t *testing.T) {
	same := digest(t, func(*Unit) {})
	for name, change := range map[string]func(*Unit){
		"its name":             func(u *Unit) { u.ID, u.Entity = "models/b/train", "models/b" },
		"its producer's name":  func(u *Unit) { u.Inputs[0].Unit = "features/b" },
		"its place":            func(u *Unit) { u.Pos = Pos{"b.cue", 7, 1} },
		"retries and timeouts": func(u *Unit) { u.Retries, u.Timeout, u.MaxAge = 3, time.Hour, time.Hour },
		"resources":            func(u *Unit) { u.Needs, u.Pool = Resources{MilliCPU: 1, Memory: 2, Nodes: 3}, "big" },
		"replicas": func(u *Unit) {
			u.Endpoint = &Endpoint{Host: u.Endpoint.Host, Port: u.Endpoint.Port, Ready: u.Endpoint.Ready, Replicas: 9, Scale: &Scale{Max: 12, CPU: 50}}
		},
		"what is written about a column": func(u *Unit) {
			u.Inputs[0].Schema[0].Unit = "km"
			u.Outputs[0].Signature = &Signature{Input: Schema{{Name: "n", Description: "flown"}}, Output: Column{Name: "late", Unit: "min"}}
		},
		"where it is placed": func(u *Unit) { u.Kubernetes = &Placement{Queue: "research"} },
	} {
		if digest(t, change) != same {
			t.Errorf("%s changes the digest", name)
		}
	}
	for name, change := range map[string]func(*Unit){
		"a parameter":            func(u *Unit) { u.Params = json.RawMessage(`{"depth":4}`) },
		"the code":               func(u *Unit) { u.Code.Files[0].Digest = "sha256:3" },
		"an input's keys":        func(u *Unit) { u.Inputs[0].Keys = []string{"n"} },
		"the interpreter":        func(u *Unit) { u.Code.Python = "3.12" },
		"the environment":        func(u *Unit) { u.Code.Lock = "sha256:9" },
		"a builtin's version":    func(u *Unit) { u.Code.Source = "sha256:2" },
		"an input's schema":      func(u *Unit) { u.Inputs[0].Schema[0].Type = "int32" },
		"an output's schema":     func(u *Unit) { u.Outputs[0].Schema = Schema{{Name: "n", Type: "bool"}} },
		"a data file":            func(u *Unit) { u.Files = []string{"a.csv"} },
		"the seed":               func(u *Unit) { u.Seed = 2 },
		"a reference to secrets": func(u *Unit) { u.Secrets[0].Env = "OTHER" },
		"a secret of a cluster":  func(u *Unit) { u.Secrets[0].Kubernetes = &SecretKey{Name: "hub", Key: "token"} },
		"what a service shows":   func(u *Unit) { u.Outputs = []Output{{Kind: EndpointOf, Request: Schema{{Name: "n", Unit: "km"}}}} },
		"an endpoint":            func(u *Unit) { u.Endpoint = &Endpoint{Port: 1} },
	} {
		if digest(t, change) == same {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

func TestAUnitDrawsItsNeedsForEveryNode(t *testing.T) {
	needs := Resources{MilliCPU: 1500, Memory: 1 << 30, Disk: 7, PIDs: 9, GPU: 2, GPUMemory: 80e9}
	many, most := needs, needs
	many.Nodes, most.Nodes, most.Memory = 3, 1<<40, 1<<40
	for _, c := range []struct{ needs, want Resources }{
		{needs, needs},
		{many, Resources{MilliCPU: 4500, Memory: 3 << 30, Disk: 21, PIDs: 9, GPU: 6, GPUMemory: 80e9, Nodes: 3}},
		{most, Resources{MilliCPU: 1500 << 40, Memory: 1 << 62, Disk: 7 << 40, PIDs: 9, GPU: 2 << 40, GPUMemory: 80e9, Nodes: 1 << 40}},
	} {
		u := Unit{Needs: c.needs}
		if got := u.Draws(); got != c.want {
			t.Errorf("it draws %+v, want %+v", got, c.want)
		}
	}
}

func TestARunKeyDependsOnEveryInputByName(t *testing.T) {
	key := RunKey("d", map[string]string{"a": "1", "b": "2"})
	for name, other := range map[string]string{
		"another definition": RunKey("e", map[string]string{"a": "1", "b": "2"}),
		"another input":      RunKey("d", map[string]string{"a": "1", "b": "3"}),
		"swapped inputs":     RunKey("d", map[string]string{"a": "2", "b": "1"}),
		"an input less":      RunKey("d", map[string]string{"a": "1"}),
		"a joined name":      RunKey("d", map[string]string{"a\" 1\n\"b": "2"}),
	} {
		if other == key {
			t.Errorf("%s gives the same key", name)
		}
	}
}
