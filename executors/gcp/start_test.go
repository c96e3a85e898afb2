package gcp

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// A job has one attempt, the account of its unit and, unless it uses the network, a subnet without the Internet.
func TestTheJobOfATask(t *testing.T) {
	s, err := SettingsOf(ir.Target{Name: "gcp", Executor: Name, Settings: settings(map[string]any{"labels": map[string]any{"team": "growth"}})})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{Settings: s, Options: cloud.Options{System: "late", Env: "prod", State: "lineage"}})
	task := executors.Task{Name: "features-late-1", Unit: job("features/late", func(u *ir.Unit) {
		u.Needs, u.Timeout = ir.Resources{MilliCPU: 1500, Memory: 5 << 30, Disk: 1 << 30}, 90*time.Second+1
	})}
	st := e.taskState(task)
	st.Token = "0011aabb"
	got, err := json.MarshalIndent(e.jobOf(st, task, "image@sha256:00", []string{"pod", "run"}, []runEnv{{"A", runSource{runSecret{"a", "3"}}}}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
  "labels": {
    "team": "growth",
    "tenon-environment": "late-prod",
    "tenon-system": "late",
    "tenon-unit": "features-late"
  },
  "annotations": {
    "tenon.dev/root": "gs://tenon-late-prod-acme-ml-1/tenon/late/prod",
    "tenon.dev/state": "lineage",
    "tenon.dev/task": "features-late-1",
    "tenon.dev/token": "0011aabb",
    "tenon.dev/unit": "features/late"
  },
  "template": {
    "taskCount": 1,
    "labels": {
      "team": "growth",
      "tenon-environment": "late-prod",
      "tenon-system": "late",
      "tenon-unit": "features-late"
    },
    "template": {
      "containers": [
        {
          "image": "image@sha256:00",
          "command": [
            "pod"
          ],
          "args": [
            "run"
          ],
          "env": [
            {
              "name": "A",
              "valueSource": {
                "secretKeyRef": {
                  "secret": "a",
                  "version": "3"
                }
              }
            }
          ],
          "resources": {
            "limits": {
              "cpu": "2",
              "memory": "6144Mi"
            }
          }
        }
      ],
      "maxRetries": 0,
      "timeout": "91s",
      "serviceAccount": "tenon-late-prod-features-late@acme-ml-1.iam.gserviceaccount.com",
      "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
      "vpcAccess": {
        "egress": "ALL_TRAFFIC",
        "networkInterfaces": [
          {
            "network": "tenon-late-prod",
            "subnetwork": "tenon-late-prod"
          }
        ]
      }
    }
  },
  "startExecutionToken": "0011aabb"
}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	task.Unit.Network, task.Unit.Timeout = ir.NetworkOpen, 0
	if open := e.jobOf(st, task, "image", []string{"pod"}, nil).Template.Template; open.VPC != nil || open.Timeout != "604800s" {
		t.Errorf("a job that uses the network has %+v", open)
	}
	if id := st.start(); len(id) >= 63 || !strings.HasPrefix(id, "tenon-late-prod-") {
		t.Errorf("the execution is %s", id)
	}
}
