// Cluster starts, describes and ends the cluster that tests of Kubernetes run on. It is
// what `make cluster-up` and `make cluster-down` call.
package main

import (
	"fmt"
	"os"

	"github.com/tenon-ml/tenon/internal/test/kubernetestest"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

const usage = `usage: cluster up|env|down|build [DIR]

up     starts a cluster, or takes the one that runs
env    prints what a shell evaluates to use it
down   ends it
build  builds what it runs, which up does otherwise`

func run(args []string) error {
	if len(args) == 0 || len(args) > 2 {
		return fmt.Errorf("%s", usage)
	}
	dir, err := kubernetestest.Dir()
	if err != nil {
		return err
	}
	if len(args) == 2 {
		dir = args[1]
	}
	switch args[0] {
	case "up":
		c, err := kubernetestest.StartDetached(dir, os.Stderr)
		if err != nil {
			return err
		}
		fmt.Printf("a cluster runs in %s: cluster env prints what a shell evaluates to use it\n", c.Dir)
		return nil
	case "env":
		c, err := kubernetestest.Describe(dir)
		if err != nil {
			return err
		}
		fmt.Print(c.Environment())
		return nil
	case "down":
		return kubernetestest.Down(dir)
	case "build":
		_, err := kubernetestest.Kubernetes(os.Stderr)
		if err == nil {
			_, err = kubernetestest.Names(os.Stderr)
		}
		return err
	case "node":
		return kubernetestest.Node(dir)
	}
	return fmt.Errorf("%s", usage)
}
