package aws_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// onFargate places the deployment "api" on Fargate.
func onFargate(o *aws.Options) {
	o.Endpoints = map[string]aws.Endpoint{"api": {On: "fargate"}}
}

// fargate returns an executor that places "api" on Fargate, whose tenon-serve is small.
func (l *lab) fargate(t *testing.T, system string, change ...func(*aws.Options)) *aws.Executor {
	t.Helper()
	return l.functions(t, system, append([]func(*aws.Options){onFargate}, change...)...)
}

func (l *lab) provisionFargate(t *testing.T, system string, task executors.Task) map[string][]byte {
	t.Helper()
	target := l.target()
	target.Settings["endpoints"] = map[string]any{"api": map[string]any{"on": "fargate"}}
	ok(t, l.provisionOn(t.Context(), target, system, task))
	files, err := infrastructure(target, system, task.Unit)
	ok(t, err)
	return files
}

// serves says that a service answers with a model, at the address that it always has.
func serves(t *testing.T, h state.Handle, want string) {
	t.Helper()
	if status, body := asked(t, h.Endpoint, false); status != 200 || body != want {
		t.Errorf("it answers %d %s, want %s", status, body, want)
	}
}

// A deployment is a service of Amazon ECS behind a load balancer, which stays the same: requests go to the version
// that was seen ready last.
func TestService(t *testing.T) {
	l := newLab(t)
	const system = "fargate"
	e := l.fargate(t, system)
	first := served(t, "a", "one", func(u *ir.Unit) { u.Secrets = []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}} })
	first.Env = map[string]string{"TOKEN": "correct-horse"}
	if _, err := e.Apply(t.Context(), first, nil); err == nil || !strings.Contains(err.Error(), "the region has no cluster tenon-fargate of Amazon ECS: apply the infrastructure") {
		t.Errorf("without a cluster: %v", err)
	}
	l.provisionFargate(t, system, first)
	h, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	ready(t, e, h)
	serves(t, h, "one")
	if again, err := e.Apply(t.Context(), first, nil); err != nil || string(again.Data) != string(h.Data) {
		t.Errorf("applied again: %s, %v", again.Data, err)
	}
	if found, err := l.fargate(t, system).Find(t.Context(), first.Name, first.Dir); err != nil || found == nil || string(found.Data) != string(h.Data) || found.Endpoint != h.Endpoint {
		t.Errorf("found %+v, %v, and it is %s", found, err, h.Data)
	}
	var log bytes.Buffer
	ok(t, e.Logs(t.Context(), h, &log, false))
	if log.String() != "it starts as one\n" {
		t.Errorf("the log is %q", log.String())
	}

	// Versions that do not become ready get no requests, and say why.
	ok(t, l.Tasks(time.Second))
	for model, want := range map[string]string{
		"broken": "its program ended with 1; it printed last: error: the model is damaged",
		"never":  "it did not become ready in time, as the load balancer sees it: ",
	} {
		b, err := e.Apply(t.Context(), served(t, model, model), &h)
		ok(t, err)
		if st, err := e.Wait(t.Context(), b); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, want) {
			t.Errorf("%s: %+v, %v", model, st, err)
		}
		serves(t, h, "one")
		ok(t, e.Destroy(t.Context(), b))
	}
	ok(t, l.Tasks(time.Minute))
	for range 3 {
		ok(t, l.Refuse("CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref: not found"))
	}
	gone, err := e.Apply(t.Context(), served(t, "c", "three"), &h)
	ok(t, err)
	if st, err := e.Wait(t.Context(), gone); err != nil || st.Phase != state.Failed || !strings.HasPrefix(st.Message, "its image is not in the repository: ") {
		t.Errorf("without its image: %+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), gone))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Errorf("the first: %+v, %v", st, err)
	}

	// Another version takes over, with two containers. If it is given up after that, the one before answers again.
	next, err := e.Apply(t.Context(), served(t, "b", "two", func(u *ir.Unit) { u.Endpoint.Replicas = 2 }), &h)
	ok(t, err)
	ready(t, e, next)
	serves(t, h, "two")
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("the first: %+v, %v", st, err)
	}
	ok(t, e.Destroy(t.Context(), next))
	serves(t, h, "one")
	// The system may have another target by now.
	elsewhere := l.executor(t, func(o *aws.Options) { o.System, o.Settings = "", aws.Settings{} })
	ok(t, elsewhere.Destroy(t.Context(), h))
	ok(t, elsewhere.Destroy(t.Context(), h))
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Absent {
		t.Errorf("%+v, %v", st, err)
	}
	l.swept(t, system)
	if n := cloudtest.Processes(t, "TENON_TEST_SERVICE=tenon-"+system); n > 0 {
		t.Errorf("%d processes are left", n)
	}
}

