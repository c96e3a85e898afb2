package cloudformation

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

// Header is the first line of every file, as a comment. Files without it are somebody else's.
const Header = "Written by `tenon compile --format=cloudformation`, which replaces this file."

// Written reports whether a file has the header in its first line.
func Written(content []byte) bool {
	first, _, _ := bytes.Cut(content, []byte("\n"))
	return bytes.Contains(first, []byte(Header))
}

// Limits of a template, from "CloudFormation quotas".
const (
	mostResources  = 500
	mostOutputs    = 200
	mostParameters = 200
)

// A Template is a template of CloudFormation.
type Template struct {
	Version     string                    `json:"AWSTemplateFormatVersion"`
	Description string                    `json:"Description"`
	Parameters  map[string]map[string]any `json:"Parameters,omitempty"`
	Rules       map[string]any            `json:"Rules,omitempty"`
	Conditions  map[string]any            `json:"Conditions,omitempty"`
	Resources   map[string]*Resource      `json:"Resources"`
	Outputs     map[string]map[string]any `json:"Outputs,omitempty"`
}

// A Resource is one of a template, by its logical id.
type Resource struct {
	Type       string         `json:"Type"`
	Condition  string         `json:"Condition,omitempty"`
	DependsOn  []string       `json:"DependsOn,omitempty"`
	Properties map[string]any `json:"Properties,omitempty"`
	// From are the addresses of what it was made from, such as "aws_subnet.open[0]".
	From []string `json:"-"`
}

// New returns the template of files. Its description says what it is for.
func New(files terraform.Files, description string) (*Template, error) {
	c := &converter{
		Template: Template{
			Version: "2010-09-09", Description: description, Parameters: map[string]map[string]any{}, Rules: map[string]any{},
			Conditions: map[string]any{}, Resources: map[string]*Resource{}, Outputs: map[string]map[string]any{},
		},
		locals: map[string]terraform.Expr{}, variables: map[string]*terraform.Body{}, data: map[string]*terraform.Body{}, made: map[string][]*resource{},
	}
	if err := c.read(files); err != nil {
		return nil, err
	}
	for _, r := range c.resources {
		if err := c.resource(r); err != nil {
			return nil, fmt.Errorf("%s: %w", r.address(), err)
		}
	}
	for _, b := range c.outputs {
		if err := c.output(b.Labels[0], &b.Body); err != nil {
			return nil, fmt.Errorf("output %s: %w", b.Labels[0], err)
		}
	}
	for _, l := range []struct {
		what    string
		n, most int
	}{{"resources", len(c.Resources), mostResources}, {"outputs", len(c.Outputs), mostOutputs}, {"parameters", len(c.Parameters), mostParameters}} {
		if l.n > l.most {
			return nil, fmt.Errorf("the template would have %d %s, and CloudFormation allows %d: use --format=terraform, or split the system", l.n, l.what, l.most)
		}
	}
	return &c.Template, nil
}

// YAML writes a template.
func (t *Template) YAML() ([]byte, error) {
	text, err := yaml.Marshal(t)
	return append([]byte("# "+Header+"\n"), text...), err
}

// A converter makes a template of files.
type converter struct {
	Template
	locals    map[string]terraform.Expr
	variables map[string]*terraform.Body
	data      map[string]*terraform.Body // by type and name
	resources []*resource
	made      map[string][]*resource // the instances of each, by type and name
	outputs   []*terraform.Block
	tags      terraform.Expr // of the provider, for all resources
}

// A resource is an instance of one in the files.
type resource struct {
	kind, label string
	body        *terraform.Body
	counted     bool // it is one of several
	index       int
	condition   string
	id          string // logical id
}

func (r *resource) address() string {
	if r.counted {
		return fmt.Sprintf("%s.%s[%d]", r.kind, r.label, r.index)
	}
	return r.kind + "." + r.label
}

