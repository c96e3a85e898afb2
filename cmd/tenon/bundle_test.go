package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tenon-ml/tenon/internal/test/containerdtest"
)

// bundled is the row that services of the script bundle.txtar are asked about.
const bundled = `{"instances": [{"id": "a", "at": "2024-03-01T10:00:00", "shop": "s1", "amount": 3}]}`

// An exported service runs where it is meant to: on another processor, in a container, in the
// emulator of AWS Lambda. What it answers is what the deployment answers.
func TestExportedServicesRun(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/script/bundle.txtar")
	if err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, nil)
	s.program = "tenon"
	port := freePort(t)
	ports := strings.NewReplacer("8765", fmt.Sprint(port), "8766", fmt.Sprint(freePort(t)), "8767", fmt.Sprint(freePort(t)))
	for _, f := range archive.Files {
		if f.Name != "resign.sh" {
			s.write(f.Name, ports.Replace(string(f.Data)))
		}
	}
	env := []string{"TENON_CACHE=" + sharedCache(t)}
	make := exec.Command("sh", "make.sh")
	make.Dir = s.dir
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tenon := func(t *testing.T, args ...string) string {
		t.Helper()
		out, err := s.tenon(args, env...)
		if err != nil {
			t.Fatalf("tenon %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	tenon(t, "apply", "--yes")
	defer func() { tenon(t, "destroy", "--yes") }()
	want := askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/predict", port))

	t.Run("arm64", func(t *testing.T) {
		qemu := needs(t, "qemu-aarch64-static", "apt-get install qemu-user-static, or without root: apt-get download qemu-user-static and dpkg -x")
		program := filepath.Join(t.TempDir(), "tenon-serve")
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "github.com/tenon-ml/tenon/cmd/tenon-serve")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		tenon(t, "export", "api", "--format", "bundle", "--private", "--platform", "linux/arm64", "--program", program, "--to", "arm")
		in := filepath.Join(s.dir, "arm", "tenon-serve")
		out, err := exec.Command(qemu, in, "selftest").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "on linux/arm64: 182 of 182 rows") {
			t.Fatalf("%v\n%s", err, out)
		}
		at := freePort(t)
		start(t, exec.Command(qemu, in, "serve", "--port", fmt.Sprint(at)))
		same(t, askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/predict", at)), want)
	})

	t.Run("image", func(t *testing.T) {
		ctr := needs(t, "ctr", "apt-get install containerd")
		if os.Getuid() != 0 {
			t.Skip("containerd needs root")
		}
		tenon(t, "export", "api", "--format", "image", "--private")
		d, err := containerdtest.Start("/tmp")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Stop(); err != nil {
				t.Error(err)
			}
		}()
		in := func(args ...string) *exec.Cmd {
			return exec.Command(ctr, append([]string{"-a", d.Address, "-n", d.Namespace}, args...)...)
		}
		run := func(args ...string) string {
			out, err := in(args...).CombinedOutput()
			if err != nil {
				t.Errorf("ctr %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			return string(out)
		}
		run("images", "import", filepath.Join(s.dir, "api.tar"))
		const name = "localhost/shop/api:latest"
		defer run("images", "rm", "--sync", name)
		at := freePort(t)
		run("run", "-d", "--read-only", "--net-host", "--env", fmt.Sprintf("TENON_PORT=%d", at), name, "one")
		defer run("containers", "rm", "one")
		defer func() { run("task", "rm", "-f", "one") }()
		same(t, askUntil(t, fmt.Sprintf("http://127.0.0.1:%d/predict", at)), want)
		run("task", "exec", "--exec-id", "probe", "one", "/bundle/tenon-serve", "probe")
		if out := run("task", "exec", "--exec-id", "test", "one", "/bundle/tenon-serve", "selftest"); !strings.Contains(out, "have the features and the prediction of training") {
			t.Errorf("selftest: %s", out)
		}
	})

	t.Run("lambda", func(t *testing.T) {
		rie := needs(t, "aws-lambda-rie", "go install github.com/aws/aws-lambda-runtime-interface-emulator/cmd/aws-lambda-rie@latest")
		tenon(t, "export", "api", "--format", "lambda", "--private")
		function := t.TempDir()
		if out, err := exec.Command("unzip", "-q", filepath.Join(s.dir, "api.zip"), "-d", function).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		at, api := freePort(t), freePort(t)
		c := exec.Command(rie, "--runtime-interface-emulator-address", fmt.Sprintf("127.0.0.1:%d", at), "--runtime-api-address", fmt.Sprintf("127.0.0.1:%d", api), "./bootstrap")
		c.Dir, c.Env = function, append(os.Environ(), "AWS_LAMBDA_FUNCTION_TIMEOUT=20")
		start(t, c)
		url := fmt.Sprintf("http://127.0.0.1:%d/2015-03-31/functions/function/invocations", at)
		same(t, askUntil(t, url), want)
		event, err := json.Marshal(map[string]any{"version": "2.0", "rawPath": "/predict", "headers": map[string]string{"content-type": "application/json"},
			"requestContext": map[string]any{"stage": "$default", "http": map[string]string{"method": "POST"}}, "body": bundled})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			StatusCode int
			Body       string
		}
		if got := post(t, url, string(event)); json.Unmarshal(got, &answer) != nil || answer.StatusCode != 200 {
			t.Fatalf("%s", got)
		}
		same(t, []byte(answer.Body), want)
		if got := post(t, url, `{"instances": [{}]}`); !strings.Contains(string(got), `"errorType":"Tenon.Status422"`) {
			t.Errorf("%s", got)
		}
	})
}

// needs returns the path of a program that not every machine has.
func needs(t *testing.T, name, how string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("there is no %s here: %s", name, how)
	}
	return path
}

// start starts a program that ends with the test.
func start(t *testing.T, c *exec.Cmd) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) // and what it has started
		_ = c.Wait()
		if t.Failed() {
			t.Logf("%s", out.String())
		}
	})
}

// askUntil asks until there is an answer.
func askUntil(t *testing.T, url string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(bundled))
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := http.DefaultClient.Do(r); err == nil {
			b, err := io.ReadAll(answer.Body)
			_ = answer.Body.Close()
			if err == nil && answer.StatusCode == http.StatusOK {
				return b
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer", url)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func post(t *testing.T, url, body string) []byte {
	t.Helper()
	answer, err := (&http.Client{Timeout: 30 * time.Second}).Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("it answers %s\nwant %s", got, want)
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