// What AWS refuses becomes an error that says what to change, and leaves nothing.
func TestAServiceThatAWSRefuses(t *testing.T) {
	l := newLab(t)
	const system = "refused-fargate"
	atLarge := func(u *ir.Unit) { u.Network = ir.NetworkOpen }
	task := served(t, "a", "one", atLarge)
	l.provisionFargate(t, system, task)
	theirs := l.fargate(t, system, func(o *aws.Options) { o.State = "theirs" })
	h, err := theirs.Apply(t.Context(), task, nil)
	ok(t, err)
	ready(t, theirs, h)
	ours := l.fargate(t, system, func(o *aws.Options) { o.State = "ours" })
	if _, err := ours.Apply(t.Context(), served(t, "a", "one", atLarge), nil); err == nil || !strings.Contains(err.Error(), "already has a service tenon-refused-fargate-deployments-api, which is not of this state") {
		t.Errorf("%v", err)
	}
	// The tasks that answer until the next ones are ready have a part of the quota.
	large := served(t, "q", "one", func(u *ir.Unit) { u.Needs.MilliCPU, u.Endpoint.Replicas = 16_000, 1000 })
	ok(t, l.SetQuota("fargate", "Fargate On-Demand vCPU resource count", 16_000))
	if _, err := ours.Admit(t.Context(), []ir.Unit{large.Unit}); err == nil || !strings.Contains(err.Error(), `deployments/api during its update (1 are there, and 16000 start beside them) needs 16001 of the quota "Fargate On-Demand vCPU resource count"`) {
		t.Errorf("%v", err)
	}

	// Another network reaches a service that runs.
	moved := l.fargate(t, system, func(o *aws.Options) {
		o.Balancer.Callers = []string{"10.0.0.0/8"}
		o.State, o.Existing.Network = "theirs", &aws.Network{VPC: "vpc-0a", Subnets: []string{"subnet-0a", "subnet-0d"}, OpenSubnets: []string{"subnet-0b", "subnet-0c"}}
	})
	if before, after := moved.Placed(&task.Unit, h); before != "AWS Fargate, without a host" || after != before+", in subnet-0b subnet-0c of vpc-0a" {
		t.Errorf("moved from %q to %q", before, after)
	}
	for e, want := range map[*aws.Executor]string{theirs: "ENABLED", moved: "DISABLED"} {
		h, err := e.Apply(t.Context(), task, nil)
		ok(t, err)
		ready(t, e, h)
		if got, err := e.PublicAddress(t.Context(), h); err != nil || got != want {
			t.Errorf("public addresses are %s, %v, want %s", got, err, want)
		}
	}
	ok(t, theirs.Destroy(t.Context(), h))
	l.swept(t, system)
}

// The role that tenon writes is sufficient for a container; without one of its statements it is not.
func TestARoleOfAServiceWithoutOneStatementIsNotSufficient(t *testing.T) {
	for _, without := range []string{"", "Read"} {
		t.Run("without "+without, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			system := "fargate-role-" + strings.ToLower(without) + "-x"
			task := served(t, "a", "one")
			roles, err := awstest.Roles(l.provisionFargate(t, system, task))
			ok(t, err)
			for name, text := range roles {
				if !strings.Contains(name, "-execution-") {
					roles[name] = dropped(t, text, without)
				}
			}
			ok(t, l.SetRoles(roles))
			e := l.fargate(t, system)
			h, err := e.Apply(t.Context(), task, nil)
			ok(t, err)
			if st, err := e.Wait(t.Context(), h); err != nil || (st.Phase == state.Ready) != (without == "") || st.Phase != state.Ready && st.Message == "" {
				t.Errorf("%+v, %v", st, err)
			}
			ok(t, e.Destroy(t.Context(), h))
		})
	}
}

