package terraform_test

import (
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"pgregory.net/rapid"

	"github.com/tenon-ml/tenon/executors/terraform"
)

func TestAFileIsFormatted(t *testing.T) {
	f := terraform.New()
	if !f.Empty() {
		t.Error("a file with nothing but the header is not empty")
	}
	b := f.Resource("x_net", "main")
	b.Set("name", terraform.Join("a-", terraform.Code("var.b"), `-"c"`))
	b.Set("count", terraform.Code("var.n").Equals(terraform.Int(1)))
	b.Set("long_name", terraform.List(terraform.Text("x"), terraform.Number("0.5")))
	r := b.Block("rule")
	r.Comment("Why.")
	r.Set("tags", terraform.Object(terraform.Field{Key: "a:b", Value: terraform.Bool(true), Comment: "Which."}, terraform.Field{Key: "c", Value: terraform.Object()}))
	l, shared := f.Block("locals"), terraform.Code("var.n")
	l.Set("x", shared)
	l.Set("long", terraform.Call("max", shared, terraform.Texts()))
	const want = "# " + terraform.Header + `

resource "x_net" "main" {
  name  = "a-${var.b}-\"c\""
  count = var.n == 1
  long_name = [
    "x",
    0.5,
  ]
  rule {
    # Why.
    tags = {
      # Which.
      "a:b" = true
      c     = {}
    }
  }
}

locals {
  x    = var.n
  long = max(var.n, [])
}
`
	got := f.Bytes()
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !terraform.Written(got) || terraform.Written([]byte("# mine\n"+want)) || terraform.Written(nil) {
		t.Error("Written does not recognize files by their first line")
	}
}

// A text is a text, whatever is in it, alone and within others.
func TestTextsAreNeverCode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"${var.x}", "$${", "%{ if true }", `"`, `\`, "\n", "$", "%", "{"}))
		a, b := part.Draw(t, "a"), part.Draw(t, "b")
		f := terraform.New()
		f.Block("locals").Set("x", terraform.Object(terraform.Field{Key: "k", Value: terraform.Text(a + b)},
			terraform.Field{Key: "j", Value: terraform.Join(a, b, terraform.Code("v"), b)}))
		text := f.Bytes()
		if again := hclwrite.Format(text); string(again) != string(text) {
			t.Fatalf("%s is formatted as %s", text, again)
		}
		file, diags := hclsyntax.ParseConfig(text, "f.tf", hcl.InitialPos)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		body := file.Body.(*hclsyntax.Body) //nolint:forcetypeassert // of ParseConfig
		x, diags := body.Blocks[0].Body.Attributes["x"].Expr.Value(&hcl.EvalContext{Variables: map[string]cty.Value{"v": cty.StringVal("V")}})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		// Strings are in the normal form of Unicode.
		if got, want := x.GetAttr("k"), cty.StringVal(a+b); !got.RawEquals(want) {
			t.Fatalf("got %#v, want %#v", got, want)
		}
		if got, want := x.GetAttr("j"), cty.StringVal(a+b+"V"+b); !got.RawEquals(want) {
			t.Fatalf("got %#v, want %#v", got, want)
		}
	})
}

func TestLengths(t *testing.T) {
	for want, x := range map[int]terraform.Expr{
		3: terraform.Text("abc"), 10: terraform.Code("var.x"), 15: terraform.Join("abc", terraform.Code("x"), "de"),
	} {
		if got := x.Len(func(string) int { return 10 }); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
}
