package azure

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-cmp/cmp"

	"github.com/tenon-ml/tenon/compiler/ir"
	"github.com/tenon-ml/tenon/executors"
	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/planner/state"
)

// A command job has the cluster and the identity of its unit, one node and one attempt.
func TestTheCommandJobOfATask(t *testing.T) {
	s, err := SettingsOf(target(map[string]any{"jobs": map[string]any{"spot": true}}))
	if err != nil {
		t.Fatal(err)
	}
	e := New(Options{Settings: s, Options: cloud.Options{System: "late", Env: "prod"}})
	task := executors.Task{Name: "models-late-train-1", Unit: job("models/late/train", func(u *ir.Unit) {
		u.Needs, u.Timeout, u.Network = ir.Resources{GPU: 2}, time.Hour, ir.NetworkOpen
	})}
	st := e.taskState(task)
	st.Token = "0011aabb"
	got := e.commandOf(st, task, appNeeds{client: "client", command: []string{"/pod", "run", "it's"}}, "environment")
	want := mlJob{Properties: mlCommand{
		Type: "Command", Display: "models/late/train", Experiment: "tenon-late-prod", Command: `'/pod' 'run' 'it'\''s'`, Environment: "environment",
		Compute:   group + "/providers/Microsoft.MachineLearningServices/workspaces/tenon-late-prod/computes/" + e.names().nodes("models/late/train"),
		Identity:  &mlIdentity{"Managed", "client"},
		Variables: map[string]string{"TENON_STORE_AZURE_CLIENT_ID": "client", "TENON_STORE_AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"},
		Limits:    &mlLimits{"Command", "PT3600S"}, Resources: &mlResources{1},
		Tags: map[string]string{
			"tenon-environment": "late/prod", "tenon-system": "late", "tenon-unit": "models/late/train", "tenon-task": "models-late-train-1",
			"tenon-token": "0011aabb", "tenon-root": st.Root, "tenon-account": st.Account, st.Run: "0011aabb",
		},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// Azure wants a letter after the last hyphen of a name of a cluster, and other environments have clusters in the location.
func TestNamesOfClusters(t *testing.T) {
	may, prod, dev := regexp.MustCompile(`^[a-z]([a-z0-9]|-[a-z0-9])+$`), newWriter(&ir.System{Name: "late", Env: "prod"}, Settings{}), newWriter(&ir.System{Name: "late", Env: "dev"}, Settings{})
	for _, unit := range []string{"models/late/train", "models/a-2", "steps/a_2", "steps/A", "models/2", "models/" + strings.Repeat("a", 60)} {
		name := prod.nodes(unit)
		if last := name[strings.LastIndexByte(name, '-')+1:]; !may.MatchString(name) || len(name) > mostCluster || !strings.ContainsAny(last, "abcdefghijklmnopqrstuvwxyz") || name == dev.nodes(unit) {
			t.Errorf("the cluster of %s is %s", unit, name)
		}
	}
}

func TestWhereJobsRun(t *testing.T) {
	for _, c := range []struct {
		on    string
		needs ir.Resources
		want  place
	}{
		{"", ir.Resources{}, onJob},
		{"", ir.Resources{GPU: 1}, onJob},
		{"", ir.Resources{GPU: 2}, onML},
		{"", ir.Resources{GPU: 1, GPUModel: "H100"}, onML},
		{"", ir.Resources{MilliCPU: 8000}, onJob}, // where it is refused
		{"apps", ir.Resources{GPU: 2}, onJob},
		{"ml", ir.Resources{GPU: 1}, onML},
		{"ml", ir.Resources{MilliCPU: 8000}, onML},
		{"ml", ir.Resources{MilliCPU: 4000}, onJob},
	} {
		u := job("steps/a", func(u *ir.Unit) { u.Needs = c.needs })
		if got := (Settings{Jobs: Jobs{On: c.on}}).place(&u); got != c.want {
			t.Errorf("%s, %+v: got %q, want %q", c.on, c.needs, got, c.want)
		}
	}
}

func TestMachinesOfJobs(t *testing.T) {
	for _, c := range []struct {
		needs ir.Resources
		want  string
	}{
		{ir.Resources{MilliCPU: 8000}, "Standard_D8ds_v4"},
		{ir.Resources{MilliCPU: 4000, Memory: 100 << 30}, "Standard_E16s_v3"},
		{ir.Resources{GPU: 1}, "Standard_NC4as_T4_v3 with 1 x NVIDIA T4"},
		{ir.Resources{GPU: 1, Memory: 100 << 30}, "Standard_NC16as_T4_v3 with 1 x NVIDIA T4"},
		{ir.Resources{GPU: 1, GPUModel: "A100"}, "Standard_NC24ads_A100_v4 with 1 x NVIDIA A100"},
		{ir.Resources{GPU: 1, GPUModel: "A100", Disk: 64 << 30}, "Standard_NC48ads_A100_v4 with 2 x NVIDIA A100"},
		{ir.Resources{GPU: 1, GPUModel: "H100"}, "Standard_NC40ads_H100_v5 with 1 x NVIDIA H100 NVL"},
		{ir.Resources{GPU: 2}, "Standard_NC64as_T4_v3 with 4 x NVIDIA T4"},
		{ir.Resources{GPU: 8, GPUModel: "H100"}, "Standard_ND96isr_H100_v5 with 8 x NVIDIA H100"},
		{ir.Resources{GPU: 16}, ""},
		{ir.Resources{GPU: 1, GPUModel: "V100"}, ""},
	} {
		if m, _ := machineFor(c.needs); m.text() != c.want {
			t.Errorf("%+v: got %s, want %s", c.needs, m.text(), c.want)
		}
	}
}

// What Azure Machine Learning says becomes what to change. A lack of machines lets a choice of targets continue.
func TestReasonsOfAzureMachineLearning(t *testing.T) {
	for _, c := range []struct {
		code, said, want string
		lacks            bool
	}{
		{"ClusterCoreQuotaReached", "The specified subscription has a Standard NCASv3_T4 Family vCPU quota of 0 and cannot accomodate for at least 1 requested managed compute node.", "a quota of Azure Machine Learning for cores", true},
		{"AllocationFailed", "Allocation failed. We do not have sufficient capacity.", "the location has no such machine free now", true},
		{"UserError", "Node was preempted.", "its node was taken back", false},
		{"UserError", "The compute target tenon was not found.", "its cluster does not exist: apply the infrastructure", false},
		{"UserError", "Failed to pull Docker image a.azurecr.io/b@sha256:00. manifest unknown", "its image is not in the registry", false},
		{"UserError", "Something new.", "Something new.", false},
		{"UserError", "Execution failed. User process '/bin/sh' exited with status code 1. Please check log file 'user_logs/std_log.txt'. Error: disk quota: no space left after a timeout", "Execution failed. User process", false},
		{"UserError", "The process exited with code 3: out of memory", "The process exited with code 3", false},
		{"UserError", "Node was preempted. User process '/bin/sh' exited with status code 137.", "its node was taken back", false},
	} {
		got := explainedML(mlError{c.code, c.said})
		if !strings.HasPrefix(got, c.want) || cloud.Lacks(got, lacking) != c.lacks {
			t.Errorf("%s: got %q", c.said, got)
		}
	}
}

// What a job may say is not what a gateway says that does not reach Azure Machine Learning.
func TestAGatewayDoesNotReachAzureMachineLearning(t *testing.T) {
	for status, want := range map[int]bool{http.StatusBadRequest: true, http.StatusGatewayTimeout: false} {
		err := explainML("create the job a", refused(status, []byte(`{"error": {"code": "Timeout", "message": "a timeout"}}`)))
		if got := strings.Contains(err.Error(), "longer than its timeout"); got != want {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// tokens are credentials of tests.
type tokens struct{}

func (tokens) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "token", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// A job that Azure queues again, long after it was made, because its node was taken back, gets as much time as a new one to
// find a node. What a cluster says that is not known is shown while the job waits.
func TestAJobThatIsQueuedAgainMayWait(t *testing.T) {
	status, said, nodes := "Queued", `{"code": "ClusterCoreQuotaReached", "message": "a quota of 0"}`, ""
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text := `{"properties": {"jobType": "Command", "status": "` + status + `", "computeId": "/computes/a"}, "systemData": {"createdAt": "2026-01-01T00:00:00Z"}}`
		if strings.HasSuffix(r.URL.Path, "/computes/a") {
			text = `{"properties": {"properties": {` + nodes + `"errors": [{"error": ` + said + `}]}}}`
		}
		_, _ = w.Write([]byte(text)) // the caller may be gone
	}))
	defer server.Close()
	e := New(Options{Stuck: time.Hour})
	e.client.manager, e.client.learning, e.client.plain, e.client.credentials.found = server.URL, server.URL, server.Client(), tokens{}
	f := &followed{e: e, st: taskState{Workspace: "ml", Run: "run", Token: "token"}}
	look := func(longer time.Duration, want state.Status) {
		t.Helper()
		if !f.queued.IsZero() {
			f.queued = f.queued.Add(-longer)
		}
		now, _, err := f.Look(t.Context())
		if err != nil || now.Phase != want.Phase || !strings.HasPrefix(now.Message, want.Message) || now.Lacking != want.Lacking {
			t.Errorf("got %+v, %v, want %+v", now, err, want)
		}
	}
	waits := state.Status{Phase: state.Running, Message: "its cluster gets no node: ClusterCoreQuotaReached: a quota of 0"}
	look(0, waits)
	status = "Running"
	look(2*time.Hour, state.Status{Phase: state.Running})
	status = "Queued"
	if !f.queued.IsZero() {
		t.Error("the time that it waited before it ran counts")
	}
	look(0, waits)

	// An error that is older than the job, or that a change of the cluster which is under way may end, does not count.
	for _, nodes = range []string{
		`"allocationState": "Steady", "allocationStateTransitionTime": "2025-12-31T23:00:00Z", `,
		`"allocationState": "Resizing", "allocationStateTransitionTime": "2026-01-01T00:01:00Z", `,
		`"allocationState": "Steady", "nodeStateCounts": {"preparingNodeCount": 1}, `,
	} {
		look(2*time.Hour, state.Status{Phase: state.Running, Message: "Azure Machine Learning prepares a node for it"})
	}
	nodes = `"allocationState": "Steady", "allocationStateTransitionTime": "2026-01-01T00:01:00.5+00:00", "nodeStateCounts": {"preparingNodeCount": 0}, `
	look(2*time.Hour, state.Status{Phase: state.Failed, Message: mlQuota, Lacking: true})
	said = `{"code": "Other", "message": "something new"}`
	look(2*time.Hour, state.Status{Phase: state.Running, Message: "its cluster gets no node: Other: something new"})
}

// Azure may refuse to end a job that it is about to start. Then it is asked again, until it accepts, and not after that.
func TestARefusedCancelIsRepeated(t *testing.T) {
	for _, refusal := range []int{http.StatusBadRequest, http.StatusConflict} {
		cancels, removed := 0, false
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			status := "Preparing"
			switch {
			case r.Method == http.MethodDelete:
				removed = true
			case r.Method == http.MethodPost:
				if cancels++; cancels < 3 {
					w.WriteHeader(refusal)
				}
				return
			case removed:
				w.WriteHeader(http.StatusNotFound)
				return
			case cancels >= 3:
				status = "Canceled"
			}
			_, _ = w.Write([]byte(`{"properties": {"status": "` + status + `"}}`)) // the caller may be gone
		}))
		e := New(Options{Options: cloud.Options{Pause: time.Millisecond, Longest: time.Millisecond}})
		e.client.manager, e.client.plain, e.client.credentials.found = server.URL, server.Client(), tokens{}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := e.endML(ctx, taskState{Workspace: "ml"}, []mlJob{{Name: "job"}})
		cancel()
		server.Close()
		if err != nil || cancels != 3 || !removed {
			t.Errorf("%d: %v after %d calls, removed: %t", refusal, err, cancels, removed)
		}
	}
}
