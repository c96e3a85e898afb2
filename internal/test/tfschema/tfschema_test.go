package tfschema_test

import (
	"slices"
	"testing"

	"github.com/tenon-ml/tenon/internal/test/tfschema"
)

func TestFilesAreComparedWithTheSchema(t *testing.T) {
	schema, err := tfschema.Read([]byte(`{"version": "1.0.0", "types": {
		"x_net": {"cidr": {"r": true}, "id": {"c": true}, "name": {}, "rule": {"b": {"port": {"r": true}}}, "egress": {"a": {"port": {}}}},
		"data.x_zone": {"names": {"c": true}}
	}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"everything is known", `
resource "x_net" "a" {
  count = 1
  cidr  = var.cidr
  name  = "${local.name}-${data.x_zone.z.names[0]}"
  rule { port = 1 }
  egress { port = 2 }
  lifecycle { ignore_changes = [name_prefix] }
}
resource "x_net" "b" {
  cidr   = join(",", [for n in x_net.a[*].id : n])
  egress = []
}
data "x_zone" "z" {}
variable "cidr" {}
locals { name = "n" }`, nil},
		{"an unknown type", `resource "x_nett" "a" {}`, []string{"f.tf:1: the provider has no x_nett"}},
		{"a data source that is a resource", `data "x_net" "a" {}`, []string{"f.tf:1: the provider has no data.x_net"}},
		{"a misspelled attribute", `resource "x_net" "a" {
  cdir = "c"
}`, []string{"f.tf:1: x_net needs cidr", "f.tf:2: x_net has no attribute cdir"}},
		{"a missing attribute of a block", `resource "x_net" "a" {
  cidr = "c"
  rule {}
}`, []string{"f.tf:3: x_net.rule needs port"}},
		{"a misspelled attribute of a block", `resource "x_net" "a" {
  cidr = "c"
  rule {
    port = 1
    prot = 1
  }
}`, []string{"f.tf:5: x_net.rule has no attribute prot"}},
		{"an attribute as a block, and the other way around", `resource "x_net" "a" {
  cidr {}
  rule = 1
}`, []string{"f.tf:2: cidr of x_net is an attribute", "f.tf:3: rule of x_net is a block"}},
		{"a computed attribute", `resource "x_net" "a" {
  cidr = "c"
  id   = "i"
}`, []string{"f.tf:3: id of x_net is computed"}},
		{"references to nothing", `locals {
  a = x_net.gone.id
  b = var.gone
  c = local.gone
}`, []string{"f.tf:2: x_net.gone.id is not declared", "f.tf:3: var.gone is not declared", "f.tf:4: local.gone is not declared"}},
		{"an unknown attribute of a reference", `resource "x_net" "a" { cidr = "c" }
locals {
  a = x_net.a.arn
  b = x_net.a[*].arn
}`, []string{"f.tf:3: x_net has no attribute arn", "f.tf:4: x_net has no attribute arn"}},
		{"a resource twice", `resource "x_net" "a" { cidr = "c" }
resource "x_net" "a" { cidr = "c" }`, []string{"f.tf:2: x_net.a is declared twice"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := schema.Check(map[string][]byte{"f.tf": []byte(c.text)})
			slices.Sort(got)
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := schema.Check(map[string][]byte{"f.tf": []byte(`resource {`)}); len(got) != 1 {
		t.Errorf("a file that is not HCL: %q", got)
	}
}
