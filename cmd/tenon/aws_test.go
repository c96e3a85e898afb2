package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/awstest"
)

// aws starts an emulator of AWS, and builds what runs in its jobs. It sets the variables with
// which programs find it, and ECR to a folder that makes its registry known.
func cmdAWS(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 0, "aws")
	t, _ := ts.Value(testKey{}).(testing.TB)
	if os.Geteuid() != 0 {
		t.Skip("the emulator of AWS makes namespaces for jobs, for which it needs root")
	}
	e, err := awstest.Start(context.Background(), t.TempDir())
	ts.Check(err)
	t.Cleanup(e.Stop)
	for _, kv := range e.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		ts.Setenv(k, v)
	}
	ts.Setenv("ECR", e.Hosts)
	program := ts.MkAbs("tenon-pod")
	ts.Check(executortest.BuildStatic(program, "github.com/tenon-ml/tenon/cmd/tenon-pod"))
	ts.Setenv("TENON_POD", program)
	emulators.Store(ts.Getenv("WORK"), e)
}

// emulators are those of scripts, by their work folders.
var emulators sync.Map

func emulator(ts *testscript.TestScript) *awstest.Emulator {
	e, _ := emulators.Load(ts.Getenv("WORK"))
	of, ok := e.(*awstest.Emulator)
	if !ok {
		ts.Fatalf("the script starts no emulator: add aws before")
	}
	return of
}

// provision FOLDER makes the infrastructure in the files of Terraform in a folder.
func cmdProvision(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "provision FOLDER")
	ts.Check(emulator(ts).Provision(context.Background(), terraformFiles(ts, args[0])))
}

// terraformFiles returns the files of Terraform in a folder.
func terraformFiles(ts *testscript.TestScript, folder string) map[string][]byte {
	paths, err := filepath.Glob(filepath.Join(ts.MkAbs(folder), "*.tf"))
	ts.Check(err)
	files := map[string][]byte{}
	for _, path := range paths {
		files[path], err = os.ReadFile(path)
		ts.Check(err)
	}
	return files
}

// signed FILE PATH BODY asks the function whose URL is in a file, as a caller with credentials does.
func cmdSigned(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 3, "signed FILE PATH BODY")
	r, err := http.NewRequest(http.MethodPost, strings.TrimSpace(ts.ReadFile(args[0]))+args[1], strings.NewReader(args[2]))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/json")
	ts.Check(awstest.Sign(r, args[2]))
	resp, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer resp.Body.Close()
	fmt.Fprintln(ts.Stdout(), resp.Status)
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
}

// refuse REASON makes the next job fail for a reason that AWS gives.
func cmdRefuse(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "refuse REASON")
	ts.Check(emulator(ts).Refuse(args[0]))
}

// quota SERVICE NAME VALUE sets a quota of the account.
func cmdQuota(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 3, "quota SERVICE NAME VALUE")
	value, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	ts.Check(emulator(ts).SetQuota(args[0], args[1], value))
}

// swept says that a sweep by tags finds nothing of a system: neither a job definition, nor a
// training job, nor a job that has not ended.
func cmdSwept(ts *testscript.TestScript, neg bool, args []string) {
	positive(ts, neg, args, 1, "swept SYSTEM")
	left, err := emulator(ts).Left(context.Background(), args[0])
	ts.Check(err)
	if len(left) > 0 {
		ts.Fatalf("%s has left %v", args[0], left)
	}
}
