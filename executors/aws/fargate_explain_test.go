package aws

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/planner/state"
)

// What Amazon ECS says of a task that has stopped, and of a call, and the beginning of what a user reads.
func TestReasonsOfContainersSayWhatToChange(t *testing.T) {
	for said, want := range map[string]string{
		"Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/a/0)":                                         "it did not become ready in time",
		"(service a) (port 8080) is unhealthy in (target-group arn) due to (reason Health checks failed with these codes: [503])":                                        "it did not become ready in time",
		"CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref x: not found":                                                   "its image is not in the repository",
		"ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: i/o timeout":                                         "its subnet does not reach Secrets Manager",
		"(service a) failed to launch a task with (error ECS was unable to assume the role 'arn:aws:iam::1:role/x' that was provided for this task.)":                    "its role does not exist, or Amazon ECS may not assume it",
		"(service a) was unable to place a task. Reason: You've reached the limit on the number of vCPUs you can run concurrently.":                                      "a quota of the account is used up or 0",
		"(service a) was unable to place a task. Reason: Capacity is unavailable at this time. Please try again later or in a different availability zone.":              "the region has no capacity for it now",
		"InvalidParameterException: Unable to assume the service linked role. Please verify that the ECS service linked role exists.":                                    "the account has no role for Amazon ECS yet",
		"InvalidParameterException: The target group with targetGroupArn arn does not have an associated load balancer.":                                                 "its target group has no load balancer",
		"InvalidParameterException: Error retrieving subnet information for [subnet-0]: The subnet ID 'subnet-0' does not exist (ErrorCode: InvalidSubnetID.NotFound)":   "one of its subnets does not exist",
		"InvalidParameterException: Error retrieving security group information for [sg-0]: The security group 'sg-0' does not exist (ErrorCode: InvalidGroup.NotFound)": "one of its security groups does not exist",
		"OutOfMemoryError: Container killed due to memory usage":                                                                                                         "it used more memory than its container has",
		"Something that AWS has never said before": "Something that AWS has never said before",
	} {
		if got := explainStopped(said); !strings.HasPrefix(got, want) || !strings.Contains(got, strings.TrimSuffix(said, ".")) {
			t.Errorf("%s\ngives %q, want %q", said, got, want)
		}
	}
}

// The reason of a failed version is that of its tasks, and not that Amazon ECS stopped the others when it gave the version up.
func TestWhyATaskStopped(t *testing.T) {
	said := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".ListTasks") {
			_, _ = io.WriteString(w, `{"taskArns":["arn:1","arn:2","arn:3"]}`)
			return
		}
		_, _ = io.WriteString(w, said)
	}))
	defer s.Close()
	c := &cloud{ecs: newClient(ecsService, fake(s), "aws")}
	const scaled = `{"stoppedReason":"Scaling activity initiated by (deployment ecs-svc/1)","stoppedAt":3,"containers":[{"exitCode":143}]}`
	for want, tasks := range map[string]string{
		"its program ended with 1": `{"stoppedReason":"Task failed ELB health checks in (target-group a)","stoppedAt":1},` +
			`{"stoppedReason":"Essential container in task exited","stoppedAt":2,"containers":[{"exitCode":1}]},` + scaled,
		"": scaled,
	} {
		said = `{"tasks":[` + tasks + `]}`
		if got, err := c.whyStopped(t.Context(), &taskState{}); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestPricesOfTasks(t *testing.T) {
	for _, c := range []struct {
		region, architecture string
		unit                 ir.Unit
		want                 string
	}{
		{"us-east-1", "x86_64", service("api", nil), "1 x Fargate with 1 vCPU and 2048 MiB: 0.049 USD, 36.04 USD a month"},
		{"us-east-1", "arm64", service("api", func(u *ir.Unit) { u.Endpoint.Replicas = 3 }), "3 x Fargate with 1 vCPU and 2048 MiB: 0.12 USD, 86.51 USD a month"},
		{"us-east-1", "x86_64", service("api", func(u *ir.Unit) { u.Needs = ir.Resources{MilliCPU: 200, Memory: 600 << 20, Disk: 100 << 30} }), "1 x Fargate with 0.25 vCPU and 1024 MiB: 0.023 USD, 17.11 USD a month"},
		{"eu-central-1", "x86_64", service("api", nil), "1 x Fargate with 1 vCPU and 2048 MiB: unknown"},
	} {
		e := New(Options{Settings: Settings{Region: c.region, Architecture: c.architecture, Endpoints: map[string]Endpoint{"api": {On: "fargate"}}}})
		p, ok := e.PerHour(&c.unit)
		got := p.Of + ": " + p.Rate.Format(p.Currency) + ", " + p.Rate.Times(hoursOfMonth, 1).Format(p.Currency) + " a month"
		if p.Currency == "" {
			got = p.Of + ": unknown"
		}
		if !ok || got != c.want {
			t.Errorf("got %q, %v, want %q", got, ok, c.want)
		}
	}
	// What is deployed costs what it does where it is, and in other regions Tenon does not know.
	u := service("api", nil)
	for handle, want := range map[string]string{
		`"region":"us-east-1","machine":"ARM64"`:     "0.040 USD",
		`"region":"eu-central-1","machine":"X86_64"`: "0.00 ",
		`"region":"us-east-1"`:                       "0.00 ",
	} {
		p, ok := New(Options{}).PerHourOf(&u, state.Handle{Executor: Name, Data: []byte(`{"place":"fargate","name":"n","definition":"d",` + handle + `}`)})
		if _, own := New(Options{}).PerHourOf(nil, state.Handle{Executor: Name, Data: []byte(`{"place":"fargate","name":"n","definition":"d",` + handle + `}`)}); !own {
			t.Errorf("%s: it has no price of its own", handle)
		}
		if got := p.Rate.Format(p.Currency); !ok || got != want || p.Of == "" {
			t.Errorf("%s: %q, %v, want %q", handle, got, ok, want)
		}
	}
}

// The target of a service is a part of the cores that it needs, and its task may have more.
func TestReplicasThatFollowTheLoad(t *testing.T) {
	for want, change := range map[string]func(*ir.Unit){
		"1 1 0 0":     func(*ir.Unit) {},
		"4 4 0 0":     func(u *ir.Unit) { u.Endpoint.Replicas = 4 },
		"2 5 70 300":  func(u *ir.Unit) { u.Endpoint.Replicas, u.Endpoint.Scale = 2, &ir.Scale{Max: 5, CPU: 70} },
		"1 5 52.5 60": func(u *ir.Unit) { u.Needs.MilliCPU, u.Endpoint.Scale = 1500, &ir.Scale{Max: 5, CPU: 70, Idle: 60e9} },
	} {
		r := replicasOf(service("api", change))
		if r.String() != want || parsedReplicas(r.String()) != r {
			t.Errorf("got %s, want %s", r, want)
		}
	}
	if r := parsedReplicas(""); r != (replicas{least: 1, most: 1}) {
		t.Errorf("without a tag: %s", r)
	}
}
