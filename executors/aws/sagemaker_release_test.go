package aws_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/aws"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/planner/state"
	"github.com/tenon-ml/tenon/stdlib/step"
)

// route gives the challenger v2 a weight, and the champion v1 the rest.
func route(serial int64, weight int) step.Route {
	return step.Route{Serial: serial, Versions: []step.RouteVersion{{Name: "v1", Weight: 100 - weight}, {Name: "v2", Weight: weight}}}
}

// released makes the task of a challenger that answers "two" beside a champion that answers "one".
func released(t *testing.T, weight int) executors.Task {
	t.Helper()
	task, champion := served(t, "r", "two"), served(t, "r", "one")
	first := route(1, weight)
	champion.Version, task.Version = "v1", "v2"
	task.Beside, task.Route = map[string]executors.Task{"v1": champion}, &first
	return task
}

// In a release, two variants divide the requests as the route says, until one of them is left, or the champion alone
// takes over again.
func TestReleaseOnAnEndpoint(t *testing.T) {
	l := newLab(t)
	const system = "endpoint-release"
	e := l.hosting(t, system)
	alone := served(t, "a", "one")
	l.provisionHosted(t, system, alone)
	first, err := e.Apply(t.Context(), alone, nil)
	ok(t, err)
	ready(t, e, first)
	task := released(t, 0)
	h, err := e.Apply(t.Context(), task, &first)
	ok(t, err)
	ready(t, e, h)
	ok(t, e.Destroy(t.Context(), first)) // as the engine does once the challenger is ready
	effective := func(serial int64) {
		t.Helper()
		seen, err := l.hosting(t, system).Observe(t.Context(), h)
		ok(t, err)
		if seen == nil || seen.Serial != serial || time.Since(seen.Since) > time.Minute || len(seen.Versions) != 2 {
			t.Errorf("observed %+v, want the route %d", seen, serial)
		}
	}
	effective(1)
	answers(t, h, "one")
	ok(t, e.SetRoute(t.Context(), h, route(2, 50)))
	effective(2)
	by, n := map[string]string{}, map[string]int64{}
	for range 40 {
		_, body, variant := invoked(t, h.Endpoint)
		by[variant] = body
		n[variant]++
	}
	if by["main"] != "one" || by["next"] != "two" {
		t.Errorf("with equal weights it answers %v", by)
	}
	// Each request is counted once, also by another executor, and those of the route before are not.
	for version, variant := range map[string]string{"v1": "main", "v2": "next"} {
		observed(t, l.hosting(t, system), h, 2, func(all map[string]step.Observation) bool {
			o := all[version]
			var timed int64
			for _, some := range o.Latency {
				timed += some
			}
			return o.Requests == n[variant] && o.Failed == 0 && timed == n[variant] && o.Fault == ""
		})
	}
	if found, err := e.Find(t.Context(), task.Name, task.Dir); err != nil || found == nil || string(found.Data) != string(h.Data) {
		t.Errorf("found %+v, %v, and it is %s", found, err, h.Data)
	}
	ok(t, e.SetRoute(t.Context(), h, route(3, 100)))
	answers(t, h, "two")
	last := step.Route{Serial: 4, Versions: []step.RouteVersion{{Name: "v2", Weight: 100}}}
	for at := 1; ; at++ { // killed after each call
		doomed := l.hosting(t, system, func(o *aws.Options) { o.Pause = 400 * time.Millisecond })
		aws.Configure(doomed, func(cfg *sdk.Config) { (&mortal{service: "SageMaker", at: at}).overHTTP(cfg) })
		if doomed.SetRoute(t.Context(), h, last) == nil {
			break
		}
		if at == 40 {
			t.Fatal("the release never ends")
		}
	}
	if _, body, variant := invoked(t, h.Endpoint); body != "two" || variant != "main" {
		t.Errorf("after the release, %s answers %s", variant, body)
	}
	if st, err := e.Inspect(t.Context(), h); err != nil || st.Phase != state.Ready {
		t.Errorf("%+v, %v", st, err)
	}
	if n := cloudtest.Processes(t, "TENON_TEST_ENDPOINT=tenon-"+system); n > 3 { // tenon-pod and the program, and what starts them
		t.Errorf("%d processes are left of two versions", n)
	}

	// A challenger that fails and ends is observed to do so. The champion takes over from it.
	task = released(t, 0)
	task.Name += "-again"
	task.Unit = served(t, "r", "crashing").Unit
	h2, err := e.Apply(t.Context(), task, &h)
	ok(t, err)
	ready(t, e, h2)
	ok(t, e.Destroy(t.Context(), h))
	time.Sleep(time.Second) // else its container might have been started with the route
	ok(t, e.SetRoute(t.Context(), h2, route(2, 100)))
	time.Sleep(time.Second)
	if status, _, _ := invoked(t, h2.Endpoint); status != 424 {
		t.Errorf("the challenger answers %d", status)
	}
	observed(t, e, h2, 2, func(all map[string]step.Observation) bool {
		return strings.HasPrefix(all["v2"].Fault, "its container ended")
	})
	back := served(t, "z", "one")
	h3, err := e.Apply(t.Context(), back, &h2)
	ok(t, err)
	ready(t, e, h3)
	ok(t, e.Destroy(t.Context(), h2))
	answers(t, h3, "one")
	ok(t, e.Destroy(t.Context(), h3))
	l.swept(t, system)
}

