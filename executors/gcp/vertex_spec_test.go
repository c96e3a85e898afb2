package gcp

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
)

// A custom job has the cheapest machine that fits, one attempt, and the account of its unit.
func TestTheCustomJobOfATask(t *testing.T) {
	s, err := SettingsOf(ir.Target{Name: "gcp", Executor: Name, Settings: settings(map[string]any{"jobs": map[string]any{"spot": true}})})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{Settings: s, Options: cloud.Options{System: "late", Env: "prod"}})
	task := executors.Task{Name: "models-late-train-1", Unit: job("models/late/train", func(u *ir.Unit) {
		u.Needs, u.Timeout, u.Network = ir.Resources{GPU: 1, GPUMemory: 24 << 30, MilliCPU: 5000, Disk: 200 << 30}, time.Hour, ir.NetworkOpen
	})}
	st := e.taskState(task)
	st.Token = "0011aabb"
	got := e.customOf(st, task, "image@sha256:00", []string{"pod", "run"})
	want := customJob{
		Display: st.Run + "-0011aabb",
		Labels: map[string]string{
			"tenon-environment": "late-prod", "tenon-system": "late", "tenon-unit": "models-late-train", "tenon-task": st.Run, "tenon-start": "0011aabb",
		},
		Spec: &customSpec{
			ServiceAccount: e.names().email("models/late/train"), Scheduling: customScheduling{"3600s", true, "SPOT"},
			Pools: []customPool{{
				customMachine{"g2-standard-8", "NVIDIA_L4", 1}, "1", customDisk{"pd-ssd", 320},
				customContainer{"image@sha256:00", []string{"pod"}, []string{"run"}, []customEnv{{"TENON_UNIT", "models/late/train"}}},
			}},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMachinesOfJobs(t *testing.T) {
	for _, c := range []struct {
		needs ir.Resources
		want  string
	}{
		{ir.Resources{GPU: 1}, "n1-standard-4 with 1 x NVIDIA T4"},
		{ir.Resources{GPU: 1, Memory: 16 << 30}, "n1-standard-8 with 1 x NVIDIA T4"},
		{ir.Resources{GPU: 2}, "g2-standard-24 with 2 x NVIDIA L4"},
		{ir.Resources{GPU: 1, GPUModel: "A100"}, "a2-highgpu-1g with 1 x NVIDIA A100"},
		{ir.Resources{GPU: 1, GPUModel: "A100", GPUMemory: 80 << 30}, "a2-ultragpu-1g with 1 x NVIDIA A100"},
		{ir.Resources{GPU: 8, GPUModel: "H100"}, "a3-highgpu-8g with 8 x NVIDIA H100"},
		{ir.Resources{GPU: 16}, " with 0 x "},
		{ir.Resources{GPU: 1, GPUModel: "V100"}, " with 0 x "},
	} {
		if m, _ := machineOf(c.needs); m.text() != c.want {
			t.Errorf("%+v: got %s, want %s", c.needs, m.text(), c.want)
		}
	}
}

// A project without the API, and a region without Vertex AI, have no custom jobs: a job on Cloud Run needs neither.
func TestNoVertexAI(t *testing.T) {
	for text, want := range map[string]string{
		`{"error": {"code": 403, "status": "PERMISSION_DENIED", "details": [{"reason": "SERVICE_DISABLED"}]}}`: "",
		"<html>Error 404 (Not Found)</html>":                                           "",
		`{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "denied"}}`: "grant the right",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			code := http.StatusForbidden
			if strings.HasPrefix(text, "<") {
				code = http.StatusNotFound
			}
			w.WriteHeader(code)
			_, _ = w.Write([]byte(text)) // the caller may be gone
		}))
		c := &client{plain: server.Client(), vertex: server.URL}
		all, err := c.customsOf(t.Context(), taskState{Project: "p", Region: "r"}, labelTask, "a")
		server.Close()
		if len(all) > 0 || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want %q", text, all, err, want)
		}
	}
}
