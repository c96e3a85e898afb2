package kubernetes

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/compiler/ir"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 70)
	for _, c := range []struct{ system, unit, service, label string }{
		{"churn", "deployments/api", "churn-api", "deployments.api"},
		{"", "deployments/api", "tenon-api", "deployments.api"},
		{"churn", "deployments/API", "churn-api-8796a9e4", "deployments.API"},
		{"churn", "deployments/front_end", "churn-front-end-f2f2db30", "deployments.front_end"},
		{"churn", "deployments/front-", "churn--front-bbf1e082", "deployments.front-a1a4065a"},
		{"churn", "models/late/train", "churn-late-train-0ab7acfd", "models.late.train"},
		{"churn", "deployments/" + long, "churn-" + long[:48] + "-575374e2", "deployments." + long[:42] + "-3453265c"},
	} {
		if got := ServiceName(c.system, "", c.unit); got != c.service {
			t.Errorf("the Service of %s in %q is %s, want %s", c.unit, c.system, got, c.service)
		}
		if got := labelValue(c.unit); got != c.label {
			t.Errorf("the label of %s is %s, want %s", c.unit, got, c.label)
		}
	}
}

// What two environments have in a namespace has different names and labels.
func TestNamesInAnEnvironment(t *testing.T) {
	u := ir.Unit{ID: "deployments/api"}
	plain, prod := Settings{System: "churn", State: "s"}, Settings{System: "churn", State: "s", Env: "prod"}
	if got := plain.serviceName(u.ID); got != "churn-api" {
		t.Errorf("without a name the Service is %s", got)
	}
	if got := prod.serviceName(u.ID); got != "churn-prod--api" {
		t.Errorf("the Service of prod is %s", got)
	}
	if _, ok := plain.labels(u)[labelEnv]; ok || prod.labels(u)[labelEnv] != "prod" {
		t.Errorf("labels %v and %v", plain.labels(u), prod.labels(u))
	}
	one := New(Options{Settings: Settings{Detached: &Detached{}}}).Detached("0123456789", 7).Job().Name
	other := New(Options{Settings: Settings{Env: "prod", Detached: &Detached{}}}).Detached("0123456789", 7).Job().Name
	if one != "apply-01234567-7" || other != "apply-01234567-prod-7" {
		t.Errorf("detached applies are called %s and %s", one, other)
	}
}

// Any names of entities give valid and distinct names in a cluster, in any environments.
func TestNamesAreThoseOfACluster(t *testing.T) {
	entity := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9][A-Za-z0-9._-]{0,99}`), rapid.StringMatching(`[a-b-]{1,6}`))
	system := rapid.StringMatching(`[a-z][a-z0-9_-]{0,80}`)
	environment := rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[ab][a-b-]{0,3}`))
	rapid.Check(t, func(t *rapid.T) {
		in, a, b := system.Draw(t, "system"), "deployments/"+entity.Draw(t, "a"), "deployments/"+entity.Draw(t, "b")
		of, other := environment.Draw(t, "environment of a"), environment.Draw(t, "environment of b")
		first, second := ServiceName(in, of, a), ServiceName(in, other, b)
		for _, name := range []string{first, second} {
			if errs := validation.IsDNS1035Label(name); len(errs) > 0 {
				t.Errorf("the Service %q: %v", name, errs)
			}
		}
		for _, unit := range []string{a, b} {
			if errs := validation.IsValidLabelValue(labelValue(unit)); len(errs) > 0 {
				t.Errorf("the label of %s: %q: %v", unit, labelValue(unit), errs)
			}
		}
		if (a != b || of != other) && first == second {
			t.Errorf("%s in %q and %s in %q have the Service %s", a, of, b, other, first)
		}
		if a != b && labelValue(a) == labelValue(b) {
			t.Errorf("%s and %s have one label", a, b)
		}
	})
}