// Two versions of a deployment are in one container, which answers as the route says and counts what it answers.
func TestReleaseOfAService(t *testing.T) {
	l := newLab(t)
	const system = "release-fargate"
	e := l.fargate(t, system)
	released := func(version, model string) executors.Task {
		return served(t, version, model, func(u *ir.Unit) { u.Release = &ir.Release{Steps: []int{25, 100}} })
	}
	first := released("a", "one")
	l.provisionFargate(t, system, first)
	old, err := e.Apply(t.Context(), first, nil)
	ok(t, err)
	ready(t, e, old)
	h, err := e.Apply(t.Context(), beside(first, released("b", "two"), 25), &old)
	ok(t, err)
	ready(t, e, h)
	ok(t, e.Destroy(t.Context(), old))
	count := func() map[string]int {
		n := map[string]int{}
		for range 20 {
			_, body := asked(t, h.Endpoint, false)
			n[body]++
		}
		return n
	}
	if n := count(); n["one"] != 15 || n["two"] != 5 {
		t.Errorf("with a quarter of the requests: %v", n)
	}
	observed(t, e, h, 1, func(by map[string]step.Observation) bool {
		return by["late v1"].Requests == 15 && by["late v2"].Requests == 5
	})
	for i, want := range []map[string]int{{"one": 19, "two": 1}, {"two": 20}} {
		ok(t, e.SetRoute(t.Context(), h, weights(int64(2+i), 5*want["two"])))
		for end := time.Now().Add(20 * time.Second); ; {
			n := count()
			if fmt.Sprint(n) == fmt.Sprint(want) {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%v, want %v", n, want)
			}
		}
	}
	if err := e.SetRoute(t.Context(), old, weights(9, 0)); err == nil || !strings.Contains(err.Error(), "no longer runs this version") {
		t.Errorf("the route of a version that is gone: %v", err)
	}
	ok(t, e.Destroy(t.Context(), h))
	l.swept(t, system)
}

// follows says whether the service of a system follows its load: 75 % of 0.4 cores, of a task that has 0.5.
func follows(t *testing.T, l *lab, system string, want bool) {
	t.Helper()
	got, err := l.Scaled(fmt.Sprintf("service/tenon-%s/tenon-%[1]s-deployments-api", system))
	ok(t, err)
	if is := strings.Contains(got, `"MinCapacity": 1, "MaxCapacity": 3, "Policy": {"PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"}, "ScaleInCooldown": 60, "TargetValue": 60}`); is != want || !want && got != "" {
		t.Errorf("it follows its load: %s", got)
	}
}

// An apply, a takeover and a destroy are killed after each call of AWS, again and again until one comes to its
// end. There is one service, and a sweep by tags finds nothing.
func TestServiceKilledAtEachCall(t *testing.T) {
	l := newLab(t)
	const system = "killed-fargate"
	tasks := []executors.Task{served(t, "a", "one"), served(t, "b", "two", func(u *ir.Unit) {
		u.Needs.MilliCPU, u.Endpoint.Scale = 400, &ir.Scale{Max: 3, CPU: 75, Idle: time.Minute}
	})}
	l.provisionFargate(t, system, tasks[0])
	until := func(do func(*aws.Executor) error) {
		t.Helper()
		for at := 1; at < 100; at++ {
			e := l.fargate(t, system, func(o *aws.Options) { o.Pause = 200 * time.Millisecond })
			aws.Configure(e, (&mortal{at: at}).overHTTP)
			if do(e) == nil {
				return
			}
		}
		t.Fatal("it never comes to its end")
	}
	var handles []state.Handle
	for i, task := range tasks {
		var h state.Handle
		until(func(e *aws.Executor) (err error) {
			h, err = e.Apply(t.Context(), task, nil)
			return err
		})
		ready(t, l.fargate(t, system), h)
		serves(t, h, []string{"one", "two"}[i])
		follows(t, l, system, i == 1)
		handles = append(handles, h)
	}
	if n, err := l.Hosted("tenon-" + system + "-deployments-api"); err != nil || n != 1 {
		t.Errorf("the service was created %d times, %v", n, err)
	}
	until(func(e *aws.Executor) error { return e.Destroy(t.Context(), handles[1]) }) // it goes back
	serves(t, handles[0], "one")
	follows(t, l, system, false)
	until(func(e *aws.Executor) error { return e.Destroy(t.Context(), handles[0]) })
	l.swept(t, system)
	if n := cloudtest.Processes(t, "TENON_TEST_SERVICE=tenon-"+system); n > 0 {
		t.Errorf("%d processes are left", n)
	}
}
