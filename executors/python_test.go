package executors_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
)

// interpreted is an executor with an interpreter of its own.
type interpreted struct {
	*fake
	version string
	err     error
}

func (i interpreted) Python(_ context.Context, _ string, install bool) (string, error) {
	if !install {
		return "", errors.New("an apply installs it")
	}
	return i.version, i.err
}

func pythonUnit(id string) ir.Unit {
	u := table(id, `{}`)
	u.Code.Python = "3.11"
	return u
}

func TestAnApplyRunsTheInterpreterOfItsPlan(t *testing.T) {
	b := newBench(t)
	b.python = map[string]string{"3.11": "3.11.2"}
	o := b.options()
	o.Executor = interpreted{fake: b.fake, version: "3.11.7"}
	p := b.plan([]ir.Unit{pythonUnit("features/f")})
	_, err := executors.Apply(t.Context(), p, o)
	if !errors.Is(err, executors.ErrPython) || err.Error() != "the version of Python has changed since the plan was made: it was 3.11.2 and is now 3.11.7: plan again" {
		t.Errorf("error %v", err)
	}
	if len(b.fake.calls) > 0 {
		t.Errorf("started %v", b.fake.calls)
	}
	o.Executor = interpreted{fake: b.fake, version: "3.11.2"}
	_, err = executors.Apply(t.Context(), p, o)
	b.ok(err)
}

// A plan was made where no interpreter is found. The apply installs one, and decides with
// its version.
func TestAnInterpreterThatThePlanDidNotKnow(t *testing.T) {
	b := newBench(t)
	apply := func(known map[string]string, x interpreted) (*executors.Result, error) {
		b.python, x.fake = known, b.fake
		o := b.options()
		o.Executor = x
		return executors.Apply(t.Context(), b.plan([]ir.Unit{pythonUnit("features/f"), table("sources/s", `{}`)}), o)
	}
	unknown := map[string]string{}

	res, err := apply(unknown, interpreted{err: errors.New("uv is not installed")})
	if u := failure(t, err, "features/f"); u.Err.Error() != "prepare: uv is not installed" || res.Counts.Ran != 1 {
		t.Errorf("without uv: %v, %+v", u, res.Counts)
	}
	for _, c := range []struct {
		known map[string]string
		is    string
		ran   int
	}{
		{unknown, "3.11.2", 1},
		{unknown, "3.11.2", 0},
		{map[string]string{"3.11": "3.11.2"}, "3.11.2", 0},
		{unknown, "3.11.7", 1},
	} {
		res, err := apply(maps.Clone(c.known), interpreted{version: c.is})
		b.ok(err)
		if res.Counts.Ran != c.ran {
			t.Errorf("%v known, and it is %s: %d ran, want %d", c.known, c.is, res.Counts.Ran, c.ran)
		}
		run, err := b.store.Run(t.Context(), b.current("features/f").Run)
		b.ok(err)
		if got := run.Inputs["python:3.11"]; got != c.is {
			t.Errorf("recorded %q, want %s", got, c.is)
		}
	}
}
