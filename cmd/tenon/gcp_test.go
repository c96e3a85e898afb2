package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-ml/tenon/executors/executortest"
	"github.com/tenon-ml/tenon/internal/test/gcptest"
	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// fakes are those of Google Cloud of scripts, by their work folders.
var fakes sync.Map

// cmdGCP is about a fake of Google Cloud:
//
//	gcp start                   starts it, sets the variables with which programs find it, and REGISTRY to a
//	                            folder that makes its registry known; builds what runs in its jobs
//	gcp provision FOLDER        makes the infrastructure in the files of Terraform in a folder
//	gcp refuse REASON MESSAGE   makes Cloud Run start no execution for the next job
//	gcp ask FILE PATH BODY      posts to a service whose URL a file has, and prints the status and the answer
//	gcp swept                   says that there is neither a job nor a service, also on Vertex AI
func cmdGCP(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: gcp start|provision|refuse|ask|swept")
	}
	positive(ts, neg, args[1:], map[string]int{"provision": 1, "refuse": 2, "ask": 3}[args[0]], "gcp start|provision FOLDER|refuse REASON MESSAGE|ask FILE PATH BODY|swept")
	if args[0] == "start" {
		startGCP(ts)
		return
	}
	found, _ := fakes.Load(ts.Getenv("WORK"))
	c, is := found.(*gcptest.Cloud)
	if !is {
		ts.Fatalf("the script starts no fake: add gcp start before")
	}
	switch args[0] {
	case "provision":
		ts.Check(c.Provision(terraformFiles(ts, args[1])))
	case "refuse":
		ts.Check(c.Refuse(args[1], args[2]))
	case "swept":
		jobs, err := c.Jobs()
		ts.Check(err)
		services, err := c.Services()
		ts.Check(err)
		customs, err := c.Customs()
		ts.Check(err)
		hosted, err := c.Hosted()
		ts.Check(err)
		if left := slices.Concat(jobs, customs, services, hosted); len(left) > 0 {
			ts.Fatalf("there are %v", left)
		}
	case "ask":
		resp, err := http.Post(strings.TrimSpace(ts.ReadFile(args[1]))+args[2], "application/json", strings.NewReader(args[3]))
		ts.Check(err)
		b, err := io.ReadAll(resp.Body)
		ts.Check(errors.Join(err, resp.Body.Close()))
		fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, b)
	default:
		ts.Fatalf("gcp has no %s", args[0])
	}
}

func startGCP(ts *testscript.TestScript) {
	t, _ := ts.Value(testKey{}).(testing.TB)
	if os.Geteuid() != 0 {
		t.Skip("the fake of Google Cloud makes namespaces for jobs, for which it needs root")
	}
	c, err := gcptest.Start(context.Background(), t.TempDir())
	ts.Check(err)
	t.Cleanup(c.Stop)
	for _, kv := range c.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		ts.Setenv(k, v)
	}
	ts.Setenv("REGISTRY", c.Hosts)
	ts.Setenv(tofutest.Hook, c.Hook())
	program := ts.MkAbs("tenon-pod")
	ts.Check(executortest.BuildStatic(program, "github.com/tenon-ml/tenon/cmd/tenon-pod"))
	ts.Setenv("TENON_POD", program)
	fakes.Store(ts.Getenv("WORK"), c)
}