func TestWhatAnEndpointDoesNotHave(t *testing.T) {
	fraction := 0.1
	e := aws.New(aws.Options{Settings: aws.Settings{Region: "eu-central-1", Architecture: "x86_64", Endpoints: map[string]aws.Endpoint{"api": {On: "sagemaker", Instance: "ml.m5.large"}}}})
	for want, change := range map[string]func(*ir.Unit){
		"": func(u *ir.Unit) {
			u.Release = &ir.Release{Steps: []int{10, 100}, Each: time.Minute, Judge: ir.Judge{ErrorRate: &fraction, P99: time.Second, Requests: 9, Within: time.Hour}}
		},
		"release.by":                 func(u *ir.Unit) { u.Release = &ir.Release{Steps: []int{10}, By: "customer"} },
		"release.shadow":             func(u *ir.Unit) { u.Release = &ir.Release{Steps: []int{10}, Shadow: 0.1} },
		"release.judge.disagreement": func(u *ir.Unit) { u.Release = &ir.Release{Judge: ir.Judge{Disagreement: &fraction}} },
		"replicas":                   func(u *ir.Unit) { u.Endpoint.Scale = &ir.Scale{Max: 3} },
		"needs":                      func(u *ir.Unit) { u.Needs.Memory = 64 << 30 },
		"needs.disk":                 func(u *ir.Unit) { u.Needs.Disk = 513 << 30 },
		"network":                    func(u *ir.Unit) { u.Network = ir.NetworkNone },
		"component":                  func(u *ir.Unit) { u.Code.Runtime, u.Code.Lock = ir.Command, "" },
		"component: auth is refused": func(u *ir.Unit) { u.Params = []byte(`{"auth":{}}`) },
		"in.other": func(u *ir.Unit) {
			u.Inputs = []ir.Input{{Port: "other", Kind: ir.EndpointOf, Unit: "deployments/b", From: "endpoint"}}
		},
	} {
		field, _, _ := strings.Cut(want, ":")
		faults := e.Check(served(t, "a", "one", change).Unit)
		if field == "" && len(faults) > 0 || field != "" && (len(faults) != 1 || faults[0].Field != field || faults[0].Hint == "") {
			t.Errorf("%s: %+v", want, faults)
		}
	}
}

