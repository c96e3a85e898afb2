package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/azuretest"
)

// cmdAzure is about a fake of Azure, of which a script has one:
//
//	azure start              starts it, sets the variables with which programs find it, and REGISTRY to a folder that
//	                         makes its registry known; builds what runs in its jobs
//	azure provision FOLDER   makes the infrastructure in the files of Terraform in a folder
//	azure refuse TEXT        makes the next job fail before its container starts, with a line in the log of the system
//	azure jobs               prints the names of jobs
func cmdAzure(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "azure start|provision FOLDER|refuse TEXT|jobs"
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
	case args[0] == "jobs" && len(args) == 1:
		names, err := c.Jobs()
		ts.Check(err)
		fmt.Fprintln(ts.Stdout(), len(names), strings.Join(names, " "))
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
	for _, kv := range append(c.Environ(), "AZURE_FAKE="+c.Dir, "REGISTRY="+c.Hosts, "TENON_POD="+program) {
		k, v, _ := strings.Cut(kv, "=")
		ts.Setenv(k, v)
	}
	ts.Check(executortest.BuildStatic(program, "github.com/tenon-ml/tenon/cmd/tenon-pod"))
}
