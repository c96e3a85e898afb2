package main

import (
	"fmt"
	"strings"

	"github.com/tenon-ml/tenon/cmd/internal/project"
)

// printDiffOfEnvironments prints how two environments differ.
func (a *app) printDiffOfEnvironments(d *project.DiffOfEnvironments) error {
	if _, err := fmt.Fprintln(a.stdout, a.paint(bold, "As written")); err != nil {
		return err
	}
	if err := a.printDiff(d.Written); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "\n%s\n", a.paint(bold, "As deployed"))
	if len(d.NotApplied) > 0 {
		for _, env := range d.NotApplied {
			fmt.Fprintf(a.stdout, "Nothing has been applied yet in the environment %s.\n", env)
		}
		return nil
	}
	if err := a.printDiff(d.Deployed); err != nil {
		return err
	}
	for _, r := range d.Results {
		why := "it was run again"
		if len(r.Why) > 0 {
			why = "differs in what it read: " + strings.Join(r.Why, ", ")
		}
		fmt.Fprintf(a.stdout, "  %s %s has another result: %s\n", a.paint(yellow, "~"), r.Unit, why)
	}
	for _, m := range d.Models {
		fmt.Fprintf(a.stdout, "  %s %s: %s, %s\n", a.paint(yellow, "~"), m.Model, inServiceText(d.Before, m.Before), inServiceText(d.After, m.After))
	}
	return nil
}

func inServiceText(env string, version int) string {
	if version == 0 {
		return "no version is in service in " + env
	}
	return fmt.Sprintf("version %d is in service in %s", version, env)
}
