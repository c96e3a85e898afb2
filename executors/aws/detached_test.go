package aws_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A rule of EventBridge starts the passes of a controller that was started and not ended, in the image and with the command of the
// last start.
func TestPassesOfAController(t *testing.T) {
	const system = "passes"
	l, ctx := newLab(t), t.Context()
	target := l.target()
	target.Settings["controller"] = map[string]any{"every": "15m"}
	files, err := infrastructure(target, system)
	ok(t, err)
	ok(t, l.Provision(ctx, files))
	program := func(context.Context) (string, error) { return executortest.Program(), nil }
	e := aws.Detaching{Executor: l.executor(t, func(o *aws.Options) {
		o.System, o.Tenon, o.Controller, o.Programs = system, executortest.Program(), &aws.Controller{Every: "15m"}, executors.Programs{Duck: program, Serve: program}
	})}
	controller, is := e.Controller("").(executors.ScheduledProgram)
	if !is {
		t.Fatal("the controller has no schedule")
	}
	rule, _ := controller.Schedule()
	passes := func() int {
		ids, err := l.Jobs(controller.Job().Name)
		ok(t, err)
		return len(ids)
	}
	comesTo := func(p executors.DetachedProgram, want state.Phase) state.Status {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			st, err := p.Status(ctx)
			ok(t, err)
			if st.Phase == want || time.Now().After(end) {
				if st.Phase != want {
					t.Fatalf("the controller is %v, want %s", st, want)
				}
				return st
			}
		}
	}
	ok(t, l.Fire(rule))
	comesTo(controller, state.Absent)
	if n := passes(); n != 0 {
		t.Errorf("%d passes ran before the controller was started", n)
	}

	launch := func(args ...string) executors.Launch {
		return executors.Launch{Base: cloudtest.Image(), Args: args, State: "postgres://somewhere"}
	}
	ok(t, controller.Start(ctx, launch("whoami")))
	comesTo(controller, state.Ready)
	var log strings.Builder
	ok(t, controller.Log(ctx, &log, false))
	if strings.TrimSpace(log.String()) != "0" {
		t.Errorf("the log of a pass is %q", log.String())
	}
	ok(t, l.Fire(rule))
	if n := passes(); n != 2 { // the emulator submits at once
		t.Errorf("%d passes, want one of the start and one of the rule", n)
	}
	comesTo(e.Controller(""), state.Ready)

	// With the same command, the definition stays; with another one, it is replaced.
	ok(t, controller.Start(ctx, launch("whoami")))
	if left, err := l.Left(ctx, system); err != nil || !strings.HasSuffix(strings.Join(left, " "), ":1") && len(left) == 1 {
		t.Errorf("the definition was registered again: %v, %v", left, err)
	}
	ok(t, controller.Start(ctx, launch("unknown")))
	if st := comesTo(controller, state.Failed); !strings.Contains(st.Message, "exit code 1 and printed last: ") {
		t.Errorf("a pass that fails says %q", st.Message)
	}

	// The end of a controller ends what runs, and the rule starts nothing more.
	ok(t, controller.Start(ctx, launch("beat", "/tmp/beat")))
	comesTo(controller, state.Running)
	ok(t, controller.End(ctx))
	ok(t, controller.End(ctx))
	ending, err := controller.Ending(ctx)
	if err != nil || !ending {
		t.Errorf("an ended controller is not ending: %v", err)
	}
	before := passes()
	ok(t, l.Fire(rule))
	if n := passes(); n != before {
		t.Error("the rule started a pass after the end")
	}
	if left, err := l.Left(ctx, system); err != nil || len(left) > 0 {
		t.Errorf("%v, %v is left", left, err)
	}
}
