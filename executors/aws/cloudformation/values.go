package cloudformation

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/tenon-ml/tenon/executors/cloud"
	"github.com/tenon-ml/tenon/executors/terraform"
)

func ref(id string) map[string]any { return map[string]any{"Ref": id} }

func getAtt(id, attribute string) map[string]any {
	return map[string]any{"Fn::GetAtt": []any{id, attribute}}
}

func sub(text string) map[string]any { return map[string]any{"Fn::Sub": text} }

// value returns an expression of a resource as a value of a template. Maps are objects or intrinsic functions.
func (c *converter) value(x terraform.Expr, r *resource) (any, error) {
	switch x.Kind {
	case terraform.IsText:
		return x.Text, nil
	case terraform.IsBool:
		return x.Text == "true", nil
	case terraform.IsNumber:
		if n, err := strconv.ParseInt(x.Text, 10, 64); err == nil {
			return n, nil
		}
		return strconv.ParseFloat(x.Text, 64)
	case terraform.IsList:
		list := make([]any, 0, len(x.Items))
		for _, i := range x.Items {
			v, err := c.value(i, r)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case terraform.IsObject:
		object := map[string]any{}
		for _, f := range x.Fields {
			v, err := c.value(f.Value, r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.Key, err)
			}
			object[f.Key] = v
		}
		return object, nil
	case terraform.IsJoin:
		return c.join(x.Items, r)
	case terraform.IsCall:
		if x.Text == "jsonencode" && len(x.Items) == 1 { // where CloudFormation takes the object itself
			return c.value(x.Items[0], r)
		}
		return nil, fmt.Errorf("the function %s has no counterpart in CloudFormation", x.Text)
	case terraform.IsCode:
		return c.code(x.Text, r)
	case terraform.IsEqual:
	}
	return nil, errors.New("a comparison has no counterpart in CloudFormation")
}

// join returns a string of parts: a text, or Fn::Sub with what it refers to.
func (c *converter) join(parts []terraform.Expr, r *resource) (any, error) {
	var text, template strings.Builder
	refers := false
	add := func(s string) {
		text.WriteString(s)
		template.WriteString(strings.ReplaceAll(s, "${", "${!"))
	}
	for _, p := range parts {
		v, err := c.value(p, r)
		if err != nil {
			return nil, err
		}
		switch v := v.(type) {
		case string:
			add(v)
		case int64:
			add(strconv.FormatInt(v, 10))
		case map[string]any:
			refers = true
			if s, ok := v["Fn::Sub"].(string); ok {
				template.WriteString(s)
			} else if id, ok := v["Ref"].(string); ok {
				template.WriteString("${" + id + "}")
			} else if at, ok := v["Fn::GetAtt"].([]any); ok {
				template.WriteString(fmt.Sprintf("${%s.%s}", at...))
			} else {
				return nil, fmt.Errorf("%v cannot be a part of a text", v)
			}
		default:
			return nil, fmt.Errorf("%v cannot be a part of a text", v)
		}
	}
	if !refers {
		return text.String(), nil
	}
	return sub(template.String()), nil
}

