package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tenon-ml/tenon/internal/test/tofutest"
)

// cmdTofu is about OpenTofu:
//
//	tofu              puts it into $PATH with version 4.9 of the provider of AWS, see [tofutest.Bed]
//	tofu schemas      puts it into $PATH with providers that are made from schemas, see [tofutest.Cloud]
//	tofu resources    prints what these have made, "TYPE ID" in each line
func cmdTofu(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "tofu [schemas|resources]"
	dir := ts.MkAbs(".tofu")
	switch what := strings.Join(args, " "); {
	case neg || what != "" && what != "schemas" && what != "resources":
		ts.Fatalf("usage: %s", usage)
	case what == "":
		ts.Check(os.MkdirAll(dir, 0o755))
		bed, err := tofutest.Start(os.Stderr, dir)
		ts.Check(err)
		useTofu(ts, bed)
	case what == "schemas":
		ts.Check(os.MkdirAll(dir, 0o755))
		c, err := tofutest.StartCloud(os.Stderr, dir)
		ts.Check(err)
		useTofu(ts, c.Bed)
	case what == "resources":
		all, err := (&tofutest.Cloud{Dir: filepath.Join(dir, "cloud")}).Resources()
		ts.Check(err)
		fmt.Fprint(ts.Stdout(), strings.Join(append(all, ""), "\n"))
	}
}

func useTofu(ts *testscript.TestScript, bed *tofutest.Bed) {
	for _, kv := range bed.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		ts.Setenv(k, v)
	}
	ts.Setenv("PATH", bed.Bin()+string(filepath.ListSeparator)+ts.Getenv("PATH"))
}
