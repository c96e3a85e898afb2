package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/azuretest"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// cmdAzure is about a fake of Azure, of which a script has one:
//
//	azure start              starts it, sets the variables with which programs find it, and REGISTRY to a folder that
//	                         makes its registry known; builds what runs in its jobs
//	azure provision FOLDER   makes the infrastructure in the files of Terraform in a folder
//	azure refuse TEXT        makes the next job or revision fail before its container starts, with a line in the log of the system
//	azure ask FILE PATH BODY [KEY]
//	                         posts to a service whose URL a file has, and prints the status and the answer; KEY is
//	                         "endpoint" for that of an endpoint of Azure Machine Learning
//	azure swept              says that there is neither a job nor an app nor an endpoint
func cmdAzure(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "azure start|provision FOLDER|refuse TEXT|ask FILE PATH BODY [KEY]|swept"
	positive(ts, neg, args, 1, usage)
	if args[0] == "start" {
		startAzure(ts)
		return
	}
	c := azuretest.At(ts.Getenv("TENON_AZURE_ENDPOINT"), ts.Getenv("AZURE_FAKE"))
	switch {
	case args[0] == "provision" && len(args) == 2:
		ts.Check(c.Provision(terraformFiles(ts, args[1])))
	case args[0] == "refuse" && len(args) == 2:
		ts.Check(c.Refuse(args[1]))
	case args[0] == "swept" && len(args) == 1:
		jobs, err := c.Jobs()
		ts.Check(err)
		apps, err := c.Apps()
		ts.Check(err)
		commands, err := c.Commands()
		ts.Check(err)
		endpoints, err := c.Endpoints()
		ts.Check(err)
		if left := slices.Concat(jobs, apps, commands, endpoints); len(left) > 0 {
			ts.Fatalf("there are %v", left)
		}
	case args[0] == "ask" && len(args) >= 4:
		at, key := strings.TrimSpace(ts.ReadFile(args[1]))+args[2], strings.Join(args[4:], "")
		if key == "endpoint" { // of Azure Machine Learning
			key = c.Key(at)
		}
		status, answer, err := c.Ask(at, args[3], key)
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "%d %s\n", status, answer)
	default:
		ts.Fatalf("usage: %s", usage)
	}
}

func startAzure(ts *testscript.TestScript) {
	t, _ := ts.Value(testKey{}).(testing.TB)
	if os.Geteuid() != 0 {
		t.Skip("the fake of Azure makes namespaces for jobs, for which it needs root")
	}
	c, err := azuretest.Start(context.Background(), t.TempDir())
	ts.Check(err)
	t.Cleanup(c.Stop)
	program := ts.MkAbs("tenon-pod")
	for _, kv := range append(c.Environ(), "AZURE_FAKE="+c.Dir, "REGISTRY="+c.Hosts, "TENON_POD="+program, tofutest.Hook+"="+c.Hook()) {
		k, v, _ := strings.Cut(kv, "=")
		ts.Setenv(k, v)
	}
	ts.Check(executortest.BuildStatic(program, "github.com/tenon-ml/tenon/cmd/tenon-pod"))
}
