package aws_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/planner/state"
)

// The emulator refuses what the role of a job does not allow. So each job of these tests shows that the role
// that tenon writes is sufficient; without one of its statements it is not.
func TestARoleWithoutOneStatementIsNotSufficient(t *testing.T) {
	for _, without := range []string{"", "Read", "List", "Write", "Secrets"} {
		t.Run("without "+without, func(t *testing.T) {
			t.Parallel()
			system := "role-" + strings.ToLower(without) + "-x"
			l := newTrainingLab(t, system)
			task := cloudtest.Task(t, system, "exit", "0")
			task.Unit.Secrets, task.Env = []ir.Secret{{Name: "TOKEN", Env: "TOKEN"}}, map[string]string{"TOKEN": "correct-horse-battery-staple"}
			ok(t, l.provision(t.Context(), task))
			files, err := infrastructure(l.trainingTarget(), system, task.Unit)
			ok(t, err)
			roles, err := awstest.Roles(files)
			ok(t, err)
			if len(roles) != 1 {
				t.Fatalf("there are the roles %v", roles)
			}
			for name, text := range roles {
				roles[name] = dropped(t, text, without)
			}
			ok(t, l.SetRoles(roles))
			e := l.executor(t)
			h, err := e.Apply(t.Context(), task, nil)
			ok(t, err)
			defer func() { ok(t, e.Destroy(context.Background(), h)) }()
			st, err := e.Wait(t.Context(), h)
			ok(t, err)
			if succeeded := st.Phase == state.Succeeded; succeeded != (without == "") || !succeeded && st.Message == "" {
				t.Errorf("%+v", st)
			}
		})
	}
}

// dropped returns a policy without a statement, which it has to have.
func dropped(t *testing.T, policy, sid string) string {
	t.Helper()
	var p struct {
		Version   string
		Statement []map[string]any
	}
	ok(t, json.Unmarshal([]byte(policy), &p))
	n := len(p.Statement)
	p.Statement = slices.DeleteFunc(p.Statement, func(s map[string]any) bool { return s["Sid"] == sid })
	if (len(p.Statement) < n) != (sid != "") {
		t.Fatalf("there is no statement %s in %s", sid, policy)
	}
	b, err := json.Marshal(p)
	ok(t, err)
	return string(b)
}
