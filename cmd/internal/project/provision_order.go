package project

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tenon-ml/tenon/planner"
)

// instanceKey matches the key of an instance in an address, such as [0] or ["a"].
var instanceKey = regexp.MustCompile(`\[(?:\d+|"(?:[^"\\]|\\.)*")\]`)

// resourceOf returns the address of the resource of an instance, in which also modules have no keys.
func resourceOf(address string) string { return instanceKey.ReplaceAllString(address, "") }

// order marks the resources that are removed last: units may use what is no longer needed until they have moved. Only what
// depends on a resource that is replaced is removed before, because the cloud would refuse to remove that one.
func (h head) order(all []planner.Resource) {
	replaced := map[string]bool{}
	for _, r := range all {
		if r.Action == planner.Replace {
			replaced[resourceOf(r.Address)] = true
		}
	}
	first := map[string]bool{}
	for _, r := range h.Resources {
		for _, i := range r.Instances {
			if slices.ContainsFunc(i.Dependencies, func(d string) bool { return replaced[d] }) { // OpenTofu lists indirect ones, too
				first[r.address()] = true
			}
		}
	}
	for i := range all {
		all[i].Last = all[i].Action == planner.Delete && !first[resourceOf(all[i].Address)]
	}
}

// lookedAt returns what OpenTofu has to be given besides the resources that change first: what has got another address, or
// it refuses to leave that out, and the instances that stay of a resource that has too many, or it removes those when
// something else needs the resource.
func lookedAt(c *compared, all []planner.Resource) []string {
	with := slices.Clone(c.moved)
	shrinks := map[string]bool{}
	for _, r := range all {
		if r.Last {
			shrinks[resourceOf(r.Address)] = true
		}
	}
	for _, address := range c.unchanged {
		if shrinks[resourceOf(address)] {
			with = append(with, address)
		}
	}
	return with
}

// stages says whether a plan removes resources last, and which addresses it changes before.
func stages(all []planner.Resource) (before []string, last bool) {
	for _, r := range all {
		if r.Last {
			last = true
		} else {
			before = append(before, r.Address)
		}
	}
	return before, last
}

// keepsArtifacts returns an error if a plan removes or replaces the store of artifacts. All that was deployed needs them, and
// a cloud may remove the store with everything in it.
func keepsArtifacts(all []planner.Resource) error {
	for _, r := range all {
		if r.Action != planner.Delete && r.Action != planner.Replace {
			continue
		}
		if !slices.ContainsFunc(stores, func(s store) bool { return r.Address == s.kind+"."+artifactsName }) {
			continue
		}
		var why []string
		for _, x := range r.Reasons {
			text := x.What
			if x.Before+x.After != "" {
				text += fmt.Sprintf(" (%s -> %s)", x.Before, x.After)
			}
			why = append(why, text)
		}
		return fmt.Errorf("%s has the artifacts of this environment, and the plan would %s it: %s\nRestore the former settings of the target, or remove everything with tenon destroy --delete-artifacts first, with the former settings",
			r.Address, r.Action, strings.Join(why, ", "))
	}
	return nil
}