// code returns the value of an expression that is written in HCL.
func (c *converter) code(text string, r *resource) (any, error) {
	x, diags := hclsyntax.ParseExpression([]byte(text), "", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	v, err := c.parsed(x, r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	return v, nil
}

var errNone = errors.New("it has no counterpart in CloudFormation")

func (c *converter) parsed(x hclsyntax.Expression, r *resource) (any, error) {
	switch x := x.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		return c.reference(names(x.Traversal), r)
	case *hclsyntax.SplatExpr: // aws_subnet.open[*].id
		source, ok1 := x.Source.(*hclsyntax.ScopeTraversalExpr)
		each, ok2 := x.Each.(*hclsyntax.RelativeTraversalExpr)
		if !ok1 || !ok2 {
			return nil, errNone
		}
		path := names(source.Traversal)
		all, err := c.found(path[0], path[1])
		list := make([]any, len(all))
		for i := range all {
			if list[i], err = c.attribute(all[i], names(each.Traversal)[0], r); err != nil {
				return nil, err
			}
		}
		return list, err
	case *hclsyntax.RelativeTraversalExpr: // aws_subnet.open[count.index].id
		index, ok := x.Source.(*hclsyntax.IndexExpr)
		if !ok || r == nil || !r.counted {
			return nil, errNone
		}
		source, ok := index.Collection.(*hclsyntax.ScopeTraversalExpr)
		if !ok {
			return nil, errNone
		}
		path := names(source.Traversal)
		all, err := c.found(path[0], path[1])
		if err != nil || r.index >= len(all) {
			return nil, errors.Join(err, errNone)
		}
		return c.attribute(all[r.index], names(x.Traversal)[0], r)
	case *hclsyntax.IndexExpr: // data.aws_availability_zones.available.names[count.index]
		source, ok := x.Collection.(*hclsyntax.ScopeTraversalExpr)
		if !ok || r == nil || strings.Join(names(source.Traversal), ".") != "data.aws_availability_zones.available.names" {
			return nil, errNone
		}
		return map[string]any{"Fn::Select": []any{r.index, map[string]any{"Fn::GetAZs": ref("AWS::Region")}}}, nil
	case *hclsyntax.FunctionCallExpr:
		switch {
		case x.Name == "one" && len(x.Args) == 1: // of a resource with a condition, which its user has too
			v, err := c.parsed(x.Args[0], r)
			if list, ok := v.([]any); ok && len(list) == 1 {
				return list[0], err
			}
			return nil, errors.Join(err, errNone)
		case x.Name == "cidrsubnet" && len(x.Args) == 3:
			return c.subnet(x.Args, r)
		}
	}
	return nil, errNone
}

// subnet returns a part of a network whose addresses are known.
func (c *converter) subnet(args []hclsyntax.Expression, r *resource) (any, error) {
	whole, err := c.parsed(args[0], r)
	if of, ok := whole.(map[string]any); ok {
		if at, ok := of["Fn::GetAtt"].([]any); ok && c.Resources[fmt.Sprint(at[0])] != nil {
			whole = c.Resources[fmt.Sprint(at[0])].Properties[fmt.Sprint(at[1])]
		}
	}
	network, err2 := netip.ParsePrefix(fmt.Sprint(whole))
	index := 0
	if r != nil {
		index = r.index
	}
	scope := &hcl.EvalContext{Variables: map[string]cty.Value{"count": cty.ObjectVal(map[string]cty.Value{"index": cty.NumberIntVal(int64(index))})}}
	bits, diags := args[1].Value(scope)
	n, diags2 := args[2].Value(scope)
	if err := errors.Join(err, err2); err != nil || diags.HasErrors() || diags2.HasErrors() || !network.Addr().Is4() {
		return nil, errors.Join(err, errNone)
	}
	more, _ := bits.AsBigFloat().Int64()
	at, _ := n.AsBigFloat().Int64()
	length := network.Bits() + int(more)
	if length > 32 || at >= 1<<more {
		return nil, fmt.Errorf("%s has no part %d of %d bits", network, at, length)
	}
	a := network.Masked().Addr().As4()
	sum := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	sum += uint32(at) << (32 - length)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), length).String(), nil
}

// names returns a traversal as names. An index is one of them.
func names(t hcl.Traversal) (all []string) {
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			all = append(all, s.Name)
		case hcl.TraverseAttr:
			all = append(all, s.Name)
		case hcl.TraverseIndex:
			if s.Key.Type() == cty.String {
				all = append(all, s.Key.AsString())
			} else {
				all = append(all, s.Key.AsBigFloat().String())
			}
		}
	}
	return all
}

// reference returns what a path of names stands for.
func (c *converter) reference(path []string, r *resource) (any, error) {
	switch root, n := path[0], len(path); {
	case root == "var" && n == 2:
		return c.parameter(path[1])
	case root == "var" && n == 3 && path[1] == "images":
		return ref(c.image(path[2], false)), nil
	case root == "local" && n == 2:
		x, ok := c.locals[path[1]]
		if !ok {
			return nil, errors.New("it is not declared")
		}
		return c.value(x, r)
	case root == "data":
		return c.looked(path)
	case n == 4: // aws_subnet.open[0].id
		all, err := c.found(root, path[1])
		index, bad := strconv.Atoi(path[2])
		if err != nil || bad != nil || index >= len(all) {
			return nil, errors.Join(err, bad, errNone)
		}
		return c.attribute(all[index], path[3], r)
	case n == 3:
		all, err := c.found(root, path[1])
		if err != nil {
			return nil, err
		}
		if len(all) != 1 {
			return nil, errNone
		}
		return c.attribute(all[0], path[2], r)
	}
	return nil, errNone
}

