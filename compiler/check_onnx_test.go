package compiler_test

import (
	"testing"

	"github.com/tenon-ml/tenon/compiler/onnx/onnxtest"
)

// A graph is compared with the columns of the model that it becomes.
func TestGraphs(t *testing.T) {
	t.Parallel()
	const system = `package shop

import (
	"tenon.dev/col"
	"tenon.dev/evaluate"
	"tenon.dev/source"
	"tenon.dev/split"
	"tenon.dev/tenon"
	"tenon.dev/train"
)

tenon.#System
name: "shop"

sources: s: source.#CSV & {
	path: "s.csv"
	keys: ["id"]
	schema: {
		id:    col.#Int64
		a:     col.#Float64
		b:     col.#Int64
		kind:  col.#String & {values: ["x", "y"]}
		day:   col.#Date
		label: col.#Bool
		class: col.#String
	}
}

models: m: train.#ONNX & {
	in: table: sources.s.out
	label: "label"
	exclude: ["class", "day", "kind"]
	test:       split.#Random
	evaluation: evaluate.#Classification
	file:       "m.onnx"
	inputs: x: ["a", "b"]
}
`
	tensor := onnxtest.Tensor
	in := func(values ...onnxtest.Value) onnxtest.File {
		return onnxtest.File{Inputs: values, Outputs: []onnxtest.Value{tensor("p", onnxtest.Float, 0, 2)}}
	}
	out := func(values ...onnxtest.Value) onnxtest.File {
		return onnxtest.File{Inputs: []onnxtest.Value{tensor("x", onnxtest.Float, 0, 2)}, Outputs: values}
	}
	x := tensor("x", onnxtest.Float, 0, 2)
	named := edit{"inputs: x: [\"a\", \"b\"]", ""}
	a := tensor("a", onnxtest.Double, 0)
	for name, tt := range map[string]struct {
		graph onnxtest.File
		edits []edit
		want  string
	}{
		"a tensor of two columns":           {in(x), nil, ""},
		"a tensor of any width":             {in(tensor("x", onnxtest.Float)), nil, ""},
		"one row at a time":                 {in(tensor("x", onnxtest.Float, 1, 2)), nil, ""},
		"eight rows at a time":              {in(tensor("x", onnxtest.Float, 8, 2)), nil, `the input "x" of m.onnx takes exactly 8 rows`},
		"an image":                          {in(tensor("x", onnxtest.Float, 0, 2, 2)), nil, `the input "x" of m.onnx has 3 dimensions, and columns make one or two: rows, and columns`},
		"three columns":                     {in(tensor("x", onnxtest.Float, 0, 3)), nil, `the input "x" of m.onnx takes 3 columns, and gets 2: a, b`},
		"a misspelt input":                  {in(tensor("y", onnxtest.Float, 0, 2)), nil, `m.onnx has no input "x"`},
		"a column that is none":             {in(x), []edit{{`"a", "b"`, `"a", "c"`}}, `models.m names a column "c" that is not an input of the model`},
		"inputs with the names of columns":  {in(a, tensor("b", onnxtest.Int64, 0, 1)), []edit{named}, ""},
		"an input that is no column":        {in(a, tensor("z", onnxtest.Int64, 0, 1)), []edit{named}, `m.onnx has an input "z", which is not a column of the model`},
		"a column that nothing reads":       {in(a), []edit{named}, "no input of m.onnx reads the column b"},
		"integers that are too large":       {in(a, tensor("b", onnxtest.Int32)), []edit{named}, `the input "b" of m.onnx takes int32, which does not hold every int64 of the column b`},
		"integers that fit":                 {in(a, tensor("b", onnxtest.Int32)), []edit{named, {"b:     col.#Int64", "b: col.#Int64 & {min: 0, max: 100}"}}, ""},
		"fractions for integers":            {in(tensor("a", onnxtest.Int64), tensor("b", onnxtest.Int64)), []edit{named}, `the input "a" of m.onnx takes int64, which does not hold every float64 of the column a`},
		"half floats":                       {in(a, tensor("b", onnxtest.Half)), []edit{named}, `the input "b" of m.onnx takes float16, but the column b is an int64`},
		"a sequence":                        {in(a, tensor("b", 0)), []edit{named}, `the input "b" of m.onnx is a sequence, not a tensor`},
		"texts with values":                 {in(x, tensor("kind", onnxtest.String)), []edit{{`, "kind"`, ""}}, ""},
		"texts without values":              {in(x, tensor("kind", onnxtest.String)), []edit{{`, "kind"`, ""}, {` & {values: ["x", "y"]}`, ""}}, `the input "kind" of m.onnx takes strings, but it is not known which the column kind has`},
		"a number for a text":               {in(x, tensor("kind", onnxtest.Float)), []edit{{`, "kind"`, ""}}, `the input "kind" of m.onnx takes float32, but the column kind is a string`},
		"a number for a date":               {in(x, tensor("day", onnxtest.Float)), []edit{{`"day", `, ""}}, `the input "day" of m.onnx takes float32, but the column day is a date`},
		"nulls of floats":                   {in(x), []edit{{"a:     col.#Float64", "a: col.#Float64 & {nullable: true}"}}, ""},
		"nulls of integers":                 {in(a, tensor("b", onnxtest.Int64)), []edit{named, {"b:     col.#Int64", "b: col.#Int64 & {nullable: true}"}}, `the input "b" of m.onnx takes no nulls, but the column b may be null`},
		"a number for them":                 {in(a, tensor("b", onnxtest.Int64)), []edit{{`inputs: x: ["a", "b"]`, "missing: b: 0"}, {"b:     col.#Int64", "b: col.#Int64 & {nullable: true}"}}, ""},
		"a misspelt column for null":        {in(x), []edit{{"file:", "missing: c: 0\n\tfile:"}}, `models.m names a column "c" that is not an input of the model`},
		"a text for null in a number":       {in(x), []edit{{"file:", "missing: a: \"none\"\n\tfile:"}}, `the input "x" of m.onnx takes float32, but gets "none" for null in the column a`},
		"a fraction for null in integers":   {in(a, tensor("b", onnxtest.Int64)), []edit{{`inputs: x: ["a", "b"]`, "missing: b: 0.5"}}, `the input "b" of m.onnx takes int64, but gets 0.5 for null in the column b`},
		"a number that is too large":        {in(a, tensor("b", onnxtest.Int32)), []edit{{`inputs: x: ["a", "b"]`, "missing: b: 3000000000"}, {"b:     col.#Int64", "b: col.#Int64 & {min: 0, max: 100}"}}, `the input "b" of m.onnx takes int32, but gets 3000000000 for null in the column b`},
		"a number for null in texts":        {in(x, tensor("kind", onnxtest.String)), []edit{{`, "kind"`, ""}, {"file:", "missing: kind: 1\n\tfile:"}}, `the input "kind" of m.onnx takes string, but gets 1 for null in the column kind`},
		"a bool for null in floats":         {in(x), []edit{{"file:", "missing: a: true\n\tfile:"}}, ""},
		"one number for two classes":        {out(tensor("p", onnxtest.Float, 0, 1)), nil, ""},
		"no number for a class":             {out(tensor("p", onnxtest.Float, 0, 3)), nil, `the output "p" of m.onnx has 3 numbers for a row, wanted 2`},
		"two outputs":                       {out(tensor("p", onnxtest.Float), tensor("q", onnxtest.Float)), nil, "m.onnx has 2 outputs of numbers, of which one predicts; its outputs are p, q"},
		"one of them":                       {out(tensor("p", onnxtest.Float), tensor("q", onnxtest.Float)), []edit{{"file:", "output: \"q\"\n\tfile:"}}, ""},
		"none of them":                      {out(tensor("p", onnxtest.Float)), []edit{{"file:", "output: \"q\"\n\tfile:"}}, `m.onnx has no output "q"`},
		"maps of probabilities":             {out(tensor("label", onnxtest.Int64), tensor("p", 0)), nil, "m.onnx has 0 outputs of numbers, of which one predicts; its outputs are label, p"},
		"a label beside the probabilities":  {out(tensor("label", onnxtest.Int64), tensor("p", onnxtest.Float, 0, 2)), nil, ""},
		"classes of a string":               {in(x), []edit{{`label: "label"`, `label: "class"`}, {`["class", `, `["label", `}}, `it is not known which class each number of the output "p" of m.onnx is for`},
		"classes of a string, in order":     {in(x), []edit{{`label: "label"`, `label: "class"`}, {`["class", `, `["label", `}, {"file:", "classes: [\"u\", \"v\"]\n\tfile:"}}, ""},
		"other classes than the output has": {in(x), []edit{{"file:", "classes: [true, false, true]\n\tfile:"}}, `the output "p" of m.onnx has 2 numbers for a row, wanted 3`},
		"weights elsewhere":                 {func() onnxtest.File { f := in(x); f.External = "w.bin"; return f }(), nil, "m.onnx has its weights in other files: w.bin"},
		"operators of one's own":            {func() onnxtest.File { f := in(x); f.Operators = [][2]string{{"acme", "Own"}}; return f }(), nil, "m.onnx uses operators that ONNX Runtime does not have: acme.Own"},
		"random numbers":                    {func() onnxtest.File { f := in(x); f.Operators = [][2]string{{"", "RandomNormal"}}; return f }(), nil, "m.onnx draws random numbers: RandomNormal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, map[string]string{"shop.cue": edited(t, system, tt.edits), "m.onnx": string(tt.graph.Bytes())}, tt.want)
		})
	}
}
