package ir

import (
	"encoding/json"
	"testing"
	"time"
)

func unit() Unit {
	return Unit{
		ID: "models/a/train", Entity: "models/a", Kind: Job, Component: "train.sklearn",
		Code:    Code{Runtime: Python, Lock: "sha256:1", Command: []string{"x.py"}, Files: []CodeFile{{Path: "x.py", Digest: "sha256:2"}}},
		Params:  json.RawMessage(`{"depth":3}`),
		Inputs:  []Input{{Port: "t", Unit: "features/a", From: "out", Kind: Table, Schema: Schema{{Name: "n", Type: "int64"}}}},
		Outputs: []Output{{Port: "m", Kind: Model}},
		Secrets: []Secret{{Name: "KEY", Env: "KEY"}},
		Seed:    1,
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
		"resources":            func(u *Unit) { u.Needs, u.Pool = Resources{MilliCPU: 1, Memory: 2}, "big" },
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
		"a builtin's version":    func(u *Unit) { u.Code.Version = 2 },
		"an input's schema":      func(u *Unit) { u.Inputs[0].Schema[0].Type = "int32" },
		"an output's schema":     func(u *Unit) { u.Outputs[0].Schema = Schema{{Name: "n", Type: "bool"}} },
		"a data file":            func(u *Unit) { u.Files = []string{"a.csv"} },
		"the seed":               func(u *Unit) { u.Seed = 2 },
		"a reference to secrets": func(u *Unit) { u.Secrets[0].Env = "OTHER" },
		"an endpoint":            func(u *Unit) { u.Endpoint = &Endpoint{Port: 1} },
	} {
		if digest(t, change) == same {
			t.Errorf("%s does not change the digest", name)
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
