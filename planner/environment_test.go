package planner_test

import (
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func python(u *ir.Unit) { u.Code.Runtime, u.Code.Python = ir.Python, "3.11" }

func command(u *ir.Unit) { u.Code.Runtime = ir.Command }

func builtin(u *ir.Unit) { u.Code.Runtime = ir.Builtin }

// The exact version of the interpreter is part of the run key of a job, and so is the base
// image of the target. Two targets share a result if what it depends on is the same.
func TestTheEnvironmentIsAReason(t *testing.T) {
	const base = "python:3.11-slim"
	pin := func(digit string) map[string]string {
		return map[string]string{base: "docker.io/library/" + base + "@sha256:" + strings.Repeat(digit, 64)}
	}
	on := func(image string) *ir.System {
		s := sys(job("features/f", python), job("sources/s", builtin), job("steps/c", command), service("deployments/d", python))
		if image != "" {
			s.Target = ir.Target{Name: "box", Executor: "containerd", Settings: map[string]any{"base": image}}
		}
		return s
	}
	is := func(exact string) map[string]string {
		if exact == "" {
			return map[string]string{}
		}
		return map[string]string{"3.11": exact}
	}
	type step struct {
		name   string
		base   string
		images map[string]string
		python map[string]string
		want   string // the jobs, without the marks of digests
	}
	for name, steps := range map[string][]step{
		"on this machine": {
			{"at first", "", nil, is("3.11.2"), "run features/f: new\nrun sources/s: new\nrun steps/c: new"},
			{"again", "", nil, is("3.11.2"), ""},
			{"another interpreter", "", nil, is("3.11.7"), "run features/f: python (3.11.2 -> 3.11.7)"},
			{"the former one", "", nil, is("3.11.2"), "reuse features/f: python (3.11.7 -> 3.11.2)"},
		},
		"in images": {
			{"at first", base, pin("a"), is("3.11.2"), "run features/f: new\nrun sources/s: new\nrun steps/c: new"},
			{"again", base, pin("a"), is("3.11.2"), ""},
			{"the version is no longer known", base, pin("a"), is(""), ""},
			{"another image of that name", base, pin("b"), is("3.11.7"),
				"run features/f: base image python:3.11-slim (# -> #); python (3.11.2 -> 3.11.7)\n" +
					"run sources/s: base image python:3.11-slim (# -> #)\nrun steps/c: base image python:3.11-slim (# -> #)"},
			{"another name", "debian:12", nil, is("3.11.7"),
				"run features/f: base image (python:3.11-slim # -> debian:12 not known)\n" +
					"run sources/s: base image (python:3.11-slim # -> debian:12 not known)\nrun steps/c: base image (python:3.11-slim # -> debian:12 not known)"},
		},
		"from this machine to images and back": {
			{"at first", "", nil, is("3.11.2"), "run features/f: new\nrun sources/s: new\nrun steps/c: new"},
			{"a base with the same Python", base, pin("a"), is("3.11.2"), "run steps/c: base image (none -> python:3.11-slim #)"},
			{"again", base, pin("a"), is("3.11.2"), ""},
			{"a base with another Python", base, pin("b"), is("3.11.7"),
				"run features/f: base image (none -> python:3.11-slim #); python (3.11.2 -> 3.11.7)\nrun steps/c: base image python:3.11-slim (# -> #)"},
			{"back", "", nil, is("3.11.7"), "reuse steps/c: base image (python:3.11-slim # -> none)"},
		},
		"a base whose Python is not known": {
			{"at first", "", nil, is("3.11.2"), "run features/f: new\nrun sources/s: new\nrun steps/c: new"},
			{"in it", base, pin("a"), is(""), "run features/f: base image (none -> python:3.11-slim #)\nrun steps/c: base image (none -> python:3.11-slim #)"},
			{"back", "", nil, is("3.11.2"), "reuse features/f: base image (python:3.11-slim # -> none); python (not recorded -> 3.11.2)\nreuse steps/c: base image (python:3.11-slim # -> none)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world1(t)
			for _, step := range steps {
				w.images, w.python = step.images, step.python
				p := w.plan(on(step.base))
				var jobs []string
				for _, line := range lines(p) {
					if !strings.Contains(line, "deployments/d") {
						jobs = append(jobs, line)
					}
				}
				if got := strings.Join(jobs, "\n"); got != step.want {
					t.Errorf("%s:\n%s\nwant\n%s", step.name, got, step.want)
				}
				w.apply(p)
			}
		})
	}
}

// Where no interpreter is found, the plan assumes that it is the former one, and the apply
// decides.
func TestAnInterpreterThatIsNotFound(t *testing.T) {
	w := world1(t)
	w.python = map[string]string{"3.11": "3.11.2"}
	s := sys(job("features/f", python))
	w.apply(w.plan(s))
	w.python = map[string]string{}
	if got, want := strings.Join(lines(w.plan(s)), "\n"), "run features/f unless same: python 3.11 is not found here: its exact version is not known"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