// A deployment moves if its target says so.
func TestPlacesOfADeployment(t *testing.T) {
	u := served(t, "a", "one").Unit
	e := aws.New(aws.Options{Settings: aws.Settings{Endpoints: map[string]aws.Endpoint{"api": {On: "sagemaker", Instance: "ml.m5.large"}}}})
	for data, want := range map[string]string{
		`{"place":"lambda","name":"n","region":"r","definition":"d"}`:                              "AWS Lambda, then SageMaker, ml.m5.large",
		`{"place":"sagemaker","name":"n","region":"r","definition":"d","instance":"ml.m5.xlarge"}`: "SageMaker, ml.m5.xlarge, then SageMaker, ml.m5.large",
		`{"place":"sagemaker","name":"n","region":"r","definition":"d","instance":"ml.m5.large"}`:  "SageMaker, ml.m5.large, then SageMaker, ml.m5.large",
		`{"place":"sagemaker","name":"n","region":"r","definition":"d"}`:                           ", then ",
		`{"place":"batch","name":"n","region":"r","definition":"d"}`:                               ", then ",
		`{"place":"fargate","name":"n","region":"r","definition":"d","host":"api.acme.example"}`:   "AWS Fargate, api.acme.example, then SageMaker, ml.m5.large",
	} {
		before, after := e.Placed(&u, state.Handle{Executor: aws.Name, Data: []byte(data)})
		if got := before + ", then " + after; got != want {
			t.Errorf("%s: %q, want %q", data, got, want)
		}
	}
	secure := aws.New(aws.Options{Settings: aws.Settings{Endpoints: map[string]aws.Endpoint{"api": {On: "fargate", Host: "api.acme.example"}}, Balancer: aws.Balancer{Certificate: "arn"}}})
	for url, want := range map[string]string{"http": "AWS Fargate, api.acme.example", "https": "AWS Fargate, api.acme.example over HTTPS"} {
		h := state.Handle{Executor: aws.Name, Data: fmt.Appendf(nil, `{"place":"fargate","name":"n","region":"r","definition":"d","host":"api.acme.example","url":"%s://api.acme.example"}`, url)}
		if before, after := secure.Placed(&u, h); before != want || after != "AWS Fargate, api.acme.example over HTTPS" {
			t.Errorf("%s: %q, then %q", url, before, after)
		}
	}
}

// A type or a region without a known price is in the plan, too. What is deployed costs what it does where it is.
func TestPricesOfEndpoints(t *testing.T) {
	u := served(t, "a", "one", func(u *ir.Unit) { u.Endpoint.Replicas = 2 }).Unit
	for _, x := range []struct{ instance, region, want string }{
		{"ml.m5.large", "us-east-1", "2 x ml.m5.large: 0.23 USD"},
		{"ml.m5.large", "eu-central-1", "2 x ml.m5.large: unknown"},
		{"ml.p4d.24xlarge", "us-east-1", "2 x ml.p4d.24xlarge: unknown"},
	} {
		instance, want := x.instance, x.want
		e := aws.New(aws.Options{Settings: aws.Settings{Region: x.region, Endpoints: map[string]aws.Endpoint{"api": {On: "sagemaker", Instance: instance}}}})
		p, ok := e.PerHour(&u)
		there := state.Handle{Executor: aws.Name, Data: fmt.Appendf(nil, `{"place":"sagemaker","name":"n","region":%q,"definition":"d","instance":%q}`, x.region, instance)}
		if now, is := aws.New(aws.Options{}).PerHourOf(&u, there); !is || now != p {
			t.Errorf("where it is, it costs %+v, %v", now, is)
		}
		got := p.Of + ": unknown"
		if p.Currency != "" {
			got = p.Of + ": " + p.Rate.Format(p.Currency)
		}
		if !ok || got != want {
			t.Errorf("got %q, %v, want %q", got, ok, want)
		}
	}
	there := state.Handle{Executor: aws.Name, Data: []byte(`{"place":"lambda","name":"n","region":"us-east-1","definition":"d"}`)}
	if now, is := aws.New(aws.Options{}).PerHourOf(&u, there); is {
		t.Errorf("a function costs %+v", now)
	}
}
