// Package tfschema compares files for OpenTofu with the schema of a provider: that there are the
// types, attributes and blocks that they name, that what is required is set, and that references
// lead to something. It knows neither kinds of values nor what they mean.
//
// reduce.py makes the schema.
package tfschema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// A Schema is what reduce.py writes.
type Schema struct {
	Version string                      `json:"version"` // of the provider
	Types   map[string]map[string]Entry `json:"types"`   // "aws_vpc", "data.aws_partition"
}

// An Entry is an attribute or a block.
type Entry struct {
	Required bool             `json:"r"`
	Computed bool             `json:"c"` // and cannot be set
	Block    map[string]Entry `json:"b"` // content of a block
	Objects  map[string]Entry `json:"a"` // content of an attribute of objects, which may be a block
}

// Read reads a schema.
func Read(b []byte) (s Schema, err error) {
	return s, json.Unmarshal(b, &s)
}

// Check returns what is wrong with files, by name, that belong together.
func (s Schema) Check(files map[string][]byte) []string {
	c := checker{schema: s, known: map[string]bool{}}
	var bodies []*hclsyntax.Body
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, diags := hclsyntax.ParseConfig(files[name], name, hcl.InitialPos)
		if diags.HasErrors() {
			c.faults = append(c.faults, diags.Error())
			continue
		}
		body, ok := f.Body.(*hclsyntax.Body)
		if !ok {
			c.faults = append(c.faults, name+" is not in the native syntax")
			continue
		}
		bodies = append(bodies, body)
	}
	for _, body := range bodies {
		for _, b := range body.Blocks {
			c.declare(b)
		}
	}
	for _, body := range bodies {
		for _, b := range body.Blocks {
			c.block(b)
		}
		if diags := hclsyntax.VisitAll(body, c.visit); diags.HasErrors() {
			c.faults = append(c.faults, diags.Error())
		}
	}
	return c.faults
}

type checker struct {
	schema Schema
	known  map[string]bool // "var.region", "local.tags", "aws_vpc.main", "data.aws_partition.current"
	faults []string
}

func (c *checker) fault(at hcl.Range, format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf("%s:%d: %s", at.Filename, at.Start.Line, fmt.Sprintf(format, args...)))
}

// declare notes what a block declares, each once.
func (c *checker) declare(b *hclsyntax.Block) {
	var names []string
	switch b.Type {
	case "variable":
		names = []string{"var." + b.Labels[0]}
	case "locals":
		for name := range b.Body.Attributes {
			names = append(names, "local."+name)
		}
	case "resource":
		names = []string{strings.Join(b.Labels, ".")}
	case "data":
		names = []string{"data." + strings.Join(b.Labels, ".")}
	}
	for _, n := range names {
		if c.known[n] {
			c.fault(b.DefRange(), "%s is declared twice", n)
		}
		c.known[n] = true
	}
}

// block compares a resource or data source with its type.
func (c *checker) block(b *hclsyntax.Block) {
	if b.Type != "resource" && b.Type != "data" {
		return
	}
	kind := b.Labels[0]
	if b.Type == "data" {
		kind = "data." + kind
	}
	entries, ok := c.schema.Types[kind]
	if !ok {
		c.fault(b.DefRange(), "the provider has no %s", kind)
		return
	}
	c.body(b.Body, kind, entries, []string{"count", "depends_on", "for_each", "provider"}, []string{"lifecycle"})
}

// body compares what is in a block with its entries. Terraform itself defines attributes and blocks
// besides.
func (c *checker) body(body *hclsyntax.Body, of string, entries map[string]Entry, attributes, blocks []string) {
	set := map[string]bool{}
	for name, a := range body.Attributes {
		set[name] = true
		e, ok := entries[name]
		switch {
		case slices.Contains(attributes, name):
		case !ok:
			c.fault(a.SrcRange, "%s has no attribute %s", of, name)
		case e.Computed:
			c.fault(a.SrcRange, "%s of %s is computed", name, of)
		case e.Block != nil:
			c.fault(a.SrcRange, "%s of %s is a block", name, of)
		}
	}
	for _, b := range body.Blocks {
		set[b.Type] = true
		e, ok := entries[b.Type]
		content := e.Block
		if content == nil {
			content = e.Objects
		}
		switch {
		case slices.Contains(blocks, b.Type):
		case !ok:
			c.fault(b.DefRange(), "%s has no block %s", of, b.Type)
		case content == nil:
			c.fault(b.DefRange(), "%s of %s is an attribute", b.Type, of)
		default:
			c.body(b.Body, of+"."+b.Type, content, nil, nil)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		if entries[name].Required && !set[name] {
			c.fault(body.SrcRange, "%s needs %s", of, name)
		}
	}
}

// visit compares references with what is declared.
func (c *checker) visit(n hclsyntax.Node) hcl.Diagnostics {
	switch x := n.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		c.reference(x.Traversal, nil)
	case *hclsyntax.SplatExpr:
		source, isScope := x.Source.(*hclsyntax.ScopeTraversalExpr)
		each, isRelative := x.Each.(*hclsyntax.RelativeTraversalExpr)
		if isScope && isRelative {
			c.reference(source.Traversal, each.Traversal)
		}
	}
	return nil
}

func (c *checker) reference(t, more hcl.Traversal) {
	var names []string
	for _, step := range append(slices.Clone(t), more...) {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			names = append(names, s.Name)
		case hcl.TraverseAttr:
			names = append(names, s.Name)
		}
	}
	size := 2
	switch root := names[0]; {
	case root == "data":
		size = 3
	case root != "var" && root != "local" && (len(names) == 1 || !strings.Contains(root, "_")):
		return // "count", names that an expression declares, and attributes whose changes are ignored
	}
	if len(names) < size || !c.known[strings.Join(names[:size], ".")] {
		c.fault(t.SourceRange(), "%s is not declared", strings.Join(names, "."))
		return
	}
	kind := strings.Join(names[:size-1], ".")
	if entries, ok := c.schema.Types[kind]; ok && len(names) > size {
		if _, ok := entries[names[size]]; !ok {
			c.fault(t.SourceRange(), "%s has no attribute %s", kind, names[size])
		}
	}
}
