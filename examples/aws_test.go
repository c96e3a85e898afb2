package examples_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/awstest"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// OpenTofu makes the infrastructure of AWS, jobs run in it, and a function answers. Here this is an
// emulator, in which containers and functions really run.
func testAWS(t *testing.T, same func(*testing.T, *system)) {
	if os.Geteuid() != 0 {
		t.Skip("the emulator of AWS makes namespaces for jobs, for which it needs root")
	}
	emulator, err := awstest.Start(context.Background(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(emulator.Stop)
	bed, err := tofutest.Start(t.Output(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, "flights")
	s.env = append(append(emulator.Environ(), bed.Environ()...), "PATH="+bed.Bin()+string(filepath.ListSeparator)+os.Getenv("PATH"))
	tags := []string{"-t", "target=aws", "-t", "region=" + awstest.Region, "-t", "base=" + base, "-t", "hosts=" + emulator.Hosts}
	tenon := func(args ...string) string {
		t.Helper()
		return s.must(append(args, tags...)...)
	}
	contains(t, tenon("plan"), "+ aws_s3_bucket.artifacts", "+ aws_batch_job_queue.", "+ deployments/api")
	tenon("apply", "--yes")
	same(t, s)
	contains(t, tenon("plan", "--detailed-exitcode"), "Nothing to do", "Infrastructure: unchanged")

	answer := func() (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.endpoint("deployments/api")+"/predict", strings.NewReader(oneFlight))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if err := awstest.Sign(r, oneFlight); err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	if status, body := answer(); status != http.StatusOK || !strings.Contains(body, `"probability"`) {
		t.Errorf("POST /predict: %d %s", status, body)
	}

	s.edit("flights.cue", "roc_auc: {min: *0.6", "roc_auc: {min: *0.55")
	contains(t, tenon("apply", "--yes"), "models/late/gate", "1 ran")
	if status, body := answer(); status != http.StatusOK || !strings.Contains(body, `"probability"`) {
		t.Errorf("POST /predict after an edit: %d %s", status, body)
	}

	s.must("destroy", "--yes", "--delete-artifacts")
	if left, err := emulator.Left(context.Background(), "flights"); err != nil || len(left) > 0 {
		t.Errorf("a destroy leaves %v, %v", left, err)
	}
	contains(t, s.must("status"), "Nothing is deployed")
}
