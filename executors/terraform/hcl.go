package terraform

import (
	"bytes"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// Bytes returns the file as `tofu fmt` formats it: hclwrite formats what it writes.
func (f *File) Bytes() []byte {
	var out bytes.Buffer
	out.WriteString("# " + Header + "\n")
	for _, b := range f.Blocks {
		one := hclwrite.NewEmptyFile() // all blocks in one would need hundreds of megabytes for a large system
		b.Body.write(one.Body().AppendNewBlock(b.Kind, b.Labels).Body())
		out.WriteByte('\n')
		out.Write(one.Bytes())
	}
	return out.Bytes()
}

func (b *Body) write(to *hclwrite.Body) {
	for _, i := range b.Items {
		switch {
		case i.Name == "":
			to.AppendUnstructuredTokens(hclwrite.Tokens{comment(i.Comment)})
		case i.Body != nil:
			i.Body.write(to.AppendNewBlock(i.Name, nil).Body())
		default:
			to.SetAttributeRaw(i.Name, i.Value.tokens())
		}
	}
}

// tokens returns an expression as it is written. A token knows the space before it, so that an expression
// that is written twice has new ones each time.
func (x Expr) tokens() hclwrite.Tokens {
	switch x.Kind {
	case IsText:
		return hclwrite.TokensForValue(cty.StringVal(x.Text))
	case IsNumber:
		return hclwrite.Tokens{{Type: hclsyntax.TokenNumberLit, Bytes: []byte(x.Text)}}
	case IsBool, IsCode:
		return hclwrite.Tokens{{Type: hclsyntax.TokenIdent, Bytes: []byte(x.Text)}}
	case IsJoin:
		return join(x.Items)
	case IsCall:
		return hclwrite.TokensForFunctionCall(x.Text, each(x.Items)...)
	case IsList:
		return list(x.Items)
	case IsEqual:
		equal := &hclwrite.Token{Type: hclsyntax.TokenEqualOp, Bytes: []byte("==")}
		return slices.Concat(x.Items[0].tokens(), hclwrite.Tokens{equal}, x.Items[1].tokens())
	case IsObject:
		return object(x.Fields)
	}
	return nil
}

func each(items []Expr) []hclwrite.Tokens {
	all := make([]hclwrite.Tokens, len(items))
	for i, x := range items {
		all[i] = x.tokens()
	}
	return all
}

func join(items []Expr) hclwrite.Tokens {
	ts := hclwrite.Tokens{{Type: hclsyntax.TokenOQuote, Bytes: []byte(`"`)}}
	for i, x := range items {
		switch {
		case x.Kind != IsText:
			ts = append(ts, interpolated(x)...)
		case i == len(items)-1:
			ts = append(ts, literal(x.Text)...)
		default:
			plain := strings.TrimRight(x.Text, "$")
			ts = append(ts, literal(plain)...)
			if dollars := x.Text[len(plain):]; dollars != "" { // before "${", they would be an escape
				ts = append(ts, interpolated(Text(dollars))...)
			}
		}
	}
	return append(ts, &hclwrite.Token{Type: hclsyntax.TokenCQuote, Bytes: []byte(`"`)})
}

// literal returns what is between the quotes of a text.
func literal(s string) hclwrite.Tokens {
	quoted := Text(s).tokens()
	return quoted[1 : len(quoted)-1]
}

func interpolated(x Expr) hclwrite.Tokens {
	begin := &hclwrite.Token{Type: hclsyntax.TokenTemplateInterp, Bytes: []byte("${")}
	return append(append(hclwrite.Tokens{begin}, x.tokens()...), &hclwrite.Token{Type: hclsyntax.TokenTemplateSeqEnd, Bytes: []byte("}")})
}

func list(items []Expr) hclwrite.Tokens {
	if len(items) < 2 {
		return hclwrite.TokensForTuple(each(items))
	}
	ts := hclwrite.Tokens{{Type: hclsyntax.TokenOBrack, Bytes: []byte("[")}, newline()}
	for _, x := range items {
		ts = append(append(ts, x.tokens()...), &hclwrite.Token{Type: hclsyntax.TokenComma, Bytes: []byte(",")}, newline())
	}
	return append(ts, &hclwrite.Token{Type: hclsyntax.TokenCBrack, Bytes: []byte("]")})
}

func object(fields []Field) hclwrite.Tokens {
	ts := hclwrite.Tokens{{Type: hclsyntax.TokenOBrace, Bytes: []byte("{")}}
	if len(fields) > 0 {
		ts = append(ts, newline())
	}
	for _, f := range fields {
		if f.Comment != "" {
			ts = append(ts, comment(f.Comment))
		}
		if hclsyntax.ValidIdentifier(f.Key) {
			ts = append(ts, &hclwrite.Token{Type: hclsyntax.TokenIdent, Bytes: []byte(f.Key)})
		} else {
			ts = append(ts, Text(f.Key).tokens()...)
		}
		ts = append(ts, &hclwrite.Token{Type: hclsyntax.TokenEqual, Bytes: []byte("=")})
		ts = append(append(ts, f.Value.tokens()...), newline())
	}
	return append(ts, &hclwrite.Token{Type: hclsyntax.TokenCBrace, Bytes: []byte("}")})
}

func newline() *hclwrite.Token {
	return &hclwrite.Token{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")}
}

func comment(text string) *hclwrite.Token {
	return &hclwrite.Token{Type: hclsyntax.TokenComment, Bytes: []byte("# " + text + "\n")}
}