// read sorts the blocks of files.
func (c *converter) read(files terraform.Files) error {
	for _, name := range files.Names() {
		for _, b := range files[name].Blocks {
			var err error
			switch b.Kind {
			case "terraform": // the versions of other programs
			case "provider":
				err = c.provider(&b.Body)
			case "variable":
				c.variables[b.Labels[0]] = &b.Body
			case "locals":
				for _, i := range b.Body.Items {
					if i.Name != "" {
						c.locals[i.Name] = i.Value
					}
				}
			case "data":
				c.data[b.Labels[0]+"."+b.Labels[1]] = &b.Body
				err = known(b)
			case "resource":
				err = c.instances(b)
			case "output":
				c.outputs = append(c.outputs, b)
			default:
				err = fmt.Errorf("CloudFormation has no counterpart of %s", b.Kind)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// provider reads the tags of all resources, and the account that the files are for.
func (c *converter) provider(b *terraform.Body) error {
	for _, i := range b.Items {
		switch {
		case i.Name == "" || i.Name == "region" && i.Value.Text == "var.region": // that of the stack
		case i.Name == "allowed_account_ids":
			accounts, err := c.value(i.Value, nil)
			if err != nil {
				return err
			}
			c.Rules["Account"] = map[string]any{"Assertions": []any{map[string]any{
				"Assert":            map[string]any{"Fn::Contains": []any{accounts, map[string]any{"Ref": "AWS::AccountId"}}},
				"AssertDescription": "This template is for another account.",
			}}}
		case i.Name == "default_tags":
			c.tags, _ = i.Body.Attribute("tags")
		default:
			return fmt.Errorf("the setting %s of the provider has no counterpart in CloudFormation", i.Name)
		}
	}
	return nil
}

// instances adds the instances of a resource: as many as its count says, or one with a condition.
func (c *converter) instances(b *terraform.Block) error {
	kind, ok := kinds[b.Labels[0]]
	r := resource{kind: b.Labels[0], label: b.Labels[1], body: &b.Body}
	if !ok {
		return fmt.Errorf("--format=cloudformation does not support %s yet: use --format=terraform, or remove from the system what needs it", r.address())
	}
	prefix := kind.prefix()
	if kind.into != "" { // settings that are properties of another resource
		prefix = kinds[kind.into].prefix()
	}
	r.id = prefix + Camel(r.label)
	n := 1
	if count, ok := b.Body.Attribute("count"); ok {
		switch unit, found := imaged(count); {
		case found:
			r.condition = c.image(unit, true)
		case count.Kind == terraform.IsNumber:
			r.counted = true
			n, _ = strconv.Atoi(count.Text) // of terraform.Int
		default:
			return fmt.Errorf("%s: its count has no counterpart in CloudFormation", r.address())
		}
	}
	for i := range n {
		one := r
		if one.index = i; r.counted {
			one.id += strconv.Itoa(i + 1)
		}
		c.resources = append(c.resources, &one)
		c.made[r.kind+"."+r.label] = append(c.made[r.kind+"."+r.label], &one)
	}
	return nil
}

// resource adds a resource, or completes the one whose properties it has.
func (c *converter) resource(r *resource) error {
	kind := kinds[r.kind]
	to := c.Resources[r.id]
	if to == nil {
		to = &Resource{Properties: map[string]any{}}
		c.Resources[r.id] = to
	}
	if kind.into == "" {
		if to.Type != "" {
			return fmt.Errorf("%s has the same logical id, %s", strings.Join(to.From, ", "), r.id)
		}
		to.Type, to.Condition = kind.name, r.condition
	}
	to.From = append(to.From, r.address())
	for path, value := range kind.fixed {
		if err := put(to.Properties, path, 0, value); err != nil {
			return err
		}
	}
	if err := c.body(r, to, r.body, "", 0); err != nil {
		return err
	}
	if kind.extra != nil {
		if err := kind.extra(c, r, to); err != nil {
			return err
		}
	}
	return c.tagged(r, to, kind.tags)
}

// body converts the attributes and blocks of a body below a path. The index counts the outermost block
// among those of its name.
func (c *converter) body(r *resource, to *Resource, b *terraform.Body, path string, index int) error {
	kind, seen := kinds[r.kind], map[string]int{}
	for _, i := range b.Items {
		at := path + i.Name
		switch {
		case i.Name == "" || kind.ignored[at] != "" || at == "count" || at == "tags" && kind.tags != noTags:
			continue
		case kind.special[at] != nil:
			if err := kind.special[at](c, r, to, i); err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			continue
		case at == "depends_on":
			for _, x := range i.Value.Items {
				for _, d := range c.made[x.Text] {
					to.DependsOn = append(to.DependsOn, d.id)
				}
			}
			to.DependsOn = slices.DeleteFunc(to.DependsOn, func(id string) bool { return id == r.id })
			continue
		case i.Body != nil:
			n := index
			if path == "" {
				n = seen[i.Name]
			} else if seen[i.Name] > 0 {
				return fmt.Errorf("it has several %s, which nothing maps", at)
			}
			seen[i.Name]++
			if len(i.Body.Items) == 0 {
				return fmt.Errorf("it has %s, which nothing maps", at)
			}
			if err := c.body(r, to, i.Body, at+".", n); err != nil {
				return err
			}
			continue
		}
		path, ok := kind.properties[at]
		if !ok {
			return fmt.Errorf("it has %s, which nothing maps", at)
		}
		v, err := c.value(i.Value, r)
		if err == nil {
			form, property, found := strings.Cut(path, " ")
			if found {
				path = property
				v, err = forms[form](v)
			}
			if err == nil {
				err = put(to.Properties, path, index, v)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	}
	return nil
}

// put sets a property. A part of its path that ends with "[]" is a list, of which it is the item with the
// index.
func put(properties map[string]any, path string, index int, v any) error {
	parts, repeated := strings.Split(path, "."), false
	for i, p := range parts {
		name, isList := strings.CutSuffix(p, "[]")
		if isList {
			repeated = true
			list, _ := properties[name].([]any)
			for len(list) <= index {
				list = append(list, map[string]any{})
			}
			properties[name] = list
			properties, _ = list[index].(map[string]any)
			continue
		}
		if i == len(parts)-1 {
			if _, has := properties[name]; has && !repeated && index > 0 {
				return fmt.Errorf("there are several, and the property %s has one", path)
			}
			properties[name] = v
			return nil
		}
		inner, _ := properties[name].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
			properties[name] = inner
		}
		properties = inner
	}
	return nil
}

// tagged adds the tags of all resources, and a resource's own.
func (c *converter) tagged(r *resource, to *Resource, form tagForm) error {
	if form == noTags {
		return nil
	}
	own, _ := r.body.Attribute("tags")
	values := map[string]any{}
	for _, x := range []terraform.Expr{c.tags, own} {
		if len(x.Text)+len(x.Fields) == 0 {
			continue
		}
		v, err := c.value(x, r)
		if err != nil {
			return err
		}
		tags, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("tags are %v", v)
		}
		maps.Copy(values, tags)
	}
	if form == tagMap {
		to.Properties["Tags"] = values
		return nil
	}
	var list []any
	for _, k := range slices.Sorted(maps.Keys(values)) {
		list = append(list, map[string]any{"Key": k, "Value": values[k]})
	}
	to.Properties["Tags"] = list
	return nil
}

// output adds an output, or one for each field of an object.
func (c *converter) output(name string, b *terraform.Body) error {
	description, _ := b.Attribute("description")
	x, _ := b.Attribute("value")
	if x.Kind != terraform.IsObject {
		return c.outputOf(words(name), description.Text, x)
	}
	for _, f := range x.Fields {
		if err := c.outputOf(words(name)+Camel(cloud.Label(f.Key)), f.Key+": "+description.Text, f.Value); err != nil {
			return fmt.Errorf("%s: %w", f.Key, err)
		}
	}
	return nil
}

func (c *converter) outputOf(id, description string, x terraform.Expr) error {
	r := &resource{} // what a value of one resource with a condition needs
	v, err := c.value(x, r)
	if err != nil {
		return err
	}
	if c.Outputs[id] != nil {
		return fmt.Errorf("two outputs have the name %s", id)
	}
	c.Outputs[id] = map[string]any{"Description": description, "Value": v}
	if r.condition != "" {
		c.Outputs[id]["Condition"] = r.condition
	}
	return nil
}
