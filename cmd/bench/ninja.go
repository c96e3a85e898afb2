package main

import (
	"fmt"
	"strings"
)

// writeNinja writes the graph of the entities for ninja: as many edges, over the
// same data files. The number of an entity represents its definition.
func writeNinja(dir string, all []*entity) error {
	var b strings.Builder
	b.WriteString("rule make\n  command = echo $number >$out\n")
	for _, e := range all {
		from := []string{e.data()}
		if len(e.reads) > 0 {
			from = nil
			for _, r := range e.reads {
				from = append(from, "out/"+r.name)
			}
		}
		fmt.Fprintf(&b, "build out/%s: make %s\n  number = %d\n", e.name, strings.Join(from, " "), e.number)
	}
	f := &folder{dir: dir}
	f.write("build.ninja", b.String())
	return f.err
}

// ninjaRuns is a check that ninja runs so many edges, or would.
func ninjaRuns(n int) func(string) error {
	if n == 0 {
		return has("ninja: no work to do.")
	}
	return has(fmt.Sprintf("[%d/%[1]d] ", n))
}
