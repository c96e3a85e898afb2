package terraform

import (
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
)

// An Expr is an expression.
type Expr struct{ tokens hclwrite.Tokens }

// Text is a string. Nothing in it is interpolated.
func Text(s string) Expr { return Expr{hclwrite.TokensForValue(cty.StringVal(s))} }

// Int is a whole number.
func Int(n int64) Expr { return code(strconv.FormatInt(n, 10), hclsyntax.TokenNumberLit) }

// Number is a number as it is written, such as 0.0144.
func Number(s string) Expr { return code(s, hclsyntax.TokenNumberLit) }

// Bool is true or false.
func Bool(b bool) Expr { return code(strconv.FormatBool(b), hclsyntax.TokenIdent) }

// Code is an expression as it is written, such as "aws_vpc.main.id".
func Code(s string) Expr { return code(s, hclsyntax.TokenIdent) }

func code(s string, t hclsyntax.TokenType) Expr {
	return Expr{hclwrite.Tokens{{Type: t, Bytes: []byte(s)}}}
}

// Join is a string of parts: of strings as they are, and of the values of expressions.
func Join(parts ...any) Expr {
	ts := hclwrite.Tokens{{Type: hclsyntax.TokenOQuote, Bytes: []byte(`"`)}}
	var text string // not written yet
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			text += p
		case Expr:
			plain := strings.TrimRight(text, "$")
			ts = append(ts, literal(plain)...)
			if dollars := text[len(plain):]; dollars != "" { // before "${", they would be an escape
				ts = append(ts, interpolated(Text(dollars))...)
			}
			ts, text = append(ts, interpolated(p)...), ""
		}
	}
	return Expr{append(append(ts, literal(text)...), &hclwrite.Token{Type: hclsyntax.TokenCQuote, Bytes: []byte(`"`)})}
}

// literal returns what is between the quotes of a text.
func literal(s string) hclwrite.Tokens {
	quoted := Text(s).tokens
	return quoted[1 : len(quoted)-1]
}

func interpolated(x Expr) hclwrite.Tokens {
	begin := &hclwrite.Token{Type: hclsyntax.TokenTemplateInterp, Bytes: []byte("${")}
	return append(append(hclwrite.Tokens{begin}, x.tokens...), &hclwrite.Token{Type: hclsyntax.TokenTemplateSeqEnd, Bytes: []byte("}")})
}

// Call is the call of a function.
func Call(function string, args ...Expr) Expr {
	all := make([]hclwrite.Tokens, len(args))
	for i, a := range args {
		all[i] = a.tokens
	}
	return Expr{hclwrite.TokensForFunctionCall(function, all...)}
}

// List is a list. One of several items has a line for each.
func List(items ...Expr) Expr {
	if len(items) < 2 {
		all := make([]hclwrite.Tokens, len(items))
		for i, x := range items {
			all[i] = x.tokens
		}
		return Expr{hclwrite.TokensForTuple(all)}
	}
	ts := hclwrite.Tokens{{Type: hclsyntax.TokenOBrack, Bytes: []byte("[")}, newline()}
	for _, x := range items {
		ts = append(append(ts, x.tokens...), &hclwrite.Token{Type: hclsyntax.TokenComma, Bytes: []byte(",")}, newline())
	}
	return Expr{append(ts, &hclwrite.Token{Type: hclsyntax.TokenCBrack, Bytes: []byte("]")})}
}

// Texts is a list of strings.
func Texts(items ...string) Expr {
	all := make([]Expr, len(items))
	for i, s := range items {
		all[i] = Text(s)
	}
	return List(all...)
}

// Equals is the comparison of two values.
func (x Expr) Equals(y Expr) Expr {
	equal := &hclwrite.Token{Type: hclsyntax.TokenEqualOp, Bytes: []byte("==")}
	return Expr{slices.Concat(x.tokens, hclwrite.Tokens{equal}, y.tokens)}
}

// Len returns the length of a string, where each expression in it stands for a value of that
// length.
func (x Expr) Len(value int) (n int) {
	for _, t := range x.tokens {
		switch t.Type {
		case hclsyntax.TokenQuotedLit:
			n += len(t.Bytes)
		case hclsyntax.TokenIdent:
			n += value
		}
	}
	return n
}

// A Field is an item of an object.
type Field struct {
	Key     string
	Value   Expr
	Comment string // on a line before it, or ""
}

// Object is an object, with a line for each field.
func Object(fields ...Field) Expr {
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
			ts = append(ts, Text(f.Key).tokens...)
		}
		ts = append(ts, &hclwrite.Token{Type: hclsyntax.TokenEqual, Bytes: []byte("=")})
		ts = append(append(ts, f.Value.tokens...), newline())
	}
	return Expr{append(ts, &hclwrite.Token{Type: hclsyntax.TokenCBrace, Bytes: []byte("}")})}
}

func newline() *hclwrite.Token {
	return &hclwrite.Token{Type: hclsyntax.TokenNewline, Bytes: []byte("\n")}
}

func comment(text string) *hclwrite.Token {
	return &hclwrite.Token{Type: hclsyntax.TokenComment, Bytes: []byte("# " + text + "\n")}
}
