package aws

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// scheduledSystem is a system whose controller runs on a schedule.
func scheduledSystem() *ir.System {
	return &ir.System{
		Name:   "nightly",
		Target: ir.Target{Name: "prod", Executor: Name, Settings: settings(map[string]any{"controller": map[string]any{"every": "1h"}})},
		Units: []ir.Unit{
			job("models/late/train", func(u *ir.Unit) { u.Secrets = []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}} }),
			job("models/vision/train", func(u *ir.Unit) { u.Needs.GPU = 1 }),
			service("api", nil),
		},
	}
}

func TestExpressionsOfSchedules(t *testing.T) {
	for every, want := range map[string]string{"1m": "rate(1 minute)", "15m": "rate(15 minutes)", "60m": "rate(1 hour)", "90m": "rate(90 minutes)", "24h": "rate(24 hours)"} {
		if got, err := (&Controller{Every: every}).expression(); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", every, got, err, want)
		}
	}
	for _, every := range []string{"", "30s", "90s", "often"} {
		if _, err := (&Controller{Every: every}).expression(); err == nil {
			t.Errorf("%q is accepted", every)
		}
	}
}

// A pass reads the secrets of the units that it starts, and only AWS reads the URL of the state. A secret of somebody else needs no
// value from a pass.
func TestAControllerReadsTheSecretsOfUnits(t *testing.T) {
	sys := scheduledSystem()
	sys.Units[1].Secrets = []ir.Secret{{Name: "THEIRS", Env: "THEIRS"}}
	const theirs = "arn:aws:secretsmanager:eu-central-1:1:secret:theirs-AbCdEf"
	sys.Target.Settings["existing"] = map[string]any{"secrets": map[string]any{"THEIRS": theirs}}
	docs, err := Infrastructure(sys)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if d.Name != "roles.tf" {
			continue
		}
		policies := policiesOf(t, d.Content)
		pass, start := policies[controllerUnit], policies[execution(controllerUnit)]
		for secret, want := range map[string]bool{"aws_secretsmanager_secret/TOKEN": true, "aws_secretsmanager_secret/" + stateVariable: false, theirs: false} {
			if got := pass.allows("secretsmanager:GetSecretValue", secret, nil); got != want {
				t.Errorf("a pass may read %s: %v", secret, got)
			}
			if !start.allows("secretsmanager:GetSecretValue", secret, nil) {
				t.Errorf("what starts a pass may not read %s", secret)
			}
		}
		return
	}
	t.Error("there are no roles")
}

// A pass passes the roles of units to the services that run them, and to no others.
func TestAControllerPassesRolesToTheServicesOfUnits(t *testing.T) {
	docs, err := Infrastructure(scheduledSystem())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(docs, func(d terraform.Document) bool { return d.Name == "roles.tf" })
	if at < 0 {
		t.Fatal("there are no roles")
	}
	pass := policiesOf(t, docs[at].Content)[controllerUnit]
	for service, want := range map[string]bool{
		"batch.amazonaws.com": true, "ecs-tasks.amazonaws.com": true, "sagemaker.amazonaws.com": true, "lambda.amazonaws.com": true, "ec2.amazonaws.com": false, "": false,
	} {
		if got := pass.allows("iam:PassRole", "aws_iam_role/models-late-train", map[string]string{"iam:PassedToService": service}); got != want {
			t.Errorf("a pass may pass a role to %q: %t", service, got)
		}
	}
}

// AWS limits the policy of a role, and that of a controller grows with the system.
func TestAControllerOfALargeSystem(t *testing.T) {
	sys := scheduledSystem()
	for i := range 60 {
		sys.Units = append(sys.Units, job(fmt.Sprintf("steps/s%d", i), nil))
	}
	if _, err := Infrastructure(sys); err == nil || !strings.Contains(err.Error(), "the system has 63 units, and a pass needs rights for each: remove controller") {
		t.Errorf("got %v", err)
	}
}

// What the role of a controller has no rights for is refused.
func TestWhatAControllerOnAScheduleDoesNotMake(t *testing.T) {
	for _, on := range []string{"sagemaker", "fargate"} {
		s := Settings{Region: "eu-central-1", Controller: &Controller{Every: "15m"}, Endpoints: map[string]Endpoint{"api": {On: on, Instance: "ml.m5.large"}}}
		faults := New(Options{Settings: s}).Check(service("api", nil))
		found := false
		for _, f := range faults {
			found = found || strings.Contains(f.Message, "a controller on a schedule")
		}
		if !found {
			t.Errorf("%s: %v", on, faults)
		}
	}
}