func (c *converter) found(kind, label string) ([]*resource, error) {
	all := c.made[kind+"."+label]
	if len(all) == 0 {
		return nil, errors.New("it is not declared")
	}
	return all, nil
}

// attribute returns an attribute of a resource that another one refers to, or an output if by is not one.
func (c *converter) attribute(of *resource, name string, by *resource) (any, error) {
	if of.condition != "" && by != nil && by.condition != of.condition {
		if by.kind != "" {
			return nil, fmt.Errorf("%s exists on a condition only", of.address())
		}
		by.condition = of.condition
	}
	for _, x := range kinds[of.kind].refers {
		if x == name {
			return ref(of.id), nil
		}
	}
	if at := kinds[of.kind].attributes[name]; at != nil {
		return at(c, of)
	}
	return nil, fmt.Errorf("nothing maps the attribute %s of %s", name, of.kind)
}

// looked returns what a data source looks up.
func (c *converter) looked(path []string) (any, error) {
	switch strings.Join(path[1:], ".") {
	case "aws_caller_identity.current.account_id":
		return ref("AWS::AccountId"), nil
	case "aws_partition.current.partition":
		return ref("AWS::Partition"), nil
	}
	if path[1] == "aws_ecr_repository" && len(path) == 4 {
		name, _ := c.data[path[1]+"."+path[2]].Attribute("name")
		switch path[3] {
		case "arn":
			return sub("arn:${AWS::Partition}:ecr:${AWS::Region}:${AWS::AccountId}:repository/" + name.Text), nil
		case "repository_url":
			return sub("${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/" + name.Text), nil
		}
	}
	return nil, errNone
}

// known returns an error for a data source that [converter.looked] and [converter.parsed] do not know.
func known(b *terraform.Block) error {
	attributes, ok := map[string]string{
		"aws_caller_identity": "", "aws_partition": "", "aws_ecr_repository": "name", "aws_availability_zones": "state filter",
	}[b.Labels[0]]
	if !ok {
		return fmt.Errorf("--format=cloudformation does not support data.%s.%s: use --format=terraform", b.Labels[0], b.Labels[1])
	}
	for _, i := range b.Body.Items {
		if i.Name != "" && !strings.Contains(" "+attributes+" ", " "+i.Name+" ") {
			return fmt.Errorf("data.%s.%s has %s, which nothing maps", b.Labels[0], b.Labels[1], i.Name)
		}
	}
	return nil
}

// parameter returns a variable as a parameter. The region is that of the stack.
func (c *converter) parameter(name string) (any, error) {
	if name == "region" {
		return ref("AWS::Region"), nil
	}
	b := c.variables[name]
	if b == nil {
		return nil, errors.New("it is not declared")
	}
	kind, _ := b.Attribute("type")
	form := map[string]string{"string": "String", "number": "Number"}[kind.Text]
	if form == "" {
		return nil, fmt.Errorf("a variable of the type %s has no counterpart in CloudFormation", kind.Text)
	}
	description, _ := b.Attribute("description")
	initial, _ := b.Attribute("default")
	value, err := c.value(initial, nil)
	c.Parameters[words(name)] = map[string]any{"Type": form, "Description": description.Text, "Default": value}
	return ref(words(name)), err
}

// image returns the parameter with the image of a unit, or the condition that it has one.
func (c *converter) image(unit string, condition bool) string {
	name := Camel(cloud.Label(unit))
	c.Parameters["Image"+name] = map[string]any{
		"Type": "String", "Default": "", "Description": "Image of " + unit + ", with its digest. What runs it is made once this is set.",
		"AllowedPattern": "^$|@sha256:[0-9a-f]{64}$", "ConstraintDescription": "An image has the form REPOSITORY@sha256:DIGEST.",
	}
	c.Conditions["Has"+name] = map[string]any{"Fn::Not": []any{map[string]any{"Fn::Equals": []any{ref("Image" + name), ""}}}}
	if condition {
		return "Has" + name
	}
	return "Image" + name
}

// imaged returns the unit whose image a resource waits for, as [cloud.Once] says.
func imaged(count terraform.Expr) (unit string, ok bool) {
	rest, ok := strings.CutPrefix(count.Text, "contains(keys(var.images), ")
	quoted, ok2 := strings.CutSuffix(rest, ") ? 1 : 0")
	unit, err := strconv.Unquote(quoted)
	return unit, ok && ok2 && err == nil
}
