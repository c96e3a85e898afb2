package gcp_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud/cloudtest"
	"github.com/tenon-ml/tenon/executors/gcp"
	"github.com/tenon-ml/tenon/internal/test/gcptest"
	"github.com/tenon-ml/tenon/planner/state"
)

// A service and a job with a GPU run on Cloud Run, which compares what they ask for with what its GPUs need. Here, they run
// without one.
func TestGPUsOfCloudRun(t *testing.T) {
	l := newLab(t)
	const system = "gpus"
	e := l.executor(t, func(o *gcp.Options) {
		o.System, o.Region, o.Jobs.On = system, gcptest.RegionWithGPUs, "run"
	})
	needs := ir.Resources{GPU: 1, GPUModel: "L4", MilliCPU: 6000}
	service, job := cloudtest.Serving(t, "gpu", "serve"), cloudtest.Task(t, "gpu", "exit", "0")
	service.Unit.Needs, job.Unit.Needs = needs, needs
	ok(t, l.provision(system, service.Unit, job.Unit))
	for _, c := range []struct {
		task executors.Task
		want state.Phase
	}{{service, state.Ready}, {job, state.Succeeded}} {
		h, err := e.Apply(t.Context(), c.task, nil)
		ok(t, err)
		st, err := e.Wait(t.Context(), h)
		if err != nil || st.Phase != c.want {
			t.Errorf("%s: %+v, %v", c.task.Unit.ID, st, err)
		}
		ok(t, e.Destroy(t.Context(), h))
	}
	if left, err := services(t).Left(system); err != nil || len(left) > 0 {
		t.Errorf("it has left %v, %v", left, err)
	}
}

// The fake refuses what the API refuses of GPUs, whoever sends it.
func TestWhatCloudRunRefusesOfGPUs(t *testing.T) {
	l := newLab(t)
	const system = "refused-gpus"
	for want, change := range map[string]func(string) string{
		`the accelerator "nvidia-h100" is not supported`: func(s string) string { return strings.Replace(s, "nvidia-l4", "nvidia-h100", 1) },
		`"2" has to be 1`:                      func(s string) string { return strings.Replace(s, `"nvidia.com/gpu":"1"`, `"nvidia.com/gpu":"2"`, 1) },
		"cpu 2 is less than 4":                 func(s string) string { return strings.Replace(s, `"cpu":"4"`, `"cpu":"2"`, 1) },
		"memory 8192Mi is less than 16384 MiB": func(s string) string { return strings.Replace(s, "16384Mi", "8192Mi", 1) },
		"no quota for GPUs with zonal redundancy": func(s string) string {
			return strings.Replace(s, `"gpuZonalRedundancyDisabled":true`, `"gpuZonalRedundancyDisabled":false`, 1)
		},
		"a revision with a GPU has its cores all the time": func(s string) string { return strings.Replace(s, `"cpuIdle":false`, `"cpuIdle":true`, 1) },
	} {
		e := l.executor(t, func(o *gcp.Options) { o.System, o.Region = system, gcptest.RegionWithGPUs })
		task := cloudtest.Serving(t, "gpu", "serve")
		task.Unit.Needs.GPU = 1
		ok(t, l.provision(system, task.Unit))
		gcp.Wrap(e, func(next http.RoundTripper) http.RoundTripper { return edited{next, change} })
		if _, err := e.Apply(t.Context(), task, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// An edited client changes what is sent.
type edited struct {
	next http.RoundTripper
	do   func(string) string
}

func (e edited) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		return e.next.RoundTrip(r)
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	text = []byte(e.do(string(text)))
	r = r.Clone(r.Context())
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	return e.next.RoundTrip(r)
}
